"""How Wav2Lip is trained: the lip-sync expert, the generator that it judges, and the generator with an adversary as well."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from talkingface.dataset.base import Clip, Samples
from talkingface.errors import ConfigError
from talkingface.model.stage import Batch, Stage
from talkingface.model.wav2lip.data import FRAMES, MouthWindows, SyncWindows
from talkingface.model.wav2lip.networks import QualityDiscriminator, SyncExpert, lower_half
from talkingface.nn.weights import load_weights, read_weights

if TYPE_CHECKING:
    from talkingface.model.wav2lip.model import Wav2Lip


def unit(frames: Tensor) -> Tensor:
    """(B, T, H, W, 3) uint8 -> (B, 3, T, H, W) in [0, 1]."""
    return frames.permute(0, 4, 1, 2, 3).to(torch.float32, memory_format=torch.contiguous_format).div_(255)


def on_channels(frames: Tensor) -> Tensor:
    """(B, 3, T, H, W) -> (B, 3 T, H, W), frame after frame: what the expert looks at."""
    return frames.transpose(1, 2).flatten(1, 2)


def masked(frames: Tensor) -> Tensor:
    """The frames (..., H, W) with black lower halves."""
    half = frames.shape[-2] // 2
    return torch.cat((frames[..., :half, :], torch.zeros_like(frames[..., half:, :])), dim=-2)


def mouth(faces: Tensor) -> Tensor:
    """The part of faces (..., H, W) where their mouths are."""
    height, width = faces.shape[-2:]
    return faces[..., round(0.6 * height) : round(0.95 * height), round(0.2 * width) : round(0.8 * width)]


def bce(probability: Tensor, truth: Tensor | float) -> Tensor:
    """Binary cross entropy of probabilities, in full precision."""
    with torch.autocast(probability.device.type, enabled=False):
        probability = probability.float().clamp(0, 1)
        target = truth if isinstance(truth, Tensor) else torch.full_like(probability, truth)
        return F.binary_cross_entropy(probability, target)


def agreement(expert: SyncExpert, mel: Tensor, mouths: Tensor) -> Tensor:
    """(B,) cosines in [0, 1] of speech (B, 1, 80, 16) and mouths (B, 15, 48, 96): the expert's probability of sync."""
    speech, face = expert(mel, mouths)
    return F.cosine_similarity(speech.float(), face.float())


@contextmanager
def batch_statistics(network: nn.Module, on: bool) -> Iterator[None]:
    """While this lasts, batch norms use the statistics of the batch, and keep those that they have learnt."""
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)] if on else []
    before = [(norm.training, norm.track_running_stats) for norm in norms]
    try:
        for norm in norms:
            norm.training, norm.track_running_stats = True, False
        yield
    finally:
        for norm, (training, tracking) in zip(norms, before, strict=True):
            norm.training, norm.track_running_stats = training, tracking


class ExpertStage(Stage):
    """The lip-sync expert: cross entropy of the cosine between speech and five mouths, in sync or not (section 3.1 of the paper).

    "accuracy" is the share of windows that the cosine puts on the right side of 1/2: reported, not trained.

    Args:
        samples_per_clip: windows of each clip per epoch.
    """

    monitor = "sync"

    def __init__(self, model: Wav2Lip, loss_weights: Mapping[str, float] | None = None, samples_per_clip: int = 1):
        super().__init__(loss_weights if loss_weights is not None else {"sync": 1.0, "accuracy": 0.0})
        self.expert = model.expert
        self.samples_per_clip = samples_per_clip

    def trainable(self) -> dict[str, list[nn.Module]]:
        return {"expert": [self.expert]}

    def samples(self, clips: Sequence[Clip], split: str) -> Samples:
        return SyncWindows(clips, self.samples_per_clip)

    def losses(self, batch: Batch) -> Iterator[tuple[str, dict[str, Tensor]]]:
        cosine = agreement(self.expert, batch["mel"][:, None], on_channels(unit(batch["mouths"])))
        right = (cosine.detach() > 0.5) == (batch["in_sync"] > 0.5)
        yield "expert", {"sync": bce(cosine, batch["in_sync"]), "accuracy": right.float().mean()}


