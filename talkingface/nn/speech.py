"""What models that hear windows of 16 mel columns share: Wav2Lip's speech encoder, and how a window's frames lie in a batch."""

from __future__ import annotations

from torch import Tensor, nn

from talkingface.nn.conv import ConvBlock, residuals, scaled

LEAST = 16  # channels of a narrow network: fewer could not carry a picture past the first layer


def speech_encoder(width: float, deep: int) -> nn.Sequential:
    """(B, 1, 80, 16) mel windows -> (B, 512 width, 1, 1).

    Args:
        deep: residual blocks at 256 channels: the only difference between the encoders of generators (1) and of Wav2Lip's
            expert (2).
    """
    c32, c64, c128, c256, c512 = (scaled(c, width, LEAST) for c in (32, 64, 128, 256, 512))
    return nn.Sequential(
        ConvBlock(1, c32),
        *residuals(c32, 2),
        ConvBlock(c32, c64, 3, (3, 1)),
        *residuals(c64, 2),
        ConvBlock(c64, c128, 3, 3),
        *residuals(c128, 2),
        ConvBlock(c128, c256, 3, (3, 2)),
        *residuals(c256, deep),
        ConvBlock(c256, c512, 3, 1, 0),
        ConvBlock(c512, c512, 1, 1, 0),
    )


def time_to_batch(x: Tensor) -> Tensor:
    """(B, C, T, H, W) -> (T B, C, H, W), all samples of the first frame before those of the second."""
    return x.transpose(1, 2).transpose(0, 1).flatten(0, 1)


def batch_to_time(x: Tensor, frames: int) -> Tensor:
    """The way back: (T B, C, H, W) -> (B, C, T, H, W)."""
    return x.unflatten(0, (frames, -1)).permute(1, 2, 0, 3, 4)


def windows_to_batch(mel: Tensor) -> Tensor:
    """(B, T, 1, 80, 16), one window per frame -> (T B, 1, 80, 16), in the order of `time_to_batch`."""
    return mel.transpose(0, 1).flatten(0, 1)
