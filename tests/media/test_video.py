import logging
import math
import os
import resource

import av
import cv2
import numpy as np
import pytest

from talkingface.errors import MediaError
from talkingface.media.audio import load_audio, write_audio
from talkingface.media.image import decode_image, write_image
from talkingface.media.video import Video, jpeg_degraded, write_video
from tests.media.clips import click_times, clicks, number_of, numbered_frame, numbered_frames, raw_clip


def numbers(video) -> list[int]:
    return [number_of(frame) for frame in video]


def psnr(one, other) -> float:
    return 10 * np.log10(255**2 / np.mean((np.asarray(one, float) - other) ** 2))


@pytest.fixture
def clip(tmp_path):
    """Two seconds at 25 fps, a click at 0.4 s and at 1.2 s."""
    path = tmp_path / "clip.mp4"
    write_video(path, numbered_frames(50), 25, audio=clicks([0.4, 1.2], 2))
    return path


# reading


def test_a_handle_decodes_nothing_and_knows_the_head(clip):
    video = Video(clip)
    assert (video.width, video.height, video.fps, video.has_audio, video.is_still) == (64, 48, 25, True, False)
    assert len(video) == 50 and video.duration == pytest.approx(2)
    frame = next(iter(video))
    assert frame.shape == (48, 64, 3) and frame.dtype == np.uint8


def test_every_loop_begins_anew(clip):
    video = Video(clip)
    assert numbers(video) == numbers(video) == list(range(50))
    assert video.read().shape == (50, 48, 64, 3)


@pytest.mark.parametrize("fps", [10, 12.5, 22.13, 24, 29.97, 50, 60])
def test_a_rate_asked_for_picks_the_frame_on_screen(clip, fps):
    video = Video(clip, fps=fps)
    expected = [int(index / fps * 25 + 1e-6) for index in range(int(np.ceil(2 * fps - 1e-6)))]
    assert numbers(video) == expected and len(video) == len(expected) and video.fps == fps


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("fps", [22.13, 24000 / 1001, 30000 / 1001, 60])
def test_the_own_rate_gives_each_frame_once(tmp_path, fps, suffix):
    path = tmp_path / f"a{suffix}"
    write_video(path, numbered_frames(100), fps)
    assert Video(path).fps == pytest.approx(fps, rel=1e-4)
    assert numbers(Video(path)) == numbers(Video(path, fps=fps)) == list(range(100))


def test_variable_frame_rate_keeps_time(tmp_path):
    times = np.cumsum([0, *np.random.default_rng(3).uniform(0.02, 0.12, 59)]).round(3)
    path = raw_clip(tmp_path / "a.mp4", times)
    shown = numbers(Video(path, fps=25))
    assert shown == [np.searchsorted(times, t + 1e-5, "right") - 1 for t in np.arange(len(shown)) / 25]
    assert len(shown) / 25 == pytest.approx(times[-1] + 0.07, abs=0.05)  # the last frame lasts as long as the average one
    assert len(Video(path)) / Video(path).fps == pytest.approx(times[-1] + 0.07, abs=0.05)


@pytest.mark.parametrize("start, stop", [(0.4, 1.0), (1.2, None), (0, 0.5), (1.97, None)])
def test_a_part_is_what_the_whole_shows_there(clip, start, stop):
    whole = numbers(Video(clip))
    part = Video(clip, start=start, stop=stop)
    first, last = int(start * 25), 50 if stop is None else math.ceil(stop * 25)
    assert numbers(part) == whole[first:last] and len(part) == last - first


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_a_part_far_inside_is_reached_by_seeking(tmp_path, suffix):
    path = raw_clip(tmp_path / f"long{suffix}", np.arange(500) / 25)
    assert numbers(Video(path, fps=12.5, start=16, stop=17)) == list(range(400, 425, 2))


@pytest.mark.parametrize("degrees", [90, 180, -90])
def test_the_rotation_flag_is_applied(tmp_path, degrees):
    path = raw_clip(tmp_path / "phone.mp4", np.arange(3) / 25, rotate=degrees)
    _, bgr = cv2.VideoCapture(str(path)).read()
    video = Video(path)
    frame = next(iter(video))
    assert (video.height, video.width) == frame.shape[:2] and np.array_equal(frame, bgr[..., ::-1])


def test_frames_may_be_changed_in_place(clip):
    for number, frame in enumerate(Video(clip, fps=50)):
        assert number_of(frame) == number // 2
        frame[:] = 0


