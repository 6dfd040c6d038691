"""Better faces in a picture: cut out upright, redrawn by GPEN or GFPGAN, and put back with a soft edge.

As the authors do it (third_part/GPEN, GFPGANer), wherever the faces' five points come from. Pictures are (H, W, 3) uint8 RGB.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from talkingface.face.align import crop, inverse, similarity
from talkingface.face.pyramid import laplacian_blend
from talkingface.media.image import resize
from talkingface.model.videoretalking.restoration import FACE, LIPS, SIDE, Improve, Parse, feathered, part_mask, without_border
from talkingface.model.videoretalking.retinaface import FoundFaces

ARCFACE = np.array([(30.2946, 51.6963), (65.5318, 51.5014), (48.0252, 71.7366), (33.5493, 92.3655), (62.7299, 92.2041)])
GPEN_POINTS = (ARCFACE + (8, 0) + 28) * SIDE / 168  # the template of 96 x 112 made square, with a quarter more on each side
GFPGAN_POINTS = np.array(
    [(192.98138, 239.94708), (318.90277, 240.1936), (256.63416, 314.01935), (201.26117, 371.41043), (313.08905, 371.15118)]
)
LEAST_SCORE = 0.9
SMALL = 100  # pixels: GPEN's version of a face with a shorter side is softened
SOFTENING = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]], np.float32) / 16
FRAME_SIDE = 512  # pixels to which the authors squeeze whole frames to blend them
GFPGAN_BORDER = (132, 133, 135)  # grey beyond the frame
MIN_EYES = 5.0  # pixels between the eyes of a face that GFPGAN is given


class UprightFace(NamedTuple):
    """A face cut out of a picture.

    Attributes:
        face: (512, 512, 3) uint8.
        matrix: (2, 3) from the picture to it.
        shorter_side: of the face's box in the picture, pixels.
    """

    face: np.ndarray
    matrix: np.ndarray
    shorter_side: float


def upright_face(picture: np.ndarray, points: np.ndarray, box: np.ndarray) -> UprightFace:
    """Cut a face out as GPEN wants it.

    Args:
        points: (5, 2) eyes, nose, corners of the mouth.
        box: (4,) x1, y1, x2, y2.
    """
    matrix = similarity(np.asarray(points, np.float32), GPEN_POINTS)
    return UprightFace(crop(picture, matrix, (SIDE, SIDE)), matrix, float(min(box[3] - box[1], box[2] - box[0])))


class Patch(NamedTuple):
    """What the faces of a picture are replaced by, in the picture.

    Attributes:
        picture: (H, W, 3) uint8.
        soft: (H, W) float32 in [0, 1]: where, with wide soft edges.
        sharp: (H, W) float32: where, with narrow edges; of the last face.
    """

    picture: np.ndarray
    soft: np.ndarray
    sharp: np.ndarray


def merged_patch(
    faces: Sequence[UprightFace], drawn: Sequence[np.ndarray], labels: Sequence[np.ndarray], size: tuple[int, int]
) -> Patch:
    """Put upright faces back where they came from; where faces meet, the one with the larger share wins.

    Args:
        drawn: (512, 512, 3) uint8, what replaces each face.
        labels: (512, 512) ParseNet's classes of each face.
        size: width and height of the picture.
    """
    shape = (size[1], size[0])
    picture, soft = np.zeros((*shape, 3), np.uint8), np.zeros(shape, np.float32)
    sharp = np.zeros(shape, np.float32)
    for upright, face, parts in zip(faces, drawn, labels, strict=True):
        back = inverse(upright.matrix)
        mask = part_mask(parts, FACE).astype(np.float32) / 255
        sharp, wide = (crop(m, back, size) for m in (without_border(mask), feathered(mask)))
        mine = wide - soft > 0
        soft[mine], picture[mine] = wide[mine], crop(face, back, size)[mine]
    return Patch(picture, soft, cv2.GaussianBlur(sharp, (0, 0), 1))


def enhance(
    pictures: Sequence[np.ndarray],
    found: Sequence[FoundFaces],
    generate: Improve,
    parse: Parse,
    onto: Sequence[np.ndarray] | None = None,
) -> list[np.ndarray]:
    """The pictures with their faces as GPEN draws them; a picture without a face stays as it is.

    Args:
        found: the faces of each picture; those with a score below 0.9 are left alone.
        onto: other pictures of the same sizes to put the faces on.
    """
    onto = pictures if onto is None else onto
    cut = [[upright_face(picture, *face) for face in good(faces)] for picture, faces in zip(pictures, found, strict=True)]
    uprights = [face for faces in cut for face in faces]
    if not uprights:
        return list(onto)
    drawn = generate([upright.face for upright in uprights])
    labels = iter(parse(drawn))
    softened = iter(
        [soften(face) if upright.shorter_side < SMALL else face for upright, face in zip(uprights, drawn, strict=True)]
    )
    result = []
    for picture, faces in zip(onto, cut, strict=True):
        if not faces:
            result.append(picture)
            continue
        mine = [(next(softened), next(labels)) for _ in faces]
        patch = merged_patch(faces, [face for face, _ in mine], [parts for _, parts in mine], picture.shape[1::-1])
        once = rounded_mix(picture, patch.picture, patch.soft)
        result.append(rounded_mix(picture, once, patch.sharp))
    return result


def good(found: FoundFaces) -> list[tuple[np.ndarray, np.ndarray]]:
    """(points, box) of the faces that are sure enough."""
    return [(points, box[:4]) for box, points in zip(found.boxes, found.points, strict=True) if box[4] >= LEAST_SCORE]


def soften(face: np.ndarray) -> np.ndarray:
    return cv2.filter2D(face, -1, SOFTENING)


def rounded_mix(picture: np.ndarray, other: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """`other` where the mask (H, W) is 1, `picture` where it is 0, rounded."""
    share = mask[..., None]
    return cv2.convertScaleAbs(picture * (1 - share) + other * share)


# --- whole frames, as the authors blend them ------------------------------------------------------------------------------


def blend_squeezed(inside: np.ndarray, outside: np.ndarray, mask: np.ndarray, levels: int) -> np.ndarray:
    """Blend two pictures at 512 x 512, whatever their size, and enlarge the result again.

    Args:
        mask: (H, W) or (H, W, 3) float32.
    """
    size, square = (outside.shape[1], outside.shape[0]), (FRAME_SIDE, FRAME_SIDE)
    blended = laplacian_blend(resize(inside, square), resize(outside, square), resize(mask, square), levels)
    return resize(np.clip(blended, 0, 255), size).astype(np.uint8)


def blend_faces(
    painted: np.ndarray, original: np.ndarray, found: FoundFaces, parse: Parse, box: np.ndarray | None = None
) -> np.ndarray:
    """The faces of a painted frame in the original frame (the authors' "possion_blending").

    Args:
        found: the faces of the painted frame.
        box: (4,) x1, y1, x2, y2 whole pixels: nothing is taken from outside of it; its last five rows are left out.

    Returns:
        The whole frame, squeezed to 512 x 512 and enlarged; the original where there is no face.
    """
    faces = [upright_face(painted, *face) for face in good(found)]
    if not faces:
        return original
    pictures = [face.face for face in faces]
    patch = merged_patch(faces, pictures, list(parse(pictures)), original.shape[1::-1])
    mask = patch.soft
    if box is not None:
        x1, y1, x2, y2 = (int(side) for side in box)
        inside = np.zeros_like(mask)
        inside[y1 : y2 - 5, x1:x2] = 1
        mask = patch.sharp * inside
    return blend_squeezed(patch.picture, original, mask, levels=6)


def blend_mouth(restored: np.ndarray, painted: np.ndarray, box: np.ndarray, parse: Parse) -> np.ndarray:
    """The mouth of a restored frame in the painted one; hard edges, at 512 x 512.

    Args:
        box: (4,) x1, y1, x2, y2 of the face, whole pixels.
    """
    return blend_squeezed(restored, painted, mouth_share(restored, box, parse).astype(np.float32), levels=10)


def mouth_share(restored: np.ndarray, box: np.ndarray, parse: Parse) -> np.ndarray:
    """(H, W, 3) uint8: 1 on the mouth of the face in a box, else 0."""
    x1, y1, x2, y2 = (int(side) for side in box)
    mask = part_mask(parse([restored[y1:y2, x1:x2]])[0], LIPS)
    share = np.zeros_like(restored)
    share[y1:y2, x1:x2] = (resize(mask, (x2 - x1, y2 - y1)) / 255)[..., None]  # the cut to whole numbers makes edges hard
    return share


# --- GFPGAN in a whole frame ----------------------------------------------------------------------------------------------


def central_face(found: FoundFaces, size: tuple[int, int]) -> np.ndarray | None:
    """The five points of the face that the authors' GFPGANer restores: of those large enough, the one nearest to the middle.

    Args:
        size: width and height of the frame.
    """
    points = found.points
    eyes = np.hypot(points[:, 0, 1] - points[:, 1, 1], points[:, 1, 0] - points[:, 2, 0])  # the authors' slip: not the eyes'
    large = np.flatnonzero(eyes >= MIN_EYES)
    if not len(large):
        return None
    boxes = found.boxes[large]
    centers = (boxes[:, :2] + boxes[:, 2:4]) / 2
    nearest = np.argmin(np.linalg.norm(centers - np.array(size) / 2, axis=1))
    return points[large[nearest]]


def gfpgan_map(points: np.ndarray) -> np.ndarray:
    """(2, 3) from a picture to GFPGAN's upright face."""
    return cv2.estimateAffinePartial2D(points.astype(np.float32), GFPGAN_POINTS, method=cv2.LMEDS)[0]


def gfpgan_face(picture: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """(512, 512, 3): what GFPGAN is given."""
    return cv2.warpAffine(picture, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_CONSTANT, borderValue=GFPGAN_BORDER)


def paste_restored(picture: np.ndarray, face: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Put GFPGAN's face into a copy of the picture, its square softened towards its edges."""
    size = (picture.shape[1], picture.shape[0])
    back = cv2.invertAffineTransform(matrix)
    there = cv2.warpAffine(face, back, size).astype(np.float64)
    square = cv2.erode(cv2.warpAffine(np.ones((SIDE, SIDE), np.float32), back, size), np.ones((2, 2), np.uint8))
    edge = int(square.sum() ** 0.5) // 20
    inner = cv2.erode(square, np.ones((2 * edge, 2 * edge), np.uint8))
    soft = cv2.GaussianBlur(inner, (2 * edge + 1, 2 * edge + 1), 0)[..., None]
    return (soft * (there * square[..., None]) + (1 - soft) * picture).astype(np.uint8)


def restore_central_face(picture: np.ndarray, found: FoundFaces, restore: Improve) -> np.ndarray:
    """The frame with the face that is nearest to its middle restored; the frame itself where there is none."""
    points = central_face(found, (picture.shape[1], picture.shape[0]))
    if points is None:
        return picture
    matrix = gfpgan_map(points)
    return paste_restored(picture, restore([gfpgan_face(picture, matrix)])[0], matrix)
