"""Judges of landmarks, for the training of the speaker branch (paper section 3.3). None ends with a sigmoid."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from talkingface.model.makeittalk.networks.content import POINTS, sliding
from talkingface.model.makeittalk.networks.speaker import CODE, MODEL, EncoderLayer, Transformer
from talkingface.nn.conv import scaled
from talkingface.nn.weights import register_network


def verdict(inputs: int, width: float = 1.0) -> nn.Sequential:
    """Linear layers down to one number."""
    wide, narrow = scaled(512, width, 16), scaled(256, width, 16)
    leaky = nn.LeakyReLU(0.02)
    return nn.Sequential(nn.Linear(inputs, wide), leaky, nn.Linear(wide, narrow), leaky, nn.Linear(narrow, 1))


class TemporalDiscriminator(nn.Module):
    """Does the head move as this speaker's? Attention over windows of rows. (Transformer_DT, beside `G` in the official file.)

    Args:
        step: rows from one window to the next, and between the rows of a window that are looked at: 16 in the later version
            of the authors' code, 1 in the earlier one.
        length: rows of a window; a sequence that is no longer has one window, less its last row.
        width: factor of the inner channels; 1.0 = the published network.
    """

    def __init__(self, step: int = 16, length: int = 64, width: float = 1.0):
        super().__init__()
        self.step, self.length = step, length
        self.encoder = Transformer(POINTS + CODE, EncoderLayer, scaled(2048, width, 16))
        self.out = verdict(MODEL, width)

    def forward(self, rows: Tensor, code: Tensor) -> Tensor:
        """Landmarks (T, 204) and the code of the speaker (128,) or (T, 128) -> a verdict per window (W, 1)."""
        rows = torch.cat((rows, code.expand(len(rows), -1)), dim=1)
        length = min(self.length, len(rows) - 1)
        windows = sliding(rows[:-1], length)[:: self.step, :: self.step]
        return self.out(self.encoder(windows).amax(dim=1))


class FrameDiscriminator(nn.Module):
    """Is this a face? Row by row. (TalkingToon_spk2res_lstmgan_DL; no released script uses it.)"""

    def __init__(self) -> None:
        super().__init__()
        self.fl_D = verdict(POINTS)

    def forward(self, rows: Tensor) -> Tensor:
        """(T, 204) -> (T, 1)."""
        return self.fl_D(rows)


class RecurrentDiscriminator(nn.Module):
    """The temporal discriminator before there was attention. (TalkingToon_spk2res_lstmgan_DT; no released script uses it.)"""

    pooled, length = 4, 32  # rows

    def __init__(self) -> None:
        super().__init__()
        self.fl_DT = nn.GRU(CODE + POINTS, 256, 3, batch_first=True)
        self.projection = verdict(256)

    def forward(self, rows: Tensor, code: Tensor) -> Tensor:
        """Landmarks (T, 204) and codes (T, 128) -> a verdict per window (T - 35, 1)."""
        pooled = F.max_pool1d(torch.cat((code, rows), dim=1).T[None], self.pooled, stride=1)[0].T
        return self.projection(self.fl_DT(sliding(pooled[:-1], self.length))[0][:, -1])


register_network("the temporal discriminator of MakeItTalk (Transformer_DT)", TemporalDiscriminator)
