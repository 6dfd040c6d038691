"""Face detectors: each finds all faces of each frame, as boxes from forehead to chin."""

from __future__ import annotations

import logging
import socket
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from talkingface.errors import FaceError
from talkingface.face.landmarks import (
    DlibLandmarks,
    FaceAlignmentLandmarks,
    Landmarker,
    dlib_file,
    face_box,
    frontal_squares,
    resized,
    surroundings,
    to_squares,
)

log = logging.getLogger(__name__)

BACK_ENDS = ("auto", "face_alignment", "dlib", "s3fd", "sfd", "files")

S3FD_URL = "https://www.adrianbulat.com/downloads/python-fan/s3fd-619a316812.pth"
FAN_URL = "https://www.adrianbulat.com/downloads/python-fan/2DFAN4-11f355bf06.pth.tar"
PATIENCE = 10.0  # seconds that a server may be silent

NO_FACES = np.empty((0, 5), np.float32)


class Detector(ABC):
    """Finds faces in the frames of one video, which it is given in order; make a new one for each video.

    Attributes:
        longest_side: frames may be reduced to this before they come here, pixels; larger ones tell it nothing.
    """

    longest_side: ClassVar[int] = 640

    @abstractmethod
    def detect(self, frames: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Find all faces.

        Args:
            frames: each (H, W, 3) uint8 RGB.

        Returns:
            Per frame (N, 5) float32: x1, y1, x2, y2, score. Boxes may reach beyond the frame.
        """

    def forget(self) -> None:  # noqa: B027
        """Forget the frames so far: what is found from here on is what a new detector finds."""


# --- which one --------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def default_back_end() -> str:
    """What "auto" means here: "face_alignment" if it is installed and its weights are there or can be fetched, else "dlib"."""
    if find_spec("face_alignment") is None:
        return "dlib"
    try:
        for url in (S3FD_URL, FAN_URL):
            hub_file(url)
    except FaceError as error:
        log.warning("Faces are found with dlib: %s", error)
        return "dlib"
    return "face_alignment"


def make_detector(back_end: str, weights: Path | None = None) -> Detector:
    """The detector of a back end.

    Args:
        back_end: "face_alignment", "dlib", "s3fd" or "sfd".
        weights: of s3fd or sfd.

    Raises:
        FaceError: a package or a file of weights is missing.
    """
    if back_end == "dlib":
        return DlibDetector()
    if back_end == "s3fd" and weights is not None:
        return S3FDDetector(weights)
    if back_end == "sfd" and weights is not None:
        return QuarterS3FDDetector(weights)
    return S3FDDetector(hub_file(S3FD_URL), swap_colors=True)


def make_landmarker(back_end: str) -> Landmarker:
    """The landmark predictor that goes with a detector: face_alignment's for its own, dlib's for the others."""
    if back_end == "face_alignment":
        return FaceAlignmentLandmarks(hub_file(FAN_URL), _device())
    dlib_file("")
    return DlibLandmarks()


# --- dlib -------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _profile_detector() -> Any:
    path = dlib_file("mmod_human_face_detector.dat")
    import dlib

    return dlib.cnn_face_detection_model_v1(str(path))


class DlibDetector(Detector):
    """dlib's detectors, and the landmarks in what they find, which make the box (see `face_box`).

    Each frame is searched with the fast frontal detector (HOG), first reduced to 240 pixels (4 ms), and while it finds
    nothing at 640 (20 ms) and 1280 (90 ms), where it sees ever smaller faces: they must have about 75 pixels there. Then
    the slow network that also sees profiles (mmod) looks around where a face was last (0.1 s), or at the whole frame (0.3 s).
    After it has failed it rests for some frames, so that a long stretch without a face costs little; the tracker bridges
    what it misses.
    """

    longest_side = 1280
    sides = (240, 640, 1280)
    around = 1.6  # what the network sees around the last face, in squares
    part_side, whole_side = 160, 240  # in how many pixels it sees that, or the whole frame
    rest = 5
    share, below = 1.09, 0.08  # the frontal detector's square from the network's: its side, how far its center lies below

    def __init__(self) -> None:
        self.landmarks = DlibLandmarks()
        self.forget()

    def forget(self) -> None:
        self.last: np.ndarray | None = None  # square of the face found last
        self.resting = 0

    def detect(self, frames: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [self._detect(frame) for frame in frames]

    def _detect(self, frame: np.ndarray) -> np.ndarray:
        squares = self._frontal_squares(frame)
        predict = self.landmarks.in_square if len(squares) else self.landmarks.near
        if not len(squares) and self.resting:
            self.resting -= 1
        elif not len(squares):
            squares = self._network_squares(frame)
            self.resting = 0 if len(squares) else self.rest
        if not len(squares):
            return NO_FACES
        self.last = squares[0, :4]
        boxes = [face_box(predict(frame, square[:4])) for square in squares]
        return np.column_stack((boxes, squares[:, 4])).astype(np.float32)

    def _frontal_squares(self, frame: np.ndarray) -> np.ndarray:
        """(N, 5) of the first size in which there are faces. A frame is not enlarged beyond 640 pixels."""
        for side in self.sides:
            if side <= max(640, *frame.shape) and len(squares := frontal_squares(frame, side)):
                return squares
        return NO_FACES

    def _network_squares(self, frame: np.ndarray) -> np.ndarray:
        """(N, 5) like those of the frontal detector."""
        view, origin, side = frame, np.zeros(2, int), self.whole_side
        if self.last is not None:
            (view, origin), side = surroundings(frame, self.last, self.around), self.part_side
        view, scale = resized(view, side)
        found = _profile_detector()(np.ascontiguousarray(view), 0)
        squares = to_squares([face.rect for face in found], [face.confidence for face in found], scale)
        sides = squares[:, 2:3] - squares[:, :1]
        centers = (squares[:, :2] + squares[:, 2:4]) / 2 + origin + self.below * sides * [0, 1]
        half = self.share * sides / 2
        return np.column_stack((centers - half, centers + half, squares[:, 4])).astype(np.float32)


# --- S3FD -------------------------------------------------------------------------------------------------------------


class S3FDDetector(Detector):
    """S3FD on frames of at most 640 pixels.

    Args:
        weights: s3fd.pth of Wav2Lip or of face_alignment; they are the same.
        swap_colors: feed B, G, R, as the package face_alignment does, instead of Wav2Lip's R, G, B.
    """

    def __init__(self, weights: Path, swap_colors: bool = False):
        from talkingface.face.s3fd import FaceAlignmentS3FD
        from talkingface.nn.weights import load_weights, read_weights

        self.order = slice(None, None, -1 if swap_colors else 1)
        self.network = FaceAlignmentS3FD()
        load_weights(self.network, read_weights(weights).state, weights)
        self.network.eval().to(_device())

    def detect(self, frames: Sequence[np.ndarray]) -> list[np.ndarray]:
        views = [resized(frame, min(max(frame.shape), self.longest_side)) for frame in frames]
        found = self.network.detect([np.ascontiguousarray(view[..., self.order]) for view, _ in views])
        for faces, (_, scale) in zip(found, views, strict=True):
            faces[:, :4] /= scale
        return found


class QuarterS3FDDetector(Detector):
    """SyncNet's S3FD on frames of a quarter of their size: the detector behind LSE's track protocol.

    Args:
        weights: sfd_face.pth of joonson/syncnet_python.
    """

    longest_side = 1_000_000

    def __init__(self, weights: Path):
        from talkingface.face.s3fd import SyncNetS3FD
        from talkingface.nn.weights import load_weights, read_weights

        self.network = SyncNetS3FD()
        load_weights(self.network, read_weights(weights).state, weights)
        self.network.eval().to(_device())

    def detect(self, frames: Sequence[np.ndarray]) -> list[np.ndarray]:
        return self.network.detect(frames)


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


# --- weights of face_alignment ----------------------------------------------------------------------------------------


def hub_file(url: str) -> Path:
    """A file of torch.hub's folder, where face_alignment keeps its weights; fetched if it is not there.

    Raises:
        FaceError: it cannot be fetched.
    """
    import torch

    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if path.is_file():
        return path
    log.info("Fetching %s to %s (about 90 MB, once).", url, path)
    digest = torch.hub.HASH_REGEX.search(path.name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _network_timeout(PATIENCE):
            torch.hub.download_url_to_file(url, str(path), digest and digest.group(1), progress=True)
    except (OSError, RuntimeError) as error:  # no network, no space; a wrong hash
        raise FaceError(
            f"{path} does not exist and cannot be fetched from {url} ({error}). Put it there, or use --face.detector=dlib."
        ) from error
    return path


@contextmanager
def _network_timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
