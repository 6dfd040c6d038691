"""The demo world is the same each time, its mouths follow its sound, and its splits are honest."""

import json

import numpy as np
import pytest

from talkingface.dataset.base import SPLITS
from talkingface.dataset.demo import Demo, make_speaker, render_clip, sentence
from talkingface.dataset.demo.motion import MOUTH, mouth_motion
from talkingface.dataset.demo.phones import CONSONANTS, PAUSE, PHONES, VOWELS, WORDS, babble, one_word
from talkingface.dataset.demo.voice import synthesize
from talkingface.errors import ConfigError, DatasetError
from talkingface.media.audio import load_audio
from talkingface.media.video import Video
from talkingface.registry import DATASETS

ONE = {"train": 1, "val": 1, "test": 1}
TINY = {"speakers": ONE, "clips": ONE, "seconds": 0.6, "size": 96, "workers": 1}


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Demo:
    demo = Demo(tmp_path_factory.mktemp("demo world"), **TINY)
    demo.build()
    return demo


@pytest.fixture(scope="module")
def recording():
    return render_clip(make_speaker(0), take=1, seconds=2.0, size=96)


def gap(landmarks: np.ndarray) -> np.ndarray:
    """Pixels between the lips: (T,)."""
    return np.linalg.norm(landmarks[:, 66] - landmarks[:, 62], axis=1)


