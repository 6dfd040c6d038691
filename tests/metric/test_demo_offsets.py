"""The demo world's judge finds offsets from -10 to 10 frames exactly, also in faces that are framed otherwise."""

import pytest

from talkingface.dataset.demo.clip import render_clip
from talkingface.dataset.demo.look import make_speaker
from talkingface.errors import ConfigError
from talkingface.media.video import Video, write_video
from talkingface.metric.screening import Screening
from talkingface.metric.sync import DemoLSE


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    made = render_clip(make_speaker(14), seconds=4.0, take=1)
    path = tmp_path_factory.mktemp("offsets") / "clip.mp4"
    write_video(path, made.frames, 25, audio=made.wav)
    return path


def test_every_offset_of_the_sound_is_found(clip):
    metric, found = DemoLSE(), {}
    for late in range(-10, 11):
        screening = Screening(Video(clip), late=late)
        watch = metric.watch(screening)
        screening.show([watch], metric.fps)
        found[late] = watch.numbers()["offset (demo judge)"]
    assert found == {late: -late for late in range(-10, 11)}


def test_a_face_that_is_framed_otherwise_is_judged_as_in_the_demo_world(tmp_path, clip):
    tight = [frame[20:100, 24:104] for frame in Video(clip)]
    write_video(tmp_path / "tight.mp4", tight, 25, audio=clip)
    frame, part = tight[0], (-24 / 80, -20 / 80, 128 / 80)
    judges = {"as it is": DemoLSE(), "as in the demo world": DemoLSE(part=part)}
    scores = {name: judge.score(Video(tmp_path / "tight.mp4"))["LSE-C (demo judge)"] for name, judge in judges.items()}
    assert scores["as in the demo world"] > 0.9 * DemoLSE().score(Video(clip))["LSE-C (demo judge)"] > 2 * scores["as it is"]
    assert DemoLSE(part=(0.25, 0.5, 0.5)).part_of(frame).tolist() == frame[40:, 20:60].tolist()
    assert DemoLSE().part_of(frame) is frame
    assert judges["as it is"].protocol() != judges["as in the demo world"].protocol()
    with pytest.raises(ConfigError, match="DemoLSE.part"):
        DemoLSE(part=(0.0, 0.0, 0.0))


@pytest.mark.slow
@pytest.mark.parametrize("offset", [-10, -4, 6, 10])
def test_an_offset_of_the_picture_is_found(tmp_path, offset):
    made = render_clip(make_speaker(14), seconds=4.0, take=1, offset_frames=offset)
    write_video(tmp_path / "clip.mp4", made.frames, 25, audio=made.wav)
    assert DemoLSE().score(Video(tmp_path / "clip.mp4"))["offset (demo judge)"] == -offset
