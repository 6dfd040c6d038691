"""Config: every setting of a run, merged from YAML files and flags, with the origin of each value kept.

Later layers win: overall.yaml < files of metrics and steps < the model's file < the data set's file < the model's own section
for this data set < --config_files in order < a dict (Python) < flags. Only keys that the package's (or a plug-in's) YAML
files declare exist; everything else is an error that names the nearest key. A key's default says its type. Keys of older
programs live on where a file has a section `renamed` (old key -> key of today, or "" for one that has no effect).
"""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from talkingface.errors import ConfigError, RegistryError
from talkingface.registry import normalize, unknown

PROPERTIES = Path(__file__).parent / "properties"
MOST_NODES = 100_000  # values in a settings file
STRUCTURE = ("aliases", "datasets", "smoke", "renamed")  # sections of a settings file that are no settings

log = logging.getLogger(__name__)


class Value(NamedTuple):
    """A setting and where it came from."""

    value: Any
    origin: str


class Layer(NamedTuple):
    """Settings of one file, dict or command line: dotted key -> value."""

    values: dict[str, Value]
    structure: dict[str, Any]  # what the file holds under STRUCTURE
    text: bool = False  # values are text as typed and are read as their key's type


class Loader(yaml.SafeLoader):
    """Safe YAML in which 1e-4 is a number, as in every other language."""


FLOAT = r"""^[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?
            |[0-9][0-9_]*[eE][-+]?[0-9]+|\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"""
Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:float"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(FLOAT, re.VERBOSE), list("-+0123456789."))


class Config(Mapping[str, Any]):
    """The settings of one run, read-only: `config["training.epochs"]`, `config.section("expert")`, `config.origin(key)`."""

    def __init__(self, values: Mapping[str, Value]):
        self._values = dict(values)

    @classmethod
    def load(
        cls,
        model: str = "",
        dataset: str = "",
        files: Sequence[Path | str | Layer] = (),
        overrides: Mapping[str, Any] | None = None,
        flags: Sequence[tuple[str, str]] = (),
    ) -> Config:
        """Merge all layers.

        Args:
            model, dataset: names as users type them; "" where a file or a flag says it.
            files: the user's YAML files (or layers already read), later ones win.
            overrides: dotted or nested settings of the Python API.
            flags: (dotted key, text) of the command line.

        Raises:
            ConfigError: an unknown key, a wrong type, a file that is missing or no settings file.
            RegistryError: a model or data set that nobody registered.
        """
        given = {key: Value(name, f"{key}=") for key, name in (("model", model), ("dataset", dataset)) if name}
        user = [file if isinstance(file, Layer) else read_layer(Path(file).expanduser()) for file in files]
        user.append(Layer({**given, **flatten(overrides or {}, "Python")}, {}))
        user.append(Layer({key: Value(text, f"--{key}={text}") for key, text in flags}, {}, text=True))
        return cls(Merge(user).result())

    def __getitem__(self, key: str) -> Any:
        if key not in self._values:
            raise no_such_setting(key, "", self._values)
        return self._values[key].value

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def __len__(self) -> int:
        return len(self._values)

    def origin(self, key: str) -> str:
        """Where a value came from: "model/Wav2Lip.yaml:12", "--seed=1"."""
        return self._values[key].origin

    def replace(self, settings: Mapping[str, Any], origin: str) -> Config:
        """The same settings but for some: dotted key -> value, checked like those of a file."""
        merge = Merge([])
        merge.values, merge.stages = dict(self._values), list(self["stages"])
        merge.override(Layer({key: Value(value, origin) for key, value in settings.items()}, {}))
        return Config(merge.values)

    def section(self, name: str) -> dict[str, Any]:
        """All settings below a name, nested; {} where there are none."""
        start = name + "."
        return nest({key[len(start) :]: value.value for key, value in self._values.items() if key.startswith(start)})

    def to_yaml(self) -> str:
        """The resolved settings as a file that --config_files reads, and that makes this run again."""
        settings = nest({key: value.value for key, value in self._values.items()})
        return yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)


