"""LNet: paints the mouth of a 96 x 96 face so that it says what is heard.

Two encoders, of the masked picture and of the reference, meet in cross attention; the decoder's Fourier convolutions
(Chi et al., NeurIPS 2020) see the whole picture at once, and the speech steers its norms. Pictures are BGR in [0, 1], their
sides multiples of 8; published is 96. `width` scales the inner channel counts, 1 is published.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from talkingface.model.videoretalking.networks.blocks import AdaptiveNorm, DownBlock, LastBlock, NormBlock, UpBlock
from talkingface.nn.conv import scaled
from talkingface.nn.speech import LEAST, batch_to_time, speech_encoder, time_to_batch, windows_to_batch
from talkingface.nn.weights import register_network

FFC_SLOPE = 0.01  # of the leaky ReLU in Fourier blocks; the published network has another one there than elsewhere
HEADS = 4


# --- cross attention --------------------------------------------------------------------------------------------------


class Attention(nn.Module):
    """Queries and keys from one picture's features, values from the other's."""

    def __init__(self, channels: int, head: int):
        super().__init__()
        inner = HEADS * head
        self.to_q, self.to_k, self.to_v = (nn.Linear(channels, inner, bias=False) for _ in range(3))
        self.to_out = nn.Sequential(nn.Linear(inner, channels))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """(B, N, channels) of the masked picture and of the reference -> (B, N, channels)."""
        q, k, v = (
            linear(z).unflatten(2, (HEADS, -1)).transpose(1, 2) for linear, z in ((self.to_q, x), (self.to_k, x), (self.to_v, y))
        )
        return self.to_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Perceptron(nn.Module):
    """Two linear layers with a GELU (its tanh approximation) between them."""

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        layers = nn.Linear(channels, hidden), nn.GELU("tanh"), nn.Identity(), nn.Linear(hidden, channels)
        self.net = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class NormedAttention(nn.Module):
    """Layer norms of both pictures' features, then attention."""

    def __init__(self, channels: int, head: int):
        super().__init__()
        self.normx, self.normy, self.fn = nn.LayerNorm(channels), nn.LayerNorm(channels), Attention(channels, head)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.fn(self.normx(x), self.normy(y))


class NormedPerceptron(nn.Module):
    """Layer norm, then the perceptron."""

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.norm, self.fn = nn.LayerNorm(channels), Perceptron(channels, hidden)

    def forward(self, x: Tensor) -> Tensor:
        return self.fn(self.norm(x))


class CrossAttention(nn.Module):
    """Carries what the reference shows to where the masked picture needs it (the authors' Transformer); no place code.

    Args:
        head: channels of each of the four heads.
        hidden: channels inside the perceptrons.
    """

    def __init__(self, channels: int, head: int, hidden: int, depth: int = 2):
        super().__init__()
        pairs = ((NormedAttention(channels, head), NormedPerceptron(channels, hidden)) for _ in range(depth))
        self.layers = nn.ModuleList(nn.ModuleList(pair) for pair in pairs)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """(B, C, H, W) of the masked picture and of the reference -> (B, C, H, W)."""
        size = x.shape[2:]
        x, y = (z.flatten(2).transpose(1, 2) for z in (x, y))
        for pair in self.layers:
            attend, think = pair.children()
            x = x + attend(x, y)
            x = x + think(x)
        return x.transpose(1, 2).unflatten(2, size)


# --- Fourier convolution ----------------------------------------------------------------------------------------------


