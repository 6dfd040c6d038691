"""The network of Deep3DFaceRecon (Deng et al., CVPRW 2019) that sees the coefficients of a 3D face model in a picture."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from talkingface.nn.weights import register_network

SIZES = (80, 64, 80, 3, 27, 2, 1)  # identity, expression, texture, angle, gamma, translation x and y, translation z
FEATURES = 2048


class CoefficientNetwork(nn.Module):
    """A ResNet-50 (torchvision's) without its classes, and one linear head for each kind of coefficients."""

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models import resnet50

        self.backbone = resnet50(weights=None)
        self.backbone.fc = nn.Identity()
        self.final_layers = nn.ModuleList(nn.Conv2d(FEATURES, size, 1) for size in SIZES)

    def forward(self, pictures: Tensor) -> Tensor:
        """(B, 3, 224, 224) RGB in [0, 1], aligned -> (B, 257): identity 80, expression 64, texture 80, angle 3, gamma 27,
        translation 3."""
        features = self.backbone(pictures)[:, :, None, None]
        return torch.cat([head(features) for head in self.final_layers], dim=1).flatten(1)


register_network("the 3DMM coefficient network of Deep3DFaceRecon (face3d_pretrain_epoch_20.pth)", CoefficientNetwork)