class Merge:
    """The merging of one run's layers; `result` is what it is for."""

    def __init__(self, user: Sequence[Layer]):
        self.user = user
        self.values: dict[str, Value] = {}
        self.stages: list[str] = []
        self.renamed: dict[str, str] = {}

    def result(self) -> dict[str, Value]:
        """All settings with their origins."""
        self.declare(read_layer(PROPERTIES / "overall.yaml"))
        folders = self.asked("plugins") or []
        if not all(isinstance(folder, str | Path) for folder in folders):
            raise ConfigError(f"plugins: expected a list of folders, got {folders!r}.")
        layers = [read_layer(path) for kind in ("metric", "curate") for path in settings_files(kind, folders).values()]
        chosen: list[Layer] = []
        aliases: list[Layer] = []
        for kind in ("model", "dataset"):
            asked = self.asked(kind)
            if asked:
                name, layer, alias = find_settings(kind, str(asked), folders)
                self.values[kind] = Value(name, self.values[kind].origin)
                layers.append(layer)
                chosen.append(layer)
                self.renamed.update(layer.structure.get("renamed") or {})
                aliases.append(alias)
        for layer in layers:
            self.declare(layer)
        for layer in [*chosen, *self.user]:
            self.apply_structure(layer)
        for layer in [*aliases, *self.user]:
            self.override(layer)
        self.check_stages()
        return self.values

    def asked(self, key: str) -> Any:
        """What the user says of a key, before anything is merged."""
        for layer in reversed(self.user):
            if key in layer.values:
                return read(layer.values[key], self.values[key], layer.text, key)
        return None

    def declare(self, layer: Layer) -> None:
        """Take a settings file of the package or a plug-in: its keys exist from now on."""
        stages = layer.values.get("stages")
        if stages and stages.value:
            self.stages = list(stages.value)
            inherited = {key: value for key, value in self.values.items() if key.startswith("training.")}
            for stage in self.stages:
                self.values.update({key.replace("training", stage, 1): value for key, value in inherited.items()})
        for key, value in layer.values.items():
            self.drop_free_form(key)
            self.values[key] = value

    def drop_free_form(self, key: str) -> None:
        """A section replaces the empty mapping that stood for it."""
        parent = key.rpartition(".")[0]
        while parent:
            if parent in self.values and self.values[parent].value == {}:
                del self.values[parent]
            parent = parent.rpartition(".")[0]

    def apply_structure(self, layer: Layer) -> None:
        """Apply what a file says for this data set alone, and for smoke runs."""
        name = self.values["dataset"].value
        sections = layer.structure.get("datasets") or {}
        for dataset, settings in sections.items():
            if name and normalize(dataset) == normalize(name):
                self.override(settings)
        if layer.structure.get("smoke") and self.asked("smoke") is True:
            self.override(layer.structure["smoke"])

    def override(self, layer: Layer) -> None:
        """Set known keys; `training.x` sets x of every stage, and the same layer's own stage sections win over it."""
        wide = {key: value for key, value in layer.values.items() if key.startswith("training.")}
        for stage in self.stages:
            for key, value in wide.items():
                self.set(key.replace("training", stage, 1), value, layer.text, shown=key)
        idle = []
        for key, value in layer.values.items():
            if key in ("model", "dataset"):
                self.values[key] = Value(self.values[key].value or value.value, value.origin)
            elif key in self.values or key not in self.renamed:
                self.set(key, value, layer.text)
            elif self.renamed[key]:
                self.set(self.renamed[key], value, layer.text, shown=key)
            else:
                idle.append(key)
        if idle:
            log.warning("without effect here: %s.", ", ".join(idle))

    def set(self, key: str, value: Value, text: bool, shown: str = "") -> None:
        """Set one known key to a value of its type."""
        if key not in self.values:
            children = [known for known in self.values if known.startswith(key + ".")]
            if children and value.value == {}:
                return
            if text and children:
                raise ConfigError(f"{value.origin}: {key} is a section; set one of its settings, such as --{children[0]}=...")
            free = next((k for k in parents(key) if k in self.values and isinstance(self.values[k].value, dict)), None)
            if free is None:
                raise no_such_setting(shown or key, value.origin, self.values)
            content = read(value, Value(None, self.values[free].origin), text, key)
            inner = nest({**flat_dict(self.values[free].value), key[len(free) + 1 :]: content})
            self.values[free] = Value(inner, value.origin)
            return
        self.values[key] = Value(read(value, self.values[key], text, key), value.origin)

    def check_stages(self) -> None:
        """Refuse stages that the model does not have; [] means all of them."""
        asked = self.values["stages"]
        for stage in asked.value:
            if stage not in self.stages:
                close = difflib.get_close_matches(str(stage), self.stages, n=1)
                hint = f"; did you mean {close[0]!r}?" if close else "."
                known = ", ".join(self.stages) or "none"
                raise RegistryError(
                    f"{asked.origin}: no stage is called {stage!r}{hint} {self.values['model'].value} has: {known}."
                )
        if not asked.value:
            self.values["stages"] = Value(self.stages, asked.origin)


