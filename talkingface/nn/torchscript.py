"""The tensors of a TorchScript archive, without running what is in it.

torch.jit.load runs TorchScript of the archive, which may write files, so it is not used. The archive's data.pkl is
disassembled instead, and the few instructions that TorchScript writes are replayed on plain Python values: nothing is
imported or called, an object is only its attributes.
"""

from __future__ import annotations

import math
import pickletools
import zipfile
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
LITERALS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
VALUES = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINSTRING", "SHORT_BINSTRING"}
MARK = object()
MOST_PARTS = 100_000  # of a network: modules, parameters and attributes
LONGEST_NAME = 1000  # of a module, with the names of those that it is in


class RefusedError(ValueError):
    """The archive holds something that a network's tensors do not need."""


@dataclass
class Name:
    """A class or function that the archive names; it is never looked up."""

    name: str


@dataclass
class Node:
    """An object of the archive: what its class is called and its attributes."""

    kind: str
    attributes: dict[str, Any] = field(default_factory=dict)


def is_torchscript(archive: zipfile.ZipFile) -> bool:
    """Whether a torch zip file holds TorchScript: only there constants lie beside the data."""
    return any(name.count("/") == 1 and name.endswith("/constants.pkl") for name in archive.namelist())


def read_tensors(archive: zipfile.ZipFile) -> dict[str, Tensor]:
    """Parameters and buffers, named by their path from the root module.

    Raises:
        RefusedError: the archive is not as TorchScript writes it.
        zipfile.BadZipFile: a part of it is damaged.
    """
    data = next(name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl"))
    root = Replay(archive, data.split("/")[0]).run(archive.read(data))
    tensors: dict[str, Tensor] = {}
    todo: list[tuple[str, Any]] = [("", root)]
    parts = 0
    while todo:
        name, value = todo.pop()
        if isinstance(value, Tensor):
            tensors[name] = value
        elif isinstance(value, Node):
            parts += len(value.attributes)
            if parts > MOST_PARTS or len(name) > LONGEST_NAME:
                raise RefusedError("its modules contain each other")
            todo += [(f"{name}.{key}" if name else str(key), part) for key, part in value.attributes.items()]
    return tensors


class Replay:
    """Replays the instructions of a data.pkl on a stack of plain values."""

    writer = "TorchScript"

    def __init__(self, archive: zipfile.ZipFile, folder: str):
        self.archive, self.folder = archive, folder
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, Tensor] = {}

    def run(self, instructions: bytes) -> Any:
        """The value that the instructions build."""
        for opcode, argument, _ in pickletools.genops(instructions):
            if opcode.name == "STOP":
                return self.stack.pop()
            self.step(opcode.name, argument)
        raise RefusedError("its data end too early")

    def step(self, opcode: str, argument: Any) -> None:
        """Replay one instruction."""
        stack = self.stack
        if opcode in ("PROTO", "FRAME"):
            pass
        elif opcode in LITERALS:
            stack.append(LITERALS[opcode])
        elif opcode in VALUES:
            stack.append(argument)
        elif opcode == "EMPTY_DICT":
            stack.append({})
        elif opcode == "EMPTY_LIST":
            stack.append([])
        elif opcode == "MARK":
            stack.append(MARK)
        elif opcode == "GLOBAL":
            stack.append(Name(argument.replace(" ", ".")))
        elif opcode in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = stack[-1]
        elif opcode in ("BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif opcode == "TUPLE":
            stack.append(tuple(self.pop_mark()))
        elif opcode in ("TUPLE1", "TUPLE2", "TUPLE3"):
            count = int(opcode[-1])
            stack[-count:] = [tuple(stack[-count:])]
        elif opcode in ("APPEND", "APPENDS"):
            items = self.pop_mark() if opcode == "APPENDS" else [stack.pop()]
            stack[-1].extend(items)
        elif opcode in ("SETITEM", "SETITEMS"):
            items = self.pop_mark() if opcode == "SETITEMS" else [stack.pop(-2), stack.pop()]
            stack[-1].update(zip(items[::2], items[1::2], strict=True))
        elif opcode == "BINPERSID":
            stack.append(self.storage(stack.pop()))
        elif opcode in ("NEWOBJ", "REDUCE"):
            arguments, made = stack.pop(), stack.pop()
            stack.append(self.make(made, arguments))
        elif opcode == "BUILD":
            state = stack.pop()
            if isinstance(stack[-1], Node) and isinstance(state, dict):
                stack[-1].attributes = {**stack[-1].attributes, **state} if stack[-1].attributes else state
        else:
            raise RefusedError(f"its data use the instruction {opcode}, which {self.writer} does not need")

    def pop_mark(self) -> list[Any]:
        """What was put on the stack since the last mark."""
        items: list[Any] = []
        while (item := self.stack.pop()) is not MARK:
            items.append(item)
        return items[::-1]

    def make(self, made: Any, arguments: Any) -> Any:
        """A tensor, an ordered dict, or an object without behavior."""
        if not isinstance(made, Name):
            raise RefusedError(f"its data call a {type(made).__name__}")
        if made.name in ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor"):
            return rebuild(*arguments[:4])
        if made.name == "torch._utils._rebuild_parameter":
            return arguments[0]
        if made.name == "collections.OrderedDict":
            return dict(arguments[0]) if arguments else {}
        if made.name.startswith(("__torch__.", "torch.jit._pickle.")):
            return Node(made.name)
        raise RefusedError(f"its data name {made.name}, which a network's tensors do not need")

    def storage(self, reference: tuple) -> Tensor:
        """The numbers of one file in the archive, flat."""
        _, kind, key, _, _ = reference
        if key not in self.storages:
            dtype = STORAGES[kind.name.rsplit(".", 1)[-1]]
            content = bytearray(self.archive.read(f"{self.folder}/data/{key}"))
            self.storages[key] = torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)
        return self.storages[key]


def rebuild(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """A tensor that is a view of a storage, no larger than it.

    Raises:
        RefusedError: the size claimed is not the size stored.
    """
    if math.prod(size) > storage.numel():
        raise RefusedError(f"a tensor claims the shape {tuple(size)} and {storage.numel()} numbers are stored")
    return torch.as_strided(storage, size, stride, offset)
