"""The networks of Wav2Lip (Prajwal et al., 2020) under the authors' parameter names.

Pictures are BGR in [0, 1]. Published are 96 x 96 pixels and width 1.0; `width` multiplies every inner channel count, and
networks for 48 x 48 pixels leave out one level, for small worlds on small machines.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from talkingface.nn.conv import ConvBlock, LeakyBlock, UpBlock, residuals, scaled
from talkingface.nn.speech import LEAST, batch_to_time, speech_encoder, time_to_batch, windows_to_batch
from talkingface.nn.sync_expert import is_large, lower_half
from talkingface.nn.weights import register_network


class Generator(nn.Module):
    """Paints the lower half of a face so that it says what is heard: one frame at a time."""

    def __init__(self, width: float = 1.0, image_size: int = 96):
        super().__init__()
        large = is_large(image_size)
        self.image_size = image_size
        c16, c32, c64, c128, c256, c512 = (scaled(c, width, LEAST) for c in (16, 32, 64, 128, 256, 512))
        c80, c160, c320, c384 = c64 + c16, c128 + c32, c256 + c64, scaled(384, width, LEAST)
        down: list[list[nn.Module]] = [
            [ConvBlock(6, c16, 7, 1, 3)],
            [ConvBlock(c16, c32, 3, 2), *residuals(c32, 2)],
            [ConvBlock(c32, c64, 3, 2), *residuals(c64, 3)],
            [ConvBlock(c64, c128, 3, 2), *residuals(c128, 2)],
            [ConvBlock(c128, c256, 3, 2), *residuals(c256, 2)],
            [ConvBlock(c256, c512, 3, 2), *residuals(c512, 1)],
            [ConvBlock(c512 if large else c256, c512, 3, 1, 0), ConvBlock(c512, c512, 1, 1, 0)],
        ]
        up: list[list[nn.Module]] = [
            [ConvBlock(c512, c512, 1, 1, 0)],
            [UpBlock(2 * c512, c512, 3, 1, 0, 0), *residuals(c512, 1)],
            [UpBlock(2 * c512, c512), *residuals(c512, 2)],
            [UpBlock(c512 + c256, c384), *residuals(c384, 2)],
            [UpBlock(c384 + c128, c256), *residuals(c256, 2)],
            [UpBlock(c320, c128), *residuals(c128, 2)],
            [UpBlock(c160, c64), *residuals(c64, 2)],
        ]
        if not large:
            del down[5], up[2]  # the level of 6 x 6 pixels
        self.face_encoder_blocks = nn.ModuleList(nn.Sequential(*blocks) for blocks in down)
        self.audio_encoder = speech_encoder(width, deep=1)
        self.face_decoder_blocks = nn.ModuleList(nn.Sequential(*blocks) for blocks in up)
        self.output_block = nn.Sequential(ConvBlock(c80, c32), nn.Conv2d(c32, 3, 1), nn.Sigmoid())

    def forward(self, mel: Tensor, faces: Tensor) -> Tensor:
        """Paint.

        Args:
            mel: (B, 1, 80, 16), or (B, T, 1, 80, 16): one window per frame.
            faces: (B, 6, 96, 96), or (B, 6, T, 96, 96): the masked picture, then the reference.

        Returns:
            (B, 3, 96, 96), or (B, 3, T, 96, 96).
        """
        if faces.dim() == 4:
            return self._paint(mel, faces)
        painted = self._paint(windows_to_batch(mel), time_to_batch(faces))
        return batch_to_time(painted, faces.shape[2])

    def _paint(self, mel: Tensor, faces: Tensor) -> Tensor:
        skips = []
        for encode in self.face_encoder_blocks:
            faces = encode(faces)
            skips.append(faces)
        x = self.audio_encoder(mel)
        for decode in self.face_decoder_blocks:
            x = torch.cat((decode(x), skips.pop()), dim=1)
        return self.output_block(x)


class QualityDiscriminator(nn.Module):
    """Is this lower half of a face a photograph? No norm, neither batch nor spectral."""

    def __init__(self, width: float = 1.0, image_size: int = 96):
        super().__init__()
        large = is_large(image_size)
        self.image_size = image_size
        c32, c64, c128, c256, c512 = (scaled(c, width, LEAST) for c in (32, 64, 128, 256, 512))
        self.face_encoder_blocks = nn.ModuleList(
            nn.Sequential(*blocks)
            for blocks in (
                [LeakyBlock(3, c32, 7, 1, 3)],
                [LeakyBlock(c32, c64, 5, (1, 2), 2), LeakyBlock(c64, c64, 5, 1, 2)],
                [LeakyBlock(c64, c128, 5, 2, 2), LeakyBlock(c128, c128, 5, 1, 2)],
                [LeakyBlock(c128, c256, 5, 2, 2), LeakyBlock(c256, c256, 5, 1, 2)],
                [LeakyBlock(c256, c512, 3, 2), LeakyBlock(c512, c512)],
                *([[LeakyBlock(c512, c512, 3, 2), LeakyBlock(c512, c512)]] if large else []),
                [LeakyBlock(c512, c512, 3, 1, 0), LeakyBlock(c512, c512, 1, 1, 0)],
            )
        )
        self.binary_pred = nn.Sequential(nn.Conv2d(c512, 1, 1), nn.Sigmoid())

    def forward(self, frames: Tensor) -> Tensor:
        """(B, 3, T, 96, 96) whole faces -> (T B, 1) probabilities of being real, all samples of the first frame first."""
        x = lower_half(time_to_batch(frames))
        for encode in self.face_encoder_blocks:
            x = encode(x)
        return self.binary_pred(x).flatten(1)


register_network("the generator of Wav2Lip (wav2lip.pth, wav2lip_gan.pth)", Generator)
register_network("the quality discriminator of Wav2Lip (visual_quality_disc.pth)", QualityDiscriminator)
