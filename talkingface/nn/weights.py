"""Weights: files <-> tensors <-> networks. Nothing in a file is ever run, and a wrong file is named as what it is."""

from __future__ import annotations

import argparse
import json
import re
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from talkingface import zoo
from talkingface.errors import CheckpointError, MissingWeightsError

State = dict[str, Tensor]

WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "params_ema", "params", "weights")
PREFIXES = {"module", "_orig_mod"}  # of DataParallel and torch.compile
TAR_PARTS = (b"sys_info\0", b"pickle\0", b"tensors\0", b"storages\0")  # of which torch.save made a tar file before 0.2
LEGACY_MAGIC = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e80")  # the number with which torch.save began before 1.6
OPTIONAL = ("num_batches_tracked",)  # old files do not have these counters, and evaluation does not use them
MOST_VALUES = 500_000  # plain values, entries and tensors in a file
DEEPEST = 60  # entries within entries


@dataclass
class Weights:
    """What a file holds.

    Attributes:
        state: name -> tensor on the CPU, without the prefixes of wrappers; perhaps mapped from the file, so not to be
            written to.
        extra: plain values beside the tensors, such as step and epoch; optimizer states are left out.
        container: "torch" (zip), "torch-legacy", "torch-tar", "torchscript" or "safetensors".
    """

    state: State
    extra: dict[str, Any] = field(default_factory=dict)
    container: str = ""


# --- reading ----------------------------------------------------------------------------------------------------------


def read_weights(path: Path | str, key: str = "") -> Weights:
    """Read a file of weights: torch.save (new or old), TorchScript or safetensors. Tensors only; no code of it runs.

    Args:
        key: which entry to take where a file holds several networks, such as "G"; "" finds the only one.

    Raises:
        MissingWeightsError: there is no such file.
        CheckpointError: the path is a folder, or the file is damaged, holds no weights, or holds code.
    """
    path = Path(path)
    container, content = read_content(path)
    state, extra = _unwrap(content, path, key)
    return Weights(plain_names(state, path), extra, container)


def read_networks(path: Path | str, entries: Iterable[str]) -> dict[str, Weights]:
    """The networks of a file that may hold several, read once.

    Args:
        entries: their names in the file.

    Returns:
        Entry -> weights, of those entries that the file has; or "" -> weights, of a file that has none of them and holds one
        network.

    Raises:
        MissingWeightsError, CheckpointError: as `read_weights`.
    """
    path = Path(path)
    container, content = read_content(path)
    is_held = {entry: isinstance(content, Mapping) and isinstance(content.get(entry), Mapping) for entry in entries}
    found = {}
    for entry in [entry for entry, held in is_held.items() if held] or [""]:
        state, extra = _unwrap(content, path, entry)
        found[entry] = Weights(plain_names(state, path), extra, container)
    return found


def read_content(path: Path) -> tuple[str, Any]:
    """(container, content) of a file: all that is in it, as it was saved, in plain Python types and tensors.

    Raises:
        MissingWeightsError, CheckpointError: as `read_weights`.
    """
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder; name one file of weights in it (.pth, .pt, .model or .safetensors).")
    if not path.exists():
        raise MissingWeightsError(
            f"{path} does not exist; checkpoints/README.md says where published weights come from. {zoo.remedy(path)}".rstrip()
        )
    if not path.is_file():
        raise CheckpointError(f"{path} is no plain file; name a file of weights.")
    try:
        container, content = _read(path)
        check_claims(content, path)
        return container, content
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}.") from error
    except Exception as error:  # arbitrary bytes make the parsers of torch, zip and safetensors raise anything
        raise _refused(path, error) from error


def _read(path: Path) -> tuple[str, Any]:
    """(container, content), by the first bytes, whatever the file is called."""
    with path.open("rb") as file:
        start = file.read(512)
    if start.startswith(b"PK\x03\x04"):
        return _read_zip(path)
    if start[8:9] == b"{":
        return "safetensors", _read_safetensors(path)
    if start.startswith(LEGACY_MAGIC):
        return "torch-legacy", read_safely(path)
    if start[257:262] == b"ustar" and start.startswith(TAR_PARTS):
        from talkingface.nn.torch_tar import read_tar

        return "torch-tar", read_tar(path)
    raise CheckpointError(f"{path} {_what_else(start)}")


