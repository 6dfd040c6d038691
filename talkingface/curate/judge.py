"""What a judge of lip-sync says of a candidate: the same on every machine load, however many clips are judged beside it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from talkingface.curate.base import Candidate, Footage, Kit
from talkingface.errors import MissingWeightsError

if TYPE_CHECKING:
    from talkingface.metric.sync import SyncScore

FIGURES = ("confidence", "distance", "offset")


def check_judge(kit: Kit) -> None:
    """Refuse to begin without the judge's weights.

    Raises:
        MissingWeightsError: they are not there; says which file, and how to go without.
    """
    if kit.judge is None:
        return
    try:
        kit.judge.weights_file()
    except MissingWeightsError as error:
        raise MissingWeightsError(f"{error} --curate.sync.judge=none goes without measuring sync.") from None


def judged(kit: Kit, footage: Footage, candidate: Candidate) -> dict[str, float]:
    """Confidence, distance and offset (frames by which the sound is early) of a candidate, measured unless they are known."""
    if not set(FIGURES) <= candidate.figures.keys():
        score = agreement(kit, footage, candidate)
        measured = (score.confidence, score.distance, float(score.offset))
        candidate.figures |= {name: round(value, 3) for name, value in zip(FIGURES, measured, strict=True)}
    return candidate.figures


def agreement(kit: Kit, footage: Footage, candidate: Candidate) -> SyncScore:
    """How lips and speech of a candidate agree. The face is cut out as the judge wants it, from smoothed boxes of its track."""
    from talkingface.face.shots import crop_path
    from talkingface.media.audio import mfcc
    from talkingface.metric.embeddings import Embeddings, LipReader, speech_embeddings

    judge = kit.judge
    assert judge is not None
    path, begin = crop_path(footage.boxes(candidate, within=False)), candidate.first - footage.tracks[candidate.track].first
    with tempfile.TemporaryDirectory(prefix="talkingface-curate-") as folder:
        lips, speech = (Embeddings(Path(folder) / name, judge.network.embedding) for name in ("lips", "speech"))
        watching = LipReader(judge.network, judge.batch_size).clip(lips)
        for row, frame in enumerate(footage.video(candidate), begin):
            watching.see(judge.face(frame, path.half[row], path.x[row], path.y[row]))
        samples = kit.heard(footage, candidate)
        speech.units = len(samples)
        for block in speech_embeddings(judge.network, mfcc(samples).astype(np.float32), judge.batch_size):
            speech.append(block)
        return judge.agreement(watching.close(), speech, footage.name)
