"""Work on many items in processes that end with their parent, however that ends, and survive each other's crashes."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from talkingface.errors import DatasetError
from talkingface.registry import LoadedFolders

Item = TypeVar("Item")
Result = TypeVar("Result")
Work = Callable[[Item], Result]

IN_WORKER: dict[str, Any] = {}
"""What a worker process was sent at its start."""


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_processes(work: Work[Item, Result], items: Sequence[Item], count: int) -> Generator[tuple[Item, Result | None]]:
    """The results of `work`, in the order in which they get ready; None where an item killed its process.

    When a process dies, those items that may have been in it are tried again one by one, which tells the culprit.

    Args:
        work: picklable; sent to each process once.
        count: processes, each with one thread.

    Raises:
        DatasetError: not even a process without work can start.
        Exception: what `work` raised; all processes are ended first.
    """
    queue = deque(items)
    while queue:
        running: dict[Future[Result], Item] = {}
        with processes(count, work) as pool, suppress(BrokenProcessPool):
            while queue or running:
                while queue and len(running) <= count:
                    running[pool.submit(do, queue[0])] = queue[0]
                    queue.popleft()
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    result = future.result()
                    yield running.pop(future), result
        yield from one_by_one(work, list(running.values()))


def one_by_one(work: Work[Item, Result], items: Sequence[Item]) -> Generator[tuple[Item, Result | None]]:
    """The results of `work`, with one item at a time in one process, and a new process after each that dies."""
    queue = deque(items)
    while queue:
        with processes(1, work) as pool:
            check_start(pool)
            alive = True
            while queue and alive:
                result: Result | None = None
                try:
                    result = pool.submit(do, queue[0]).result()
                except BrokenProcessPool:
                    alive = False
                yield queue.popleft(), result


def check_start(pool: ProcessPoolExecutor) -> None:
    """Refuse processes that die without having been given work.

    Raises:
        DatasetError: the reasons that are likely, and what to do.
    """
    try:
        pool.submit(is_ready).result()
    except BrokenProcessPool as error:
        hint = "use --prepare.workers=1. A script of your own needs 'if __name__ == \"__main__\":' around its calls."
        raise DatasetError(f"worker processes die at their start, maybe for lack of memory: {hint}") from error


@contextmanager
def processes(count: int, work: Callable) -> Iterator[ProcessPoolExecutor]:
    """Worker processes; an exception, Ctrl-C too, ends them at once."""
    context = get_context("spawn")
    life, hold = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(count, mp_context=context, initializer=start_worker, initargs=(life, LoadedFolders(), work))
    try:
        yield pool
    except BaseException:
        hold.close()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        hold.close()
        life.close()


def start_worker(life: Connection, plugins: Any, work: Callable) -> None:
    """In a new process: one thread, no own answer to Ctrl-C, and an end when the parent closes its side of `life`.

    Args:
        plugins: they are loaded by now; `work` may come from them.
    """
    IN_WORKER["work"] = work
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, args=(life,), daemon=True).start()
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(1)
    if (cv2 := sys.modules.get("cv2")) is not None:
        cv2.setNumThreads(1)


def end_with_parent(life: Connection) -> None:
    """Wait until the other side is closed, be it by a parent that was killed, and end this process as it stands."""
    with suppress(EOFError, OSError):
        life.recv()
    os._exit(1)


def is_ready() -> bool:
    """The smallest piece of work."""
    return True


def do(item: Any) -> Any:
    """In a worker process: work on an item."""
    return IN_WORKER["work"](item)
