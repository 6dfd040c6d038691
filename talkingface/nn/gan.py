"""Adversaries: a patch discriminator on several scales with spectral norm, the hinge losses, and feature matching."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import spectral_norm

from talkingface.nn.conv import scaled
from talkingface.nn.init import xavier_init

Answers = list[list[Tensor]]
"""Of a discriminator: per scale the picture that it saw, the features of each layer, and last the scores."""


class PatchDiscriminator(nn.Module):
    """Judges overlapping patches of a picture (Isola et al., CVPR 2017), under the names that SPADE and PC-AVS give it.

    All convolutions are 4 x 4. The norms of the inner ones are torch's own hook of old: entries `weight_orig`, `weight_u`
    and `weight_v`; each forward pass in training mode is one power iteration.

    Args:
        channels: of the first layer; each later one has twice as many, at most eight times the first's.
        num_layers: before the scores; all but the last halve the picture.
    """

    def __init__(self, channels: int = 64, num_layers: int = 4, inputs: int = 3):
        super().__init__()
        self.num_layers = num_layers
        self.model0 = nn.Sequential(xavier_init(nn.Conv2d(inputs, channels, 4, 2, 2)), nn.LeakyReLU(0.2))
        width = channels
        for layer in range(1, num_layers):
            before, width = width, min(2 * width, 8 * channels)
            stride = 1 if layer == num_layers - 1 else 2
            conv = spectral_norm(xavier_init(nn.Conv2d(before, width, 4, stride, 2, bias=False)))
            self.add_module(f"model{layer}", nn.Sequential(nn.Sequential(conv, nn.InstanceNorm2d(width)), nn.LeakyReLU(0.2)))
        self.add_module(f"model{num_layers}", nn.Sequential(xavier_init(nn.Conv2d(width, 1, 4, 1, 2))))

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """(B, 3, H, W) in [-1, 1] -> the pictures, `num_layers` feature maps, the scores (B, 1, h, w)."""
        answers = [pictures]
        for layer in range(self.num_layers + 1):
            answers.append(getattr(self, f"model{layer}")(answers[-1]))
        return answers


class MultiscaleDiscriminator(nn.Module):
    """Patch discriminators of the picture, of the picture at half the size, and so on (Wang et al., CVPR 2018).

    Args:
        width: factor of the channel counts; 1 = published.
        num_scales: how many discriminators.
        num_layers: of each, before the scores.
        channels: of the first layer at width 1.
    """

    def __init__(self, width: float = 1.0, num_scales: int = 2, num_layers: int = 4, channels: int = 64):
        super().__init__()
        self.num_scales = num_scales
        for scale in range(num_scales):
            self.add_module(f"discriminator_{scale}", PatchDiscriminator(scaled(channels, width), num_layers))

    def forward(self, pictures: Tensor) -> Answers:
        """(B, 3, H, W) in [-1, 1] -> per scale the pictures that it saw, features, scores."""
        answers = []
        for scale in range(self.num_scales):
            if scale:
                pictures = F.avg_pool2d(pictures, 3, 2, 1, count_include_pad=False)
            answers.append(getattr(self, f"discriminator_{scale}")(pictures))
        return answers


def parts(answers: Answers, count: int) -> list[Answers]:
    """The answers for a batch of `count` equal parts, part by part: one pass may judge real and painted pictures."""
    split = [[answer.chunk(count) for answer in scale] for scale in answers]
    return [[[answer[part] for answer in scale] for scale in split] for part in range(count)]


def scores(answers: Answers) -> list[Tensor]:
    """The scores of each scale."""
    return [scale[-1] for scale in answers]


def hinge_real(scores: Sequence[Tensor]) -> Tensor:
    """The discriminator's loss on real pictures: max(0, 1 - score), mean over patches and over scales."""
    return torch.stack([F.relu(1 - score.float()).mean() for score in scores]).mean()


def hinge_fake(scores: Sequence[Tensor]) -> Tensor:
    """The discriminator's loss on generated pictures: max(0, 1 + score), mean over patches and over scales."""
    return torch.stack([F.relu(1 + score.float()).mean() for score in scores]).mean()


def hinge_generator(scores: Sequence[Tensor]) -> Tensor:
    """The generator's loss: minus the score, mean over patches and over scales."""
    return -torch.stack([score.float().mean() for score in scores]).mean()


def feature_distances(fake: Answers, real: Answers) -> tuple[Tensor, Tensor]:
    """Mean absolute differences of the pictures and of all features, each as the sum over layers and the mean over scales.

    Returns:
        The pictures' distance, which is an L1 reconstruction loss; the features', which is the feature matching of pix2pixHD.
    """
    distances = [
        torch.stack([F.l1_loss(one.float(), other.detach().float()) for one, other in zip(ours[:-1], theirs[:-1], strict=True)])
        for ours, theirs in zip(fake, real, strict=True)
    ]
    per_layer = torch.stack(distances).mean(0)
    return per_layer[0], per_layer[1:].sum()
