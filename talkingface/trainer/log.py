"""What a training tells: metrics.jsonl, log lines, a progress bar, TensorBoard and Weights & Biases."""

from __future__ import annotations

import importlib
import json
import logging
import math
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor
from tqdm import tqdm

from talkingface.errors import ConfigError, TrainingError

log = logging.getLogger(__name__)
SILENCE = 10.0  # at least this many seconds between two log lines about training losses


class Means:
    """Running means of losses, on the device: nothing waits for a value until it is written down."""

    def __init__(self) -> None:
        self.sums: dict[tuple[str, tuple[str, ...]], Tensor] = {}
        self.counts: dict[tuple[str, tuple[str, ...]], float] = {}

    def add(self, group: str, names: Sequence[str], values: Tensor, weight: float = 1.0) -> None:
        """Count a group's losses: (len(names),) values."""
        key = (group, tuple(names))
        if key in self.sums:
            self.sums[key].add_(values, alpha=weight)
            self.counts[key] += weight
        else:
            self.sums[key], self.counts[key] = values.detach().float() * weight, weight

    def read(self) -> dict[tuple[str, str], float]:
        """(group, loss) -> mean."""
        totals: dict[tuple[str, str], list[float]] = {}
        for (group, names), sums in self.sums.items():
            for name, value in zip(names, sums.tolist(), strict=True):
                both = totals.setdefault((group, name), [0.0, 0.0])
                both[0], both[1] = both[0] + value, both[1] + self.counts[group, names]
        return {key: value / count for key, (value, count) in totals.items()}

    def clear(self) -> None:
        self.sums.clear()
        self.counts.clear()

    def state(self) -> tuple[dict[str, Tensor], list[Any]]:
        """Tensors and plain values that `load` takes back."""
        keys = list(self.sums)
        return {str(i): self.sums[key] for i, key in enumerate(keys)}, [[g, n, self.counts[g, n]] for g, n in keys]

    def load(self, tensors: Mapping[str, Tensor], state: Iterable[Any], device: torch.device) -> None:
        """Go on where `state` was taken."""
        self.clear()
        for i, (group, names, count) in enumerate(state):
            self.sums[group, tuple(names)] = tensors[str(i)].to(device, copy=True)
            self.counts[group, tuple(names)] = count


def plain_names(losses: Mapping[tuple[str, str], float]) -> dict[str, float]:
    """(group, loss) -> value as loss -> value; a loss that two groups have is called 'group.loss'."""
    names = [name for _, name in losses]
    return {name if names.count(name) == 1 else f"{group}.{name}": value for (group, name), value in losses.items()}


class Journal:
    """Everything that a training tells. Only the main process's speaks.

    Args:
        folder: of the stage; metrics.jsonl is in it.
        name: of the stage.
        speaks: whether this is the main process.
        tensorboard, wandb: see TrainingSettings.

    Raises:
        ConfigError: TensorBoard or Weights & Biases is asked for and not installed.
        TrainingError: the folder cannot be written.
    """

    def __init__(self, folder: Path, name: str, speaks: bool, tensorboard: bool = False, wandb: str = ""):
        self.path, self.name, self.speaks = folder / "metrics.jsonl", name, speaks
        self.bar: Any = None
        self.last_line = -math.inf
        self.board: Any = None
        self.run: Any = None
        self.file: BinaryIO | None = None
        if not speaks:
            return
        if tensorboard:
            self.board = optional("torch.utils.tensorboard", "tensorboard").SummaryWriter(str(folder / "tensorboard"))
        if wandb:
            self.run = optional("wandb", "wandb").init(project=wandb, dir=str(folder), name=name or None, resume="allow")
        try:
            self.file = self.path.open("ab")
        except OSError as error:
            raise TrainingError(f"{self.path} cannot be written: {error.strerror}. Choose another saved_dir.") from error

    def start(self, total: int | None, step: int) -> None:
        """Show the bar; none where output is no terminal."""
        self.bar = tqdm(total=total, initial=step, desc=self.name or None, unit="step", disable=None if self.speaks else True)

    def cut(self, size: int) -> None:
        """Forget the lines after the checkpoint that the training goes on from."""
        if self.file is not None:
            if self.path.stat().st_size < size:
                log.warning("%s has lost lines: it is shorter than it was at the checkpoint.", self.path)
            else:
                self.file.truncate(size)

    def size(self) -> int:
        """Bytes of metrics.jsonl, all of them on the disk."""
        if self.file is None:
            return 0
        self.file.flush()
        os.fsync(self.file.fileno())
        return self.path.stat().st_size

    def tick(self) -> None:
        """One update is done."""
        if self.bar is not None:
            self.bar.update()

    def write(self, step: int, line: Mapping[str, Any]) -> None:
        """One line of metrics.jsonl; numbers that are not finite become null."""
        if self.file is None:
            return
        self.file.write(json.dumps(finite(line), ensure_ascii=False).encode() + b"\n")
        self.file.flush()
        scalars = {f"{part}/{k}": v for part, values in line.items() if isinstance(values, Mapping) for k, v in values.items()}
        for key, value in scalars.items() if self.board is not None else ():
            self.board.add_scalar(key, value, step)
        if self.run is not None:
            self.run.log(scalars, step=step)

    def losses(self, losses: Mapping[str, float], text: str) -> None:
        """Training losses on the bar and, now and then, in the log."""
        if self.bar is not None and not self.bar.disable:
            self.bar.set_postfix({name: f"{value:.4g}" for name, value in losses.items()}, refresh=False)
        elif time.monotonic() - self.last_line > SILENCE:
            self.last_line = time.monotonic()
            self.say("%s  %s", text, numbers(losses))

    def say(self, message: str, *values: Any) -> None:
        """A log line, without tearing the bar."""
        if not self.speaks:
            return
        if self.bar is not None:
            self.bar.clear()
        log.info(message, *values)

    def close(self) -> None:
        """Finish all files."""
        for thing in (self.bar, self.file, self.board):
            if thing is not None:
                thing.close()
        if self.run is not None:
            self.run.finish()


def optional(module: str, package: str) -> Any:
    """A module that need not be installed."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise ConfigError(f"training.{package}: {package} is not installed. `pip install {package}`, or turn it off.") from None


def finite(value: Any) -> Any:
    """The value with null for what JSON cannot say."""
    if isinstance(value, Mapping):
        return {key: finite(v) for key, v in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def numbers(losses: Mapping[str, float]) -> str:
    """Losses in a log line."""
    return "  ".join(f"{name} {value:.4g}" for name, value in losses.items())
