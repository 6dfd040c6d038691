"""What the trainings compare: landmarks, how they lie among their neighbors, and what VGG19 sees in pictures.

Landmarks are (..., 204) or (..., 68, 3) in the units of the networks; coordinate k of point p stands at 3 p + k.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from talkingface.model.makeittalk.networks.content import POINTS

CURVES = [(0, 17, False), (17, 22, False), (22, 27, False), (27, 36, False), (36, 42, True), (42, 48, True), (48, 60, True)]
CURVES += [(60, 68, True)]  # first point, end, closed: jaw, brows, nose, eyes, outer and inner lips
LIPS = slice(48, 68)
STYLE = 3e7  # factor of the authors' style loss


def neighbors() -> np.ndarray:
    """(68, 2): the points before and after each point of its curve; at an open end the only neighbor counts twice."""
    pairs = []
    for first, end, closed in CURVES:
        count = end - first
        for k in range(count):
            before, after = (k - 1, k + 1) if closed else (k - 1 if k else 1, k + 1 if k < count - 1 else count - 2)
            pairs.append((first + before % count, first + after % count))
    return np.array(pairs)


NEIGHBORS = torch.from_numpy(neighbors())


def as_points(rows: Tensor) -> Tensor:
    """(..., 204) as (..., 68, 3)."""
    return rows.unflatten(-1, (-1, 3)) if rows.shape[-1] == POINTS else rows


def laplacian(rows: Tensor) -> Tensor:
    """(..., 68, 3): how far each point lies from the middle of its neighbors."""
    points = as_points(rows)
    around = points[..., NEIGHBORS.to(points.device), :]
    return points - around.mean(dim=-2)


def laplacian_distance(made: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute difference of the Laplacians: features keep their shape."""
    return F.l1_loss(laplacian(made.float()), laplacian(truth.float()))


def lip_weights(truth: Tensor) -> Tensor:
    """(N, 68): 1 for the face; the nearer the lips are to each other, the more they count, up to 10."""
    points = as_points(truth)
    weights = torch.ones_like(points[..., 0])
    opening = (points[..., 66, 1] - points[..., 62, 1]).abs()
    weights[..., LIPS] = (1 / (4 * opening + 0.1))[..., None]
    return weights


def landmark_distance(made: Tensor, truth: Tensor, closed_lips: bool = False, squared: bool = False) -> Tensor:
    """Mean distance of coordinates.

    Args:
        made, truth: (N, 204).
        closed_lips: lips count more where the true ones are closed.
        squared: the mean of the squares instead.
    """
    difference = as_points(made.float() - truth.float())
    difference = difference.square() if squared else difference.abs()
    return (difference * lip_weights(truth.float())[..., None]).mean() if closed_lips else difference.mean()


def motion_distance(made: Tensor, truth: Tensor, together: Tensor) -> Tensor:
    """Mean absolute difference of the steps from row to row.

    Args:
        made, truth: (N, 204).
        together: (N - 1,) whether a row and the next are of one clip, 1/62.5 s apart.
    """
    steps = ((made[1:] - made[:-1]) - (truth[1:] - truth[:-1])).float().abs().mean(dim=1)
    return (steps * together).sum() / together.sum().clamp(min=1)


def gram(features: Tensor) -> Tensor:
    """(B, C, H, W) -> (B C, B C): which channels answer together, pictures of the batch mixed, as the authors do."""
    rows = features.float().flatten(0, 1).flatten(1)
    return rows @ rows.T / rows.numel()


def feature_distance(made: Sequence[Tensor], truth: Sequence[Tensor]) -> Tensor:
    """Sum of the mean absolute differences of features: the perceptual loss of the image translation."""
    return torch.stack([F.l1_loss(ours.float(), real.float()) for ours, real in zip(made, truth, strict=True)]).sum()


def style_distance(made: Sequence[Tensor], truth: Sequence[Tensor]) -> Tensor:
    """Sum of the mean squared differences of Gram matrices, times 3e7."""
    distances = [F.mse_loss(gram(ours), gram(real)) for ours, real in zip(made, truth, strict=True)]
    return STYLE * torch.stack(distances).sum()
