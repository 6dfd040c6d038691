"""Blending pictures band by band (Burt and Adelson, 1983): coarse differences fade widely, fine ones narrowly."""

from __future__ import annotations

import cv2
import numpy as np


def laplacian_blend(inside: np.ndarray, outside: np.ndarray, mask: np.ndarray, levels: int) -> np.ndarray:
    """Blend two pictures through Laplacian pyramids.

    Args:
        inside, outside: (H, W, 3) uint8 of one size. What a reduced picture loses by rounding to uint8 lies in its bands.
        mask: (H, W) or (H, W, 3) float32: 1 takes `inside`, 0 `outside`.
        levels: of the pyramids, 1 or more; the coarsest is 2 ** (levels - 1) times smaller.

    Returns:
        (H, W, 3) float32, not clipped. Where the mask is 0 far around, it is `outside` exactly.
    """
    mask = np.broadcast_to(mask[..., None], inside.shape) if mask.ndim == 2 else mask
    ones, others, shares = ([np.ascontiguousarray(picture)] for picture in (inside, outside, mask.astype(np.float32)))
    for pyramid in (ones, others, shares):
        for _ in range(levels - 1):
            pyramid.append(cv2.pyrDown(pyramid[-1]))
    blended = mixed(ones[-1], others[-1], shares[-1])
    for level in reversed(range(levels - 1)):
        inner, outer = (
            pyramid[level].astype(np.float32) - enlarged(pyramid[level + 1], pyramid[level]) for pyramid in (ones, others)
        )
        blended = enlarged(blended, shares[level]) + mixed(inner, outer, shares[level])
    return blended


def mixed(inside: np.ndarray, outside: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """`inside` where the mask is 1, `outside` where it is 0."""
    return inside.astype(np.float32) * mask + outside.astype(np.float32) * (1 - mask)


def enlarged(picture: np.ndarray, like: np.ndarray) -> np.ndarray:
    """One level of a pyramid in the size of the level above it, float32."""
    return cv2.pyrUp(picture.astype(np.float32), dstsize=(like.shape[1], like.shape[0])).reshape(like.shape)
