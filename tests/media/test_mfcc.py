"""MFCC as the authors' MATLAB code makes them, their windows and files."""

import numpy as np
import pytest

from talkingface.errors import MediaError
from talkingface.media import mfcc
from talkingface.media.audio import write_audio
from talkingface.media.video import write_video


def noise(samples, seed=0):
    return np.random.default_rng(seed).integers(-9000, 9000, samples).astype(np.int16)


def by_hand(wav):
    """The authors' steps one after the other, as the paper's supplement lists them, in plain loops."""
    samples = wav.astype(float)
    emphasized = [samples[0], *(samples[n] - 0.97 * samples[n - 1] for n in range(1, len(samples)))]
    mel = np.linspace(1127 * np.log(1 + 300 / 700), 1127 * np.log(1 + 3700 / 700), 15)
    edge = 700 * (np.exp(mel / 1127) - 1)
    rows = []
    for t in range((len(samples) - 400) // 160 + 1):
        frame = [emphasized[160 * t + n] * (0.54 - 0.46 * np.cos(2 * np.pi * n / 399)) for n in range(400)]
        magnitude = np.abs(np.fft.fft(frame, 512))[:257]
        energies = []
        for m in range(13):
            total = 0.0
            for k in range(257):
                f = 8000 * k / 256
                if edge[m] <= f <= edge[m + 1]:
                    total += magnitude[k] * (f - edge[m]) / (edge[m + 1] - edge[m])
                elif edge[m + 1] < f <= edge[m + 2]:
                    total += magnitude[k] * (edge[m + 2] - f) / (edge[m + 2] - edge[m + 1])
            energies.append(np.log(total))
        row = []
        for k in range(13):
            value = sum(np.sqrt(2 / 13) * np.cos(np.pi * k * (m - 0.5) / 13) * energies[m - 1] for m in range(1, 14))
            row.append(value * (1 + 11 * np.sin(np.pi * k / 22)))
        rows.append(row)
    return np.array(rows)


@pytest.mark.parametrize("samples", [400, 559, 560, 1300])
def test_coefficients_are_those_of_the_steps_by_hand(samples):
    wav = noise(samples)
    found = mfcc.cepstra(wav)
    assert found.shape == ((samples - 400) // 160 + 1, 13)
    np.testing.assert_allclose(found, by_hand(wav), rtol=1e-10, atol=1e-9)


def test_floats_and_16_bits_are_the_same_sound():
    wav = noise(2000)
    assert np.array_equal(mfcc.cepstra(wav), mfcc.cepstra(wav.astype(np.float32) / 32768))


def test_silence_is_finite_and_changes_nothing_else():
    wav = np.concatenate((noise(1600), np.zeros(4000, np.int16), noise(1600, 1)))
    found = mfcc.cepstra(wav)
    assert np.isfinite(found).all() and not found[15:25, 1:].any()
    assert np.array_equal(found[:8], mfcc.cepstra(noise(1600))[:8])
    quiet = np.zeros(800, np.float32)
    quiet[::7] = 1e-7  # far below one step of 16 bits, and not silence
    heard = mfcc.filter_magnitudes(quiet)
    assert (heard > 0).all() and heard.max() < mfcc.FLOOR
    assert mfcc.cepstra(quiet)[:, 0].max() < 0


def test_a_window_is_centred_on_its_frame_and_ends_are_repeated():
    rows = np.arange(60)[:, None] * np.ones(12)
    (middle,) = mfcc.windows(rows, [5])
    assert middle[:, 0].tolist() == list(range(12, 32))
    first, last = mfcc.windows(rows, [0, 14])
    assert first[:, 0].tolist() == [0] * 8 + list(range(12)) and last[:, 0].tolist() == [*range(48, 60)] + [59] * 8


@pytest.mark.parametrize(
    ("samples", "numbers"), [(16_000, range(2, 22)), (24_480, range(2, 35)), (3840, range(2, 3)), (3839, [])]
)
def test_the_authors_windows_need_no_padding(samples, numbers):
    assert list(mfcc.frame_numbers(samples)) == list(numbers)
    count = (samples - 400) // 160 + 1
    assert not len(numbers) or 4 * (numbers[-1] - 2) + 20 <= count


def test_what_the_authors_drop_of_lrw_changes_no_window():
    wav = noise(20_480)
    rows = mfcc.cepstra(wav[:-600])[:, 1:]
    assert rows.shape == (122, 12)
    kept, whole = (mfcc.windows(coefficients, range(2, 27)) for coefficients in (rows, mfcc.cepstra(wav)[:, 1:]))
    assert np.array_equal(kept, whole) and np.array_equal(whole[-1], rows[96:116])


@pytest.mark.parametrize("pad", [True, False])
@pytest.mark.parametrize("samples", [3840, 5000, 16_000, 40_001])
def test_windows_that_are_read_in_blocks_are_the_windows(tmp_path, monkeypatch, samples, pad):
    monkeypatch.setattr(mfcc, "BLOCK", 3000)
    wav = noise(samples)
    write_audio(tmp_path / "speech.wav", wav)
    numbers = range(samples // 640) if pad else mfcc.frame_numbers(samples)
    expected = mfcc.windows(mfcc.cepstra(wav)[:, 1:], numbers)
    found = mfcc.SpeechWindows(tmp_path / "speech.wav", pad)
    assert found.first == numbers[0]
    np.testing.assert_allclose(np.stack(list(found)), expected, atol=1e-9)


def test_speech_too_short_for_a_window_says_so(tmp_path):
    write_audio(tmp_path / "short.wav", noise(3000))
    with pytest.raises(MediaError, match=r"short\.wav is 0\.19 s long; the authors' windows need 0\.24 s"):
        list(mfcc.SpeechWindows(tmp_path / "short.wav", pad=False))
    write_audio(tmp_path / "tiny.wav", noise(399))
    with pytest.raises(MediaError, match=r"tiny\.wav is 0\.025 s long"):
        list(mfcc.SpeechWindows(tmp_path / "tiny.wav"))


def test_of_stereo_the_first_channel_is_heard(tmp_path):
    import wave

    left, right = noise(4000), noise(4000, 1)
    with wave.open(str(tmp_path / "stereo.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(np.stack((left, right), axis=1).astype("<i2").tobytes())
    assert np.array_equal(mfcc.speech_of(tmp_path / "stereo.wav"), left.astype(np.float32) / 32768)


def test_bin_files_are_written_and_read_byte_for_byte(tmp_path):
    window = np.random.default_rng(0).normal(size=(20, 12))
    mfcc.write_bin(tmp_path / "2.bin", window)
    data = (tmp_path / "2.bin").read_bytes()
    assert len(data) == 1920 and np.array_equal(np.frombuffer(data, "<f8")[:12], window[0])
    assert np.array_equal(mfcc.read_bin(tmp_path / "2.bin"), window)
    with pytest.raises(MediaError, match=r"3\.bin: a window of speech is \(20, 12\), not \(12, 20\)"):
        mfcc.write_bin(tmp_path / "3.bin", window.T)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\0" * 1000, r"has 1000 bytes; a window of speech has 1920"),
        (np.zeros((13, 122)).tobytes(), r"has 12688 bytes"),
        (b"", r"empty"),
        (np.full(240, -np.inf).tobytes(), r"digital silence"),
    ],
)
def test_bin_files_that_are_none_are_refused(tmp_path, data, reason):
    (tmp_path / "2.bin").write_bytes(data)
    with pytest.raises(MediaError, match=rf"2\.bin.*{reason}"):
        mfcc.read_bin(tmp_path / "2.bin")


def test_speech_of_a_video_begins_with_its_first_frame(tmp_path):
    wav = noise(16_000)
    write_video(tmp_path / "clip.mkv", (np.zeros((16, 16, 3), np.uint8) for _ in range(25)), 25, audio=wav, lossless=True)
    assert len(list(mfcc.SpeechWindows(tmp_path / "clip.mkv"))) == 25
