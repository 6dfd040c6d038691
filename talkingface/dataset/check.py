"""What is wrong with a copy of a data set, and what to do next."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from talkingface.dataset.base import SPLITS, Clip, ClipDataset
from talkingface.dataset.card import Archive, Card, Part
from talkingface.dataset.cut import LEFT_OUT
from talkingface.errors import MediaError, TalkingFaceError
from talkingface.media.video import Video

NEAR = 3  # levels of folders above and below the root where files are looked for
MOST_FOLDERS = 2000  # that are looked into for that
EARLY = 0.25  # seconds by which a video may end before its head says
ENCRYPTED = 1  # bit of a zip file's member


class Finding(NamedTuple):
    """One thing that was looked at.

    Attributes:
        what: it was.
        state: "ok"; "note", what may be so; or "trouble", what must not.
        detail: what was found.
        advice: what to do next; "" = nothing.
    """

    what: str
    state: str
    detail: str
    advice: str = ""


@dataclass
class Examination:
    """What was found in a copy."""

    dataset: str
    root: Path
    findings: list[Finding] = field(default_factory=list)

    @property
    def is_usable(self) -> bool:
        """Whether nothing is wrong."""
        return not any(finding.state == "trouble" for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        findings = [finding._asdict() for finding in self.findings]
        return {"dataset": self.dataset, "root": str(self.root), "ok": self.is_usable, "findings": findings}

    def text(self) -> str:
        """For people."""
        marks = {"ok": "ok  ", "note": "note", "trouble": "FAIL"}
        width = max(len(finding.what) for finding in self.findings)
        lines = []
        for finding in self.findings:
            lines.append(f"{marks[finding.state]} {finding.what:<{width}}  {finding.detail}")
            lines += [f"     {'':<{width}}  -> {line}" for line in finding.advice.splitlines()]
        troubles = sum(finding.state == "trouble" for finding in self.findings)
        end = f"{troubles} thing{'s' * (troubles > 1)} to mend" if troubles else f"{self.dataset} can be used"
        return "\n".join([*lines, end + "."])


def check(dataset: ClipDataset, name: str, card: Card | None, sample: int = 40) -> Examination:
    """Examine a copy of a data set.

    Args:
        name: as it is registered.
        card: of the data set; None where it has none.
        sample: how many clips are decoded, spread over all; 0 = all.
    """
    return Examination(name, dataset.root, list(Check(dataset, name, card, sample).findings()))


@dataclass
class Check:
    """The examination, step by step; each looks at what the ones before have found.

    Attributes:
        files: the files of the parts that hold clips.
        clips: split -> its clips, as a run would see them.
    """

    dataset: ClipDataset
    name: str
    card: Card | None
    sample: int
    files: dict[str, dict[Path, dict[str, str]]] = field(default_factory=dict)
    clips: dict[str, list[Clip]] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        return self.dataset.root

    def findings(self) -> Iterator[Finding]:
        """What there is to say, in the order in which one would mend it."""
        if not self.root.is_dir():
            steps = "\n".join(self.card.access) if self.card else "put the clips there"
            advice = f"{steps}\nor say where it is: --{self.name}.root=FOLDER"
            yield Finding("root", "trouble", f"{self.root} is no folder", advice)
            return
        yield Finding("root", "ok", str(self.root))
        parts = self.card.parts if self.card else {}
        self.files = {title: part.found(self.root) for title, part in parts.items()}
        as_split = list(self.splits())
        for archive in self.card.archives if self.card else ():
            yield from self.archive(archive)
        levels = [found for title, part in parts.items() for found in self.level(title, part)]
        if levels:  # nothing else can be said before this is mended
            yield from levels
            return
        for title, part in parts.items():
            yield from self.part(title, part)
        yield from self.empty()
        yield from as_split
        yield from self.lists()
        yield from self.cut_before()
        yield from self.decoded()

    # --- what was downloaded ------------------------------------------------------------------------------------------

    def archive(self, archive: Archive) -> Iterator[Finding]:
        """Archives that lie in the root or beside it: are they whole, and unpacked?"""
        pieces = sorted(path for folder in (self.root, self.root.parent) for path in folder.glob(archive.name) if path.is_file())
        if not pieces:
            return
        unpacked = all(self.files.get(title) for title in archive.makes)
        state = "note" if unpacked else "trouble"
        trouble = [*pieces_missing(archive, pieces), *pieces_damaged(archive, pieces)]
        for detail in trouble:
            yield Finding(archive.name, state, detail, "" if unpacked else f"fetch it again, then: {archive.unpack}")
        if not unpacked and not trouble:
            password = is_encrypted(pieces[0])
            advice = archive.unpack + (" (unzip asks for the password that you were sent)" if password else "")
            encrypted = ", and needs a password" if password else ""
            yield Finding(archive.name, "trouble", f"{len(pieces)} file(s) here, not unpacked{encrypted}", advice)

    # --- what should be there -----------------------------------------------------------------------------------------

    def level(self, title: str, part: Part) -> Iterator[Finding]:
        """Whether a part lies at another level of folders."""
        elsewhere = None if self.files[title] else near(self.root, part)
        if elsewhere is not None:
            which = "deep" if elsewhere in self.root.resolve().parents else "high"
            detail = f"no file like {part.patterns[0]} below it, but below {elsewhere}: the root is a level too {which}"
            yield Finding(title, "trouble", detail, f"--{self.name}.root={elsewhere}")

    def part(self, title: str, part: Part) -> Iterator[Finding]:
        """A part of the layout: is it there, and how much of it?"""
        files, expected = self.files[title], f"no file like {part.patterns[0]}"
        if files:
            yield Finding(title, *counted(part, files))
        elif part.optional:
            yield Finding(title, "note", f"{expected}; optional", part.advice)
        elif part.clips and any(self.clips.values()):
            count = number(sum(map(len, self.clips.values())), "clip")
            detail = f"{expected}, the official layout; a run takes the {count} that it finds, as the next lines say"
            yield Finding(title, "note", detail, part.advice)
        else:
            seen = ", ".join(sorted(path.name for path in self.root.iterdir())[:5]) or "nothing"
            steps = part.advice or "unpack the archives there; see docs/datasets"
            yield Finding(title, "trouble", f"{expected} below {self.root}, which holds {seen}", steps)

    def empty(self) -> Iterator[Finding]:
        """Files without content."""
        files = list(chain.from_iterable(self.files.values()))
        empty = [path for path in files if path.stat().st_size == 0]
        if empty:
            advice = "unpack or copy them again; a full disk leaves such files"
            yield Finding("empty files", "trouble", f"{number(len(empty), 'file')} with 0 bytes: {named(empty)}", advice)

    # --- as a run sees it ---------------------------------------------------------------------------------------------

    def splits(self) -> Iterator[Finding]:
        """The clips of each split, or why there are none."""
        faults: dict[str, list[str]] = {}
        for split in SPLITS:
            try:
                self.clips[split] = clips = self.dataset.clips(split)
            except TalkingFaceError as error:
                faults.setdefault(str(error), []).append(split)
                continue
            speakers = {clip.speaker for clip in clips} - {None}
            official = self.card.official.get(split, 0) if self.card else 0
            of = f" of {official:,}" if official else ""
            by = f", {number(len(speakers), 'speaker')}" if speakers else ""
            yield Finding(split, "ok" if clips else "note", f"{number(len(clips), 'clip')}{of}{by}")
        for message, splits in faults.items():
            yield Finding(", ".join(splits), "trouble", message, self.list_advice(splits[0]))

    def list_advice(self, split: str) -> str:
        """What to do where a split cannot be read."""
        if self.card and self.card.official:
            return f"fetch the official {split} list of {self.card.page}, or write one: a clip a line, as the message says"
        return "see docs/datasets" if self.card else "see dataset/README.md"

    def lists(self) -> Iterator[Finding]:
        """Clips that are listed and not there, and files that no list names."""
        clips = [clip for split in SPLITS for clip in self.clips.get(split, ())]
        absent = [clip.face for clip in clips if not clip.face.exists()]
        if absent:
            detail = f"{len(absent):,} of {len(clips):,} listed clips are not there: {named(absent)}"
            yield Finding("lists", "trouble", detail, "unpack the archives again, or remove these lines from the lists")
        silent = [clip.audio for clip in clips if clip.audio != clip.face and not clip.audio.exists()]
        if silent:
            yield Finding("sound", "trouble", f"the sound files of {number(len(silent), 'clip')} are not there: {named(silent)}")
        known = {clip.face for clip in clips}
        parts = self.card.parts if self.card else {}
        mine = [path for title, part in parts.items() if part.clips for path in self.files[title]]
        unlisted = [path for path in mine if path not in known]
        if unlisted and clips and len(self.clips) == len(SPLITS):
            detail = f"{number(len(unlisted), 'file')} in no split: {named(unlisted)}"
            yield Finding("files", "note", detail, "these are not used; a list or a setting leaves them out")

    def cut_before(self) -> Iterator[Finding]:
        """What an earlier `talkingface cut` left out."""
        path = self.root / LEFT_OUT
        if path.is_file():
            count = sum(1 for _ in path.open(encoding="utf-8", errors="replace"))
            yield Finding("cut", "note", f"{number(count, 'clip')} of the lists could not be cut", f"the reasons: {path}")

    # --- what is in the files -----------------------------------------------------------------------------------------

    def decoded(self) -> Iterator[Finding]:
        """Some clips, decoded: do they have pictures and sound, of the frame rate and size that they should have?"""
        clips = [
            clip for split in SPLITS for clip in self.clips.get(split, ()) if clip.face.is_file() and clip.face.stat().st_size
        ]
        clips = list({clip.face: clip for clip in clips}.values())
        chosen = spread(clips, self.sample)
        if not chosen:
            return
        looks = [look(clip) for clip in tqdm(chosen, desc="decode", unit="clip", disable=None, leave=False)]
        of = f"of {number(len(chosen), 'clip')} decoded"
        again = "copy, unpack or fetch them again"
        yield from grouped("damaged", "trouble", of, [(seen, seen.problem) for seen in looks if seen.problem], again)
        whole = [seen for seen in looks if not seen.problem]
        silent = [(seen, "no sound") for seen in whole if not seen.has_sound]
        yield from grouped(
            "sound", "trouble", of, silent, "clips without sound cannot be used: put sound files where the card says"
        )
        yield from grouped(
            "frame rate", "note", of, self.other_rates(whole), "prepare reads all at 25 fps, in time with the sound"
        )
        yield from grouped("size", "note", of, self.other_sizes(whole), "is it the original, or a copy that somebody converted?")
        if len(whole) == len(chosen) and not silent:
            yield Finding("decoded", "ok", f"{number(len(chosen), 'clip')}: {summary(whole)}")

    def other_rates(self, looks: Iterable[Look]) -> list[tuple[Look, str]]:
        """Clips of a frame rate that the data set does not have."""
        rates = self.card.fps if self.card else ()
        other = [seen for seen in looks if rates and all(abs(seen.fps - fps) > 0.02 * fps for fps in rates)]
        return [(seen, f"{seen.fps:.4g} fps instead of {' or '.join(f'{fps:g}' for fps in rates)}") for seen in other]

    def other_sizes(self, looks: Iterable[Look]) -> list[tuple[Look, str]]:
        """Clips of a size that the data set does not have."""
        sizes = self.card.sizes if self.card else ()
        wanted = " or ".join(f"{width} x {height}" for width, height in sizes)
        other = [seen for seen in looks if sizes and (seen.width, seen.height) not in sizes]
        return [(seen, f"{seen.width} x {seen.height} instead of {wanted}") for seen in other]


class Look(NamedTuple):
    """What one clip holds.

    Attributes:
        problem: why it cannot be used; "" = it can.
    """

    path: Path
    problem: str = ""
    fps: float = 0.0
    width: int = 0
    height: int = 0
    has_sound: bool = False


def look(clip: Clip) -> Look:
    """Decode a clip."""
    video = Video(clip.face)
    try:
        seconds, promised = len(video) / video.source_fps, video.duration
        has_sound = video.has_audio if clip.audio == clip.face else clip.audio.is_file() and clip.audio.stat().st_size > 0
        problem = f"ends after {seconds:.2f} of {promised:.2f} s: truncated" if seconds < promised - EARLY else ""
        return Look(clip.face, problem, video.source_fps, video.width, video.height, has_sound)
    except MediaError as error:
        return Look(clip.face, str(error).removeprefix(f"{clip.face} ").removeprefix(f"{clip.face}: "))


def summary(looks: Sequence[Look]) -> str:
    """Frame rates and sizes, the commonest first."""
    rates = Counter(f"{seen.fps:.4g} fps" for seen in looks)
    sizes = Counter(f"{seen.width} x {seen.height}" for seen in looks)
    return ", ".join([*(name for name, _ in rates.most_common(3)), *(name for name, _ in sizes.most_common(3))])


def grouped(what: str, state: str, of: str, cases: Sequence[tuple[Look, str]], advice: str) -> Iterator[Finding]:
    """One finding on several clips."""
    if cases:
        first, detail = cases[0]
        yield Finding(what, state, f"{len(cases)} {of}; {first.path}: {detail}", advice)


# --- archives ---------------------------------------------------------------------------------------------------------


def pieces_missing(archive: Archive, pieces: Sequence[Path]) -> Iterator[str]:
    """What a set of pieces lacks: one between two others, or the last ones."""
    if "?" not in archive.name:
        return
    prefix, suffix = archive.name.split("?")
    letters = {path.name[len(prefix) : len(path.name) - len(suffix)] for path in pieces}
    last = max(ord(max(letters)), ord("a") + archive.pieces - 1)
    absent = [chr(code) for code in range(ord("a"), last + 1) if chr(code) not in letters]
    if absent:
        yield f"{', '.join(prefix + letter + suffix for letter in absent)} of {last - ord('a') + 1} pieces: missing"


def pieces_damaged(archive: Archive, pieces: Sequence[Path]) -> Iterator[str]:
    """Pieces that were not fetched to their end."""
    sizes = [path.stat().st_size for path in pieces]
    for path, size in list(zip(pieces, sizes, strict=True))[:-1]:
        if "?" in archive.name and size != max(sizes[:-1]):
            yield f"{path} has {size:,} bytes and another piece {max(sizes[:-1]):,}: it was not fetched to its end"
    for path, size in zip(pieces, sizes, strict=True):
        if size == 0 or (path.suffix == ".zip" and "?" not in archive.name and not zipfile.is_zipfile(path)):
            yield f"{path} is no whole archive: it was not fetched to its end, or is a web page"


def is_encrypted(path: Path) -> bool:
    """Whether a zip file asks for a password."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(member.flag_bits & ENCRYPTED for member in archive.infolist())


