"""How DAVS learns: two spaces by classification, each cleaned of what belongs to the other, then pictures made of both.

The order is the paper's: `word` and `person` make the spaces, `disentangle` cleans them, `generator` paints; `painter` goes on
painting alone, and is not theirs. The authors released `generator`, with one of the two cleanings inside it (recipe "released"),
and a fragment of `word`; the rest is inferred from the paper and marked so below. Pictures are RGB in [0, 1]; words are embedded
as (B, T, 256), in each second frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from talkingface.dataset.base import Clip, Samples
from talkingface.dataset.classes import speakers_of, words_of
from talkingface.dataset.split import held_back
from talkingface.errors import ConfigError
from talkingface.model.davs.data import JITTER, Lengths, SpokenWords, unit
from talkingface.model.davs.networks import (
    FrameDiscriminator,
    IdentityEncoder,
    ModalityDiscriminator,
    PersonClassifier,
    WordFromPersonClassifier,
)
from talkingface.model.stage import Batch, Stage

if TYPE_CHECKING:
    from talkingface.model.davs.model import DAVS

Losses = dict[str, Tensor]
SOFT = 0.1  # largest distance of a soft label from 1 or 0


# --- losses -----------------------------------------------------------------------------------------------------------


def bce(probability: Tensor, label: float) -> Tensor:
    """Binary cross entropy of probabilities with one label, in full precision."""
    with torch.autocast(probability.device.type, enabled=False):
        probability = probability.float().clamp(0, 1)
        return F.binary_cross_entropy(probability, torch.full_like(probability, label))


def distances(rows: Tensor, others: Tensor) -> Tensor:
    """Euclidean distances of all rows (N, D) to all others (N, D): [i, j] from row i to other j."""
    return torch.linalg.vector_norm(rows[:, None] - others[None], dim=-1)


def contrastive(rows: Tensor, others: Tensor, margin: float = 1.0, hardest: bool = False) -> Tensor:
    """Rows (N, D) and others of the same number come near each other, all the rest stay `margin` apart (squared, over 2 N).

    Args:
        hardest: of each row, only the nearest wrong one counts.
    """
    apart = distances(rows.float(), others.float())
    own = torch.eye(len(apart), dtype=torch.bool, device=apart.device)
    close = (margin - apart).clamp(min=0).square().masked_fill(own, 0)
    wrong = close.amax(dim=1).sum() if hardest else close.sum()
    return (wrong + apart.diagonal().square().sum()) / (2 * len(apart))


def ranking(rows: Tensor, others: Tensor, margin: float = 0.2) -> Tensor:
    """Sum of max(0, margin + s_ij - s_ii) over all i != j, s the dot products of rows (N, D) and others."""
    products = rows.float() @ others.float().T
    lost = (margin + products - products.diagonal()[:, None]).clamp(min=0)
    return lost.masked_fill(torch.eye(len(lost), dtype=torch.bool, device=lost.device), 0).sum()


def uniformity(logits: Tensor) -> Tensor:
    """How far a classifier's probabilities (N, classes) are from saying nothing: mean squared difference to 1 / classes."""
    return (logits.float().softmax(dim=-1) - 1 / logits.shape[-1]).square().mean()


def uniform_cross_entropy(logits: Tensor) -> Tensor:
    """Mean of minus the logarithm of a classifier's probabilities (N, classes): least where all are equal."""
    return -logits.float().log_softmax(dim=-1).mean()


EVENNESS: dict[str, Callable[[Tensor], Tensor]] = {"squares": uniformity, "logarithms": uniform_cross_entropy}
"""How far a critic is from saying nothing; the authors' code has both and uses the first."""


def soft_label(training: bool) -> float:
    """By how much a label is softened: drawn from [0, 0.1) in training, its mean else. The trainer resumes torch's chance."""
    return SOFT * (float(torch.rand(())) if training else 0.5)


