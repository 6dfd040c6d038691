"""Row: what the manifest says of one clip, kept or left out."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from talkingface.curate.base import FPS, Candidate, Footage, LeftOut, SetStep


@dataclass
class Row:
    """One clip in the manifest, or a raw video of which nothing is taken.

    Attributes:
        clip: its file without suffix, below the training set; "" for a whole video.
        kept: whether it is in the training set; if not, `step`, `reason` and `text` say why.
        source: the raw video, below the raw folder.
        source_hash: BLAKE2b of its bytes.
        start, stop: seconds of the raw video.
        track: number of the face in the raw video.
        box: mean of the face's box, x1, y1, x2, y2 in pixels of the raw video.
        crop: what the clip shows of it, likewise.
        source_fps, fps: frames per second of the raw video and of the clip.
        frames: of the clip.
        shift: frames by which the sound was moved later.
        figures: what was measured.
        split: train, val or test.
        sha256, landmarks_sha256: of the files.
    """

    source: str
    source_hash: str
    speaker: str
    clip: str = ""
    kept: bool = False
    step: str = ""
    reason: str = ""
    text: str = ""
    start: float | None = None
    stop: float | None = None
    track: int | None = None
    box: list[float] | None = None
    crop: list[int] | None = None
    source_fps: float | None = None
    fps: float | None = None
    frames: int | None = None
    shift: int | None = None
    figures: dict[str, float] = field(default_factory=dict)
    split: str = ""
    sha256: str = ""
    landmarks_sha256: str = ""

    def leave_out(self, step: SetStep, reason: str, text: str) -> None:
        """Note why it is not taken."""
        self.kept, self.step, self.reason, self.text = False, step.name, reason, text

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {item.name: getattr(self, item.name) for item in fields(self)}


def rows_of(footage: Footage) -> list[Row]:
    """What the manifest says of a video's clips."""
    if (why := footage.left_out) is not None:
        return [Row(footage.name, footage.content, footage.speaker, step=why.step, reason=why.reason, text=why.text)]
    return [row_of(footage, candidate) for candidate in footage.candidates]


def row_of(footage: Footage, candidate: Candidate) -> Row:
    """What the manifest says of a clip."""
    why = candidate.left_out or LeftOut("", "", "")
    return Row(
        footage.name,
        footage.content,
        footage.speaker,
        step=why.step,
        reason=why.reason,
        text=why.text,
        clip=footage.clip_name(candidate),
        kept=candidate.left_out is None,
        start=round(candidate.start, 3),
        stop=round(candidate.stop, 3),
        track=candidate.track,
        box=[round(float(value), 1) for value in footage.boxes(candidate).mean(axis=0)],
        crop=candidate.crop,
        source_fps=round(footage.fps, 4),
        fps=FPS,
        frames=candidate.count,
        shift=candidate.shift,
        figures=candidate.figures,
        sha256=candidate.files.get(".mp4", ""),
        landmarks_sha256=candidate.files.get(".landmarks.npz", ""),
    )
