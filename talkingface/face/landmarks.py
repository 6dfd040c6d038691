"""The 68 iBUG landmarks of a face: predicted in a box, or read from a file; and the face's box from its landmarks."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np

from talkingface.errors import FaceError
from talkingface.face.align import crop, inverse, move_points

BROWS, NOSE_BASE = slice(17, 27), 33
FOREHEAD = 0.8  # of the way from the nose's base to the brows, which is about as long as the forehead


class LandmarkTrack(NamedTuple):
    """The 68 landmarks of one face over all frames of a video.

    Attributes:
        landmarks: (T, 68, 2) float32 x, y in pixels; NaN where there is no face.
        detected: (T,) bool: the face was found in this frame. Where its box was bridged, landmarks are there but not this.
    """

    landmarks: np.ndarray
    detected: np.ndarray


class Landmarker(Protocol):
    """A way to find landmarks where a face is known to be."""

    def predict(self, frames: Sequence[np.ndarray], boxes: np.ndarray) -> np.ndarray:
        """Find the landmarks of one face per frame.

        Args:
            frames: N frames, (H, W, 3) uint8 RGB.
            boxes: (N, 4) x1, y1, x2, y2, forehead to chin.

        Returns:
            (N, 68, 2) float32.
        """


# --- a box from landmarks ---------------------------------------------------------------------------------------------


def face_box(landmarks: np.ndarray) -> np.ndarray:
    """The box from forehead to chin, as a face detector would draw it, around 68 landmarks.

    Landmarks end at the brows. The forehead is as high as the nose and brows together (the classical thirds of a face), so
    the brows are moved up, along the face, by 0.8 of the way from the nose's base to them; the box holds all landmarks and
    these points. It does not depend on how far the mouth is open, except at the chin.

    Args:
        landmarks: (..., 68, 2) in pixels.

    Returns:
        (..., 4) x1, y1, x2, y2; may reach beyond the frame.
    """
    brows = landmarks[..., BROWS, :]
    up = brows.mean(axis=-2, keepdims=True) - landmarks[..., NOSE_BASE, None, :]
    points = np.concatenate((landmarks, brows + FOREHEAD * up), axis=-2)
    return np.concatenate((points.min(axis=-2), points.max(axis=-2)), axis=-1)


# --- dlib -------------------------------------------------------------------------------------------------------------


def dlib_file(name: str) -> Path:
    """A file of the package face_recognition_models, which is found without being imported.

    Raises:
        FaceError: the package, or dlib itself, is not installed.
    """
    spec = find_spec("face_recognition_models")
    if spec is None or not spec.submodule_search_locations or find_spec("dlib") is None:
        raise FaceError("the face detector 'dlib' needs two packages: pip install dlib-bin face_recognition_models")
    return Path(spec.submodule_search_locations[0]) / "models" / name


@lru_cache(maxsize=1)
def _shape_predictor() -> Any:
    path = dlib_file("shape_predictor_68_face_landmarks.dat")
    import dlib

    return dlib.shape_predictor(str(path))


@lru_cache(maxsize=1)
def _frontal_detector() -> Any:
    dlib_file("")
    import dlib

    return dlib.get_frontal_face_detector()


def frontal_squares(picture: np.ndarray, side: int, threshold: float = 0.0) -> np.ndarray:
    """Faces that dlib's frontal detector (HOG) finds in an RGB picture, when it is resized to this longest side.

    Args:
        threshold: least score; real faces mostly have more than 0.

    Returns:
        (N, 5) float32 x1, y1, x2, y2, score: squares from the brows to the chin, best first.
    """
    view, scale = resized(picture, side)
    rectangles, scores, _ = _frontal_detector().run(cv2.cvtColor(view, cv2.COLOR_RGB2GRAY), 0, threshold)
    return to_squares(rectangles, scores, scale)


def to_squares(rectangles: Iterable[Any], scores: Iterable[float], scale: float) -> np.ndarray:
    """dlib's rectangles of a resized picture as (N, 5) x1, y1, x2, y2, score in the picture itself."""
    corners = [(r.left() / scale, r.top() / scale, (r.right() + 1) / scale, (r.bottom() + 1) / scale) for r in rectangles]
    return np.array([(*box, score) for box, score in zip(corners, scores, strict=True)], np.float32).reshape(-1, 5)


