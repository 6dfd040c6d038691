"""Metrics of a model's spaces: retrieval, recognition, leakage; and how a report shows what is of all clips together."""

import json
from pathlib import Path

import numpy as np
import pytest

from talkingface.dataset.base import Clip
from talkingface.dataset.classes import class_numbers, speakers_of, words_of
from talkingface.dataset.split import held_back
from talkingface.errors import DatasetError, ScoreError
from talkingface.evaluator import Evaluator, Report
from talkingface.metric.base import ClipSource
from talkingface.metric.retrieval import Retrieval, retrieval
from talkingface.metric.spaces import STRENGTHS, Leakage, PersonAccuracy, WordAccuracy, accuracy, probed

WORDS, SPEAKERS, TAKES = ("kiwi", "mama", "papa", "sofa"), 6, 8


def clips(first=0):
    """Every speaker says every word twice."""
    path = Path("clip.mp4")
    return [
        Clip(f"{speaker}/{take}", path, path, truth=path, speaker=f"speaker_{first + speaker}", word=WORDS[take % len(WORDS)])
        for speaker in range(SPEAKERS)
        for take in range(TAKES)
    ]


class Source(ClipSource):
    """The same speakers in train and val, others in test."""

    asked = 0

    def listed(self, split):
        return clips(SPEAKERS if split == "test" else 0)

    def prepared(self, wanted):
        self.asked += len(wanted)
        return list(wanted)


class Ideal:
    """A model whose word space knows the word alone and whose person space knows the person alone, but for `leak`.

    Args:
        leak: how much of the person is in the word space.
    """

    name = "Ideal"

    def __init__(self, leak=0.0):
        self.leak = leak

    def eval(self):  # allowed: a module's method
        return self

    def spaces(self, wanted):
        rng = np.random.default_rng(0)
        word = np.eye(len(WORDS))[[WORDS.index(clip.word) for clip in wanted]]
        person = np.eye(2 * SPEAKERS)[[int(clip.speaker.rpartition("_")[2]) for clip in wanted]]
        noise = 1e-3 * rng.standard_normal((len(wanted), 20))
        space = np.concatenate([word, self.leak * person, noise], axis=1)
        scores = {"audio words": word, "video words": -word, "persons": person[:, :SPEAKERS]}
        return {"audio": space, "video": space.copy(), "person": np.concatenate([person, noise], axis=1), **scores}


def test_retrieval_counts_ranks_from_one_and_takes_the_lower_middle():
    targets = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]], float)
    queries = np.array([[1, 0.1], [1, 0.2], [-1, 0.1], [1, 0.3]], float)  # ranks 1, 2, 1, 3
    found = retrieval(queries, targets)
    assert found["R@1"] == 50 and found["R@5"] == 100 and found["median rank"] == 1 and found["mean rank"] == 7 / 4


def test_retrieval_is_what_sorting_every_querys_distances_gives():
    rng = np.random.default_rng(1)
    targets = rng.standard_normal((37, 5))
    queries = targets + 1.5 * rng.standard_normal((37, 5))
    ranks = []
    for i, query in enumerate(queries):
        apart = [np.linalg.norm(query / np.linalg.norm(query) - target / np.linalg.norm(target)) for target in targets]
        ranks.append(1 + sorted(range(37), key=apart.__getitem__).index(i))
    found = retrieval(queries, targets)
    for k in (1, 5, 10, 50):
        assert found[f"R@{k}"] == pytest.approx(100 * sum(rank <= k for rank in ranks) / 37)
    assert found["mean rank"] == pytest.approx(sum(ranks) / 37) and found["median rank"] == sorted(ranks)[18]
    assert 1 < found["median rank"] < 19 and 0 < found["R@1"] < 50  # neither found at once nor by chance


def test_length_does_not_matter_and_a_constant_embedding_finds_nothing():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((60, 8))
    assert retrieval(rows * rng.uniform(0.1, 9, (60, 1)), rows)["R@1"] == 100
    lost = retrieval(np.ones((60, 8)), np.ones((60, 8)))
    assert lost["R@50"] == 0 and lost["mean rank"] == 60


def test_retrieval_of_a_model_is_reported_in_both_directions():
    scores = Retrieval().score_model(Ideal(leak=1), Source())
    assert scores.keys() == Retrieval.columns.keys()
    assert scores["R@1 (audio to video)"] == scores["R@1 (video to audio)"] == 100


def test_words_are_recognised_by_the_training_lists_numbers():
    scores = WordAccuracy().score_model(Ideal(), Source())
    assert scores == {"word accuracy (audio)": 100, "word accuracy (video)": 0, "word accuracy (audio + video)": 25}


def test_persons_are_recognised_in_clips_that_were_kept_back():
    source = Source()
    assert PersonAccuracy().score_model(Ideal(), source) == {"person accuracy": 100}
    assert source.asked == SPEAKERS


def test_leakage_is_chance_where_spaces_are_disentangled_and_seen_where_not():
    clean, leaky = (Leakage().score_model(Ideal(leak), Source()) for leak in (0, 1))
    assert clean["word from word space"] == clean["person from person space"] == 100
    assert clean["word from person space"] < 50 and clean["person from word space"] < 50
    assert leaky["person from word space"] == 100 and leaky["word from person space"] < 50


