"""Scores that are kept on disk, so that a second scoring of the same files skips its work."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from talkingface.errors import MediaError
from talkingface.media.files import atomic, cache_dir

log = logging.getLogger(__name__)


def recall(kind: str, key: Mapping[str, Any]) -> dict[str, Any] | None:
    """What was kept under a key; None where nothing was.

    Args:
        kind: folder below <cache>/scores.
        key: all that the values depend on, plain; files by the hash of their content.
    """
    path = place(kind, key)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["found"]
        if isinstance(found, dict):
            return found
        raise ValueError("no table")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("%s is not a stored score (%s); it is computed again.", path, error)
        return None


def keep(kind: str, key: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Keep plain values under a key for next time, if the disk allows."""
    path = place(kind, key)
    try:
        with atomic(path) as temporary:
            temporary.write_text(json.dumps({"key": key, "found": found}), encoding="utf-8")
    except (OSError, MediaError) as error:
        log.warning("scores are not kept for next time: %s", error)


def place(kind: str, key: Mapping[str, Any], suffix: str = ".json") -> Path:
    """The file of a key."""
    text = json.dumps(key, sort_keys=True)
    return cache_dir() / "scores" / kind / f"{hashlib.blake2b(text.encode(), digest_size=16).hexdigest()}{suffix}"
