"""Step 4: the redrawn heads made sharp (GPEN) and put into their frames: what LNet and ENet are shown of a face."""

from __future__ import annotations

import numpy as np

from talkingface.face.align import five_points
from talkingface.face.landmarks import face_box
from talkingface.face.quad import cut_quad, face_square, paste_quad, perspective_map
from talkingface.media.image import resize
from talkingface.model.videoretalking.retinaface import FoundFaces


def known_face(landmarks: np.ndarray) -> FoundFaces:
    """The face that (68, 2) landmarks tell, as a detector would tell it; no face where they are NaN."""
    if not np.isfinite(landmarks).all():
        return FoundFaces(np.empty((0, 5), np.float32), np.empty((0, 5, 2), np.float32))
    box = np.append(face_box(landmarks), 1)
    return FoundFaces(box[None].astype(np.float32), five_points(landmarks)[None].astype(np.float32))


def with_head(frame: np.ndarray, region: np.ndarray, head: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """A copy of a frame with the redrawn head in it: of the region, the turned square around the face is replaced.

    Args:
        frame: (H, W, 3) uint8.
        region: (4,) x1, y1, x2, y2.
        head: (S, S, 3) uint8, the region redrawn.
        landmarks: (68, 2) in the head's pixels.
    """
    x1, y1, x2, y2 = (int(side) for side in region)
    side = len(head)
    quad = face_square(landmarks).quad
    base = resize(frame[y1:y2, x1:x2], (side, side))
    pasted = paste_quad(base, cut_quad(head, quad, side), perspective_map(quad, side))
    result = frame.copy()
    result[y1:y2, x1:x2] = resize(np.ascontiguousarray(pasted[..., :3]), (x2 - x1, y2 - y1))
    return result
