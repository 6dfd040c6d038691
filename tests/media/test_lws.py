"""The transform of lws: its frames, its window, and its blocks."""

import numpy as np
import pytest

from talkingface.media.lws import num_frames, stft, stft_blocks, window


def noise(samples):
    return np.random.default_rng(0).standard_normal(samples)


@pytest.mark.parametrize("samples", [0, 1, 159, 160, 161, 1280, 4321])
def test_there_are_seven_frames_and_one_for_each_160_samples_begun(samples):
    expected = 7 + int(np.ceil(samples / 160))
    assert num_frames(samples) == expected
    assert stft(noise(samples)).shape == (expected, 641)


def test_frame_m_sees_samples_from_160_m_minus_1120_on():
    wav = noise(3000)
    padded = np.concatenate((np.zeros(1120), wav, np.zeros(1280)))
    frames = stft(wav)
    for m in (0, 3, 7, len(frames) - 1):
        assert frames[m] == pytest.approx(np.fft.rfft(padded[160 * m : 160 * m + 1280] * window()), abs=1e-12)


def test_a_click_is_heard_in_eight_frames():
    wav = np.zeros(4000)
    wav[2000] = 1.0
    heard = np.flatnonzero(np.abs(stft(wav)).sum(axis=1))
    assert heard.tolist() == list(range(12, 20))  # 160 m - 1120 <= 2000 <= 160 m + 159


def test_the_window_is_half_a_square_root_hann_at_half_steps():
    k = np.arange(1280) + 0.5
    assert window() == pytest.approx(0.5 * np.sqrt(0.5 - 0.5 * np.cos(2 * np.pi * k / 1280)), abs=1e-12)


@pytest.mark.parametrize("sizes", [[5003], [1, 5002], [160] * 31 + [43], [7, 0, 1300, 3696]])
def test_blocks_of_any_size_give_the_same(sizes):
    wav = noise(5003)
    blocks = np.split(wav, np.cumsum(sizes)[:-1])
    assert np.array_equal(np.concatenate(list(stft_blocks(blocks))), stft(wav))


def test_blocks_are_given_as_they_come():
    given = stft_blocks(iter([noise(400_000), np.zeros(0)]))
    assert len(next(given)) == 1024
