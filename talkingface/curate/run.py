"""The curation: raw videos are found, taken through the chain of steps, and become a manifest and file lists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from talkingface.curate.base import Footage, Kit, LeftOut, Limit, SetStep, Step
from talkingface.curate.chain import Chain
from talkingface.curate.manifest import write_lists, write_manifest
from talkingface.curate.rows import Row, rows_of
from talkingface.curate.store import Store
from talkingface.dataset.folder import VIDEOS, walk
from talkingface.dataset.prepare import disk_fault
from talkingface.errors import ConfigError, DatasetError, RegistryError
from talkingface.media.files import unwritable
from talkingface.registry import STEPS

SHOWN = 10  # damaged videos that are named on the screen; the manifest names all


@dataclass
class Curated:
    """What a curation leaves.

    Attributes:
        output: the training set.
        rows: of the manifest.
        limits: figure -> what decides.
        removed: clips of earlier runs that were removed.
        commands: how to train on it.
    """

    output: Path
    rows: list[Row]
    limits: dict[str, Limit]
    removed: int = 0
    commands: list[str] = field(default_factory=list)

    @property
    def kept(self) -> list[Row]:
        """The clips of the training set."""
        return [row for row in self.rows if row.kept]

    @property
    def damaged(self) -> list[Row]:
        """Raw videos that could not be read."""
        return [row for row in self.rows if not row.clip and row.reason == "damaged"]

    @property
    def reasons(self) -> dict[str, int]:
        """ "<step>: <reason>" -> how many were left out for it, most first."""
        counts = Counter(f"{row.step}: {row.reason}" for row in self.rows if not row.kept)
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    @property
    def seconds(self) -> float:
        """Of all kept clips together."""
        return sum((row.frames or 0) / (row.fps or 1) for row in self.kept)

    def to_json(self) -> dict[str, Any]:
        """As plain values, without the rows."""
        splits = Counter(row.split for row in self.kept)
        counts = {"clips": len(self.kept), "seconds": round(self.seconds, 2), "left_out": self.reasons, "splits": dict(splits)}
        return {"output": str(self.output), **counts, "removed": self.removed, "commands": self.commands}

    def text(self) -> str:
        """As lines."""
        splits = ", ".join(f"{count} {split}" for split, count in Counter(row.split for row in self.kept).items() if split)
        speakers = len({row.speaker for row in self.kept})
        lines = [
            f"{self.output}: {len(self.kept)} clips of {speakers} speakers, {self.seconds / 60:.1f} min"
            + (f" ({splits})" if splits else "")
        ]
        lines += [f"  left out: {count} {reason}" for reason, count in self.reasons.items()]
        lines += [f"  {row.source}: {row.text}" for row in self.damaged[:SHOWN]]
        lines += [f"  {self.removed} clips of earlier runs were removed."] if self.removed else []
        return "\n".join([*lines, *self.commands])


def curate(raw: Path, output: Path, steps: Sequence[Step | SetStep], kit: Kit, workers: int = 0) -> Curated:
    """Make a training set of a folder of raw videos: clips, file lists, manifest.jsonl and manifest.csv.

    Args:
        steps: of `build_steps`.
        workers: processes; 0 = one per core. Their number changes nothing of the result.

    Raises:
        DatasetError: there is no raw video, or `output` cannot be used.
        TalkingFaceError: what a step lacks, such as weights.
    """
    names = raw_videos(raw, output)
    for step in steps:
        step.kit = kit
        step.check()
    store = Store(output)
    try:
        with store.owned(raw):
            videos = identified(raw, store, names)
            chain = Chain([step for step in steps if isinstance(step, Step)], store)
            chain.take(videos, workers)
            rows = [row for video in videos for row in rows_of(chain.known(video))]
            for step in steps:
                if isinstance(step, SetStep):
                    step.run(rows)
            done = {step.name for step in steps}
            removed = store.remove_others({row.clip for row in rows if row.kept}) if "write" in done else 0
            write_manifest(output, rows)
            if {"write", "split"} <= done:
                write_lists(output, rows)
            limits = {name: limit for step in chain.steps for name, limit in step.limits().items()}
            return Curated(output, rows, limits, removed)
    except OSError as error:
        if (fault := disk_fault(error, output)) is not None:
            raise DatasetError(str(unwritable(output, fault))) from error
        raise


# --- raw videos -------------------------------------------------------------------------------------------------------


def raw_videos(raw: Path, output: Path) -> list[str]:
    """The names of all videos below the raw folder, sorted; what starts with "." is none.

    Raises:
        DatasetError: the folders are not as they should be, there is no video, or two have one name.
    """
    if not raw.is_dir():
        what = "is a file, not a folder" if raw.exists() else "does not exist"
        raise DatasetError(f"{raw} {what}; give the folder of the raw videos.")
    for inner, outer, hint in (
        (output, raw, "its clips would be raw videos next time"),
        (raw, output, "raw videos would be clips"),
    ):
        if inner.resolve().is_relative_to(outer.resolve()):
            raise DatasetError(f"{output} and {raw}: one lies in the other, and {hint}. Give --output a folder beside it.")
    names = sorted(path.relative_to(raw).as_posix() for path in walk(raw, left_out=(".",), top=False))
    if not names:
        raise DatasetError(f"{raw} holds no video ({' '.join(VIDEOS)}).")
    first: dict[str, str] = {}
    for name in names:
        other = first.setdefault(Path(name).with_suffix("").as_posix(), name)
        if other != name:
            raise DatasetError(f"{raw}: {other} and {name} would have clips of the same names; give one of them another name.")
    return names


def identified(raw: Path, store: Store, names: Sequence[str]) -> list[Footage]:
    """The raw videos with the hash of their content; the ones that cannot be used know why."""
    videos: list[Footage] = []
    first: dict[str, str] = {}
    usable = [name for name in names if speakable(name)]
    contents = dict(tqdm(store.hashes(raw, usable), "hash", len(usable), unit="video", disable=None, leave=False))
    for name in names:
        video = Footage(raw / name, name, contents.get(name, ""))
        if name not in contents:
            shown = name.encode("utf-8", "backslashreplace").decode()
            video = replace(
                video, name=shown, left_out=LeftOut("raw", "name", "a line break, or letters that are no UTF-8, are in its name.")
            )
        elif not video.content:
            video.left_out = LeftOut("raw", "damaged", "the file is empty, or cannot be read.")
        elif (other := first.setdefault(video.content, name)) != name:
            video.left_out = LeftOut("raw", "duplicate", f"it is the same file as {other}.")
        videos.append(video)
    return videos


def speakable(name: str) -> bool:
    """Whether a name can stand in a list of files."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return "\n" not in name and "\r" not in name


