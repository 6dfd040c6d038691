"""The lip-sync expert that Wav2Lip brought (Prajwal et al., 2020), which judges the mouths of several models in their training.

Pictures are BGR in [0, 1]. Published are 96 x 96 pixels and width 1.0.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from talkingface.errors import ConfigError
from talkingface.nn.conv import ConvBlock, residuals, scaled
from talkingface.nn.speech import LEAST, speech_encoder
from talkingface.nn.weights import register_network

LARGE, SMALL = 96, 48  # pixels: the published side, and that of networks for small worlds


def is_large(image_size: int) -> bool:
    """Whether faces have the published size.

    Raises:
        ConfigError: they have neither 96 nor 48 pixels.
    """
    if image_size not in (LARGE, SMALL):
        raise ConfigError(f"image_size: expected {LARGE} (published) or {SMALL} (small), got {image_size}.")
    return image_size == LARGE


# --- windows of frames --------------------------------------------------------------------------------------------------


def unit(frames: Tensor) -> Tensor:
    """(B, T, H, W, 3) uint8 -> (B, 3, T, H, W) in [0, 1]."""
    return frames.permute(0, 4, 1, 2, 3).to(torch.float32, memory_format=torch.contiguous_format).div_(255)


def on_channels(frames: Tensor) -> Tensor:
    """(B, 3, T, H, W) -> (B, 3 T, H, W), frame after frame: what the expert looks at."""
    return frames.transpose(1, 2).flatten(1, 2)


def lower_half(frames: Tensor) -> Tensor:
    """The rows from the middle down: what the expert looks at."""
    return frames[..., frames.shape[-2] // 2 :, :]


def masked(frames: Tensor) -> Tensor:
    """The frames (..., H, W) with black lower halves: what generators that repaint a mouth are shown."""
    half = frames.shape[-2] // 2
    return torch.cat((frames[..., :half, :], torch.zeros_like(frames[..., half:, :])), dim=-2)


def mouth(faces: Tensor) -> Tensor:
    """The part of faces (..., H, W) where their mouths are."""
    height, width = faces.shape[-2:]
    return faces[..., round(0.6 * height) : round(0.95 * height), round(0.2 * width) : round(0.8 * width)]


# --- the network --------------------------------------------------------------------------------------------------------


class SyncExpert(nn.Module):
    """Do these five mouths belong to this speech? (The authors' SyncNet_color.)"""

    def __init__(self, width: float = 1.0, image_size: int = LARGE):
        super().__init__()
        large = is_large(image_size)
        self.image_size = image_size
        c32, c64, c128, c256, c512 = (scaled(c, width, LEAST) for c in (32, 64, 128, 256, 512))
        self.face_encoder = nn.Sequential(
            ConvBlock(15, c32, 7, 1, 3),
            ConvBlock(c32, c64, 5, (1, 2), 1),
            *residuals(c64, 2),
            ConvBlock(c64, c128, 3, 2),
            *residuals(c128, 3),
            ConvBlock(c128, c256, 3, 2),
            *residuals(c256, 2),
            ConvBlock(c256, c512, 3, 2),
            *residuals(c512, 2),
            *([ConvBlock(c512, c512, 3, 2)] if large else []),
            ConvBlock(c512, c512, 3, 1, 0),
            ConvBlock(c512, c512, 1, 1, 0),
        )
        self.audio_encoder = speech_encoder(width, deep=2)

    def forward(self, mel: Tensor, mouths: Tensor) -> tuple[Tensor, Tensor]:
        """Embed both.

        Args:
            mel: (B, 1, 80, 16).
            mouths: (B, 15, 48, 96): the lower halves of five frames, frame after frame on the channels.

        Returns:
            (B, 512 width) of the speech and of the mouths, of length 1 and nowhere negative: cosines are in [0, 1].
        """
        speech, face = self.audio_encoder(mel), self.face_encoder(mouths)
        return F.normalize(speech.flatten(1)), F.normalize(face.flatten(1))


def agreement(expert: SyncExpert, mel: Tensor, mouths: Tensor) -> Tensor:
    """(B,) cosines in [0, 1] of speech (B, 1, 80, 16) and mouths (B, 15, 48, 96): the expert's probability of sync."""
    speech, face = expert(mel, mouths)
    return F.cosine_similarity(speech.float(), face.float())


def sync_loss(expert: SyncExpert, mel: Tensor, painted: Tensor, of_batch: bool = False) -> Tensor:
    """Cross entropy of the expert's cosine with "in sync".

    Args:
        mel: (B, 1, 80, 16) of the first frame.
        painted: (B, 3, 5, S, S) faces of the expert's size.
        of_batch: the expert's batch norms use the batch's statistics, if it is more than one window; else what they learnt.
    """
    with batch_statistics(expert, of_batch and len(mel) > 1):
        return bce(agreement(expert, mel, on_channels(lower_half(painted))), 1.0)


def bce(probability: Tensor, truth: Tensor | float) -> Tensor:
    """Binary cross entropy of probabilities, in full precision."""
    with torch.autocast(probability.device.type, enabled=False):
        probability = probability.float().clamp(0, 1)
        target = truth if isinstance(truth, Tensor) else torch.full_like(probability, truth)
        return F.binary_cross_entropy(probability, target)


@contextmanager
def batch_statistics(network: nn.Module, on: bool) -> Iterator[None]:
    """While this lasts, batch norms use the statistics of the batch, and keep those that they have learnt."""
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)] if on else []
    before = [(norm.training, norm.track_running_stats) for norm in norms]
    try:
        for norm in norms:
            norm.training, norm.track_running_stats = True, False
        yield
    finally:
        for norm, (training, tracking) in zip(norms, before, strict=True):
            norm.training, norm.track_running_stats = training, tracking


register_network("the lip-sync expert of Wav2Lip (lipsync_expert.pth)", SyncExpert)
