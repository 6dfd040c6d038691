"""Footage: what is known of one raw video and of the clips that may be cut from it. Step: what adds to that knowledge."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from talkingface.curate.sound import extracted, part
from talkingface.face.finder import FaceFinder
from talkingface.face.landmarks import LandmarkTrack
from talkingface.face.track import BRIDGED, FaceTrack
from talkingface.media.video import Video

if TYPE_CHECKING:
    from talkingface.curate.rows import Row
    from talkingface.metric.sync import LSE

FPS = 25.0
SAMPLE_RATE = 16_000
SAMPLES_PER_FRAME = 640


@dataclass(frozen=True)
class LeftOut:
    """Why a clip, or a whole video, is not in the training set.

    Args:
        step: which step says so.
        reason: in two or three words, the same for all that are left out for it.
        text: in a sentence, with the numbers.
    """

    step: str
    reason: str
    text: str


class Limit(NamedTuple):
    """What a figure must not be below or above, if anything; and its unit."""

    low: float | None
    high: float | None
    unit: str


@dataclass
class Track:
    """One face over consecutive frames (25 per second) of one scene.

    Attributes:
        first: number of its first frame.
        boxes: per frame x1, y1, x2, y2 in pixels of the raw video, forehead to chin.
        missed: frames (from 0 at `first`) in which the face was not found; their boxes are interpolated.
    """

    first: int
    boxes: list[list[float]]
    missed: list[int]


@dataclass
class Candidate:
    """A stretch of one face that may become a clip.

    Attributes:
        number: its place among the candidates of the video, in order of time; part of the clip's name.
        track: which of the video's tracks it is cut from.
        first, count: its frames, 25 per second, from the beginning of the raw video.
        crop: x1, y1, x2, y2 of what is shown of the raw video's frames, pixels.
        shift: frames by which the sound is moved later, so that it is in time.
        figures: what was measured, name -> value.
        landmarks: whether it gets a file of 68 landmarks.
        left_out: why it is not taken; None = it is.
        files: suffix -> SHA-256 of what was written.
    """

    number: int
    track: int
    first: int
    count: int
    crop: list[int]
    shift: int = 0
    figures: dict[str, float] = field(default_factory=dict)
    landmarks: bool = False
    left_out: LeftOut | None = None
    files: dict[str, str] = field(default_factory=dict)

    def leave_out(self, step: Step, reason: str, text: str) -> None:
        """Note why it is not taken; the first reason stays."""
        self.left_out = self.left_out or LeftOut(step.name, reason, text)

    @property
    def start(self) -> float:
        """Seconds from the raw video's first frame."""
        return self.first / FPS

    @property
    def stop(self) -> float:
        """Seconds from the raw video's first frame."""
        return (self.first + self.count) / FPS

    def overlap(self, other: Candidate) -> int:
        """Frames that both show."""
        return max(0, min(self.first + self.count, other.first + other.count) - max(self.first, other.first))


@dataclass
class Footage:
    """One raw video.

    Attributes:
        path: the file.
        name: its path below the raw folder, with "/".
        content: hash of its bytes.
        size: width and height, pixels.
        fps: its own average rate.
        sound: samples of its sound at 16 kHz.
        cuts: frames (25 per second) where a new scene begins.
        candidates: in order of time.
        left_out: why nothing at all is taken of it.
    """

    path: Path
    name: str
    content: str
    size: tuple[int, int] = (0, 0)
    fps: float = 0.0
    sound: int = 0
    cuts: list[int] = field(default_factory=list)
    tracks: list[Track] = field(default_factory=list)
    candidates: list[Candidate] = field(default_factory=list)
    left_out: LeftOut | None = None

    @property
    def remaining(self) -> list[Candidate]:
        """The candidates that are not left out."""
        return [candidate for candidate in self.candidates if candidate.left_out is None]

    @property
    def speaker(self) -> str:
        """The first folder below the raw one; the name of a video that lies in none."""
        first, slash, _ = self.name.partition("/")
        return first if slash else Path(first).stem

    def clip_name(self, candidate: Candidate) -> str:
        """<speaker>/.../<video>/<number>: the clip's file in the training set, without suffix."""
        return f"{Path(self.name).with_suffix('').as_posix()}/{candidate.number:05d}"

    def video(self, candidate: Candidate | None = None) -> Video:
        """The raw video at 25 frames per second, or the part of it that a candidate is."""
        if candidate is None:
            return Video(self.path, FPS)
        return Video(self.path, FPS, candidate.start, candidate.stop)

    def boxes(self, candidate: Candidate, within: bool = True) -> np.ndarray:
        """(T, 4) the face in each frame of a candidate; or, not `within`, in each frame of its track."""
        track = self.tracks[candidate.track]
        boxes = np.array(track.boxes, np.float32)
        first = candidate.first - track.first
        return boxes[first : first + candidate.count] if within else boxes

    def face_track(self, candidate: Candidate) -> FaceTrack:
        """The face of a candidate, as finders of landmarks want it."""
        track, boxes = self.tracks[candidate.track], self.boxes(candidate)
        missed = set(track.missed)
        first = candidate.first - track.first
        return FaceTrack(boxes, [BRIDGED if first + t in missed else "" for t in range(len(boxes))])

    def to_json(self) -> dict[str, Any]:
        """All but where it lies and what it is called: another name changes nothing of what is known."""
        return {key: value for key, value in asdict(self).items() if key not in ("path", "name")}

    def known(self, stored: dict[str, Any]) -> Footage:
        """This video with what `to_json` gave."""
        return replace(
            self,
            **{
                **stored,
                "size": tuple(stored["size"]),
                "tracks": [Track(**track) for track in stored["tracks"]],
                "candidates": [
                    Candidate(**{**candidate, "left_out": left_out(candidate["left_out"])}) for candidate in stored["candidates"]
                ],
                "left_out": left_out(stored["left_out"]),
            },
        )