def mouth_mask(pictures: Tensor) -> Tensor:
    """1 where the mouth of an aligned face is, else 0: (1, 1, H, W) for pictures (..., H, W)."""
    height, width = pictures.shape[-2:]
    mask = pictures.new_zeros(1, 1, height, width)
    mask[..., round(height * 170 / 256) : round(height * 234 / 256), round(width * 64 / 256) : round(width * 192 / 256)] = 1
    return mask


def flat(embeddings: Tensor, chunks: int = 1) -> Tensor:
    """Embeddings (B, T, D) as rows of length 1, `chunks` per sample: (chunks B, T D / chunks)."""
    return F.normalize(embeddings.float().reshape(chunks * len(embeddings), -1), dim=1)


def on_channels(pictures: Tensor) -> Tensor:
    """Pictures in time (B, T, C, H, W) as the channels of one: (B, T C, H, W)."""
    return pictures.flatten(1, 2)


# --- what stages share ------------------------------------------------------------------------------------------------


class SpaceStage(Stage):
    """A stage on clips of known words or persons.

    Classes are those of the training clips, for which the trainer asks first. Of each training speaker's clips some are kept
    back; they are the validation samples of stages that classify persons, since the people of the validation split are others.

    Args:
        samples_per_clip: samples of each clip per epoch.
        jitter: by how much pictures are moved at random in training, in pixels of a picture of 256.

    Raises:
        ConfigError: the jitter is beyond the border that prepared faces have.
    """

    parts: Sequence[str] = ()
    of_words: bool = True
    of_persons: bool = False

    def __init__(self, model: DAVS, loss_weights: Mapping[str, float] | None, samples_per_clip: int, jitter: float):
        super().__init__(loss_weights)
        if not 0 <= jitter <= JITTER:
            raise ConfigError(f"jitter: expected 0 to {JITTER} pixels, got {jitter}.")
        self.lengths = Lengths(model.disfc_length, model.pred_length, model.sequence_length).check()
        self.side, self.samples_per_clip, self.jitter = model.image_size, samples_per_clip, jitter
        self.sizes = {"word": model.label_size, "person": model.id_label_size}
        self.known: dict[str, dict[str, int]] = {}
        self.back: list[Clip] = []

    def samples(self, clips: Sequence[Clip], split: str) -> Samples:
        if split == "train" or not self.known:
            self.known = self.classes(clips)
            training, self.back = held_back(clips)
        if split == "train":
            clips = training
        elif self.of_persons:
            clips = self.back
        words, persons = self.known.get("word"), self.known.get("person")
        known = [clip for clip in clips if words is None or clip.word in words]
        what = (self.side, self.lengths, self.parts)
        return SpokenWords(known, words, persons, *what, split == "train", self.samples_per_clip, self.jitter)

    def classes(self, clips: Sequence[Clip]) -> dict[str, dict[str, int]]:
        """Of words and of persons, as far as the stage asks for them: name -> class number.

        Raises:
            DatasetError: a clip does not say which it is.
            ConfigError: there are more classes than the classifiers have.
        """
        known = {"word": words_of(clips)} if self.of_words else {}
        known |= {"person": speakers_of(clips)} if self.of_persons else {}
        for of, numbers in known.items():
            setting = {"word": "label_size", "person": "id_label_size"}[of]
            if (needed := max(numbers.values(), default=0) + 1) > self.sizes[of]:
                raise ConfigError(
                    f"DAVS.{setting}: it is {self.sizes[of]}, and the clips are of {needed} classes; set it to {needed}."
                )
        return known


class Spoken(NamedTuple):
    """What a batch of one-word clips says, embedded: (B, T, 256) each."""

    audio: Tensor
    video: Tensor

    def detached(self) -> Spoken:
        """The same, for critics: nothing of what they learn reaches the encoders."""
        return Spoken(self.audio.detach(), self.video.detach())