def read_layer(path: Path) -> Layer:
    """Read a settings file.

    Raises:
        ConfigError: it is missing, no YAML, or holds a tag that would make an object.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as a settings file: {error}.") from None
    shown = str(path.relative_to(PROPERTIES)) if path.is_relative_to(PROPERTIES) else str(path)
    try:
        node = Loader(text).get_single_node()
        if node is None:
            return Layer({}, {})
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(f"{shown}: expected 'name: value' lines, got {type(node).__name__}.")
        if nodes_in(node, {}) > MOST_NODES:
            raise ConfigError(f"{shown}: no settings file: its aliases (*name) multiply it beyond {MOST_NODES:,} values.")
        values = dict(walk(node, "", shown))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise ConfigError(f"{shown}{line}: no settings file: {getattr(error, 'problem', error)}.") from None
    except RecursionError:
        raise ConfigError(f"{shown}: no settings file: it contains itself, or is nested too deeply.") from None
    return Layer({key: value for key, value in values.items() if not structural(key)}, split_structure(values))


def sizes_of(weights: Path) -> Layer:
    """The settings of the model that a run's weights were trained with: its section in the run's config.yaml.

    Args:
        weights: a run's folder, its weights/ folder, or a file in there. Of weights from elsewhere nothing is known.
    """
    for folder in (weights, *weights.parents[:2]):
        if (folder / "config.yaml").is_file():
            values = read_layer(folder / "config.yaml").values
            model = values["model"].value if "model" in values else ""
            return Layer({key: value for key, value in values.items() if key == "model" or key.startswith(f"{model}.")}, {})
    return Layer({}, {})


def structural(key: str) -> bool:
    """Whether a key belongs to the file's structure: `aliases`, or something below `aliases`, `datasets`, `smoke`."""
    head, _, rest = key.partition(".")
    return key == "aliases" or (head in STRUCTURE and bool(rest))


def split_structure(values: Mapping[str, Value]) -> dict[str, Any]:
    """Take the keys under STRUCTURE out of a file: {"aliases": {alias: Layer}, "datasets": {name: Layer}, "smoke": Layer,
    "renamed": {old key: key}}."""
    structure: dict[str, Any] = {"datasets": {}}
    sections: dict[str, dict[str, Value]] = {}
    for key, value in values.items():
        head, _, rest = key.partition(".")
        if key == "aliases":
            structure["aliases"] = {alias: Layer({}, {}) for alias in value.value}
        elif head == "aliases":
            alias, _, setting = rest.partition(".")
            layer = structure.setdefault("aliases", {}).setdefault(alias, Layer({}, {}))
            layer.values[setting] = value
        elif head == "renamed" and rest:
            structure.setdefault("renamed", {})[rest] = str(value.value or "")
        elif head == "smoke" and rest:
            structure.setdefault("smoke", Layer({}, {})).values[rest] = value
        elif head == "datasets" and rest:
            dataset, _, setting = rest.partition(".")
            sections.setdefault(dataset, {})[setting] = value
    structure["datasets"] = {dataset: Layer(settings, {}) for dataset, settings in sections.items()}
    return structure


