"""Parts of StyleGAN2 (Karras et al., CVPR 2020): layers whose weights are scaled when they are used or modulated by a style."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GAIN = math.sqrt(2)  # of an activation, so that it keeps the variance
SLOPE = 0.2  # of the leaky ReLU
BLUR = (1.0, 3.0, 3.0, 1.0)


class EqualLinear(nn.Module):
    """A linear layer whose weights have unit variance and are scaled when used, so that all learn at the same rate.

    Args:
        bias: what the bias starts at.
        rate: factor of the learning rate, of weights and bias.
        activate: follow it by the leaky ReLU and its gain.
        equalized: False starts from scaled weights and leaves them alone.
    """

    def __init__(
        self, inputs: int, outputs: int, bias: float = 0.0, rate: float = 1.0, activate: bool = False, equalized: bool = True
    ):
        super().__init__()
        scale = 1 / math.sqrt(inputs)
        self.scale, self.rate, self.activate = (scale * rate if equalized else 1.0), rate, activate
        self.weight = nn.Parameter(torch.randn(outputs, inputs) * (1 / rate if equalized else scale))
        self.bias = nn.Parameter(torch.full((outputs,), bias))

    def forward(self, x: Tensor) -> Tensor:
        y = F.linear(x, self.weight * self.scale, self.bias * self.rate)
        return F.leaky_relu(y, SLOPE) * GAIN if self.activate else y


class EqualConv(nn.Module):
    """A convolution without bias whose weights have unit variance and are scaled when used."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.scale, self.stride, self.padding = 1 / math.sqrt(inputs * kernel**2), stride, padding

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.scale, stride=self.stride, padding=self.padding)


class PixelNorm(nn.Module):
    """Divides each code by its root mean square."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + 1e-8)


class Resample(nn.Module):
    """Convolves each channel with the blur kernel 1 3 3 1.

    Args:
        padding: zeros before and after each axis.
        insert: put a zero behind each value first, which doubles the size.
        gain: sum of the kernel; 4 makes up for inserted zeros.
    """

    def __init__(self, padding: tuple[int, int], insert: bool = False, gain: float = 4.0):
        super().__init__()
        row = torch.tensor(BLUR)
        self.kernel: Tensor
        self.register_buffer("kernel", torch.outer(row, row) / row.sum() ** 2 * gain)
        self.padding, self.insert = padding, insert

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        kernel = self.kernel.to(x.dtype).expand(channels, 1, 4, 4)
        if not self.insert:
            return F.conv2d(F.pad(x, self.padding * 2), kernel, groups=channels)
        before, after = self.padding  # a transposed convolution inserts the zeros; what it pads too much is cut off
        y = F.conv_transpose2d(x, kernel, stride=2, groups=channels)
        return y[..., 3 - before : y.shape[-2] - 3 + after + 1, 3 - before : y.shape[-1] - 3 + after + 1]


class ModulatedConv(nn.Module):
    """A convolution whose input channels are scaled by the style, and whose outputs are brought back to unit variance.

    One convolution serves the whole batch: activations are scaled by the style before it and by the demodulation after it,
    which gives what weights of each sample's own would give.

    Args:
        style: numbers of a style.
        up: how the size is doubled: "blur", a transposed convolution and a blur (StyleGAN2's own); "bilinear", before the
            convolution (the "clean" form of GFPGAN's authors); "" keeps it.
        equalized: weights have unit variance and are scaled when used.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, style: int, demodulate: bool = True, up: str = "", equalized: bool = True
    ):
        super().__init__()
        scale = 1 / math.sqrt(inputs * kernel**2)
        self.weight = nn.Parameter(torch.randn(1, outputs, inputs, kernel, kernel) * (1.0 if equalized else scale))
        self.modulation = EqualLinear(style, inputs, bias=1.0, equalized=equalized)
        self.scale, self.demodulate, self.padding, self.up = (scale if equalized else 1.0), demodulate, kernel // 2, up
        self.blur = Resample((1, 1)) if up == "blur" else None

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """(B, inputs, H, W) and styles (B, style) -> (B, outputs, H, W), or of twice the size with `up`."""
        return self.convolve(x, self.modulation(style))

    def convolve(self, x: Tensor, factors: Tensor) -> Tensor:
        """The same with the factors (B, inputs) that `modulation` makes from a style."""
        weight = self.weight[0] * self.scale
        x = x * factors[:, :, None, None].to(x.dtype)
        if self.up == "bilinear":
            x = double(x)
        if self.up == "blur":
            y = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
        else:
            y = F.conv2d(x, weight, padding=self.padding)
        if self.demodulate:
            y = y * self.demodulation(weight, factors)[:, :, None, None].to(y.dtype)
        return y if self.blur is None else self.blur(y)

    @staticmethod
    def demodulation(weight: Tensor, factors: Tensor) -> Tensor:
        """(B, outputs): 1 / the norm of each output's modulated weights."""
        with torch.autocast(weight.device.type, enabled=False):
            squares = weight.float().square().sum(dim=(2, 3))
            return torch.rsqrt(factors.float().square() @ squares.T + 1e-8)


class Noise(nn.Module):
    """Adds a noise map, scaled by a learned number that starts at 0.

    Args:
        append: put it beside the features instead of adding it.
    """

    def __init__(self, append: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.append = append

    def forward(self, x: Tensor, noise: Tensor | None) -> Tensor:
        if noise is None:
            return x
        noise = self.weight * noise
        return torch.cat((x, noise.to(x.dtype)), dim=1) if self.append else x + noise


class Activation(nn.Module):
    """Bias, leaky ReLU and its gain.

    Args:
        flat: keep the bias as (C,), as the authors do, not as (1, C, 1, 1), as SPADE does.
    """

    def __init__(self, channels: int, flat: bool = True):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels) if flat else torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x + self.bias.view(1, -1, 1, 1), SLOPE) * GAIN


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to three channels, added to the picture of the size before, enlarged by zeros and a blur."""

    def __init__(self, inputs: int, style: int, up: bool = True):
        super().__init__()
        self.conv = ModulatedConv(inputs, 3, 1, style, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))
        self.upsample = Resample((2, 1), insert=True) if up else None

    def forward(self, x: Tensor, style: Tensor, before: Tensor | None = None) -> Tensor:
        picture = self.conv(x, style) + self.bias
        return picture if before is None or self.upsample is None else picture + self.upsample(before)


class ConstantStart(nn.Module):
    """The map from which a generator starts.

    Args:
        learned: False keeps it as it is drawn: a generator that is always given another start.
    """

    def __init__(self, channels: int, side: int = 4, learned: bool = True):
        super().__init__()
        drawn = torch.randn(1, channels, side, side)
        self.input: Tensor
        if learned:
            self.input = nn.Parameter(drawn)
        else:
            self.register_buffer("input", drawn)

    def forward(self, count: int) -> Tensor:
        return self.input.expand(count, -1, -1, -1)


def double(x: Tensor) -> Tensor:
    """Twice the size, bilinear."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
