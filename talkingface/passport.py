"""A checkpoint's passport: which networks a file holds, found by the names and shapes of its tensors, and where it comes from.

Nothing in the file runs. What it says of itself is shown, and not believed where tensors can tell.
"""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from talkingface.errors import CheckpointError, MissingWeightsError
from talkingface.media.fetch import sha256
from talkingface.model.base import Model, TalkingFace
from talkingface.nn import weights
from talkingface.nn.weights import Blueprint, State, Unread, blueprint, closest, known_networks, read_content
from talkingface.registry import MODELS, load_builtins, load_plugins, normalize
from talkingface.zoo import Published, zoo

ENTRIES_WITHIN = 3  # wrappers around a network, at most
RECOGNIZED = 0.5  # part of names and shapes that agree
SAME_NAMES = 0.8  # part of names that agree, where the shapes do not: another size of the network
LARGEST_SETTING = 100_000  # a size that a file claims for its network
NEWEST_FIRST = {  # part of a zip file of torch.save -> the first torch that writes it
    "byteorder": "2.1 or later",
    "version": "1.4 to 2.0",
}
CONTAINERS = {
    "torch": "torch.save, zip",
    "torch-legacy": "torch.save, before zip (torch 0.2 to 1.5, or since then by choice)",
    "torch-tar": "torch.save, tar (torch 0.1)",
    "torchscript": "TorchScript",
    "safetensors": "safetensors",
}


@dataclass
class Held:
    """A network that a file holds.

    Attributes:
        entry: where in the file it lies; "" = it is all of the file.
        label: what it is, in words; "" = not recognized.
        model, network: whose it is, and the model's attribute for it; "" = not known.
        parameters: values that are learned.
        tensors: how many tensors it has.
        numbers: types of its numbers -> how many tensors have them.
        missing, unexpected: names that the network should have, or does not have.
        reshaped: names whose shape is another one, with both shapes.
    """

    entry: str
    label: str = ""
    model: str = ""
    network: str = ""
    parameters: int = 0
    tensors: int = 0
    numbers: dict[str, int] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    reshaped: list[str] = field(default_factory=list)


@dataclass
class Passport:
    """All that is known of a file of weights.

    Attributes:
        container: "torch", "torch-legacy", "torch-tar", "torchscript", "safetensors", or "" for what is none of these.
        written_by: which torch wrote it, as far as the file shows.
        problem: why it cannot be used, with what to do; "" = it can.
        networks: what it holds.
        beside: plain values beside the networks, such as step and epoch.
        optimizers: entries that hold an optimizer's state.
        use: what it is good for here.
        agrees: whether its hash is the published one; None where none is published, or the hash was not taken.
    """

    file: str
    bytes: int = 0
    modified: str = ""
    sha256: str = ""
    container: str = ""
    written_by: str = ""
    problem: str = ""
    networks: list[Held] = field(default_factory=list)
    beside: dict[str, Any] = field(default_factory=dict)
    optimizers: list[str] = field(default_factory=list)
    use: str = ""
    licence: str = ""
    source: str = ""
    citation: str = ""
    agrees: bool | None = None

    def to_json(self) -> dict[str, Any]:
        """All of it; model, network, parameters, missing, unexpected and reshaped are those of all networks together."""
        whole = {
            "model": joined(held.model for held in self.networks) or None,
            "network": joined(held.network for held in self.networks) or None,
            "parameters": sum(held.parameters for held in self.networks),
        }
        names = {
            kind: [name for held in self.networks for name in prefixed(held, getattr(held, kind), len(self.networks) > 1)]
            for kind in ("missing", "unexpected", "reshaped")
        }
        return {**asdict(self), **whole, **names}

    def text(self) -> str:
        """The passport for people."""
        size = f"{self.bytes / 1e6:.1f} MB" if self.bytes >= 1e5 else f"{self.bytes:,} bytes"
        container = CONTAINERS.get(self.container, "")
        by = f", written by {self.written_by}" if self.written_by else ""
        rows = [("problem", self.problem)] if self.problem else []
        for held in self.networks:
            rows += list(lines_of(held))
        rows += [
            ("container", f"{container}{by}; {size}, last changed {self.modified}" if container else f"{size}, {self.modified}"),
            ("beside", shortened(self.beside)),
            ("optimizer", ", ".join(self.optimizers)),
            ("use", self.use),
            ("licence", self.licence),
            ("source", self.source),
            ("citation", self.citation),
            ("SHA-256", self.sha256 + {True: " (as published)", False: " (not the published file)", None: ""}[self.agrees]),
        ]
        return "\n".join([self.file, *(f"  {name:<11} {value}" for name, value in rows if value)])


