"""Chain: raw videos on their way through the steps, in parallel, each result kept; what is there already is not made again."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from tqdm import tqdm

from talkingface.curate.base import Footage, LeftOut, Step
from talkingface.curate.store import Store, link, read_json, write_json
from talkingface.dataset.prepare import CLIP_FAULTS, disk_fault
from talkingface.dataset.workers import in_processes, num_cores
from talkingface.media.files import unwritable

GLANCE = 1.0  # seconds between two looks at how far the workers are


class Chain:
    """The steps that each raw video goes through alone.

    Args:
        steps: in their order, with their kits.
        store: where results are kept.
    """

    def __init__(self, steps: Sequence[Step], store: Store):
        self.steps, self.store = list(steps), store

    @cached_property
    def abouts(self) -> list[str]:
        """What the results of each step depend on, besides the video and the steps before."""
        return [json.dumps([step.name, step.version, step.settings, step.fingerprint()], default=str) for step in self.steps]

    def results(self, video: Footage) -> list[Path]:
        """Where what is known of a video is kept after each step."""
        paths, found = [], link(video.content, "1")
        for step, about in zip(self.steps, self.abouts, strict=True):
            found = link(found, about, *([video.name] if step.name == "write" else []))
            paths.append(self.store.result(step.name, found))
        return paths

    def known(self, video: Footage, count: int | None = None) -> Footage:
        """What is known of a video after so many steps (all of them), or after as many of these as have run."""
        for path in reversed(self.results(video)[:count]) if video.left_out is None else ():
            if stored := read_json(path):
                return video.known(stored)
        return video

    def is_done(self, video: Footage) -> bool:
        """Whether the results of all steps are there, and what belongs to them; results to which something lacks are removed."""
        done = True
        for step, path in zip(self.steps, self.results(video), strict=True):
            stored = read_json(path)
            done = done and bool(stored)
            if stored and not step.is_complete(video.known(stored)):
                path.unlink()
                done = False
        return done

    def take(self, videos: Sequence[Footage], workers: int) -> None:
        """Take all videos through all steps.

        Args:
            workers: processes, each with one thread; 0 = one per core.
        """
        videos = [video for video in videos if video.left_out is None]
        todo = [video for video in videos if not self.is_done(video)]
        if not todo:
            return
        with self.progress(videos), closing(self.attempts(todo, min(workers or num_cores(), len(todo)))) as outcomes:
            for video, alive in outcomes:
                if not alive:
                    self.bury(video)

    def attempts(self, videos: Sequence[Footage], count: int) -> Generator[tuple[Footage, bool]]:
        """Work on videos here or in processes; with one thread each, so that the number of processes changes nothing."""
        if count > 1:
            yield from ((video, bool(done)) for video, done in in_processes(self.attempt, videos, count))
            return
        with one_thread():
            for video in videos:
                yield video, self.attempt(video)

    def attempt(self, video: Footage) -> bool:
        """Run the steps that have no result on a video. What is wrong with it is a reason to leave it out.

        Raises:
            MediaError: the disk is full or read-only, which is no fault of the video.
        """
        for count, (step, path) in enumerate(zip(self.steps, self.results(video), strict=True)):
            if path.is_file():
                continue
            known = self.known(video, count)
            if known.left_out is None:
                try:
                    step.run(known)
                except (*CLIP_FAULTS, OSError) as error:
                    if (fault := disk_fault(error, self.store.output)) is not None:
                        raise unwritable(self.store.output, fault) from error
                    if isinstance(error, OSError):
                        raise
                    text = str(error).replace(str(video.path), video.name)
                    known = replace(self.known(video, count), left_out=LeftOut(step.name, "damaged", text))
            write_json(path, known.to_json())
        return True

    def bury(self, video: Footage) -> None:
        """Note that a video has ended the process that looked at it."""
        step, path = next(pair for pair in zip(self.steps, self.results(video), strict=True) if not pair[1].is_file())
        text = "the process that looked at it died: a damaged file, or too little memory."
        write_json(path, replace(self.known(video), left_out=LeftOut(step.name, "damaged", text)).to_json())

    @contextmanager
    def progress(self, videos: Sequence[Footage]) -> Iterator[None]:
        """A bar for each step, which counts the videos that have a result of it."""
        waiting = list(zip(*(self.results(video) for video in videos), strict=True))
        left = [set(paths) for paths in waiting]
        width = max(len(step.name) for step in self.steps)
        bars = [
            tqdm(total=len(videos), desc=f"{step.name:<{width}}", unit="video", position=place, disable=None, leave=False)
            for place, step in enumerate(self.steps)
        ]
        done = threading.Event()

        def look() -> None:
            for paths, bar in zip(left, bars, strict=True):
                there = {path for path in paths if path.is_file()}
                paths -= there
                bar.update(len(there))

        def watch() -> None:
            while not done.wait(GLANCE):
                look()

        look()
        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()
            look()
            for bar in bars:
                bar.close()


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch, where it is in use, compute as it does in worker processes, to the bit."""
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else 0
    if torch:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if torch:
            torch.set_num_threads(before)
