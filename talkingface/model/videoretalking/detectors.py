"""The authors' own detectors, as they call them: dlib for the first frame, S3FD and FAN for the others, RetinaFace twice.

Used where results must be the authors' to the pixel (`faithful`). Otherwise one face is found and followed once
(talkingface.face.finder), and everything is derived from that.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import nn

from talkingface.face.landmarks import dlib_file
from talkingface.face.s3fd import FaceAlignmentS3FD, best_box
from talkingface.model.videoretalking.geometry import NO_BOX
from talkingface.model.videoretalking.retinaface import FoundFaces, RetinaFaceDetector

MIRRORED = (
    *range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1), 45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
    *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), 67, 66, 65,
)  # the landmark that each one becomes in a mirror  # fmt: skip


class Detectors(Protocol):
    """What the authors' program asks. Frames and faces are (H, W, 3) uint8 RGB."""

    def first_landmarks(self, frame: np.ndarray) -> np.ndarray | None:
        """(68, 2) whole pixels: the landmarks from which the region of the whole video is cut; None without a face."""

    def landmarks(self, faces: Sequence[np.ndarray]) -> np.ndarray:
        """(n, 68, 2): the landmarks in faces of 256 x 256; NaN where none is seen."""

    def boxes(self, frames: Sequence[np.ndarray]) -> np.ndarray:
        """(n, 4) int64 x1, y1, x2, y2: the surest face of each frame, -1 where there is none."""

    def faces(self, picture: np.ndarray) -> FoundFaces:
        """All faces as GPEN looks for them."""

    def faces_to_restore(self, picture: np.ndarray) -> FoundFaces:
        """All faces as GFPGAN looks for them."""


class PublishedDetectors:
    """`Detectors` with the published networks.

    Args:
        s3fd: face boxes.
        fan: landmarks: 2DFAN-4; gives (B, 68, 64, 64) heat maps, or a list that ends with them.
        retinaface, restoration_retinaface: the detectors of GPEN and of facexlib.
    """

    def __init__(self, s3fd: FaceAlignmentS3FD, fan: nn.Module, retinaface: nn.Module, restoration_retinaface: nn.Module):
        self.s3fd, self.fan = s3fd, fan
        self.gpen = RetinaFaceDetector(retinaface, threshold=0.9)
        self.gfpgan = RetinaFaceDetector(restoration_retinaface, threshold=0.97, reduce=False)

    def first_landmarks(self, frame: np.ndarray) -> np.ndarray | None:
        """See `Detectors`; dlib's first face, the frame searched at twice its size."""
        detector, predictor = _dlib()
        found = detector(frame, 1)
        return np.array([(point.x, point.y) for point in predictor(frame, found[0]).parts()]) if len(found) else None

    def landmarks(self, faces: Sequence[np.ndarray]) -> np.ndarray:
        """See `Detectors`; in the first of S3FD's faces."""
        result = np.full((len(faces), 68, 2), np.nan)
        found = self.s3fd.detect([np.ascontiguousarray(face[..., ::-1]) for face in faces])
        for index, boxes in enumerate(found):
            if len(boxes):
                result[index] = self._landmarks(faces[index], boxes[0])
        return result

    @torch.inference_mode()
    def _landmarks(self, face: np.ndarray, box: np.ndarray) -> np.ndarray:
        view = fan_view(face, box)
        picture = torch.from_numpy(view.picture).permute(2, 0, 1)[None].to(next(self.fan.parameters())) / 255
        heat = self.fan(picture)
        return to_picture(peaks((heat[-1] if isinstance(heat, list | tuple) else heat).float().cpu().numpy())[0], view)

    def boxes(self, frames: Sequence[np.ndarray]) -> np.ndarray:
        """See `Detectors`."""
        return np.array([best_box(found) or (NO_BOX,) * 4 for found in self.s3fd.detect(frames)], np.int64).reshape(-1, 4)

    def faces(self, picture: np.ndarray) -> FoundFaces:
        """See `Detectors`."""
        return self.gpen.detect(picture)

    def faces_to_restore(self, picture: np.ndarray) -> FoundFaces:
        """See `Detectors`."""
        return self.gfpgan.detect(picture)