def prefixed(held: Held, names: Iterable[str], several: bool) -> Iterator[str]:
    """Names with their entry in front, where a file has several networks."""
    return (f"{held.entry}: {name}" if several and held.entry else name for name in names)


def joined(words: Iterable[str]) -> str:
    """Different words, each once."""
    return ", ".join(dict.fromkeys(word for word in words if word))


def lines_of(held: Held) -> Iterator[tuple[str, str]]:
    """A network's rows in the text."""
    kinds = ", ".join(held.numbers)
    name = f"{held.model} {held.network}: {held.label}" if held.network else held.label or "not recognized"
    where = f" (entry {held.entry})" if held.entry else ""
    yield "network", f"{name}{where}; {held.parameters:,} values in {held.tensors} tensors, {kinds}"
    for kind, names in (("missing", held.missing), ("unexpected", held.unexpected), ("reshaped", held.reshaped)):
        if names:
            yield kind, grouped(names)


def grouped(names: list[str]) -> str:
    """Names in groups by the module they belong to."""
    groups = Counter(name.partition(".")[0] for name in names)
    shown = [
        f"{name}: {count}" if count > 1 else next(n for n in names if n.partition(".")[0] == name)
        for name, count in groups.items()
    ]
    return f"{len(names)} ({', '.join(shown[:8])}{', ...' if len(shown) > 8 else ''})"


def shortened(values: Mapping[str, Any]) -> str:
    """Plain values on a line."""
    pairs = [f"{name} {str(value)[:40]}" for name, value in values.items()]
    return ", ".join(pairs[:8]) + (", ..." if len(pairs) > 8 else "")


# --- making one -------------------------------------------------------------------------------------------------------


def passport(path: Path | str, name: str = "", digest: bool = True) -> Passport:
    """The passport of a file. A file that is damaged, unsafe or no weights has one too: it says so under `problem`.

    Args:
        name: what the file is called, where it still has another name.
        digest: also take its SHA-256, which reads all of it.

    Raises:
        MissingWeightsError: there is no such file.
        CheckpointError: it is a folder.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder; name one file of weights in it (.pth, .pt, .model or .safetensors).")
    if not path.exists():
        raise MissingWeightsError(f"{path} does not exist.")
    made = Passport(str(path))
    if path.is_file():
        status = path.stat()
        made.bytes, made.modified = status.st_size, datetime.fromtimestamp(status.st_mtime, timezone.utc).strftime("%Y-%m-%d")
    try:
        made.container, content = read_content(path)
        describe(made, content, path)
    except CheckpointError as error:
        made.problem = str(error)
    if digest and path.is_file():
        made.sha256 = sha256(path)
    publish(made, zoo().named(name or path.name))
    return made


def describe(made: Passport, content: Any, path: Path) -> None:
    """Fill in what a file's content shows."""
    load_all_networks()
    made.written_by = written_by(path, made.container)
    parts = split_checkpoint(content) if is_own_checkpoint(content) else content
    made.optimizers = list(optimizers_in(parts))
    made.beside = weights.plain_beside(parts)
    for entry, state in states_in(parts):
        made.networks.append(held_network(entry, weights.plain_names(state, path), made.beside))
    if not made.networks:
        what = "an optimizer's state" if made.optimizers or is_optimizer("", parts) else f"a {type(content).__name__}"
        made.problem = f"{path} holds {what}, and no network. Name the file that the network was saved in."
    made.use = use_of(made)


def load_all_networks() -> None:
    """Import all that registers a network."""
    import talkingface.face.s3fd  # noqa: F401

    for kind in ("model", "metric"):
        load_builtins(kind)
        load_plugins(kind)


def written_by(path: Path, container: str) -> str:
    """Which torch wrote a file, by the parts that it has."""
    if container != "torch":
        return ""
    with zipfile.ZipFile(path) as archive:
        parts = {name.partition("/")[2] for name in archive.namelist()}
    return next((f"torch {version}" for part, version in NEWEST_FIRST.items() if part in parts), "")