# --- steps ------------------------------------------------------------------------------------------------------------


def build_steps(names: Sequence[str], settings: dict[str, dict[str, Any]]) -> list[Step | SetStep]:
    """The steps of these names, with what they need put in before them; those that look at all clips come last.

    Args:
        settings: step -> arguments of its constructor.

    Raises:
        RegistryError: nobody registered such a step.
        ConfigError: settings do not fit, or a name stands there twice.
    """
    chain: list[str] = []
    for name in names:
        add(STEPS.resolve(name), chain, ())
    if len(set(names)) < len(names):
        raise ConfigError(f"curate.steps: {', '.join(names)}: each step should be named once.")
    steps = []
    for name in chain:
        try:
            step = STEPS[name](**settings.get(name, {}))
        except TypeError as error:
            raise ConfigError(f"settings of the step {name} do not fit {STEPS[name].__module__}: {error}.") from error
        step.name, step.settings = name, settings.get(name, {})
        steps.append(step)
    return sorted(steps, key=lambda step: isinstance(step, SetStep))


def add(name: str, chain: list[str], above: tuple[str, ...]) -> None:
    """Put a step at the end of the chain, behind those that it needs."""
    if name in above:
        raise RegistryError(f"the steps {', '.join(above)} need each other.")
    for needed in getattr(STEPS[name], "needs", ()):
        add(STEPS.resolve(needed), chain, (*above, name))
    if name not in chain:
        chain.append(name)
