"""Step 6: the painted face in its frame: mouth restored (GFPGAN), edges blended, everything else left as it was, bit for bit.

`seamless` works around the face, at the frame's own resolution; `as_authors` does what the authors do, with whole frames
squeezed to 512 x 512. All pictures are (H, W, 3) uint8 RGB.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from talkingface.face.align import crop, five_points, inverse, similarity
from talkingface.face.blend import mix, mouth_mask, soft_edges
from talkingface.face.masks import face_mask
from talkingface.face.pyramid import laplacian_blend
from talkingface.model.videoretalking.detectors import Detectors
from talkingface.model.videoretalking.enhance import GFPGAN_POINTS, blend_faces, blend_mouth, restore_central_face
from talkingface.model.videoretalking.restoration import FACE, LIPS, SIDE, Improve, Parse, part_mask

MARGIN = 0.2  # of a box's sides: how much of the frame around it may change a little
BOX_EDGE = 0.06  # of a box's sides: over which a painted face fades towards the box's border
COARSEST = 16  # pixels of the coarsest picture of the blending
LIPS_GROWN, LIPS_SOFT = 15, 6.0  # pixels of 512: by how much the restored mouth reaches beyond the lips; sigma of its edge
LIPS_MARGIN = 0.35  # of the width of the mouth: the same where only landmarks tell where the lips are
FACE_SOFT = 4.0  # pixels of 512: sigma of the face's edge


class Patch(NamedTuple):
    """What a frame is changed by: the pixels from (left, top) on."""

    left: int
    top: int
    picture: np.ndarray

    def put_on(self, frame: np.ndarray) -> np.ndarray:
        """A copy of the frame with the patch in it."""
        result = frame.copy()
        height, width = self.picture.shape[:2]
        result[self.top : self.top + height, self.left : self.left + width] = self.picture
        return result


# --- without a seam -------------------------------------------------------------------------------------------------------


class Spot(NamedTuple):
    """A painted face and its place.

    Attributes:
        view: the frame around it.
        rectangle: (4,) where the view lies in the frame: x1, y1, x2, y2.
        painted: the view with the face in its box.
        landmarks: (68, 2) in the view.
        share: (h, w) float32 in [0, 1]: how much of the painted face the box lets through.
        fade: (h, w) float32 in [0, 1]: how much of the view may change.
    """

    view: np.ndarray
    rectangle: np.ndarray
    painted: np.ndarray
    landmarks: np.ndarray
    share: np.ndarray
    fade: np.ndarray


def put_down(frame: np.ndarray, face: np.ndarray, box: np.ndarray, landmarks: np.ndarray) -> Spot:
    """Enlarge a painted face (side, side, 3) into its box (x1, y1, x2, y2).

    Args:
        landmarks: (68, 2) in the frame.
    """
    limits = np.array(frame.shape[1::-1] * 2)
    sides = np.tile(box[2:] - box[:2], 2)
    rectangle = np.clip(box + np.rint(MARGIN * sides * [-1, -1, 1, 1]).astype(int), 0, limits)
    left, top, right, bottom = rectangle
    view = frame[top:bottom, left:right].copy()
    x1, y1, x2, y2 = box - np.tile(rectangle[:2], 2)
    painted = view.copy()
    painted[y1:y2, x1:x2] = fitted(face, (x2 - x1, y2 - y1))
    inside = soft_rectangle(box, rectangle, limits, BOX_EDGE)
    fade = soft_rectangle(rectangle, rectangle, limits, MARGIN / (1 + 2 * MARGIN))
    return Spot(view, rectangle, painted, landmarks - rectangle[:2], inside, fade)


def seamless(spots: Sequence[Spot], restore: Improve | None = None, parse: Parse | None = None) -> list[Patch]:
    """Blend painted faces into what is around them.

    GFPGAN's mouth is added as a difference, so that nothing else is resampled; and the face's own area (of ParseNet, else of
    the landmarks) is blended band by band. Beyond a margin around the box nothing changes.

    Args:
        restore: GFPGAN; None leaves the mouth as it is painted.
        parse: ParseNet.
    """
    uprights = [Upright.of(spot.painted, spot.landmarks) for spot in spots]
    better = restore([upright.picture for upright in uprights]) if restore else [upright.picture for upright in uprights]
    labels = list(parse(better)) if parse else [None] * len(spots)
    patches = []
    for spot, upright, restored, parts in zip(spots, uprights, better, labels, strict=True):
        painted = upright.with_mouth(spot.painted, restored, parts, spot.landmarks) if restore else spot.painted
        shape = spot.view.shape
        area = face_mask(spot.landmarks, *shape[:2]) if parts is None else upright.area(parts, FACE, FACE_SOFT, shape)
        blended = laplacian_blend(painted, spot.view, area * spot.share, levels_for(shape))
        mixed = mix(spot.view, np.rint(np.clip(blended, 0, 255)).astype(np.uint8), spot.fade)
        patches.append(Patch(int(spot.rectangle[0]), int(spot.rectangle[1]), mixed))
    return patches


def soft_rectangle(rectangle: np.ndarray, view: np.ndarray, limits: np.ndarray, feather: float) -> np.ndarray:
    """A mask of the view: 1 in a rectangle, falling towards its edges, but for those that are edges of the frame.

    Args:
        rectangle, view: (4,) x1, y1, x2, y2 in the frame.
        limits: (4,) the frame's width, height, width, height.
        feather: width of the slope as a share of the side.
    """
    beyond = feather / (1 - 2 * feather)  # of the sides: where a rectangle that reaches so far beyond has its slopes
    slope = np.ceil(beyond * np.tile(rectangle[2:] - rectangle[:2], 2)).astype(int) + 1
    at_edge = np.where([*(rectangle[:2] <= 0), *(rectangle[2:] >= limits[2:])], slope, 0)
    x1, y1, x2, y2 = rectangle + at_edge * [-1, -1, 1, 1]
    left, top, right, bottom = view
    mask = np.zeros((bottom - top, right - left), np.float32)
    whole = soft_edges(y2 - y1, x2 - x1, feather)
    low, high = np.maximum([x1, y1], view[:2]), np.minimum([x2, y2], view[2:])
    part = whole[low[1] - y1 : high[1] - y1, low[0] - x1 : high[0] - x1]
    mask[low[1] - top : high[1] - top, low[0] - left : high[0] - left] = part
    return mask


def fitted(face: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A face in another size: averaged where it shrinks, bicubic where it grows."""
    smaller = size[0] < face.shape[1] and size[1] < face.shape[0]
    return cv2.resize(face, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)


