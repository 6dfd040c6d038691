"""ArcFace (Deng et al., CVPR 2019) that tells whether two faces are one person's. The layers are facexlib's."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from talkingface.model.videoretalking.networks.library import Adopted
from talkingface.nn.weights import register_network

SIDE = 112  # pixels


class FaceRecognizer(Adopted):
    """A ResNet-50 with squeeze and excitation; the published file is recognition_arcface_ir_se50.pth."""

    def __init__(self) -> None:
        from facexlib.recognition.arcface_arch import Backbone

        super().__init__(Backbone(num_layers=50, drop_ratio=0.6, mode="ir_se"))

    def forward(self, faces: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in [-1, 1] -> (B, 512) of length 1."""
        small = F.interpolate(faces, (SIDE, SIDE), mode="bilinear", align_corners=False)
        return F.normalize(self.output_layer(self.body(self.input_layer(small))).float())


register_network("the face recognizer ArcFace of facexlib (recognition_arcface_ir_se50.pth)", FaceRecognizer)
