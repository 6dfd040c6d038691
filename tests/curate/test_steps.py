"""Steps of the curation, one by one, on numbers and on films whose every frame is known."""

import numpy as np
import pytest

from talkingface.curate.base import FPS, Candidate, Footage, Kit, Track
from talkingface.curate.clips import Clips, square_window
from talkingface.curate.cuts import Cuts
from talkingface.curate.quality import Quality, sound_figures
from talkingface.curate.run import build_steps
from talkingface.curate.sound import extracted, part, samples_in
from talkingface.curate.speaker import ActiveSpeaker
from talkingface.curate.sync import Sync, move
from talkingface.curate.write import Write
from talkingface.errors import ConfigError, RegistryError
from talkingface.face.finder import FaceFinder
from talkingface.media.audio import load_audio
from talkingface.media.video import Video
from tests.curate.raw import RATE, timed_film


def ready(step, tmp_path, name="step"):
    """A step as the curation would make it."""
    step.name, step.settings, step.kit = name, {}, Kit(tmp_path / "set", FaceFinder("dlib"))
    return step


def box_track(count, first=0, box=(10.0, 8.0, 40.0, 44.0)):
    return Track(first, [list(box)] * count, [])


# --- time -------------------------------------------------------------------------------------------------------------


def flashes(times, every=2.0):
    """A frame for each time: white for 0.12 s from 0, 2, 4, ... s on, grey else."""
    return [np.full((48, 64, 3), 235 if time % every < 0.12 else 90, np.uint8) for time in times]


def beeps(seconds, every=2.0):
    """Sound that begins where the flashes do."""
    t = np.arange(round(seconds * RATE)) / RATE
    return np.where(t % every < 0.12, 0.7 * np.sin(2 * np.pi * 440 * t), 0.0).astype(np.float32)


def starts(loud, rate):
    """Seconds at which a row of truth values becomes true after at least 0.5 s of false."""
    places = np.flatnonzero(loud)
    return [place / rate for place, gap in zip(places, np.diff(places, prepend=-rate), strict=True) if gap > rate / 2]


@pytest.mark.parametrize("kind", ["variable", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("ntsc", "twelve"))])
def test_sound_and_picture_do_not_drift(tmp_path, kind):
    rng, seconds = np.random.default_rng(5), 24.0
    if kind == "variable":  # a telephone: 15 to 45 frames per second, no two steps equal, a stop of 0.6 s now and then
        steps = rng.uniform(1 / 45, 1 / 15, 1400) + 0.6 * (rng.random(1400) < 0.004)
        times = np.concatenate(([0], np.cumsum(steps)))
    else:
        times = np.arange(0, seconds, 1001 / 30000 if kind == "ntsc" else 1 / 12)
    times = times[times < seconds]
    raw = timed_film(tmp_path / "raw.mkv", flashes(times), times, beeps(seconds))
    footage = Footage(raw, "ann/raw.mkv", "content", (64, 48), tracks=[box_track(int(seconds * FPS))])
    ready(Clips(min_seconds=10, max_seconds=40, trim=0, crop="frame"), tmp_path).run(footage)
    (candidate,) = footage.candidates
    ready(Write(), tmp_path).run(footage)
    clip = tmp_path / "set" / "ann" / "raw" / "00000.mp4"
    assert Video(clip).source_fps == 25 and candidate.count > 23 * 25
    seen = starts(np.array([frame.mean() > 160 for frame in Video(clip)]), 25)
    wav = load_audio(clip)
    loud = starts(np.sqrt(np.convolve(wav**2, np.ones(80) / 80, "same")) > 0.15, RATE)
    late = {round(time / 2): time - 2 * round(time / 2) for time in seen}
    assert len(loud) == 12 and all(abs(time - 2 * k) < 0.01 for k, time in enumerate(loud))
    assert len(late) >= 11  # a stop may swallow a flash
    slowest = float(np.diff(times)[np.diff(times) < 0.5].max())
    assert all(-1e-6 <= delay <= slowest + 1 / FPS for delay in late.values()), late


