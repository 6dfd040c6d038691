"""The voice conversion network: AutoVC with F0 (Qian et al., 2020), from any voice to the one that the branches know."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from talkingface.errors import ConfigError
from talkingface.model.makeittalk.tables import TARGET_VOICE
from talkingface.nn.conv import scaled
from talkingface.nn.weights import register_network

BANDS = 80  # of a mel row
VOICE = 256  # numbers of a speaker embedding
PITCHES = 257  # classes of F0: unvoiced, and 256 steps
NECK = 16  # numbers per direction that pass the bottleneck
STEP = 16  # rows between those that do
STRETCH = 512  # rows that are decoded at once
GROUP_SIZE = 16  # channels that are normalised together


class NormedConv(nn.Sequential):
    """Convolution over 5 rows, then group norm."""

    def __init__(self, inputs: int, outputs: int, gain: str):
        super().__init__(Conv(inputs, outputs, gain), nn.GroupNorm(outputs // GROUP_SIZE, outputs))


class Conv(nn.Module):
    """Convolution over 5 rows that keeps their number."""

    def __init__(self, inputs: int, outputs: int, gain: str):
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, 5, padding=2)
        nn.init.xavier_uniform_(self.conv.weight, nn.init.calculate_gain(gain))  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Projection(nn.Module):
    """One linear layer."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.linear_layer = nn.Linear(inputs, outputs)
        nn.init.xavier_uniform_(self.linear_layer.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_layer(x)


class Encoder(nn.Module):
    """Speech and its speaker -> what is said: the bottleneck."""

    def __init__(self, channels: int):
        super().__init__()
        inputs = [BANDS + VOICE, channels, channels]
        self.convolutions = nn.ModuleList(NormedConv(count, channels, "relu") for count in inputs)
        self.lstm = nn.LSTM(channels, NECK, 2, batch_first=True, bidirectional=True)

    def forward(self, mel: Tensor, voice: Tensor) -> Tensor:
        """(B, T, 80) and (B, 256) -> (B, T / 16, 32)."""
        x = torch.cat((mel, voice[:, None].expand(-1, mel.shape[1], -1)), dim=-1).transpose(1, 2)
        for convolution in self.convolutions:
            x = F.relu(convolution(x))
        forward, backward = self.lstm(x.transpose(1, 2))[0].split(NECK, dim=-1)
        return torch.cat((forward[:, STEP - 1 :: STEP], backward[:, ::STEP]), dim=-1)


class Decoder(nn.Module):
    """What is said, in which voice and at which pitch -> rough mel; long speech in stretches, which need less memory at once."""

    def __init__(self, channels: int):
        super().__init__()
        self.lstm = nn.LSTM(2 * NECK + VOICE + PITCHES, channels, 3, batch_first=True)
        self.linear_projection = Projection(channels, BANDS)

    def forward(self, x: Tensor) -> Tensor:
        state, rows = None, []
        for stretch in x.split(STRETCH, dim=1):
            said, state = self.lstm(stretch, state)
            rows.append(self.linear_projection(said))
        return torch.cat(rows, dim=1)


class Postnet(nn.Module):
    """What rough mel lacks."""

    def __init__(self, channels: int):
        super().__init__()
        sizes = [BANDS, channels, channels, channels, channels]
        layers = [NormedConv(before, after, "tanh") for before, after in zip(sizes[:-1], sizes[1:], strict=True)]
        self.convolutions = nn.ModuleList([*layers, NormedConv(channels, BANDS, "linear")])

    def forward(self, mel: Tensor) -> Tensor:
        x = mel.transpose(1, 2)
        for convolution in self.convolutions[:-1]:
            x = torch.tanh(convolution(x))
        return self.convolutions[-1](x).transpose(1, 2)


class VoiceConverter(nn.Module):
    """Says what one voice says in another one. (The authors' Generator(16, 256, 512, 16).)

    Args:
        width: factor of the inner channels, 512 at 1.0, the published network; they stay a multiple of 16.

    Attributes:
        target_voice: (256,) the voice that all speech is converted to: the authors', unless a training chose another. The
            published file does not hold it.
    """

    target_voice: Tensor

    def __init__(self, width: float = 1.0):
        super().__init__()
        self.register_buffer("target_voice", torch.tensor(TARGET_VOICE, dtype=torch.float32))
        channels = GROUP_SIZE * scaled(512 // GROUP_SIZE, width, least=2)
        self.encoder, self.decoder, self.postnet = Encoder(channels), Decoder(channels), Postnet(channels)

    def forward(self, mel: Tensor, voice: Tensor, pitch: Tensor, new_voice: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Convert.

        Args:
            mel: (B, T, 80); T is a multiple of 16.
            voice: (B, 256) embedding of who speaks.
            pitch: (B, T, 257) one-hot classes of F0; rows of padding are zero.
            new_voice: (B, 256) embedding of who shall speak.

        Returns:
            Rough mel (B, T, 80), mel (B, T, 80), and the codes of what is said (B, 2 T).
        """
        codes = self.codes(mel, voice)
        spread = codes.repeat_interleave(STEP, dim=1)
        rough = self.decoder(torch.cat((spread, new_voice[:, None].expand(-1, mel.shape[1], -1), pitch), dim=-1))
        return rough, rough + self.postnet(rough), codes.flatten(1)

    def codes(self, mel: Tensor, voice: Tensor) -> Tensor:
        """(B, T / 16, 32): what is said.

        Raises:
            ConfigError: T is not a multiple of 16.
        """
        if mel.shape[1] % STEP:
            raise ConfigError(f"the voice converter takes speech in steps of {STEP} mel rows, got {mel.shape[1]} rows.")
        return self.encoder(mel, voice)


register_network("the voice converter of MakeItTalk (ckpt_autovc.pth)", VoiceConverter)
