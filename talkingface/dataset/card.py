"""Data set cards: terms, access, layout, official counts. properties/card/<name>.yaml has them, docs/datasets shows them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from talkingface.config import PROPERTIES
from talkingface.errors import ConfigError

CARDS = PROPERTIES / "card"
FIELD = re.compile(r"<(\w+)>")


@dataclass(frozen=True)
class Part:
    """Some of what belongs below the root.

    Attributes:
        what: it is, in words.
        patterns: paths of its files below the root, such as `dev/mp4/<speaker>/<video>/<clip>.mp4`.
        counts: field of the pattern -> how many there are officially; {clip: 10} = files.
        where: field of the pattern -> regular expression of what may stand there.
        optional: a run does without it.
        clips: the files are clips of the splits; else they are beside them (texts, sounds, a part that no split uses).
        advice: what to do where it is absent.
    """

    what: str
    patterns: tuple[str, ...]
    counts: Mapping[str, int] = field(default_factory=dict)
    where: Mapping[str, str] = field(default_factory=dict)
    optional: bool = False
    clips: bool = True
    advice: str = ""

    def found(self, root: Path) -> dict[Path, dict[str, str]]:
        """Its files below a root, with the fields of each."""
        return {path: names for pattern in self.patterns for path, names in self.matches(root, pattern)}

    def first_fit(self, roots: Sequence[Path]) -> Path | None:
        """The first of several roots under which its files lie, those of the first pattern before others; None for none."""
        pairs = ((root, pattern) for pattern in self.patterns for root in roots)
        return next((root for root, pattern in pairs if next(self.matches(root, pattern), None)), None)

    def matches(self, root: Path, pattern: str) -> Iterator[tuple[Path, dict[str, str]]]:
        """The files of a pattern, with what stands in its fields."""
        shape = self.shape(pattern)
        for path in root.glob(FIELD.sub("*", pattern)):
            match = shape.fullmatch(path.relative_to(root).as_posix())
            if match and not path.name.startswith("."):
                yield path, match.groupdict()

    def shape(self, pattern: str) -> re.Pattern[str]:
        """A pattern as a regular expression with a group for each field."""
        text = re.escape(pattern).replace(r"\*\*/", "(?:.*/)?")
        return re.compile(FIELD.sub(lambda match: f"(?P<{match[1]}>{self.where.get(match[1], '[^/]+')})", text))


@dataclass(frozen=True)
class Archive:
    """What is downloaded.

    Attributes:
        name: of the file, with `?` for the letter or number that tells its pieces apart.
        pieces: how many pieces there are; 0 = not known.
        makes: the parts that are in it.
        unpack: the command that unpacks it.
    """

    name: str
    unpack: str
    pieces: int = 0
    makes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Card:
    """All that is known of a published data set.

    Attributes:
        name: as it is registered.
        title: as it is called.
        what: it is, in a paragraph.
        terms: under which it may be used.
        access: how one gets it, step by step.
        page: where its authors publish it.
        citation: the paper.
        splits: how clips come to the splits.
        parts, archives: what should be there, what is downloaded.
        official: split -> number of clips, where the authors published splits.
        fps: frames per second of the clips; () = of any.
        sizes: [width, height] that clips have; () = of any.
        prepare: the command that makes training data.
        cut: the command that cuts the clips; "" = it is distributed as clips.
        uncertain: what is not known for sure; the check is tolerant there.
    """

    name: str
    title: str
    what: str
    terms: str
    access: tuple[str, ...]
    page: str
    citation: str
    splits: str
    parts: Mapping[str, Part]
    prepare: str
    archives: tuple[Archive, ...] = ()
    official: Mapping[str, int] = field(default_factory=dict)
    fps: tuple[float, ...] = ()
    sizes: tuple[tuple[int, int], ...] = ()
    cut: str = ""
    uncertain: tuple[str, ...] = ()

    @cached_property
    def check(self) -> str:
        """The command that examines a copy."""
        return f"talkingface check --dataset={self.name} --{self.name}.root=/data/{self.name}"


def cards() -> dict[str, Path]:
    """Registered name -> file of each card."""
    return {path.stem: path for path in sorted(CARDS.glob("*.yaml"))}


def card(name: str) -> Card | None:
    """The card of a data set; None where it has none.

    Raises:
        ConfigError: its file is no card.
    """
    path = cards().get(name)
    return read_card(path) if path else None


def read_card(path: Path) -> Card:
    """The card in a YAML file.

    Raises:
        ConfigError: it is none.
    """
    try:
        content = dict(yaml.safe_load(path.read_text(encoding="utf-8")))
        content["parts"] = {name: made(Part, entry) for name, entry in content["parts"].items()}
        content["archives"] = tuple(made(Archive, entry) for entry in content.get("archives", ()))
        return made(Card, {"name": path.stem, **content})
    except (OSError, ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} is no card of a data set: {error}.") from error


def made(kind: type, entry: Mapping[str, Any]) -> Any:
    """An object of a mapping; its lists become tuples."""
    known = {part.name for part in fields(kind)}
    if foreign := set(entry) - known:
        raise TypeError(f"{kind.__name__} has no {', '.join(sorted(foreign))}")
    return kind(**{key: as_tuple(value) for key, value in entry.items()})


def as_tuple(value: Any) -> Any:
    """Lists as tuples, all the way down."""
    return tuple(map(as_tuple, value)) if isinstance(value, list) else value


# --- as a page --------------------------------------------------------------------------------------------------------

SECTIONS = ("Terms", "Access", "Layout", "Prepare", "Check", "Splits", "Not certain", "Citation")


def markdown(shown: Card) -> str:
    """The page docs/datasets/<name>.md."""
    texts = {
        "Terms": f"{shown.terms}\n{TERMS}",
        "Access": "\n".join(f"{number}. {step}" for number, step in enumerate(shown.access, 1)) + f"\n\nIts page: <{shown.page}>",
        "Layout": layout(shown),
        "Prepare": "\n".join(f"    {command}" for command in (shown.cut, shown.prepare) if command) + (CUT if shown.cut else ""),
        "Check": f"    {shown.check}\n\n{CHECK}",
        "Splits": shown.splits,
        "Not certain": "\n".join(f"- {line}" for line in shown.uncertain) or "Nothing that the check depends on.",
        "Citation": shown.citation,
    }
    body = "\n\n".join(f"## {section}\n{texts[section].strip(chr(10))}" for section in SECTIONS)
    return f"# {shown.title}\n{shown.what.strip()}\n\n{body}\n"


TERMS = """Read them at the source before you use it: they may have changed. It shows real people; publishing generated videos of
them is another matter than training on them."""

CHECK = """says what is wrong with a copy and what to do next: archives that lack a piece or are not unpacked, another level of
folders, lists without files and files without lists, empty and truncated files, missing sound, another frame rate or size, and
the counts beside the official ones. `--sample=N` decodes N clips instead of 40, `--sample=0` all of them. The exit code is 3
where something is wrong; `--json` gives the same as one object."""

CUT = """

