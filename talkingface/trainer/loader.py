"""Batches in an order that only the seed decides, from any place on, with any number of workers and processes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from talkingface.dataset.base import Samples
from talkingface.errors import TrainingError
from talkingface.model.stage import Batch


class Share(NamedTuple):
    """This process's part of one batch.

    Attributes:
        batch: the samples, stacked on a new first axis.
        weight: how much of the update they are: their number by that of all samples of the update, of all processes.
    """

    batch: Batch
    weight: float


class Part(NamedTuple):
    """Which samples one share holds."""

    epoch: int
    indices: Sequence[int]
    weight: float


class Order:
    """Which samples make which update: a permutation per epoch, drawn from (seed, epoch).

    An update has `accumulate` batches of `batch_size` samples over all processes. Samples that fill no whole update
    are left out of an epoch (others each time), unless there are too few for a single one.

    Raises:
        TrainingError: there are no samples, or fewer than processes.
    """

    def __init__(self, num_samples: int, batch_size: int, accumulate: int = 1, seed: int = 0, rank: int = 0, world: int = 1):
        if min(num_samples, batch_size) < world or num_samples < 1:
            raise TrainingError(
                f"{num_samples} samples in batches of {batch_size} are too few for {world} processes: each needs one per batch. "
                "Add clips (see the counts of skipped ones above), or raise batch_size."
            )
        self.num_samples, self.batch_size, self.seed = num_samples, batch_size, seed
        self.rank, self.world = rank, world
        self.update_size = min(batch_size * accumulate, num_samples)
        self.num_updates = num_samples // self.update_size

    def update(self, permutation: np.ndarray, epoch: int, position: int) -> list[Part]:
        """The parts of one update that are this process's, one per batch."""
        members = permutation[position * self.update_size : (position + 1) * self.update_size]
        return shares(members, epoch, self.batch_size, self.rank, self.world)

    def parts(self, epoch: int, position: int) -> Iterator[Part]:
        """This process's parts from an update on, for ever."""
        while True:
            permutation = np.random.default_rng((self.seed, epoch)).permutation(self.num_samples)
            for p in range(position, self.num_updates):
                yield from self.update(permutation, epoch, p)
            epoch, position = epoch + 1, 0

    def batches(self) -> int:
        """Shares per update."""
        return len(self.update(np.arange(self.num_samples), 0, 0))


def shares(members: np.ndarray, epoch: int, batch_size: int, rank: int, world: int) -> list[Part]:
    """Cut samples into batches, and each batch into one contiguous share per process; return those of one process."""
    count = max(1, -(-len(members) // batch_size))
    chunks = [members[i * batch_size : (i + 1) * batch_size] for i in range(count)]
    if len(chunks) > 1 and len(chunks[-1]) < world:
        chunks[-2:] = [np.concatenate(chunks[-2:])]
    mine = [np.array_split(chunk, world)[rank] for chunk in chunks]
    return [Part(epoch, part.tolist(), len(part) / len(members)) for part in mine]


class Shares(Dataset):
    """Reads the samples of a part; the random numbers of a sample come from (seed, epoch, index) alone."""

    def __init__(self, samples: Samples, seed: int):
        self.samples, self.seed = samples, seed

    def __getitem__(self, part: Part) -> Share:
        members = [self.samples.sample(i, np.random.default_rng((self.seed, part.epoch, i))) for i in part.indices]
        return Share(stack(members, part.indices), part.weight)


def stack(members: Sequence[dict[str, np.ndarray]], indices: Sequence[int]) -> Batch:
    """Samples on a new first axis, as tensors; each array is copied once.

    Raises:
        TrainingError: the samples do not have the same names and shapes.
    """
    batch = {}
    for name in members[0]:
        try:
            batch[name] = torch.from_numpy(np.stack([member[name] for member in members]))
        except (KeyError, ValueError, TypeError) as error:
            shapes = {i: getattr(member.get(name), "shape", None) for i, member in zip(indices, members, strict=True)}
            raise TrainingError(f"samples do not stack into a batch: {name!r} has the shapes {shapes} by sample.") from error
    return batch


def load(samples: Samples, parts: Iterable[Part], seed: int, workers: int = 0, pinned: bool = False) -> Iterator[Share]:
    """The shares of parts, in their order; worker processes read ahead.

    The loader's own random generator keeps its hands off the training's.
    """
    return iter(
        DataLoader(
            Shares(samples, seed),
            sampler=parts,  # type: ignore[arg-type]
            batch_size=None,
            num_workers=workers,
            collate_fn=as_is,  # type: ignore[arg-type]
            pin_memory=pinned,
            prefetch_factor=4 if workers else None,
            generator=torch.Generator(),
        )
    )


def as_is(share: Share) -> Share:
    return share


def to_device(share: Share, device: torch.device) -> Share:
    """The share on a device; a pinned one is copied while the device works."""
    if device.type == "cpu":
        return share
    return Share({name: tensor.to(device, non_blocking=True) for name, tensor in share.batch.items()}, share.weight)


def validation_parts(num_samples: int, batch_size: int, limit: int, rank: int, world: int) -> list[Part]:
    """The validation samples in their own order, epoch 0; weights count samples, so that means are over samples.

    Fewer samples than processes are read by all of them.
    """
    count = min(num_samples, limit * batch_size) if limit else num_samples
    if count < world:
        rank, world = 0, 1
    parts = shares(np.arange(count), 0, max(batch_size, world), rank, world)
    return [part._replace(weight=float(len(part.indices))) for part in parts if part.indices]
