"""The published files beside the model's own: which one does what, where it may lie, and what becomes of a run without it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from talkingface.errors import CheckpointError, FaceError, MissingWeightsError
from talkingface.face.detect import FAN_URL, S3FD_URL
from talkingface.model.videoretalking.geometry import NUM_EXPRESSION
from talkingface.model.videoretalking.networks import ExpressionEditor, FaceRecognizer, Gfpgan, Gpen, ParseNet, RetinaFace
from talkingface.nn.weights import OPTIONAL, load_weights, read_weights

log = logging.getLogger(__name__)

RELEASE = "https://github.com/OpenTalker/video-retalking/releases (v0.0.1)"


class Helper(NamedTuple):
    """A network that is published for itself.

    Attributes:
        build: makes it, with made-up weights.
        files: names under which it is published, below checkpoints/VideoReTalking.
        purpose: what it does.
        without: what a run does without it; "" where it is needed if it is asked for at all.
        source: where to ask for it.
        extra: entries of the file that the network does not have are left out, as the authors do.
    """

    build: Callable[[], nn.Module]
    files: Sequence[str]
    purpose: str
    without: str = ""
    source: str = RELEASE
    extra: bool = False


def _s3fd() -> nn.Module:
    from talkingface.face.s3fd import FaceAlignmentS3FD

    return FaceAlignmentS3FD()


def _fan() -> nn.Module:
    from face_alignment.models import FAN

    return FAN(4)


HELPERS: Mapping[str, Helper] = {
    "gpen": Helper(Gpen, ["GPEN-BFR-512.pth"], "sharpens the redrawn heads", "references stay as soft as DNet draws them"),
    "gfpgan": Helper(Gfpgan, ["GFPGANv1.3.pth"], "restores mouths", "they stay as ENet paints them"),
    "parser": Helper(ParseNet, ["ParseNet-latest.pth"], "tells the parts of faces", "landmarks tell where a face ends"),
    "editor": Helper(ExpressionEditor, ["30_net_gen.pth"], "edits upper faces", extra=True),
    "retinaface": Helper(RetinaFace, ["RetinaFace-R50.pth"], "finds faces for GPEN"),
    "restoration_retinaface": Helper(
        RetinaFace,
        ["detection_Resnet50_Final.pth"],
        "finds faces for GFPGAN",
        source="https://github.com/xinntao/facexlib/releases",
    ),
    "s3fd": Helper(_s3fd, [Path(S3FD_URL).name, "s3fd.pth"], "finds faces", source=S3FD_URL),
    "recognizer": Helper(
        FaceRecognizer,
        ["recognition_arcface_ir_se50.pth"],
        "tells in training whether a face is still the same person's",
        source="https://github.com/xinntao/facexlib/releases/download/v0.1.0/recognition_arcface_ir_se50.pth",
    ),
    "fan": Helper(_fan, ["2DFAN4-cd938726ad.zip", Path(FAN_URL).name], "finds landmarks", source=FAN_URL),
}
EXPRESSIONS = "expression.mat"


class Shelf:
    """The folders where published files may lie.

    Args:
        folders: in the order in which they are searched.
    """

    def __init__(self, folders: Sequence[Path]):
        self.folders = list(dict.fromkeys(Path(folder) for folder in folders))

    def find(self, names: Sequence[str]) -> Path | None:
        """The first of these files that is there."""
        places = (folder / name for folder in self.folders for name in names)
        return next((place for place in places if place.is_file()), None)

    def network(self, name: str) -> nn.Module | None:
        """A helper with its published weights, in evaluation mode; None where its file is not there.

        Raises:
            CheckpointError: the file is damaged, or of another network.
        """
        helper = HELPERS[name]
        path = self.find(helper.files)
        if path is None:
            return None
        network = helper.build()
        state = read_weights(path).state
        if helper.extra:
            own = network.state_dict()
            state = {key: tensor for key, tensor in state.items() if key in own}
        load_weights(network, state, path, optional=(*OPTIONAL, "kernel"))
        log.info("%s: weights of %s", name, path)
        return network.eval().requires_grad_(False)

    def need(self, name: str, why: str) -> nn.Module:
        """A helper that must be there.

        Raises:
            MissingWeightsError: its file is not there.
            CheckpointError: as `network`.
        """
        network = self.network(name)
        if network is None:
            path, source = self.absent(HELPERS[name])
            raise MissingWeightsError(
                f"{path} does not exist, and {why} needs it: it {HELPERS[name].purpose}. Get it from {source}."
            )
        return network

    def absent(self, helper: Helper) -> tuple[Path, str]:
        """Where a helper's file should lie, and where it comes from."""
        return self.folders[0] / helper.files[0], helper.source

    # --- expressions ------------------------------------------------------------------------------------------------------

    def expression(self, name: str) -> np.ndarray | None:
        """(64,) a published expression, "center" or "mouth"; None where the file is not there.

        Raises:
            CheckpointError: the file is damaged, or holds something else.
        """
        path = self.find([EXPRESSIONS])
        if path is None:
            return None
        from scipy.io import loadmat
        from scipy.io.matlab import MatReadError

        try:
            content: dict[str, Any] = loadmat(path)
            return np.asarray(content[f"expression_{name}"], np.float32)[0, :NUM_EXPRESSION]
        except (OSError, ValueError, KeyError, IndexError, TypeError, NotImplementedError, MatReadError) as error:
            expected = "expression_center and expression_mouth, 64 numbers each"
            raise CheckpointError(f"{path} is damaged or another file: expected {expected} ({error}). Fetch it again.") from error


def hub_folder() -> Path:
    """Where face_alignment keeps its weights."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def check_dlib() -> None:
    """Refuse at the start what the authors' first detector would refuse later.

    Raises:
        FaceError: dlib or its weights are not installed.
    """
    from talkingface.face.landmarks import dlib_file

    path = dlib_file("shape_predictor_68_face_landmarks.dat")
    if not path.is_file():
        raise FaceError(f"{path} does not exist: install face_recognition_models again.")
