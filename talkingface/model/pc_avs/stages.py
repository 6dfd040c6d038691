"""How PC-AVS is trained: who it is, what is said, then the generator with everything at once.

The authors released losses and no training; stages, samples and schedules follow their paper, their answers and their losses.
What is inferred is said so where it is done.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from talkingface.dataset.base import Clip, Samples
from talkingface.dataset.split import held_back
from talkingface.errors import ConfigError
from talkingface.model.pc_avs.data import Portraits, SpeechClips, TalkingClips
from talkingface.model.pc_avs.faces import to_pictures
from talkingface.model.pc_avs.networks import PoseMouthEncoder, head
from talkingface.model.stage import Batch, Stage, at_least_one, one_of, without
from talkingface.nn.gan import (
    Answers,
    MultiscaleDiscriminator,
    feature_distances,
    hinge_fake,
    hinge_generator,
    hinge_real,
    parts,
    scores,
)
from talkingface.nn.perceptual import PerceptualLoss
from talkingface.nn.torchvision_files import RESNEXT50, find_file
from talkingface.nn.weights import load_weights, read_weights

if TYPE_CHECKING:
    from talkingface.model.pc_avs.model import PC_AVS

UNKNOWN = -1  # label of a speaker whom training has not seen
NEAREST = 1e-6  # least distance of two embeddings, so that its inverse stays finite
LONG_ENOUGH = 20  # frames that a clip must span for its pose codes to be made free of who it is
TAIL = ("bn5.", "conv6.", "fc.")  # of netE's trunk, behind what a face alignment network has
DISENTANGLE = ("intended", "released", "off")
PATHS = ("audio", "video")  # where the mouth of a generated frame comes from
SYNC_WEIGHTS = {"crossmodal": 1.0, "contrastive_a2v": 100.0, "contrastive_v2a": 100.0, "accuracy": 0.0}
OF_PICTURES = {"gan": 1.0, "image": 10.0, "features": 10.0, "vgg": 10.0, "vggface": 5.0, "mouth": 0.0}
GENERATOR_WEIGHTS = {
    **{"crossmodal": 1.0, "contrastive_a2v": 100.0, "contrastive_v2a": 100.0, "identity": 1.0, "disentangle": 1e6},
    **{f"{name}_{path}": weight for path in PATHS for name, weight in OF_PICTURES.items()},
}


# --- pictures and losses ----------------------------------------------------------------------------------------------


def pictures(frames: Tensor) -> Tensor:
    """(..., S, S, 3) uint8 RGB -> (..., 3, S, S) in [-1, 1]."""
    return frames.movedim(-1, -3).to(torch.float32, memory_format=torch.contiguous_format).div_(127.5).sub_(1)


def crossmodal(lips: Tensor, speech: Tensor) -> Tensor:
    """Mean absolute difference of what lips and speech say, each (B, D); the speech goes to the lips."""
    return F.l1_loss(speech.float(), lips.detach().float())


class Nearness(NamedTuple):
    """How near embeddings are to each other, as logits.

    The authors' code takes the inverse distance, without temperature; their paper writes the cosine.

    Attributes:
        kind: "inverse" Euclidean distance, or "cosine".
        temperature: what that is divided by.
    """

    kind: str = "inverse"
    temperature: float = 1.0

    def checked(self, stage: str) -> Nearness:
        """The same, if it makes sense.

        Raises:
            ConfigError: the kind is unknown, or the temperature is not above 0.
        """
        one_of(f"{stage}.nearness", self.kind, ("inverse", "cosine"))
        if self.temperature <= 0:
            raise ConfigError(f"{stage}.temperature: expected more than 0, got {self.temperature}.")
        return self

    def of(self, one: Tensor, other: Tensor) -> Tensor:
        """(B, B) of embeddings (B, D) that are normalised first, in full precision."""
        with torch.autocast(one.device.type, enabled=False):
            one, other = (F.normalize(vectors.float(), eps=1e-12) for vectors in (one, other))
            if self.kind == "cosine":
                return one @ other.T / self.temperature
            distances = torch.cdist(one, other, compute_mode="donot_use_mm_for_euclid_dist")
            return 1 / distances.clamp(min=NEAREST) / self.temperature


RELEASED = Nearness()


def contrastive(fixed: Tensor, moved: Tensor, near: Nearness = RELEASED) -> Tensor:
    """Cross entropy of finding, from each fixed embedding (B, D), its own among the moved ones by their nearness."""
    logits = near.of(fixed.detach(), moved)
    return F.cross_entropy(logits, torch.arange(len(logits), device=logits.device))


def classification(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy over the samples whose speaker is known; 0 where none is."""
    total = F.cross_entropy(logits.float(), labels, ignore_index=UNKNOWN, reduction="sum")
    return total / (labels != UNKNOWN).sum().clamp(min=1)


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Share of the samples with a known speaker whose highest score is the right one."""
    right = (logits.detach().argmax(dim=1) == labels).float().sum()
    return right / (labels != UNKNOWN).sum().clamp(min=1)


def from_uniform(logits: Tensor) -> Tensor:
    """How far a guess is from knowing nothing: mean squared difference of its probabilities from 1 / classes."""
    probabilities = logits.float().softmax(dim=1)
    return F.mse_loss(probabilities, torch.full_like(probabilities, 1 / probabilities.shape[1]))


def mouth_area(faces: Tensor) -> Tensor:
    """The part of faces (..., H, W) where their mouths are."""
    height, width = faces.shape[-2:]
    return faces[..., round(0.5 * height) : round(0.8 * height), round(0.3 * width) : round(0.7 * width)]


# --- who speaks -------------------------------------------------------------------------------------------------------


class Speakers:
    """The speakers of the training clips as numbers, in the order of their names.

    Args:
        num_classes: how many the networks can tell apart.
    """

    def __init__(self, num_classes: int):
        self.num_classes = num_classes
        self.numbers: dict[str, int] = {}

    def learn(self, clips: Sequence[Clip]) -> None:
        """Number the speakers of the training clips.

        Raises:
            ConfigError: there are more than the networks have classes for.
        """
        names = sorted({name_of(clip) for clip in clips})
        if len(names) > self.num_classes:
            raise ConfigError(
                f"PC_AVS.num_classes is {self.num_classes}, and the training clips have {len(names)} speakers: "
                f"add --PC_AVS.num_classes={len(names)}."
            )
        self.numbers = {name: number for number, name in enumerate(names)}

    def labels(self, clips: Sequence[Clip]) -> list[int]:
        """The number of each clip's speaker; -1 for one whom training does not have."""
        if not self.numbers:
            self.learn(clips)
        return [self.numbers.get(name_of(clip), UNKNOWN) for clip in clips]


