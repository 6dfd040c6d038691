"""Spaces of words and persons: what is recognised from them, and what should not be in them and is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from talkingface.dataset.classes import speakers_of, words_of
from talkingface.dataset.split import held_back
from talkingface.errors import ScoreError
from talkingface.metric.base import ClipSource, Column, ModelMetric
from talkingface.metric.retrieval import PERCENT, spaces_of
from talkingface.registry import METRICS

if TYPE_CHECKING:
    from talkingface.model.base import Model

STRENGTHS = 10.0 ** np.arange(-4, 4)  # of a probe's ridge, in units of the mean eigenvalue of the features' products


@METRICS.register("WordAccuracy")
class WordAccuracy(ModelMetric):
    """How often a model's own word classifier is right about sound, video, and the sum of both scores.

    Args:
        split: whose clips are recognised: val or test; their speakers are unknown.
    """

    columns: ClassVar[Mapping[str, Column]] = {
        f"word accuracy ({source})": PERCENT for source in ("audio", "video", "audio + video")
    }

    def __init__(self, split: str = "test"):
        self.split = split

    def score_model(self, model: Model, clips: ClipSource) -> dict[str, float]:
        numbers = words_of(clips.listed("train"))
        heard, found = spaces_of(model, clips, clips.listed(self.split), ("audio words", "video words"))
        known = [index for index, clip in enumerate(heard) if clip.word in numbers]
        if not known:
            raise ScoreError(f"no clip of the {self.split} split says a word that is said in training.")
        labels = np.array([numbers[str(heard[index].word)] for index in known])
        self.note(f"{len(known)} clips, {len(numbers)} words")
        audio, video = found["audio words"][known], found["video words"][known]
        scores = {"audio": audio, "video": video, "audio + video": audio + video}
        return {f"word accuracy ({source})": accuracy(values, labels) for source, values in scores.items()}

    def protocol(self) -> dict[str, Any]:
        return {"version": 1, "split": self.split}


@METRICS.register("PersonAccuracy")
class PersonAccuracy(ModelMetric):
    """How often a model's own classifier of persons is right about the clips of known speakers that training kept back."""

    columns: ClassVar[Mapping[str, Column]] = {"person accuracy": PERCENT}

    def score_model(self, model: Model, clips: ClipSource) -> dict[str, float]:
        listed = clips.listed("train")
        numbers = speakers_of(listed)
        seen, found = spaces_of(model, clips, held_back(listed)[1], ("persons",))
        self.note(f"{len(seen)} clips kept back, {len(numbers)} speakers")
        return {"person accuracy": accuracy(found["persons"], np.array([numbers[str(clip.speaker)] for clip in seen]))}

    def protocol(self) -> dict[str, Any]:
        return {"version": 1, "clips": "of known speakers, kept back from training"}


@METRICS.register("Leakage")
class Leakage(ModelMetric):
    """What linear probes read from the spaces of video: words and persons, each from its own space and from the other.

    Disentangled spaces give much of their own and no more than chance of the other. A probe is a ridge regression to the
    classes, fitted to training clips, its strength chosen by leaving one out (both in closed form), and judged on the clips
    of the same speakers that training kept back.

    Args:
        clips: training clips that probes are fitted to, at most; of more, so many are drawn, the same each time.
    """

    columns: ClassVar[Mapping[str, Column]] = {
        "word from word space": PERCENT,
        "word from person space": Column(False, 0, 100, "%"),
        "person from person space": PERCENT,
        "person from word space": Column(False, 0, 100, "%"),
    }

    def __init__(self, clips: int = 4000):
        self.clips = clips

    def score_model(self, model: Model, clips: ClipSource) -> dict[str, float]:
        training, back = held_back(clips.listed("train"))
        if len(training) > self.clips:
            drawn = np.random.default_rng(0).choice(len(training), self.clips, replace=False)
            training = [training[index] for index in sorted(drawn)]
        fitted, of_fitted = spaces_of(model, clips, training, ("video", "person"))
        judged, of_judged = spaces_of(model, clips, back, ("video", "person"))
        words, speakers = words_of(training + back), speakers_of(training + back)
        labels = {
            "word": [np.array([words[str(clip.word)] for clip in part]) for part in (fitted, judged)],
            "person": [np.array([speakers[str(clip.speaker)] for clip in part]) for part in (fitted, judged)],
        }
        self.note(f"chance: words {100 / len(words):.3g} %, persons {100 / len(speakers):.3g} %; {len(judged)} clips judged")
        return {
            f"{what} from {space} space": accuracy(probed(of_fitted[rows], known, of_judged[rows]), asked)
            for what, (known, asked) in labels.items()
            for space, rows in (("word", "video"), ("person", "person"))
        }

    def protocol(self) -> dict[str, Any]:
        return {"version": 1, "probe": "ridge, leave-one-out strength", "clips": self.clips, "judged": "kept back from training"}


def accuracy(scores: np.ndarray, labels: np.ndarray) -> float:
    """Percentage of rows (N, classes) whose highest score is at their label (N,)."""
    return 100 * float((np.argmax(scores, axis=1) == labels).mean())


def probed(rows: np.ndarray, labels: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Scores (M, classes) of other rows (M, D) by a linear probe fitted to rows (N, D) with labels (N,).

    Ridge regression to +1 for the class and -1 for the rest, in the dual form, on features centered by the fitted rows. Of
    several strengths that one is taken whose predictions of left-out rows err least.
    """
    rows, others = np.asarray(rows, np.float64), np.asarray(others, np.float64)
    center = rows.mean(axis=0)
    rows, others = rows - center, others - center
    targets = 2.0 * np.eye(int(labels.max()) + 1)[labels] - 1
    mean = targets.mean(axis=0)
    values, vectors = np.linalg.eigh(rows @ rows.T)
    turned = vectors.T @ (targets - mean)
    errors, duals = [], []
    for strength in STRENGTHS * max(1e-12, values.mean()):
        inverse = 1 / (np.maximum(values, 0) + strength)
        dual = vectors @ (inverse[:, None] * turned)
        left_out = dual / (vectors**2 @ inverse)[:, None]  # residual of each row when it is left out
        errors.append((left_out**2).mean())
        duals.append(dual)
    return others @ (rows.T @ duals[int(np.argmin(errors))]) + mean