class JointStage(SpaceStage):
    """A stage that trains the joint space of words: sound and lips of one word in one place, and nothing that tells them apart.

    Args:
        l2_margin: from which distance on two different words are far enough from each other.
        hardest: only the nearest wrong word counts in the contrastive loss.
        chunks: into how many pieces in time an embedding is cut for the contrastive loss.
    """

    def __init__(
        self,
        model: DAVS,
        loss_weights: Mapping[str, float] | None,
        samples_per_clip: int,
        jitter: float,
        l2_margin: float,
        hardest: bool,
        chunks: int,
    ):
        super().__init__(model, loss_weights, samples_per_clip, jitter)
        self.speech, self.lips, self.words = model.speech, model.lips, model.words
        self.modality = ModalityDiscriminator(model.feature_length)
        self.l2_margin, self.hardest, self.chunks = l2_margin, hardest, chunks
        if self.lengths.heard % chunks:
            raise ConfigError(f"chunks: {self.lengths.heard} frames (DAVS.pred_length) cannot be cut into {chunks} equal pieces.")

    def spoken(self, batch: Batch) -> Spoken:
        """Sound and lips of a batch, embedded."""
        return Spoken(self.speech(batch["mfcc"][:, :, None]), self.lips(unit(batch["heard"])))

    def modality_losses(self, spoken: Spoken) -> Losses:
        """The critic's: is this the embedding of sound (1) or of lips (0)?"""
        audio, video = spoken.detached()
        return {"modality": (bce(self.modality(video), 0.0) + bce(self.modality(audio), 1.0)) / 2}

    def word_losses(self, spoken: Spoken, word: Tensor) -> Losses:
        """The encoders': the word is known from each, the two come together, and the critic of modalities errs."""
        return {
            "audio_word": F.cross_entropy(self.words(spoken.audio).float(), word),
            "video_word": F.cross_entropy(self.words(spoken.video).float(), word),
            "audio_modality": bce(self.modality(spoken.audio), 0.0),
            "video_modality": bce(self.modality(spoken.video), 1.0),
            "contrastive": self.contrast(spoken.video.detach(), spoken.audio),
        }

    def contrast(self, still: Tensor, moved: Tensor) -> Tensor:
        """The contrastive loss of two embeddings (B, T, D) of the same words."""
        return contrastive(flat(still, self.chunks), flat(moved, self.chunks), self.l2_margin, self.hardest)


# --- 1: the spaces ----------------------------------------------------------------------------------------------------


class WordStage(JointStage):
    """The space of words, shared by sound and lips: a word classifier, a contrastive loss and a critic of modalities.

    As in the authors' fragment `optimize_parameters_no_generation`: first the critic, then the encoders with both directions
    of the contrastive loss. "ranking" is reported and, with its published weight of 0, not trained.
    """

    monitor = "video_word"  # which learns later than "audio_word"
    parts = ("heard", "mfcc")

    def __init__(
        self,
        model: DAVS,
        loss_weights: Mapping[str, float] | None = None,
        samples_per_clip: int = 1,
        jitter: float = JITTER,
        l2_margin: float = 1.0,
        hardest: bool = False,
        chunks: int = 3,
        ranking_margin: float = 0.2,
    ):
        super().__init__(model, loss_weights, samples_per_clip, jitter, l2_margin, hardest, chunks)
        self.ranking_margin = ranking_margin

    def trainable(self) -> dict[str, list[nn.Module]]:
        return {"critic": [self.modality], "encoders": [self.speech, self.lips, self.words]}

    def losses(self, batch: Batch) -> Iterator[tuple[str, Losses]]:
        spoken = self.spoken(batch)
        yield "critic", self.modality_losses(spoken)
        yield (
            "encoders",
            {
                **self.word_losses(spoken, batch["word"]),
                "video_contrastive": self.contrast(spoken.audio.detach(), spoken.video),
                "ranking": ranking(flat(spoken.video), flat(spoken.audio), self.ranking_margin),
            },
        )