def name_of(clip: Clip) -> str:
    """Who speaks in a clip; a clip that does not say so is a speaker of its own."""
    return clip.speaker or clip.name


# --- stage 1: identity ------------------------------------------------------------------------------------------------


class IdentityStage(Stage):
    """Who is it? netV classifies single frames by their speaker (loss_cls, section 3.2 of the paper).

    Validation is on clips of the training's own speakers that are kept back, where they have several: the speakers of the
    validation split are unknown to it. "accuracy" is reported, not trained.

    Args:
        samples_per_clip: frames of each clip per epoch.
        resnext_file: torchvision's ImageNet weights to start the trunk from: a file, "torchvision" for its cache, "" for
            made-up weights.
    """

    monitor = "identity"

    def __init__(
        self,
        model: PC_AVS,
        loss_weights: Mapping[str, float] | None = None,
        samples_per_clip: int = 1,
        resnext_file: str = "",
    ):
        super().__init__(loss_weights if loss_weights is not None else {"identity": 1.0, "accuracy": 0.0})
        self.identity = model.identity
        self.samples_per_clip = samples_per_clip
        self.speakers = Speakers(model.num_classes)
        self.kept_back: list[Clip] = []
        if resnext_file:
            load_resnext(self.identity.model, resnext_file)

    def trainable(self) -> dict[str, list[nn.Module]]:
        return {"identity": [self.identity.model, self.identity.fc]}

    def samples(self, clips: Sequence[Clip], split: str) -> Samples:
        if split == "train":
            self.speakers.learn(clips)
            clips, self.kept_back = held_back(clips)
        elif self.kept_back:
            clips = self.kept_back
        return Portraits(clips, self.speakers.labels(clips), self.samples_per_clip)

    def losses(self, batch: Batch) -> Iterator[tuple[str, dict[str, Tensor]]]:
        logits = self.identity(pictures(batch["picture"]))[2]
        speaker = batch["speaker"]
        yield "identity", {"identity": classification(logits, speaker), "accuracy": accuracy(logits, speaker)}


