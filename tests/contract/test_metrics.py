"""What every registered metric promises."""

import json
import math
from collections import Counter
from dataclasses import replace

import pytest

from talkingface.errors import MissingWeightsError, ScoreError
from talkingface.media.video import Video, write_video
from talkingface.metric.base import ClipSource, Column
from talkingface.registry import METRICS, MODELS, normalize
from tests.contract.toys import arguments, explained, settings_file

every_metric = pytest.mark.parametrize("name", METRICS)
every_metric_of_videos = pytest.mark.parametrize("name", [name for name, metric in METRICS.items() if not metric.needs_model])
every_metric_of_models = pytest.mark.parametrize("name", [name for name, metric in METRICS.items() if metric.needs_model])


def score(metric, video, truth=None, audio=None):
    """The numbers; a metric whose published weights are not on this disk is skipped."""
    try:
        return metric.score(video, truth, *([audio] if audio else []))
    except MissingWeightsError as error:
        pytest.skip(str(error))


@pytest.fixture
def clip(world):
    (clip,) = world.clips("test")
    return clip


@every_metric
def test_the_settings_are_the_constructors_arguments_each_with_a_comment(name):
    text, settings = settings_file("metric", name)
    assert text.startswith("# ") and len(text.partition("\n")[0]) > 20
    assert set(settings.get(name, {})) == explained(text, name) == arguments(METRICS[name])
    assert all(METRICS.aliases[normalize(alias)] == name for alias in settings.get("aliases", []))
    assert (METRICS[name].__doc__ or "").strip()


@every_metric
def test_columns_say_which_way_is_better_and_how_far_values_go(name):
    columns = METRICS[name].columns
    assert columns and all(isinstance(column, Column) for column in columns.values())
    assert all(column.higher_is_better in (True, False, None) and column.low < column.high for column in columns.values())
    assert any(column.higher_is_better is not None for column in columns.values())


def test_no_two_metrics_share_a_column():
    counts = Counter(column for metric in METRICS.values() for column in metric.columns)
    assert max(counts.values()) == 1


@every_metric_of_videos
def test_scores_are_in_their_range_and_the_real_video_is_the_best(name, world, clip):
    metric, video, truth = world.metric(name), Video(world.clips("train")[0].truth), Video(clip.truth)
    other = score(metric, video, truth if metric.needs_truth else None, clip.audio if metric.needs_audio else None)
    own = score(metric, truth, truth if metric.needs_truth else None)
    for scores in (own, other):
        assert scores.keys() == metric.columns.keys()
        for key, column in metric.columns.items():
            assert isinstance(scores[key], float) and math.isfinite(scores[key]) and column.low <= scores[key] <= column.high
    for key, column in metric.columns.items() if metric.needs_truth else ():
        best = column.high if column.higher_is_better else column.low
        assert math.isinf(best) or own[key] == pytest.approx(best, abs=1e-6)
        assert own[key] > other[key] if column.higher_is_better else own[key] < other[key]


@every_metric_of_videos
def test_a_score_is_the_same_each_time_and_leaves_no_note_for_the_next(name, world, clip, monkeypatch, tmp_path):
    truth = Video(clip.truth)
    scores = []
    for number in range(2):
        monkeypatch.setenv("TALKINGFACE_CACHE", str(tmp_path / f"cache{number}"))
        metric = world.metric(name)
        scores.append(score(metric, truth, truth if metric.needs_truth else None))
        metric.take_notes()
        assert metric.take_notes() == []
    assert scores[0] == scores[1]


@every_metric
def test_the_protocol_is_plain_and_the_same_each_time(name, world):
    protocol = world.metric(name).protocol()
    assert "version" in protocol and json.loads(json.dumps(protocol)) == protocol == world.metric(name).protocol()


@every_metric_of_videos
def test_what_is_missing_is_said(name, world, clip, tmp_path):
    metric = world.metric(name)
    if metric.needs_truth:
        with pytest.raises(ScoreError, match=clip.face.name):
            score(metric, Video(clip.face), None)
    if metric.needs_audio:
        write_video(tmp_path / "mute.mp4", Video(clip.truth), 25)
        with pytest.raises(ScoreError, match=r"mute\.mp4 has no sound"):
            score(metric, Video(tmp_path / "mute.mp4"), Video(clip.truth) if metric.needs_truth else None)


@every_metric_of_models
def test_a_metric_of_models_says_which_model_it_cannot_score_and_scores_no_video(name, world, clip):
    metric, (other, *_) = world.metric(name), [world.model(model) for model in MODELS if not hasattr(MODELS[model], "spaces")]
    with pytest.raises(ScoreError, match=other.name):
        metric.score_model(other, Nobody(world.clips("train")))
    with pytest.raises(ScoreError, match=clip.truth.name):
        metric.score(Video(clip.truth))


class Nobody(ClipSource):
    """Clips that each say a word, all at hand."""

    def __init__(self, clips):
        super().__init__()
        self.clips = [replace(clip, word="papa") for clip in clips]

    def listed(self, split):
        return self.clips

    def prepared(self, clips):
        return list(clips)
