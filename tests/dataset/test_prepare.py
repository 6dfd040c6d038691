import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from talkingface.dataset.base import Clip
from talkingface.dataset.prepare import prepare_clips
from talkingface.dataset.store import Store, is_alive
from talkingface.dataset.workers import in_processes
from talkingface.errors import CheckpointError, DatasetError, FaceError, MediaError

ROOT = Path(__file__).parents[2]


def shout(clip, folder, calls=None):
    """A model's `prepare` in small: two files of features; some names cannot be used."""
    text = clip.face.read_text()
    if calls is not None:
        calls.append(clip.name)
    (folder / "half").write_text(text[: len(text) // 2])
    if "noface" in clip.name:
        raise FaceError(f"{clip.face} shows no face in any frame.")
    if "crash" in clip.name:
        os._exit(9)
    if "bug" in clip.name:
        raise ZeroDivisionError("a bug")
    (folder / "whole").write_text(text.upper())


def slowly(clip, folder):
    time.sleep(0.03)
    shout(clip, folder)


def with_media(clip, folder):
    """What models do: read the video and its sound."""
    from talkingface.media.audio import load_audio
    from talkingface.media.video import Video

    np.savez(folder / "features.npz", frames=Video(clip.face).read(), wav=load_audio(clip.audio))


@pytest.fixture
def make_clips(tmp_path):
    def make(*names):
        clips = []
        for name in names:
            path = tmp_path / "source" / f"{name}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                path.write_text(f"the content of {name}")
            clips.append(Clip(name, path, path, truth=path))
        return clips

    return make


def contents(folder):
    """Every file and folder below a folder, with the files' bytes."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}


def names(items):
    return [item.name for item in items]


def test_each_clip_gets_its_features_and_knows_where(make_clips, tmp_path):
    result = prepare_clips(make_clips("b", "a/x"), shout, tmp_path / "out", workers=1, fingerprint={"model": "Toy", "size": 96})
    assert names(result.clips) == ["b", "a/x"] and result.made == 2 and not result.set_aside
    assert [(clip.prepared / "whole").read_text() for clip in result.clips] == ["THE CONTENT OF B", "THE CONTENT OF A/X"]
    assert all(clip.prepared.is_relative_to(result.folder) and result.folder.name.startswith("Toy-") for clip in result.clips)
    assert json.loads((result.folder / "settings.json").read_text()) == {"model": "Toy", "size": 96}


def test_features_are_made_once(make_clips, tmp_path):
    clips, calls = make_clips("a", "b"), []
    for _ in range(2):
        result = prepare_clips(clips, partial(shout, calls=calls), tmp_path / "out", workers=1)
    assert calls == ["a", "b"] and result.made == 0 and names(result.clips) == ["a", "b"]


def test_a_changed_file_is_prepared_again_and_a_touched_one_is_not(make_clips, tmp_path):
    clips, calls = make_clips("a", "b", "c"), []
    prepare = partial(shout, calls=calls)
    prepare_clips(clips, prepare, tmp_path / "out", workers=1)
    clips[0].face.write_text("something else")
    os.utime(clips[1].face, (1, 1))
    result = prepare_clips(clips, prepare, tmp_path / "out", workers=1)
    assert calls == ["a", "b", "c", "a"] and result.made == 1
    assert (result.clips[0].prepared / "whole").read_text() == "SOMETHING ELSE"


def test_new_landmarks_beside_a_video_count_as_a_change(make_clips, tmp_path):
    clips = make_clips("a")
    prepare_clips(clips, shout, tmp_path / "out", workers=1)
    clips[0].face.with_name("a.landmarks.npz").write_bytes(b"points")
    assert prepare_clips(clips, shout, tmp_path / "out", workers=1).made == 1


def test_other_settings_have_other_folders_and_the_order_of_settings_does_not_matter(make_clips, tmp_path):
    clips = make_clips("a")
    fingerprints = {"x": 1, "y": [2]}, {"y": (2,), "x": 1}, {"x": 2, "y": [2]}
    folders = [prepare_clips(clips, shout, tmp_path / "out", workers=1, fingerprint=f).folder for f in fingerprints]
    assert folders[0] == folders[1] != folders[2]


def test_a_clip_that_cannot_be_used_is_set_aside_with_its_reason_and_not_tried_again(make_clips, tmp_path, caplog):
    caplog.set_level("INFO")
    clips, calls = make_clips("a", "noface", "b"), []
    clips.append(Clip("gone", tmp_path / "gone.mp4", tmp_path / "gone.mp4"))
    for _ in range(2):
        result = prepare_clips(clips, partial(shout, calls=calls), tmp_path / "out", workers=1)
        assert names(result.clips) == ["a", "b"] and names(result.set_aside) == ["noface", "gone"]
        assert "shows no face" in result.set_aside[0].reason and "gone.mp4 does not exist" in result.set_aside[1].reason
    assert calls == ["a", "noface", "b"] and "2 clips prepared" in caplog.text and "2 set aside" in caplog.text
    records = [json.loads(line) for line in (tmp_path / "out" / "set_aside.jsonl").read_text().splitlines()]
    assert [(record["clip"], record["reason"]) for record in records] == [(s.name, s.reason) for s in reversed(result.set_aside)]
    assert not list(result.folder.glob("noface*"))


def test_a_clip_that_was_mended_is_tried_again_and_leaves_the_list(make_clips, tmp_path):
    clips = [*make_clips("a"), Clip("late", tmp_path / "late.mp4", tmp_path / "late.mp4")]
    prepare_clips(clips, shout, tmp_path / "out", workers=1)
    clips[1].face.write_text("here now")
    result = prepare_clips(clips, shout, tmp_path / "out", workers=1)
    assert names(result.clips) == ["a", "late"] and (tmp_path / "out" / "set_aside.jsonl").read_text() == ""


def test_a_set_aside_clip_is_tried_again_with_other_settings(make_clips, tmp_path):
    clips, calls = make_clips("a", "noface"), []
    for size in (1, 2, 1):
        prepare_clips(clips, partial(shout, calls=calls), tmp_path / "out", workers=1, fingerprint={"size": size})
    assert calls == ["a", "noface"] * 2


def test_if_no_clip_can_be_used_the_first_reasons_are_told(make_clips, tmp_path):
    with pytest.raises(DatasetError, match=r"none of 2 clips can be used. noface1: .*shows no face.* noface2: .*set_aside.jsonl"):
        prepare_clips(make_clips("noface1", "noface2"), shout, tmp_path / "out", workers=1)


def test_nothing_to_prepare_is_no_error(tmp_path):
    assert prepare_clips([], shout, tmp_path / "out").clips == []


@pytest.mark.parametrize("workers", [1, 2])
def test_a_bug_is_no_fault_of_the_clip(make_clips, tmp_path, workers):
    with pytest.raises(ZeroDivisionError, match="a bug"):
        prepare_clips(make_clips("a", "bug", "b", "c"), shout, tmp_path / "out", workers=workers)
    assert not (tmp_path / "out" / "set_aside.jsonl").exists() and not list((tmp_path / "out").glob("*/.partial/*"))


def raising(error):
    def prepare(clip, folder):
        raise error

    return prepare


def test_missing_weights_are_no_fault_of_the_clip(make_clips, tmp_path):
    with pytest.raises(CheckpointError):
        prepare_clips(make_clips("a"), raising(CheckpointError("no detector")), tmp_path / "out", workers=1)


def test_a_full_disk_is_no_fault_of_the_clip(make_clips, tmp_path):
    def prepare(clip, folder):
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise MediaError("x.npz cannot be written") from error

    with pytest.raises(DatasetError, match=r"out cannot be written: No space left on device. .* --prepare.dir"):
        prepare_clips(make_clips("a"), prepare, tmp_path / "out", workers=1)
    assert not (tmp_path / "out" / "set_aside.jsonl").exists()


def test_a_folder_that_cannot_be_made_is_named(make_clips, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DatasetError, match=r"file/out cannot be written: .* --prepare.dir"):
        prepare_clips(make_clips("a"), shout, tmp_path / "file" / "out")


def test_two_clips_of_one_name_are_refused(make_clips, tmp_path):
    with pytest.raises(DatasetError, match="two clips have the same name"):
        prepare_clips(make_clips("a", "a"), shout, tmp_path / "out")


def test_no_name_leads_to_or_into_the_features_of_another(tmp_path):
    store = Store(tmp_path, {})
    odd = [
        "a",
        "a/b",
        "a.clip/b",
        "a%2Eclip/b",
        "../a",
        ".a",
        "/a",
        "a//b",
        "%/a",
        "話す 'x' \"y\"",
        "x" * 300,
        "x" * 301,
        ".partial/a",
    ]
    folders = [store.clip_folder(Clip(name, Path("a"), Path("a"))) for name in odd]
    resolved = {folder.resolve() for folder in folders}
    assert len(resolved) == len(odd) and not any(one in other.parents for one in resolved for other in resolved)
    assert all(folder.is_relative_to(store.home) and not folder.is_relative_to(store.partial) for folder in resolved)


def test_two_processes_make_what_one_makes(make_clips, tmp_path):
    clips = make_clips(*(f"s{i % 3}/clip {i}" for i in range(6)), "noface1", "noface2")
    one = prepare_clips(clips, shout, tmp_path / "one", workers=1, fingerprint={"x": 1})
    two = prepare_clips(clips, shout, tmp_path / "two", workers=2, fingerprint={"x": 1})
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert names(one.clips) == names(two.clips) and one.set_aside == two.set_aside and one.made == two.made == 6


def test_a_clip_that_kills_its_process_is_set_aside_and_the_others_are_not(make_clips, tmp_path):
    result = prepare_clips(make_clips("a", "b", "crash1", "c", "crash2", "d", "e"), shout, tmp_path / "out", workers=2)
    assert names(result.clips) == ["a", "b", "c", "d", "e"] and names(result.set_aside) == ["crash1", "crash2"]
    assert all("died: a damaged file" in clip.reason for clip in result.set_aside)
    assert not list((tmp_path / "out").glob("*/.partial/*"))


class CannotStart:
    """Something that a new process fails to receive."""

    def __call__(self, item):
        return item

    def __reduce__(self):
        return os._exit, (1,)


def test_processes_that_cannot_start_are_reported():
    with pytest.raises(DatasetError, match="--prepare.workers=1"):
        list(in_processes(CannotStart(), [1, 2], 2))


SCRIPT = """
    import signal
    import sys
    from pathlib import Path
    from talkingface.dataset.base import Clip
    from talkingface.dataset.prepare import prepare_clips
    from tests.dataset.test_prepare import slowly

    if __name__ == "__main__":
        signal.signal(signal.SIGINT, signal.default_int_handler)    # a shell's background jobs ignore it
        clips = [Clip(p.stem, p, p, truth=p) for p in sorted(Path(sys.argv[1]).glob("*.mp4"))]
        prepare_clips(clips, slowly, Path(sys.argv[2]), workers=int(sys.argv[3]))
"""


@pytest.fixture
def start(tmp_path):
    """Start a preparation of all clips below `source`, in a process of its own."""
    (tmp_path / "script.py").write_text(textwrap.dedent(SCRIPT))
    started = []

    def start(out, workers):
        command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "source"), str(out), str(workers)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        started.append(subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def processes_of(folder):
    """Numbers of the processes that are alive and making something in a folder."""
    return [path for path in folder.glob("*/.partial/*") if is_alive(int(path.name.split("-")[1]))]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_killed_in_the_middle_and_continued_is_as_if_uninterrupted(make_clips, start, tmp_path, workers, how):
    clips = make_clips(*(f"clip{i:02}" for i in range(30)), "clip05-noface", "clip25-noface")
    clips.sort(key=lambda clip: clip.name)
    process = start(tmp_path / "out", workers)
    wait_for(lambda: len(list((tmp_path / "out").glob("*/clip*.clip"))) >= 8)
    process.send_signal(how)
    assert process.wait() != 0
    wait_for(lambda: not processes_of(tmp_path / "out"), 10)
    done = len(list((tmp_path / "out").glob("*/clip*.clip")))
    assert 8 <= done < 30
    if how == signal.SIGINT:
        assert not list((tmp_path / "out").glob("*/.partial/*"))
    result = prepare_clips(clips, shout, tmp_path / "out", workers=1)
    assert result.made == 30 - done and len(result.set_aside) == 2
    prepare_clips(clips, shout, tmp_path / "whole", workers=1)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_two_preparations_of_one_folder_at_once_do_not_break_each_other(make_clips, start, tmp_path):
    clips = sorted(make_clips(*(f"clip{i:02}" for i in range(20)), "clip05-noface"), key=lambda clip: clip.name)
    both = [start(tmp_path / "out", 1) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    prepare_clips(clips, shout, tmp_path / "whole", workers=1)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_threads_of_one_process_do_not_break_each_other(make_clips, tmp_path):
    clips = make_clips(*(f"clip{i:02}" for i in range(10)))
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda _: prepare_clips(clips, shout, tmp_path / "out", workers=1), range(4)))
    assert all(len(result.clips) == 10 for result in results) and not list((tmp_path / "out").glob("*/.partial/*"))


def test_a_line_that_a_killed_process_left_unfinished_is_no_record(make_clips, tmp_path):
    clips = make_clips("a", "noface")
    prepare_clips(clips, shout, tmp_path / "out", workers=1)
    path = tmp_path / "out" / "set_aside.jsonl"
    whole = path.read_text()
    path.write_text(whole[:-20])
    prepare_clips(clips, shout, tmp_path / "out", workers=1)
    assert path.read_text() == whole


@pytest.fixture
def video(tmp_path):
    from talkingface.media.video import write_video

    frames = np.random.default_rng(0).integers(0, 255, (20, 48, 64, 3), dtype=np.uint8)
    write_video(tmp_path / "good.mp4", frames, 25, audio=np.sin(np.arange(12800) / 5).astype(np.float32) * 0.3)
    write_video(tmp_path / "silent.mp4", frames, 25)
    (tmp_path / "cut.mp4").write_bytes((tmp_path / "good.mp4").read_bytes()[:3000])
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("this is no video")
    return tmp_path


def test_broken_videos_are_counted_with_their_reasons(video):
    clips = [Clip(name, video / f"{name}.mp4", video / f"{name}.mp4") for name in ("good", "silent", "cut", "empty", "text")]
    result = prepare_clips(clips, with_media, video / "out", workers=1)
    assert names(result.clips) == ["good"] and (result.clips[0].prepared / "features.npz").is_file()
    reasons = {clip.name: clip.reason for clip in result.set_aside}
    assert reasons.keys() == {"silent", "cut", "empty", "text"} and all(
        f"{name}.mp4" in reason for name, reason in reasons.items()
    )


def test_the_real_clips_are_prepared(real_data, tmp_path):
    from talkingface.dataset.voxceleb2 import VoxCeleb2

    source = tmp_path / "clips"
    source.mkdir()
    shutil.copy(real_data / "voxceleb2" / "00002.mp4", source)
    (clip,) = prepare_clips(VoxCeleb2(source).clips("test"), with_media, tmp_path / "out", workers=1).clips
    with np.load(clip.prepared / "features.npz") as features:
        assert features["frames"].shape[1:] == (224, 224, 3)
