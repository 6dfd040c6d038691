"""Step 3: every head redrawn with one and the same expression (DNet), so that no frame tells how its mouth was."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn


@torch.inference_mode()
def redrawn(dnet: nn.Module, heads: Sequence[np.ndarray], steering: np.ndarray, cut: bool = False) -> np.ndarray:
    """Redraw heads.

    Args:
        heads: (S, S, 3) uint8 RGB.
        steering: (n, 73, 26) float32: the coefficients around each frame, with the expression to wear.
        cut: cut colors to whole numbers as the authors do, instead of rounding them.

    Returns:
        (n, S, S, 3) uint8 RGB.
    """
    like = next(dnet.parameters())
    pictures = torch.from_numpy(np.stack(heads)).permute(0, 3, 1, 2).to(like) / 255
    painted = dnet((pictures - 0.5) / 0.5, torch.from_numpy(steering).to(like)).painted
    return to_bytes((painted.float().clamp(-1, 1) + 1) / 2, cut)


def to_bytes(pictures: Tensor, cut: bool = False) -> np.ndarray:
    """(n, 3, h, w) in [0, 1] as (n, h, w, 3) uint8: cut to whole numbers, or rounded."""
    levels = pictures * 255
    return (levels if cut else levels.round()).byte().permute(0, 2, 3, 1).cpu().numpy()