def levels_for(shape: tuple[int, ...]) -> int:
    """Levels of the blending's pyramids for pictures of this shape."""
    return int(np.clip(np.log2(min(shape[:2]) / COARSEST) + 1, 2, 7))


class Upright(NamedTuple):
    """A face cut out as GFPGAN wants it: 512 x 512, and the map (2, 3) that led there."""

    picture: np.ndarray
    matrix: np.ndarray

    @classmethod
    def of(cls, picture: np.ndarray, landmarks: np.ndarray) -> Upright:
        """Cut the face with these (68, 2) landmarks out; a large one from a reduced picture, so that no pixels are skipped."""
        matrix = similarity(five_points(landmarks), GFPGAN_POINTS)
        reduction = int(1 / np.hypot(*matrix[:, 0]))
        if reduction < 2:
            return cls(crop(picture, matrix, (SIDE, SIDE), border="edge"), matrix)
        height, width = picture.shape[:2]
        size = (max(1, width // reduction), max(1, height // reduction))
        small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        x, y = width / size[0], height / size[1]
        to_large = np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2]])
        smaller = np.column_stack((matrix[:, :2] @ to_large[:, :2], matrix[:, :2] @ to_large[:, 2] + matrix[:, 2]))
        return cls(crop(small, smaller, (SIDE, SIDE), border="edge"), matrix)

    def back(self, picture: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """What lies over the upright face (float32), where it is in the picture of this shape; 0 elsewhere."""
        return crop(picture.astype(np.float32), inverse(self.matrix), (shape[1], shape[0]))

    def area(
        self, labels: np.ndarray, classes: tuple[int, ...], soft: float, shape: tuple[int, ...], grow: int = 0
    ) -> np.ndarray:
        """(h, w) float32 in [0, 1]: where parts of the face are in the picture of this shape.

        Args:
            grow: pixels of the upright face by which the parts grow.
            soft: sigma of their edge, in the same.
        """
        return self.back(self.share(labels, classes, soft, grow), shape)

    @staticmethod
    def share(labels: np.ndarray, classes: tuple[int, ...], soft: float, grow: int = 0) -> np.ndarray:
        """(512, 512) float32 in [0, 1]: `area` in the upright face itself; 0 along its border."""
        mask = part_mask(labels, classes)
        if grow:
            mask = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * grow + 1, 2 * grow + 1)))
        edge = round(3 * soft)
        mask[:edge], mask[-edge:], mask[:, :edge], mask[:, -edge:] = 0, 0, 0, 0
        return cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), soft)

    def with_mouth(self, painted: np.ndarray, restored: np.ndarray, labels: np.ndarray | None, points: np.ndarray) -> np.ndarray:
        """The painted picture with the mouth of the restored upright face.

        Args:
            labels: ParseNet's of the restored face; None takes the lips of the landmarks.
            points: (68, 2) in the painted picture.
        """
        if labels is None:
            share = crop(mouth_mask(points, painted.shape[0], painted.shape[1], LIPS_MARGIN), self.matrix, (SIDE, SIDE))
        else:
            share = self.share(labels, LIPS, LIPS_SOFT, LIPS_GROWN)
        better = laplacian_blend(restored, self.picture, share, levels=6)
        change = self.back(better - self.picture, painted.shape)
        return np.rint(np.clip(painted + change, 0, 255)).astype(np.uint8)


# --- as the authors do it -------------------------------------------------------------------------------------------------


def as_authors(
    frame: np.ndarray, face: np.ndarray, box: np.ndarray, detectors: Detectors, restore: Improve, parse: Parse
) -> np.ndarray:
    """The whole frame with a painted face, with the authors' own arithmetic.

    Args:
        face: (side, side, 3) painted.
        box: (4,) x1, y1, x2, y2 whole pixels.
        restore: GFPGAN.
        parse: ParseNet.
    """
    x1, y1, x2, y2 = (int(side) for side in box)
    painted = frame.copy()
    painted[y1:y2, x1:x2] = cv2.resize(face, (x2 - x1, y2 - y1))
    restored = restore_central_face(painted, detectors.faces_to_restore(painted), restore)
    mouthed = blend_mouth(restored, painted, box, parse)
    return blend_faces(mouthed, frame, detectors.faces(mouthed), parse, box)
