"""write: the clips themselves, whole or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from talkingface.curate.base import FPS, SAMPLE_RATE, Candidate, Footage, Step
from talkingface.curate.store import FILES, Store, write_json
from talkingface.dataset.store import partial_name
from talkingface.errors import ConfigError
from talkingface.media.video import write_video
from talkingface.registry import STEPS

VIDEO, LANDMARKS = FILES


@STEPS.register("write")
class Write(Step):
    """Clips: <speaker>/<video>/<number>.mp4, 25 fps, 16 kHz mono, with <number>.landmarks.npz beside it where these are wanted.

    Args:
        size: side that face crops are resized to, pixels, even; 0 = as they are in the raw video.
        crf: quality of H.264, 0 (lossless) to 51.
    """

    def __init__(self, size: int = 0, crf: int = 16):
        if size < 0 or size % 2 or not 0 <= crf <= 51:
            raise ConfigError(f"curate.write: size is 0 or an even number of pixels, crf 0 to 51; got {size} and {crf}.")
        self.size, self.crf = size, crf

    def fingerprint(self) -> dict[str, Any]:
        return {"opencv": cv2.__version__}

    def run(self, footage: Footage) -> None:
        for candidate in footage.remaining:
            plan = self.plan(footage, candidate)
            candidate.files = self.there(footage, candidate, plan) or self.write(footage, candidate, plan)

    def is_complete(self, footage: Footage) -> bool:
        return all(self.there(footage, candidate, self.plan(footage, candidate)) for candidate in footage.remaining)

    def plan(self, footage: Footage, candidate: Candidate) -> str:
        """Hash of all that a candidate's files depend on."""
        about = [footage.content, candidate.first, candidate.count, candidate.shift, candidate.crop, self.settings, self.version]
        faces = [self.kit.faces.back_end_fingerprint(), footage.boxes(candidate).tolist()] if candidate.landmarks else []
        return hashlib.blake2b(json.dumps([*about, *faces]).encode(), digest_size=16).hexdigest()

    def there(self, footage: Footage, candidate: Candidate, plan: str) -> dict[str, str]:
        """Suffix -> SHA-256 of the files, if they were written by this plan and not changed since; {} if not."""
        try:
            noted = json.loads(self.note(footage, candidate).read_text(encoding="utf-8"))
            same = noted["plan"] == plan and noted["states"] == {
                suffix: self.state(footage, candidate, suffix) for suffix in noted["files"]
            }
            return noted["files"] if same else {}
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def write(self, footage: Footage, candidate: Candidate, plan: str) -> dict[str, str]:
        """Write the files of a candidate beside their places, move them there, and note that. Returns suffix -> SHA-256."""
        made = self.kit.folder / "partial" / partial_name()
        write_video(
            made.with_suffix(VIDEO),
            self.frames(footage, candidate),
            FPS,
            self.kit.heard(footage, candidate),
            SAMPLE_RATE,
            self.crf,
        )
        if candidate.landmarks:
            with made.with_suffix(LANDMARKS).open("wb") as file:
                np.savez(file, **self.landmarks(footage, candidate))  # type: ignore[arg-type]
        note = self.note(footage, candidate)
        write_json(note, {"plan": "", "files": {}, "states": {}})  # from now on these files are ours
        found = {}
        for suffix in FILES:
            place = self.place(footage, candidate, suffix)
            place.parent.mkdir(parents=True, exist_ok=True)
            if suffix == VIDEO or candidate.landmarks:
                found[suffix] = sha256(made.with_suffix(suffix))
                made.with_suffix(suffix).replace(place)
            else:
                place.unlink(missing_ok=True)
        states = {suffix: self.state(footage, candidate, suffix) for suffix in found}
        write_json(note, {"plan": plan, "files": found, "states": states})
        return found

    def place(self, footage: Footage, candidate: Candidate, suffix: str) -> Path:
        """Where a file of a candidate belongs."""
        return self.kit.output / f"{footage.clip_name(candidate)}{suffix}"

    def note(self, footage: Footage, candidate: Candidate) -> Path:
        """The file that says by which plan a candidate's files were written."""
        return Store(self.kit.output).note(footage.clip_name(candidate))

    def state(self, footage: Footage, candidate: Candidate, suffix: str) -> list[int]:
        """Size in bytes and time of change in ns of a file."""
        stat = self.place(footage, candidate, suffix).stat()
        return [stat.st_size, stat.st_mtime_ns]

    def scale(self, candidate: Candidate) -> float:
        """Pixels of the clip by pixels of the raw video."""
        width, height = candidate.crop[2] - candidate.crop[0], candidate.crop[3] - candidate.crop[1]
        return self.size / width if self.size and width == height else 1.0

    def frames(self, footage: Footage, candidate: Candidate) -> Iterator[np.ndarray]:
        """The clip's frames."""
        x1, y1, x2, y2 = candidate.crop
        scale = self.scale(candidate)
        for frame in footage.video(candidate):
            part = frame[y1:y2, x1:x2]
            if scale != 1:
                smaller = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
                part = cv2.resize(part, (self.size, self.size), interpolation=smaller)
            yield np.ascontiguousarray(part)

    def landmarks(self, footage: Footage, candidate: Candidate) -> dict[str, np.ndarray]:
        """What is in the file of landmarks: points in pixels of the clip; (0, 0) is the middle of its top left pixel."""
        track, scale = self.kit.landmarks(footage, candidate), self.scale(candidate)
        points = (track.landmarks - np.array(candidate.crop[:2]) + 0.5) * scale - 0.5
        return {"landmarks": points.astype(np.float32), "detected": track.detected}


def sha256(path: Path) -> str:
    """Of a file's bytes, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
