"""clips: which stretches of which face become clips, and what of the picture they show."""

from __future__ import annotations

import math

import numpy as np

from talkingface.curate.base import FPS, SAMPLES_PER_FRAME, Candidate, Footage, LeftOut, Step, Track
from talkingface.curate.sound import samples_in
from talkingface.errors import ConfigError
from talkingface.registry import STEPS

CROPS = ("face", "frame")


@STEPS.register("clips")
class Clips(Step):
    """Clips: each track, cut into parts of equal length that are not too long; tracks that are too short are left out.

    Time is that of the raw video's timestamps: at 25 frames per second a clip shows what the video shows at each instant, and
    its 16 kHz sound is what is heard then, whatever the video's rate, constant or variable.

    Args:
        min_seconds: shortest clip.
        max_seconds: longest clip.
        trim: frames (25 per second) that are cut off at both ends of a track, where scenes may be blended.
        crop: "face": a square that stands still around all places of the face; "frame": the whole frame.
        margin: what the square shows on each side of the face, in sides of the face.
    """

    needs = ("tracks",)

    def __init__(
        self, min_seconds: float = 2.0, max_seconds: float = 10.0, trim: int = 1, crop: str = "face", margin: float = 0.5
    ):
        if not 0.24 <= min_seconds <= max_seconds:
            lengths = f"min_seconds={min_seconds} and max_seconds={max_seconds}"
            raise ConfigError(f"curate.clips: {lengths}: a clip has at least 0.24 s, and the longest is not below the shortest.")
        if crop not in CROPS or margin < 0 or trim < 0:
            raise ConfigError(
                f"curate.clips: crop is one of {', '.join(CROPS)}, margin and trim 0 or more, not {crop!r}, {margin}, {trim}."
            )
        self.min_count, self.max_count = math.ceil(min_seconds * FPS - 1e-6), math.floor(max_seconds * FPS + 1e-6)
        self.min_seconds, self.trim, self.crop, self.margin = min_seconds, trim, crop, margin

    def run(self, footage: Footage) -> None:
        if not footage.video().has_audio:
            footage.left_out = LeftOut(self.name, "no sound", "it has no sound track.")
            return
        footage.sound = samples_in(self.kit.sound(footage))
        stretches = [(first, count, number) for number, track in enumerate(footage.tracks) for first, count in self.parts(track)]
        heard = footage.sound // SAMPLES_PER_FRAME
        for number, (first, count, track) in enumerate(sorted(stretches)):
            box = np.array(footage.tracks[track].boxes[first - footage.tracks[track].first :][:count])
            window = square_window(box, self.margin, footage.size) if self.crop == "face" else [0, 0, *footage.size]
            candidate = Candidate(number, track, first, count, window)
            candidate.count = max(1, min(count, heard - first))
            footage.candidates.append(candidate)
            if candidate.count < self.min_count:
                seconds, why = (
                    candidate.count / FPS,
                    "its sound ends early" if candidate.count < count else "the face is shown no longer",
                )
                text = f"{seconds:.2f} s, of {self.min_seconds:g} s that are needed: {why}."
                candidate.leave_out(self, "too short", text)

    def parts(self, track: Track) -> list[tuple[int, int]]:
        """(first frame, count) of the parts of a track."""
        trim = min(self.trim, (len(track.boxes) - 1) // 2)
        count = len(track.boxes) - 2 * trim
        edges = np.linspace(0, count, max(1, math.ceil(count / self.max_count)) + 1).round().astype(int)
        return [(track.first + trim + int(a), int(b - a)) for a, b in zip(edges[:-1], edges[1:], strict=True)]


def square_window(boxes: np.ndarray, margin: float, size: tuple[int, int]) -> list[int]:
    """The square around all (T, 4) boxes, with a margin, inside the frame: x1, y1, x2, y2, its sides even.

    Args:
        margin: in sides of the mean face.
        size: width and height of the frame.
    """
    face = float((boxes[:, 2:] - boxes[:, :2]).mean(axis=0).max())
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    side = min(float((high - low).max()) + 2 * margin * face, *size)
    side = max(2, 2 * round(side / 2 - 0.25))
    corner = [
        min(max(round(float(middle) - side / 2), 0), max(0, whole - side))
        for middle, whole in zip((low + high) / 2, size, strict=True)
    ]
    return [*corner, corner[0] + side, corner[1] + side]
