"""GFPGAN v1.3 (Wang et al., CVPR 2021): face restoration by a U-Net that steers StyleGAN2. The layers are spandrel's."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from talkingface.model.videoretalking.networks.library import Adopted
from talkingface.nn.weights import register_network

SLOPE = 0.2


class Gfpgan(Adopted):
    """Face restoration; the published file GFPGANv1.3.pth ("clean" architecture) has the default sizes.

    What the published files hold for training alone is there and not used: the mapping from code to style (`style_mlp`) and
    the pictures of the U-Net (`toRGB`).

    Args:
        image_size: side of the pictures, a power of 2.
        style: numbers of a style.
        num_layers: of the mapping from code to style.
        narrow: factor of the channel counts.
    """

    def __init__(self, image_size: int = 512, style: int = 512, num_layers: int = 8, narrow: float = 1.0):
        from spandrel.architectures.GFPGAN import GFPGAN

        super().__init__(GFPGAN(out_size=image_size, num_style_feat=style, num_mlp=num_layers, narrow=narrow))
        self.num_style = style

    def forward(self, faces: Tensor, noise: Sequence[Tensor] | None = None) -> Tensor:
        """Restore.

        Args:
            faces: (B, 3, S, S) RGB in [-1, 1], aligned as FFHQ's.
            noise: one map for each styled convolution, as from `fresh_noise` or `stored_noise`; None for fresh ones, as the
                authors do.

        Returns:
            (B, 3, S, S) about [-1, 1].
        """
        maps = self.fresh_noise(len(faces)) if noise is None else list(noise)
        styles, conditions = self.encode(faces)
        return self.stylegan_decoder([styles], conditions, input_is_latent=True, noise=maps)[0]

    def encode(self, faces: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Styles (B, layers, style), and scale and shift (B, C, s, s) of each level, from the smallest on."""
        x = F.leaky_relu(self.conv_body_first(faces), SLOPE)
        skips = []
        for down in self.conv_body_down:
            x = down(x)
            skips.append(x)
        x = F.leaky_relu(self.final_conv(x), SLOPE)
        styles = self.final_linear(x.flatten(1)).unflatten(1, (-1, self.num_style))
        conditions = []
        for up, to_scale, to_shift in zip(self.conv_body_up, self.condition_scale, self.condition_shift, strict=True):
            x = up(x + skips.pop())
            conditions += [to_scale(x), to_shift(x)]
        return styles, conditions

    def stored_noise(self) -> list[Tensor]:
        """The noise maps (1, 1, s, s) that are stored with the weights."""
        return list(self.stylegan_decoder.noises.buffers())

    def fresh_noise(self, count: int, chance: torch.Generator | None = None) -> list[Tensor]:
        """New noise maps (count, 1, s, s), drawn on the CPU with `chance`, or by torch's own on the network's device."""
        device = self.final_linear.weight.device
        drawn_on = device if chance is None else torch.device("cpu")
        maps = (torch.randn(count, *stored.shape[1:], generator=chance, device=drawn_on) for stored in self.stored_noise())
        return [drawn.to(device) for drawn in maps]


register_network("the face restoration network GFPGAN (GFPGANv1.3.pth)", Gfpgan)