FOREIGN = {  # first bytes -> what such a file is, and what to do with it
    b"\x89HDF": "is an HDF5 file, of Keras or MATLAB. Convert it with the program that wrote it.",
    b"GGUF": "is a GGUF file of a language model.",
    b"MATLAB": "is a MATLAB file of numbers, not of weights.",
    b"\x93NUMPY": "is a numpy array, not a file of weights.",
    b"\x1f\x8b": "is compressed (gzip). Unpack it and name the file in it.",
    b"BZh": "is compressed (bzip2). Unpack it and name the file in it.",
    b"7z\xbc\xaf": "is an archive (7z). Unpack it and name the file in it.",
    b"Rar!": "is an archive (RAR). Unpack it and name the file in it.",
    b"version https://git-lfs": "is a Git LFS pointer, not the weights. Run `git lfs pull` where it came from.",
}
PICKLE_ADVICE = (
    "reading it could run code, so it was refused. In its authors' program, save the tensors alone: "
    "torch.save(network.state_dict(), ...), or safetensors."
)


def _what_else(start: bytes) -> str:
    """What a file is that holds no weights."""
    if not start:
        return "is empty: the download or copy did not finish. Fetch it again."
    for magic, text in FOREIGN.items():
        if start.startswith(magic):
            return text
    if start.lstrip()[:1] == b"<":
        return "is a web page, not weights: the download site answered with a page. Fetch the file itself."
    if is_onnx(start):
        return "is an ONNX model: a graph to run, whose weights cannot be trained on. Name the file that it was exported from."
    if start[257:262] == b"ustar":
        return "is a tar file, not weights. Unpack it and name the file in it."
    if start[:1] == b"\x80":
        return f"is a plain pickle: {PICKLE_ADVICE}"
    return "is not a file of weights: expected torch.save, TorchScript or safetensors. Fetch it again or name another."


def is_onnx(start: bytes) -> bool:
    """Whether a file begins as ONNX's message does: the version of the format, then who wrote it, its graph or operators."""
    return len(start) > 3 and start[0] == 0x08 and 1 <= start[1] < 0x40 and start[2] in (0x12, 0x1A, 0x3A, 0x42)


def _read_zip(path: Path) -> tuple[str, Any]:
    """A file of torch.save or torch.jit.save: a zip file whose parts are stored as they are."""
    from talkingface.nn.torchscript import is_torchscript, read_tensors

    with zipfile.ZipFile(path) as archive:
        parts = [part for part in archive.infolist() if part.filename.split("/")[1:2] != ["code"]]  # compressed, and not read
        if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
            raise CheckpointError(f"{path} is a compressed zip file, not weights. Unpack it and name the file in it.")
        if sum(part.file_size for part in parts) > path.stat().st_size:
            raise CheckpointError(f"{path} claims more content than it has: it is damaged. Fetch it again.")
        if is_torchscript(archive):
            return "torchscript", read_tensors(archive)
    content = read_safely(path, mmap=True)
    check_storages(content, sum(part.file_size for part in parts if "/data/" in part.filename), path)
    return "torch", content


def read_safely(file: Path | BinaryIO, mmap: bool = False) -> Any:
    """torch's own reader, limited to tensors, plain values and the harmless types of `_harmless`."""
    with torch.serialization.safe_globals(_harmless()):
        return torch.load(file, map_location="cpu", weights_only=True, mmap=mmap)


class Unread:
    """Stands for an object that a file holds and nobody needs, such as an optimizer: attributes, and none of its code."""


def _harmless() -> list[Any]:
    """What published files hold beside tensors: option lists (attributes without behavior), numpy numbers and arrays, and
    whole optimizers, for which an object without behavior is made."""
    core: Any = (np._core if hasattr(np, "_core") else np.core).multiarray  # type: ignore[attr-defined]
    types: list[Any] = [argparse.Namespace, np.ndarray, np.dtype, *{type(np.dtype(code)) for code in "?bBhHiIlLqQefd"}]
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        types += [(core.scalar, f"{module}.scalar"), (core._reconstruct, f"{module}._reconstruct")]
    types += [(Unread, f"torch.optim.{name.lower()}.{name}") for name in ("Adam", "AdamW", "SGD", "RMSprop")]
    return [*types, (_plain_dict, "collections.defaultdict"), (dict, "builtins.dict")]