class PersonStage(SpaceStage):
    """The space of persons: the identity encoder with a classifier of who is seen, from single frames (inferred).

    "accuracy" is the share of frames whose person is known again: reported, not trained.
    """

    monitor = "person"
    parts = ("reference",)
    of_words, of_persons = False, True

    def __init__(
        self,
        model: DAVS,
        loss_weights: Mapping[str, float] | None = None,
        samples_per_clip: int = 1,
        jitter: float = JITTER,
    ):
        weights = loss_weights if loss_weights is not None else {"person": 1.0, "accuracy": 0.0}
        super().__init__(model, weights, samples_per_clip, jitter)
        self.identity, self.persons = model.identity, model.persons
        if model.recipe == "released":
            self.left_out = "DAVS.recipe=released begins with what DAVS.id_pretrain_path has, if anything; paper trains it."

    def trainable(self) -> dict[str, list[nn.Module]]:
        return {"encoder": [self.identity, self.persons]}

    def losses(self, batch: Batch) -> Iterator[tuple[str, Losses]]:
        logits = self.persons(self.identity(unit(batch["reference"]))[0]).float()
        right = logits.detach().argmax(dim=1) == batch["person"]
        yield "encoder", {"person": F.cross_entropy(logits, batch["person"]), "accuracy": right.float().mean()}


# --- 2: each space forgets what belongs to the other ------------------------------------------------------------------


class CleaningStage(JointStage):
    """A stage whose critics read from each space what belongs to the other, and whose encoders leave them nothing to read.

    Recipe "released" has the authors' half: the word is removed from the person space. Recipe "paper" has both: the person is
    removed from the space of words as well, and persons stay known from their own space (section 3 of the paper; inferred).

    Args:
        evenness: how far a critic is from saying nothing: "squares" or "logarithms" of its probabilities.
    """

    parts = ("reference", "spoken", "heard", "mfcc")

    def __init__(
        self,
        model: DAVS,
        loss_weights: Mapping[str, float] | None,
        samples_per_clip: int,
        jitter: float,
        l2_margin: float,
        hardest: bool,
        evenness: str,
    ):
        super().__init__(model, loss_weights, samples_per_clip, jitter, l2_margin, hardest, chunks=1)
        if evenness not in EVENNESS:
            raise ConfigError(f"evenness: expected one of {', '.join(EVENNESS)}, got {evenness!r}.")
        self.evenness = EVENNESS[evenness]
        self.both = self.of_persons = model.recipe == "paper"
        self.identity = model.identity
        self.word_from_person = WordFromPersonClassifier(model.width, self.side, self.lengths.spoken, model.label_size)
        if self.both:
            self.persons = model.persons
            self.person_from_word = PersonClassifier(model.id_label_size, model.feature_length)
        else:
            self.drop("person", "person_from_word", "forget_person")

    def drop(self, *losses: str) -> None:
        """Forget the weights of losses that do not occur with these settings."""
        for name in losses:
            self.loss_weights.pop(name, None)

    def critics(self) -> list[nn.Module]:
        """The classifiers that are trained to read what should not be there."""
        return [self.modality, self.word_from_person, *([self.person_from_word] if self.both else [])]

    def encoders(self) -> list[nn.Module]:
        """What makes the spaces, with the classifiers of their own classes."""
        return [self.speech, self.lips, self.words, self.identity, *([self.persons] if self.both else [])]

    def critic_losses(self, spoken: Spoken, maps: Tensor, batch: Batch) -> Losses:
        """The critics': modality, the word from the person space's maps of all frames, the person from the words."""
        losses = self.modality_losses(spoken)
        losses["word_from_person"] = F.cross_entropy(self.word_from_person(maps.detach()).float(), batch["word"])
        if self.both:
            losses["person_from_word"] = F.cross_entropy(self.persons_in(spoken.detached()), batch["person"].repeat(2))
        return losses

    def encoder_losses(self, spoken: Spoken, maps: Tensor, feature: Tensor, batch: Batch) -> Losses:
        """The encoders': words are known and persons are, and the critics' answers are as good as none.

        Args:
            maps: first maps of the person space, of the frames that the critic of words sees.
            feature: (B, 256) of the reference.
        """
        losses = self.word_losses(spoken, batch["word"])
        losses["forget_word"] = self.evenness(self.word_from_person(maps))
        if self.both:
            losses["forget_person"] = self.evenness(self.persons_in(spoken))
            losses["person"] = F.cross_entropy(self.persons(feature).float(), batch["person"])
        return losses

    def persons_in(self, spoken: Spoken) -> Tensor:
        """What the critic of persons says of clips by their sound, and then by their lips: (2 B, persons).

        It reads the mean over time: what a person is stays, and what is said passes.
        """
        return self.person_from_word(torch.cat(spoken).mean(dim=1)).float()


