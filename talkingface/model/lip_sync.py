"""The training of the lip-sync expert, for every model whose mouths it judges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor, nn

from talkingface.model.stage import Batch, Stage
from talkingface.nn.sync_expert import SyncExpert, agreement, bce, on_channels, unit


class LipSyncExpertStage(Stage):
    """Cross entropy of the cosine between speech and five mouths, in sync or not.

    "accuracy" is the share of windows that the cosine puts on the right side of 1/2: reported, not trained. Samples hold mouths
    (5, h / 2, h, 3) uint8 BGR, mel (80, 16), and in_sync, 1 or 0.

    Args:
        samples_per_clip: windows of each clip per epoch.
    """

    monitor = "sync"

    def __init__(self, expert: SyncExpert, loss_weights: Mapping[str, float] | None = None, samples_per_clip: int = 1):
        super().__init__(loss_weights if loss_weights is not None else {"sync": 1.0, "accuracy": 0.0})
        self.expert, self.samples_per_clip = expert, samples_per_clip

    def trainable(self) -> dict[str, list[nn.Module]]:
        return {"expert": [self.expert]}

    def losses(self, batch: Batch) -> Iterator[tuple[str, dict[str, Tensor]]]:
        cosine = agreement(self.expert, batch["mel"][:, None], on_channels(unit(batch["mouths"])))
        right = (cosine.detach() > 0.5) == (batch["in_sync"] > 0.5)
        yield "expert", {"sync": bce(cosine, batch["in_sync"]), "accuracy": right.float().mean()}


def heed_expert(loss_weights: dict[str, float], losses: Mapping[str, float], threshold: float, weight: float) -> None:
    """Let the expert's word count from now on, at the cost of L1, once a validation's sync loss is below a threshold."""
    if losses["sync"] < threshold and not loss_weights.get("sync"):
        loss_weights["sync"] = weight
        loss_weights["l1"] = 1 - weight - loss_weights.get("perceptual", 0.0)