def is_own_checkpoint(content: Any) -> bool:
    """Whether it is a checkpoint of our own trainer."""
    return isinstance(content, Mapping) and {"state", "crc32"} <= content.keys()


def split_checkpoint(content: Mapping[str, Any]) -> dict[str, Any]:
    """A checkpoint of our own trainer as a file of several networks with an optimizer."""
    parts: dict[str, Any] = {}
    for name, value in content.items():
        part, _, rest = name.partition("/")
        if isinstance(value, Tensor) and part == "weights":
            network, _, inner = rest.partition(".")
            parts.setdefault(network, {})[inner] = value
        elif isinstance(value, Tensor):
            parts.setdefault(f"optimizer ({part})", {})[rest] = value
    state = content["state"]
    return (
        {**parts, **{key: value for key, value in state.items() if key in ("step", "epoch", "best")}}
        if isinstance(state, Mapping)
        else parts
    )


def is_optimizer(name: str, value: Any) -> bool:
    """Whether an entry is an optimizer's state, or an optimizer."""
    holds = isinstance(value, Mapping) and {"state", "param_groups"} <= value.keys()
    return holds or isinstance(value, Unread) or (isinstance(value, Mapping) and "optim" in name.lower())


def optimizers_in(content: Any) -> Iterator[str]:
    """The entries that hold optimizers."""
    if isinstance(content, Mapping):
        yield from (str(name) for name, value in content.items() if is_optimizer(str(name), value))


def states_in(content: Any, entry: str = "", depth: int = 0) -> Iterator[tuple[str, State]]:
    """(entry, tensors) of each network in a file."""
    if not isinstance(content, Mapping) or depth > ENTRIES_WITHIN or is_optimizer(entry, content):
        return
    tensors = {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, Tensor)}
    if any(value.dim() for value in tensors.values()):
        yield entry, tensors
        return
    for name, value in content.items():
        yield from states_in(value, f"{entry}.{name}" if entry else str(name), depth + 1)


# --- recognizing ------------------------------------------------------------------------------------------------------


def held_network(entry: str, state: State, beside: Mapping[str, Any]) -> Held:
    """What a network in a file is."""
    held = Held(entry, tensors=len(state), numbers=dict(Counter(short(tensor) for tensor in state.values())))
    plan = own_plan(held, state, beside) or published_plan(held, state)
    learned = plan.parameters if plan else {name for name in state if not is_statistic(name)}
    held.parameters = sum(tensor.numel() for name, tensor in state.items() if name in learned)
    if plan:
        compare(held, state, plan)
    return held


