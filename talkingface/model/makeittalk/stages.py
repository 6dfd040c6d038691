"""How MakeItTalk is trained: the voice converter, lips, head and style, and at last pictures.

The authors released a training of the content branch that works, one of the speaker branch that does not run, one of the image
translation that does not start, and none of the voice converter. What is inferred is said so where it is done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from talkingface.dataset.base import Clip, Samples, prepared_folders
from talkingface.errors import ConfigError
from talkingface.model.makeittalk.converted import ConvertedSpeech
from talkingface.model.makeittalk.data import PicturePairs, Recordings, Talks, as_batch, check_crop, read_speech
from talkingface.model.makeittalk.draw import draw_landmarks
from talkingface.model.makeittalk.landmarks import EMBEDDING_FACTOR
from talkingface.model.makeittalk.losses import (
    feature_distance,
    landmark_distance,
    laplacian_distance,
    motion_distance,
    style_distance,
)
from talkingface.model.makeittalk.networks.content import WINDOW
from talkingface.model.makeittalk.networks.conversion import PITCHES
from talkingface.model.makeittalk.networks.discriminators import TemporalDiscriminator
from talkingface.model.makeittalk.portrait import to_pictures
from talkingface.model.makeittalk.tables import TARGET_VOICE
from talkingface.model.stage import Batch, Stage
from talkingface.nn.perceptual import PerceptualLoss

if TYPE_CHECKING:
    from talkingface.model.makeittalk.model import MakeItTalk

VOICES = ("published", "middle")
DISTANCES = ("squared", "absolute")
PERCEPTUAL = ("vgg19", "none")
SHOWN = 4  # samples in a preview
SHOWN_SIDE = 128  # pixels of a drawn face in a preview
MOUTH = (0.55, 0.85, 0.3, 0.7)  # where the mouth is in a portrait: top, bottom, left, right, as shares


def one_of(setting: str, value: str, allowed: Sequence[str]) -> None:
    """Refuse another value.

    Raises:
        ConfigError: naming those that are allowed.
    """
    if value not in allowed:
        raise ConfigError(f"{setting}: expected one of {', '.join(allowed)}, got {value!r}.")


# --- stage 1: the voice converter -------------------------------------------------------------------------------------


class ConverterStage(Stage):
    """Say it in another voice: speech through a bottleneck that who speaks does not pass (AutoVC; Qian et al., 2020).

    Inferred: the authors released no code. A part of a recording goes through the network with the same voice and pitch on
    both sides and should come out as it was, rough and refined, and with the same codes.

    Args:
        crop: mel rows of a part, a multiple of 16.
        samples_per_clip: parts of each clip per epoch.
        target_voice: what everybody's voice is converted to afterwards. "published" = the authors' embedding, one of
            Resemblyzer's; "middle" = the training clip whose embedding is nearest to the mean of all.
    """

    monitor = "mel"

    def __init__(
        self,
        model: MakeItTalk,
        loss_weights: Mapping[str, float] | None = None,
        crop: int = 128,
        samples_per_clip: int = 1,
        target_voice: str = "published",
    ):
        super().__init__(loss_weights if loss_weights is not None else {"rough": 1.0, "mel": 1.0, "codes": 1.0})
        one_of("converter.target_voice", target_voice, VOICES)
        if not check_crop(crop):
            raise ConfigError(f"converter.crop: expected a multiple of 16, got {crop}.")
        self.converter, self.crop, self.samples_per_clip, self.target_voice = (
            model.converter,
            crop,
            samples_per_clip,
            target_voice,
        )

    def trainable(self) -> dict[str, list[nn.Module]]:
        return {"converter": [self.converter]}

    def samples(self, clips: Sequence[Clip], split: str) -> Samples:
        if split == "train":
            voice = TARGET_VOICE if self.target_voice == "published" else middle_voice(clips)
            self.converter.target_voice.copy_(torch.from_numpy(np.asarray(voice, np.float32)))
        return Recordings(clips, self.crop, self.samples_per_clip)

    def losses(self, batch: Batch) -> Iterator[tuple[str, dict[str, Tensor]]]:
        mel, voice = batch["mel"], batch["voice"]
        rough, refined, codes = self.converter(mel, voice, one_hot(batch["pitch"]), voice)
        again = self.converter.codes(refined, voice).flatten(1)
        yield (
            "converter",
            {
                "rough": F.mse_loss(rough.float(), mel),
                "mel": F.mse_loss(refined.float(), mel),
                "codes": F.l1_loss(again.float(), codes.float()),
            },
        )

    def preview(self, batch: Batch) -> np.ndarray:
        """Up to four parts below each other: as heard, as it comes out."""
        mel, voice = batch["mel"][:SHOWN], batch["voice"][:SHOWN]
        refined = self.converter(mel, voice, one_hot(batch["pitch"][:SHOWN]), voice)[1]
        pairs = torch.cat((mel, refined.float()), dim=1).clamp(0, 1).flip(2).transpose(1, 2)
        grey = (255 * torch.cat(list(pairs))).byte().cpu().numpy()
        return np.repeat(grey[..., None], 3, axis=2)


def one_hot(pitch: Tensor) -> Tensor:
    """(B, T) classes as (B, T, 257); padding, -1, as zeros."""
    return F.one_hot(pitch.clamp(min=0), PITCHES).float() * (pitch >= 0)[..., None]


def middle_voice(clips: Sequence[Clip]) -> np.ndarray:
    """(256,): of the embeddings of clips, the one nearest to their mean."""
    voices = np.stack([read_speech(folder).source for folder in prepared_folders(clips)])
    return voices[np.linalg.norm(voices - voices.mean(axis=0), axis=1).argmin()]


# --- stage 2: the content branch --------------------------------------------------------------------------------------


class ContentStage(Stage):
    """Lips and jaw that say what is heard, in any voice (paper section 3.2).

    Landmarks as such, each lip point the more the nearer the lips are to each other, and their Laplacians. All clips are heard
    as the voice converter says them. The authors learn from one clip at a time (batch_size 1); larger batches have several, each
    with its own face at rest.

    Args:
        segment: rows of a clip in a sample, 10 or more.
        use_lip_weight: closed lips count more.
        use_motion_loss: also compare the steps from row to row.
        drop_out: share of the LSTM's channels that are left out between its layers.
    """

    needs = ("converter",)
    monitor = "landmarks"

    def __init__(
        self,
        model: MakeItTalk,
        loss_weights: Mapping[str, float] | None = None,
        segment: int = 512,
        use_lip_weight: bool = True,
        use_motion_loss: bool = False,
        drop_out: float = 0.5,
    ):
        super().__init__(loss_weights if loss_weights is not None else {"landmarks": 1.0, "laplacian": 1.0, "motion": 1.0})
        check_segment("content", segment)
        self.content, self.converter, self.segment = model.content, model.converter, segment
        self.use_lip_weight, self.use_motion_loss = use_lip_weight, use_motion_loss
        if not use_motion_loss:
            self.loss_weights.pop("motion", None)
        self.content.bilstm.dropout = checked_share("content.drop_out", drop_out)

    def trainable(self) -> dict[str, list[nn.Module]]:
        parts: list[nn.Module] = [self.content.fc, self.content.bilstm]
        return {"content": [self.content.fc_prior, *parts] if self.content.use_prior_net else parts}

    def samples(self, clips: Sequence[Clip], split: str) -> Samples:
        hear = ConvertedSpeech(self.converter, prepared_folders(clips)).of
        return Talks(clips, hear, self.segment, shift=split == "train")

    def losses(self, batch: Batch) -> Iterator[tuple[str, dict[str, Tensor]]]:
        windows, face, truth, together = windows_of(batch)
        yield "content", self.compare(windows, face, truth, together)

    def compare(self, windows: Tensor, face: Tensor, truth: Tensor, together: Tensor) -> dict[str, Tensor]:
        """The losses of N windows.

        Args:
            windows: (N, 18, 80) normalised mel.
            face: (N or 1, 204) at rest.
            truth: (N, 204) the row of each window.
            together: (N - 1,) whether a row and the next one belong together.
        """
        made = self.content(windows, face) + face
        losses = {
            "landmarks": landmark_distance(made, truth, closed_lips=self.use_lip_weight),
            "laplacian": laplacian_distance(made, truth),
        }
        return losses | ({"motion": motion_distance(made, truth, together)} if self.use_motion_loss else {})

    def preview(self, batch: Batch) -> np.ndarray:
        """Up to four samples below each other: six rows as they are made, above those as they should be."""
        return preview_rows(batch, lambda windows, face, _: self.content(windows, face) + face)


def windows_of(batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The usable windows of a batch: (N, 18, 80), the face of each (N, 204), its row (N, 204), and which follow each other."""
    usable = batch["usable"]
    windows = batch["mel"].unfold(1, WINDOW, 1).transpose(2, 3)[usable]
    faces = batch["face"][:, None].expand(-1, usable.shape[1], -1)[usable]
    places = usable.flatten().nonzero()[:, 0]
    length = usable.shape[1]
    together = (places[1:] - places[:-1] == 1) & (places[1:] % length != 0)
    return windows, faces, batch["rows"][usable], together