def left_out(stored: dict[str, str] | None) -> LeftOut | None:
    """A reason as it was stored."""
    return None if stored is None else LeftOut(**stored)


@dataclass
class Kit:
    """What all steps may use.

    Args:
        output: the training set.
        faces: how faces and landmarks are found; files beside the raw videos are not used.
        judge: what judges lip-sync; None = nothing does.
    """

    output: Path
    faces: FaceFinder
    judge: LSE | None = None

    def __post_init__(self) -> None:
        self.faces = self.faces.without_files()

    @property
    def folder(self) -> Path:
        """What is needed to go on later: results of steps, sounds, files in the making."""
        return self.output / ".curate"

    def sound(self, footage: Footage) -> Path:
        """The sound of a raw video as a wav file, 16 kHz, mono, 16 bits; sample 0 is heard with its first frame.

        Raises:
            MediaError: it has no sound.
        """
        return extracted(footage.path, self.folder / "sound" / f"{footage.content}.wav")

    def heard(self, footage: Footage, candidate: Candidate) -> np.ndarray:
        """(N,) int16: the sound of a candidate, moved by its shift; 640 samples a frame."""
        first = (candidate.first - candidate.shift) * SAMPLES_PER_FRAME
        return part(self.sound(footage), first, candidate.count * SAMPLES_PER_FRAME)

    def landmarks(self, footage: Footage, candidate: Candidate) -> LandmarkTrack:
        """The 68 landmarks of a candidate's frames, in pixels of the raw video."""
        return self.faces.landmarks(footage.video(candidate), footage.face_track(candidate))


class Step(ABC):
    """One step of the curation: it looks at a raw video and at what is known of it, and adds to that.

    A step of your own derives from this, is registered with `@STEPS.register("name")`, and has a file curate/<name>.yaml with
    its settings, the arguments of its constructor, under `curate: <name>:`. Results are kept on disk: `run` is not called
    again for the same video, settings, fingerprint and steps before.

    Attributes:
        needs: steps that must have run before; they are put in where they are not asked for.
        version: another number makes all results anew.
        name: as registered.
        settings: of the constructor.
        kit: what all steps share.
    """

    needs: ClassVar[Sequence[str]] = ("clips",)
    version: ClassVar[int] = 1
    name: str = ""
    settings: dict[str, Any]
    kit: Kit

    def check(self) -> None:  # noqa: B027 - nothing to check is the rule
        """Refuse to begin, before any video is looked at, where something is missing."""

    def fingerprint(self) -> dict[str, Any]:
        """Plain values that results depend on besides the settings, such as hashes of weights."""
        return {}

    def limits(self) -> dict[str, Limit]:
        """Figure -> what decides, for the page."""
        return {}

    @abstractmethod
    def run(self, footage: Footage) -> None:
        """Add to what is known of a video.

        Raises:
            MediaError: the video cannot be used; it is left out with this reason.
        """

    def is_complete(self, footage: Footage) -> bool:
        """Whether a stored result still holds; false where files that belong to it are gone."""
        return True


class SetStep(ABC):
    """A step that looks at all clips together, when the other steps are done; cheap, and done each time.

    Attributes: as of Step.
    """

    needs: ClassVar[Sequence[str]] = ("clips",)
    name: str = ""
    settings: dict[str, Any]
    kit: Kit

    def check(self) -> None:  # noqa: B027
        """Refuse to begin where something is missing."""

    @abstractmethod
    def run(self, rows: list[Row]) -> None:
        """Change the rows of the manifest: leave clips out, deal them out to splits."""