def _plain_dict(*_: Any) -> dict:
    """What is read in place of a dict with a default."""
    return {}


def _read_safetensors(path: Path) -> State:
    """Tensors, and under "metadata" what `save_weights` was told."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        names = file.keys()
        content = {name: file.get_tensor(name) for name in names}
        metadata = file.metadata() or {}
    return {**content, **{name: _json(value) for name, value in metadata.items() if name not in content}}


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _refused(path: Path, error: Exception) -> CheckpointError:
    """Say whether a file is unsafe or damaged."""
    from talkingface.nn.torchscript import RefusedError

    if isinstance(error, RefusedError):
        return CheckpointError(f"{path} was refused: {error}. Save the network's state_dict() alone.")
    text = str(error)
    if operand := re.search(r"Unsupported operand (\d+)", text):
        what = f"its pickle has the instruction {operand[1]}, which weights do not need"
        return CheckpointError(f"{path} was refused: {what}; {PICKLE_ADVICE}")
    if built := re.search(r"Can only build .*<class '([\w.]+)'>", text):
        return CheckpointError(f"{path} was refused: it holds an object ({built[1]}); {PICKLE_ADVICE}")
    found = re.search(
        r"Unsupported (?:global|class|operand)[^.]*?((?:GLOBAL |class )?[\w]+(?:\.[\w]+)+)|GLOBAL ([\w.]+)", str(error)
    )
    if found or "weights_only" in str(error) and "Unsupported" in str(error):
        name = (found.group(2) or found.group(1)).removeprefix("GLOBAL ") if found else "an unknown type"
        return CheckpointError(
            f"{path} was refused: it holds more than weights ({name}), and reading that could run code. "
            "Ask its author for the tensors alone: torch.save(network.state_dict(), ...) or safetensors."
        )
    reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
    return CheckpointError(f"{path} is damaged or cut off ({path.stat().st_size} bytes; {reason}). Fetch or copy it again.")


def check_claims(content: Any, path: Path) -> None:
    """Refuse what would not fit into memory when it is used: values within values without end, and tensors of far more numbers
    than the file has (which repeat one number, or one tensor).

    Raises:
        CheckpointError: the content claims more than an honest file of its size does.
    """
    claimed, size = sum(tensor.numel() * tensor.element_size() for tensor in tensors_in(content, path)), path.stat().st_size
    if claimed > 4 * size + (256 << 20):
        raise CheckpointError(
            f"{path} was refused: its tensors claim {claimed / 1e9:.0f} GB, and the file has {size / 1e9:.3f} GB."
        )


def check_storages(content: Any, size: int, path: Path) -> None:
    """Refuse numbers that are claimed to be of a larger type than they were stored as: what follows would be read as numbers.

    Args:
        size: bytes of all numbers in the file.

    Raises:
        CheckpointError: tensors have more bytes than that.
    """
    plain = [tensor for tensor in tensors_in(content, path) if tensor.layout == torch.strided and tensor.device.type == "cpu"]
    claimed = sum({tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in plain}.values())
    if claimed > size:
        raise CheckpointError(
            f"{path} is damaged: its tensors claim {claimed:,} bytes of numbers, and it has {size:,}. Fetch it again."
        )


def tensors_in(content: Any, path: Path) -> Iterator[Tensor]:
    """Every tensor of a file's content, also in options and optimizers.

    Raises:
        CheckpointError: entries contain each other, or are too many.
    """
    todo, values = [(content, 0)], 0
    while todo:
        value, depth = todo.pop()
        values += 1
        if depth > DEEPEST or values + len(todo) > MOST_VALUES:
            raise CheckpointError(
                f"{path} was refused: its entries contain each other, or are too many. It holds no honest weights."
            )
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, Mapping):
            todo += [(part, depth + 1) for part in value.values()]
        elif isinstance(value, (list, tuple, set)):
            todo += [(part, depth + 1) for part in value]
        elif isinstance(value, (argparse.Namespace, Unread)):
            todo.append((vars(value), depth + 1))


def _unwrap(content: Any, path: Path, key: str) -> tuple[State, dict[str, Any]]:
    """The tensors inside the wrappers, and the plain values beside them."""
    extra: dict[str, Any] = {}
    if key:
        if not isinstance(content, Mapping) or key not in content:
            raise CheckpointError(f"{path} has no entry {key!r}. It has: {_some(_keys(content))}.")
        extra, content = plain_values(content, without=key), content[key]
    while isinstance(content, Mapping) and (wrapper := _wrapper(content)):
        extra.update(plain_values(content, without=wrapper))
        content = content[wrapper]
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not the named tensors of a network.")
    state = {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, Tensor)}
    if not state:
        raise CheckpointError(f"{path} holds no network. It has: {_some(_keys(content)) or 'nothing'}.")
    extra.update(plain_values({name: value for name, value in content.items() if name not in state}))
    return state, extra


def _wrapper(content: Mapping) -> str | None:
    """The entry in which the network lies: one of the usual names, else the only one that holds tensors."""
    if any(isinstance(value, Tensor) and value.dim() > 0 for value in content.values()):
        return None
    for name in WRAPPERS:
        if isinstance(content.get(name), Mapping):
            return name
    inner = [
        name for name, value in content.items() if isinstance(value, Mapping) and not _is_optimizer(name) and _has_tensors(value)
    ]
    return inner[0] if len(inner) == 1 else None


def _has_tensors(content: Mapping) -> bool:
    return any(isinstance(value, Tensor) for value in content.values())


def _is_optimizer(name: Any) -> bool:
    return "optim" in str(name).lower()


def plain_beside(content: Any) -> dict[str, Any]:
    """The plain values of a file beside its networks: single numbers may be tensors, but not among a network's own."""
    if not isinstance(content, Mapping):
        return {}
    is_network = any(isinstance(value, Tensor) and value.dim() > 0 for value in content.values())
    return plain_values({name: value for name, value in content.items() if not (is_network and isinstance(value, Tensor))})


