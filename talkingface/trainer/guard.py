"""The guard against losses and gradients that are not finite: it stops the training and saves the batch that did it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor

from talkingface.errors import TrainingError
from talkingface.trainer.checkpoint import compact
from talkingface.trainer.loader import Share


class Suspect(NamedTuple):
    """An update that may be broken; `finite` is known when `ready` says so."""

    finite: Tensor
    ready: torch.cuda.Event | None
    step: int
    group: str
    names: Sequence[str]
    values: Tensor
    shares: Sequence[Share]


class Guard:
    """Looks at every update, without waiting for the device: on CUDA an answer is read one update later.

    Args:
        folder: where culprit batches go.
        name: of the stage, for the message.
        rank: of this process, in the file's name where there are several.
    """

    def __init__(self, folder: Path, name: str, rank: int | None = None):
        self.folder, self.name, self.rank = folder, name, rank
        self.suspects: list[Suspect] = []

    def watch(
        self, step: int, group: str, names: Sequence[str], values: Tensor, norm: Tensor | None, shares: Sequence[Share]
    ) -> None:
        """Check one group's update, before its step on the CPU.

        Args:
            step: number of the update, from 1.
            values: (len(names),) losses that count.
            norm: of the gradients; None to look at the losses alone.

        Raises:
            TrainingError: this update, or on CUDA one before, is not finite.
        """
        finite = (values.sum() if norm is None else values.sum() + norm).isfinite()
        ready = None
        if finite.is_cuda:
            finite, ready = finite.to("cpu", non_blocking=True), torch.cuda.Event()
            ready.record()
        self.suspects.append(Suspect(finite, ready, step, group, names, values, shares))
        self.check(leave=1 if ready else 0)

    def check(self, leave: int = 0) -> None:
        """Read all answers but the newest ones."""
        while len(self.suspects) > leave:
            suspect = self.suspects.pop(0)
            if suspect.ready is not None:
                suspect.ready.synchronize()
            if not suspect.finite:
                raise self.error(suspect)

    def error(self, suspect: Suspect) -> TrainingError:
        """Save the culprit and say what happened."""
        bad = [n for n, ok in zip(suspect.names, suspect.values.isfinite().tolist(), strict=True) if not ok]
        what = f"loss {', '.join(map(repr, bad))}" if bad else "the gradient"
        path = self.folder / f"culprit_{suspect.step:08d}{'' if self.rank is None else f'_{self.rank}'}.safetensors"
        one = len(suspect.shares) == 1
        tensors = {
            name if one else f"{i}/{name}": compact(tensor)
            for i, share in enumerate(suspect.shares)
            for name, tensor in share.batch.items()
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        save_file(tensors, path, metadata={"step": str(suspect.step), "group": suspect.group, "losses": ", ".join(bad)})
        return TrainingError(
            f"stage {self.name or '?'}, update {suspect.step}: {what} of group {suspect.group!r} is not finite. "
            f"Its batch is in {path}. Look at those samples; or lower learning_rate, set clip_norm, or set precision to no."
        )
