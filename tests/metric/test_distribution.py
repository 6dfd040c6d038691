"""FID and FVD: the distance against a second implementation, features kept by content, networks under published names."""

import numpy as np
import pytest
import torch
from scipy import linalg
from torch import nn

from talkingface.errors import ConfigError, MissingWeightsError, ScoreError
from talkingface.evaluator import Evaluator, Scored
from talkingface.media.video import Video, write_video
from talkingface.metric.distribution import FID, FVD, Moments, frechet_distance
from talkingface.nn.i3d import I3D, same_padded


def gaussian(seed, size):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(size, size))
    return rng.normal(size=size), root @ root.T


@pytest.mark.parametrize("size", [1, 5, 30])
def test_the_distance_equals_that_of_the_matrix_root(size):
    (mean, covariance), (other, around) = gaussian(0, size), gaussian(1, size)
    root = linalg.sqrtm(covariance @ around).real
    expected = np.square(mean - other).sum() + np.trace(covariance + around - 2 * root)
    assert frechet_distance(mean, covariance, other, around) == pytest.approx(expected, rel=1e-8)


def test_the_distance_of_a_shift_is_its_square_and_of_equal_ones_0():
    mean, covariance = gaussian(0, 6)
    assert frechet_distance(mean + 2, covariance, mean, covariance) == pytest.approx(24)
    singular = np.zeros((6, 6))
    assert frechet_distance(mean, singular, mean, singular) == 0