def plain_values(content: Mapping, without: str = "") -> dict[str, Any]:
    """The entries that are plain, made of Python's own types."""
    plain = {str(name): _plain(value) for name, value in content.items() if name != without and not _is_optimizer(name)}
    return {name: value for name, value in plain.items() if value is not _NOT_PLAIN}


_NOT_PLAIN = object()


def _plain(value: Any) -> Any:
    if isinstance(value, (str, int, float, bool, type(None))):
        return value
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist() if value.dtype.kind in "biufSU" else _NOT_PLAIN
    if isinstance(value, Tensor):
        return value.item() if value.dim() == 0 else _NOT_PLAIN
    if isinstance(value, argparse.Namespace):
        return plain_values(vars(value))
    if isinstance(value, (list, tuple)):
        items = [_plain(item) for item in value]
        return _NOT_PLAIN if any(item is _NOT_PLAIN for item in items) else items
    if isinstance(value, Mapping) and not _has_tensors(value):
        return plain_values(value)
    return _NOT_PLAIN


def plain_names(state: State, path: Path) -> State:
    """Names without the prefixes that DataParallel and torch.compile put in, wherever they stand."""
    plain = {".".join(part for part in name.split(".") if part not in PREFIXES): value for name, value in state.items()}
    if len(plain) != len(state):
        raise CheckpointError(f"{path} holds two networks, one with and one without the prefix 'module.'. Save one alone.")
    return plain


def _keys(content: Any) -> list[str]:
    return [str(name) for name in content] if isinstance(content, Mapping) else []


# --- loading ----------------------------------------------------------------------------------------------------------


def load_weights(
    network: nn.Module, state: Mapping[str, Tensor], source: Path | str, optional: Collection[str] = OPTIONAL
) -> None:
    """Copy tensors into a network: all of it, and nothing else, or nothing at all.

    Args:
        source: where the tensors come from, for the error.
        optional: ends of names that may be missing on either side; the network then keeps its own.

    Raises:
        CheckpointError: names or shapes differ; the message groups the differences and recognizes other networks' files.
    """
    own = network.state_dict()
    required = {name for name in own if not name.endswith(tuple(optional))}
    missing = sorted(required - state.keys())
    unexpected = sorted(name for name in state if name not in own and not name.endswith(tuple(optional)))
    common = {name: _as_scalar(tensor) if own[name].dim() == 0 else tensor for name, tensor in state.items() if name in own}
    reshaped = sorted(name for name, tensor in common.items() if tensor.shape != own[name].shape)
    if missing or unexpected or reshaped:
        shapes = [f"{name} {tuple(state[name].shape)} instead of {tuple(own[name].shape)}" for name in reshaped]
        groups = {"missing": missing, "unexpected": unexpected, "of another shape": shapes}
        found = "; ".join(f"{len(names)} {what} ({_some(names)})" for what, names in groups.items() if names)
        raise CheckpointError(f"{source} does not fit {type(network).__name__}: {found}.{_advice(network, state, groups)}")
    network.load_state_dict(common, strict=False)