def test_metrics_of_one_evaluation_share_the_embeddings():
    source = Source()
    Leakage().score_model(Ideal(), source)
    PersonAccuracy().score_model(Ideal(), source)
    assert source.asked == len(clips())


def test_accuracy_is_the_share_of_rows_whose_highest_score_is_their_own():
    scores = np.random.default_rng(2).standard_normal((50, 6))
    labels = np.arange(50) % 6
    right = sum(all(row[label] >= other for other in row) for row, label in zip(scores.tolist(), labels, strict=True))
    assert accuracy(scores, labels) == pytest.approx(2 * right) and 0 < right < 25


def test_a_probe_is_a_ridge_regression_whose_strength_errs_least_on_rows_that_are_left_out():
    rng = np.random.default_rng(3)
    labels = np.arange(30) % 3
    rows, others = (rng.standard_normal((count, 12)) for count in (30, 7))
    rows[:, :3] += np.eye(3)[labels]
    x, y = rows - rows.mean(axis=0), np.where(labels[:, None] == np.arange(3), 1.0, -1.0)
    mean = y.mean(axis=0)
    unit = np.trace(x @ x.T) / 30  # mean eigenvalue of the products

    def ridge(chosen, strength):
        return np.linalg.solve(x[chosen].T @ x[chosen] + strength * np.eye(12), x[chosen].T @ (y - mean)[chosen])

    def left_out_error(strength):
        return np.mean([(x[i] @ ridge(np.arange(30) != i, strength) - (y - mean)[i]) ** 2 for i in range(30)])

    best = min(STRENGTHS * unit, key=left_out_error)
    wanted = (others - rows.mean(axis=0)) @ ridge(np.ones(30, bool), best) + mean
    assert np.allclose(probed(rows, labels, others), wanted)
    assert STRENGTHS[0] * unit < best < STRENGTHS[-1] * unit


def test_a_probe_generalises_with_more_features_than_rows():
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 3
    rows = rng.standard_normal((120, 400))
    rows[:, :3] += 4 * np.eye(3)[labels]
    right = (probed(rows[:90], labels[:90], rows[90:]).argmax(axis=1) == labels[90:]).mean()
    noise = (probed(rows[:90, 3:], labels[:90], rows[90:, 3:]).argmax(axis=1) == labels[90:]).mean()
    assert right > 0.85 and noise < 0.6


def test_a_report_shows_what_is_of_all_clips_together_and_why_something_is_not():
    class Silent(Ideal):
        def spaces(self, wanted):
            return {"audio": np.eye(len(wanted)), "video": np.eye(len(wanted))}

    evaluator = Evaluator({"Retrieval": Retrieval(), "Leakage": Leakage()})
    report = evaluator.evaluate([], progress=False)
    assert set(report.not_scored) == {"Retrieval", "Leakage"} and "only videos" in report.not_scored["Leakage"]
    evaluator.evaluate_model(Silent(), Source(), report)
    assert set(report.not_scored) == {"Leakage"} and "'person'" in report.not_scored["Leakage"]
    stored = json.loads(json.dumps(report.to_json()))
    assert stored["of_set"]["R@1 (audio to video)"] == 100 and stored["means"] == {} and "Retrieval" not in stored["counts"]
    assert any(line.startswith("R@1 (audio to video) ↑") and "100" in line for line in report.table().splitlines())
    assert any("48 clips to choose from" in note for note in report.notes)


def test_a_report_without_such_values_has_no_such_table():
    assert "all clips together" not in Report().table()


def test_one_clip_cannot_be_looked_for():
    class One(Source):
        def listed(self, split):
            return clips()[:1]

    with pytest.raises(ScoreError, match="at least two"):
        Retrieval().score_model(Ideal(), One())


def test_clips_are_kept_back_of_every_speaker_and_every_word():
    training, back = held_back(clips())
    assert len(back) == SPEAKERS and {clip.speaker for clip in back} == {clip.speaker for clip in training}
    assert {clip.word for clip in back} == {clip.word for clip in training} == set(WORDS)
    assert held_back(clips()[:1]) == (clips()[:1], [])
    assert [len(part) for part in held_back(clips()[:3])] == [2, 1]


def test_classes_are_numbered_in_natural_order_and_numbers_are_themselves():
    assert class_numbers(["word 10", "word 2", "apple", "word 2"]) == {"apple": 0, "word 2": 1, "word 10": 2}
    assert class_numbers(["7", "12"]) == {"7": 7, "12": 12}
    assert class_numbers(["2b", "2", "x"])["x"] == 2


def test_clips_of_unknown_word_or_speaker_are_named():
    clip = Clip("someone/12", Path("a"), Path("a"))
    with pytest.raises(DatasetError, match=r"someone/12.*which word"):
        words_of([*clips(), clip])
    with pytest.raises(DatasetError, match=r"someone/12.*who speaks"):
        speakers_of([*clips(), clip])
