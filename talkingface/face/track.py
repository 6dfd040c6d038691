"""From the faces found in each frame to one face over a whole video. The policy:

* No face in a frame: the box is NaN, the note "no face"; models leave such a frame as it was.
* Several faces: the rule `select` chooses one; then the same one is followed, by overlap with its last box.
* A hard cut, told by the pictures (`cuts`) or by the only face jumping to another place: nothing is bridged or averaged
  across it. If a face fills the old place (more than half) it is kept, else the rule chooses anew.
* A face that is not found for at most `max_gap` frames and then is again: its boxes in between are interpolated, the
  note is "bridged". After a longer gap the rule chooses anew, and the frames in between have no face.
* A face that leaves, or has not come yet: frames after its last and before its first detection have no face.
* Boxes are averaged over `smooth` frames, centered; near a cut or a gap over fewer, still centered. Then they are cut to
  the frame.

The second half of the file holds Wav2Lip's own rules, to the integer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from talkingface.face.shots import overlap

SAME_FACE, SAME_PLACE = 0.3, 0.5  # least overlap with the last box, within a shot and across a cut
MIN_SIDE = 4.0  # pixels: anything smaller is no face

BRIDGED, NO_FACE = "bridged", "no face"


class FaceTrack(NamedTuple):
    """One face over all frames of a video.

    Attributes:
        boxes: (T, 4) float32 x1, y1, x2, y2 in pixels, forehead to chin, within the frame; NaN where there is no face.
        notes: (T) "" where the face was found, else the reason: "bridged" (an interpolated box) or "no face" (NaN).
        cuts: frames where the pictures tell that a new shot begins; none are known where landmarks came from a file.
    """

    boxes: np.ndarray
    notes: list[str]
    cuts: Sequence[int] = ()


Rule = Callable[[np.ndarray, float], float]
RULES: Mapping[str, Rule] = {
    "largest": lambda face, width: -(face[2] - face[0]) * (face[3] - face[1]),
    "left": lambda face, width: face[0] + face[2],
    "right": lambda face, width: -face[0] - face[2],
    "center": lambda face, width: abs(face[0] + face[2] - width),
    "first": lambda face, width: 0.0,
}
SELECTIONS = f"{', '.join(RULES)}, a number (1 is the leftmost face) or a box 'x1 y1 x2 y2'"


def selection(select: str) -> Callable[[np.ndarray, int], int]:
    """The function (faces (N, 5), width of the frame) -> the number of the face to follow.

    Args:
        select: one of `SELECTIONS`: of a box, the face with the nearest center; of a number, too large means the last one.

    Raises:
        ValueError: it is none of them.
    """
    if select in RULES:
        return lambda faces, width: min(range(len(faces)), key=lambda i: RULES[select](faces[i], width))
    numbers = [float(number) for number in select.replace(",", " ").split()]
    if len(numbers) == 4:
        center = np.array([numbers[0] + numbers[2], numbers[1] + numbers[3]])
        return lambda faces, width: int(np.argmin(np.linalg.norm(faces[:, :2] + faces[:, 2:4] - center, axis=1)))
    if len(numbers) == 1 and numbers[0] >= 1 and numbers[0] == int(numbers[0]):
        return lambda faces, width: int(np.argsort(faces[:, 0] + faces[:, 2])[min(int(numbers[0]), len(faces)) - 1])
    raise ValueError(select)


def track_face(
    faces: Sequence[np.ndarray],
    size: tuple[int, int],
    cuts: Collection[int] = (),
    select: str = "largest",
    smooth: int = 5,
    max_gap: int = 12,
) -> FaceTrack:
    """Follow one face through a video, by the policy above.

    Args:
        faces: per frame (N, 5) x1, y1, x2, y2, score; any order ("first" takes the first).
        size: width and height of the frames.
        cuts: frames where a new shot begins.
        select: one of `SELECTIONS`.
        smooth: frames to average over, odd; 1 is off.
        max_gap: longest gap to bridge, frames.
    """
    choose = selection(select)
    boxes, runs = _follow(faces, set(cuts), lambda found: choose(found, size[0]), max_gap)
    notes = [NO_FACE] * len(boxes)
    for run in range(runs.max(initial=-1) + 1):
        known = np.flatnonzero(runs == run)
        span = np.arange(known[0], known[-1] + 1)
        filled = np.stack([np.interp(span, known, side) for side in boxes[known].T], axis=1)
        boxes[span] = smooth_boxes(filled, smooth)
        for t in span:
            notes[t] = "" if runs[t] == run else BRIDGED
    limits = np.array([*size, *size], boxes.dtype)
    return FaceTrack(np.clip(boxes, 0, limits).astype(np.float32), notes, sorted(cuts))


def _follow(
    faces: Sequence[np.ndarray], cuts: Collection[int], choose: Callable[[np.ndarray], int], max_gap: int
) -> tuple[np.ndarray, np.ndarray]:
    """Per frame the box of the followed face (T, 4), and the number of its run (T): -1 where it was not found."""
    boxes, runs = np.full((len(faces), 4), np.nan), np.full(len(faces), -1)
    run, last, alone = -1, None, False  # the frame where the face was found last; whether it was the only one there
    cut = False
    for t, found in enumerate(faces):
        cut = cut or t in cuts
        found = found[_usable(found)]
        if not len(found):
            continue
        same = -1
        if last is not None:
            overlaps = [overlap(face, boxes[last]) for face in found]
            if max(overlaps) > (SAME_PLACE if cut else SAME_FACE):
                same = int(np.argmax(overlaps))
        lost = last is None or t - last - 1 > max_gap
        jumped = same < 0 and alone and len(found) == 1
        if same < 0 and not (lost or cut or jumped):
            continue
        if same < 0 or lost or cut:
            run += 1
        chosen = same if same >= 0 and not lost else choose(found)
        boxes[t], runs[t] = found[chosen, :4], run
        last, alone, cut = t, len(found) == 1, False
    return boxes, runs


def _usable(found: np.ndarray) -> np.ndarray:
    return (found[:, 2] - found[:, 0] >= MIN_SIDE) & (found[:, 3] - found[:, 1] >= MIN_SIDE)


def smooth_boxes(boxes: np.ndarray, window: int) -> np.ndarray:
    """Mean of (T, 4) boxes over `window` (odd) frames around each; at the ends over fewer, always as many before as after."""
    sums = np.concatenate((np.zeros((1, boxes.shape[1])), np.cumsum(boxes, axis=0, dtype=np.float64)))
    t = np.arange(len(boxes))
    reach = np.minimum(np.minimum(t, len(boxes) - 1 - t), window // 2)
    return (sums[t + reach + 1] - sums[t - reach]) / (2 * reach + 1)[:, None]


# --- Wav2Lip's own rules ----------------------------------------------------------------------------------------------


def pad_boxes(boxes: np.ndarray, pads: Sequence[int], size: tuple[int, int]) -> np.ndarray:
    """Grow (T, 4) boxes by pads, as far as the frame reaches.

    Args:
        pads: pixels at the top, the bottom, the left and the right.
        size: width and height of the frames.
    """
    top, bottom, left, right = pads
    width, height = size
    grown = np.asarray(boxes) + np.array([-left, -top, right, bottom])
    return np.column_stack((np.maximum(grown[:, :2], 0), np.minimum(grown[:, 2], width), np.minimum(grown[:, 3], height)))


def smooth_boxes_forward(boxes: np.ndarray, window: int = 5) -> np.ndarray:
    """Smooth (T, 4) boxes as Wav2Lip's get_smoothened_boxes does: each becomes the mean of itself and the next four.

    The array is of integers and written while it is read, so means are cut to integers, and the last rows average rows
    that are already means.

    Returns:
        (T, 4) int64; `boxes` itself is left alone.
    """
    smoothed = np.array(boxes, np.int64)
    for t in range(len(smoothed)):
        start = t if t + window <= len(smoothed) else len(smoothed) - window
        smoothed[t] = smoothed[start : start + window if start >= 0 else None].mean(axis=0)
    return smoothed


def rescaled_size(
    size: tuple[int, int], face: Sequence[float] | np.ndarray, face_side: int = 180, min_frame_side: int = 480
) -> tuple[int, int]:
    """The width and height to which Wav2Lip's real_videos_inference reduces a video, so that its face is about 180 pixels.

    Args:
        size: width and height of the frames.
        face: box of the first frame's face.
        face_side: the larger side of the face to come near to, pixels.
        min_frame_side: no side of the frame becomes smaller than this.
    """
    width, height = size
    side = int(max(abs(face[3] - face[1]), abs(face[2] - face[0])))
    factor = 2
    for factor in range(2, 16):
        too_small = min(height // factor, width // factor) < min_frame_side
        if too_small or abs(side // factor - face_side) >= abs(side - face_side):
            break
    factor -= 1
    return width // factor, height // factor


def lengthened(count: int, length: int) -> np.ndarray:
    """Which of `count` frames real_videos_inference shows at each of `length` places, where the speech is longer.

    Meant to repeat frames evenly, it repeats the first one. A shorter length cuts the end off.
    """
    return np.maximum(np.arange(length) - max(0, length - count), 0)