def test_moments_of_parts_are_those_of_the_whole():
    rows = np.random.default_rng(0).normal(5, 2, (50, 7)).astype(np.float32)
    moments = Moments(7)
    for part in (rows[:1], rows[1:20], rows[20:]):
        moments.add(part)
    np.testing.assert_allclose(moments.mean, rows.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(moments.covariance, np.cov(rows.astype(float), rowvar=False), rtol=1e-6, atol=1e-9)


class Planted(FID):
    """FID whose features are the mean colors; counts the pictures that it was shown."""

    columns = FID.columns
    length, seen = 3, 0

    def load_network(self, path):
        return nn.Identity()

    def embed(self, pictures):
        type(self).seen += len(pictures)
        return pictures.mean(axis=(1, 2)).astype(np.float32)


@pytest.fixture
def videos(tmp_path, monkeypatch):
    monkeypatch.setenv("TALKINGFACE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "weights").write_bytes(b"network")

    def write(name, seed, shift=0, count=20):
        levels = np.random.default_rng(seed).integers(40, 200, (count, 1, 1, 3)) + shift
        write_video(tmp_path / f"{name}.avi", np.tile(levels, (1, 24, 32, 1)).astype(np.uint8), 25, lossless=True)
        return tmp_path / f"{name}.avi"

    return write


def test_fid_is_of_all_frames_of_the_set(videos, tmp_path):
    clips = [Scored(f"{n}", videos(f"v{n}", n, 10), videos(f"t{n}", n)) for n in range(3)]
    report = Evaluator({"FID": Planted(weights=tmp_path / "weights")}).evaluate(clips, progress=False)
    ours, real = (
        [frame.mean(axis=(0, 1)) for clip in clips for frame in Video(getattr(clip, side))] for side in ("video", "truth")
    )
    expected = frechet_distance(np.mean(ours, 0), np.cov(ours, rowvar=False), np.mean(real, 0), np.cov(real, rowvar=False))
    assert report.of_set == {"FID": pytest.approx(expected, rel=1e-4)} and expected == pytest.approx(300, rel=0.1)
    assert report.clips[0].scores == {} and report.clips[0].error is None


def test_real_videos_are_seen_once_for_all_models(videos, tmp_path):
    truth, Planted.seen = videos("t", 0), 0
    for number in range(2):
        metric = Planted(weights=tmp_path / "weights")
        Evaluator({"FID": metric}).evaluate([Scored("a", videos(f"v{number}", number + 5), truth)], progress=False)
    assert Planted.seen == 3 * 20


def test_few_pictures_are_noted_and_none_refused(videos, tmp_path):
    metric = Planted(weights=tmp_path / "weights")
    metric.length = 3
    assert metric.score(Video(videos("v", 0)), Video(videos("t", 1)))["FID"] > 0
    assert metric.take_notes() == []
    assert metric.score(Video(videos("v2", 0, count=2)), Video(videos("t2", 1, count=2)))["FID"] >= 0
    assert "far too high" in metric.take_notes()[0]
    with pytest.raises(ScoreError, match="two pictures"):
        metric.score(Video(videos("v1", 0, count=1)), Video(videos("t1", 1, count=1)))


@pytest.mark.parametrize("metric", [FID, FVD])
def test_absent_weights_are_named_and_nothing_is_fetched(metric, videos):
    with pytest.raises(MissingWeightsError, match=metric.published):
        metric().score(Video(videos("v", 0)), Video(videos("t", 1)))
    with pytest.raises(ConfigError, match="batch_size"):
        metric(batch_size=0)


def made_up(value):
    """A weight that keeps activations in their range."""
    return torch.randn_like(value) * (2 / value[0].numel()) ** 0.5 if value.dim() > 1 else torch.ones_like(value)


@pytest.mark.slow
def test_the_inception_of_fid_loads_and_equals_its_package(videos, tmp_path):
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    torch.manual_seed(0)
    path = tmp_path / "inception.pth"
    network = FeatureExtractorInceptionV3.__new__(FeatureExtractorInceptionV3)
    try:
        FeatureExtractorInceptionV3.__init__(network, "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path))
    except FileNotFoundError:
        torch.save({name: made_up(value.float()) for name, value in network.state_dict().items()}, path)
    metric = FID(weights=path)
    ours, real = (Video(videos(name, seed, count=6)) for seed, name in enumerate("vt"))
    features = [torch.from_numpy(metric.embed(np.stack(list(video)))) for video in (ours, real)]
    statistics = [fid_features_to_statistics(rows) for rows in features]
    expected = fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert metric.score(ours, real)["FID"] == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_i3d_has_the_published_names_and_size():
    names = I3D().state_dict()
    assert sum(value.numel() for name, value in names.items() if "running" not in name and "batches" not in name) == 12_697_264
    assert names["logits.conv3d.bias"].shape == (400,) and names["Mixed_4f.b2b.bn.running_mean"].shape == (128,)
    assert names["Conv3d_1a_7x7.conv3d.weight"].shape == (64, 3, 7, 7, 7)


@pytest.mark.parametrize(("size", "kernel", "stride"), [(224, 7, 2), (225, 7, 2), (112, 3, 2), (7, 3, 1), (2, 2, 2)])
def test_windows_give_one_value_for_each_step(size, kernel, stride):
    x = torch.zeros(1, 1, size, size, size // 4 + kernel)
    padded = same_padded(x, (kernel,) * 3, (stride,) * 3)
    for before, after in zip(x.shape[2:], padded.shape[2:], strict=True):
        assert (after - kernel) // stride + 1 == -(-before // stride)


@pytest.mark.slow
def test_fvd_is_of_whole_clips_of_sixteen_frames(videos, tmp_path):
    torch.manual_seed(0)
    torch.save(I3D().state_dict(), tmp_path / "i3d.pt")
    metric = FVD(weights=tmp_path / "i3d.pt")
    ours, real = (Video(videos(name, seed, count=37)) for seed, name in enumerate("vt"))
    gathered = metric.features
    assert metric.score(ours, real)["FVD"] > 0 and gathered
    assert metric.score(real, real)["FVD"] == pytest.approx(0, abs=1e-6)
    waiting = list(real)
    assert [clip.shape for clip in metric.units(waiting)] == [(16, 224, 224, 3)] * 2 and len(waiting) == 5
