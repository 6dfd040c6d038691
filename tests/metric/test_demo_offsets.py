"""The demo world's judge finds every offset from -10 to 10 frames exactly, whether picture or sound was moved."""

import pytest

from talkingface.dataset.demo.clip import render_clip
from talkingface.dataset.demo.look import make_speaker
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


@pytest.mark.slow
@pytest.mark.parametrize("offset", [-10, -4, 6, 10])
def test_an_offset_of_the_picture_is_found(tmp_path, offset):
    made = render_clip(make_speaker(14), seconds=4.0, take=1, offset_frames=offset)
    write_video(tmp_path / "clip.mp4", made.frames, 25, audio=made.wav)
    assert DemoLSE().score(Video(tmp_path / "clip.mp4"))["offset (demo judge)"] == -offset