def loudness(wav: np.ndarray, frames: int) -> np.ndarray:
    """Root mean square of each frame's sound: (T,)."""
    return np.sqrt((wav[: len(wav) // frames * frames].reshape(frames, -1) ** 2).mean(axis=1))


def lag(picture: np.ndarray, sound: np.ndarray, reach: int = 6) -> int:
    """Frames by which the sound is late, where it fits the picture best."""
    scores = []
    for shift in range(-reach, reach + 1):
        a, b = picture[reach:-reach], sound[reach + shift : len(sound) - reach + shift]
        scores.append(np.corrcoef(a, b)[0, 1])
    return int(np.argmax(scores)) - reach


def test_a_recording_is_the_same_each_time(recording):
    again = render_clip(make_speaker(0), take=1, seconds=2.0, size=96)
    assert np.array_equal(again.frames, recording.frames)
    assert np.array_equal(again.landmarks, recording.landmarks)
    assert np.array_equal(again.wav, recording.wav)


def test_other_takes_speakers_and_seeds_differ():
    choices = ((0, 1, 0), (0, 1, 1), (1, 1, 0), (0, 2, 0))
    waves = [render_clip(make_speaker(index, seed), take=take, seconds=0.5, size=64).wav for index, seed, take in choices]
    assert len({wave.tobytes() for wave in waves}) == 4


def test_mouths_open_with_the_sound(recording):
    assert np.corrcoef(gap(recording.landmarks), loudness(recording.wav, len(recording.frames)))[0, 1] > 0.5


@pytest.mark.parametrize("index", range(5))
def test_sound_and_lips_are_in_time(index):
    """Whatever the voice: measured over 20 s, at 100 steps per second, the loudness fits the lips best within 30 ms."""
    speaker, rng = make_speaker(index), np.random.default_rng(index)
    phones = babble(rng, 20.0)
    times = (np.arange(2000) + 0.5) / 100
    mouth = mouth_motion(phones, times)[:, 0]
    wav = synthesize(phones, speaker.voice, rng)
    assert np.corrcoef(mouth, loudness(wav, 2000))[0, 1] > 0.5
    assert abs(lag(mouth, loudness(wav, 2000), reach=20)) <= 3


@pytest.mark.parametrize("offset", [-4, 0, 5])
def test_a_planted_offset_is_found(offset):
    clip = render_clip(make_speaker(1), take=0, seconds=3.0, size=64, offset_frames=offset)
    assert abs(lag(gap(clip.landmarks), loudness(clip.wav, len(clip.frames)), reach=8) - offset) <= 1
    assert clip.offset == offset


@pytest.mark.parametrize("phone", ["m", "b", "p"])
def test_bilabials_close_the_lips(phone):
    phones = sentence(f"aa {phone} aa {phone} aa")
    clip = render_clip(make_speaker(2), phones, size=96)
    times = (np.arange(len(clip.frames)) + 0.5) / clip.fps
    for segment in (s for s in phones if s.phone in (phone, "aa")):
        inside = (times >= segment.start) & (times <= segment.end)
        apart = gap(clip.landmarks)[inside]
        assert apart.min() < 1.0 if segment.phone == phone else apart.max() > 5.0


def test_vowels_shape_the_lips():
    at = {}
    for vowel in VOWELS:
        clip = render_clip(make_speaker(3), sentence([vowel] * 3), size=96)
        middle = clip.landmarks[len(clip.frames) // 2]
        at[vowel] = (np.linalg.norm(middle[54] - middle[48]), np.linalg.norm(middle[66] - middle[62]))
    assert at["iy"][0] > 1.4 * at["uw"][0]
    assert at["aa"][1] > 2.5 * at["iy"][1]
    assert at["ae"][0] > 1.2 * at["ao"][0]


def test_vowels_have_their_formants():
    """The strongest band below 1 kHz is higher in an open vowel than in a closed one."""
    speaker = make_speaker(1)

    def center(vowel: str) -> float:
        wav = synthesize(sentence([vowel] * 4), speaker.voice, np.random.default_rng(0))
        power = np.abs(np.fft.rfft(wav * np.hanning(len(wav)))) ** 2
        hz = np.fft.rfftfreq(len(wav), 1 / 16000)
        return float((power * hz)[hz < 1200].sum() / power[hz < 1200].sum())

    assert center("aa") > 1.5 * center("iy")


def test_frozen_mouths_stay_shut_while_the_head_moves(recording):
    still = render_clip(make_speaker(0), take=1, seconds=2.0, size=96, frozen=True)
    assert gap(still.landmarks).max() < 0.5 < gap(recording.landmarks).max()
    assert np.array_equal(still.pose, recording.pose)
    assert np.array_equal(still.landmarks[:, 36:48], recording.landmarks[:, 36:48])
    assert np.array_equal(still.wav, recording.wav)


def test_landmarks_lie_on_the_face(recording):
    marks, size = recording.landmarks, recording.frames.shape[1]
    assert marks.shape == (50, 68, 2) and marks.min() > 0 and marks.max() < size - 1
    assert (marks[:, 16, 0] - marks[:, 0, 0] > 0.4 * size).all()
    assert (marks[:, 54, 0] - marks[:, 48, 0] > (marks[:, 16, 0] - marks[:, 0, 0]) / 5).all()
    assert (marks[:, 8, 1] > marks[:, 57, 1]).all() and (marks[:, 57, 1] > marks[:, 33, 1]).all()


@pytest.mark.parametrize("seconds", [0.4, 1.0, 7.3])
def test_babble_lasts_as_long_as_asked(seconds):
    phones = babble(np.random.default_rng(0), seconds)
    assert phones[0].start == 0 and phones[-1].end == seconds and phones[0].phone == phones[-1].phone == PAUSE
    assert all(a.end == b.start and a.end > a.start for a, b in zip(phones, phones[1:], strict=False))
    assert len(mouth_motion(phones, np.zeros(3))[0]) == len(MOUTH)


def test_babble_uses_all_phones():
    phones = babble(np.random.default_rng(1), 120.0)
    assert {s.phone for s in phones} == {PAUSE, *VOWELS, *CONSONANTS}


@pytest.mark.parametrize("seconds", [0.6, 1.24])
def test_words_are_said_whole_and_a_little_differently_each_time(seconds):
    for word, phones in WORDS.items():
        one, other = (one_word(np.random.default_rng(seed), word, seconds) for seed in (0, 1))
        assert [s.phone for s in one] == [PAUSE, *phones.split(), PAUSE] and set(phones.split()) <= set(PHONES)
        assert one[0].start == 0 and one[-1].end == seconds and one != other
        assert abs((one[1].start + one[-2].end) / 2 - seconds / 2) < 0.1


def test_in_a_world_of_words_everybody_says_every_word(tmp_path):
    demo = Demo(tmp_path, **{**TINY, "clips": {"train": 4, "val": 2, "test": 1}, "speakers": {**ONE, "train": 2}, "words": 2})
    assert [(clip.speaker, clip.word) for clip in map(demo.clip, demo.lines("train"))] == [
        (f"speaker_0{speaker}", word) for speaker in (0, 1) for word in [*WORDS][:2] * 2
    ]
    demo.build()
    (clip,) = demo.clips("test")
    about = json.loads(clip.audio.with_suffix(".json").read_text())
    assert about["word"] == clip.word == "banana"
    assert [phone for phone, _, _ in about["phones"]] == [PAUSE, *WORDS["banana"].split(), PAUSE]
    assert demo.fingerprint() != Demo(tmp_path, **TINY).fingerprint()


def test_the_world_is_registered():
    assert DATASETS["demo"] is Demo


def test_splits_share_no_speaker():
    demo = Demo(speakers={"train": 4, "val": 2, "test": 3})
    heard = {split: {demo.clip(line).speaker for line in demo.lines(split)} for split in SPLITS}
    assert [len(heard[split]) for split in SPLITS] == [4, 2, 3]
    assert len(set.union(*heard.values())) == 9


def test_train_clips_speak_for_themselves_and_test_faces_say_other_words(world):
    for split in ("train", "val"):
        clip = world.clips(split)[0]
        assert clip.face == clip.truth and clip.audio.is_file()
    clip = world.clips("test")[0]
    assert clip.face != clip.truth
    face, truth = (np.load(path.with_name(f"{path.stem}.landmarks.npz")) for path in (clip.face, clip.truth))
    assert np.array_equal(face["pose"], truth["pose"])
    assert np.array_equal(face["landmarks"][:, 36:48], truth["landmarks"][:, 36:48])
    assert np.abs(gap(face["landmarks"]) - gap(truth["landmarks"])).max() > 1


def test_files_say_what_was_made(world):
    for split in SPLITS:
        (clip,) = world.clips(split)
        video = Video(clip.truth)
        assert (len(video), video.width, video.height, video.fps) == (15, 96, 96, 25.0)
        assert video.has_audio
        known = np.load(clip.truth.with_name(f"{clip.truth.stem}.landmarks.npz"))
        assert known["landmarks"].shape == (15, 68, 2) and known["landmarks"].dtype == np.float32 and known["detected"].all()
        assert load_audio(clip.audio).shape == (9600,)
        about = json.loads(clip.audio.with_suffix(".json").read_text())
        assert about["offset"] == 0 and about["speaker"] == clip.speaker and about["phones"][-1][2] == 0.6


def test_a_world_of_two_processes_is_the_same(world, tmp_path):
    other = Demo(tmp_path, **{**TINY, "workers": 2})
    other.build()
    for split in SPLITS:
        for ours, theirs in zip(world.clips(split), other.clips(split), strict=True):
            assert np.array_equal(Video(ours.face).read(), Video(theirs.face).read())
            assert ours.audio.read_bytes() == theirs.audio.read_bytes()


def test_a_finished_world_is_left_alone_and_an_unfinished_one_is_finished(tmp_path):
    demo = Demo(tmp_path, **TINY)
    demo.build()
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    demo.build()
    assert files == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    (tmp_path / "manifest.json").unlink()
    (tmp_path / "speaker_01" / "clip_00.json").unlink()
    demo.build()
    again = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert set(again) == set(files)
    assert again[tmp_path / "speaker_00" / "clip_00.mp4"] == files[tmp_path / "speaker_00" / "clip_00.mp4"]
    assert again[tmp_path / "speaker_01" / "clip_00.mp4"] != files[tmp_path / "speaker_01" / "clip_00.mp4"]


def test_other_settings_make_another_world(tmp_path):
    Demo(tmp_path, **{**TINY, "clips": {"train": 2, "val": 1, "test": 1}}).build()
    (tmp_path / "speaker_00" / "mine.txt").write_text("stays")
    demo = Demo(tmp_path, **{**TINY, "size": 64})
    demo.build()
    assert Video(demo.clips("train")[0].face).width == 64
    assert not list((tmp_path / "speaker_00").glob("clip_01*"))
    assert (tmp_path / "speaker_00" / "mine.txt").is_file()


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": 8},
        {"seconds": 0},
        {"speakers": {"train": 1, "val": 1}},
        {"clips": {"train": 0, "val": 1, "test": 1}},
        {"speakers": {"train": 1, "val": 1, "test": 1, "dev": 1}},
    ],
)
def test_wrong_settings_are_refused_by_name(wrong, tmp_path):
    with pytest.raises(ConfigError, match=f"demo.{next(iter(wrong))}"):
        Demo(tmp_path, **wrong)


def test_an_unknown_split_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="'dev'"):
        Demo(tmp_path).clips("dev")