def check_segment(stage: str, segment: int, longest: int = 0) -> None:
    """Refuse sequences that are too short, or longer than the network can take.

    Raises:
        ConfigError: with what is possible.
    """
    if segment < 10 or (longest and segment > longest):
        raise ConfigError(f"{stage}.segment: expected at least 10{f' and at most {longest}' if longest else ''}, got {segment}.")


def checked_share(setting: str, share: float) -> float:
    """Raises ConfigError unless this is a share below 1."""
    if not 0 <= share < 1:
        raise ConfigError(f"{setting}: expected a number from 0 to below 1, got {share}.")
    return share


# --- stage 3: the speaker branch --------------------------------------------------------------------------------------


class SpeakerStage(Stage):
    """Head, brows and style of who speaks, on top of the content branch, which stays as it is (paper section 3.3).

    Inferred from the released code and the paper: landmarks in which the head moves, their Laplacians, and the least-squares
    adversary of a discriminator that sees 64 rows at a time and the code of the speaker. The rows of a sample attend to one
    another, as the rows of a chunk do at generation.

    Args:
        segment: rows of a sample, 10 to 512.
        distance: of landmarks: "squared", as in the paper, or "absolute".
        drop_out: share of the LSTM's channels that are left out between its layers.
        win_step: rows from one window of the discriminator to the next, and within it: 16 in the later version of the
            authors' code, 1 in the earlier one.
    """

    needs = ("converter", "content")
    monitor = "landmarks"

    def __init__(
        self,
        model: MakeItTalk,
        loss_weights: Mapping[str, float] | None = None,
        segment: int = 512,
        distance: str = "squared",
        drop_out: float = 0.5,
        win_step: int = 16,
    ):
        super().__init__(loss_weights if loss_weights is not None else {"adversarial": 0.001})
        check_segment("speaker", segment, longest=512)
        one_of("speaker.distance", distance, DISTANCES)
        self.content, self.converter, self.speaker = model.content, model.converter, model.speaker
        self.segment, self.squared = segment, distance == "squared"
        self.speaker.audio_content_encoder.dropout = checked_share("speaker.drop_out", drop_out)
        self.discriminator = TemporalDiscriminator(step=win_step, width=model.width)

    def trainable(self) -> dict[str, list[nn.Module]]:
        speaker = self.speaker  # its decoder is never run
        parts = [speaker.audio_content_encoder, speaker.spk_emb_encoder, speaker.encoder, speaker.out]
        return {"speaker": parts, "discriminator": [self.discriminator]}

    def samples(self, clips: Sequence[Clip], split: str) -> Samples:
        hear = ConvertedSpeech(self.converter, prepared_folders(clips)).of
        return Talks(clips, hear, self.segment, moving=True, shift=split == "train")

    def losses(self, batch: Batch) -> Iterator[tuple[str, dict[str, Tensor]]]:
        sequences = [sequence for sequence in each_sequence(batch) if len(sequence["rows"]) >= 10]
        made, codes = zip(*(self.animate(sequence) for sequence in sequences), strict=True)
        truth = [sequence["rows"] for sequence in sequences]
        verdicts = [self.discriminator(rows, code.detach()) for rows, code in zip(made, codes, strict=True)]
        yield (
            "speaker",
            {
                "landmarks": landmark_distance(torch.cat(made), torch.cat(truth), squared=self.squared),
                "laplacian": laplacian_distance(torch.cat(made), torch.cat(truth)),
                "adversarial": least_squares(verdicts, 1.0),
            },
        )
        judged = zip(truth, made, codes, strict=True)
        real, fake = zip(*(self.judge(rows, fakes.detach(), code.detach()) for rows, fakes, code in judged), strict=True)
        yield "discriminator", {"real": least_squares(real, 1.0), "fake": least_squares(fake, 0.0)}

    def animate(self, sequence: Batch) -> tuple[Tensor, Tensor]:
        """Rows (N, 204) of one sequence and the code of its speaker (128,)."""
        windows, face = sequence["windows"], sequence["face"]
        with torch.no_grad():
            lips = self.content(windows, face)
        moved, code = self.speaker(windows, EMBEDDING_FACTOR * sequence["voice"])
        return moved + lips.float() + face, code[0]

    def judge(self, real: Tensor, fake: Tensor, code: Tensor) -> tuple[Tensor, Tensor]:
        """The discriminator's verdicts on real and on made rows of one sequence."""
        return self.discriminator(real, code), self.discriminator(fake, code)

    def preview(self, batch: Batch) -> np.ndarray:
        """Up to four samples below each other: six rows as they are made, above those as they should be."""
        return preview_rows(
            batch, lambda windows, face, voice: self.animate({"windows": windows, "face": face, "voice": voice})[0]
        )


