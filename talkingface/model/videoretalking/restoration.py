"""GPEN, GFPGAN and ParseNet around their networks: upright faces in, better faces or the parts of faces out.

All pictures are (H, W, 3) uint8 RGB; the networks see 512 x 512.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from talkingface.media.image import resize
from talkingface.model.videoretalking.networks import Gfpgan

SIDE = 512
SKIN_TO_BROWS, LIPS = (1, 2, 3, 4, 5, 6, 7), (10, 11, 12)  # ParseNet's classes; 10 is the mouth between the lips
FACE = (*SKIN_TO_BROWS, *LIPS)
AT_ONCE = {"cpu": 1, "cuda": 8}  # faces in a batch

Improve = Callable[[Sequence[np.ndarray]], list[np.ndarray]]
Parse = Callable[[Sequence[np.ndarray]], np.ndarray]


def generate_faces(network: nn.Module, faces: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Faces as GPEN draws them, in the size that it draws."""
    return [np.clip(face * 127.5 + 127.5, 0, 255).astype(np.uint8) for face in answers(network, faces)]


def restore_faces(network: Gfpgan, faces: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Faces as GFPGAN restores them, in the size that it draws."""
    drawn = answers(network, faces, lambda batch: network(batch, network.stored_noise()))  # the authors draw new noise
    return [np.rint((np.clip(face, -1, 1) + 1) * 127.5).astype(np.uint8) for face in drawn]


def parse_faces(network: nn.Module, faces: Sequence[np.ndarray]) -> np.ndarray:
    """(n, h, w) uint8: the class of each pixel, one of ParseNet's 19."""
    return np.stack([scores.argmax(axis=-1).astype(np.uint8) for scores in answers(network, faces)])


@torch.inference_mode()
def answers(network: nn.Module, faces: Sequence[np.ndarray], call: Callable[[Tensor], Tensor] | None = None) -> list[np.ndarray]:
    """What a network (or a call of it) makes of faces in [-1, 1]: (h, w, C) float32 each."""
    found: list[np.ndarray] = []
    like = next(network.parameters(), torch.empty(0))
    size = AT_ONCE.get(like.device.type, 1)
    for start in range(0, len(faces), size):
        batch = np.stack([resize(face, (SIDE, SIDE)) for face in faces[start : start + size]])
        made = (call or network)(torch.from_numpy(batch).permute(0, 3, 1, 2).to(like) / 255 * 2 - 1)
        found += [*made.float().permute(0, 2, 3, 1).cpu().numpy()]
    return found


def ovals(faces: Sequence[np.ndarray]) -> np.ndarray:
    """(n, 512, 512) uint8: skin in an oval where an upright face is, for want of ParseNet."""
    labels = np.zeros((SIDE, SIDE), np.uint8)
    cv2.ellipse(labels, (256, 295), (130, 180), 0, 0, 360, SKIN_TO_BROWS[0], thickness=-1)
    return np.broadcast_to(labels, (len(faces), SIDE, SIDE))


def part_mask(labels: np.ndarray, classes: Sequence[int]) -> np.ndarray:
    """(h, w) uint8: 255 where a face's labels are among some classes."""
    return np.where(np.isin(labels, classes), np.uint8(255), np.uint8(0))


def feathered(mask: np.ndarray, border: int = 20, blur: int = 101, sigma: float = 11.0) -> np.ndarray:
    """A mask (h, w) float32 in [0, 1], zero within `border` pixels of its edges and softened twice."""
    inner = without_border(mask, border)
    for _ in range(2):
        inner = cv2.GaussianBlur(inner, (blur, blur), sigma)
    return inner


def without_border(mask: np.ndarray, border: int = 20) -> np.ndarray:
    """A mask, zero within `border` pixels of its edges."""
    inner = np.zeros_like(mask)
    inner[border:-border, border:-border] = mask[border:-border, border:-border]
    return inner