class DisentangleStage(CleaningStage):
    """Adversarial disentangling of the spaces of words and persons before anything is painted: critics first, then encoders."""

    def __init__(
        self,
        model: DAVS,
        loss_weights: Mapping[str, float] | None = None,
        samples_per_clip: int = 1,
        jitter: float = JITTER,
        l2_margin: float = 1.0,
        hardest: bool = False,
        evenness: str = "squares",
    ):
        super().__init__(model, loss_weights, samples_per_clip, jitter, l2_margin, hardest, evenness)
        if not self.both:
            self.left_out = "DAVS.recipe=released cleans the person space while it learns to paint; paper cleans both here."

    def trainable(self) -> dict[str, list[nn.Module]]:
        return {"critics": self.critics(), "encoders": self.encoders()}

    def losses(self, batch: Batch) -> Iterator[tuple[str, Losses]]:
        spoken = self.spoken(batch)
        feature = self.identity(unit(batch["reference"]))[0]
        maps = first_maps(self.identity, batch["spoken"])
        yield "critics", self.critic_losses(spoken, maps, batch)
        yield "encoders", self.encoder_losses(spoken, maps, feature, batch)


# --- 3: pictures ------------------------------------------------------------------------------------------------------


class Painted(NamedTuple):
    """Six frames of each sample, painted and real: (B, T, 3, H, W) in [0, 1].

    Attributes:
        by_audio, by_video: painted from the sound, and from the lips.
        truth: the real ones.
        mfcc: (B, T, 20, 12), their speech.
        reference: (B, 3, H, W), who it is.
    """

    by_audio: Tensor
    by_video: Tensor
    truth: Tensor
    mfcc: Tensor
    reference: Tensor

    def fakes(self) -> Tensor:
        """What was painted, by audio and then by video: (2 B, T, 3, H, W)."""
        return torch.cat((self.by_audio, self.by_video))


def picture_differences(painted: Painted) -> Losses:
    """Mean absolute differences to the real frames, of all and of the mouth alone.

    Differences of what is painted by audio and of what is painted by video are added up.
    """
    mask = mouth_mask(painted.truth)
    differences = [255 * (frames.float() - painted.truth).abs() for frames in (painted.by_audio, painted.by_video)]
    return {
        "l1": torch.stack([difference.mean() for difference in differences]).sum(),
        "mouth": torch.stack([(difference * mask).mean() for difference in differences]).sum(),
    }


def restlessness(painted: Painted) -> Tensor:
    """Mean absolute difference of what is painted by audio, but for the mouth, to the frame before; first to the reference."""
    before = torch.cat((painted.reference[:, None], painted.by_audio[:, :-1].detach()), dim=1)
    moved = ((painted.by_audio - before).float() * (1 - mouth_mask(painted.truth))).abs()
    return moved.mean() * moved.shape[1]


class Pass(NamedTuple):
    """What the networks make of a batch.

    Attributes:
        spoken: the words, embedded.
        person: what the identity encoder says of the reference.
        maps: its first maps of the frames that the critic of words sees.
        painted: the frames.
    """

    spoken: Spoken
    person: list[Tensor]
    maps: Tensor
    painted: Painted


