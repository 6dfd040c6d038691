"""The network that knows who speaks: Resemblyzer's voice encoder (Wan et al., ICASSP 2018, GE2E)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BANDS, SIZE = 40, 256
AT_ONCE = 16  # parts of a recording that are embedded together


class VoiceEncoder(nn.Module):
    """Speech of 1.6 s -> an embedding of its speaker."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(BANDS, SIZE, 3, batch_first=True)
        self.linear = nn.Linear(SIZE, SIZE)

    def forward(self, mels: Tensor) -> Tensor:
        """(B, 160, 40) -> (B, 256), not negative, of length 1."""
        last = self.lstm(mels)[1][0][-1]
        return F.normalize(F.relu(self.linear(last)), dim=1)

    def whole(self, mels: Tensor) -> Tensor:
        """The parts (B, 160, 40) of one recording -> (256,), not negative, of length 1."""
        return F.normalize(torch.cat([self(some) for some in mels.split(AT_ONCE)]).mean(dim=0), dim=0)