The first command cuts the clips that the lists name from the videos that you fetched. It goes on where it was stopped, takes
`--workers=N` processes, and writes each clip that it left out, with its reason and the address of its video, to `left_out.jsonl`.
`--size=0` keeps the pixels of the video."""


def layout(shown: Card) -> str:
    """What lies where, with the official numbers."""
    lines = ["Below the root:", ""]
    for part in shown.parts.values():
        numbers = ", ".join(f"{count:,} {plural(name)}" for name, count in part.counts.items())
        optional = " (optional)" if part.optional else ""
        lines.append(f"    {part.patterns[0]}")
        lines.append(f"        {part.what}{optional}{f'; officially {numbers}' if numbers else ''}")
    if shown.archives:
        lines += ["", "| archive | pieces | unpacked by |", "|---|---|---|"]
        lines += [f"| `{file.name}` | {file.pieces or '-'} | `{escaped(file.unpack)}` |" for file in shown.archives]
    return "\n".join(lines)


def plural(name: str) -> str:
    """A field's name for several."""
    return f"{name}s"


def escaped(command: str) -> str:
    """A command in a cell of a table."""
    return command.replace("|", "\\|")


def write_pages(folder: Path) -> None:
    """Write the pages of all cards anew."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in cards().values():
        shown = read_card(path)
        (folder / f"{shown.name}.md").write_text(markdown(shown), encoding="utf-8")
