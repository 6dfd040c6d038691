"""Scores that are kept on disk, so that a second scoring of the same files skips its work."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

from talkingface.errors import MediaError
from talkingface.media.files import atomic, cache_dir

log = logging.getLogger(__name__)


def remember(kind: str, key: Mapping[str, Any], compute: Callable[[], dict[str, float]]) -> dict[str, float]:
    """The numbers that `compute` gives for a key: from the cache where they are in it, else computed and kept.

    Args:
        kind: folder below <cache>/scores.
        key: all that the numbers depend on, plain values; files by the hash of their content.
    """
    text = json.dumps(key, sort_keys=True)
    path = cache_dir() / "scores" / kind / f"{hashlib.blake2b(text.encode(), digest_size=16).hexdigest()}.json"
    try:
        return {name: float(value) for name, value in json.loads(path.read_text(encoding="utf-8"))["scores"].items()}
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        log.warning("%s is not a stored score (%s); it is computed again.", path, error)
    scores = compute()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path) as temporary:
            temporary.write_text(json.dumps({"key": key, "scores": scores}), encoding="utf-8")
    except (OSError, MediaError) as error:
        log.warning("scores are not kept for next time: %s", error)
    return scores