class GeneratorStage(CleaningStage):
    """Talking faces from the person of one frame and the words of others: the authors' loop `Gen_final_v1.py`.

    Of one forward pass, first the critics learn (of modalities, of words in the person space, of single frames and of
    sequences), then all networks of the model. Critics of pictures judge patches, and how well the mouth and the speech go
    together ("combine"); their labels are soft. Differences of pictures count on a scale of 0 to 255, "mouth" only in there.
    "still" keeps what is painted by audio, but for the mouth, near the frame before.

    Args:
        sequence_gan: a critic sees all frames of a sample at once.
        single_gan: a critic sees one frame.
    """

    monitor = "l1"

    def __init__(
        self,
        model: DAVS,
        loss_weights: Mapping[str, float] | None = None,
        samples_per_clip: int = 1,
        jitter: float = JITTER,
        l2_margin: float = 1.0,
        hardest: bool = False,
        evenness: str = "squares",
        sequence_gan: bool = True,
        single_gan: bool = False,
    ):
        super().__init__(model, loss_weights, samples_per_clip, jitter, l2_margin, hardest, evenness)
        self.decoder = model.decoder
        self.discriminators = nn.ModuleDict()
        for name, used, frames in (("single", single_gan, 1), ("sequence", sequence_gan, self.lengths.painted)):
            if used:
                self.discriminators[name] = FrameDiscriminator(frames, model.width, self.side)
            else:
                self.drop(name, f"{name}_combine", f"real_{name}", f"real_{name}_combine")

    def trainable(self) -> dict[str, list[nn.Module]]:
        return {
            "critics": [*self.critics(), *self.discriminators.values()],
            "generator": [*self.encoders(), self.decoder],
        }

    def losses(self, batch: Batch) -> Iterator[tuple[str, Losses]]:
        made = self.forward_pass(batch)
        yield "critics", {**self.critic_losses(made.spoken, made.maps, batch), **self.discriminator_losses(made.painted)}
        yield (
            "generator",
            {
                **self.encoder_losses(made.spoken, made.maps, made.person[0], batch),
                **self.adversarial_losses(made.painted),
                **picture_differences(made.painted),
                "still": restlessness(made.painted),
            },
        )

    def forward_pass(self, batch: Batch) -> Pass:
        """All that both the critics and the generator learn from."""
        spoken, person = self.spoken(batch), self.identity(unit(batch["reference"]))
        return Pass(spoken, person, first_maps(self.identity, batch["spoken"]), self.painted(batch, spoken, person))

    def painted(self, batch: Batch, spoken: Spoken, person: list[Tensor]) -> Painted:
        """The frames of a batch that are generated, each by itself from the person and its word."""
        rows = torch.arange(len(spoken.audio), device=spoken.audio.device)[:, None]
        times = batch["painted"][:, None] + torch.arange(self.lengths.painted, device=rows.device)
        by_audio, by_video = (
            torch.stack([self.decoder(person, words) for words in space[rows, times].unbind(1)], dim=1) for space in spoken
        )
        truth, mfcc = unit(batch["heard"][rows, times]), batch["mfcc"][rows, times]
        return Painted(by_audio, by_video, truth, mfcc, unit(batch["reference"]))

    def judged(self, name: str, frames: Tensor, mfcc: Tensor) -> tuple[Tensor, Tensor]:
        """What a critic says of frames (B, T, 3, H, W) with their speech: of patches, and of mouth and speech together."""
        if name == "single":
            return self.discriminators[name](frames.flatten(0, 1), mfcc.flatten(0, 1)[:, None])
        return self.discriminators[name](on_channels(frames), mfcc)

    def discriminator_losses(self, painted: Painted, soft: Callable[[], float] | None = None) -> Losses:
        """Half the cross entropy on fakes and half that on the real frames, which count twice; of each critic and each output.

        Args:
            soft: draws by how much a label is softened.
        """
        soft = soft or partial(soft_label, self.training)
        fakes, truth, mfcc = painted.fakes().detach(), painted.truth.repeat(2, 1, 1, 1, 1), painted.mfcc.repeat(2, 1, 1, 1)
        losses: Losses = {}
        for name in self.discriminators:
            fake, real = self.judged(name, fakes, mfcc), self.judged(name, truth, mfcc)
            for output, of_fake, of_real in zip((name, f"{name}_combine"), fake, real, strict=True):
                losses[output] = (bce(of_fake, soft()) + bce(of_real, 1 - soft())) / 2
        return losses

    def adversarial_losses(self, painted: Painted) -> Losses:
        """Cross entropy of what the critics say of fakes with "real"."""
        losses: Losses = {}
        for name in self.discriminators:
            patches, together = self.judged(name, painted.fakes(), painted.mfcc.repeat(2, 1, 1, 1))
            losses |= {f"real_{name}": bce(patches, 1.0), f"real_{name}_combine": bce(together, 1.0)}
        return losses

    def preview(self, batch: Batch) -> np.ndarray:
        """Up to four samples below each other: the reference, then first and last frame by audio, by video, and real."""
        batch = {name: value[:4] for name, value in batch.items()}
        painted = self.painted(batch, self.spoken(batch), self.identity(unit(batch["reference"])))
        ends = [frames[:, end] for frames in (painted.by_audio, painted.by_video, painted.truth) for end in (0, -1)]
        return strips(torch.cat([painted.reference, *ends], dim=-1))


