"""The demo world: a data set of talking heads that is made on the spot, the same each time, with everything known."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from talkingface.dataset.base import SPLITS, Clip, ClipDataset
from talkingface.dataset.demo.clip import RenderedClip, babbled, pronounced, render_clip, word_of
from talkingface.dataset.demo.look import Speaker, make_speaker
from talkingface.dataset.demo.phones import WORDS, Segment
from talkingface.dataset.pose import checked_pose, with_poses
from talkingface.dataset.workers import in_processes, num_cores
from talkingface.errors import ConfigError, DatasetError
from talkingface.media.audio import write_audio
from talkingface.media.files import atomic
from talkingface.media.video import write_video
from talkingface.registry import DATASETS

logger = logging.getLogger(__name__)

VERSION = 1  # another number makes every world anew; raise it when a picture or a sound changes
TAKES = {"train": 3, "val": 3, "test": 3}
SPEAKERS = {"train": 16, "val": 2, "test": 2}


class Settings(NamedTuple):
    """What the files of a clip depend on, besides its speaker and take."""

    seconds: float
    fps: float
    size: int
    sample_rate: int
    seed: int


class Job(NamedTuple):
    """One speaker's clips.

    Attributes:
        speaker: number of the speaker in the world.
        takes: how many clips.
        with_face: also record the face that says other words.
        words: each clip is one of so many words; 0 = sentences.
    """

    speaker: int
    takes: int
    with_face: bool
    words: int


@DATASETS.register("demo")
class Demo(ClipDataset):
    """Drawn heads that babble: nothing to download, and every mouth, sound and pose is known.

    In the train and val splits a clip's face is its own video. In the test split the face is a second recording of the
    same speaker with the same head motion, whose lips say other words: a model that copies its input is found out.

    Files, below `root`: `filelist/<split>.txt`, and per clip `<speaker>/clip_00` with the endings `.mp4` (picture and
    sound), `.wav` (the sound, lossless), `.landmarks.npz` (`landmarks` (T, 68, 2) pixels, `detected` (T,), `pose` (T, 3)
    degrees, `mouth` (T, 5)) and `.json` (speaker, word, phones with times in seconds, offset in frames); test clips have a
    `_face.mp4` with a `_face.landmarks.npz`.

    Args:
        root: where the world is made.
        speakers: split -> number of speakers; no speaker is in two splits.
        clips: split -> clips of each speaker.
        words: 0: clips are sentences. Else each clip is one word, the speaker's takes going through a list of so many
            words: a world for models that learn words, where who speaks says nothing of what is said.
        seconds: length of a clip.
        fps: frames per second.
        size: side of the square pictures, at least 64 pixels.
        sample_rate: of the sound, samples per second.
        seed: another number makes another world.
        workers: processes that make it; 0 = one per core.
        pose: whose head motion the test clips follow: see `with_poses`.
    """

    def __init__(
        self,
        root: Path | str = "dataset/demo",
        speakers: Mapping[str, int] = SPEAKERS,
        clips: Mapping[str, int] = TAKES,
        words: int = 0,
        seconds: float = 3.0,
        fps: float = 25.0,
        size: int = 128,
        sample_rate: int = 16_000,
        seed: int = 2020,
        workers: int = 0,
        pose: str = "",
    ):
        super().__init__(root)
        self.pose_rule = checked_pose("demo.pose", pose)
        self.speakers, self.takes, self.workers = checked_counts("speakers", speakers), checked_counts("clips", clips), workers
        self.words = words
        self.settings = Settings(float(seconds), float(fps), int(size), int(sample_rate), int(seed))
        for name, value, low, high in (
            ("words", words, 0, len(WORDS)),
            ("seconds", seconds, 0.4, 600),
            ("fps", fps, 5, 120),
            ("size", size, 64, 1024),
            ("sample_rate", sample_rate, 8000, 48000),
            ("seed", seed, 0, 2**31),
            ("workers", workers, 0, 1024),
        ):
            if not low <= value <= high:
                raise ConfigError(f"demo.{name} is {value}; it goes from {low} to {high}.")

    def clip(self, line: str) -> Clip:
        """The clip that a line such as `speaker_03/clip_02` names."""
        path = self.root / line
        face = path.with_name(f"{path.name}_face.mp4")
        truth = path.with_name(f"{path.name}.mp4")
        return Clip(
            name=line,
            face=face if int(path.parent.name.rpartition("_")[2]) >= self.speakers["train"] + self.speakers["val"] else truth,
            audio=path.with_name(f"{path.name}.wav"),
            truth=truth,
            speaker=path.parent.name,
            word=word_of(int(path.name.rpartition("_")[2]), self.words) if self.words else None,
        )

    def clips(self, split: str) -> list[Clip]:
        clips = super().clips(split)
        return with_poses(clips, self.pose_rule) if split == "test" else clips

    def lines(self, split: str) -> list[str]:
        """Names of a split's clips.

        Raises:
            DatasetError: there is no such split.
        """
        if split not in SPLITS:
            raise DatasetError(f"there is no split {split!r}: it is one of {', '.join(SPLITS)}.")
        return [clip_name(job.speaker, take) for job in self.jobs(split) for take in range(job.takes)]

    def jobs(self, split: str) -> Iterator[Job]:
        """The speakers of a split."""
        first = sum(self.speakers[before] for before in SPLITS[: SPLITS.index(split)])
        for speaker in range(first, first + self.speakers[split]):
            yield Job(speaker, self.takes[split], split == "test", self.words)

    def fingerprint(self) -> str:
        """Tells this world from others: 16 hexadecimal digits."""
        about = [VERSION, self.settings, self.speakers, self.takes, *([self.words] if self.words else [])]
        text = json.dumps(about, sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def build(self) -> None:
        """Make the world, unless it is there. What an interrupted build has finished is kept; another world is replaced.

        Raises:
            DatasetError: the world cannot be made here.
            MediaError: a file cannot be written.
        """
        manifest = self.root / "manifest.json"
        there = read_json(manifest)
        if there.get("fingerprint") == self.fingerprint():
            return
        manifest.unlink(missing_ok=True)
        names = [line for split in SPLITS for line in self.lines(split)]
        for name in set(map(str, there.get("clips", []))) - set(names):
            remove_clip(self.root, name)
        self.make([job for split in SPLITS for job in self.jobs(split)])
        for split in SPLITS:
            write_text(self.root / "filelist" / f"{split}.txt", "".join(f"{line}\n" for line in self.lines(split)))
        about = {"version": VERSION, **self.settings._asdict(), "speakers": self.speakers, "takes": self.takes}
        written = {"fingerprint": self.fingerprint(), **about, "words": self.words, "clips": names}
        write_text(manifest, json.dumps(written, indent=1))

    def make(self, jobs: list[Job]) -> None:
        """Record all clips, a speaker at a time, in several processes."""
        work = partial(record_speaker, self.root, self.settings, self.fingerprint())
        processes = min(self.workers or num_cores(), len(jobs))
        logger.info("making the demo world in %s: %d speakers, %d clips", self.root, len(jobs), sum(job.takes for job in jobs))
        done = in_processes(work, jobs, processes) if processes > 1 else ((job, work(job)) for job in jobs)
        with tqdm(total=sum(job.takes for job in jobs), desc="demo world", unit="clip") as bar:
            for job, takes in done:
                if takes is None:
                    raise DatasetError(f"the process that drew speaker {job.speaker} died: set --demo.workers=1.")
                bar.update(job.takes)


def checked_counts(name: str, counts: Mapping[str, int]) -> dict[str, int]:
    """Split -> count for all three splits.

    Raises:
        ConfigError: a split is missing or unknown, or a count is below 1.
    """
    for split in SPLITS:
        if not isinstance(counts.get(split), int) or counts[split] < 1:
            raise ConfigError(f"demo.{name}.{split} is {counts.get(split)!r}; it is a whole number, at least 1.")
    if unknown := set(counts) - set(SPLITS):
        raise ConfigError(f"demo.{name}: there is no split {sorted(unknown)[0]!r}; the splits are {', '.join(SPLITS)}.")
    return {split: counts[split] for split in SPLITS}


def clip_name(speaker: int, take: int) -> str:
    """Such as speaker_03/clip_02."""
    return f"speaker_{speaker:02d}/clip_{take:02d}"


def record_speaker(root: Path, settings: Settings, world: str, job: Job) -> int:
    """Write one speaker's clips; those of this world that are there already are kept. Returns how many were written."""
    speaker, written = make_speaker(job.speaker, settings.seed), 0
    form: dict[str, Any] = {"fps": settings.fps, "size": settings.size, "sample_rate": settings.sample_rate}
    for take in range(job.takes):
        stem = root / clip_name(job.speaker, take)
        about = stem.with_name(f"{stem.name}.json")
        if read_json(about).get("world") == world:
            continue
        about.unlink(missing_ok=True)
        sentence = spoken(speaker, take, settings.seconds, job.words)
        clip = render_clip(speaker, sentence, take=take, **form)
        write_clip(stem, clip)
        if job.with_face:
            other = spoken(speaker, take, settings.seconds, job.words, other=True)
            write_clip(stem.with_name(f"{stem.name}_face"), render_clip(speaker, other, take=take, **form), with_sound=False)
        who = {"speaker": speaker.name, "kind": speaker.look.kind}
        what = {"word": word_of(take, job.words)} if job.words else {}
        write_text(about, json.dumps({"world": world, **who, **what, **describe(clip)}))
        written += 1
    return written


