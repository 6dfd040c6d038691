"""How SyncNet is trained. The authors released the network alone: objectives are those of their papers, settings inferred."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from talkingface.dataset.base import Clip, Samples
from talkingface.errors import ConfigError
from talkingface.model.stage import Batch, Stage
from talkingface.model.syncnet.data import Stretches
from talkingface.model.syncnet.networks import COLUMNS, COLUMNS_PER_FRAME

if TYPE_CHECKING:
    from talkingface.model.syncnet.model import SyncNetModel

OBJECTIVES = ("contrastive", "multiway")


class ContrastiveStage(Stage):
    """Lips close to their own speech and far from the same speaker's other speech (inferred; the authors released no training).

    Lips are compared with the speech at every place of a stretch around them. Objectives: "contrastive" (Chung and Zisserman,
    2016): own speech at distance 0, any other at `margin` or more. "multiway" (Chung et al., 2019): the own speech is to be
    found among all, by a softmax over negative distances; it trains faster and judges better.

    Reported, not trained: "accuracy", how often another place is farther than the own one (chance 0.5); "offset_accuracy",
    how often the nearest place is the own one or next to it (chance about 0.1 of 31).

    Args:
        objective: "multiway" or "contrastive".
        margin: of "contrastive", distance.
        shifts: places in a stretch, frames.
        windows: places whose lips are compared, per sample.
        samples_per_clip: stretches of each clip per epoch.
        augment: share of the training windows whose pictures are changed: colors, brightness, place, size, side, sharpness.

    Raises:
        ConfigError: no such objective.
    """

    monitor = "sync"

    def __init__(
        self,
        model: SyncNetModel,
        loss_weights: Mapping[str, float] | None = None,
        objective: str = "multiway",
        margin: float = 10.0,
        shifts: int = 31,
        windows: int = 4,
        samples_per_clip: int = 1,
        augment: float = 0.5,
    ):
        super().__init__(loss_weights if loss_weights is not None else {"sync": 1.0, "accuracy": 0.0, "offset_accuracy": 0.0})
        if objective not in OBJECTIVES:
            raise ConfigError(f"objective: expected {' or '.join(OBJECTIVES)}, got {objective!r}.")
        self.syncnet = model.syncnet
        self.objective, self.margin, self.shifts, self.windows = objective, margin, shifts, windows
        self.samples_per_clip, self.augment = samples_per_clip, augment

    def trainable(self) -> dict[str, list[nn.Module]]:
        return {"syncnet": [self.syncnet]}

    def samples(self, clips: Sequence[Clip], split: str) -> Samples:
        return Stretches(clips, self.shifts, self.windows, self.samples_per_clip, self.augment if split == "train" else 0.0)

    def losses(self, batch: Batch) -> Iterator[tuple[str, dict[str, Tensor]]]:
        distances = self.distances(batch["frames"], batch["mfcc"])
        places = batch["places"].flatten()
        own = distances.gather(1, places[:, None])
        off = (distances.detach().argmin(dim=1) - places).abs()
        yield (
            "syncnet",
            {
                "sync": self.loss(distances, own, places),
                "accuracy": (distances > own).detach().sum() / (distances.numel() - len(own)),
                "offset_accuracy": (off <= 1).float().mean(),
            },
        )

    def distances(self, frames: Tensor, mfcc: Tensor) -> Tensor:
        """(B W, P): how far each of W windows of lips is from the speech at each of P places.

        Args:
            frames: (B, W, 5, S, S, 3) uint8 BGR.
            mfcc: (B, columns, 13).
        """
        lips = self.syncnet.lip(frames.flatten(0, 1).permute(0, 4, 1, 2, 3).float())
        windows = mfcc.unfold(1, COLUMNS, COLUMNS_PER_FRAME)  # (B, P, 13, 20)
        speech = self.syncnet.audio(windows.flatten(0, 1)[:, None])
        both = lips.float().unflatten(0, frames.shape[:2]), speech.float().unflatten(0, windows.shape[:2])
        with torch.autocast(frames.device.type, enabled=False):
            return torch.cdist(*both, compute_mode="donot_use_mm_for_euclid_dist").flatten(0, 1)

    def loss(self, distances: Tensor, own: Tensor, places: Tensor) -> Tensor:
        """The objective, a mean over windows of lips."""
        if self.objective == "multiway":
            return F.cross_entropy(-distances, places)
        others = torch.ones_like(distances).scatter(1, places[:, None], 0)
        too_near = (F.relu(self.margin - distances).square() * others).sum() / others.sum()
        return (own.square().mean() + too_near) / 2
