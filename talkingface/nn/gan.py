"""Adversaries: a patch discriminator on several scales with spectral norm, the hinge losses, and feature matching; StyleGAN2's
discriminator, the non-saturating losses, and the penalty of its gradient."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import spectral_norm

from talkingface.nn.conv import scaled
from talkingface.nn.init import xavier_init
from talkingface.nn.stylegan2 import Activation, EqualConv, EqualLinear, Resample

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


# --- StyleGAN2 ----------------------------------------------------------------------------------------------------------

SMALLEST = 7  # pixels: a picture is halved as long as its side is even and not below this
NARROWEST, WIDEST = 16, 512  # channels


class StyleConv(nn.Sequential):
    """A convolution with scaled weights, a bias and a leaky ReLU; `down` blurs first and takes every second pixel."""

    def __init__(self, inputs: int, outputs: int, kernel: int, down: bool = False, activate: bool = True):
        border = kernel // 2
        blur = [Resample((border + 1, border + 1), gain=1.0)] if down else []
        conv = EqualConv(inputs, outputs, kernel, 2 if down else 1, 0 if down else border)
        super().__init__(*blur, conv, *([Activation(outputs)] if activate else []))


class StyleBlock(nn.Module):
    """Two convolutions that halve the picture, and a shortcut."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv1, self.conv2 = StyleConv(inputs, inputs, 3), StyleConv(inputs, outputs, 3, down=True)
        self.skip = StyleConv(inputs, outputs, 1, down=True, activate=False)

    def forward(self, x: Tensor) -> Tensor:
        return (self.conv2(self.conv1(x)) + self.skip(x)) / math.sqrt(2)


class StyleDiscriminator(nn.Module):
    """Judges whole pictures (Karras et al., CVPR 2020), with the channels that GFPGAN's authors give it.

    Args:
        side: of the pictures, pixels; it need not be a power of 2.
        width: factor of the channel counts; 1 = published.
    """

    def __init__(self, side: int, width: float = 1.0):
        super().__init__()
        sides = [side]
        while sides[-1] >= SMALLEST and sides[-1] % 2 == 0:
            sides.append(sides[-1] // 2)
        channels = [scaled(style_channels(size), width, NARROWEST) for size in sides]
        self.first = StyleConv(3, channels[0], 1)
        self.blocks = nn.Sequential(*(StyleBlock(*pair) for pair in zip(channels, channels[1:], strict=False)))
        self.last = StyleConv(channels[-1] + 1, channels[-1], 3)
        hidden = EqualLinear(channels[-1] * sides[-1] ** 2, channels[-1], activate=True)
        self.score = nn.Sequential(hidden, EqualLinear(channels[-1], 1))

    def forward(self, pictures: Tensor) -> Tensor:
        """(B, 3, S, S) in [-1, 1] -> (B, 1) scores."""
        x = self.blocks(self.first(pictures))
        return self.score(self.last(torch.cat((x, batch_deviation(x)), dim=1)).flatten(1))


def style_channels(side: int) -> int:
    """Channels at a size: 32 at 512 pixels, twice as many at half the size, never more than 512."""
    return min(WIDEST, 1 << (16384 // side).bit_length() - 1)


def batch_deviation(x: Tensor, group: int = 4) -> Tensor:
    """(B, 1, H, W): how much pictures differ within groups of four of the batch, so that sameness is found out."""
    size = next(size for size in range(min(group, len(x)), 0, -1) if len(x) % size == 0)
    groups = x.float().unflatten(0, (size, -1))
    deviation = (groups.var(dim=0, unbiased=False) + 1e-8).sqrt().mean(dim=(1, 2, 3))
    return deviation.repeat(size)[:, None, None, None].expand(-1, 1, *x.shape[2:]).to(x.dtype)


def logistic_real(scores: Tensor) -> Tensor:
    """The loss of a score that should be high: log(1 + exp(-score)), mean."""
    return F.softplus(-scores.float()).mean()


def logistic_fake(scores: Tensor) -> Tensor:
    """The loss of a score that should be low: log(1 + exp(score)), mean."""
    return F.softplus(scores.float()).mean()


class GradientPenalty(nn.Module):
    """R1: half the squared gradient of a discriminator's scores on real pictures (Mescheder et al., ICML 2018), now and then.

    It is a part of what the discriminator's group trains, so that a resumed training knows when the next one is due.

    Args:
        every: updates from one to the next; each counts so many times.
    """

    def __init__(self, every: int = 16):
        super().__init__()
        self.every = every
        self.calls: Tensor
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, discriminator: nn.Module, real: Tensor) -> Tensor:
        """Of pictures (B, 3, S, S); 0 in between, and outside of training."""
        if not self.training:
            return real.new_zeros(())
        due = int(self.calls) % self.every == 0
        self.calls += 1
        if not due:
            return real.new_zeros(())
        with torch.autocast(real.device.type, enabled=False), torch.enable_grad():
            pictures = real.detach().float().requires_grad_()
            (gradient,) = torch.autograd.grad(discriminator(pictures).sum(), pictures, create_graph=True)
            return self.every * gradient.square().sum(dim=(1, 2, 3)).mean() / 2
