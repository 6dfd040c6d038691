"""CPBD and NIQE: against closed forms, and in the order of how blurred a picture is."""

import cv2
import numpy as np
import pytest
from scipy import io, special
from skimage import data

from talkingface.errors import ConfigError, MissingWeightsError, ScoreError
from talkingface.media.video import Video, write_video
from talkingface.metric import quality
from talkingface.metric.quality import CPBD, NIQE


def ramp(width, height=200.0, side=128):
    """A vertical edge that rises over so many pixels."""
    steps = np.clip((np.arange(side) - side / 2) / width, 0, 1)
    return np.tile(20 + height * steps, (side, 1))


@pytest.mark.parametrize("width", [1, 2, 5, 9])
def test_the_width_of_an_edge_is_that_of_its_ramp(width):
    widths = quality.edge_widths(ramp(width))
    assert set(np.unique(widths)) <= {0.0, float(width)} and (widths == width).any()


@pytest.mark.parametrize(("width", "expected"), [(2, 1.0), (3, 1.0), (4, 0.0), (9, 0.0)])
def test_an_edge_counts_as_sharp_up_to_the_just_noticeable_width(width, expected):
    assert quality.cpbd(ramp(width)) == expected  # of contrasts above 50 it is 3 pixels


def test_faint_edges_may_be_five_pixels_wide():
    assert quality.cpbd(ramp(5, 45)) == 1.0 and quality.cpbd(ramp(5, 60)) == 0.0


def test_blur_lowers_cpbd_and_a_flat_picture_has_none():
    photo = quality.luma(data.coffee())
    values = [quality.cpbd(cv2.GaussianBlur(photo, (0, 0), sigma)) for sigma in (0.1, 0.8, 1.5, 3)]
    assert values == sorted(values, reverse=True) and values[0] > 0.5 > 0.05 > values[-1]
    assert quality.cpbd(np.full((64, 64), 99.0)) == 0


@pytest.mark.parametrize("shape", [0.7, 1.0, 2.0])
def test_the_shape_of_a_generalized_gaussian_is_found(shape):
    rng = np.random.default_rng(0)
    values = rng.gamma(1 / shape, size=200_000) ** (1 / shape) * rng.choice([-1, 1], 200_000)  # scale 1
    found, left, right = quality.asymmetric_gaussian(values)
    assert found == pytest.approx(shape, rel=0.02) and left == pytest.approx(1, rel=0.03) == pytest.approx(right, rel=0.03)
    assert np.var(values) == pytest.approx(special.gamma(3 / shape) / special.gamma(1 / shape), rel=0.03)


def test_half_size_keeps_flat_and_linear_pictures():
    x = np.tile(np.arange(64.0), (32, 1))
    np.testing.assert_allclose(quality.half_bicubic(np.full((32, 64), 7.0)), 7)
    np.testing.assert_allclose(quality.half_bicubic(x)[:, 2:-2], np.tile(np.arange(32) * 2 + 0.5, (16, 1))[:, 2:-2])


@pytest.fixture(scope="module")
def natural(tmp_path_factory):
    """A made-up model: the statistics of one photo."""
    picture = quality.luma(data.astronaut())[:480, :480]
    features = np.concatenate(
        [quality.patch_features(p, side) for p, side in ((picture, 96), (quality.half_bicubic(picture), 48))], axis=1
    )
    path = tmp_path_factory.mktemp("niqe") / "model.mat"
    io.savemat(path, {"mu_prisparam": features.mean(axis=0)[None], "cov_prisparam": np.cov(features, rowvar=False)})
    return path


def test_niqe_is_0_of_the_photo_itself_and_grows_with_blur(natural):
    metric = NIQE(weights=natural)
    photo = quality.luma(data.astronaut())
    values = [metric.judge(photo), *(metric.judge(cv2.GaussianBlur(photo, (0, 0), sigma)) for sigma in (1, 2, 4))]
    assert values[0] == pytest.approx(0, abs=1e-6) and min(values[1:]) > 10 and max(values) == values[-1]


def test_niqe_is_the_distance_of_its_features(natural):
    metric, noise = NIQE(weights=natural), np.random.default_rng(0).uniform(0, 255, (192, 288))
    features = np.concatenate(
        [quality.patch_features(p, side) for p, side in ((noise, 96), (quality.half_bicubic(noise), 48))], axis=1
    )
    mean, covariance = metric.natural
    away = features.mean(axis=0) - mean
    inverse = np.linalg.pinv((covariance + np.cov(features.T)) / 2)
    assert metric.judge(noise) == pytest.approx(np.sqrt(away @ inverse @ away), rel=1e-9)


def test_what_cannot_be_judged_is_said(tmp_path):
    with pytest.raises(ScoreError, match="CPBD needs 64 x 64"):
        quality.cpbd(np.zeros((63, 90)))
    with pytest.raises(MissingWeightsError, match="niqe_modelparameters.mat"):
        write_video(tmp_path / "a.avi", np.zeros((2, 96, 96, 3), np.uint8), 25, lossless=True)
        NIQE().score(Video(tmp_path / "a.avi"))
    (tmp_path / "other.mat").write_bytes(b"no model")
    with pytest.raises(MissingWeightsError, match="is not NIQE's model"):
        NIQE(weights=tmp_path / "other.mat").score(Video(tmp_path / "a.avi"))
    with pytest.raises(ConfigError, match="CPBD.every"):
        CPBD(every=0)


def test_each_nth_frame_is_judged(tmp_path):
    frames = [np.repeat(ramp(2 if index % 3 == 0 else 9).astype(np.uint8)[..., None], 3, axis=2) for index in range(7)]
    write_video(tmp_path / "a.avi", frames, 25, lossless=True)
    assert CPBD(every=3).score(Video(tmp_path / "a.avi")) == {"CPBD": 1.0}
    assert CPBD().score(Video(tmp_path / "a.avi")) == {"CPBD": pytest.approx(3 / 7)}