def walk(node: yaml.MappingNode, prefix: str, shown: str) -> Iterator[tuple[str, Value]]:
    """Dotted key -> Value of every leaf of a YAML mapping; an empty mapping is a leaf."""
    seen: dict[str, int] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise ConfigError(f"{shown}:{key_node.start_mark.line + 1}: a setting's name must be plain text.")
        key, line = f"{prefix}{key_node.value}", key_node.start_mark.line + 1
        if key in seen:
            raise ConfigError(f"{shown}:{line}: {key} is set twice, first in line {seen[key]}.")
        seen[key] = line
        if isinstance(value_node, yaml.MappingNode) and value_node.value:
            if value_node.tag != "tag:yaml.org,2002:map":
                raise ConfigError(f"{shown}:{line}: {key} has the tag {value_node.tag!r}; settings are plain values only.")
            yield from walk(value_node, key + ".", shown)
        else:
            yield key, Value(plain(value_node, key, f"{shown}:{line}"), f"{shown}:{line}")


def plain(node: yaml.Node, key: str, origin: str) -> Any:
    """The plain value of a YAML node; tags that would make objects are refused."""
    try:
        return yaml.constructor.SafeConstructor().construct_object(node, deep=True)
    except yaml.constructor.ConstructorError as error:
        raise ConfigError(f"{origin}: {key}: {error.problem}; settings are plain values only.") from None
    except ValueError as error:  # a number of thousands of digits, a date of month 13
        raise ConfigError(f"{origin}: {key}: {error}.") from None


