import os
from fractions import Fraction

import av
import numpy as np
import pytest

from talkingface.errors import MediaError
from talkingface.media import audio
from talkingface.media.audio import (
    audio_blocks,
    load_audio,
    mel_chunks,
    mel_windows,
    melspectrogram,
    mfcc,
    to_float,
    to_int16,
    window_starts,
    write_audio,
)
from talkingface.media.video import Video, write_video
from tests.media.clips import click_times, clicks, numbered_frames, raw_clip


def encode(path, wav, sample_rate, codec, layout="mono", pts=(0,), cover=False):
    """Write (channels, N) floats; several `pts` write the sound again from each of these samples on."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=sample_rate, layout=layout)
        if cover:
            picture = container.add_stream("mjpeg", rate=25)
            picture.width, picture.height, picture.pix_fmt = 16, 16, "yuvj420p"
            picture.disposition = av.stream.Disposition.attached_pic
            container.mux(picture.encode(av.VideoFrame(16, 16, "yuvj420p")))
            container.mux(picture.encode(None))
        for begin in pts:
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(wav, np.float32), format="fltp", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = sample_rate, begin, Fraction(1, sample_rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def tone(seconds=1.0, sample_rate=16_000, hertz=440.0):
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * sample_rate)) / sample_rate)


# files


def test_a_wav_comes_back_exactly(tmp_path):
    samples = np.random.default_rng(0).integers(-32768, 32768, 5000).astype(np.int16)
    write_audio(tmp_path / "it's “ü”.wav", samples)
    wav = load_audio(tmp_path / "it's “ü”.wav")
    assert wav.dtype == np.float32 and np.array_equal(to_int16(wav), samples)
    write_audio(tmp_path / "again.wav", wav)
    assert np.array_equal(load_audio(tmp_path / "again.wav"), wav)


def test_what_is_too_loud_is_clipped(tmp_path):
    write_audio(tmp_path / "a.wav", np.array([2.0, -2.0, 0.0, 0.5] * 100))
    assert load_audio(tmp_path / "a.wav")[:4] == pytest.approx([32767 / 32768, -1, 0, 0.5])


@pytest.mark.parametrize("rate", [8000, 22_050, 44_100, 48_000])
def test_any_rate_becomes_16_khz_in_time_and_pitch(tmp_path, rate):
    write_audio(tmp_path / "a.wav", tone(1, rate), rate)
    wav = load_audio(tmp_path / "a.wav")
    assert len(wav) == pytest.approx(16_000, abs=2)
    assert np.abs(wav[500:-500] - tone()[500 : len(wav) - 500]).max() < 0.01


def test_stereo_is_averaged(tmp_path):
    both = np.stack([tone(), np.full(16_000, 0.25)])
    encode(tmp_path / "a.wav", both, 16_000, "pcm_s16le", "stereo")
    assert load_audio(tmp_path / "a.wav") == pytest.approx(both.mean(axis=0), abs=1e-4)


@pytest.mark.parametrize("suffix, codec", [(".mp3", "mp3"), (".m4a", "aac"), (".flac", "flac"), (".ogg", "libopus")])
def test_compressed_sound_keeps_its_time(tmp_path, suffix, codec):
    encode(tmp_path / f"a{suffix}", clicks([0.3, 0.8], 1, 48_000)[None], 48_000, codec)
    assert click_times(load_audio(tmp_path / f"a{suffix}")) == pytest.approx([0.3, 0.8], abs=0.003)


def test_a_cover_picture_is_no_video(tmp_path):
    path = encode(tmp_path / "a.mp3", clicks([0.3], 1, 44_100)[None], 44_100, "mp3", cover=True)
    assert click_times(load_audio(path)) == pytest.approx([0.3], abs=0.003)
    with pytest.raises(MediaError, match="cover picture"):
        Video(path).read()


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("video_start, sound_start", [(0, 0), (0, 0.5), (0.5, 0), (0.2, 0.7)])
def test_time_0_of_a_video_is_its_first_frame(tmp_path, suffix, video_start, sound_start):
    times = video_start + np.arange(50) / 25
    path = raw_clip(tmp_path / f"a{suffix}", times, wav=clicks([0.6], 2), wav_start=sound_start)
    assert click_times(load_audio(path)) == pytest.approx([0.6 + sound_start - video_start], abs=0.003)


def test_a_gap_is_filled_with_silence(tmp_path):
    path = encode(tmp_path / "a.mka", clicks([0.1], 0.5)[None], 16_000, "pcm_s16le", pts=(0, 16_000))
    assert click_times(load_audio(path)) == pytest.approx([0.1, 1.1], abs=0.003)


def test_long_sound_is_read_in_pieces(tmp_path):
    write_audio(tmp_path / "a.wav", tone(30))
    blocks = list(audio_blocks(tmp_path / "a.wav"))
    assert max(block.shape[1] for block in blocks) < 16_000 and sum(block.shape[1] for block in blocks) == 480_000


def test_what_has_no_sound_is_named(tmp_path):
    write_video(tmp_path / "mute.mp4", numbered_frames(3), 25)
    (tmp_path / "text.wav").write_text("no sound\n" * 100)
    write_audio(tmp_path / "none.wav", np.empty(0, np.float32))
    causes = {"mute.mp4": "no sound", "text.wav": "cannot be read", "none.wav": "no samples", "x.wav": "not exist"}
    for name, cause in causes.items():
        with pytest.raises(MediaError, match=f"{name}.*{cause}"):
            load_audio(tmp_path / name)


def test_a_clip_cut_short_gives_the_sound_that_is_left(tmp_path):
    write_audio(tmp_path / "a.wav", tone(2))
    path = tmp_path / "a.wav"
    path.write_bytes(path.read_bytes()[:32_044])
    assert len(load_audio(path)) == 16_000


def test_unfit_sound_is_not_written(tmp_path):
    for wav, name, cause in [
        (np.zeros((2, 5)), "a.wav", "one row"),
        (np.array([0, np.nan]), "a.wav", "not numbers"),
        (np.zeros(5), "a.mp3", "as .wav"),
    ]:
        with pytest.raises(MediaError, match=cause):
            write_audio(tmp_path / name, wav)
    assert not os.listdir(tmp_path)


# features


def test_mel_equals_the_golden_case(golden):
    for recorded in golden("wav2lip/mel"):
        mel = melspectrogram(to_float(recorded["in_audio"]))
        assert mel.dtype == np.float32 and np.abs(mel - recorded["mel"]).max() < 1e-5


def test_mfcc_equals_the_golden_case(golden):
    for recorded in golden("syncnet/mfcc"):
        assert np.abs(mfcc(recorded["in_audio"]) - recorded["mfcc"]).max() < 1e-9


def test_mel_filters_are_those_of_librosa():
    filters = pytest.importorskip("librosa").filters.mel(sr=16_000, n_fft=800, n_mels=80, fmin=55, fmax=7600)
    assert audio.mel_filters(800, 55.0, 7600.0) == pytest.approx(filters, abs=1e-8)


def test_features_do_not_depend_on_blocks(monkeypatch):
    wav = np.random.default_rng(0).standard_normal(20_123).astype(np.float32) / 10
    mel, cepstra = melspectrogram(wav), mfcc(wav)
    monkeypatch.setattr(audio, "BLOCK", 7)
    assert melspectrogram(wav) == pytest.approx(mel, abs=1e-5) and mfcc(wav) == pytest.approx(cepstra, abs=1e-9)


def test_features_have_80_and_100_columns_per_second():
    assert melspectrogram(tone(2)).shape == (80, 161)
    assert mfcc(to_int16(tone(2))).shape == (13, 199)
    assert mfcc(np.zeros(10, np.int16)).shape == (13, 1)


def test_silence_is_the_lowest_mel():
    assert (melspectrogram(np.zeros(16_000, np.float32)) == -4).all() and np.isfinite(mfcc(np.zeros(1600, np.int16))).all()


def test_speech_too_short_or_not_a_number_is_refused():
    with pytest.raises(MediaError, match="0.025 s long"):
        melspectrogram(np.zeros(400, np.float32))
    with pytest.raises(MediaError, match="not numbers"):
        melspectrogram(np.full(1000, np.nan, np.float32))
    with pytest.raises(MediaError, match="at least 0.2 s"):
        mel_chunks(melspectrogram(np.zeros(2000, np.float32)), 25)
    with pytest.raises(MediaError, match="no samples"):
        mfcc(np.zeros(0, np.int16))


# windows


def test_windows_start_at_the_column_of_their_frame():
    assert window_starts(25, 20_000).tolist() == [16 * t // 5 for t in range(20_000)]
    mel = np.tile(np.arange(100, dtype=np.float32), (80, 1))
    windows = mel_windows(mel, 25, 40)
    assert windows.shape == (40, 80, 16) and windows.dtype == np.float32
    assert windows[:, 0, 0].tolist() == [min(16 * t // 5, 84) for t in range(40)]
    assert windows[5, 3].tolist() == list(range(16, 32))


def authors_chunks(mel, fps):
    chunks, index = [], 0
    while True:
        start = int(index * (80.0 / fps))
        if start + 16 > len(mel[0]):
            chunks.append(mel[:, len(mel[0]) - 16 :])
            return np.stack(chunks)
        chunks.append(mel[:, start : start + 16])
        index += 1


@pytest.mark.parametrize("fps", [12.5, 22.13, 24, 25, 29.97, 30, 50, 59.94])
def test_chunks_are_those_of_the_authors_loop(fps):
    for columns in (16, 17, 33, 80, 241, 1000):
        mel = np.random.default_rng(columns).standard_normal((80, columns)).astype(np.float32)
        assert np.array_equal(mel_chunks(mel, fps), authors_chunks(mel, fps))
