"""SyncNet as a model that can be trained and judged; it generates nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from talkingface.dataset.base import Clip
from talkingface.errors import ConfigError
from talkingface.model.base import Model
from talkingface.model.stage import Stage
from talkingface.model.syncnet import data
from talkingface.model.syncnet.networks import SyncNet
from talkingface.model.syncnet.stages import ContrastiveStage
from talkingface.registry import MODELS


@MODELS.register("SyncNet")
class SyncNetModel(Model):
    """Tells whether lips and speech belong together, and by how many frames they are apart (Chung and Zisserman, 2016).

    Its weights, `weights/syncnet.safetensors` of a run, are a judge that --DemoLSE.weights=FILE takes.

    Args:
        width: factor of the inner channel counts; 1.0 is the published network.
        image_size: side of the frames, pixels, at least 96; the published network takes 224.
        embedding: length of an embedding; 1024 in the published network.
        crop: the part of a frame that is looked at: top, bottom, left, right, as shares of its sides; published: all of it.
    """

    files: ClassVar[Mapping[str, str]] = {"syncnet": "syncnet_v2.model"}
    folders: ClassVar[Sequence[str]] = ("SyncNet", "LSE")
    stages: ClassVar[Mapping[str, type[Stage]]] = {"contrastive": ContrastiveStage}

    def __init__(
        self, width: float = 1.0, image_size: int = 224, embedding: int = 1024, crop: Sequence[float] = (0.0, 1.0, 0.0, 1.0)
    ):
        super().__init__()
        top, bottom, left, right = crop if len(crop) == 4 else (1.0, 0.0, 1.0, 0.0)
        if not (0 <= top < bottom <= 1 and 0 <= left < right <= 1):
            raise ConfigError(f"SyncNet.crop: expected top < bottom and left < right, from 0 to 1, got {list(crop)}.")
        self.width, self.image_size, self.embedding, self.crop = width, image_size, embedding, list(crop)
        self.syncnet = SyncNet(width, image_size, embedding, crop)

    def sizes(self) -> dict[str, Any]:
        return {"width": self.width, "image_size": self.image_size, "embedding": self.embedding, "crop": self.crop}

    def preparation(self) -> dict[str, Any]:
        return {"features": 1, "image_size": self.image_size, "crop": self.crop, "fps": data.FPS}

    def prepare(self, clip: Clip, folder: Path) -> None:
        data.prepare(clip, folder, self.syncnet)