# --- folders ----------------------------------------------------------------------------------------------------------


def near(root: Path, part: Part) -> Path | None:
    """The folder above or below a root under which a part lies as it should lie under the root; None where none is."""
    if not any("/" in pattern.removeprefix("**/") for pattern in part.patterns):
        return None  # files at any level: no level is a wrong one
    return part.first_fit([*below(root), *list(root.resolve().parents)[:NEAR]])


def below(root: Path, levels: int = NEAR) -> Iterator[Path]:
    """Folders below another one, the nearest first."""
    layer, seen = [root], 0
    for _ in range(levels):
        layer = [path for folder in layer for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]
        for folder in layer:
            if (seen := seen + 1) > MOST_FOLDERS:
                return
            yield folder


def counted(part: Part, files: dict[Path, dict[str, str]]) -> tuple[str, str]:
    """(state, detail) of a part's numbers beside the official ones."""
    counts = {name: len({names.get(name) for names in files.values()}) for name in part.counts if name != "clip"}
    if "clip" in part.counts or not part.counts:
        counts["clip"] = len(files)
    texts = [
        f"{number(count, name)} of {part.counts[name]:,}" if name in part.counts else number(count, name)
        for name, count in counts.items()
    ]
    complete = all(counts[name] >= official for name, official in part.counts.items())
    return "ok" if complete else "note", ", ".join(texts) + ("" if complete else " (officially)")


def number(count: int, name: str) -> str:
    """A number and what it counts."""
    return f"{count:,} {name}{'' if count == 1 else 's'}"


def named(paths: Sequence[Path]) -> str:
    """Some of several files."""
    return ", ".join(map(str, paths[:3])) + (", ..." if len(paths) > 3 else "")


def spread(clips: Sequence[Clip], count: int) -> list[Clip]:
    """So many of the clips, evenly spread over all; 0 = all."""
    if not count or len(clips) <= count:
        return list(clips)
    return [clips[place * len(clips) // count] for place in range(count)]