def load_resnext(trunk: nn.Module, file: str) -> None:
    """Start a ResNeXt-50 from torchvision's file; its thousand classes are left aside.

    Raises:
        MissingWeightsError: there is no such file.
        CheckpointError: it is another file, or the trunk is not of the published width.
    """
    otherwise = 'Or start from made-up weights: --identity.resnext_file="".'
    path = find_file(RESNEXT50, "" if file == "torchvision" else file, otherwise)
    state = read_weights(path).state
    load_weights(trunk, {name: value for name, value in state.items() if not name.startswith("fc.")}, path)


# --- stage 2: speech content ------------------------------------------------------------------------------------------


class SyncStage(Stage):
    """What is said? Lips and speech of a clip come to one place, away from those of other clips (section 3.2 of the paper).

    A batch is B clips of several frames; the features of a clip are one vector. Lips are read from changed frames, as in the
    generator stage (inferred). Without a file for the FAN trunk, all of netE's trunk is trained (inferred); with one, what
    it has stays as it is, and only the layers behind it learn.

    "accuracy" is how often a clip's speech is nearest to its own lips: reported, not trained.

    Args:
        samples_per_clip: clips of each prepared clip per epoch.
        clip_len: frames of a clip.
        frame_interval: frames from one to the next.
        clips_per_video: clips of one video in a sample. Others of the same video cannot be told by who speaks, so with more
            than one the networks must hear and see what is said.
        nearness, temperature: of the contrastive losses, see `Nearness`.
        fan_file: weights of a face alignment network (2D-FAN) for netE's trunk; "" = none.
        classifiers: also train netA_sync.fc and netE.classifier to tell the speaker from features that are held fixed. It
            changes nothing else: it shows how much the features say about who speaks.
    """

    monitor = "contrastive_a2v"

    def __init__(
        self,
        model: PC_AVS,
        loss_weights: Mapping[str, float] | None = None,
        samples_per_clip: int = 1,
        clip_len: int = 12,
        frame_interval: int = 1,
        clips_per_video: int = 1,
        nearness: str = "inverse",
        temperature: float = 1.0,
        fan_file: str = "",
        classifiers: bool = False,
    ):
        super().__init__(loss_weights if loss_weights is not None else SYNC_WEIGHTS)
        self.speech, self.pose_mouth = model.speech, model.pose_mouth
        self.samples_per_clip = samples_per_clip
        at_least_one("sync", clip_len=clip_len, frame_interval=frame_interval, clips_per_video=clips_per_video)
        self.clip_len, self.frame_interval, self.clips_per_video = clip_len, frame_interval, clips_per_video
        self.fan_file, self.classifiers = fan_file, classifiers
        self.near = Nearness(nearness, temperature).checked("sync")
        self.speakers = Speakers(model.num_classes)
        if not classifiers:
            self.loss_weights = without(self.loss_weights, {"speaker_heard", "speaker_seen"})
        if fan_file:
            load_fan(self.pose_mouth.model, Path(fan_file).expanduser())

    def trainable(self) -> dict[str, list[nn.Module]]:
        trunk = self.pose_mouth.model
        encoder = [getattr(trunk, name.rstrip(".")) for name in TAIL] if self.fan_file else [trunk]
        groups: dict[str, list[nn.Module]] = {"content": [self.speech.model, *encoder, self.pose_mouth.to_mouth]}
        return groups | ({"classifiers": [self.speech.fc, self.pose_mouth.classifier]} if self.classifiers else {})

    def samples(self, clips: Sequence[Clip], split: str) -> Samples:
        if split == "train" and self.classifiers:
            self.speakers.learn(clips)
        labels = self.speakers.labels(clips) if self.classifiers else [UNKNOWN] * len(clips)
        return SpeechClips(clips, labels, self.clip_len, self.frame_interval, self.samples_per_clip, self.clips_per_video)

    def losses(self, batch: Batch) -> Iterator[tuple[str, dict[str, Tensor]]]:
        frames, mels = (batch[name].flatten(0, 1) for name in ("augmented", "mels"))  # (B, L, ...), B clips of all videos
        features = self.pose_mouth(pictures(frames).flatten(0, 1))
        lips, speech = self.pose_mouth.to_mouth(features), self.speech(mels.unsqueeze(2))
        lips_of_clips, speech_of_clips = (of_clips(content, len(mels)) for content in (lips, speech))
        found = self.near.of(speech_of_clips, lips_of_clips).argmax(dim=1)
        right = (found == torch.arange(len(found), device=found.device)).float().mean()
        yield "content", content_losses(lips_of_clips, speech_of_clips, self.near) | {"accuracy": right}
        if self.classifiers:
            speaker = batch["speaker"].repeat_interleave(len(lips) // len(batch["speaker"]))
            heard, seen = self.speech.fc(speech.detach()), self.pose_mouth.classifier(features.detach())
            speakers = {"speaker_heard": classification(heard, speaker), "speaker_seen": classification(seen, speaker)}
            yield "classifiers", speakers


def content_losses(lips: Tensor, speech: Tensor, near: Nearness) -> dict[str, Tensor]:
    """What brings the content of lips and speech together: of clips, (B, D) each."""
    return {
        "crossmodal": crossmodal(lips, speech),
        "contrastive_a2v": contrastive(lips, speech, near),
        "contrastive_v2a": contrastive(speech, lips, near),
    }


def of_clips(features: Tensor, count: int) -> Tensor:
    """(B L, D) -> (B, L D): the features of a clip as one vector."""
    return features.unflatten(0, (count, -1)).flatten(1)


def load_fan(trunk: nn.Module, path: Path) -> None:
    """Start netE's trunk from a face alignment network with at least one stack; what it does not have stays as it is.

    Raises:
        MissingWeightsError: there is no such file.
        CheckpointError: it is another network, or the trunk is not of the published width.
    """
    own, state = trunk.state_dict(), read_weights(path).state
    tail = {name: value for name, value in own.items() if name.startswith(TAIL)}
    load_weights(trunk, {name: value for name, value in state.items() if name in own} | tail, path)


# --- stage 3: the generator -------------------------------------------------------------------------------------------


class Seen(NamedTuple):
    """What the networks make of a batch of B clips of L frames, m of which are generated.

    Attributes:
        speakers: (B, classes) scores of the identity pictures.
        lips, speech: (B, L 512) content of each clip.
        poses: (B, L 12) pose codes of each clip.
        painted: path -> (m, 3, S, S) frames with the mouth of the "audio", and of the "video" where that is trained.
        truth: (m, 3, S, S) the real frames.
    """

    speakers: Tensor
    lips: Tensor
    speech: Tensor
    poses: Tensor
    painted: dict[str, Tensor]
    truth: Tensor


class GeneratorStage(Stage):
    """Frames of one picture's person, with the mouth of the speech or of the lips and the pose of changed frames (section 3.3).

    The generator and all encoders learn from an adversary, feature matching, L1, VGG19 features, the speaker and the losses
    of the sync stage; the discriminator learns in turn. The pose comes from frames whose colors and shape were changed, the
    target is the frame as it was: so the pose code cannot say who it is.

    Inferred: `mouth_embed` is trained (the released list of parameters forgets it); the identity picture is a random frame of
    the clip; parameters start as StyleGAN2's. The loss "mouth", the L1 of the mouth alone, is not the authors': it is
    off by default and makes short trainings look there first.

    Args:
        samples_per_clip: samples of each prepared clip per epoch.
        clip_len: frames of a clip; netE's headpose_fc gets a new start where it was made for another number.
        frame_interval: frames from one to the next.
        generate_interval: every so many frames of a clip one is generated.
        num_inputs: identity pictures whose features are averaged.
        generate_from_audio_only: leave out the frames whose mouth comes from the lips of the video, and their losses.
        nearness, temperature: of the contrastive losses, see `Nearness`.
        perceptual: "vgg19", or "none": train without.
        vgg_file: torchvision's weights for it; "" = torchvision's cache.
        vggface_file: weights of a VGG19 with batch norms that recognizes faces, for the loss "vggface"; "" = none.
        disentangle: pose codes of clips that span 20 frames or more must not tell the speaker. "intended" = the codes learn
            it; "released" = only a number without gradient, as the released code computes it; "off".
        augment: change colors and shape of the frames that lips and pose are read from.
        discriminator_file: weights for the discriminator to start from (latest_net_D.pth); "" = made-up ones.
        fix_netG, fix_netV, fix_netE, fix_netE_mouth, fix_netE_headpose, fix_netA_sync, fix_netD: keep this network, or this
            part of netE, as it is.
    """

    monitor = "image_audio"

    def __init__(
        self,
        model: PC_AVS,
        loss_weights: Mapping[str, float] | None = None,
        samples_per_clip: int = 1,
        clip_len: int = 2,
        frame_interval: int = 10,
        generate_interval: int = 2,
        num_inputs: int = 1,
        generate_from_audio_only: bool = False,
        nearness: str = "inverse",
        temperature: float = 1.0,
        perceptual: str = "vgg19",
        vgg_file: str = "",
        vggface_file: str = "",
        disentangle: str = "intended",
        augment: bool = True,
        discriminator_file: str = "",
        fix_netG: bool = False,
        fix_netV: bool = False,
        fix_netE: bool = False,
        fix_netE_mouth: bool = False,
        fix_netE_headpose: bool = False,
        fix_netA_sync: bool = False,
        fix_netD: bool = False,
    ):
        super().__init__(loss_weights if loss_weights is not None else GENERATOR_WEIGHTS)
        one_of("generator.perceptual", perceptual, ("vgg19", "none"))
        one_of("generator.disentangle", disentangle, DISENTANGLE)
        numbers = {"clip_len": clip_len, "frame_interval": frame_interval, "generate_interval": generate_interval}
        at_least_one("generator", **numbers, num_inputs=num_inputs)
        self.clip_len, self.frame_interval, self.generate_interval, self.num_inputs = *numbers.values(), num_inputs
        if model.voice is not None:
            raise ConfigError("PC_AVS.use_audio_id: how a generator learns from the voice is not published; train without it.")
        self.generator, self.identity = model.generator, model.identity
        self.pose_mouth, self.speech = model.pose_mouth, model.speech
        self.with_spatial_identity = model.input_id_feature
        self.near = Nearness(nearness, temperature).checked("generator")
        self.samples_per_clip, self.from_audio_only, self.augment = samples_per_clip, generate_from_audio_only, augment
        self.disentangle = disentangle if clip_len * frame_interval >= LONG_ENOUGH else "off"
        self.speakers = Speakers(model.num_classes)
        fit_pose_head(self.pose_mouth, model.pose_dim * clip_len, model.num_classes)
        self.discriminator = MultiscaleDiscriminator(model.width)
        if discriminator_file:
            path = Path(discriminator_file).expanduser()
            load_weights(self.discriminator, read_weights(path).state, path)
        self.perceptual: PerceptualLoss | None = None
        self.perceptual_faces: PerceptualLoss | None = None
        if perceptual == "vgg19":
            self.perceptual = PerceptualLoss.vgg19(vgg_file, otherwise="Or train without: --generator.perceptual=none.")
        if vggface_file:
            self.perceptual_faces = PerceptualLoss.vggface(vggface_file)
        self.loss_weights = without(self.loss_weights, self.unused_losses(fix_netD))
        mouth, pose = (fix_netE or fix_netE_mouth), (fix_netE or fix_netE_headpose)
        encoder = self.pose_mouth
        learns: list[tuple[bool, list[nn.Module]]] = [
            (fix_netG, [self.generator]),
            (fix_netV, [self.identity]),
            (fix_netE, [encoder.model]),
            (mouth, [encoder.to_mouth, encoder.mouth_embed]),
            (pose, [encoder.to_headpose, encoder.headpose_embed]),
            (fix_netA_sync, [self.speech.model]),
        ]
        judges: list[tuple[bool, list[nn.Module]]] = [
            (fix_netD, [self.discriminator]),
            (self.disentangle == "off", [encoder.headpose_fc]),
        ]
        self.learning = {
            "generator": [network for fixed, networks in learns if not fixed for network in networks],
            "discriminator": [network for fixed, networks in judges if not fixed for network in networks],
        }

    def unused_losses(self, fix_netD: bool) -> set[str]:
        """The losses that the settings turn off."""
        off = {f"{name}_video" for name in OF_PICTURES} if self.from_audio_only else set()
        off |= {f"vgg_{path}" for path in PATHS} if self.perceptual is None else set()
        off |= {f"vggface_{path}" for path in PATHS} if self.perceptual_faces is None else set()
        off |= {"disentangle", "pose_speaker"} if self.disentangle == "off" else set()
        return off | ({"fake", "real"} if fix_netD else set())

    def trainable(self) -> dict[str, list[nn.Module]]:
        return {group: networks for group, networks in self.learning.items() if networks}

    def samples(self, clips: Sequence[Clip], split: str) -> Samples:
        if split == "train":
            self.speakers.learn(clips)
        return TalkingClips(
            clips,
            self.speakers.labels(clips),
            self.clip_len,
            self.frame_interval,
            self.samples_per_clip,
            every=self.generate_interval,
            references=self.num_inputs,
            change=self.augment,
        )

    def losses(self, batch: Batch) -> Iterator[tuple[str, dict[str, Tensor]]]:
        identity, frames, augmented = (pictures(batch[name]) for name in ("identity", "frames", "augmented"))
        seen = self.look(identity, frames, augmented, batch["mels"].unsqueeze(2))
        yield "generator", self.generator_losses(seen, batch["speaker"])
        if self.learning["discriminator"]:
            yield "discriminator", self.discriminator_losses(seen, batch["speaker"])

    def look(self, identity: Tensor, frames: Tensor, augmented: Tensor, mels: Tensor) -> Seen:
        """Encode a batch and generate its frames.

        Args:
            identity: (B, N, 3, S, S) pictures in [-1, 1].
            frames: (B, m / B, 3, S, S) those that are generated, as they are.
            augmented: (B, L, 3, S, S) all frames, changed.
            mels: (B, L, 1, 80, 20).
        """
        count, generated = len(mels), frames.shape[1]
        pooled, spatial, speakers = self.identity(identity)
        features = self.pose_mouth(augmented.flatten(0, 1))
        lips, speech, poses = self.pose_mouth.to_mouth(features), self.speech(mels), self.pose_mouth.pose_code(features)
        mouths = {"audio": speech}  # without the factor that generation gives it
        if not self.from_audio_only:
            mouths["video"] = lips
        who = torch.arange(count, device=pooled.device).repeat_interleave(generated).repeat(len(mouths))
        mouth = torch.cat([self.chosen(self.pose_mouth.mouth_code(content), count) for content in mouths.values()])
        pose = self.chosen(poses, count).repeat(len(mouths), 1)
        style = torch.cat([code.float() for code in (pooled[who], mouth, pose)], dim=1)
        painted = self.generator(style, spatial[who] if self.with_spatial_identity else None)
        return Seen(
            speakers,
            of_clips(lips, count),
            of_clips(speech, count),
            of_clips(poses, count),
            dict(zip(mouths, painted.chunk(len(mouths)), strict=True)),
            frames.flatten(0, 1),
        )

    def chosen(self, codes: Tensor, count: int) -> Tensor:
        """(B L, D) of all frames -> (m, D) of those that are generated."""
        return codes.unflatten(0, (count, -1))[:, :: self.generate_interval].flatten(0, 1)

    def generator_losses(self, seen: Seen, speaker: Tensor) -> dict[str, Tensor]:
        """Everything that the generator and the encoders learn from."""
        losses = content_losses(seen.lips, seen.speech, self.near)
        answers = parts(self.discriminator(torch.cat([*seen.painted.values(), seen.truth])), len(seen.painted) + 1)
        for path, judged in zip(seen.painted, answers, strict=False):
            losses |= self.picture_losses(path, seen.painted[path], seen.truth, judged, answers[-1])
        losses["identity"] = classification(seen.speakers, speaker)
        if self.disentangle == "intended":
            losses["disentangle"] = from_uniform(self.pose_mouth.headpose_fc(seen.poses))
        elif self.disentangle == "released":
            with torch.no_grad():
                losses["disentangle"] = from_uniform(self.pose_mouth.headpose_fc(seen.poses))
        return losses

    def picture_losses(self, path: str, painted: Tensor, truth: Tensor, judged: Answers, real: Answers) -> dict[str, Tensor]:
        """What generated frames are worth, by the discriminator and by what they should be; names end in the path."""
        image, features = feature_distances(judged, real)
        losses = {"gan": hinge_generator(scores(judged)), "image": image, "features": features}
        if self.perceptual is not None:
            losses["vgg"] = self.perceptual(painted, truth)
        if self.perceptual_faces is not None:
            losses["vggface"] = self.perceptual_faces(painted, truth)
        if self.loss_weights.get(f"mouth_{path}"):
            losses["mouth"] = F.l1_loss(mouth_area(painted).float(), mouth_area(truth))
        return {f"{name}_{path}": loss for name, loss in losses.items()}

    def discriminator_losses(self, seen: Seen, speaker: Tensor) -> dict[str, Tensor]:
        """What the discriminator learns from, and the head that guesses the speaker from pose codes."""
        losses: dict[str, Tensor] = {}
        if self.discriminator in self.learning["discriminator"]:
            fakes = [painted.detach() for painted in seen.painted.values()]
            fake, real = parts(self.discriminator(torch.cat([*fakes, *[seen.truth] * len(fakes)])), 2)
            losses |= {"fake": hinge_fake(scores(fake)), "real": hinge_real(scores(real))}
        if self.disentangle != "off":
            losses["pose_speaker"] = classification(self.pose_mouth.headpose_fc(seen.poses.detach()), speaker)
        return losses

    def preview(self, batch: Batch) -> np.ndarray:
        """Up to four samples below each other: identity, what the pose is read from, generated from the speech, truth."""
        identity, frames, augmented = (pictures(batch[name][:4]) for name in ("identity", "frames", "augmented"))
        seen = self.look(identity, frames, augmented, batch["mels"][:4].unsqueeze(2))
        painted = seen.painted["audio"].unflatten(0, (len(frames), -1))
        rows = torch.cat([picture[:, 0].float() for picture in (identity, augmented, painted, frames)], dim=-1)
        return np.concatenate(to_pictures(rows))


def fit_pose_head(encoder: PoseMouthEncoder, inputs: int, classes: int) -> None:
    """Give netE's headpose_fc a new start where it was made for clips of another length."""
    weight = encoder.headpose_fc[1].weight
    if isinstance(weight, Tensor) and weight.shape[1] != inputs:
        encoder.headpose_fc = head(inputs, classes).to(weight.device)