# --- 4: more pictures -------------------------------------------------------------------------------------------------


class PainterStage(SpaceStage):
    """Pictures alone, from spaces that stay as they are: the decoder learns from many single frames.

    Not the authors'. No critic and no encoder is trained, and nothing but the painted frames goes through the networks, so an
    update costs a small part of one of the stage `generator`: for short trainings, and for decoders of one's own.

    Args:
        samples_per_clip: frames of each clip per epoch; 0 leaves the stage out.
    """

    monitor = "l1"
    parts = ("reference", "heard", "mfcc")
    of_words = False

    def __init__(
        self,
        model: DAVS,
        loss_weights: Mapping[str, float] | None = None,
        samples_per_clip: int = 0,
        jitter: float = JITTER,
    ):
        super().__init__(model, loss_weights, max(1, samples_per_clip), jitter)
        if not samples_per_clip:
            self.left_out = "it is not the authors'; --painter.samples_per_clip=1 adds it."
        self.lengths = self.lengths._replace(painted=1)
        self.speech, self.lips, self.identity, self.decoder = model.speech, model.lips, model.identity, model.decoder

    def trainable(self) -> dict[str, list[nn.Module]]:
        return {"decoder": [self.decoder]}

    def losses(self, batch: Batch) -> Iterator[tuple[str, Losses]]:
        yield "decoder", picture_differences(self.painted(batch))

    def painted(self, batch: Batch) -> Painted:
        """One frame of each sample, by its sound and by its lips, which are painted together."""
        rows, times = torch.arange(len(batch["painted"]), device=batch["painted"].device), batch["painted"]
        truth, mfcc = unit(batch["heard"][rows, times]), batch["mfcc"][rows, times]
        with torch.no_grad():
            person = self.identity(unit(batch["reference"]))
            words = torch.cat((self.speech(mfcc[:, None, None]), self.lips(truth[:, None])))[:, 0]
        made = self.decoder([part.repeat(2, *[1] * (part.dim() - 1)) for part in person], words)
        by_audio, by_video = made[:, None].chunk(2)
        return Painted(by_audio, by_video, truth[:, None], mfcc[:, None], unit(batch["reference"]))

    def preview(self, batch: Batch) -> np.ndarray:
        """Up to four samples below each other: the reference, painted by sound, by lips, and the real frame."""
        painted = self.painted({name: value[:4] for name, value in batch.items()})
        columns = (painted.reference, painted.by_audio[:, 0], painted.by_video[:, 0], painted.truth[:, 0])
        return strips(torch.cat(columns, dim=-1))


def strips(rows: Tensor) -> np.ndarray:
    """Rows of pictures (B, 3, H, W) in [0, 1] below each other: (B H, W, 3) uint8."""
    return rows.float().clamp(0, 1).mul(255).byte().permute(0, 2, 3, 1).flatten(0, 1).cpu().numpy()


def first_maps(identity: IdentityEncoder, frames: Tensor) -> Tensor:
    """The first maps that the identity encoder makes of frames (B, T, H, W, 3), side by side: (B, T C, h, w)."""
    maps = identity.first_maps(unit(frames))
    return maps.reshape(len(frames), -1, *maps.shape[-2:])


STAGES: dict[str, type[Stage]] = {
    "word": WordStage,
    "person": PersonStage,
    "disentangle": DisentangleStage,
    "generator": GeneratorStage,
    "painter": PainterStage,
}
"""In training order."""
