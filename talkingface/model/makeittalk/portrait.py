"""Portraits that speak: the face of any picture cut out, painted anew for every row of landmarks, and put back."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch

from talkingface.errors import FaceError
from talkingface.face.align import crop, move_points
from talkingface.face.blend import paste_aligned, soft_edges
from talkingface.face.detect import hub_file
from talkingface.face.finder import FaceFinder
from talkingface.face.landmarks import BROWS, FaceAlignmentLandmarks
from talkingface.face.points import points_beside, read_points
from talkingface.media.video import Video
from talkingface.model.makeittalk.draw import SIDE, draw_landmarks
from talkingface.model.makeittalk.networks.translation import ResUnetGenerator

log = logging.getLogger(__name__)

JAW_WIDTHS, ACROSS, DOWN = 1.8, 0.5, 0.42
"""The crop around a face: its side in widths of the jaw, and where in it the middle of the jaw's ends lies; as in the
portraits that the authors publish."""

FEATHER = 0.1  # share of the crop's side over which it is blended into the picture
LEAST_JAW_WIDTHS = 1.3  # side of the crop, where a picture has no room for more
PROFILE, TURNED = 0.05, 0.15
"""Share of the jaw's width between its nearer end and the tip of the nose: below the first a face is a profile, below the
second it is turned so far that detectors guess what they do not see."""

SEARCHED = 1.0  # seconds of a video in which its face is looked for
OPEN_MOUTH = 0.25  # height of the inner lips by their width from which a mouth is called open
NOSE_TIP = 30
FAN3D_URL = "https://www.adrianbulat.com/downloads/python-fan/3DFAN4-7835d9f11d.pth.tar"


class Portrait(NamedTuple):
    """A picture with the face in it that is to speak.

    Attributes:
        picture: (H, W, 3) uint8 RGB.
        face: (S, S, 3) uint8 RGB, what the network sees: the picture itself, where it has that size already.
        matrix: (2, 3) map from the picture to the face.
        landmarks: (68, 2) in the face, pixels.
    """

    picture: np.ndarray
    face: np.ndarray
    matrix: np.ndarray
    landmarks: np.ndarray

    @property
    def is_whole(self) -> bool:
        """Whether the face is the picture itself."""
        return self.picture.shape == self.face.shape and np.array_equal(self.matrix, np.eye(2, 3))


# --- finding the face -------------------------------------------------------------------------------------------------


def read_portrait(path: Path, faces: FaceFinder, side: int = SIDE, longest_side: int = 0) -> Portrait:
    """Read a picture, or the first frame with a face of a video, and cut the face out.

    Args:
        faces: how the face is found, and which of several is taken.
        side: of the face, pixels.
        longest_side: a larger picture is reduced to this; 0 = never.

    Raises:
        FaceError: there is no face, it is seen in profile, or a file of landmarks is not as it should be.
        MediaError: the picture cannot be read.
    """
    picture, landmarks = find_face(path, faces)
    check_frontal(landmarks, path)
    factor = longest_side / max(picture.shape[:2]) if longest_side else 1.0
    if factor < 1:
        size = (max(2, round(picture.shape[1] * factor)), max(2, round(picture.shape[0] * factor)))
        picture, landmarks = cv2.resize(picture, size, interpolation=cv2.INTER_AREA), landmarks * factor
    return cut_portrait(picture, landmarks, side)


def find_face(path: Path, faces: FaceFinder) -> tuple[np.ndarray, np.ndarray]:
    """A picture and the 68 points of its face.

    The points come from a file beside it (`points_beside`, or <stem>.landmarks.npz), else they are 3DFAN's, where the package
    face_alignment and its weights are, else what the finder's own detector gives. Two dimensions are enough: the face is
    lifted to three by the depth of the standard face, whatever the detector (`landmarks.normalise`). On a turned head 3DFAN
    follows the hidden side of the jaw and other detectors the visible outline; on one that faces the camera they agree.

    Returns:
        (H, W, 3) uint8 RGB and (68, 2) float64.
    """
    video = Video(path)
    file = points_beside(path)
    if file is not None:
        return next(iter(video)), read_points(file)[:, :2]
    if not video.is_still:
        video = Video(path, stop=SEARCHED)
    track = faces.landmarks(video)
    index = int(np.argmax(track.detected))
    if not track.detected[index]:
        raise FaceError(f"{path}: no face was found in its first {len(track.detected)} frames. Give a portrait.")
    picture = next(islice(video, index, None))
    if (count := faces_in(video, faces, index)) > 1:
        log.warning("%s shows %d faces; the one that --face.select=%s means speaks.", path, count, faces.select)
    network = fan3d() if faces.back_end == "face_alignment" else None
    if network is None:
        return picture, track.landmarks[index].astype(np.float64)
    return picture, network.predict([picture], faces.boxes(video).boxes[index : index + 1])[0].astype(np.float64)


def faces_in(video: Video, faces: FaceFinder, index: int) -> int:
    """How many faces the frame of a video shows that has been looked at."""
    return 1 if faces.stored_landmarks(video) is not None else len(faces.detections(video).faces[index])


@lru_cache(maxsize=1)
def fan3d() -> FaceAlignmentLandmarks | None:
    """The network 3DFAN-4 of face_alignment; None where its weights cannot be had."""
    try:
        return FaceAlignmentLandmarks(hub_file(FAN3D_URL))
    except FaceError as error:
        log.warning("Portraits get landmarks in two dimensions: %s", error)
        return None


def check_frontal(landmarks: np.ndarray, path: Path) -> None:
    """Refuse a face that cannot be animated.

    Raises:
        FaceError: it is seen in profile or stands on its head.
    """
    if landmarks[8, 1] <= landmarks[BROWS, 1].mean():
        raise FaceError(f"{path}: the face stands on its head. Turn the picture.")
    left, tip, right = landmarks[[0, NOSE_TIP, 16], 0]
    share = min(tip - left, right - tip) / max(abs(right - left), 1e-6)
    if share < PROFILE:
        raise FaceError(
            f"{path}: the face is seen in profile (its jaw reaches from x = {left:.0f} to {right:.0f}, the tip of its nose is at "
            f"{tip:.0f}). Give a picture that shows both sides of the face."
        )
    if share < TURNED:
        log.warning("%s: the face is turned far to the side; its hidden half is guessed.", path)


def mouth_opening(landmarks: np.ndarray) -> float:
    """Height of the inner lips of (68, 2) as a share of their width."""
    height, width = (float(np.linalg.norm(landmarks[a] - landmarks[b])) for a, b in ((66, 62), (64, 60)))
    return height / max(width, 1e-6)


def cut_portrait(picture: np.ndarray, landmarks: np.ndarray, side: int = SIDE) -> Portrait:
    """Cut the face out of a picture; one that has the network's size already is the face.

    Args:
        picture: (H, W, 3) uint8 RGB.
        landmarks: (68, 2) in it, pixels.
        side: of the face, pixels.
    """
    height, width = picture.shape[:2]
    if (height, width) == (side, side):
        return Portrait(picture, picture, np.eye(2, 3), landmarks)
    jaw = float(np.linalg.norm(landmarks[16] - landmarks[0]))
    reach = min(JAW_WIDTHS * jaw, max(LEAST_JAW_WIDTHS * jaw, min(width, height)))
    middle = (landmarks[0] + landmarks[16]) / 2
    corner = middle - [ACROSS * reach, DOWN * reach]
    room = np.array([width, height]) - reach
    corner = np.where(room >= 0, np.clip(corner, 0, np.maximum(room, 0)), corner)  # inside of the picture, where it fits
    matrix = side / reach * np.column_stack((np.eye(2), -corner))
    return Portrait(picture, crop_reduced(picture, matrix, side), matrix, move_points(landmarks, matrix))


def crop_reduced(picture: np.ndarray, matrix: np.ndarray, side: int) -> np.ndarray:
    """`align.crop` with a map that only scales and shifts, also to less than half; beyond the picture its edge goes on."""
    factor = min(1.0, 2 * float(matrix[0, 0]))
    if factor < 1:
        size = (round(picture.shape[1] * factor), round(picture.shape[0] * factor))
        back = np.array([[picture.shape[1] / size[0], 0, 0], [0, picture.shape[0] / size[1], 0], [0, 0, 1.0]])
        picture, matrix = cv2.resize(picture, size, interpolation=cv2.INTER_AREA), matrix @ back
    return crop(picture, matrix, (side, side), border="edge")


# --- painting ---------------------------------------------------------------------------------------------------------


class Painter:
    """Paints the frames of one portrait; what depends on the portrait alone is computed once.

    Args:
        network: the image translation, in evaluation mode.
        face: (S, S, 3) uint8 RGB.
        batch_size: frames painted at once.
        bf16: compute in bfloat16.
    """

    def __init__(self, network: ResUnetGenerator, face: np.ndarray, batch_size: int = 8, bf16: bool = False):
        self.network, self.batch_size, self.bf16 = network, batch_size, bf16
        self.device = next(network.parameters()).device
        with torch.inference_mode():
            self.portrait_part = network.portrait_part(on_channels([face[..., ::-1]]).to(self.device))

    def paint(self, drawings: Iterable[np.ndarray], sounds: Iterable[np.ndarray] | None = None) -> Iterator[np.ndarray]:
        """Paint a frame for each drawing, as many in memory as are painted at once. One like the last is not painted again.

        Args:
            drawings: (S, S, 3) uint8 BGR, of `draw_landmarks`.
            sounds: (S, S) float32 of `spectrogram.Sound`, for a network with 7 channels.

        Yields:
            (S, S, 3) uint8 RGB.
        """
        given = ((drawing, None) for drawing in drawings) if sounds is None else zip(drawings, sounds, strict=False)
        last, painted = np.empty(0, np.uint8), np.empty(0, np.uint8)
        while batch := list(islice(given, self.batch_size)):
            before = [last, *(drawing for drawing, _ in batch[:-1])]
            fresh = [sounds is not None or not np.array_equal(now, then) for (now, _), then in zip(batch, before, strict=True)]
            new = iter(self.translate([pair for pair, is_new in zip(batch, fresh, strict=True) if is_new]))
            for is_new in fresh:
                painted = next(new) if is_new else painted
                yield painted
            last = batch[-1][0]

    def translate(self, pairs: list[tuple[np.ndarray, np.ndarray | None]]) -> np.ndarray:
        """(N, S, S, 3) uint8 RGB of N drawings, each perhaps with its sound."""
        if not pairs:
            return np.empty(0, np.uint8)
        drawn = on_channels([drawing for drawing, _ in pairs]).to(self.device)
        sounds = [sound for _, sound in pairs if sound is not None]
        sound = torch.from_numpy(np.stack(sounds)[:, None]).to(self.device) if sounds else None
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            painted = self.network.with_portrait(drawn, self.portrait_part, sound)
        return to_pictures(painted.float().tanh())


def on_channels(pictures: list[np.ndarray]) -> torch.Tensor:
    """N pictures (S, S, 3) uint8 as (N, 3, S, S) float32 in [0, 1]."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255