def surroundings(frame: np.ndarray, box: np.ndarray, around: float) -> tuple[np.ndarray, np.ndarray]:
    """The part of a frame around a box, in its sides; and where that begins: (2,) x, y. The whole frame if it is elsewhere."""
    limits = np.array([frame.shape[1], frame.shape[0]])
    center, reach = (box[:2] + box[2:4]) / 2, around / 2 * (box[2:4] - box[:2]).max()
    (left, top), (right, bottom) = (np.clip(corner, 0, limits).astype(int) for corner in (center - reach, center + reach))
    part = frame[top:bottom, left:right]
    return (part, np.array([left, top])) if part.size else (frame, np.zeros(2, int))


def resized(image: np.ndarray, side: int) -> tuple[np.ndarray, float]:
    """The picture with its longest side of this many pixels, and the factor."""
    scale = side / max(image.shape[:2])
    if scale == 1:
        return image, 1.0
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=method), scale


class DlibLandmarks:
    """dlib's cascade of regression trees (Kazemi and Sullivan, 2014), trained on iBUG 300-W.

    It starts from the square that dlib's frontal detector gives, and with a turned head it fails from any other. So the
    detector searches around the known face once more, here with a threshold so low that it also tells where profiles lie.
    dlib returns whole pixels; the face is brought to a size of its own first, which makes steps of 1/300 of its side.
    """

    side, margin = 300, 0.4  # pixels of the square in the picture that dlib sees; what that shows around it, in squares
    around, around_side, threshold = 1.8, 280, -1.0  # where the detector searches, in squares; in how many pixels; least score
    below, share = 0.07, 0.885  # the typical square from a face's box: how far its center lies below, its side; measured

    def predict(self, frames: Sequence[np.ndarray], boxes: np.ndarray) -> np.ndarray:
        """See `Landmarker`."""
        found = [self.near(frame, self.typical_square(box)) for frame, box in zip(frames, boxes, strict=True)]
        return np.array(found, np.float32).reshape(-1, 68, 2)

    def typical_square(self, box: np.ndarray) -> np.ndarray:
        """(4,) about what dlib's detector would find where a face's box is."""
        size = (box[2:] - box[:2]).mean()
        center = (box[:2] + box[2:]) / 2 + [0, self.below * size]
        return np.concatenate((center - self.share * size / 2, center + self.share * size / 2))

    def near(self, frame: np.ndarray, square: np.ndarray) -> np.ndarray:
        """(68, 2) landmarks of the face that lies about where a square is."""
        part, origin = surroundings(frame, square, self.around)
        found = frontal_squares(part, self.around_side, self.threshold)
        return self.in_square(frame, found[0, :4] + [*origin, *origin] if len(found) else square)

    def in_square(self, frame: np.ndarray, square: np.ndarray) -> np.ndarray:
        """(68, 2) landmarks of the face in a square of dlib's detector."""
        import dlib

        scale, border = self.side / (square[2] - square[0]), round(self.margin * self.side)
        matrix = np.array([[scale, 0, border - scale * square[0]], [0, scale, border - scale * square[1]]])
        view = crop(frame, matrix, (self.side + 2 * border,) * 2, border="edge")
        rectangle = dlib.rectangle(border, border, border + self.side - 1, border + self.side - 1)
        shape = _shape_predictor()(cv2.cvtColor(view, cv2.COLOR_RGB2GRAY), rectangle)
        return move_points(np.array([(point.x, point.y) for point in shape.parts()], np.float64), inverse(matrix))


# --- face_alignment ---------------------------------------------------------------------------------------------------


