"""Features of clips, made once: in parallel, resumable after any interruption, broken clips set aside with a reason.

    <folder>/<settings>/settings.json           what the features depend on; <settings> holds a hash of it
    <folder>/<settings>/<clip name>.clip/       the features of one clip, complete: it appears by a rename
    <folder>/<settings>/<clip name>.clip/clip.json   the files that they were made of, with their hashes
    <folder>/<settings>/.partial/               features in the making, by host and process; removed when nobody makes them
    <folder>/set_aside.jsonl                    clips that cannot be used, one a line, with the reason; not tried again
                                                until their files or the settings change (or this file is deleted)
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
import signal
import socket
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from tqdm import tqdm

from talkingface.dataset.base import Clip
from talkingface.errors import DatasetError, MediaError, ScoreError

log = logging.getLogger(__name__)

Prepare = Callable[[Clip, Path], None]
Sources = dict[str, dict[str, Any]]

CLIP_FAULTS = (MediaError, DatasetError, ScoreError)
"""What sets a clip aside. Settings, weights and bugs are no fault of a clip and stop the preparation."""

DISK_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
"""System errors that no clip is to blame for, whatever wraps them."""


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
        set_aside: the others, in their given order.
        made: how many clips' features were made now; the other clips had theirs already.
        folder: where the features are.
    """

    clips: list[Clip]
    set_aside: list[SetAside]
    made: int
    folder: Path


def prepare_clips(
    clips: Sequence[Clip], prepare: Prepare, folder: Path | str, workers: int = 0, fingerprint: Mapping[str, Any] | None = None
) -> Prepared:
    """Make the features of clips that have none yet.

    Args:
        prepare: writes the features of a clip into an empty folder, such as a model's bound `prepare`. With more than one
            worker it must be picklable, with what it is bound to; each worker is sent it once.
        folder: where features go. Several preparations, also at the same time, may share it.
        workers: processes, each with one thread; 0 = one per core; with 1, all happens in this process.
        fingerprint: plain values that the features depend on: other values make another folder.

    Raises:
        DatasetError: all clips were set aside, a clip's name occurs twice, or `folder` cannot be written.
    """
    store = Store(Path(folder).expanduser(), fingerprint or {})
    if len({clip.name for clip in clips}) < len(clips):
        raise DatasetError("two clips have the same name; their features would share a folder.")
    store.open()
    reasons = store.known_reasons()
    todo: list[Clip] = []
    for clip in clips:
        if clip.name in reasons:
            continue
        if (missing := missing_source(clip)) is not None:
            reasons[clip.name] = missing
        elif not store.is_complete(clip):
            todo.append(clip)
    return None