def short(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def is_statistic(name: str) -> bool:
    """Whether a tensor is none that is learned, by its name."""
    return name.endswith(("running_mean", "running_var", *weights.OPTIONAL))


def compare(held: Held, state: State, plan: Blueprint) -> None:
    """Write down in what a file differs from what it should hold."""
    shapes = dict(plan.signature)
    counters = tuple(weights.OPTIONAL)
    held.missing = sorted(name for name in shapes if name not in state)
    held.unexpected = sorted(name for name in state if name not in shapes and not name.endswith(counters))
    for name, tensor in sorted(state.items()):
        if name in shapes and tuple(tensor.shape) != shapes[name]:
            held.reshaped.append(f"{name} {tuple(tensor.shape)} instead of {shapes[name]}")


def published_plan(held: Held, state: State) -> Blueprint | None:
    """The published network that a state is most like, written into its passport; None where it is like none."""
    label, likeness = closest(state)
    if label is None or likeness < RECOGNIZED:
        label, likeness = closest(state, with_shapes=False)
        if label is None or likeness < SAME_NAMES:
            return None
        held.label = f"like {label}, of other sizes"
    else:
        held.label = label
    file = zoo().labelled(label)
    if file is not None:
        held.model, held.network = file.model, attribute(file, label, held.entry)
    return blueprint(known_networks[label])


def attribute(file: Published, label: str, entry: str) -> str:
    """The model's attribute for a network in a file that may hold several: the label names its entry too."""
    inner = next((network for name, network in file.entries.items() if f", {name})" in label), None)
    return inner or file.entries.get(entry, file.network)


def own_plan(held: Held, state: State, beside: Mapping[str, Any]) -> Blueprint | None:
    """The network of a model that was trained here: its file says of which model and sizes, and its tensors agree."""
    name = next((known for known in MODELS if normalize(known) == normalize(str(beside.get("model", "")))), None)
    sizes = {key: value for key, value in beside.items() if key != "model"}
    if name is None or not all(is_size(value) for value in sizes.values()):
        return None
    sizes, plans = own_plans(name, json.dumps(sizes, sort_keys=True))
    given = weights.signature(state)
    likeness = {network: len(given & plan.signature) / len(given | plan.signature) for network, plan in plans.items()}
    best = max(likeness, key=lambda network: likeness[network], default="")
    if likeness.get(best, 0.0) < RECOGNIZED:
        return None
    told = ", ".join(f"{key} {value}" for key, value in sizes.items())
    held.model, held.network, held.label = name, best, f"trained here{f' ({told})' if told else ''}"
    return plans[best]


@lru_cache(maxsize=8)
def own_plans(name: str, sizes: str) -> tuple[dict[str, Any], dict[str, Blueprint]]:
    """The sizes of a model as a file claims them, and network -> what its file should hold; no memory is taken for tensors.

    Args:
        sizes: the constructor's arguments as JSON.
    """
    try:
        with torch.device("meta"):
            model: Model = MODELS[name](**json.loads(sizes))
    except Exception:  # sizes that a file claims can be any; the tensors are then compared with published networks
        return {}, {}
    return model.sizes(), {network: Blueprint.of(getattr(model, network)) for network in model.files}


def is_size(value: Any) -> bool:
    """Whether a value may be a setting that decides sizes, and a sane one."""
    if isinstance(value, list):
        return len(value) <= 16 and all(is_size(part) for part in value)
    return isinstance(value, (int, float)) and 0 <= value <= LARGEST_SETTING or (isinstance(value, str) and len(value) < 100)


# --- what it is good for ----------------------------------------------------------------------------------------------


def publish(made: Passport, file: Published | None) -> None:
    """Fill in where a file comes from: by what it holds, else by its name."""
    held = next((held for held in made.networks if held.model and not held.label.startswith("trained here")), None)
    own = any(held.label.startswith("trained here") for held in made.networks)
    same = file is not None and held is not None and (file.model, file.network) == (held.model, held.network)
    if held is not None and not same:
        file = zoo().holding(held.model, held.network) or file
    if file is None or own:
        return
    made.licence, made.source = zoo().licences[file.licence], file.source
    made.citation = zoo().citations.get(file.citation, "")
    if made.sha256 and file.sha256:
        made.agrees = made.sha256.startswith(file.sha256)


def use_of(made: Passport) -> str:
    """What a file's networks are good for here: making videos, or training a stage; and what is needed beside them."""
    texts = []
    for name in dict.fromkeys(held.model for held in made.networks if held.model in MODELS):
        held = [held.network for held in made.networks if held.model == name]
        texts += list(uses(MODELS[name], name, held))
    return "; ".join(texts)


def uses(model: type[Model], name: str, held: list[str]) -> Iterator[str]:
    """The uses of some of a model's networks."""
    needed = list(model.generates_with) if issubclass(model, TalkingFace) else []
    rest = [file_of(model, network) for network in needed if network not in held]
    if needed and not rest:
        yield "makes videos"
    elif set(needed) & set(held):
        yield f"makes videos together with {' and '.join(rest)}"
    elif needed:
        yield f"makes no videos: {name} needs {' and '.join(rest)} for that"
    starts, lacks = [], {}
    for stage, kind in model.stages.items():
        wanted = [str(network) for network in kind.needs] if isinstance(kind.needs, (list, tuple)) else []
        more = [file_of(model, network) for network in wanted if network not in held]
        if wanted and not more:
            starts.append(stage)
        elif wanted and (set(wanted) | {stage}) & set(held):
            lacks[stage] = more
    if starts:
        yield f"training: {', '.join(starts)} start{'s' * (len(starts) == 1)} from it"
    for stage, more in lacks.items():
        yield f"training: {stage} needs {' and '.join(more)}"


def file_of(model: type[Model], network: str) -> str:
    """A network with its published file."""
    return f"the {network} ({model.files[network]})" if network in model.files else f"the {network}"
