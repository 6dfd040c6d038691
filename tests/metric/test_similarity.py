"""SSIM and PSNR against scikit-image, and how videos are paired."""

import numpy as np
import piq
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from talkingface.errors import ConfigError, ScoreError
from talkingface.face.finder import FaceFinder, FaceTrack
from talkingface.media.video import Video, write_video
from talkingface.metric.screening import fitted
from talkingface.metric.similarity import PSNR, SSIM, MultiScaleSSIM, ms_ssim, psnr, ssim


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


@pytest.mark.parametrize(("seed", "noise"), [(0, 3), (1, 40), (2, 90)])
def test_ms_ssim_equals_piq(seed, noise):
    ours, real = pictures(seed, 176, 208, noise)
    x, y = (torch.from_numpy(picture).permute(2, 0, 1)[None].double() for picture in (ours, real))
    assert ms_ssim(ours, real) == pytest.approx(float(piq.multi_scale_ssim(x, y, data_range=255.0)), abs=1e-5)


def test_ms_ssim_of_one_scale_is_ssim_by_channel(video):
    ours, real = pictures(5, 64, 64, 20)
    assert ms_ssim(ours, real, (1.0,)) == pytest.approx(ssim(ours, real), abs=1e-6)
    with pytest.raises(ScoreError, match="161 x 161"):
        MultiScaleSSIM().score(video("a", [ours]), video("b", [real]))


class Around(FaceFinder):
    """The face is always in one box."""

    def boxes(self, video):
        return FaceTrack(np.tile(np.float32([10, 8, 30, 28]), (len(video), 1)), [""] * len(video))

    def without_files(self):
        return self


def test_of_the_face_the_same_square_of_both_is_compared(video):
    real = [pictures(seed, 48, 64)[0] for seed in range(2)]
    ours = [frame.copy() for frame in real]
    for frame in ours:
        frame[:, 40:] = 0  # beside the face
    metric = SSIM()
    metric.choose("face")
    metric.faces = Around()
    assert metric.score(video("ours", ours), video("real", real)) == {"SSIM (face)": pytest.approx(1)}
    assert SSIM().score(video("ours", ours), video("real", real))["SSIM"] < 0.8
    for frame in ours:
        frame[10:20, 12:22] = 0
    assert metric.score(video("worse", ours), video("real", real))["SSIM (face)"] < 0.9
    assert metric.protocol()["region"] == "face" != SSIM().protocol()["region"]


def test_a_way_of_measuring_that_does_not_exist_is_refused():
    with pytest.raises(ConfigError, match="SSIM@frame, SSIM@face, SSIM@mouth"):
        SSIM().choose("nose")
