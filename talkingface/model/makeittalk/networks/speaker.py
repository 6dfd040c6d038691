"""The speaker branch: speech and who speaks -> movement of head and brows (paper section 3.3; Audio2landmark_pos)."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from talkingface.model.makeittalk.networks.content import BANDS, POINTS, sliding
from talkingface.nn.conv import scaled
from talkingface.nn.weights import register_network

VOICE = 256  # numbers of a speaker embedding
CODE, NOISE = 128, 128  # numbers of the speaker code and of the noise, which is zero where it is not given
MODEL, HEADS, LAYERS = 64, 2, 2  # of the transformer
LONGEST = 512  # rows that attend to one another
CHANCE = 0.1  # of dropout in the transformer
BLUR = 0.01  # deviation of the noise that training adds to the speaker code


def sinusoids(length: int, size: int) -> Tensor:
    """(1, length, size) codes of the positions; the exponents grow twice as fast as in the textbook, as the authors' do."""
    position, even = np.arange(length)[:, None], np.arange(0, size, 2)
    codes = np.empty((1, length, size), np.float32)
    codes[..., 0::2] = np.sin(position / 10000 ** (2 * even / size))
    codes[..., 1::2] = np.cos(position / 10000 ** (2 * (even + 1) / size))
    return torch.from_numpy(codes)


class Norm(nn.Module):
    """Layer norm with the unbiased deviation, to which 1e-6 is added."""

    def __init__(self, size: int):
        super().__init__()
        self.alpha, self.bias = nn.Parameter(torch.ones(size)), nn.Parameter(torch.zeros(size))

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(dim=-1, keepdim=True)
        return self.alpha * centred / (x.std(dim=-1, keepdim=True) + 1e-6) + self.bias


class Attention(nn.Module):
    """All rows look at all rows, with two heads."""

    def __init__(self, size: int):
        super().__init__()
        self.q_linear, self.v_linear, self.k_linear = (nn.Linear(size, size) for _ in range(3))
        self.out = nn.Linear(size, size)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (layer(x).unflatten(-1, (HEADS, -1)).transpose(1, 2) for layer in (self.q_linear, self.k_linear, self.v_linear))
        chance = CHANCE if self.training else 0.0
        seen = F.scaled_dot_product_attention(q, k, v, dropout_p=chance)
        return self.out(seen.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Two linear layers."""

    def __init__(self, size: int, inner: int):
        super().__init__()
        self.linear_1, self.dropout, self.linear_2 = nn.Linear(size, inner), nn.Dropout(CHANCE), nn.Linear(inner, size)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_2(self.dropout(F.relu(self.linear_1(x))))


class EncoderLayer(nn.Module):
    """Attention and two linear layers, each after its norm and around the identity."""

    def __init__(self, size: int, inner: int):
        super().__init__()
        self.norm_1, self.norm_2 = Norm(size), Norm(size)
        self.attn, self.ff = Attention(size), FeedForward(size, inner)
        self.dropout_1, self.dropout_2 = nn.Dropout(CHANCE), nn.Dropout(CHANCE)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.dropout_1(self.attn(self.norm_1(x)))
        return x + self.dropout_2(self.ff(self.norm_2(x)))


class DecoderLayer(nn.Module):
    """A layer that no one runs: the published file holds it."""

    def __init__(self, size: int, inner: int):
        super().__init__()
        self.norm_1, self.norm_2, self.norm_3 = Norm(size), Norm(size), Norm(size)
        self.attn_1, self.attn_2, self.ff = Attention(size), Attention(size), FeedForward(size, inner)


class Embedding(nn.Module):
    """One linear layer."""

    def __init__(self, inputs: int, size: int):
        super().__init__()
        self.embed = nn.Linear(inputs, size)

    def forward(self, x: Tensor) -> Tensor:
        return self.embed(x)


class Positions(nn.Module):
    """Adds the codes of the positions to (B, T, size) made larger by the root of the size."""

    pe: Tensor

    def __init__(self, size: int):
        super().__init__()
        self.register_buffer("pe", sinusoids(LONGEST, size))
        self.factor = math.sqrt(size)

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x + self.pe[:, : x.shape[1]]


class Transformer(nn.Module):
    """Embedding, positions, layers and a last norm.

    Args:
        layer: of which the layers are made.
        inner: channels between the two linear layers of each.
    """

    def __init__(self, inputs: int, layer: type[nn.Module] = EncoderLayer, inner: int = 2048, size: int = MODEL):
        super().__init__()
        self.embed, self.pe = Embedding(inputs, size), Positions(size)
        self.layers = nn.ModuleList(layer(size, inner) for _ in range(LAYERS))
        self.norm = Norm(size)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, inputs) -> (B, T, size), T up to 512."""
        x = self.pe(self.embed(x))
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)


class SpeakerBranch(nn.Module):
    """Moves the head, the brows and the whole face in the manner of who speaks.

    Args:
        width: factor of the inner channels; 1.0 = the published network.
        drop_out: share of the LSTM's channels that are left out between its layers in training.
    """

    def __init__(self, width: float = 1.0, drop_out: float = 0.5):
        super().__init__()
        hidden, wide, inner = scaled(256, width, 16), scaled(512, width, 16), scaled(2048, width, 16)
        self.audio_content_encoder = nn.LSTM(BANDS, hidden, 3, batch_first=True, dropout=drop_out)
        self.spk_emb_encoder = nn.Sequential(
            nn.Linear(VOICE, hidden), nn.LeakyReLU(0.02), nn.Linear(hidden, CODE), nn.LeakyReLU(0.02), nn.Linear(CODE, CODE)
        )
        self.encoder = Transformer(hidden + CODE + NOISE, EncoderLayer, inner)
        self.decoder = Transformer(POINTS, DecoderLayer, inner)
        self.out = nn.Sequential(
            nn.Linear(MODEL + NOISE, wide),
            nn.LeakyReLU(0.02),
            nn.Linear(wide, hidden),
            nn.LeakyReLU(0.02),
            nn.Linear(hidden, POINTS),
        )

    def forward(self, windows: Tensor, voice: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Listen to the windows of one chunk, which attend to one another.

        Args:
            windows: (N, 18, 80) of normalised mel, N up to 512.
            voice: (256,) or (N, 256): the speaker embedding, three times as long as it is.
            noise: (N, 128); none = zero.

        Returns:
            (N, 204) displacement of the face, and (N, 128) code of the speaker.
        """
        heard = self.audio_content_encoder(windows)[0][:, -1]
        code = self.spk_emb_encoder(voice)
        if self.training:
            code = code + BLUR * torch.randn_like(code)
        code = code.expand(len(heard), -1)
        noise = heard.new_zeros(len(heard), NOISE) if noise is None else noise
        seen = self.encoder(torch.cat((heard, code, noise), dim=1)[None])[0]
        return self.out(torch.cat((seen, noise), dim=1)), code

    def follow(self, mel: Tensor, voice: Tensor) -> Tensor:
        """The displacement for all windows of (T, 80): (T - 17, 204)."""
        return self(sliding(mel), voice)[0]


register_network("the speaker branch of MakeItTalk (ckpt_speaker_branch.pth)", SpeakerBranch)
