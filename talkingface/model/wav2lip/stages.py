"""How Wav2Lip is trained: the lip-sync expert, the generator that it judges, and the generator with an adversary as well."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from talkingface.dataset.base import Clip, Samples
from talkingface.errors import ConfigError
from talkingface.model.lip_sync import LipSyncExpertStage, heed_expert
from talkingface.model.stage import Batch, Stage
from talkingface.model.wav2lip.data import FRAMES, MouthWindows, SyncWindows
from talkingface.model.wav2lip.networks import QualityDiscriminator
from talkingface.nn.sync_expert import bce, mouth, sync_loss, unit
from talkingface.nn.weights import load_weights, read_weights

if TYPE_CHECKING:
    from talkingface.model.wav2lip.model import Wav2Lip


class ExpertStage(LipSyncExpertStage):
    """The lip-sync expert: cross entropy of the cosine between speech and five mouths, in sync or not (section 3.1 of the paper).

    "accuracy" is the share of windows that the cosine puts on the right side of 1/2: reported, not trained.

    Args:
        samples_per_clip: windows of each clip per epoch.
    """

    def __init__(self, model: Wav2Lip, loss_weights: Mapping[str, float] | None = None, samples_per_clip: int = 1):
        super().__init__(model.expert, loss_weights, samples_per_clip)

    def samples(self, clips: Sequence[Clip], split: str) -> Samples:
        return SyncWindows(clips, self.samples_per_clip)


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
        return sync_loss(self.expert, mel, painted, self.expert_batch_statistics)

    def after_validation(self, losses: Mapping[str, float]) -> None:
        heed_expert(self.loss_weights, losses, self.sync_threshold, self.sync_weight)

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
