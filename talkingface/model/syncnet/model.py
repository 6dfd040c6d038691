"""SyncNet as a model that can be trained and judged; it generates nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from talkingface.dataset.base import Clip
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
    """

    files: ClassVar[Mapping[str, str]] = {"syncnet": "syncnet_v2.model"}
    folders: ClassVar[Sequence[str]] = ("SyncNet", "LSE")
    stages: ClassVar[Mapping[str, type[Stage]]] = {"contrastive": ContrastiveStage}

    def __init__(self, width: float = 1.0, image_size: int = 224, embedding: int = 1024):
        super().__init__()
        self.width, self.image_size, self.embedding = width, image_size, embedding
        self.syncnet = SyncNet(width, image_size, embedding)

    def sizes(self) -> dict[str, Any]:
        return {"width": self.width, "image_size": self.image_size, "embedding": self.embedding}

    def preparation(self) -> dict[str, Any]:
        return {"features": 1, "image_size": self.image_size, "fps": data.FPS}

    def prepare(self, clip: Clip, folder: Path) -> None:
        data.prepare(clip, folder, self.image_size)
