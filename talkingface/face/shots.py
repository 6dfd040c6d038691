"""Face shots of free videos, as SyncNet's pipeline cuts them: scenes, one track per face and scene, square crops.

Source: joonson/syncnet_python, run_pipeline.py, with the scene detector of PySceneDetect 0.5.1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np
from scipy.signal import medfilt

THINNING = ((3200, 12), (2100, 8), (1700, 6), (1200, 5), (900, 4), (600, 3), (400, 2))  # from this width on: every n-th pixel


class Detection(NamedTuple):
    """A face found in one frame; box is x1, y1, x2, y2 in pixels."""

    frame: int
    box: np.ndarray


class Shot(NamedTuple):
    """One face over consecutive frames of one scene.

    Attributes:
        frames: (T,) frame numbers without gaps.
        boxes: (T, 4), interpolated where the face was not detected.
    """

    frames: np.ndarray
    boxes: np.ndarray


class CropPath(NamedTuple):
    """Half side and center of a shot's square face, per frame: (T,) each, in pixels, smoothed."""

    half: np.ndarray
    x: np.ndarray
    y: np.ndarray


def content_changes(frames: Iterable[np.ndarray]) -> Iterator[float]:
    """How much each (H, W, 3) uint8 RGB frame differs from the one before, in mean 8-bit HSV levels; 0 for the first."""
    last = None
    for frame in frames:
        step = next((n for width, n in THINNING if frame.shape[1] >= width), 1)
        hsv = cv2.cvtColor(np.ascontiguousarray(frame[::step, ::step]), cv2.COLOR_RGB2HSV)
        yield 0.0 if last is None else float(cv2.absdiff(hsv, last).mean(axis=(0, 1), dtype=np.float64).mean())
        last = hsv


def scene_cuts(changes: Iterable[float], threshold: float = 30.0, min_length: int = 15) -> list[int]:
    """The frames where a new scene begins (frame 0 is not among them).

    Args:
        changes: of `content_changes`.
        min_length: frames between two cuts; the first cut may come at any time.
    """
    cuts: list[int] = []
    for frame, change in enumerate(changes):
        if change >= threshold and (not cuts or frame - cuts[-1] >= min_length):
            cuts.append(frame)
    return cuts


def shots_of(
    faces: Sequence[np.ndarray], cuts: Sequence[int], min_track: int = 100, min_cut: int = 15, **settings: float
) -> list[Shot]:
    """The shots of a whole video.

    Args:
        faces: per frame (N, 5) x1, y1, x2, y2, score.
        cuts: frames that differ from the one before as a new scene does; those too near to the last cut are none.
        min_track: scenes shorter than this, and faces found in no more frames, are left out.
        settings: further ones of `track_shots`.
    """
    ends: list[int] = [0]
    for frame in cuts:
        if len(ends) == 1 or frame - ends[-1] >= min_cut:
            ends.append(frame)
    shots: list[Shot] = []
    for start, stop in pairwise([*ends, len(faces)]):
        if stop - start >= min_track:
            scene = [[Detection(frame, face[:4]) for face in faces[frame]] for frame in range(start, stop)]
            shots += track_shots(scene, min_track, **settings)  # type: ignore[arg-type]
    return shots


def overlap(box: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two boxes."""
    width = max(0.0, min(box[2], other[2]) - max(box[0], other[0]))
    height = max(0.0, min(box[3], other[3]) - max(box[1], other[1]))
    areas = sum((b[2] - b[0]) * (b[3] - b[1]) for b in (box, other))
    return width * height / (areas - width * height)


def track_shots(
    detections: Sequence[Sequence[Detection]],
    min_track: int = 100,
    max_gap: int = 25,
    min_face: float = 100.0,
    min_overlap: float = 0.5,
) -> list[Shot]:
    """Join the detections of one scene into shots.

    Args:
        detections: one list per frame.
        min_track: a shot has more than this many detections.
        max_gap: frames without a detection that are bridged.
        min_face: mean width or height that a face must exceed, pixels.
        min_overlap: intersection over union with the shot's last box that a joining box must exceed.
    """
    remaining = [list(faces) for faces in detections]
    shots = []
    while track := next_track(remaining, max_gap, min_overlap):
        if len(track) <= min_track:
            continue
        known = np.array([face.frame for face in track])
        boxes = np.array([face.box for face in track])
        frames = np.arange(known[0], known[-1] + 1)
        shot = Shot(frames, np.stack([np.interp(frames, known, side) for side in boxes.T], axis=1))
        if (shot.boxes[:, 2:] - shot.boxes[:, :2]).mean(axis=0).max() > min_face:
            shots.append(shot)
    return shots


def next_track(remaining: list[list[Detection]], max_gap: int, min_overlap: float) -> list[Detection]:
    """Take one track out of the remaining detections; [] when there are none.

    Like the authors' loop, which removes from the list that it walks, this skips the neighbor of each face it takes.
    """
    track: list[Detection] = []
    for faces in remaining:
        position = 0
        while position < len(faces):
            face = faces[position]
            if track and face.frame - track[-1].frame > max_gap:
                break
            if not track or overlap(face.box, track[-1].box) > min_overlap:
                track.append(faces.pop(position))
            position += 1
    return track


def crop_path(boxes: np.ndarray, kernel: int = 13) -> CropPath:
    """Where to crop the (T, 4) boxes of a shot: a median over `kernel` frames, zeros beyond both ends as in the original."""
    half = np.maximum(boxes[:, 3] - boxes[:, 1], boxes[:, 2] - boxes[:, 0]) / 2
    x, y = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
    return CropPath(*(medfilt(values, kernel) for values in (half, x, y)))


def crop_face(frame: np.ndarray, half: float, x: float, y: float, margin: float = 0.4, size: int = 224) -> np.ndarray:
    """Cut the square that a `CropPath` names, 2 + 2 margin halves wide, the face in its upper middle; grey beyond the picture.

    Returns:
        (size, size, 3) uint8 in the frame's color order.
    """
    border = int(half * (1 + 2 * margin))
    padded = np.pad(frame, ((border, border), (border, border), (0, 0)), constant_values=110)
    x, y = x + border, y + border
    rows = slice(int(y - half), int(y + half * (1 + 2 * margin)))
    columns = slice(int(x - half * (1 + margin)), int(x + half * (1 + margin)))
    return cv2.resize(padded[rows, columns], (size, size))
