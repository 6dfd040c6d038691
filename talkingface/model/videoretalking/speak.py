"""Step 5: the face painted anew so that it says what is heard (LNet), and made sharp (ENet).

The networks were trained with blue before green before red; whatever is handed in and out here is RGB.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from talkingface.media.image import resize
from talkingface.model.videoretalking.networks import ENet, ExpressionEditor, LNet
from talkingface.model.videoretalking.networks.enet import paint
from talkingface.model.videoretalking.stabilise import to_bytes

EDITOR_SIDE = 128
NUM_UNITS = 17
BROW_RAISER, BROW_LOWERER, LID_RAISER = 0, 2, 3  # AU01, AU04, AU05: their places among GANimation's action units
UNITS = {  # what the upper face is made to do: action unit -> strength
    "angry": {BROW_LOWERER: 0.3},
    "surprise": {LID_RAISER: 0.2},
    "sad": {BROW_RAISER: 0.3, BROW_LOWERER: 0.15},  # the authors left all at 0, which only redraws the face; ours is of FACS
}
SEAM = 16  # rows of 384 over which the edited upper half passes into the painted lower half


class Pair(NamedTuple):
    """A face as it is and as LNet is shown it: (side, side, 3) uint8 RGB each."""

    original: np.ndarray
    reference: np.ndarray


def face_pair(frame: np.ndarray, with_head: np.ndarray, box: np.ndarray, side: int) -> Pair:
    """The face in a box (x1, y1, x2, y2) of a frame, and of the same frame with the redrawn head in it."""
    x1, y1, x2, y2 = (int(edge) for edge in box)
    return Pair(*(resize(picture[y1:y2, x1:x2], (side, side)) for picture in (frame, with_head)))


def to_tensor(pictures: Sequence[np.ndarray], like: Tensor) -> Tensor:
    """(n, 3, h, w) in [0, 1], blue first."""
    batch = np.ascontiguousarray(np.stack(pictures)[..., ::-1].transpose(0, 3, 1, 2))
    return torch.from_numpy(batch).to(like) / 255


def lower_half_masked(faces: Tensor) -> Tensor:
    """The faces with their lower halves black."""
    masked = faces.clone()
    masked[:, :, faces.shape[2] // 2 :] = 0
    return masked


@torch.inference_mode()
def speak(
    lnet: LNet,
    enet: ENet,
    mels: Sequence[np.ndarray],
    pairs: Sequence[Pair],
    seeds: Sequence[int],
    upper: Upper | None = None,
    faithful: bool = False,
) -> np.ndarray:
    """Paint faces.

    Args:
        mels: (80, 16) each.
        seeds: of ENet's noise, one for each face.
        upper: what becomes of the upper halves; None = ENet's.
        faithful: cut colors to whole numbers, hard edge between the halves.

    Returns:
        (n, side, side, 3) uint8 RGB.
    """
    like = next(lnet.parameters())
    originals, references = (to_tensor(pictures, like) for pictures in zip(*pairs, strict=True))
    masked = lower_half_masked(originals)
    speech = torch.from_numpy(np.stack(mels))[:, None].to(like)
    drawn = zip(*(enet.fresh_noise(1, torch.Generator().manual_seed(seed)) for seed in seeds), strict=True)
    painted, _ = paint(
        lnet, enet, speech, torch.cat((masked, references), dim=1), references, [torch.cat(maps) for maps in drawn]
    )
    painted = painted.float().clamp(0, 1)
    if upper is not None:
        painted = upper.put_on(painted, originals.float(), masked, faithful)
    return to_bytes(painted.flip(1), cut=faithful)


class Upper(NamedTuple):
    """The upper half of the face: as it was, or with another expression.

    Attributes:
        editor: the network; None leaves it as it was.
        units: strengths of action units.
    """

    editor: ExpressionEditor | None
    units: dict[int, float]

    def put_on(self, painted: Tensor, originals: Tensor, masked: Tensor, faithful: bool) -> Tensor:
        """The painted faces (n, 3, h, w) with the upper halves that are wanted; all blue first, in [0, 1].

        Args:
            masked: the originals with black lower halves. The authors take every black pixel for masked.
            faithful: do as the authors, also where it is hard or wrong.
        """
        others = self.edited(originals)
        if faithful:
            share = (masked == 0).to(painted)
        else:
            rows = torch.arange(painted.shape[2], device=painted.device) - painted.shape[2] / 2 + 0.5
            share = (rows / (SEAM * painted.shape[2] / 384) + 0.5).clamp(0, 1)[:, None]
        return painted * share + others * (1 - share)

    def edited(self, faces: Tensor) -> Tensor:
        """The faces with the upper face's expression."""
        if self.editor is None:
            return faces
        units = faces.new_zeros(len(faces), NUM_UNITS)
        for unit, strength in self.units.items():
            units[:, unit] = strength
        small = F.interpolate(faces * 2 - 1, (EDITOR_SIDE, EDITOR_SIDE), mode="bilinear", align_corners=False)
        edited = self.editor(small, units).faces / 2 + 0.5
        return F.interpolate(edited, faces.shape[2:], mode="bilinear", align_corners=False)