def spoken(speaker: Speaker, take: int, seconds: float, words: int, other: bool = False) -> list[Segment]:
    """What is said in a take: one of so many words, or a sentence."""
    return pronounced(speaker, take, seconds, words, other) if words else babbled(speaker, take, seconds, other)


def write_clip(stem: Path, clip: RenderedClip, with_sound: bool = True) -> None:
    """Write video, landmarks and, if wanted, sound of a clip beside each other."""
    write_video(stem.with_name(f"{stem.name}.mp4"), clip.frames, clip.fps, clip.wav if with_sound else None, clip.sample_rate)
    if with_sound:
        write_audio(stem.with_name(f"{stem.name}.wav"), clip.wav, clip.sample_rate)
    with atomic(stem.with_name(f"{stem.name}.landmarks.npz")) as path:
        known = {"landmarks": clip.landmarks, "detected": np.ones(len(clip.frames), bool)}
        np.savez(path, **known, pose=clip.pose.astype(np.float32), mouth=clip.mouth.astype(np.float32))  # type: ignore[arg-type]


def describe(clip: RenderedClip) -> dict[str, Any]:
    """What a clip's .json says: times in seconds, the offset in frames."""
    phones = [[s.phone, round(s.start, 4), round(s.end, 4)] for s in clip.phones]
    return {"fps": clip.fps, "sample_rate": clip.sample_rate, "offset": clip.offset, "phones": phones}


def remove_clip(root: Path, name: str) -> None:
    """Delete the files of a clip of another world, and its speaker's folder when that is empty."""
    folder = (root / name).parent
    if folder.parent != root or not folder.is_dir():
        return
    for ending in (".json", ".mp4", ".wav", ".landmarks.npz", "_face.mp4", "_face.landmarks.npz"):
        (root / f"{name}{ending}").unlink(missing_ok=True)
    if not os.listdir(folder):
        folder.rmdir()


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of ours; an empty one where it is absent or damaged, which means: make it again."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
