"""LPIPS: how different each frame looks from the real one to a network."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from talkingface.errors import CheckpointError, ConfigError
from talkingface.media.files import content_hash
from talkingface.metric.base import Column, Watch
from talkingface.metric.screening import Screening
from talkingface.metric.similarity import FrameMetric
from talkingface.nn.torchvision_files import Published, find_file
from talkingface.nn.weights import read_weights
from talkingface.registry import METRICS

BACKBONES = {"alex": Published("alexnet-owt-7be5be79.pth", 233), "vgg": Published("vgg16-397923af.pth", 528)}


@METRICS.register("LPIPS")
class LPIPS(FrameMetric):
    """Learned perceptual image patch similarity (Zhang et al., 2018), version 0.1, mean over frames. 0 is equal.

    The package lpips brings the learned weights of the distance; torchvision's weights of the network under it are a file.

    Args:
        network: "alex" (what most papers report) or "vgg".
        weights: torchvision's file of the network, or its folder; "" = torchvision's cache. Nothing is fetched.
    """

    columns: ClassVar[Mapping[str, Column]] = {"LPIPS": Column(False, 0.0, math.inf)}

    def __init__(self, network: str = "alex", weights: Path | str = ""):
        if network not in BACKBONES:
            raise ConfigError(f"LPIPS.network: expected {' or '.join(BACKBONES)}, got {network!r}.")
        self.backbone, self.weights = network, weights

    def watch(self, screening: Screening) -> Watch:
        self.file()
        return super().watch(screening)

    def file(self) -> Path:
        """torchvision's file.

        Raises:
            MissingWeightsError: it is not there.
        """
        return find_file(BACKBONES[self.backbone], self.weights, "Put it there, or set --LPIPS.weights=FILE.")

    @cached_property
    def distance(self) -> nn.Module:
        """The frozen distance."""
        import lpips

        module = lpips.LPIPS(net=self.backbone, pnet_rand=True, verbose=False)
        path = self.file()
        layers = {name.partition(".")[2]: name for name in module.net.state_dict()}  # "0.weight" -> "slice1.0.weight"
        stored = {k.removeprefix("features."): v for k, v in read_weights(path).state.items() if k.startswith("features.")}
        wanted = {layers[name]: value for name, value in stored.items() if name in layers}
        if len(wanted) < len(layers):
            raise CheckpointError(
                f"{path} is not torchvision's {BACKBONES[self.backbone].name}: it has {len(wanted)} of its layers."
            )
        module.net.load_state_dict(wanted)
        return module.eval().requires_grad_(False)

    @torch.no_grad()
    def compare(self, frame: np.ndarray, real: np.ndarray) -> float:
        pair = [torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 127.5 - 1 for picture in (frame, real)]
        return float(self.distance(*pair))

    def protocol(self) -> dict[str, Any]:
        try:
            network: str | None = content_hash(self.file())
        except CheckpointError:
            network = None
        return {**super().protocol(), "lpips": "0.1", "network": self.backbone, "weights_hash": network}