class GeneratorStage(Stage):
    """Mouths that match the speech: L1 and, once the mouths are good enough to be judged, the frozen expert's sync loss.

    The sum is (1 - w) L1 + w sync. The weight w is 0 until a validation gives a mean sync loss below `sync_threshold`; then
    it is `sync_weight` for good. A weight for "mouth", the L1 of the mouth alone, makes short trainings look there first: the
    authors have no such loss, and it is off by default.

    Args:
        samples_per_clip: windows of each clip per epoch.
        expert_batch_statistics: the expert's batch norms use the batch's statistics, as in the authors' training, which
            never puts it into evaluation mode; else those that it has learnt.
        sync_threshold: mean validation sync loss below which the sync loss counts.
        sync_weight: w from then on.
        frames: of each window that are painted in training while the sync loss does not count, 1 to 5. The authors paint 5;
            with fewer there is time for more windows.
    """

    needs: Sequence[str] = ("expert",)

    def __init__(
        self,
        model: Wav2Lip,
        loss_weights: Mapping[str, float] | None = None,
        samples_per_clip: int = 1,
        expert_batch_statistics: bool = True,
        sync_threshold: float = 0.75,
        sync_weight: float = 0.01,
        frames: int = FRAMES,
    ):
        super().__init__(loss_weights if loss_weights is not None else {"l1": 1.0, "sync": 0.0})
        self.generator, self.expert = model.generator, model.expert
        self.samples_per_clip, self.expert_batch_statistics = samples_per_clip, expert_batch_statistics
        self.sync_threshold, self.sync_weight = sync_threshold, sync_weight
        if not 1 <= frames <= FRAMES:
            raise ConfigError(f"generator.frames: expected 1 to {FRAMES}, got {frames}.")
        self.frames = frames

    def trainable(self) -> dict[str, list[nn.Module]]:
        return {"generator": [self.generator]}

    def samples(self, clips: Sequence[Clip], split: str) -> Samples:
        return MouthWindows(clips, self.samples_per_clip)

    def losses(self, batch: Batch) -> Iterator[tuple[str, dict[str, Tensor]]]:
        mels, faces, truth, mel = self.inputs(batch)
        if self.training and not self.loss_weights.get("sync"):
            mels, faces, truth = mels[:, : self.frames], faces[:, :, : self.frames], truth[:, :, : self.frames]
        painted = self.generator(mels, faces)
        yield "generator", self.generator_losses(painted, truth, mel)

    @staticmethod
    def inputs(batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What the networks eat.

        Returns:
            mels (B, 5, 1, 80, 16); faces (B, 6, 5, 96, 96), masked and then reference; truth (B, 3, 5, 96, 96); mel (B, 1,
            80, 16).
        """
        truth = unit(batch["frames"])
        faces = torch.cat((truth, unit(batch["wrong"])), dim=1)
        faces[:, :3, :, faces.shape[-2] // 2 :] = 0
        return batch["mels"][:, :, None], faces, truth, batch["mel"][:, None]

    def generator_losses(self, painted: Tensor, truth: Tensor, mel: Tensor) -> dict[str, Tensor]:
        """Losses of painted faces (B, 3, 5, 96, 96). In training, the expert is asked only when its word counts."""
        losses = {"l1": F.l1_loss(painted.float(), truth)}
        if self.loss_weights.get("mouth"):
            losses["mouth"] = F.l1_loss(mouth(painted).float(), mouth(truth))
        if not self.training or self.loss_weights.get("sync"):
            losses["sync"] = self.sync_loss(painted, mel)
        return losses

    def sync_loss(self, painted: Tensor, mel: Tensor) -> Tensor:
        """Cross entropy of the expert's cosine with "in sync"."""
        with batch_statistics(self.expert, self.expert_batch_statistics and len(mel) > 1):
            return bce(agreement(self.expert, mel, on_channels(lower_half(painted))), 1.0)

    def after_validation(self, losses: Mapping[str, float]) -> None:
        if losses["sync"] < self.sync_threshold and not self.loss_weights.get("sync"):
            self.loss_weights["sync"] = self.sync_weight
            self.loss_weights["l1"] = 1 - self.sync_weight - self.loss_weights.get("perceptual", 0.0)

    def preview(self, batch: Batch) -> np.ndarray:
        """Up to four samples below each other, their first frames: reference, masked input, painted, truth."""
        mels, faces, truth, _ = self.inputs({name: value[:4] for name, value in batch.items()})
        painted = self.generator(mels, faces).float()
        rows = torch.cat([picture[:, :, 0] for picture in (faces[:, 3:].contiguous(), faces[:, :3], painted, truth)], dim=-1)
        bgr = rows.clamp(0, 1).mul(255).byte().permute(0, 2, 3, 1).flatten(0, 1).cpu().numpy()
        return np.ascontiguousarray(bgr[..., ::-1])


class GanStage(GeneratorStage):
    """The generator with a critic of the picture as well: w sync + 0.07 perceptual + (1 - w - 0.07) L1.

    The discriminator sees lower halves; it is updated after the generator, on the same pictures.

    Args:
        discriminator_file: weights for the discriminator to start from, such as visual_quality_disc.pth; "" = made-up ones.
    """

    monitor = "sync"

    def __init__(
        self,
        model: Wav2Lip,
        loss_weights: Mapping[str, float] | None = None,
        samples_per_clip: int = 1,
        expert_batch_statistics: bool = True,
        sync_threshold: float = 0.75,
        sync_weight: float = 0.03,
        discriminator_file: str = "",
    ):
        weights = loss_weights if loss_weights is not None else {"l1": 0.93, "sync": 0.0, "perceptual": 0.07}
        super().__init__(model, weights, samples_per_clip, expert_batch_statistics, sync_threshold, sync_weight)
        self.discriminator = QualityDiscriminator(model.width, model.image_size)
        if discriminator_file:
            path = Path(discriminator_file).expanduser()
            load_weights(self.discriminator, read_weights(path).state, path)

    def trainable(self) -> dict[str, list[nn.Module]]:
        return {"generator": [self.generator], "discriminator": [self.discriminator]}

    def losses(self, batch: Batch) -> Iterator[tuple[str, dict[str, Tensor]]]:
        mels, faces, truth, mel = self.inputs(batch)
        painted = self.generator(mels, faces)
        yield "generator", self.generator_losses(painted, truth, mel)
        yield "discriminator", self.discriminator_losses(painted, truth)

    def generator_losses(self, painted: Tensor, truth: Tensor, mel: Tensor) -> dict[str, Tensor]:
        return {**super().generator_losses(painted, truth, mel), "perceptual": bce(self.discriminator(painted), 1.0)}

    def discriminator_losses(self, painted: Tensor, truth: Tensor) -> dict[str, Tensor]:
        """Losses of the critic on real and on painted faces."""
        return {"real": bce(self.discriminator(truth), 1.0), "fake": bce(self.discriminator(painted.detach()), 0.0)}
