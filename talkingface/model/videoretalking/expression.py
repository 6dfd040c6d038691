"""Which expression all heads are redrawn with: a published one, or that of a picture."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from torch import nn

from talkingface.errors import ConfigError, MissingWeightsError
from talkingface.face.finder import FaceFinder
from talkingface.media.image import SUFFIXES, is_image
from talkingface.media.video import Video
from talkingface.model.videoretalking.coefficients import landmark_coefficients, network_coefficients
from talkingface.model.videoretalking.geometry import EXPRESSION, NUM_EXPRESSION
from talkingface.model.videoretalking.helpers import EXPRESSIONS, RELEASE, Shelf

log = logging.getLogger(__name__)

PUBLISHED = {"neutral": "center", "smile": "mouth"}


def chosen_expression(name: str, shelf: Shelf, network: nn.Module | None, finder: FaceFinder) -> np.ndarray:
    """(64,) the expression that `exp_img` names.

    Args:
        name: "neutral", "smile", or a picture's path.
        network: that sees coefficients; None takes them from landmarks.

    Raises:
        ConfigError: the name is none of these, or a smile is asked for where coefficients are from landmarks.
        MissingWeightsError: a smile is asked for, and the file that knows it is not there.
        FaceError: there is no face in the picture.
    """
    if name not in PUBLISHED:
        return expression_of(Path(name).expanduser(), network, finder)
    known = shelf.expression(PUBLISHED[name]) if network is not None else None
    if known is not None:
        return known
    if name != "neutral" and network is None:
        raise ConfigError(
            f"VideoReTalking.exp_img={name} is known in the coefficient network's numbers; give a picture that shows it."
        )
    if name != "neutral":
        raise MissingWeightsError(
            f"{shelf.folders[0] / EXPRESSIONS} does not exist, and exp_img={name} needs it. Get it from {RELEASE}."
        )
    if network is not None:
        log.warning("%s is not in %s: heads wear the mean face's expression, all zeros.", EXPRESSIONS, shelf.folders[0])
    return np.zeros(NUM_EXPRESSION, np.float32)


def expression_of(picture: Path, network: nn.Module | None, finder: FaceFinder) -> np.ndarray:
    """(64,) the expression of the face in a picture."""
    if not (picture.is_file() and is_image(picture)):
        known = ", ".join(PUBLISHED)
        raise ConfigError(f"VideoReTalking.exp_img: expected {known} or a picture ({' '.join(SUFFIXES)}), got {str(picture)!r}.")
    still = Video(picture)
    landmarks = [*finder.landmarks(still).landmarks[:1].astype(np.float64)]
    if network is None:
        rows = landmark_coefficients(landmarks, still.width)
    else:
        rows = network_coefficients(network, [next(iter(still))], landmarks)
    return rows[0, EXPRESSION]
