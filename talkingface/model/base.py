"""Model: networks under the authors' names. TalkingFace: a model that turns a clip into frames."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import nn

from talkingface.dataset.base import Clip
from talkingface.face.finder import FaceFinder
from talkingface.model.stage import Stage


class Frame(NamedTuple):
    """One generated frame.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        note: why this frame is the input's own, untouched; "" for a generated one.
    """

    image: np.ndarray
    note: str = ""


class Model(nn.Module):
    """Networks, the files they are published in, and the stages that train them.

    Attributes:
        files: network (an attribute of the model) -> its published file below checkpoints/<Model>/.
        stages: name -> Stage class, in training order.
        faces: how faces are found; the run puts its own configured finder here.
    """

    files: ClassVar[Mapping[str, str]] = {}
    stages: ClassVar[Mapping[str, type[Stage]]] = {}

    def __init__(self) -> None:
        super().__init__()
        self.faces = FaceFinder()

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(self.parameters()).device

    def preparation(self) -> dict[str, Any]:
        """The settings that change what `prepare` writes; another value means another folder of features."""
        return {}

    def prepare(self, clip: Clip, folder: Path) -> None:
        """Write the features of one clip, once, into an empty folder.

        Raises:
            MediaError: the clip cannot be used; it is set aside with this reason.
        """


class TalkingFace(Model):
    """A model that makes a face speak."""

    @abstractmethod
    def generate(self, clip: Clip) -> Iterator[Frame]:
        """The frames of the talking face, one by one, however long the clip is.

        Raises:
            MediaError: the face or the audio cannot be used.
        """

    def frame_rate(self, clip: Clip) -> float:
        """Frames per second of what `generate` yields: the face video's own, 25 for a still."""
        from talkingface.media.video import Video

        video = Video(clip.face)
        return 25.0 if video.is_still else video.fps