def _as_scalar(tensor: Tensor) -> Tensor:
    """Torch 0.3 saved what is a scalar today as a vector of length 1."""
    return tensor[0] if tensor.shape == (1,) else tensor


def _advice(network: nn.Module, state: Mapping[str, Tensor], groups: Mapping[str, Collection[str]]) -> str:
    label = recognise(state)
    if label and label != recognise(network.state_dict()):
        return f" It is a file of another network: {label}."
    if not groups["missing"] and not groups["unexpected"]:
        return " The names agree: the network was made with other sizes; set the same ones as in training."
    return ""


def _some(names: Iterable[str], count: int = 3) -> str:
    """The first few names."""
    names = list(names)
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")


# --- recognizing ------------------------------------------------------------------------------------------------------

known_networks: dict[str, Callable[[], nn.Module]] = {}


def register_network(label: str, factory: Callable[[], nn.Module]) -> None:
    """Make the files of a published network known, so that they are recognized in the wrong place.

    Args:
        label: what a user would call it, with its file: "the lip-sync expert of Wav2Lip (lipsync_expert.pth)".
        factory: builds the published network; it is called on the meta device, and only to explain an error.
    """
    known_networks[label] = factory


def recognise(state: Mapping[str, Tensor]) -> str | None:
    """The label of the registered network that these tensors belong to: nine of ten names and shapes agree."""
    label, likeness = closest(state)
    return label if likeness >= 0.9 else None


def closest(state: Mapping[str, Tensor], with_shapes: bool = True) -> tuple[str | None, float]:
    """The label of the registered network that is most like these tensors, and how much: the part of names that agree.

    Args:
        with_shapes: count a name only where its shape agrees too.
    """
    given = signature(state)
    likeness = {label: _likeness(given, blueprint(factory).signature, with_shapes) for label, factory in known_networks.items()}
    best = max(likeness, key=lambda label: likeness[label], default=None)
    return best, likeness.get(best or "", 0.0)


def _likeness(given: set, known: set, with_shapes: bool) -> float:
    if not with_shapes:
        given, known = ({name for name, _ in pairs} for pairs in (given, known))
    return len(given & known) / max(len(given | known), 1)


class Blueprint(NamedTuple):
    """What the file of a network should hold.

    Attributes:
        signature: (name, shape) of each tensor, without the counters that may be missing.
        parameters: names of those that are learned.
    """

    signature: set[tuple[str, tuple[int, ...]]]
    parameters: set[str]

    @classmethod
    def of(cls, network: nn.Module) -> Blueprint:
        return cls(signature(network.state_dict()), {name for name, _ in network.named_parameters()})


@cache
def blueprint(factory: Callable[[], nn.Module]) -> Blueprint:
    """What the file of a registered network holds; nothing of its size is made in memory."""
    with torch.device("meta"):
        return Blueprint.of(factory())


def signature(state: Mapping[str, Tensor]) -> set[tuple[str, tuple[int, ...]]]:
    return {(name, tuple(tensor.shape)) for name, tensor in state.items() if not name.endswith(OPTIONAL)}


# --- saving -----------------------------------------------------------------------------------------------------------


def save_weights(path: Path | str, state: Mapping[str, Tensor], metadata: Mapping[str, Any] | None = None) -> None:
    """Write tensors as safetensors, whole or not at all.

    Args:
        metadata: plain values to keep beside them; `read_weights` returns them as `extra`.

    Raises:
        MediaError: the disk is full or the folder cannot be written.
    """
    from safetensors.torch import save

    from talkingface.media.files import atomic

    tensors = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in state.items()}
    content = save(tensors, {name: json.dumps(value) for name, value in (metadata or {}).items()})
    with atomic(path) as temporary:
        temporary.write_bytes(content)
