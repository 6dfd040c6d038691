"""Checkpoints: all that a training needs to go on, as tensors and one JSON text in one safetensors file.

    checkpoint_00000120.safetensors    weights/... ema/... optimizer/... chance/... means/..., and `state` in its header
    last.safetensors, best.safetensors other names (links) of the newest and the best of them

A file appears under its name when it is complete, and carries a checksum: what is damaged is not used.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from talkingface.errors import CheckpointError

log = logging.getLogger(__name__)
FORMAT = 1


class Checkpoint(NamedTuple):
    """What a checkpoint holds.

    Attributes:
        tensors: '<part>/<name>' -> tensor on the CPU.
        state: plain values.
    """

    tensors: dict[str, Tensor]
    state: dict[str, Any]

    def part(self, name: str) -> dict[str, Tensor]:
        """The tensors of one part, without its name."""
        prefix = name + "/"
        return {key.removeprefix(prefix): tensor for key, tensor in self.tensors.items() if key.startswith(prefix)}


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a file under a temporary name, then give it its name.

    Raises:
        CheckpointError: the disk is full or the folder read-only; what was there before is untouched.
    """
    tensors = {name: compact(tensor) for name, tensor in checkpoint.tensors.items()}
    state = json.dumps({"format": FORMAT, **checkpoint.state})
    temporary = path.with_name(f".{path.stem}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, temporary, metadata={"state": state, "crc32": str(checksum(tensors, state))})
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        temporary.unlink(missing_ok=True)
        raise CheckpointError(
            f"{path} cannot be written: {error}. The checkpoints before it are as they were: "
            "make room (or the folder writable) and go on with --resume."
        ) from error


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a whole file and check it.

    Raises:
        CheckpointError: it is not there, damaged, or no checkpoint of a training.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
        intact = int(header["crc32"]) == checksum(tensors, header["state"])
        state = json.loads(header["state"])
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist.") from None
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged, or no checkpoint of a training: {error}") from error
    if not intact:
        raise CheckpointError(f"{path} is damaged: its checksum is not that of its content.")
    if state.get("format") != FORMAT:
        raise CheckpointError(f"{path} has format {state.get('format')!r}; this version reads format {FORMAT}.")
    return Checkpoint(tensors, state)


def compact(tensor: Tensor) -> Tensor:
    """The tensor on the CPU, contiguous, sharing no memory with others."""
    tensor = tensor.detach().cpu().contiguous()
    return tensor if tensor.untyped_storage().nbytes() == tensor.nbytes else tensor.clone()


def checksum(tensors: Mapping[str, Tensor], state: str) -> int:
    """Of names, values and state."""
    crc = zlib.crc32(state.encode())
    for name in sorted(tensors):
        crc = zlib.crc32(tensors[name].reshape(-1).view(torch.uint8).numpy().data, zlib.crc32(name.encode(), crc))
    return crc


@torch.no_grad()
def load_tensors(into: Mapping[str, Tensor], tensors: Mapping[str, Tensor], what: str) -> None:
    """Copy tensors by name.

    Raises:
        CheckpointError: names or shapes differ.
    """
    if missing := sorted(into.keys() ^ tensors.keys()):
        raise CheckpointError(f"the checkpoint is of another network: {what} differ in {len(missing)} names: {missing[0]} ...")
    for name, tensor in into.items():
        if tensor.shape != tensors[name].shape:
            shapes = f"{tuple(tensors[name].shape)}, not {tuple(tensor.shape)}"
            raise CheckpointError(f"the checkpoint is of another network: {name} of its {what} is {shapes}.")
        tensor.copy_(tensors[name])


class Checkpoints:
    """The checkpoints in a folder: the two newest stay (one may turn out damaged), and those that are named to stay."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.kept: set[int] = set()  # by the checkpoint before: they stay as long as it does

    def path(self, step: int) -> Path:
        """Where the checkpoint after an update is."""
        return self.folder / f"checkpoint_{step:08d}.safetensors"

    def paths(self) -> list[Path]:
        """Those that are there, oldest first."""
        return sorted(self.folder.glob("checkpoint_*.safetensors"))

    def save(self, step: int, checkpoint: Checkpoint, keep: Iterable[int] = (), best: int | None = None) -> None:
        """Write a checkpoint and remove the ones that neither it nor the one before needs.

        Args:
            keep: updates whose checkpoints stay.
            best: the update of the best one.
        """
        write_checkpoint(self.path(step), checkpoint)
        link(self.path(step), self.folder / "last.safetensors")
        if best is not None and self.path(best).exists():
            link(self.path(best), self.folder / "best.safetensors")
        keep = set(keep)
        stay = {self.path(s) for s in keep | self.kept} | set(self.paths()[-2:])
        for path in self.paths():
            if path not in stay:
                path.unlink()
        self.kept = keep

    def newest(self) -> Checkpoint | None:
        """The newest one that is whole; None if there never was one.

        Raises:
            CheckpointError: there are some, and none can be read.
        """
        paths = self.paths()
        for path in reversed(paths):
            try:
                return read_checkpoint(path)
            except CheckpointError as error:
                log.warning("%s Trying the one before.", error)
        if paths:
            raise CheckpointError(f"no checkpoint in {self.folder} can be read; start again in another folder.")
        return None

    def clean(self, step: int) -> None:
        """Set aside what is newer than an update (it was damaged) and remove unfinished files."""
        for path in self.paths():
            if path > self.path(step):
                os.replace(path, path.with_suffix(".damaged"))
        for path in self.folder.glob(".*.tmp"):
            path.unlink()


def link(source: Path, name: Path) -> None:
    """Give a file another name; a copy where the disk knows no links."""
    temporary = name.with_name(f".{name.stem}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
        os.replace(temporary, name)
    except OSError as error:
        log.warning("%s cannot be written: %s", name, error)
    temporary.unlink(missing_ok=True)  # two links to one file are not replaced but both kept