def test_a_still_is_a_video_of_one_frame(tmp_path):
    write_image(tmp_path / "a.png", numbered_frame(7, (30, 41)))
    (tmp_path / "a.png").rename(tmp_path / "face.mp4")
    still = Video(tmp_path / "face.mp4", fps=30)
    assert still.is_still and not still.has_audio and (still.width, still.height, still.fps, len(still)) == (41, 30, 30, 1)
    assert np.array_equal(still.read(), numbered_frame(7, (30, 41))[None])


def test_a_folder_of_numbered_pictures_is_a_video(tmp_path):
    for number in (1, 2, 10):
        write_image(tmp_path / f"frame{number}.png", numbered_frame(number))
    (tmp_path / "notes1.txt").write_text("not a picture")
    video = Video(tmp_path)
    assert numbers(video) == [1, 2, 10] and len(video) == 3 and video.fps == 25 and len(video.content_hash()) == 32
    assert numbers(Video(tmp_path, start=0.04, stop=0.08)) == [2]


def test_decoding_equals_opencv(real_data):
    path = real_data / "voxceleb2" / "00002.mp4"
    capture = cv2.VideoCapture(str(path))
    for frame, _ in zip(Video(path), range(30), strict=False):
        assert np.array_equal(frame, capture.read()[1][..., ::-1])


def test_a_real_variable_rate_clip_lasts_as_long_as_its_sound(real_data):
    video = Video(real_data / "wild" / "vrt_1.mp4", fps=25)
    assert len(video) / 25 == pytest.approx(len(load_audio(video.path)) / 16_000, abs=0.1)


# damage


def test_what_is_no_video_is_named_with_a_remedy(tmp_path, clip):
    (tmp_path / "notes.txt").write_text("no video\n" * 100)
    (tmp_path / "text.mp4").write_text("no video\n" * 100)
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    (tmp_path / "list.txt").write_text(f"ffconcat version 1.0\nfile {clip.name}\n")
    (tmp_path / "list.m3u8").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:2,\n{clip.name}\n#EXT-X-ENDLIST\n")
    write_audio(tmp_path / "sound.wav", clicks([0.1], 1))
    for name in ("notes.txt", "text.mp4", "noise.mp4", "list.txt", "list.m3u8", "sound.wav"):
        with pytest.raises(MediaError, match=name):
            Video(tmp_path / name).read()


def test_a_missing_or_empty_path_is_refused_at_once(tmp_path):
    with pytest.raises(MediaError, match="does not exist"):
        Video(tmp_path / "nowhere.mp4")
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(MediaError, match="0 bytes"):
        Video(tmp_path / "empty.mp4")
    (tmp_path / "folder").mkdir()
    with pytest.raises(MediaError, match="numbered pictures"):
        Video(tmp_path / "folder").read()


@pytest.mark.parametrize("arguments", [{"fps": 0}, {"fps": -1}, {"fps": float("nan")}, {"start": -1}, {"start": 2, "stop": 1}])
def test_senseless_wishes_are_refused(clip, arguments):
    with pytest.raises(MediaError):
        Video(clip, **arguments)


def test_a_start_beyond_the_end_is_named(clip):
    with pytest.raises(MediaError, match="lasts 2.00 s"):
        Video(clip, start=30).read()


