"""RetinaFace with a ResNet-50 (Deng et al., CVPR 2020): faces and five points of each. The layers are facexlib's."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import torch
from torch import Tensor

from talkingface.model.videoretalking.networks.library import Adopted
from talkingface.nn.weights import register_network


class Seen(NamedTuple):
    """What RetinaFace says of its P cells: two for each place of the maps of 1/8, 1/16 and 1/32 of the size, in that order.

    Attributes:
        offsets: (B, P, 4) of the face's box from the cell's own, in variances.
        scores: (B, P, 2) probabilities of background and face.
        points: (B, P, 10) offsets of the five points, x before y.
    """

    offsets: Tensor
    scores: Tensor
    points: Tensor


class RetinaFace(Adopted):
    """The network alone. GPEN's RetinaFace-R50.pth and facexlib's detection_Resnet50_Final.pth both fit it."""

    def __init__(self) -> None:
        from facexlib.detection.retinaface import RetinaFace as Published

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*(pretrained|weight enum).*", category=UserWarning)
            super().__init__(Published(network_name="resnet50", device=torch.get_default_device()))

    def forward(self, pictures: Tensor) -> Seen:
        """(B, 3, H, W) BGR in [0, 255] less the means (104, 117, 123)."""
        pyramid = self.fpn(list(self.body(pictures).values()))
        levels = [context(level) for context, level in zip((self.ssh1, self.ssh2, self.ssh3), pyramid, strict=True)]
        offsets, logits, points = (
            torch.cat([head(level) for head, level in zip(heads, levels, strict=True)], dim=1)
            for heads in (self.BboxHead, self.ClassHead, self.LandmarkHead)
        )
        return Seen(offsets, logits.softmax(dim=-1), points)


register_network("the face detector RetinaFace (RetinaFace-R50.pth, detection_Resnet50_Final.pth)", RetinaFace)