@lru_cache(maxsize=1)
def _dlib() -> tuple[Any, Any]:
    path = dlib_file("shape_predictor_68_face_landmarks.dat")
    import dlib

    return dlib.get_frontal_face_detector(), dlib.shape_predictor(str(path))


# --- FAN, as face_alignment 1.3.4 calls it --------------------------------------------------------------------------------

UNIT, REFERENCE, UP = 200.0, 195.0, 0.12  # pixels per scale; width and height of a box of scale 1; by which its center rises
VIEW_SIDE, HEAT_SIDE = 256, 64


class FanView(NamedTuple):
    """The part of a picture that FAN sees.

    Attributes:
        picture: (256, 256, 3) uint8.
        center: (2,) in the picture it was cut from.
        scale: of the face; 200 of it are the side of the part in pixels.
    """

    picture: np.ndarray
    center: np.ndarray
    scale: float


def fan_view(picture: np.ndarray, box: np.ndarray) -> FanView:
    """Cut out what FAN sees of a face.

    Args:
        picture: (H, W, 3) uint8.
        box: x1, y1, x2, y2, and anything after that.
    """
    import cv2

    x1, y1, x2, y2 = (float(side) for side in box[:4])
    center = np.array([(x1 + x2) / 2, (y1 + y2) / 2 - UP * (y2 - y1)])
    scale = (x2 - x1 + y2 - y1) / REFERENCE
    low, high = (np.trunc((corner - VIEW_SIDE / 2) * UNIT * scale / VIEW_SIDE + center).astype(int) for corner in (1, VIEW_SIDE))
    part = np.zeros((high[1] - low[1], high[0] - low[0], 3), np.uint8)
    limits = np.array(picture.shape[1::-1])
    first, last = np.maximum(1, low + 1), np.minimum(high, limits)  # counted from 1, as the package does
    (left, top), (right, bottom) = first - 1 - low, last - low
    part[top:bottom, left:right] = picture[first[1] - 1 : last[1], first[0] - 1 : last[0]]
    return FanView(cv2.resize(part, (VIEW_SIDE, VIEW_SIDE), interpolation=cv2.INTER_LINEAR), center, scale)


def peaks(heat: np.ndarray) -> np.ndarray:
    """Where (B, 68, 64, 64) heat maps are hottest: (B, 68, 2), cells counted from 1, a quarter towards the hotter neighbor."""
    height, width = heat.shape[2:]
    y, x = np.unravel_index(heat.reshape(*heat.shape[:2], -1).argmax(axis=-1), (height, width))
    inside = (x > 0) & (x < width - 1) & (y > 0) & (y < height - 1)
    rows, columns = np.ogrid[: heat.shape[0], : heat.shape[1]]
    near = {d: heat[rows, columns, np.clip(y + d[1], 0, height - 1), np.clip(x + d[0], 0, width - 1)] for d in NEIGHBORS}
    slope = np.stack((near[1, 0] - near[-1, 0], near[0, 1] - near[0, -1]), axis=-1)
    return (np.stack((x, y), axis=-1) + 0.5 + 0.25 * np.sign(slope) * inside[..., None]).astype(np.float32)


NEIGHBORS = ((1, 0), (-1, 0), (0, 1), (0, -1))


def to_picture(points: np.ndarray, view: FanView) -> np.ndarray:
    """Points (68, 2) of `peaks` in the picture that a view was cut from; cut to whole pixels, as the package does."""
    side = UNIT * view.scale
    return np.trunc((points - HEAT_SIDE / 2) * side / HEAT_SIDE + view.center)


def mirrored(heat: np.ndarray) -> np.ndarray:
    """The (B, 68, 64, 64) heat maps of mirrored faces as those of the faces: mirrored back, left and right exchanged."""
    return heat[:, list(MIRRORED), :, ::-1]
