"""The content branch: speech -> movement of lips and jaw (paper section 3.2; Audio2landmark_content)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from talkingface.nn.conv import scaled
from talkingface.nn.weights import register_network

BANDS = 80  # of a mel row
POINTS = 204  # coordinates of 68 points: x0, y0, z0, x1, ...
WINDOW = 18  # mel rows that are heard for one row of landmarks


def sliding(rows: Tensor, length: int = WINDOW) -> Tensor:
    """Rows (T, C) as overlapping windows (T - length + 1, length, C), without copying."""
    return rows.unfold(0, length, 1).transpose(1, 2)


class ContentBranch(nn.Module):
    """Moves the lips and the jaw of a face so that they say what is heard, whoever speaks.

    Args:
        width: factor of the inner channels; 1.0 = the published network.
        use_prior_net: look at each mel row alone first, as published; without it the LSTM hears mel itself.
        drop_out: share of the LSTM's channels that are left out between its layers in training.
    """

    def __init__(self, width: float = 1.0, use_prior_net: bool = True, drop_out: float = 0.5):
        super().__init__()
        self.use_prior_net = use_prior_net
        prior, hidden, wide = scaled(161, width, 16), scaled(256, width, 16), scaled(512, width, 16)
        self.fc_prior = nn.Sequential(
            nn.Linear(BANDS, hidden), nn.BatchNorm1d(hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, prior)
        )
        self.fc = nn.Sequential(
            nn.Linear(hidden + POINTS, wide),
            nn.BatchNorm1d(wide),
            nn.LeakyReLU(0.2),
            nn.Linear(wide, hidden),
            nn.BatchNorm1d(hidden),
            nn.LeakyReLU(0.2),
            nn.Linear(hidden, POINTS),
        )
        self.bilstm = nn.LSTM(prior if use_prior_net else BANDS, hidden, 3, batch_first=True, dropout=drop_out)

    def forward(self, windows: Tensor, face: Tensor) -> Tensor:
        """Listen to windows. In training, the norms see each mel row as often as windows hold it.

        Args:
            windows: (N, 18, 80) of normalised mel.
            face: (1, 204) or (N, 204) normalised landmarks at rest.

        Returns:
            (N, 204) displacement of the face in the first row of each window.
        """
        if self.use_prior_net:
            windows = self.fc_prior(windows.flatten(0, 1)).unflatten(0, windows.shape[:2])
        return self.say(windows, face)

    def follow(self, mel: Tensor, face: Tensor) -> Tensor:
        """The same for all windows of (T, 80) in evaluation, looking at each mel row once: (T - 17, 204)."""
        return self.say(sliding(self.fc_prior(mel) if self.use_prior_net else mel), face)

    def say(self, heard: Tensor, face: Tensor) -> Tensor:
        """(N, 18, C) of what was made of mel, and the face -> (N, 204)."""
        last = self.bilstm(heard)[0][:, -1]
        return self.fc(torch.cat((last, face.expand(len(last), -1)), dim=1))


register_network("the content branch of MakeItTalk (ckpt_content_branch.pth)", ContentBranch)