def each_sequence(batch: Batch) -> Iterator[Batch]:
    """The samples of a batch one by one, without what is not usable."""
    for mel, rows, face, voice, usable in zip(*(batch[name] for name in ("mel", "rows", "face", "voice", "usable")), strict=True):
        windows = mel.unfold(0, WINDOW, 1).transpose(1, 2)[usable]
        yield {"windows": windows, "rows": rows[usable], "face": face[None], "voice": voice}


def least_squares(verdicts: Sequence[Tensor], wanted: float) -> Tensor:
    """Mean squared difference of verdicts from 1 = real or 0 = made."""
    return (torch.cat(list(verdicts)).float() - wanted).square().mean()


# --- stage 4: the image translation -----------------------------------------------------------------------------------


class TranslatorStage(Stage):
    """Pictures of a face from drawn landmarks and another picture of it (paper section 3.4). There is no adversary.

    L1, VGG19 features and their style. Colors are BGR in [0, 1], the output is a tanh, and VGG19 sees both as they are, as in
    the authors' code. The loss "mouth", the L1 of the mouth alone, is not theirs: it is off by default and makes short trainings
    look there first.

    Args:
        samples_per_clip: pairs of pictures of each clip per epoch.
        perceptual: "vgg19", or "none": train without the losses vgg and style.
        vgg_file: torchvision's weights for it; "" = torchvision's cache.
    """

    monitor = "l1"

    def __init__(
        self,
        model: MakeItTalk,
        loss_weights: Mapping[str, float] | None = None,
        samples_per_clip: int = 1,
        perceptual: str = "vgg19",
        vgg_file: str = "",
    ):
        super().__init__(loss_weights if loss_weights is not None else {"mouth": 0.0})
        one_of("translator.perceptual", perceptual, PERCEPTUAL)
        self.translator, self.samples_per_clip = model.translator, samples_per_clip
        self.vgg: PerceptualLoss | None = None
        if perceptual == "vgg19":
            self.vgg = PerceptualLoss.vgg19(vgg_file, otherwise="Or train without: --translator.perceptual=none.")
        unused = {"vgg", "style"} if self.vgg is None else set()
        unused |= set() if self.loss_weights.get("mouth") else {"mouth"}
        self.loss_weights = {name: weight for name, weight in self.loss_weights.items() if name not in unused}

    def trainable(self) -> dict[str, list[nn.Module]]:
        return {"translator": [self.translator]}

    def samples(self, clips: Sequence[Clip], split: str) -> Samples:
        return PicturePairs(clips, self.samples_per_clip)

    def losses(self, batch: Batch) -> Iterator[tuple[str, dict[str, Tensor]]]:
        yield "translator", self.compare(*self.paint(batch))

    def paint(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Painted pictures (B, 3, S, S) BGR in [-1, 1], and those that they should be, in [0, 1]."""
        given = [as_batch(batch["drawn"]), as_batch(batch["portrait"]).flip(1)]
        if self.translator.hears:
            given.append(batch["sound"][:, None])
        return self.translator(torch.cat(given, dim=1)).float().tanh(), as_batch(batch["picture"]).flip(1)

    def compare(self, painted: Tensor, truth: Tensor) -> dict[str, Tensor]:
        """The losses of painted pictures."""
        losses = {"l1": F.l1_loss(painted, truth)}
        if self.vgg is not None:
            with torch.no_grad():
                wanted = self.vgg.features(truth)
            found = self.vgg.features(painted)
            losses |= {"vgg": feature_distance(found, wanted), "style": style_distance(found, wanted)}
        if self.loss_weights.get("mouth"):
            losses["mouth"] = F.l1_loss(mouths(painted), mouths(truth))
        return losses

    def preview(self, batch: Batch) -> np.ndarray:
        """Up to four samples below each other: drawn, portrait, painted, truth."""
        batch = {name: values[:SHOWN] for name, values in batch.items()}
        painted, truth = self.paint(batch)
        panels = (as_batch(batch["drawn"]), as_batch(batch["portrait"]).flip(1), painted, truth)
        return np.concatenate(to_pictures(torch.cat(panels, dim=3)))


def mouths(pictures: Tensor) -> Tensor:
    """The part of portraits (B, 3, S, S) where their mouths are."""
    side = pictures.shape[-1]
    top, bottom, left, right = (round(share * side) for share in MOUTH)
    return pictures[..., top:bottom, left:right]


# --- previews ---------------------------------------------------------------------------------------------------------


def preview_rows(batch: Batch, make: Callable[[Tensor, Tensor, Tensor], Tensor]) -> np.ndarray:
    """Faces drawn: six rows of each of up to four samples, as they are made above as they should be.

    Args:
        make: windows, face at rest and speaker embedding of a sample -> its rows (N, 204).
    """
    strips = []
    for sequence in list(each_sequence(batch))[:SHOWN]:
        if len(sequence["rows"]):
            made = make(sequence["windows"], sequence["face"], sequence["voice"]).float()
            strips += [strip(made), strip(sequence["rows"])]
    return np.concatenate(strips)


def strip(rows: Tensor) -> np.ndarray:
    """Six rows of (N, 204), evenly spread, drawn side by side: (128, 768, 3) uint8 RGB."""
    chosen = rows[torch.linspace(0, len(rows) - 1, 6).round().long()].detach().cpu().numpy().reshape(6, 68, 3)
    points = SHOWN_SIDE * (0.5 + 0.45 * (chosen[..., :2] - [0.0, 0.35]))
    return np.concatenate([draw_landmarks(face, SHOWN_SIDE, 1)[..., ::-1] for face in points], axis=1)
