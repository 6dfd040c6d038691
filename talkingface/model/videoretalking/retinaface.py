"""RetinaFace (Deng et al., 2020) around its network: from a picture to boxes and five points, as GPEN and GFPGAN use it."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from talkingface.face.s3fd import suppress

MEANS = (104.0, 117.0, 123.0)  # of blue, green, red
LEVELS = ((8, (16, 32)), (16, (64, 128)), (32, (256, 512)))  # pixels between cells; sides of the two faces each stands for
POSITION_VARIANCE, SIZE_VARIANCE = 0.1, 0.2
CONSIDERED, KEPT, OVERLAP = 5000, 750, 0.4
LARGE, REDUCED = 1500, 1000  # pixels: a longer side above the one is brought to the other first


class FoundFaces(NamedTuple):
    """The faces of a picture, best first.

    Attributes:
        boxes: (N, 5) float32 x1, y1, x2, y2, score, in pixels.
        points: (N, 5, 2) float32 eyes, tip of the nose, corners of the mouth.
    """

    boxes: np.ndarray
    points: np.ndarray


class RetinaFaceDetector:
    """Finds all faces of a picture.

    Args:
        network: the network, with the weights of GPEN (RetinaFace-R50.pth) or of facexlib (detection_Resnet50_Final.pth).
        threshold: least score: 0.9 for GPEN, 0.97 for GFPGAN.
        reduce: search a smaller copy of a large picture, as GPEN does.
    """

    def __init__(self, network: nn.Module, threshold: float = 0.9, reduce: bool = True):
        self.network, self.threshold, self.reduce = network, threshold, reduce

    @torch.inference_mode()
    def detect(self, picture: np.ndarray) -> FoundFaces:
        """The faces in a picture (H, W, 3) uint8 RGB."""
        scale = REDUCED / max(picture.shape[:2]) if self.reduce and max(picture.shape[:2]) > LARGE else 1.0
        seen = picture if scale == 1 else cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
        offsets, logits_or_scores, points = self.network(network_input(seen, next(self.network.parameters(), None)))
        scores = logits_or_scores[0, :, 1].float().cpu().numpy()
        height, width = seen.shape[:2]
        found = decode(offsets[0].float().cpu().numpy(), scores, points[0].float().cpu().numpy(), height, width, self.threshold)
        found.boxes[:, :4] /= scale
        return FoundFaces(found.boxes, found.points / scale)


def network_input(picture: np.ndarray, like: Tensor | None) -> Tensor:
    """(1, 3, H, W) blue, green, red, less the means."""
    bgr = np.ascontiguousarray(picture[..., ::-1].transpose(2, 0, 1), np.float32) - np.array(MEANS, np.float32)[:, None, None]
    tensor = torch.from_numpy(bgr)[None]
    return tensor if like is None else tensor.to(like)


def priors(height: int, width: int) -> np.ndarray:
    """(P, 4) float32 center x, y, width and height of the faces that the cells stand for, as shares of the picture."""
    levels = []
    for stride, sides in LEVELS:
        rows, columns = -(-height // stride), -(-width // stride)
        y, x = np.mgrid[:rows, :columns]
        centers = np.stack(((x + 0.5) * stride / width, (y + 0.5) * stride / height), axis=-1)[:, :, None].repeat(len(sides), 2)
        sizes = np.array([(side / width, side / height) for side in sides])
        levels.append(np.concatenate((centers, np.broadcast_to(sizes, centers.shape)), axis=-1).reshape(-1, 4))
    return np.concatenate(levels).astype(np.float32)


def decode(
    offsets: np.ndarray, scores: np.ndarray, points: np.ndarray, height: int, width: int, threshold: float = 0.9
) -> FoundFaces:
    """Faces from what the network says about each cell: those above the threshold, less those that overlap a better one.

    Args:
        offsets: (P, 4) of the boxes, in variances.
        scores: (P,)
        points: (P, 10) offsets of the five points.
    """
    seen = scores > threshold
    cells, offsets, points = priors(height, width)[seen], offsets[seen], points[seen]
    size = cells[:, 2:] * np.exp(SIZE_VARIANCE * offsets[:, 2:])
    low = cells[:, :2] + POSITION_VARIANCE * offsets[:, :2] * cells[:, 2:] - size / 2
    frame = np.array([width, height], np.float32)
    boxes = np.concatenate((low * frame, (low + size) * frame, scores[seen, None]), axis=1).astype(np.float32)
    places = cells[:, None, :2] + POSITION_VARIANCE * points.reshape(-1, 5, 2) * cells[:, None, 2:]
    order = np.argsort(-boxes[:, 4], kind="stable")[:CONSIDERED]
    kept = order[suppress(boxes[order], OVERLAP, pixel_boxes=True)][:KEPT]
    return FoundFaces(boxes[kept], (places[kept] * frame).astype(np.float32))
