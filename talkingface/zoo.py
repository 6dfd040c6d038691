"""The zoo: every published file that our models use, as properties/zoo.yaml lists it. Knows names and places; reads no file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from talkingface.errors import ConfigError
from talkingface.registry import normalize, unknown

TABLE = Path(__file__).parent / "properties" / "zoo.yaml"
HUB = "hub/"  # what begins so lies in torch's own cache of weights


@dataclass(frozen=True)
class Layout:
    """How a file's authors store a network.

    Attributes:
        entry: in which entry its tensors lie; "" = the file is the tensors.
        prefix: with which all names begin.
        beside: further entries, with their values.
        without: names that end like this are left out; "" = none are.
    """

    entry: str = ""
    prefix: str = ""
    beside: Mapping[str, Any] = field(default_factory=dict)
    without: str = ""


@dataclass(frozen=True)
class Published:
    """A published file; properties/zoo.yaml explains the attributes."""

    path: str
    used_by: tuple[str, ...]
    what: str
    network: str
    page: str
    licence: str
    entries: Mapping[str, str] = field(default_factory=dict)
    values: int = 0
    megabytes: float = 0.0
    sha256: str = ""
    url: str = ""
    archive: str = ""
    citation: str = ""
    also_at: tuple[str, ...] = ()
    optional: bool = False
    layout: Layout = field(default_factory=Layout)

    @property
    def name(self) -> str:
        """The file's own name."""
        return self.path.rpartition("/")[2]

    @property
    def model(self) -> str:
        """The model or metric whose file it is."""
        return self.used_by[0]

    @property
    def size(self) -> str:
        """About how large it is, for people."""
        if not self.megabytes:
            return ""
        return f"{self.megabytes:g} MB" if self.megabytes >= 1 else f"{self.megabytes * 1000:g} kB"

    @property
    def source(self) -> str:
        """Where to ask for it."""
        return self.url or (f"{self.archive} of {self.page}" if self.archive else self.page)

    def place(self, checkpoints_dir: Path) -> Path:
        """Where it should lie."""
        return located(self.path, checkpoints_dir)

    def found(self, checkpoints_dir: Path) -> Path | None:
        """Where it lies: its place, or another one where models look for it; None where it is not on this disk."""
        places = (located(path, checkpoints_dir) for path in (self.path, *self.also_at))
        return next((place for place in places if place.is_file()), None)


@dataclass(frozen=True)
class Zoo:
    """The table: its files, and the texts that they share."""

    files: tuple[Published, ...]
    licences: Mapping[str, str]
    citations: Mapping[str, str]

    def users(self) -> list[str]:
        """Every model and metric that files are listed for."""
        return list(dict.fromkeys(user for file in self.files for user in file.used_by))

    def of(self, name: str) -> list[Published]:
        """The files of a model or metric, or of "all".

        Raises:
            RegistryError: none are listed under this name.
        """
        if normalize(name) == "all":
            return list(self.files)
        found = [file for file in self.files if normalize(name) in map(normalize, file.used_by)]
        if not found:
            raise unknown("model or metric with published files", name, [*self.users(), "all"])
        return found

    def named(self, name: str) -> Published | None:
        """The file of this name, without its folder."""
        return next((file for file in self.files if file.name == name), None)

    def labelled(self, label: str) -> Published | None:
        """The file of a network that is registered for recognition: its label names its files in parentheses."""
        names = label.rpartition("(")[2].removesuffix(")").split(", ")
        return next((file for name in names if (file := self.named(name)) is not None), None)

    def holding(self, model: str, network: str) -> Published | None:
        """The file in which a model's network is published: one of its own, or one that it shares with another model."""
        users = [file for file in self.files if normalize(model) in map(normalize, file.used_by)]
        own = sorted(users, key=lambda file: normalize(file.model) != normalize(model))
        return next((file for file in own if file.network == network or network in file.entries.values()), None)


@cache
def zoo(path: Path = TABLE) -> Zoo:
    """The table of a YAML file, the package's own by default.

    Raises:
        ConfigError: it is no such table.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        files = tuple(published(place, entry) for place, entry in content["files"].items())
        table = Zoo(files, content.get("licences") or {}, content.get("citations") or {})
        absent = {file.licence for file in files} - table.licences.keys() | {f.citation for f in files} - {"", *table.citations}
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(f"{path} is no table of published files: {error}.") from error
    if absent:
        raise ConfigError(f"{path}: no such licence or citation: {', '.join(sorted(absent))}.")
    return table


def published(path: str, entry: Mapping[str, Any]) -> Published:
    """One file of the table."""
    known = {part.name for part in fields(Published)} - {"path"}
    if foreign := set(entry) - known:
        raise TypeError(f"{path} has {', '.join(sorted(foreign))}, which no file has")
    settings: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
    return Published(path, **{**settings, "layout": Layout(**entry.get("layout", {}))})


def located(path: str, checkpoints_dir: Path) -> Path:
    """A place of the table on this disk."""
    return hub_folder() / path.removeprefix(HUB) if path.startswith(HUB) else Path(checkpoints_dir) / path


def hub_folder() -> Path:
    """torch's cache of weights, as torch.hub names it."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return (Path(os.environ.get("TORCH_HOME") or cache / "torch") / "hub" / "checkpoints").expanduser()


def remedy(path: Path | str) -> str:
    """What to tell of a published file that is not there: what it is, how large, where it comes from, and the command that
    fetches it; "" for any other file."""
    file = zoo().named(Path(path).name)
    if file is None:
        return ""
    facts = ", ".join(fact for fact in (file.size and f"about {file.size}", hash_text(file)) if fact)
    about = f"{file.what} ({facts})" if facts else file.what
    return f"It is {about}, from {file.source}; `talkingface download {file.model}` fetches it or says how."


def hash_text(file: Published) -> str:
    """The published hash, for people."""
    if not file.sha256:
        return ""
    return f"SHA-256 {file.sha256}" if len(file.sha256) == 64 else f"SHA-256 begins with {file.sha256}"


def markdown(table: Zoo | None = None) -> str:
    """The table of checkpoints/README.md."""
    table = table or zoo()
    head = ["file", "network", "values", "size", "SHA-256", "source", "licence", "fetched by"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for file in table.files:
        cells = [
            f"`{file.path}`",
            file.what,
            f"{file.values:,}" if file.values else "-",
            f"about {file.size}" if file.size else "-",
            f"begins with `{file.sha256}`" if file.sha256 else "not published",
            f"`{file.archive}` of {link(file.page)}" if file.archive else link(file.page),
            table.licences[file.licence],
            command(file),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def link(page: str) -> str:
    """A page's address as a link that shows what tells it apart."""
    return f"[{page.removeprefix('https://').removeprefix('github.com/').rstrip('/')}]({page})"


def command(file: Published) -> str:
    """How a file gets here: by the command, or by hand."""
    return f"`download {file.model}`" if file.url else "hand, from its page"


def listed(files: Iterable[Published]) -> str:
    """The names of files, for messages."""
    return ", ".join(file.path for file in files)