def to_pictures(painted: torch.Tensor) -> np.ndarray:
    """(N, 3, S, S) BGR in [-1, 1] as (N, S, S, 3) uint8 RGB: negative values are black, others are cut to whole numbers."""
    return (painted.clamp(min=0) * 255).byte().flip(1).permute(0, 2, 3, 1).cpu().numpy()


def draw_rows(rows: Iterable[np.ndarray], side: int = SIDE) -> Iterator[np.ndarray]:
    """Landmarks (68, 2 or more) as what the network is told: the lines keep their share of a smaller picture."""
    return (draw_landmarks(row, side, max(1, round(2 * side / SIDE))) for row in rows)


# --- putting back -----------------------------------------------------------------------------------------------------


def put_back(portrait: Portrait, painted: np.ndarray) -> np.ndarray:
    """The whole picture with a painted face, blended in at its edges: (H, W, 3) uint8 RGB."""
    if portrait.is_whole:
        return painted
    height, width = painted.shape[:2]
    return paste_aligned(portrait.picture, painted, portrait.matrix, soft_edges(height, width, FEATHER))


def panels(portrait: Portrait, painted: np.ndarray, drawing: np.ndarray) -> np.ndarray:
    """The authors' three pictures side by side: portrait, painted face, drawn landmarks: (S, 3 S, 3) uint8 RGB.

    The portrait goes through [0, 1] and back in float32, as theirs, and loses a level here and there.
    """
    shown = (portrait.face.astype(np.float32) / 255 * 255).astype(np.uint8)
    return np.concatenate((shown, painted, drawing[..., ::-1]), axis=1)
