"""Putting a painted face back: pixels that are not painted stay as they were, bit for bit."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from talkingface.face.align import inverse

MOUTH = slice(48, 60)  # outer lip of the 68 landmarks


def paste(frame: np.ndarray, face: np.ndarray, box: Sequence[float] | np.ndarray, feather: float = 0.0) -> np.ndarray:
    """Paste a face into a copy of a frame.

    Args:
        frame: (H, W, 3) uint8.
        face: (h, w, 3) uint8, resized to the box bilinearly.
        box: x1, y1, x2, y2, cut to whole pixels; what hangs over the frame's border is left out.
        feather: width of the soft edge inside the box, as a share of its sides (0.1, say); 0 is Wav2Lip's hard edge.
    """
    x1, y1, x2, y2 = (int(side) for side in box)
    resized = cv2.resize(face, (x2 - x1, y2 - y1), interpolation=cv2.INTER_LINEAR)
    height, width = frame.shape[:2]
    top, bottom, left, right = max(y1, 0), min(y2, height), max(x1, 0), min(x2, width)
    pasted = frame.copy()
    if top >= bottom or left >= right:
        return pasted
    there, part = np.s_[top:bottom, left:right], np.s_[top - y1 : bottom - y1, left - x1 : right - x1]
    if feather > 0:
        pasted[there] = mix(frame[there], resized[part], soft_edges(y2 - y1, x2 - x1, feather)[part])
    else:
        pasted[there] = resized[part]
    return pasted


def paste_aligned(frame: np.ndarray, face: np.ndarray, matrix: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """Put a crop that was cut by `align.crop` back into a copy of its frame.

    Args:
        frame: (H, W, 3) uint8.
        face: (h, w, 3) uint8.
        matrix: from the frame to the crop, as `align.crop` was given.
        mask: (h, w) float in [0, 1], how much of the crop is taken; everything by default.
    """
    size = (frame.shape[1], frame.shape[0])
    if mask is None:
        mask = np.ones(face.shape[:2], np.float32)
    back = inverse(matrix)
    painted = cv2.warpAffine(face, back, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return mix(frame, painted, cv2.warpAffine(mask.astype(np.float32), back, size, flags=cv2.INTER_LINEAR))


def mix(frame: np.ndarray, painted: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """`painted` where the mask is 1, `frame` where it is 0 (both exactly), rounded in between.

    Args:
        frame: (H, W, 3) uint8.
        painted: (H, W, 3) uint8.
        mask: (H, W) float in [0, 1].
    """
    share = mask[..., None].astype(np.float32)
    return np.rint(frame + share * (painted.astype(np.float32) - frame)).astype(np.uint8)


def soft_edges(height: int, width: int, feather: float = 0.1) -> np.ndarray:
    """(height, width) float32 mask of a box: 1 inside, falling linearly towards its edges.

    Args:
        feather: width of the slope as a share of the side, in (0, 0.5].
    """

    def slope(length: int) -> np.ndarray:
        position = np.arange(length) + 0.5
        return np.minimum(np.minimum(position, length - position) / (feather * length), 1)

    return np.minimum.outer(slope(height), slope(width)).astype(np.float32)


def mouth_mask(landmarks: np.ndarray, height: int, width: int, margin: float = 0.3) -> np.ndarray:
    """Where the mouth is: 1 on the lips, falling smoothly to 0 around them.

    Args:
        landmarks: (68, 2) in pixels of the picture that the mask is for.
        margin: how far the mask reaches beyond the lips, as a share of the mouth's width.

    Returns:
        (height, width) float32 in [0, 1].
    """
    mouth = np.asarray(landmarks, np.float32)[MOUTH]
    reach = max(1, round(margin * float(np.linalg.norm(mouth[6] - mouth[0]))))
    outside = np.full((height, width), 255, np.uint8)
    cv2.fillConvexPoly(outside, cv2.convexHull(np.rint(mouth).astype(np.int32)), 0)
    if outside.all():
        return np.zeros((height, width), np.float32)
    far = cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) / reach
    return np.clip(1 - far, 0, 1).astype(np.float32)
