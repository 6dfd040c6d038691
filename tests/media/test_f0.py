"""The fundamental frequency: known pitches are found, and the sums are those of SPTK's RAPT."""

import numpy as np
import pytest

from talkingface.media.f0 import Sizes, gaussian_noise, lcg_powers, rapt

RATE, HOP = 16_000, 256


def voice(hertz, seconds=1.0, level=0.2):
    """A sound with twelve harmonics: (N,) float32."""
    time = np.arange(int(seconds * RATE)) / RATE
    harmonics = (np.sin(2 * np.pi * k * hertz * time + k * k) / k for k in range(1, 13))
    return (level * sum(harmonics) / 3).astype(np.float32)


@pytest.mark.parametrize("hertz", [125.0, 200.0, 317.0, 480.0])
def test_a_steady_pitch_is_found(hertz):
    found = rapt(voice(hertz), 100, 600)
    voiced = found[3:-3]
    assert (voiced > 0).all()
    assert voiced == pytest.approx(hertz, rel=0.005)


def test_a_gliding_pitch_is_followed():
    time = np.arange(2 * RATE) / RATE
    phase = 2 * np.pi * (120 * time + 40 * time**2)
    found = rapt((0.2 * (np.sin(phase) + 0.5 * np.sin(2 * phase))).astype(np.float32), 50, 400)
    inside = slice(4, -4)
    truth = 120 + 80 * np.arange(len(found)) * HOP / RATE
    assert found[inside] == pytest.approx(truth[inside], rel=0.02)


def test_silence_and_noise_are_unvoiced():
    chance = np.random.default_rng(0)
    assert not rapt(np.zeros(RATE, np.float32), 100, 600).any()
    assert np.mean(rapt((0.1 * chance.standard_normal(RATE)).astype(np.float32), 100, 600) > 0) < 0.05


def test_a_pause_between_two_sounds_is_unvoiced():
    pause = np.zeros(RATE // 2, np.float32)
    found = rapt(np.concatenate((voice(150), pause, voice(220))), 100, 600)
    frames = RATE // HOP
    assert (found[4 : frames - 4] > 0).all()
    assert not found[frames + 4 : frames + 26].any()
    assert found[frames + 36 : -4] == pytest.approx(220, rel=0.01)


@pytest.mark.parametrize("samples", [0, 1, 255, 256, 257, 700, 3512, 3513, 6912, 9000])
def test_there_is_a_frame_for_each_hop_however_short_the_speech(samples):
    assert rapt(voice(200)[:samples], 100, 600).shape == (-(-samples // HOP),)


def test_the_same_sound_has_the_same_pitch_each_time():
    sound = voice(140)
    assert np.array_equal(rapt(sound, 50, 250), rapt(sound, 50, 250))


def test_a_sound_out_of_range_is_refused():
    with pytest.raises(ValueError, match="600 to 100 Hz"):
        rapt(voice(200), 600, 100)


def test_the_noise_is_that_of_sptk():
    state, draws = 1, []
    while len(draws) < 6:
        pair = []
        for _ in range(2):
            state = (state * 1103515245 + 12345) % 2**64
            pair.append(2 * ((state >> 16) % 32768) / 32767 - 1)
        square = pair[0] ** 2 + pair[1] ** 2
        if 0 < square <= 1:
            draws += [x * np.sqrt(-2 * np.log(square) / square) for x in pair]
    pieces = gaussian_noise(trials=2)
    assert np.concatenate([next(pieces) for _ in range(6)])[:6] == pytest.approx(draws)
    lcg_powers.cache_clear()


def test_lengths_are_those_of_get_f0():
    sizes = Sizes.of(100, 600, RATE, HOP)
    assert (sizes.start, sizes.stop, sizes.size, sizes.decimate) == (27, 160, 120, 8)
    assert (sizes.block, sizes.pad) == (12, 440)
    assert sizes.blocks(3512) == [12]
    assert sizes.blocks(3513) == [12, 0]
    assert sum(sizes.blocks(78030)) == (78030 - 440) // HOP


@pytest.mark.slow
def test_ten_minutes_take_seconds():
    import time

    sound = np.tile(voice(180, 5.0), 120)
    before = time.monotonic()
    rapt(sound, 100, 600)
    assert time.monotonic() - before < 60