class FaceAlignmentLandmarks:
    """The hourglass network 2DFAN-4 of the package face_alignment (Bulat and Tzimiropoulos, 2017).

    The network and the way its picture is cut are the package's own; points are read off the heat maps to a fraction of a
    pixel, which the package cuts off.

    Args:
        weights: 2DFAN4-11f355bf06.pth.tar.
        device: where the network runs.
    """

    side, heat_side, unit = 256, 64, 200.0  # pixels of its picture and heat maps; what a scale of 1 shows of the frame
    batch = 8

    def __init__(self, weights: Path, device: str = "cpu"):
        from face_alignment.models import FAN

        from talkingface.nn.weights import load_weights, read_weights

        self.device = device
        self.network = FAN(4)
        load_weights(self.network, read_weights(weights).state, weights)
        self.network.eval().to(device)

    def predict(self, frames: Sequence[np.ndarray], boxes: np.ndarray) -> np.ndarray:
        """See `Landmarker`."""
        import torch
        from face_alignment import utils

        found = [np.empty((0, 68, 2), np.float32)]
        for start in range(0, len(frames), self.batch):
            part = np.asarray(boxes[start : start + self.batch], np.float64)
            sizes = part[:, 2:] - part[:, :2]
            centers = (part[:, :2] + part[:, 2:]) / 2 - utils.CENTER_Y_OFFSET * sizes[:, 1:] * [0, 1]
            scales = sizes.sum(axis=1) / utils.REFERENCE_SCALE
            views = [utils.crop(*cut) for cut in zip(frames[start : start + self.batch], centers, scales, strict=True)]
            with torch.no_grad():
                heat = self.network(torch.from_numpy(np.stack(views)).to(self.device).permute(0, 3, 1, 2) / 255)
            points = _peaks((heat[-1] if isinstance(heat, list) else heat).float().cpu().numpy())
            shown = self.unit * scales[:, None, None]
            found.append((centers[:, None] + (points / self.heat_side - 0.5) * shown).astype(np.float32))
        return np.concatenate(found)


def _peaks(heat: np.ndarray) -> np.ndarray:
    """Where (B, P, H, W) heat maps are hottest: (B, P, 2) x, y; moved by a quarter of a pixel towards the hotter neighbors."""
    flat = heat.reshape(*heat.shape[:2], -1).argmax(axis=-1)
    y, x = np.unravel_index(flat, heat.shape[2:])
    padded = np.pad(heat, ((0, 0), (0, 0), (1, 1), (1, 1)))
    rows, columns = np.ogrid[: heat.shape[0], : heat.shape[1]]
    slope_x = padded[rows, columns, y + 1, x + 2] - padded[rows, columns, y + 1, x]
    slope_y = padded[rows, columns, y + 2, x + 1] - padded[rows, columns, y, x + 1]
    inside = (x > 0) & (x < heat.shape[3] - 1) & (y > 0) & (y < heat.shape[2] - 1)
    moves = np.stack((np.sign(slope_x), np.sign(slope_y)), axis=-1) * inside[..., None]
    return np.stack((x, y), axis=-1) + 0.5 + 0.25 * moves


# --- files ------------------------------------------------------------------------------------------------------------


def find_landmarks(video: Path, folder: Path | None = None) -> Path | None:
    """The file of landmarks that belongs to a video: <stem>.landmarks.npz beside it, else one in `folder`, called
    <the video's folder>_<stem>.npz, <stem>.landmarks.npz or <stem>.npz; None if there is none."""
    candidates = [video.with_name(f"{video.stem}.landmarks.npz")]
    if folder is not None:
        names = (f"{video.parent.name}_{video.stem}.npz", f"{video.stem}.landmarks.npz", f"{video.stem}.npz")
        candidates += [folder / name for name in names]
    return next((path for path in candidates if path.is_file()), None)


def read_landmarks(path: Path) -> LandmarkTrack:
    """Read `landmarks` (T, 68, 2) and `detected` (T,) from an .npz file; without `detected`, finite landmarks count.

    Raises:
        FaceError: the file is damaged or holds something else.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            landmarks = np.asarray(stored["landmarks"], np.float32)
            finite = np.isfinite(landmarks.reshape(len(landmarks), -1)).all(axis=1)
            detected = np.asarray(stored["detected"], bool) if "detected" in stored else finite
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise FaceError(f"{path} is not a file of landmarks ({error}); delete it, or make it again.") from error
    if landmarks.shape[1:] != (68, 2) or detected.shape != landmarks.shape[:1] or not len(landmarks):
        shapes = f"landmarks {landmarks.shape} and detected {detected.shape}"
        raise FaceError(f"{path} holds {shapes}; expected landmarks (T, 68, 2) in pixels and detected (T,).")
    return LandmarkTrack(landmarks, np.logical_and(detected, finite))
