"""SSIM and PSNR against scikit-image, and how videos are paired."""

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from talkingface.errors import ScoreError
from talkingface.media.video import Video, write_video
from talkingface.metric.screening import fitted
from talkingface.metric.similarity import PSNR, SSIM, psnr, ssim


def pictures(seed, height=48, width=61, noise=20):
    """A smooth picture with flat parts, and a noisy copy."""
    rng = np.random.default_rng(seed)
    picture = np.kron(rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3)), np.ones((8, 8, 1)))[:height, :width]
    return np.clip(picture + rng.normal(0, noise, picture.shape), 0, 255).astype(np.uint8), picture.astype(np.uint8)


@pytest.mark.parametrize("noise", [0.5, 5, 40])
@pytest.mark.parametrize("seed", [0, 1])
def test_ssim_equals_scikit_image(seed, noise):
    frame, real = pictures(seed, noise=noise)
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255, "channel_axis": -1}
    assert ssim(frame, real) == pytest.approx(structural_similarity(frame, real, **settings), abs=1e-6)


@pytest.mark.parametrize("level", [0, 3, 255])
def test_equal_flat_pictures_have_ssim_1(level):
    flat = np.full((16, 16, 3), level, np.uint8)
    assert ssim(flat, flat) == pytest.approx(1, abs=1e-6)


def test_psnr_equals_scikit_image():
    frame, real = pictures(2)
    assert psnr(frame, real) == pytest.approx(peak_signal_noise_ratio(real, frame, data_range=255), abs=1e-9)


def test_psnr_of_one_level_everywhere_is_48_db():
    assert psnr(np.full((9, 9, 3), 7, np.uint8), np.full((9, 9, 3), 8, np.uint8)) == pytest.approx(20 * np.log10(255))


@pytest.fixture
def video(tmp_path):
    """Writes a lossless video of frames and returns it."""

    def write(name, frames, fps=25):
        write_video(tmp_path / f"{name}.avi", frames, fps, lossless=True)
        return Video(tmp_path / f"{name}.avi")

    return write


def test_equal_videos_have_ssim_1_and_a_finite_psnr(video):
    frames = [pictures(seed, 32, 40)[0] for seed in range(3)]
    one, two = video("one", frames), video("two", frames)
    assert SSIM().score(one, two) == {"SSIM": pytest.approx(1)}
    assert PSNR().score(one, two) == {"PSNR": 100.0}


def test_the_mean_is_over_frames(video):
    pairs = [pictures(seed, 32, 40, noise) for seed, noise in enumerate((2, 10, 30))]
    ours, real = (video(name, frames) for name, frames in zip(("ours", "real"), zip(*pairs, strict=True), strict=True))
    assert SSIM().score(ours, real)["SSIM"] == pytest.approx(np.mean([ssim(*pair) for pair in zip(ours, real, strict=True)]))


def test_a_longer_video_is_cut_and_the_difference_noted(video):
    frames = [pictures(seed, 32, 40)[0] for seed in range(6)]
    metric = SSIM()
    assert metric.score(video("long", frames), video("short", frames[:3]))["SSIM"] == pytest.approx(1)
    (note,) = metric.take_notes()
    assert "6 frames" in note and "3" in note
    assert metric.take_notes() == []
    metric.score(video("longer", frames[:4]), video("short", frames[:3]))
    assert metric.take_notes() == []  # one frame is rounding


def test_the_real_video_is_read_at_the_generated_ones_rate(video):
    frames = [pictures(seed, 32, 40)[0] for seed in range(4)]
    assert PSNR().score(video("half", frames[::2], fps=25), video("real", frames, fps=50))["PSNR"] == 100


@pytest.mark.parametrize("size", [(24, 30), (64, 80)])
def test_frames_are_compared_at_the_real_size(video, size):
    real = [pictures(seed, 32, 40, noise=0)[1] for seed in range(2)]
    ours = [fitted(frame, np.empty((*size, 3))) for frame in real]
    assert 0.3 < SSIM().score(video("ours", ours), video("real", real))["SSIM"] < 1


def test_pictures_below_the_window_are_refused(video):
    tiny = video("tiny", [np.zeros((8, 8, 3), np.uint8)] * 2)
    with pytest.raises(ScoreError, match="11 x 11"):
        SSIM().score(tiny, tiny)
