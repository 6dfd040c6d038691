"""Weights from one container into another: safetensors, and the files that the authors' own programs read.

    safetensors   the tensors of one network each, and beside them what is needed to write the first file again
    original      the authors' containers: entries, prefixes and names as in their files, written so that old torch reads them

Converted back, a file has every tensor, name and plain value that it had; an optimizer's entry is empty (None).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from talkingface.errors import CheckpointError, ConfigError
from talkingface.media.files import atomic
from talkingface.nn import weights
from talkingface.nn.weights import State, blueprint, known_networks, plain_names, read_content, save_weights
from talkingface.passport import Held, attribute, held_network, load_all_networks, optimizers_in, states_in
from talkingface.zoo import Layout, Published, zoo

log = logging.getLogger(__name__)

TARGETS = ("safetensors", "original")
PRECISIONS = {"": None, "float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
CONVERTED = "converted_from"  # the key in safetensors' metadata under which the first file is described
SUFFIXES = (".pth", ".pt", ".tar", ".model", ".safetensors")


@dataclass
class Original:
    """How a network lay in the file that it was read from, so that the file can be written again.

    Attributes:
        file: its name.
        entry: where in the file the network lay, with dots between; "" = it was all of the file.
        beside: plain values of the file.
        renamed: name in the network -> name in the file, where they differ.
        emptied: entries that held an optimizer; written again, they are empty.
    """

    file: str
    entry: str = ""
    beside: Mapping[str, Any] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)
    emptied: list[str] = field(default_factory=list)


@dataclass
class Part:
    """A network on its way from one file into another.

    Attributes:
        is_foreign: its file is of another container than ours, or was converted from one.
    """

    held: Held
    state: State
    beside: Mapping[str, Any]
    original: Original
    is_foreign: bool


def convert(source: Path, output: Path | None = None, to: str = "safetensors", precision: str = "") -> list[Path]:
    """Convert a file of weights, or all those of a folder.

    Args:
        output: a file, or a folder for several; by default beside the source (a folder's into the folder itself).
        to: "safetensors", one file for each network; or "original", the files that the authors' programs read.
        precision: "float16" or "bfloat16" halves the files, "float32" makes them whole again; "" = as they are. Whole
            numbers and counters stay as they are.

    Returns:
        The files that were written.

    Raises:
        ConfigError: an unknown container or precision, or an output that would replace the source.
        CheckpointError: a source holds no network, or one of which nobody knows how its authors store it; or a number is too
            large for float16.
        MediaError: the output cannot be written.
    """
    if to not in TARGETS:
        raise ConfigError(f"convert --to={to}: expected {' or '.join(TARGETS)}.")
    if precision not in PRECISIONS:
        raise ConfigError(f"convert --precision={precision}: expected one of {', '.join(filter(None, PRECISIONS))}.")
    source = Path(source).expanduser()
    load_all_networks()
    parts = [part for file in sources(source) for part in parts_of(file)]
    for part in parts:
        part.state = {name: cast(tensor, name, precision, source) for name, tensor in part.state.items()}
    contents = safetensors_of(parts) if to == "safetensors" else originals_of(parts, source)
    folder = source if source.is_dir() else source.parent
    places = placed(list(contents), folder, output)
    for name, place in places.items():
        if place.resolve() in {file.resolve() for file in sources(source)}:
            raise ConfigError(f"{place} would replace what is converted: name another file or folder with --output.")
        write(place, contents[name])
    return list(places.values())


def sources(source: Path) -> list[Path]:
    """The file, or the files of weights in a folder (or its weights/, of a run).

    Raises:
        CheckpointError: there are none.
    """
    if not source.is_dir():
        return [source]
    folder = source / "weights" if (source / "weights").is_dir() else source
    found = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES and not path.name.startswith("."))
    if not found:
        raise CheckpointError(f"{folder} holds no file of weights ({', '.join(SUFFIXES)}).")
    return found


def parts_of(path: Path) -> Iterator[Part]:
    """The networks of a file.

    Raises:
        CheckpointError: it holds none.
    """
    container, content = read_content(path)
    beside = weights.plain_beside(content)
    before = beside.pop(CONVERTED, None)
    found = list(states_in(content))
    if not found:
        raise CheckpointError(f"{path} holds no network to convert.")
    left_out = list(optimizers_in(content))
    if left_out:
        log.info("%s: left out %s, which only going on with that training would need.", path, ", ".join(left_out))
    for entry, state in found:
        plain = plain_names(state, path)
        names = {ours: theirs for ours, theirs in zip(plain, state, strict=True) if ours != theirs}
        original = known_original(before) or Original(path.name, entry, beside, names, left_out)
        held = held_network(entry, plain, beside)
        if not held.network:  # not recognized: names are all that is known
            held.network = published_name(original) or (path.stem if len(found) == 1 else entry)
        yield Part(held, plain, beside, original, is_foreign=container != "safetensors" or bool(before))


def published_name(original: Original) -> str:
    """The network that a published file of this name has in this entry; "" where none is published under it."""
    file = zoo().named(original.file)
    if file is None or (original.entry != file.layout.entry and original.entry not in file.entries):
        return ""
    return file.entries.get(original.entry, file.network)


def known_original(description: Any) -> Original | None:
    """The first file that a converted one describes; None where it describes none, or is damaged."""
    try:
        return Original(**description)
    except TypeError:
        return None


def cast(tensor: Tensor, name: str, precision: str, source: Path) -> Tensor:
    """A tensor with numbers of another type; whole numbers stay.

    Raises:
        CheckpointError: a number is too large for the type.
    """
    dtype = PRECISIONS[precision]
    if dtype is None or not tensor.is_floating_point():
        return tensor
    made = tensor.to(dtype)
    if not torch.equal(made.isfinite(), tensor.isfinite()):
        raise CheckpointError(f"{source}: numbers of {name} are too large for {precision}; use --precision=bfloat16.")
    return made


# --- safetensors ------------------------------------------------------------------------------------------------------


def safetensors_of(parts: list[Part]) -> dict[str, Any]:
    """File name -> (tensors, metadata), a file for each network."""
    made: dict[str, Any] = {}
    for part in sorted(parts, key=lambda part: not is_published_entry(part)):
        name = f"{part.held.network}.safetensors"
        if name in made and part.original.entry:  # another copy of it in the same file, such as one without averaging
            name = f"{part.held.network}.{part.original.entry}.safetensors"
        if name in made:
            raise CheckpointError(f"two networks would be written as {name}: convert their files one by one.")
        described = {CONVERTED: part.original.__dict__} if part.is_foreign else part.beside
        made[name] = (part.state, described)
    return made


def is_published_entry(part: Part) -> bool:
    """Whether a network lies in the entry of its file that its authors' program reads."""
    file = zoo().named(part.original.file)
    return file is None or part.original.entry in (file.layout.entry, *file.entries)


# --- the authors' containers ------------------------------------------------------------------------------------------


def originals_of(parts: list[Part], source: Path) -> dict[str, Any]:
    """File name -> content, in the authors' layout; networks that are published in one file come into one.

    Raises:
        CheckpointError: nobody knows how the authors store any of them.
    """
    made: dict[str, Any] = {}
    unknown: list[CheckpointError] = []
    for part in parts:
        if part.is_foreign:
            original = part.original
            beside = {**dict.fromkeys(original.emptied), **original.beside}
            file, layout, names = original.file, Layout(original.entry, beside=beside), original.renamed
        else:
            try:
                file, layout, names = published_layout(part, source)
            except CheckpointError as error:
                unknown.append(error)
                continue
        content = {names.get(name, name): tensor.detach().clone() for name, tensor in part.state.items()}
        put(made, file, layout.entry, content, layout.beside)
    if unknown and not made:
        raise unknown[0]
    for reason in unknown:  # what only training needs is often not published
        log.warning("left out: %s", reason)
    return made


def put(made: dict[str, Any], file: str, entry: str, content: State, beside: Mapping[str, Any]) -> None:
    """Put a network into its entry of a file."""
    if not entry:
        made[file] = {**content, **beside}
        return
    place = made.setdefault(file, {})
    *outer, last = entry.split(".")
    for name in outer:
        place = place.setdefault(name, {})
    place[last] = content
    made[file].update({name: value for name, value in beside.items() if name not in made[file]})


def published_layout(part: Part, source: Path) -> tuple[str, Layout, dict[str, str]]:
    """The authors' file of a network that was trained here, its layout, and their names of its tensors.

    Raises:
        CheckpointError: nobody knows such a file.
    """
    held = part.held
    file = zoo().holding(held.model, held.network) if held.model else None
    if file is None:
        known = ", ".join(f.path for f in zoo().files if f.values)
        raise CheckpointError(f"{source}: the authors' container of {held.network} is not known. Known are those of {known}.")
    if is_resized(part, file):
        log.warning(
            "%s: the %s has other sizes than the published network: its authors' program needs the same sizes set to load it.",
            source,
            held.network,
        )
    left_out = file.layout.without
    names = {name: file.layout.prefix + name for name in part.state}
    part.state = {name: tensor for name, tensor in part.state.items() if not left_out or not name.endswith(left_out)}
    entry = next((name for name, network in file.entries.items() if network == held.network), file.layout.entry)
    return file.name, Layout(entry, file.layout.prefix, file.layout.beside, left_out), names


def is_resized(part: Part, file: Published) -> bool:
    """Whether tensors have other shapes than those of the same names in the published file."""
    for label, factory in known_networks.items():
        if zoo().labelled(label) == file and attribute(file, label, "") == part.held.network:
            shapes = dict(blueprint(factory).signature)
            return any(tuple(tensor.shape) != shapes.get(name, tuple(tensor.shape)) for name, tensor in part.state.items())
    return False


# --- writing ----------------------------------------------------------------------------------------------------------


def placed(names: list[str], folder: Path, output: Path | None) -> dict[str, Path]:
    """Where each file goes.

    Raises:
        ConfigError: one file is named for several.
    """
    if output is None:
        return {name: folder / name for name in names}
    output = Path(output).expanduser()
    if output.suffix in SUFFIXES and not output.is_dir():
        if len(names) > 1:
            raise ConfigError(f"--output={output}: {len(names)} files are written ({', '.join(names)}); name a folder.")
        return {names[0]: output}
    return {name: output / name for name in names}


def write(place: Path, content: Any) -> None:
    """Write a file whole or not at all."""
    if isinstance(content, tuple):
        save_weights(place, *content)
        return
    with atomic(place) as temporary:
        torch.save(content, temporary, _use_new_zipfile_serialization=False)
