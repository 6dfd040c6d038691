"""Registries: dicts from a name to a class that explain themselves when a name is not there."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable
from importlib.metadata import entry_points
from pathlib import Path
from typing import TypeVar

from talkingface.errors import RegistryError

T = TypeVar("T", bound=type)


def normalize(name: str) -> str:
    """A name without case, dashes, underscores and blanks: 'PC_AVS', 'pc-avs' and 'PC-AVS' are one."""
    return "".join(c for c in name.casefold() if c not in "-_ ")


class Registry(dict[str, type]):
    """Name -> class. Lookups forgive case, dash and underscore; a miss loads plug-ins, then suggests a neighbor.

    Args:
        kind: "model", "dataset" or "metric": the word in messages, the folder of the classes and of their settings.
        word: another word for messages.
    """

    def __init__(self, kind: str, word: str = ""):
        super().__init__()
        self.kind, self.word = kind, word or kind
        self.aliases: dict[str, str] = {}

    def register(self, name: str, *, aliases: Iterable[str] = ()) -> Callable[[T], T]:
        """Class decorator: make the class known by this name and, optionally, by other ones."""

        def add(cls: T) -> T:
            if name in self and self[name] is not cls and self[name].__qualname__ != cls.__qualname__:
                raise RegistryError(f"the {self.word} {name!r} is registered twice: {self[name]} and {cls}.")
            self[name] = cls
            self.aliases.update({normalize(alias): name for alias in (name, *aliases)})
            return cls

        return add

    def __missing__(self, name: str) -> type:
        return self[self.resolve(name)]

    def resolve(self, name: str) -> str:
        """The registered spelling of a name.

        Raises:
            RegistryError: nobody registered it; the message suggests the nearest known name.
        """
        if name in self:
            return name
        load_builtins(self.kind)
        if normalize(name) not in self.aliases:
            load_plugins(self.kind)
        if (known := self.aliases.get(normalize(name))) is not None:
            return known
        raise unknown(self.word, name, self)


def unknown(kind: str, name: str, known: Iterable[str]) -> RegistryError:
    """The error for a name that is not among the known ones."""
    known = sorted(known)
    by_normal = {normalize(k): k for k in known}
    close = difflib.get_close_matches(normalize(name), by_normal, n=1)
    hint = f"; did you mean {by_normal[close[0]]!r}?" if close else "."
    return RegistryError(f"no {kind} is called {name!r}{hint} Known: {', '.join(known) or 'none'}.")


def load_builtins(kind: str) -> None:
    """Import the package's own classes of a kind (this imports torch)."""
    importlib.import_module(f"talkingface.{kind}")


def load_plugins(kind: str) -> None:
    """Import what installed packages offer under the entry-point group 'talkingface.<kind>'."""
    for entry in entry_points(group=f"talkingface.{kind}"):
        if entry.module not in sys.modules:
            entry.load()


FOLDERS: list[Path] = []
"""The plug-in folders that were loaded in this process."""


class LoadedFolders:
    """The plug-in folders of this process: loaded wherever this is unpickled, for what is unpickled after it."""

    def __reduce__(self) -> tuple[Callable, tuple[list[Path]]]:
        return load_folders, (list(FOLDERS),)


def load_folders(folders: Iterable[Path]) -> None:
    """Load several plug-in folders."""
    for folder in folders:
        load_folder(folder)


def load_folder(folder: Path) -> None:
    """Import every module of a user's plug-in folder, so that the classes in it register themselves.

    Raises:
        RegistryError: there is no such folder, or it holds no Python file.
    """
    files = sorted(folder.glob("*.py"))
    if not files:
        raise RegistryError(f"--plugins: {folder} is not a folder with Python files; it should hold your class and its YAML.")
    for file in files:
        name = f"talkingface_plugin_{normalize(str(folder.resolve()).replace('/', '_').replace('.', '_'))}_{file.stem}"
        if name not in sys.modules:
            spec = importlib.util.spec_from_file_location(name, file)
            assert spec is not None and spec.loader is not None
            sys.modules[name] = module = importlib.util.module_from_spec(spec)
            try:
                spec.loader.exec_module(module)
            except BaseException:
                del sys.modules[name]
                raise
    if folder.resolve() not in FOLDERS:
        FOLDERS.append(folder.resolve())


MODELS, DATASETS, METRICS = Registry("model"), Registry("dataset"), Registry("metric")
STEPS = Registry("curate", word="step of curate")
