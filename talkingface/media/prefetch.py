"""prefetch: make the next items while the ones before are being used."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")


def prefetch(items: Iterable[T], size: int = 2) -> Iterator[T]:
    """The same items, made in a thread: for decoding, which leaves Python's lock to others.

    Errors of `items` are raised here, in their place. A loop that is left early stops the thread.

    Args:
        size: finished items that wait at most.
    """
    done = threading.Event()
    waiting: queue.Queue[tuple[str, Any]] = queue.Queue(size)

    def put(kind: str, item: Any = None) -> bool:
        while not done.is_set():
            try:
                waiting.put((kind, item), timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for item in items:
                if not put("item", item):
                    return
            put("end")
        except BaseException as error:
            put("error", error)

    threading.Thread(target=work, daemon=True).start()
    try:
        while True:
            kind, item = waiting.get()
            if kind == "error":
                raise item
            if kind == "end":
                return
            yield item
    finally:
        done.set()