def nodes_in(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a YAML node stands for, with every alias written out.

    Args:
        known: nodes that were counted; each is counted once.

    Raises:
        RecursionError: it contains itself.
    """
    if id(node) not in known:
        known[id(node)] = -1
        parts = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
        known[id(node)] = 1 + sum(nodes_in(part, known) for part in parts if isinstance(part, yaml.Node))
    if known[id(node)] < 0:
        raise RecursionError
    return known[id(node)]


def find_settings(kind: str, name: str, plugins: Iterable[Path | str]) -> tuple[str, Layer, Layer]:
    """The registered name behind a name or alias, its settings, and what the alias itself sets.

    Raises:
        RegistryError: nobody has settings for this name.
    """
    files = settings_files(kind, plugins)
    layers: dict[str, Layer] = {}
    for known, path in files.items():
        if normalize(known) == normalize(name):
            return known, read_layer(path), Layer({}, {})
        layers[known] = read_layer(path)
    for known, layer in layers.items():
        for alias, extra in (layer.structure.get("aliases") or {}).items():
            if normalize(alias) == normalize(name):
                return known, layer, extra
    raise unknown(kind, name, files)


def settings_files(kind: str, plugins: Iterable[Path | str] = ()) -> dict[str, Path]:
    """Registered name -> settings file, of the package, installed plug-ins and the user's plug-in folders."""
    found = {path.stem: path for path in sorted((PROPERTIES / kind).glob("*.yaml"))}
    for entry in entry_points(group=f"talkingface.{kind}"):
        spec = find_spec(entry.module.partition(".")[0])
        for place in (spec.submodule_search_locations or [str(Path(spec.origin or ".").parent)]) if spec else []:
            path = next(iter(sorted(Path(place).rglob(f"{entry.name}.yaml"))), None)
            if path:
                found.setdefault(entry.name, path)
    for folder in map(Path, plugins):
        for settings in (folder.expanduser() / kind, folder.expanduser() / "properties" / kind):
            for path in sorted(settings.glob("*.yaml")):
                found.setdefault(path.stem, path)
    return found


def describe(path: Path) -> str:
    """The first comment line of a settings file: what the thing is."""
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    return first.lstrip("# ").strip()


def flatten(settings: Mapping[str, Any], origin: str, prefix: str = "") -> dict[str, Value]:
    """Nested or dotted settings as dotted key -> Value."""
    return {key: Value(value, f"{origin}: {key}") for key, value in flat_dict(settings, prefix).items()}


def flat_dict(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as dotted key -> value; an empty mapping is a value."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            flat.update(flat_dict(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted key -> value as nested dicts."""
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        *path, leaf = key.split(".")
        place = nested
        for part in path:
            place = place.setdefault(part, {})
        place[leaf] = value
    return nested


def parents(key: str) -> Iterator[str]:
    """'a.b.c' -> 'a.b', 'a'."""
    while key := key.rpartition(".")[0]:
        yield key


def no_such_setting(key: str, origin: str, known: Iterable[str]) -> ConfigError:
    """The error for an unknown key, with the nearest known one."""
    known = list(known)
    flag = origin.startswith("--")
    by_lower = {k.casefold(): k for k in known}
    leaf = key.rpartition(".")[2]
    if key == leaf and f"training.{leaf}" in known:
        close = [f"training.{leaf}"]
    else:
        same_leaf = [k.casefold() for k in known if k.rpartition(".")[2] == leaf]
        close = difflib.get_close_matches(key.casefold(), by_lower, n=1, cutoff=0.75)
        close = close or difflib.get_close_matches(key.casefold(), same_leaf, n=1, cutoff=0)
        close = close or difflib.get_close_matches(key.casefold(), by_lower, n=1)
    dash = "--" if flag else ""
    hint = f"; did you mean {dash}{by_lower[close[0]]}?" if close else "; `talkingface config` lists all of them."
    where = "" if flag or not origin else f"{origin}: "
    return ConfigError(f"{where}{dash}{key}: no such setting{hint}")


def checked(value: Any, default: Any) -> Any:
    """A value of a file or dict, if it has the type of its key's default.

    Raises:
        ValueError: it has not; says the type that is expected.
    """
    if default is None:
        return value
    if isinstance(default, bool):
        if isinstance(value, int) and value in (0, 1):
            return bool(value)
        raise ValueError("true or false")
    if isinstance(default, int):
        if isinstance(value, int | float) and not isinstance(value, bool) and value == int(value):
            return int(value)
        raise ValueError("a whole number")
    if isinstance(default, float):
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        raise ValueError("a number")
    if isinstance(default, str):
        if isinstance(value, str | Path):
            return str(value)
        raise ValueError("text (put it in quotes)")
    if isinstance(default, list):
        if isinstance(value, list | tuple):
            return [checked(item, default[0]) for item in value] if default else list(value)
        raise ValueError("a list, such as [a, b]")
    if isinstance(value, Mapping):
        return dict(value)
    raise ValueError("a mapping, such as {name: value}")


def read(given: Value, default: Value, text: bool, key: str) -> Any:
    """A given value as one of the type of its key's default; any value where that is None.

    Args:
        text: the value is text as typed.

    Raises:
        ConfigError: it is not of that type.
    """
    try:
        return parse(given.value, default.value) if text else checked(given.value, default.value)
    except ValueError as error:
        where = given.origin if text else f"{given.origin}: {key}"
        now = "" if default.value is None else f" (now {default.value!r}, from {default.origin})"
        raise ConfigError(f"{where}: expected {error}, got {given.value!r}{now}.") from None


WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def parse(text: Any, default: Any) -> Any:
    """Typed text as a value of the type of its key's default.

    Raises:
        ValueError: it is not of that type; says the type that is expected.
    """
    if not isinstance(text, str) or isinstance(default, str):
        return checked(text, default)
    if isinstance(default, bool):
        if text.casefold() in WORDS:
            return WORDS[text.casefold()]
        raise ValueError("true or false")
    if isinstance(default, list):
        text = text if text.strip().startswith("[") else f"[{text}]"
    elif isinstance(default, int | float):
        try:
            return checked(float(text) if not text.lstrip("+-").isdigit() else int(text), default)
        except (ValueError, OverflowError):
            raise ValueError("a whole number" if isinstance(default, int) else "a number") from None
    return checked(parse_free(text), default)


def parse_free(text: str) -> Any:
    """Typed text as YAML would read it, without any object.

    Raises:
        ValueError: it is no YAML, or would make an object.
    """
    try:
        node = Loader(text).get_single_node()
        if node is not None and nodes_in(node, {}) > MOST_NODES:
            raise ValueError("plain YAML (the aliases of this multiply it)")
        return None if node is None else yaml.constructor.SafeConstructor().construct_object(node, deep=True)
    except yaml.YAMLError as error:
        raise ValueError(f"plain YAML ({getattr(error, 'problem', error)})") from None
    except RecursionError:
        raise ValueError("plain YAML (this contains itself, or is nested too deeply)") from None
