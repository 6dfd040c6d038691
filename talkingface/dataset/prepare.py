"""Features of clips, made once: in parallel, resumable after any interruption, broken clips set aside with a reason."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from talkingface.dataset.base import Clip
from talkingface.dataset.store import Store, same_times, times
from talkingface.dataset.workers import in_processes, num_cores
from talkingface.errors import DatasetError, MediaError, ScoreError

log = logging.getLogger(__name__)

Prepare = Callable[[Clip, Path], None]

CLIP_FAULTS = (MediaError, DatasetError, ScoreError)
"""What sets a clip aside. Wrong settings, missing weights and bugs are no fault of a clip: they stop the preparation."""

DISK_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
"""System errors that no clip is to blame for, whatever exception they are wrapped in."""


@dataclass(frozen=True)
class SetAside:
    """A clip that cannot be used, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Prepared:
    """What a preparation leaves.

    Attributes:
        clips: the usable clips, in their given order, each knowing where its features are.
        set_aside: the other clips, in their given order.
        made: how many clips got their features now; the other usable clips had theirs already.
        folder: where the features are.
    """

    clips: list[Clip]
    set_aside: list[SetAside]
    made: int
    folder: Path


@dataclass(frozen=True)
class Outcome:
    """What became of one clip: features made now (or found made), or the reason why it cannot be used."""

    made: bool = False
    reason: str = ""


def prepare_clips(
    clips: Sequence[Clip], prepare: Prepare, folder: Path | str, workers: int = 0, fingerprint: Mapping[str, Any] | None = None
) -> Prepared:
    """Make the features of those clips that have none yet; talkingface.dataset.store says what lies where.

    A clip that was set aside is not tried again until its files or the settings change, or set_aside.jsonl is deleted.

    Args:
        prepare: writes the features of a clip into an empty folder; a model's bound `prepare`, say. With several workers
            it must be picklable, with the object it is bound to, which each worker is sent once.
        folder: where features go. Several preparations may share it, also at the same time.
        workers: processes, each with one thread; 0 = one per core; with 1, everything happens in this process.
        fingerprint: plain values that the features depend on; other values make another folder.

    Raises:
        DatasetError: no clip can be used, two clips have one name, or `folder` cannot be written.
    """
    if len({clip.name for clip in clips}) < len(clips):
        raise DatasetError("two clips have the same name; their features would share a folder.")
    store = Store(Path(folder).expanduser().absolute(), dict(fingerprint or {}))
    store.open()
    outcomes: dict[Clip, Outcome] = {}
    try:
        with (
            tqdm(total=len(clips), desc="prepare", unit="clip", disable=None, leave=False) as progress,
            closing(each_outcome(store, clips, prepare, workers)) as results,
        ):
            for clip, outcome in results:
                outcomes[clip] = outcome
                progress.update()
    finally:
        store.remove_leftovers()
    store.tidy({clip: outcome.reason for clip, outcome in outcomes.items()})
    return report(store, clips, outcomes)


def each_outcome(store: Store, clips: Sequence[Clip], prepare: Prepare, workers: int) -> Generator[tuple[Clip, Outcome]]:
    """What became of each clip: first of those that need no work, then of the others as they get ready."""
    known = store.known_reasons()
    todo = []
    for clip in clips:
        if clip.name in known and same_times(known[clip.name]["sources"], times(clip)):
            yield clip, Outcome(reason=known[clip.name]["reason"])
        elif store.is_complete(clip):
            yield clip, Outcome()
        else:
            todo.append(clip)
    with closing(attempts(partial(attempt, store, prepare), todo, workers)) as results:
        for clip, outcome in results:
            if outcome.reason:
                store.set_aside(clip, outcome.reason)
            yield clip, outcome


def attempts(work: Callable[[Clip], Outcome], clips: Sequence[Clip], workers: int) -> Generator[tuple[Clip, Outcome]]:
    """Work on clips here or in processes, whichever the number of workers and of clips asks for."""
    count = min(workers or num_cores(), len(clips))
    if count <= 1:
        for clip in clips:
            yield clip, work(clip)
        return
    with closing(in_processes(work, clips, count)) as results:
        for clip, outcome in results:
            died = Outcome(reason=f"the process that read {clip.face} died: a damaged file, or too little memory.")
            yield clip, outcome or died


def attempt(store: Store, prepare: Prepare, clip: Clip) -> Outcome:
    """Make the features of one clip, unless another process has done so meanwhile.

    Raises:
        DatasetError: the disk is full or read-only, which is no fault of the clip.
    """
    try:
        return Outcome(made=store.make(clip, prepare))
    except (*CLIP_FAULTS, OSError) as error:
        if (fault := disk_fault(error, store.folder)) is not None:
            raise store.unwritable(fault) from error
        if isinstance(error, OSError):
            raise
        return Outcome(reason=str(error) or type(error).__name__)


def disk_fault(error: BaseException | None, folder: Path) -> OSError | None:
    """The full or read-only disk behind an error, or what may not be written below a folder, if that is behind it."""
    while error is not None:
        if isinstance(error, OSError):
            in_folder = isinstance(error.filename, str) and Path(error.filename).is_relative_to(folder)
            if error.errno in DISK_FAULTS or (in_folder and isinstance(error, PermissionError)):
                return error
        error = error.__cause__ or error.__context__
    return None


def report(store: Store, clips: Sequence[Clip], outcomes: Mapping[Clip, Outcome]) -> Prepared:
    """The result, and one line in the log."""
    aside = [SetAside(clip.name, outcomes[clip].reason) for clip in clips if outcomes[clip].reason]
    usable = [clip.with_prepared(store.clip_folder(clip)) for clip in clips if not outcomes[clip].reason]
    made = sum(outcome.made for outcome in outcomes.values())
    if aside and not usable:
        first = " ".join(f"{clip.name}: {clip.reason}" for clip in aside[:3])
        raise DatasetError(f"none of {len(aside)} clips can be used. {first} All in {store.asides}; delete it to try again.")
    note = f", {len(aside)} set aside (reasons in {store.asides})" if aside else ""
    log.info("%d clips prepared in %s: %d made now, %d there already%s.", len(usable), store.home, made, len(usable) - made, note)
    return Prepared(usable, aside, made, store.home)
