"""Arrays, tensors and plain values in a pickle file, without running what is in it.

Unpickling can run anything, so it is not done. The file is disassembled instead, and its instructions are replayed on plain
Python values, as in `torchscript`: nothing is imported or looked up, and whatever is not a plain value, a numpy array or number,
or a torch tensor is refused.
"""

from __future__ import annotations

import io
import math
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from talkingface.errors import CheckpointError
from talkingface.nn.torchscript import Name, RefusedError, Replay

FURTHER_VALUES = {"BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "BINUNICODE8"} | {
    "LONG4", "INT", "FLOAT", "UNICODE", "STRING", "LONG",
}  # fmt: skip
PARENTS = {"numpy.core", "numpy._core"}


def read_pickle(path: Path | str) -> Any:
    """What a pickle file holds.

    Raises:
        CheckpointError: it cannot be read, is damaged, or holds more than plain values, arrays and tensors.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            return PickleReplay().replay(file)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}.") from error
    except RefusedError as error:
        raise CheckpointError(f"{path} was refused: {error}. Only plain values, arrays and tensors are read.") from error
    except Exception as error:  # arbitrary bytes make the replay and numpy raise anything
        raise CheckpointError(f"{path} is damaged, or no pickle file ({str(error)[:120]}). Fetch or copy it again.") from error


class Array:
    """A numpy array that is being made: numpy fills it after it exists."""

    def __init__(self) -> None:
        self.filled = np.empty(0)


class Kind:
    """A numpy type that is being made: its byte order comes after it exists."""

    def __init__(self, code: str):
        if np.dtype(code).hasobject:
            raise RefusedError("an array of Python objects")
        self.dtype = np.dtype(code)


class PickleReplay(Replay):
    """Replays a pickle on a stack of plain values."""

    writer = "a pickle of plain values and arrays"

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def replay(self, file: Any) -> Any:
        """The value that the instructions build, with numpy's arrays in their places."""
        for opcode, argument, _ in pickletools.genops(file):
            if opcode.name == "STOP":
                return finished(self.stack.pop())
            self.step(opcode.name, argument)
        raise RefusedError("its data end too early")

    def step(self, opcode: str, argument: Any) -> None:
        stack = self.stack
        if opcode in FURTHER_VALUES:
            stack.append(argument)
        elif opcode == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif opcode == "STACK_GLOBAL":
            name, module = stack.pop(), stack.pop()
            stack.append(Name(f"{module}.{name}"))
        elif opcode in ("LIST", "DICT"):
            items = self.pop_mark()
            stack.append(items if opcode == "LIST" else dict(zip(items[::2], items[1::2], strict=True)))
        elif opcode in ("PUT", "GET"):
            super().step(f"BIN{opcode}", int(argument))
        elif opcode == "BUILD" and isinstance(stack[-2], Array | Kind):
            build(stack[-2], finished(stack.pop()))
        else:
            super().step(opcode, argument)

    def make(self, made: Any, arguments: Any) -> Any:
        """An array, a number, a tensor or an ordered dict."""
        if not isinstance(made, Name):
            raise RefusedError(f"its data call a {type(made).__name__}")
        module, _, name = made.name.rpartition(".")
        if module == "torch.storage" and name == "_load_from_bytes":
            return storage(arguments[0])
        if module.rpartition(".multiarray")[0] in PARENTS and name in NUMPY:
            return NUMPY[name](*arguments)
        if module.rpartition(".numeric")[0] in PARENTS and name == "_frombuffer":
            content, kind, shape, order = arguments
            return np.frombuffer(content, kind.dtype).reshape(shape, order=order)
        if made.name == "numpy.dtype":
            return Kind(arguments[0])
        if made.name == "_codecs.encode" and arguments[1] == "latin1":
            return arguments[0].encode("latin1")
        if name == "bytes" and not arguments:
            return b""
        return super().make(made, arguments)


def build(target: Array | Kind, state: tuple) -> None:
    """Fill an array, or set the byte order of a type."""
    if isinstance(target, Kind):
        target.dtype = target.dtype.newbyteorder(state[1] if state[1] in "<>" else "=")
        return
    _, shape, kind, by_columns, content = state
    if not isinstance(content, bytes | bytearray) or math.prod(shape) * kind.dtype.itemsize != len(content):
        raise RefusedError("an array whose content has another size than its shape")
    target.filled = np.frombuffer(content, kind.dtype).reshape(shape, order="F" if by_columns else "C")


def number(kind: Kind, content: bytes) -> Any:
    """A numpy number."""
    return np.frombuffer(content, kind.dtype, 1)[0]


NUMPY: dict[str, Callable] = {"_reconstruct": lambda *_: Array(), "scalar": number}


def storage(content: bytes) -> Tensor:
    """The numbers of a tensor, which torch pickles as a file of its own inside the pickle: flat."""
    from talkingface.nn.weights import read_safely

    stored = read_safely(io.BytesIO(content))
    if not isinstance(stored, torch.storage.TypedStorage):
        raise RefusedError("a tensor whose content is no tensor's")
    return torch.tensor([], dtype=stored.dtype).set_(stored)  # type: ignore[call-overload]


def finished(value: Any) -> Any:
    """A value with the arrays in it as they are now: lists and dicts keep their identity."""
    if isinstance(value, Array):
        return value.filled
    if isinstance(value, tuple):
        return tuple(finished(part) for part in value)
    if isinstance(value, list):
        value[:] = [finished(part) for part in value]
    elif isinstance(value, dict):
        for key, part in value.items():
            value[key] = finished(part)
    return value