def noisy_clip(path):
    noise = np.random.default_rng(0).integers(0, 255, (60, 48, 64, 3)).astype(np.uint8)
    write_video(path, noise, 25)
    return path


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_a_clip_cut_short_gives_what_is_left_or_an_error(tmp_path, suffix):
    path = noisy_clip(tmp_path / f"a{suffix}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    if suffix == ".mkv":
        video = Video(path)
        assert 10 < len(video) < 50 and len(video.read()) == len(video)
    else:  # the index of an mp4 stands at its end
        with pytest.raises(MediaError, match="a.mp4 cannot be read.*cut short"):
            Video(path).read()


def test_broken_packets_are_counted_and_time_is_kept(tmp_path, caplog):
    path = tmp_path / "a.avi"
    write_video(path, numbered_frames(30), 25, lossless=True)
    data = bytearray(path.read_bytes())
    chunks = [at for at in range(len(data)) if data[at : at + 4] == b"00dc"][1:31]  # the first is in the head
    for chunk in chunks[8:11]:
        data[chunk + 8 : chunk + 40] = b"\xff" * 32
    path.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        seen = numbers(Video(path))
    assert seen == [*range(8), 7, 7, 7, *range(11, 30)]
    assert "3 packets could not be decoded; 27 frames" in caplog.text


# writing


def test_sound_and_frames_stay_together(tmp_path):
    """A click is heard when its frame is shown, at several rates and through two generations of files."""
    for fps in (25, 30000 / 1001, 50):
        write_video(tmp_path / "one.mp4", numbered_frames(int(2 * fps)), fps, audio=clicks([0.4, 1.2], 2))
        write_video(tmp_path / "two.mkv", Video(tmp_path / "one.mp4"), fps, audio=tmp_path / "one.mp4")
        assert click_times(load_audio(tmp_path / "two.mkv")) == pytest.approx([0.4, 1.2], abs=0.003)
        assert numbers(Video(tmp_path / "two.mkv")) == list(range(int(2 * fps)))


def test_the_file_lasts_as_long_as_its_frames(tmp_path):
    write_video(tmp_path / "long.mp4", numbered_frames(25), 25, audio=clicks([0.4], 60))
    assert len(load_audio(tmp_path / "long.mp4")) / 16_000 == pytest.approx(1, abs=0.065)
    write_video(tmp_path / "short.mp4", numbered_frames(50), 25, audio=clicks([0.4], 0.5))
    assert len(Video(tmp_path / "short.mp4")) == 50 and Video(tmp_path / "short.mp4").duration == 2
    assert len(load_audio(tmp_path / "short.mp4")) / 16_000 < 0.6


def test_sound_of_a_file_keeps_its_rate_and_channels(tmp_path):
    with av.open(str(tmp_path / "stereo.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=96_000, layout="stereo")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 2 * 96_000), np.int16), format="s16", layout="stereo")
        frame.sample_rate = 96_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    write_video(tmp_path / "a.mp4", numbered_frames(10), 25, audio=tmp_path / "stereo.wav")
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert (container.streams.audio[0].rate, container.streams.audio[0].channels) == (48_000, 2)


def test_odd_rates_of_an_array_are_carried(tmp_path):
    write_video(tmp_path / "a.mp4", numbered_frames(25), 25, audio=clicks([0.5], 1, 18_000), sample_rate=18_000)
    assert click_times(load_audio(tmp_path / "a.mp4")) == pytest.approx([0.5], abs=0.003)


@pytest.mark.parametrize("suffix", [".avi", ".mkv"])
def test_lossless_keeps_every_pixel_and_sample(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 256, (5, 31, 45, 3)).astype(np.uint8)
    wav = np.random.default_rng(1).integers(-32768, 32767, 3200).astype(np.int16)
    write_video(tmp_path / f"a{suffix}", noise, 25, audio=wav, lossless=True)
    assert np.array_equal(Video(tmp_path / f"a{suffix}").read(), noise)
    assert np.array_equal(load_audio(tmp_path / f"a{suffix}"), wav / np.float32(32768))


def test_colors_survive_for_us_and_for_readers_that_ignore_the_tags(tmp_path):
    y, x = np.mgrid[:120, :160]
    smooth = np.stack([x * 255 / 160, y * 255 / 120, 255 - (x + y) * 255 / 280], axis=-1).astype(np.uint8)
    write_video(tmp_path / "a.mp4", [smooth] * 3, 25)
    assert psnr(Video(tmp_path / "a.mp4").read()[1], smooth) > 38
    assert psnr(cv2.VideoCapture(str(tmp_path / "a.mp4")).read()[1][..., ::-1], smooth) > 38
    for color in ([255, 0, 0], [0, 255, 0], [0, 0, 255], [90, 160, 30]):
        write_video(tmp_path / "a.mp4", np.full((2, 64, 64, 3), color, np.uint8), 25)
        assert np.abs(Video(tmp_path / "a.mp4").read().astype(int) - color).max() <= 3


def test_an_odd_size_grows_by_one(tmp_path):
    write_video(tmp_path / "a.mp4", [numbered_frame(5, (33, 47))] * 2, 25)
    frames = Video(tmp_path / "a.mp4").read()
    assert frames.shape == (2, 34, 48, 3) and psnr(frames[0], numbered_frame(5, (34, 48))) > 35


def test_frames_are_consumed_as_they_come(tmp_path):
    """Memory does not grow with the number of frames: no more than a few are alive at a time."""
    import gc
    import weakref

    alive = weakref.WeakSet()

    class Frame(np.ndarray):
        pass

    def frames():
        for number in range(100):
            frame = numbered_frame(number).view(Frame)
            alive.add(frame)
            gc.collect(0)
            assert len(alive) < 20
            yield frame

    Frame.__hash__ = lambda self: id(self)
    assert write_video(tmp_path / "a.mp4", frames(), 25) == 100


@pytest.mark.parametrize("name", ["it's a “test”, 50%d.mp4", "été 日本.mp4", "a:b|c.mp4"])
def test_names_with_anything_in_them(tmp_path, name):
    write_video(tmp_path / name, numbered_frames(5), 25, audio=clicks([0.1], 0.2))
    assert numbers(Video(tmp_path / name)) == list(range(5)) and load_audio(tmp_path / name).size


def test_one_frame_is_a_video(tmp_path):
    write_video(tmp_path / "a.mp4", numbered_frames(1), 25)
    assert len(Video(tmp_path / "a.mp4")) == 1


def test_nothing_is_left_when_the_frames_fail(tmp_path):
    def frames():
        yield from numbered_frames(30)
        raise ValueError("the model failed")

    (tmp_path / "a.mp4").write_text("the video of yesterday")
    with pytest.raises(ValueError, match="the model failed"):
        write_video(tmp_path / "a.mp4", frames(), 25, audio=clicks([0.1], 5))
    assert os.listdir(tmp_path) == ["a.mp4"] and (tmp_path / "a.mp4").read_text() == "the video of yesterday"


def test_a_disk_that_fills_up_is_named_and_nothing_is_left(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (20, 96, 96, 3)).astype(np.uint8)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))  # the kernel refuses to write more into a file
    try:
        with pytest.raises(MediaError, match="a.mp4 cannot be written: File too large"):
            write_video(tmp_path / "a.mp4", noise, 25, crf=0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "frames, message",
    [
        ([], "no frames"),
        ([np.zeros((4, 4, 3), np.float32)], "frame 0 .* uint8"),
        ([np.zeros((16, 16, 3), np.uint8), np.zeros((16, 18, 3), np.uint8)], "frame 1 is 18 x 16 but the first was 16 x 16"),
        ([np.zeros((16, 16), np.uint8)], "frame 0"),
    ],
)
def test_unfit_frames_are_named_and_nothing_is_left(tmp_path, frames, message):
    with pytest.raises(MediaError, match=message):
        write_video(tmp_path / "a.mp4", frames, 25)
    assert not list(tmp_path.iterdir())


def test_unfit_sound_suffix_or_rate_is_named(tmp_path):
    for arguments, message in [
        ({"audio": np.empty(0, np.float32)}, "no samples"),
        ({"audio": np.zeros((2, 100), np.float32)}, "one row"),
        ({"audio": tmp_path / "nowhere.wav"}, "nowhere.wav does not exist"),
        ({"lossless": True}, "lossless videos"),
        ({"fps": 0}, "frames per second"),
    ]:
        with pytest.raises(MediaError, match=message):
            write_video(tmp_path / "a.mp4", numbered_frames(3), **{"fps": 25, **arguments})
    with pytest.raises(MediaError, match="'.gif'"):
        write_video(tmp_path / "a.gif", numbered_frames(3), 25)
    assert not list(tmp_path.iterdir())


# JPEG


@pytest.mark.parametrize("name", ["syncnet/evaluate", "syncnet/evaluate_lrs"])
def test_jpeg_degraded_gives_the_pixels_of_the_recorded_files(golden, tmp_path, name):
    for recorded in golden(name):
        path = tmp_path / f"clip{bytes(recorded['in_suffix']).decode()}"
        path.write_bytes(recorded["in_clip"].tobytes())
        data, offsets = recorded["in_jpg_bytes"].tobytes(), recorded["in_jpg_offsets"]
        files = [data[begin:end] for begin, end in zip(offsets, offsets[1:], strict=False)]
        made = list(jpeg_degraded(Video(path)))
        assert len(made) == len(files)
        assert all(np.array_equal(frame, decode_image(file)) for frame, file in zip(made, files, strict=True))


def test_jpeg_degraded_takes_arrays_and_loses_quality_over_time(clip):
    rng = np.random.default_rng(0)
    frames = [cv2.GaussianBlur(rng.integers(0, 256, (224, 224, 3)).astype(np.uint8), (0, 0), 2) for _ in range(25)]
    degraded = list(jpeg_degraded(frames))
    assert len(degraded) == 25 and degraded[0].shape == (224, 224, 3)
    assert psnr(degraded[0], frames[0]) > psnr(degraded[-1], frames[-1]) + 2
    assert len(list(jpeg_degraded(Video(clip)))) == 50
