"""Stage: one phase of training. It names the losses; the trainer does the rest."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from torch import Tensor, nn

from talkingface.dataset.base import Clip, Samples
from talkingface.errors import ConfigError

Batch = dict[str, Tensor]


class Stage(nn.Module, ABC):
    """What is minimized in one phase of training.

    Networks that belong to the model are borrowed; networks that only training needs (a discriminator) are owned.
    Whatever `trainable` does not name is frozen and in evaluation mode while the stage trains.

    Args:
        loss_weights: factor of each loss that `losses` yields; a loss without a factor counts once.

    Attributes:
        needs: networks of the model that must be trained or loaded before this stage can start.
        monitor: the validation loss that decides which checkpoint is best; "" is the weighted sum of all groups'.
        left_out: why a run with these settings goes on with the next stage instead; "" = it trains.
    """

    needs: Sequence[str] = ()
    monitor: str = ""
    left_out: str = ""

    def __init__(self, loss_weights: Mapping[str, float] | None = None):
        super().__init__()
        self.loss_weights = dict(loss_weights or {})

    @abstractmethod
    def trainable(self) -> dict[str, list[nn.Module]]:
        """Group -> the networks that its optimizer updates."""

    @abstractmethod
    def samples(self, clips: Sequence[Clip], split: str) -> Samples:
        """The training ('train') or validation ('val') samples of prepared clips."""

    @abstractmethod
    def losses(self, batch: Batch) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Yield (group, {loss name: raw scalar}); the group has been updated when this resumes.

        Validation runs the same method and updates nothing. Never `yield` inside a `with`: its mode would leak.
        """

    def after_validation(self, losses: Mapping[str, float]) -> None:
        """Look at the mean validation losses and change `loss_weights` if the paper says so."""

    def preview(self, batch: Batch) -> np.ndarray | None:
        """A picture (H, W, 3) uint8 RGB of what the networks do with a validation batch, or None."""
        return None

    def train(self, mode: bool = True) -> Stage:
        """Training mode for what is trained; the frozen rest stays in evaluation mode."""
        super().train(False)
        if mode:
            self.training = True
            for networks in self.trainable().values():
                for network in networks:
                    network.train()
        return self


# --- what stages check and leave out ----------------------------------------------------------------------------------


def one_of(setting: str, value: str, allowed: Sequence[str]) -> None:
    """Refuse another value.

    Raises:
        ConfigError: naming those that are allowed.
    """
    if value not in allowed:
        raise ConfigError(f"{setting}: expected one of {', '.join(allowed)}, got {value!r}.")


def at_least_one(stage: str, **numbers: int) -> None:
    """Refuse a setting below 1.

    Raises:
        ConfigError: naming it.
    """
    for name, number in numbers.items():
        if number < 1:
            raise ConfigError(f"{stage}.{name}: expected at least 1, got {number}.")


def without(weights: Mapping[str, float], names: set[str]) -> dict[str, float]:
    """The factors of the other losses."""
    return {name: weight for name, weight in weights.items() if name not in names}
