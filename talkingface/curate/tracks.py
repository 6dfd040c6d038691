"""tracks: every face, followed within its scene."""

from __future__ import annotations

from typing import Any

import numpy as np

from talkingface.curate.base import Footage, LeftOut, Step, Track
from talkingface.errors import ConfigError
from talkingface.face.landmarks import dlib_file
from talkingface.face.shots import Shot, overlap, shots_of
from talkingface.registry import STEPS


@STEPS.register("tracks")
class Tracks(Step):
    """Face tracks: all faces of all frames are detected, and joined where their boxes overlap. Several faces are several tracks.

    Faces are found by the run's detector (--face.detector), whatever lies beside the raw videos.

    Args:
        min_found: a face must be found in more frames than this (25 per second); fewer are taken for mistakes.
        max_gap: frames without a detection that are bridged by interpolation.
        min_overlap: intersection over union that a box must have with the track's last one.
    """

    needs = ("cuts",)

    def __init__(self, min_found: int = 12, max_gap: int = 12, min_overlap: float = 0.5):
        if min_found < 1 or max_gap < 0 or not 0 <= min_overlap < 1:
            found = f"{min_found}, {max_gap} and {min_overlap}"
            raise ConfigError(f"curate.tracks: min_found is 1 or more, max_gap 0 or more, min_overlap 0 to 1; got {found}.")
        self.min_found, self.max_gap, self.min_overlap = min_found, max_gap, min_overlap

    def check(self) -> None:
        if self.kit.faces.detector == "files":
            raise ConfigError("face.detector=files: curate looks at the pictures, for all faces; name another detector.")
        if self.kit.faces.back_end == "dlib":
            dlib_file("")

    def fingerprint(self) -> dict[str, Any]:
        return self.kit.faces.back_end_fingerprint()

    def run(self, footage: Footage) -> None:
        faces = self.kit.faces.detections(footage.video()).faces
        shots = shots_of(faces, footage.cuts, self.min_found, 1, max_gap=self.max_gap, min_face=0.0, min_overlap=self.min_overlap)
        footage.tracks = [track_of(shot, faces) for shot in sorted(shots, key=lambda shot: (shot.frames[0], shot.boxes[0, 0]))]
        if not footage.tracks:
            seen = sum(1 for found in faces if len(found))
            text = f"a face was found in {seen} of {len(faces)} frames, and nowhere in more than {self.min_found} in a row."
            footage.left_out = LeftOut(self.name, "no face", text)


def track_of(shot: Shot, faces: list[np.ndarray]) -> Track:
    """A shot as a track that knows where the face was not found."""
    first = int(shot.frames[0])
    rounded = [[round(float(side), 1) for side in box] for box in shot.boxes]
    missed = [t for t, box in enumerate(shot.boxes) if not any(overlap(face, box) > 0.9 for face in faces[first + t])]
    return Track(first, rounded, missed)
