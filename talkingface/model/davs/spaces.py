"""What DAVS's spaces hold of clips: what retrieval, recognition and probes of disentangling are measured on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from talkingface.dataset.base import Clip, prepared_folders
from talkingface.model.davs.data import FRAMES, Choices, Features, Lengths, Read, cut, placed, unit

if TYPE_CHECKING:
    from talkingface.model.davs.model import DAVS

AT_ONCE = 16  # clips


@torch.no_grad()
def spaces_of(model: DAVS, clips: Sequence[Clip]) -> dict[str, np.ndarray]:
    """Embeddings of prepared clips and what the classifiers make of them, from every second frame about a clip's middle.

    Both spaces see the same frames, so that what one lacks is not lacking because it was never shown.

    Returns:
        "audio" and "video", what is said (N, T D); "person", who is seen in each of these frames (N, T D); "audio words",
        "video words" (N, words) and "persons" (N, persons), scores of the classes.
    """
    lengths = Lengths(model.disfc_length, model.pred_length, model.sequence_length)
    folders, found = prepared_folders(clips), []
    for first in range(0, len(folders), AT_ONCE):
        samples = [middle(Features.open(folder), model.image_size, lengths) for folder in folders[first : first + AT_ONCE]]
        heard, mfcc = (np.stack([sample[part] for sample in samples]) for part in ("heard", "mfcc"))
        found.append(embedded(model, unit(torch.from_numpy(heard).to(model.device)), torch.from_numpy(mfcc).to(model.device)))
    return {name: torch.cat([part[name] for part in found]).float().cpu().numpy() for name in found[0]}


def embedded(model: DAVS, frames: Tensor, mfcc: Tensor) -> dict[str, Tensor]:
    """One row for each clip.

    Args:
        frames: (B, T, 3, S, S) in [0, 1].
        mfcc: (B, T, 20, 12).
    """
    audio, video = model.speech(mfcc[:, :, None]), model.lips(frames)
    person = model.identity(frames)[0].view(*frames.shape[:2], -1)
    return {
        "audio": audio.flatten(1), "video": video.flatten(1), "person": person.flatten(1),
        "audio words": model.words(audio), "video words": model.words(video), "persons": model.persons(person).mean(dim=1),
    }  # fmt: skip


def middle(features: Features, side: int, lengths: Lengths) -> dict[str, np.ndarray]:
    """The frames and the speech about the middle of a clip: "heard" (T, S, S, 3) and "mfcc" (T, 20, 12)."""
    start = features.starts[len(features.starts) // 2]
    choices = Choices(reference=0, spoken=0, heard=(FRAMES + 1 - 2 * lengths.heard) // 2, painted=0)
    faces = Read(lambda number: placed(features.face(start + number), side))
    speech = Read(lambda number: features.window(start + number))
    return cut(faces, speech, choices, lengths, ("heard", "mfcc"))
