"""Files that torch.save wrote before 0.2: a tar of pickles and raw numbers, read without running what is in it.

storages   how many, then (key, device, type), the count as int64 and the numbers of each; then views of them
tensors    how many, then (key, key of its storage, type), dimensions, sizes, strides and offset of each
pickle     the object that was saved, in which a persistent id stands for each tensor or storage
"""

from __future__ import annotations

import os
import struct
import tarfile
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from talkingface.nn.pickled import PickleReplay
from talkingface.nn.torchscript import STORAGES, RefusedError, rebuild

MOST_DIMENSIONS = 16


def read_tar(path: Path) -> Any:
    """What was saved.

    Raises:
        RefusedError: it holds more than plain values and tensors, or claims more than it has.
        tarfile.TarError, struct.error, EOFError: it is damaged.
    """
    with tarfile.open(path, "r:") as archive:
        numbers = read_storages(part(archive, "storages"))
        tensors = read_tensors(part(archive, "tensors"), numbers)
        replay = TarReplay({**numbers, **tensors})
        return replay.replay(part(archive, "pickle"))


def part(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    """One of the files in it."""
    found = archive.getmember(name)
    content = archive.extractfile(found) if found.isreg() else None
    if content is None:
        raise RefusedError(f"its part {name} is no file")
    return content


def read_storages(file: IO[bytes]) -> dict[str, Tensor]:
    """Key -> the numbers of a storage, flat."""
    found: dict[str, Tensor] = {}
    for _ in range(count_of(file)):
        key, _, kind = PickleReplay().replay(file)
        dtype = STORAGES[kind.name.rpartition(".")[2]]
        size = struct.unpack("<q", exactly(file, 8))[0] * dtype.itemsize
        content = bytearray(exactly(file, size))
        found[str(key)] = torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)
    for key, root, offset, count in PickleReplay().replay(file):
        found[str(key)] = rebuild(found[str(root)][offset:], 0, (count,), (1,))
    return found


def read_tensors(file: IO[bytes], numbers: dict[str, Tensor]) -> dict[str, Tensor]:
    """Key -> a tensor: a view of a storage."""
    found = {}
    for _ in range(count_of(file)):
        key, storage, _ = PickleReplay().replay(file)
        dimensions = struct.unpack("<ii", exactly(file, 8))[0]
        if not 0 <= dimensions <= MOST_DIMENSIONS:
            raise RefusedError(f"a tensor claims {dimensions} dimensions")
        layout = struct.unpack(f"<{2 * dimensions + 1}q", exactly(file, 8 * (2 * dimensions + 1)))
        size, stride, offset = layout[:dimensions], layout[dimensions:-1], layout[-1]
        found[str(key)] = rebuild(numbers[str(storage)], offset, size, stride)
    return found


def count_of(file: IO[bytes]) -> int:
    """How many entries follow."""
    count = PickleReplay().replay(file)
    if not isinstance(count, int):
        raise RefusedError("its data do not begin with a number")
    return count


def exactly(file: IO[bytes], size: int) -> bytes:
    """This many bytes.

    Raises:
        RefusedError: the file has fewer.
    """
    here, end = file.tell(), file.seek(0, os.SEEK_END)
    file.seek(here)
    if not 0 <= size <= end - here:
        raise RefusedError(f"it claims {size} bytes where {end - here} are left")
    return file.read(size)


class TarReplay(PickleReplay):
    """Replays the pickle of what was saved, with the tensors in their places."""

    writer = "torch.save"

    def __init__(self, tensors: dict[str, Tensor]):
        super().__init__()
        self.tensors = tensors

    def storage(self, reference: Any) -> Tensor:
        """The tensor or storage behind a persistent id."""
        if isinstance(reference, tuple):
            raise RefusedError("it holds a whole network")
        return self.tensors[str(reference)]