def test_a_part_of_the_sound_is_what_the_whole_holds_there(tmp_path):
    wav = np.random.default_rng(1).normal(0, 0.1, RATE).astype(np.float32)
    raw = timed_film(tmp_path / "raw.mkv", flashes([0.0, 0.5, 0.96]), [0.0, 0.5, 0.96], wav)
    path = extracted(raw, tmp_path / "sound.wav")
    whole = load_audio(path)
    assert samples_in(path) == len(whole)
    middle = part(path, 4000, 640)
    assert np.array_equal(middle, np.rint(whole[4000:4640] * 32768).astype(np.int16))
    early, late = part(path, -100, 640), part(path, len(whole) - 40, 640)
    assert not early[:100].any() and np.array_equal(early[100:], part(path, 0, 540))
    assert not late[40:].any() and late[:40].any()


def test_cuts_are_found_where_scenes_change(tmp_path):
    times = np.arange(75) / 25
    shown = [np.full((48, 64, 3), (40, 40, 200) if time < 1.2 else (200, 60, 40), np.uint8) for time in times]
    footage = Footage(timed_film(tmp_path / "raw.mkv", shown, times, beeps(3.0)), "raw.mkv", "content")
    ready(Cuts(), tmp_path).run(footage)
    assert footage.cuts == [30] and footage.size == (64, 48)


# --- clips ------------------------------------------------------------------------------------------------------------


def test_long_faces_are_cut_into_equal_parts_and_short_ones_are_left_out(tmp_path):
    step = ready(Clips(min_seconds=2.0, max_seconds=10.0, trim=0), tmp_path)
    assert step.parts(box_track(620, first=5)) == [(5, 207), (212, 206), (418, 207)]
    assert step.parts(box_track(250)) == [(0, 250)]
    step = ready(Clips(trim=2), tmp_path)
    assert step.parts(box_track(60)) == [(2, 56)] and step.parts(box_track(3)) == [(1, 1)]


def test_the_window_is_a_square_around_the_face_within_the_frame():
    boxes = np.array([[100, 100, 140, 160], [120, 100, 160, 160]], float)
    assert square_window(boxes, 0.5, (640, 480)) == [70, 70, 190, 190]
    assert square_window(boxes, 0.0, (640, 480)) == [100, 100, 160, 160]
    left, top, right, bottom = square_window(boxes, 3.0, (640, 301))
    assert (top, bottom) == (0, 300) and right - left == 300 and left >= 0
    assert square_window(boxes - [100, 100, 100, 100], 0.5, (640, 480))[:2] == [0, 0]


# --- who speaks, and sync ---------------------------------------------------------------------------------------------


class Judge:
    """Knows what it is told."""

    vshift = 15

    def protocol(self):
        return {}

    def weights_file(self):
        return None


def judged_footage(confidences, tmp_path, step):
    """Faces shown together, whose confidences are known."""
    footage = Footage(tmp_path, "a.mp4", "content", sound=20 * RATE, tracks=[box_track(100) for _ in confidences])
    for number, confidence in enumerate(confidences):
        figures = {"confidence": confidence, "distance": 7.0, "offset": 3.0}
        footage.candidates.append(Candidate(number, number, 0, 100, [0, 0, 64, 64], figures=figures))
    step = ready(step, tmp_path, "speaker")
    step.kit.judge = Judge()
    step.run(footage)
    return [candidate.left_out and candidate.left_out.reason for candidate in footage.candidates]


def test_the_face_that_agrees_best_speaks(tmp_path):
    assert judged_footage([2.0, 7.0, 1.0], tmp_path, ActiveSpeaker()) == ["not speaking", None, "not speaking"]
    assert judged_footage([0.4, 0.9], tmp_path, ActiveSpeaker()) == ["nobody speaks", "nobody speaks"]
    assert judged_footage([6.0, 6.2, 1.0], tmp_path, ActiveSpeaker()) == ["unclear who speaks"] * 3
    assert judged_footage([0.4], tmp_path, ActiveSpeaker()) == [None]  # alone: sync decides


def test_faces_that_are_shown_one_after_the_other_do_not_compete(tmp_path):
    step = ready(ActiveSpeaker(), tmp_path)
    one, other = (Candidate(n, n, first, 50, [0, 0, 2, 2]) for n, first in enumerate((0, 45)))
    assert not step.compete(one, other)
    other.first = 30
    assert step.compete(one, other)
    other.track = one.track
    assert not step.compete(one, other)