class FourierUnit(nn.Module):
    """A 1x1 convolution of the picture's spectrum; it sees all of the picture."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv_layer, self.bn = nn.Conv2d(2 * channels, 2 * channels, 1, bias=False), nn.BatchNorm2d(2 * channels)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):  # spectra of any size need float32
            spectrum = torch.view_as_real(torch.fft.rfft2(x.float(), norm="ortho"))  # (B, C, H, W / 2 + 1, 2)
        parts = spectrum.movedim(-1, 2).flatten(1, 2)  # real, imaginary, real, imaginary ...
        parts = F.relu(self.bn(self.conv_layer(parts)))
        with torch.autocast(x.device.type, enabled=False):
            real, imaginary = parts.float().unflatten(1, (-1, 2)).unbind(2)
            return torch.fft.irfft2(torch.complex(real, imaginary), s=x.shape[2:], norm="ortho").to(parts.dtype)


class SpectralTransform(nn.Module):
    """To half the channels, the Fourier unit beside them, and back."""

    def __init__(self, channels: int):
        super().__init__()
        half = channels // 2
        self.conv1 = nn.Sequential(nn.Conv2d(channels, half, 1, bias=False), nn.BatchNorm2d(half), nn.ReLU())
        self.fu, self.conv2 = FourierUnit(half), nn.Conv2d(half, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(x)
        return self.conv2(y + self.fu(y))


class FourierConv(nn.Module):
    """A convolution between local and global channels; from global to global it is the spectral transform."""

    def __init__(self, local: int, whole: int):
        super().__init__()
        self.convl2l, self.convl2g, self.convg2l = (
            nn.Conv2d(inputs, outputs, 3, padding=1, padding_mode="reflect", bias=False)
            for inputs, outputs in ((local, local), (local, whole), (whole, local))
        )
        self.convg2g = SpectralTransform(whole)

    def forward(self, local: Tensor, whole: Tensor) -> tuple[Tensor, Tensor]:
        padded = F.pad(local, (1, 1, 1, 1), mode="reflect")  # once for both
        to_local, to_whole = (F.conv2d(padded, conv.weight) for conv in (self.convl2l, self.convl2g))
        return to_local + self.convg2l(whole), to_whole + self.convg2g(whole)


class SteeredFourierConv(nn.Module):
    """Fourier convolution, norms steered by the speech, leaky ReLU."""

    def __init__(self, local: int, whole: int, code: int):
        super().__init__()
        self.ffc = FourierConv(local, whole)
        self.bn_l, self.bn_g = AdaptiveNorm(local, code), AdaptiveNorm(whole, code)

    def forward(self, local: Tensor, whole: Tensor, code: Tensor) -> tuple[Tensor, Tensor]:
        local, whole = self.ffc(local, whole)
        return F.leaky_relu(self.bn_l(local, code), FFC_SLOPE), F.leaky_relu(self.bn_g(whole, code), FFC_SLOPE)


class FourierBlock(nn.Module):
    """x + two steered Fourier convolutions; a quarter of the channels is local.

    Args:
        channels: a multiple of 8.
        code: numbers of the code that steers.
    """

    def __init__(self, channels: int, code: int):
        super().__init__()
        self.local = channels // 4
        self.conv1 = SteeredFourierConv(self.local, channels - self.local, code)
        self.conv2 = SteeredFourierConv(self.local, channels - self.local, code)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        local, whole = x[:, : self.local], x[:, self.local :]
        local, whole = self.conv1(local, whole, code)
        return x + torch.cat(self.conv2(local, whole, code), dim=1)


# --- the network ------------------------------------------------------------------------------------------------------


class Encoder(nn.Module):
    """The masked picture and the reference, each three times halved; attention at the end."""

    first_inp: nn.Module
    first_ref: nn.Module

    def __init__(self, channels: list[int], width: float):
        super().__init__()
        for branch in ("inp", "ref"):
            self.add_module(f"first_{branch}", NormBlock(3, channels[0], 7, spectral=True))
            for level in range(3):
                self.add_module(f"{branch}_down{level}", DownBlock(channels[level], channels[level + 1], spectral=True))
        self.ca2 = CrossAttention(channels[3], max(8, round(64 * width)), scaled(256, width, LEAST))

    def forward(self, faces: Tensor) -> list[Tensor]:
        """(B, 6, H, W) -> features at full size, 1/2, 1/4 and 1/8; the last with the reference's features behind."""
        x, y = self.first_inp(faces[:, :3]), self.first_ref(faces[:, 3:])
        features = [x]
        for level in range(3):
            x, y = getattr(self, f"inp_down{level}")(x), getattr(self, f"ref_down{level}")(y)
            features.append(x)
        features[3] = torch.cat((self.ca2(x, y), y), dim=1)
        return features


class Decoder(nn.Module):
    """Three times up, Fourier blocks at each size, what the encoder saw beside them."""

    def __init__(self, channels: list[int], code: int, num_blocks: int):
        super().__init__()
        inputs = [channels[1], channels[2], 2 * channels[3]]
        for level in (2, 1, 0):
            blocks = nn.ModuleDict({f"res{k}": FourierBlock(inputs[level], code) for k in range(num_blocks)})
            self.add_module(f"res{level}", blocks)
            self.add_module(f"up{level}", UpBlock(inputs[level], channels[level], spectral=True))
            self.add_module(f"jump{level}", NormBlock(channels[level], channels[level], spectral=True))
        self.final = LastBlock(channels[0], spectral=True)

    def forward(self, features: list[Tensor], code: Tensor) -> Tensor:
        """Features of the encoder and the speech (B, code, 1, 1) -> (B, 3, H, W) before the sigmoid."""
        x = features[3]
        for level in (2, 1, 0):
            for block in getattr(self, f"res{level}").values():
                x = block(x, code)
            x = getattr(self, f"up{level}")(x) + getattr(self, f"jump{level}")(features[level])
        return self.final(x)


class LNet(nn.Module):
    """Paints the masked half of a face so that it says what is heard.

    Args:
        width: factor of the inner channel counts.
        num_blocks: Fourier blocks at each size of the decoder; 9 is published.
    """

    def __init__(self, width: float = 1.0, num_blocks: int = 9):
        super().__init__()
        channels = [LEAST * max(1, round(c * width / LEAST)) for c in (64, 128, 256, 512)]  # multiples of 8 for the blocks
        self.encoder = Encoder(channels, width)
        self.audio_encoder = speech_encoder(width, deep=1)
        self.decoder = Decoder(channels, scaled(512, width, LEAST), num_blocks)

    def forward(self, mel: Tensor, faces: Tensor) -> Tensor:
        """Paint.

        Args:
            mel: (B, 1, 80, 16), or (B, T, 1, 80, 16): one window per frame.
            faces: (B, 6, H, W), or (B, 6, T, H, W): the masked picture, then the reference.

        Returns:
            (B, 3, H, W), or (B, 3, T, H, W).
        """
        if faces.dim() == 5:
            return batch_to_time(self(windows_to_batch(mel), time_to_batch(faces)), faces.shape[2])
        return torch.sigmoid(self.decoder(self.encoder(faces), self.audio_encoder(mel)))


register_network("the lip-sync network of VideoReTalking (LNet.pth)", LNet)