def test_without_a_judge_several_faces_are_left_out_and_one_is_kept(tmp_path):
    footage = Footage(tmp_path, "a.mp4", "content", tracks=[box_track(100)] * 3)
    footage.candidates = [Candidate(n, n, first, 50, [0, 0, 2, 2]) for n, first in enumerate((0, 0, 60))]
    ready(ActiveSpeaker(), tmp_path).run(footage)
    assert [c.left_out and c.left_out.reason for c in footage.candidates] == ["several faces", "several faces", None]


def test_moved_sound_shortens_a_clip_where_there_is_none():
    candidate = Candidate(0, 0, 0, 100, [0, 0, 2, 2])
    move(candidate, 4, heard=100)  # the sound was early: the first four frames have none
    assert (candidate.first, candidate.count, candidate.shift) == (4, 96, 4)
    candidate = Candidate(0, 0, 0, 100, [0, 0, 2, 2])
    move(candidate, -3, heard=100)
    assert (candidate.first, candidate.count, candidate.shift) == (0, 97, -3)
    candidate = Candidate(0, 0, 50, 100, [0, 0, 2, 2])
    move(candidate, -3, heard=1000)
    assert (candidate.first, candidate.count) == (50, 100)


def test_sync_names_its_reasons(tmp_path):
    assert judged_footage([2.0], tmp_path, Sync()) == ["not in sync"]
    assert judged_footage([5.0], tmp_path, Sync(max_offset=2)) == ["large offset"]
    assert judged_footage([5.0], tmp_path, Sync()) == [None]
    step = ready(Sync(max_offset=20), tmp_path)
    step.kit.judge = Judge()
    with pytest.raises(ConfigError, match="at most"):
        step.check()


# --- quality ----------------------------------------------------------------------------------------------------------


def test_loudness_is_of_full_scale_and_snr_of_known_noise():
    t = np.arange(4 * RATE) / RATE
    tone = 0.5 * np.sin(2 * np.pi * 200 * t)
    figures = sound_figures(np.rint(tone * 32767).astype(np.int16))
    assert figures["loudness"] == pytest.approx(20 * np.log10(0.5 / np.sqrt(2)), abs=0.01) and figures["clipped"] == 0
    noise = np.random.default_rng(2).normal(0, 0.5 / np.sqrt(2) / 10, len(t))  # 20 dB below the tone
    speech = np.where(t % 1 < 0.7, tone, 0)
    figures = sound_figures(np.rint((speech + noise) * 32767).astype(np.int16))
    assert figures["snr"] == pytest.approx(20, abs=1.0)
    assert sound_figures(np.zeros(RATE, np.int16)) == {"loudness": -96.0, "snr": 0.0, "clipped": 0.0}
    assert sound_figures(np.full(RATE, 32767, np.int16))["clipped"] == 1


def test_each_threshold_has_its_reason():
    good = {"face": 100, "found": 1, "sharpness": 0.5, "yaw": 5, "pitch": 5, "loudness": -20, "snr": 30, "clipped": 0}
    bad = {
        "face": (20, "small face"),
        "found": (0.1, "face lost"),
        "sharpness": (0.01, "blurred"),
        "yaw": (60, "turned away"),
        "pitch": (50, "looks up or down"),
        "loudness": (-60, "too quiet"),
        "snr": (3, "noisy"),
        "clipped": (0.2, "sound cut off"),
    }
    step = Quality()
    assert not list(step.faults(good)) and set(bad) == set(good) == set(step.limits())
    for name, (value, reason) in bad.items():
        assert [found for found, _ in step.faults({**good, name: value})] == [reason]
    off = Quality(0, 0, 0, 0, 0, -96, 0, 0)
    assert not list(off.faults({name: value for name, (value, _) in bad.items()}))


# --- the chain --------------------------------------------------------------------------------------------------------


def test_what_a_step_needs_is_put_in_before_it():
    assert [step.name for step in build_steps(["sync"], {})] == ["cuts", "tracks", "clips", "sync"]
    assert [step.name for step in build_steps(["split", "write"], {})] == ["cuts", "tracks", "clips", "write", "split"]
    with pytest.raises(RegistryError, match="did you mean 'quality'"):
        build_steps(["qualty"], {})
    with pytest.raises(ConfigError, match="named once"):
        build_steps(["cuts", "cuts"], {})
    with pytest.raises(ConfigError, match="trim"):
        build_steps(["clips"], {"clips": {"trim": -1}})
