"""Bad input, through the command line: one clear error or a reason in the report, nothing half-written, the rest goes on."""

import errno
import json
import logging
import os
import resource
import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from talkingface.cli import main
from talkingface.dataset.demo.clip import render_clip
from talkingface.dataset.demo.look import make_speaker
from talkingface.media.audio import write_audio
from talkingface.media.image import write_image
from talkingface.media.video import Video, write_video
from talkingface.model.syncnet import SyncNetModel
from talkingface.model.wav2lip import Wav2Lip

WIDTH = 0.1  # of the networks
BOX = "--Wav2Lip.box=20,90,16,80"
FRAMES = 25


# --- what the tests share ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def props(tmp_path_factory):
    """A drawn head that speaks for a second, its speech, and weights that nobody trained."""
    folder = tmp_path_factory.mktemp("props")
    clip = render_clip(make_speaker(0, 2020), seconds=1.0, size=96)
    write_video(folder / "head.mp4", clip.frames[:FRAMES], 25, clip.wav)
    np.savez(folder / "head.landmarks.npz", landmarks=clip.landmarks[:FRAMES], detected=np.ones(FRAMES, bool))
    np.save(folder / "frames.npy", clip.frames[:FRAMES])
    write_audio(folder / "speech.wav", clip.wav[:16_000])
    torch.manual_seed(0)
    Wav2Lip(width=WIDTH).save(folder / "weights")
    SyncNetModel(width=0.05, image_size=96, embedding=16).save(folder / "other")
    return folder


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Work in an empty folder; give the log back as it was."""
    logger = logging.getLogger("talkingface")
    before = (logger.handlers, logger.level, logger.propagate)
    monkeypatch.chdir(tmp_path)
    yield
    logger.handlers, logger.level, logger.propagate = before


@pytest.fixture
def command(capsys):
    """Run the command line: exit code, standard output, and the lines on standard error that begin with "error: "."""

    def run(*argv):
        capsys.readouterr()
        code = main([str(word) for word in argv])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        errors = [line for line in err.splitlines() if line.startswith("error: ")]
        assert len(errors) <= 1
        return code, out, "".join(errors)

    return run


@pytest.fixture
def generate(command, props, tmp_path):
    """Generate out/video.mp4; the tests say what is different from a good command."""

    def run(face=None, audio=None, output=tmp_path / "out" / "video.mp4", more=(BOX,), weights=None):
        face, audio = face or props / "head.mp4", audio or props / "speech.wav"
        weights = weights or props / "weights" / "generator.safetensors"
        own = (f"--evaluate_model_file={weights}", f"--Wav2Lip.width={WIDTH}", *more)
        return command("generate", "--model=Wav2Lip", "--quiet", f"--face={face}", f"--audio={audio}", f"--output={output}", *own)

    return run


@pytest.fixture
def made(generate, tmp_path):
    """Generate from something unusual that works: the video that was made."""

    def run(*args, output=tmp_path / "out" / "video.mp4", **kwargs):
        code, out, error = generate(*args, output=output, **kwargs)
        assert (code, error) == (0, "")
        assert contents(output.parent) == {output.name}
        return Video(output)

    return run


@pytest.fixture
def refused(generate, tmp_path):
    """Generate from something that does not work: the message. Nothing may be left behind."""

    def run(*args, code=3, **kwargs):
        got, out, error = generate(*args, **kwargs)
        assert got == code and out == "" and error
        assert not contents(tmp_path / "out")
        return error

    return run


def contents(folder):
    """The names of all that lies in a folder, hidden files too."""
    return set(os.listdir(folder)) if folder.is_dir() else set()


def picture(number=0, height=96, width=96):
    ramp = np.add.outer(np.arange(height), np.arange(width))
    return np.stack([(ramp * gain + 9 * number) % 256 for gain in (1, 2, 3)], axis=2).astype(np.uint8)


def tone(seconds, sample_rate=16_000):
    return (0.3 * np.sin(np.arange(round(seconds * sample_rate)) / sample_rate * 2 * np.pi * 220)).astype(np.float32)


def encoded(path, times, width=96, height=96, rotate=0):
    """A video without sound whose frames are shown at these seconds; without any, a video stream that holds nothing."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        if rotate:
            stream.set_display_rotation(rotate)
        container.start_encoding()
        for number, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(picture(number, height, width), format="rgb24")
            frame.pts, frame.time_base = round(time * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def shortened(source, path, part):
    """A file that was cut off."""
    path.write_bytes(source.read_bytes()[: int(source.stat().st_size * part)])
    return path


def sound_only(path):
    """A video file with a sound track and no picture."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(tone(0.5)[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 16_000, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def text(path):
    path.write_text("this is no video\n" * 50)
    return path


def empty(path):
    path.touch()
    return path


# --- faces ------------------------------------------------------------------------------------------------------------


BAD_VIDEOS = {
    "empty": (empty, "is empty (0 bytes)"),
    "without frames": (lambda path: encoded(path, []), "video"),
    "sound only": (sound_only, "holds no video, only sound"),
    "text": (text, "video"),
    "a folder": (lambda path: path.mkdir() or path, "folder without numbered pictures"),
    "not there": (lambda path: path, "does not exist"),
}


@pytest.mark.parametrize("kind", BAD_VIDEOS)
def test_a_face_that_is_no_video_is_named(refused, tmp_path, kind):
    make, cause = BAD_VIDEOS[kind]
    error = refused(make(tmp_path / "bad.mp4"))
    assert "bad.mp4" in error and cause in error


@pytest.mark.parametrize("part", [0.02, 0.5, 0.95])
def test_a_video_that_was_cut_off_is_named(refused, props, tmp_path, part):
    assert "short.mp4" in refused(shortened(props / "head.mp4", tmp_path / "short.mp4", part))


def test_a_stream_that_was_cut_off_is_used_as_far_as_it_goes(made, props, tmp_path):
    write_video(tmp_path / "whole.mkv", np.load(props / "frames.npy"), 25)
    video = made(shortened(tmp_path / "whole.mkv", tmp_path / "short.mkv", 0.6))
    assert len(video) > 10 and video.has_audio


def test_one_frame_speaks_as_long_as_the_speech(made, tmp_path):
    write_video(tmp_path / "one.mp4", [picture()], 25)
    video = made(tmp_path / "one.mp4")
    assert abs(video.duration - 1.0) < 0.25 and len(np.unique(video.read()[:, :10], axis=0)) == 1


@pytest.mark.parametrize("detector", ["files", "dlib"])
def test_a_video_without_a_face_is_named_with_a_remedy(refused, tmp_path, detector):
    write_video(tmp_path / "wall.mp4", [np.full((96, 96, 3), 128, np.uint8)] * 5, 25)
    error = refused(tmp_path / "wall.mp4", more=(f"--face.detector={detector}",))
    assert "wall.mp4" in error and ("no face was found" if detector == "dlib" else "no landmarks") in error


def test_frames_without_a_face_stay_as_they_are_and_are_told(generate, props, tmp_path):
    shutil.copy(props / "head.mp4", tmp_path / "head.mp4")
    known = dict(np.load(props / "head.landmarks.npz"))
    known["detected"][-8:] = False
    np.savez(tmp_path / "head.landmarks.npz", **known)
    code, out, _ = generate(tmp_path / "head.mp4", more=("--face.max_gap=0", "--json"))
    result = json.loads(out)
    assert code == 0 and sum(result["untouched"].values()) > 0
    assert contents(tmp_path / "out") == {"video.mp4", "video.frames.json"}
    notes = json.loads((tmp_path / "out" / "video.frames.json").read_text())["notes"]
    assert len(notes) == result["frames"] == len(Video(tmp_path / "out" / "video.mp4")) and notes[0] == "" and notes[-1]


def test_a_rate_of_22_13_is_kept(made, props, tmp_path):
    write_video(tmp_path / "slow.mp4", np.load(props / "frames.npy"), 22.13)
    video = made(tmp_path / "slow.mp4")
    assert video.fps == pytest.approx(22.13, abs=0.01) and abs(video.duration - 1.0) < 0.25


def test_a_variable_rate_keeps_time(made, tmp_path):
    times = np.cumsum([0.02, 0.06] * 13)
    video = made(encoded(tmp_path / "vfr.mp4", times))
    assert abs(video.duration - 1.0) < 0.25


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_rotation_flag_is_applied(made, tmp_path, degrees):
    times = np.arange(25) / 25
    video = made(encoded(tmp_path / "turned.mp4", times, width=128, height=96, rotate=degrees))
    assert (video.width, video.height) == ((128, 96) if degrees == 180 else (96, 128))
    source = Video(tmp_path / "turned.mp4").read()[0]
    assert np.abs(video.read()[0][:12].astype(int) - source[:12]).mean() < 20  # above the box, where nothing is painted


def test_odd_sizes_grow_by_one(made, tmp_path):
    write_video(tmp_path / "odd.mkv", [picture(t, 95, 97) for t in range(10)], 25, lossless=True)
    video = made(tmp_path / "odd.mkv")
    assert (video.width, video.height) == (98, 96)


@pytest.mark.parametrize("kind", ["alpha", "grey", "grey16", "palette"])
def test_unusual_stills_speak(made, tmp_path, kind):
    from PIL import Image

    image = Image.fromarray(picture())
    forms = {"alpha": image.convert("RGBA"), "grey": image.convert("L"), "palette": image.convert("P")}
    grey16 = Image.fromarray(picture()[..., 0].astype(np.uint16) * 257)
    forms.get(kind, grey16).save(tmp_path / "still.png")
    video = made(tmp_path / "still.png")
    assert video.fps == 25 and abs(video.duration - 1.0) < 0.25


def test_a_still_that_was_cut_off_is_named(refused, tmp_path):
    write_image(tmp_path / "whole.png", np.random.default_rng(0).integers(0, 256, (96, 96, 3)).astype(np.uint8))
    assert "short.png" in refused(shortened(tmp_path / "whole.png", tmp_path / "short.png", 0.5))


@pytest.mark.parametrize("box", ["0,500,0,50", "50,20,0,50", "1,2,3", "a,b,c,d"])
def test_a_box_that_is_none_is_refused(refused, box):
    code = 3 if box.count(",") == 3 and "a" not in box else 2
    assert "Wav2Lip.box" in refused(more=(f"--Wav2Lip.box={box}",), code=code)


# --- speech -----------------------------------------------------------------------------------------------------------


def test_a_video_without_sound_cannot_be_the_speech(refused, tmp_path):
    write_video(tmp_path / "mute.mp4", [picture()] * 10, 25)
    error = refused(audio=tmp_path / "mute.mp4")
    assert "mute.mp4" in error and "no sound" in error


@pytest.mark.parametrize("make", [empty, text, lambda path: path], ids=["empty", "text", "not there"])
def test_speech_that_is_no_sound_is_named(refused, tmp_path, make):
    assert "bad.wav" in refused(audio=make(tmp_path / "bad.wav"))


@pytest.mark.parametrize("samples", [0, 1, 1600])
def test_speech_below_a_fifth_of_a_second_is_refused_with_its_length(refused, tmp_path, samples):
    write_audio(tmp_path / "short.wav", tone(samples / 16_000))
    error = refused(audio=tmp_path / "short.wav")
    assert "short.wav" in error and ("0.2 s" in error or samples == 0)


@pytest.mark.parametrize("seconds", [0.4, 2.3])
def test_the_video_is_as_long_as_the_speech(made, tmp_path, seconds):
    write_audio(tmp_path / "speech.wav", tone(seconds))
    video = made(audio=tmp_path / "speech.wav")
    assert abs(video.duration - seconds) < 0.25 and video.has_audio


@pytest.mark.parametrize(("sample_rate", "channels"), [(8000, 1), (48_000, 2), (44_100, 1)])
def test_other_forms_of_sound_are_heard(made, tmp_path, sample_rate, channels):
    from scipy.io import wavfile

    wav = (tone(1.0, sample_rate) * 32767).astype(np.int16)
    wavfile.write(tmp_path / "speech.wav", sample_rate, np.stack([wav] * channels, axis=1))
    video = made(audio=tmp_path / "speech.wav")
    assert abs(video.duration - 1.0) < 0.25 and video.has_audio


def test_silence_is_speech_too(made, tmp_path):
    write_audio(tmp_path / "silence.wav", np.zeros(16_000, np.float32))
    video = made(audio=tmp_path / "silence.wav")
    assert abs(video.duration - 1.0) < 0.25


def test_sound_that_was_cut_off_is_used_as_far_as_it_goes(made, props, tmp_path):
    video = made(audio=shortened(props / "speech.wav", tmp_path / "short.wav", 0.5))
    assert abs(video.duration - 0.5) < 0.25


# --- names and places -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["two words", 'it\'s "quoted"', "Grüße 你好", "100% $HOME;`ls`", "a:b", "--x=1", "#1", "-"])
def test_any_name_will_do(made, props, tmp_path, name):
    folder = tmp_path / f"{name} folder"
    folder.mkdir()
    shutil.copy(props / "head.mp4", folder / f"{name}.mp4")
    shutil.copy(props / "speech.wav", folder / f"{name}.wav")
    output = folder / "out" / f"{name}.mp4"
    assert len(made(folder / f"{name}.mp4", folder / f"{name}.wav", output=output)) > 15


@pytest.fixture
def read_only(tmp_path):
    """A folder that nobody may write to; what root may not write to either is the kernel's."""
    folder = tmp_path / "read only"
    folder.mkdir(mode=0o555)
    if os.access(folder, os.W_OK):
        folder = Path("/sys")
    if not folder.is_dir() or (os.access(folder, os.W_OK) and os.geteuid() != 0):
        pytest.skip("every folder of this machine can be written to")
    return folder


def test_a_folder_that_is_read_only_is_named(generate, read_only):
    code, out, error = generate(output=read_only / "video.mp4")
    assert code == 3 and out == "" and "video.mp4 cannot be written" in error and "choose another folder" in error


@pytest.mark.parametrize(("verb", "key"), [("run", "saved_dir"), ("prepare", "prepare.dir"), ("prepare", "demo.root")])
def test_a_data_folder_that_is_read_only_is_named(command, folder, read_only, verb, key):
    filelists(folder, train=["good 1"], val=["güte 2"], test=["good 1"])
    data = ["--model=Wav2Lip", "--dataset=demo", "--smoke"] if key == "demo.root" else FOLDER
    code, out, error = command(verb, *data, f"--{key}={read_only / 'place'}", "--quiet")
    assert code in (2, 3) and out == "" and f"{read_only / 'place'}" in error


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_a_disk_that_takes_nothing_is_named(refused, monkeypatch, number):
    def fail(source, target, *args, **kwargs):
        raise OSError(number, os.strerror(number), str(source), None, str(target))

    monkeypatch.setattr(os, "replace", fail)
    error = refused()
    assert "video.mp4 cannot be written" in error and os.strerror(number) in error


def test_a_disk_that_fills_up_is_named_and_the_old_video_stays(generate, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (25, 96, 96, 3)).astype(np.uint8)
    write_video(tmp_path / "noise.mp4", noise, 25, crf=10)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "video.mp4").write_text("the video of yesterday")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, before[1]))  # the kernel refuses to write more into a file
    try:
        code, out, error = generate(tmp_path / "noise.mp4", more=(BOX, "--generation.crf=0"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert code == 3 and out == "" and "video.mp4 cannot be written: File too large" in error
    assert contents(tmp_path / "out") == {"video.mp4"}
    assert (tmp_path / "out" / "video.mp4").read_text() == "the video of yesterday"


def test_an_output_that_cannot_be_is_refused(generate, tmp_path):
    text(tmp_path / "file")
    for output in (tmp_path / "file" / "video.mp4", tmp_path / "video.txt", tmp_path):
        code, out, error = generate(output=output)
        assert code == 3 and out == "" and output.name in error
    assert contents(tmp_path) == {"file", "cache"} or contents(tmp_path) == {"file"}


# --- weights ----------------------------------------------------------------------------------------------------------


class Executes:
    """Makes a folder when it is unpickled."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_that_runs_code_is_refused_and_not_run(refused, tmp_path, zipped):
    state = {"state_dict": Wav2Lip(width=WIDTH).generator.state_dict(), "epoch": Executes(tmp_path / "ran")}
    torch.save(state, tmp_path / "evil.pth", _use_new_zipfile_serialization=zipped)
    error = refused(weights=tmp_path / "evil.pth", code=4)
    assert "evil.pth" in error and "refused" in error and not (tmp_path / "ran").exists()


@pytest.mark.parametrize("part", [0.0, 0.001, 0.5, 0.999])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_checkpoint_that_was_cut_off_is_named(refused, props, tmp_path, suffix, part):
    whole = props / "weights" / "generator.safetensors"
    if suffix == ".pth":
        torch.save({"state_dict": Wav2Lip(width=WIDTH).generator.state_dict()}, whole := tmp_path / "whole.pth")
    error = refused(weights=shortened(whole, tmp_path / f"short{suffix}", part), code=4)
    assert f"short{suffix}" in error


def test_a_checkpoint_of_another_model_is_named_as_what_it_is(refused, props):
    error = refused(weights=props / "other" / "syncnet.safetensors", code=4)
    assert "syncnet.safetensors holds no network of Wav2Lip" in error


def test_the_wrong_network_of_the_same_model_is_not_enough(refused, props):
    assert "generator" in refused(weights=props / "weights" / "expert.safetensors", code=4)


def test_weights_of_another_width_say_what_to_set(refused, props):
    error = refused(more=(BOX, "--Wav2Lip.width=0.2"), code=4)
    assert "--Wav2Lip.width=0.1" in error


@pytest.mark.parametrize("weights", ["nowhere.pth", "nowhere"])
def test_weights_that_are_not_there_are_named(refused, tmp_path, weights):
    assert "nowhere" in refused(weights=tmp_path / weights, code=4)


def test_published_weights_that_are_not_there_are_named(command, props):
    code, _, error = command("generate", "--model=Wav2Lip", f"--face={props / 'head.mp4'}", f"--audio={props / 'speech.wav'}")
    assert code == 4 and "wav2lip_gan.pth" in error and "checkpoints/README.md" in error


# --- settings and names -----------------------------------------------------------------------------------------------


EVIL = "!!python/object/apply:os.mkdir [ran]"


OBJECT = "face: !!python/object:os.stat_result {smooth: 3}"


@pytest.mark.parametrize("content", [f"seed: {EVIL}", f"face: {EVIL}", EVIL, OBJECT])
def test_objects_in_settings_are_refused_and_not_made(command, tmp_path, content):
    (tmp_path / "evil.yaml").write_text(content)
    code, out, error = command("run", "--model=Wav2Lip", "--dataset=demo", "--config_files=evil.yaml")
    assert code == 2 and out == "" and "evil.yaml" in error and contents(tmp_path) <= {"evil.yaml", "cache"}


@pytest.mark.parametrize("key", ["training.groups", "training.groups.generator.betas", "tune.space", "plugins", "stages"])
@pytest.mark.parametrize("value", [EVIL, "{a: !!python/name:os.system }", "[1", "{a: &x [*x]}"])
def test_values_of_flags_are_plain_and_whole(command, tmp_path, key, value):
    code, out, error = command("config", "--model=Wav2Lip", "--dataset=demo", f"--{key}={value}")
    assert code == 2 and out == "" and key in error and not (tmp_path / "ran").exists()


@pytest.mark.parametrize("flag", ["--smoke=maybe", "--seed=many", "--seed=1e400", "--seed=", "--generator.betas=a,b"])
def test_a_flag_of_the_wrong_type_is_refused_with_what_is_expected(command, flag):
    code, out, error = command("config", "--model=Wav2Lip", "--dataset=demo", flag)
    assert code == 2 and out == "" and f"{flag}: expected" in error


def test_settings_of_a_run_to_resume_are_not_trusted(command, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(f"seed: {EVIL}")
    for flag in ("--resume=run", "--evaluate_model_file=run"):
        code, _, error = command("run", "--model=Wav2Lip", "--dataset=demo", flag)
        assert code == 2 and "config.yaml" in error and not (tmp_path / "ran").exists()


NO_SETTINGS = {
    "unclosed": "a: [1",
    "tab": "\t- x",
    "words": "just words",
    "list": "- a\n- b",
    "twice": "seed: 1\nseed: 2",
    "unknown": "sede: 1",
    "type": "seed: many",
    "itself": "a: &x\n  b: *x",
    "deep": "[" * 5000,
    "bytes": b"\xff\xfe\x00",
}


@pytest.mark.parametrize("content", NO_SETTINGS.values(), ids=NO_SETTINGS)
def test_settings_that_are_none_are_refused_with_their_place(command, tmp_path, content):
    (tmp_path / "bad.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    code, out, error = command("run", "--model=Wav2Lip", "--dataset=demo", "--config_files=bad.yaml")
    assert code == 2 and out == "" and "bad.yaml" in error and contents(tmp_path) <= {"bad.yaml", "cache"}


@pytest.mark.parametrize(
    ("flags", "hint"),
    [
        (["--model=Wav2Lop", "--dataset=demo"], "did you mean 'Wav2Lip'"),
        (["--model=Wav2Lip", "--dataset=dmeo"], "did you mean 'demo'"),
        (["--model=Wav2Lip", "--dataset=demo", "--stages=genarator"], "did you mean 'generator'"),
        (["--model=Wav2Lip", "--dataset=demo", "--generater.epochs=3"], "did you mean --generator.epochs"),
        (["--model=Wav2Lip", "--dataset=demo", "--plugins=nowhere"], "nowhere"),
        (["--model=", "--dataset=demo"], "no model given"),
        (["--model=../../evil", "--dataset=demo"], "no model is called"),
    ],
)
@pytest.mark.parametrize("verb", ["run", "prepare", "config"])
def test_unknown_names_are_told_before_anything_is_done(command, tmp_path, verb, flags, hint):
    if verb == "config" and not hint.startswith(("did", "no model is")):
        return
    code, out, error = command(verb, *flags)
    assert code == 2 and out == "" and hint in error and contents(tmp_path) <= {"cache"}


@pytest.mark.parametrize("verb", ["run", "score"])
def test_an_unknown_metric_is_told_before_anything_is_done(command, props, tmp_path, verb):
    words = [props / "head.mp4"] if verb == "score" else ["--model=Wav2Lip", "--dataset=demo", "--smoke"]
    code, out, error = command(verb, *words, "--metrics=SSIM,PSRN")
    assert code == 2 and out == "" and "did you mean 'PSNR'" in error and contents(tmp_path) <= {"cache"}


# --- whole data sets --------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(props, tmp_path):
    """A folder of clips, two of them good, the others each with a fault of its own."""
    root = tmp_path / "clips"
    root.mkdir()
    for name in ("good 1", "güte 2"):
        shutil.copy(props / "head.mp4", root / f"{name}.mp4")
        shutil.copy(props / "head.landmarks.npz", root / f"{name}.landmarks.npz")
    frames = np.load(props / "frames.npy")
    landmarks = dict(np.load(props / "head.landmarks.npz"))
    empty(root / "empty.mp4")
    text(root / "text.mp4")
    encoded(root / "frameless.mp4", [])
    shortened(props / "head.mp4", root / "short.mp4", 0.5)
    write_video(root / "mute.mp4", frames, 25)
    np.savez(root / "mute.landmarks.npz", **landmarks)
    write_video(root / "one.mp4", frames[:1], 25, tone(1.0))
    np.savez(root / "one.landmarks.npz", **{key: value[:1] for key, value in landmarks.items()})
    write_video(root / "faceless.mp4", frames, 25, tone(1.0))
    return root


FAULTS = {"empty", "text", "frameless", "short", "mute", "one", "faceless"}
FOLDER = ["--model=Wav2Lip", "--dataset=folder", "--folder.root=clips", "--face.detector=files", f"--Wav2Lip.width={WIDTH}"]


def filelists(root, **splits):
    (root / "filelist").mkdir()
    for split, names in splits.items():
        (root / "filelist" / f"{split}.txt").write_text("".join(f'"{name}.mp4"\n' for name in names))


def test_prepare_sets_broken_clips_aside_each_with_its_reason(command, folder):
    filelists(folder, train=["good 1", *FAULTS], val=["güte 2"], test=["güte 2"])
    words = ["prepare", *FOLDER, "--prepare.dir=features", "--prepare.workers=1", "--json", "--quiet"]
    code, out, error = command(*words)
    counts = json.loads(out)
    assert code == 5 and error == "" and counts["train"]["prepared"] == 1 and counts["val"]["prepared"] == 1
    reasons = counts["train"]["reasons"]
    assert set(reasons) == FAULTS and all(f"{name}." in reasons[name] for name in FAULTS)
    assert not list(Path("features").rglob(".partial/*"))
    assert command(*words)[:2] == (code, out)


def test_prepare_with_no_good_clip_is_one_error(command, folder):
    filelists(folder, train=sorted(FAULTS), val=["güte 2"], test=["güte 2"])
    code, out, error = command("prepare", *FOLDER, "--prepare.dir=features", "--prepare.workers=1", "--quiet")
    assert code == 3 and out == "" and "none of 7 clips can be used" in error


@pytest.mark.parametrize("root", ["nowhere", "nothing", "file.mp4"])
def test_a_data_set_that_is_not_there_is_named(command, tmp_path, root):
    (tmp_path / "nothing").mkdir()
    text(tmp_path / "file.mp4")
    for verb in ("prepare", "run"):
        code, out, error = command(verb, *FOLDER, f"--folder.root={root}", "--quiet")
        assert code == 3 and out == "" and root in error


def test_a_run_goes_on_past_clips_that_fail_and_reports_them(command, folder, props):
    filelists(folder, test=["good 1", *FAULTS, "güte 2"])
    weights = f"--evaluate_model_file={props / 'weights'}"
    code, out, error = command("run", *FOLDER, weights, "--run_name=one", "--metrics=SSIM,PSNR", "--quiet", "--json")
    report = json.loads(out)
    assert code == 5 and error == "" and report == json.loads(Path("saved/one/report.json").read_text())
    rows = {row["name"]: row for row in report["clips"]}
    assert set(rows) == {"good 1", "güte 2", *FAULTS}
    failed = {name for name, row in rows.items() if row["error"]}
    assert failed == FAULTS and all(f"{name}." in rows[name]["error"] for name in failed)
    videos = {path.name for path in Path("saved/one/videos").iterdir()}
    assert videos == {"good 1.mp4", "güte 2.mp4"}
    assert {"SSIM", "PSNR"} <= rows["good 1"]["scores"].keys() and report["counts"]["SSIM"]["failed"] == len(failed)


def test_a_training_goes_on_past_clips_that_fail(command, folder):
    filelists(folder, train=["good 1", *FAULTS], val=["güte 2"], test=["güte 2", "empty"])
    words = ["--stages=expert", "--training.steps=2", "--training.batch_size=2", "--prepare.dir=features", "--prepare.workers=1"]
    code, out, error = command("run", *FOLDER, *words, "--metrics=SSIM", "--run_name=one", "--quiet", "--json")
    report = json.loads(out)
    assert code == 5 and error == "" and [bool(row["error"]) for row in report["clips"]] == [False, True]
    assert contents(Path("saved/one/weights")) == {"generator.safetensors", "expert.safetensors"}
    assert len(Path("features/folder/Wav2Lip/set_aside.jsonl").read_text().splitlines()) == len(FAULTS)


def test_places_that_cannot_be_written_are_named(command, folder, props, tmp_path):
    filelists(folder, train=["good 1"], val=["güte 2"], test=["good 1"])
    text(tmp_path / "file")
    weights = f"--evaluate_model_file={props / 'weights'}"
    code, out, error = command("run", *FOLDER, weights, "--saved_dir=file/saved", "--quiet")
    assert code == 2 and out == "" and "file/saved" in error
    code, out, error = command("prepare", *FOLDER, "--prepare.dir=file/features", "--prepare.workers=1", "--quiet")
    assert code == 3 and out == "" and "file/features" in error


@pytest.mark.parametrize("flag", ["face", "audio", "output", "evaluate_model_file", "config_files", "plugins", "checkpoints_dir"])
def test_a_name_that_is_too_long_for_the_disk_is_an_error(command, props, flag):
    good = {"face": props / "head.mp4", "audio": props / "speech.wav", "evaluate_model_file": props / "weights"}
    words = [f"--{key}={value}" for key, value in {**good, flag: "a" * 300 + ".mp4"}.items()]
    if flag == "checkpoints_dir":
        words = [word for word in words if not word.startswith("--evaluate")]
    code, out, error = command("generate", "--model=Wav2Lip", f"--Wav2Lip.width={WIDTH}", BOX, "--quiet", *words)
    assert code in (1, 2, 3, 4) and out == "" and "aaa" in error


# --- scores -----------------------------------------------------------------------------------------------------------


def test_scores_go_on_past_videos_that_fail(command, folder, props):
    real = Path("real")
    shutil.copytree(folder, real)
    for name in FAULTS:
        shutil.copy(props / "head.mp4", real / f"{name}.mp4")
    (real / "güte 2.mp4").unlink()
    words = ["score", "clips", "--truth=real", "--metrics=SSIM,LMD", "--face.detector=files", "--output=scores"]
    code, out, error = command(*words, "--quiet", "--json")
    report = json.loads(out)
    assert code == 5 and error == "" and report == json.loads(Path("scores/report.json").read_text())
    rows = {row["name"]: row for row in report["clips"]}
    assert rows["good 1"]["error"] is None and rows["good 1"]["scores"] == pytest.approx({"SSIM": 1.0, "LMD": 0.0}, abs=1e-6)
    for name in ("empty", "text", "frameless", "short"):
        assert rows[name]["scores"] == {} and f"{name}.mp4" in rows[name]["error"]
    assert "no real video" in rows["güte 2"]["error"]
    assert "SSIM" in rows["faceless"]["scores"] and "faceless" in rows["faceless"]["error"]


def test_a_metric_without_its_weights_is_reported_and_the_others_go_on(command, folder):
    code, out, error = command("score", "clips/good 1.mp4", "--truth=clips/good 1.mp4", "--metrics=LSE,SSIM", "--quiet", "--json")
    report = json.loads(out)
    assert code == 0 and error == "" and report["means"] == {"SSIM": pytest.approx(1.0)}
    assert "checkpoints/LSE/syncnet_v2.model does not exist" in report["not_scored"]["LSE"]


def test_sync_scores_say_what_is_missing_in_a_clip(command, folder, props):
    judge = f"--DemoLSE.weights={props / 'other' / 'syncnet.safetensors'}"
    write_video(folder / "silent.mp4", np.load(props / "frames.npy"), 25, np.zeros(16_000, np.float32))
    code, out, _ = command("score", "clips", "--metrics=DemoLSE", judge, "--quiet", "--json")
    rows = {row["name"]: row for row in json.loads(out)["clips"]}
    scored = {name for name, row in rows.items() if row["error"] is None}
    assert code == 5 and scored == {"good 1", "güte 2", "faceless", "silent"}
    assert "no sound" in rows["mute"]["error"] and "too short" in rows["one"]["error"]


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), lambda path: None], ids=["empty", "absent"])
def test_nothing_to_score_is_an_error(command, tmp_path, make):
    make(tmp_path / "videos")
    code, out, error = command("score", "videos", "--metrics=SSIM", "--quiet")
    assert code == 3 and out == "" and "videos" in error


def test_real_videos_that_are_not_there_are_named(command, folder):
    for truth, words in (("nowhere", "nowhere does not exist"), ("clips/good 1.mp4", "is one file, and clips is a folder")):
        code, out, error = command("score", "clips", f"--truth={truth}", "--metrics=SSIM", "--quiet")
        assert code == 3 and out == "" and words in error


def test_two_videos_of_one_name_are_both_named(command, folder):
    shutil.copy("clips/good 1.mp4", "clips/good 1.mkv")
    code, _, error = command("score", "clips", "--truth=clips", "--metrics=SSIM", "--quiet")
    assert code == 3 and "good 1.mkv" in error and "good 1.mp4" in error


def test_a_report_that_cannot_be_written_is_named(command, folder, tmp_path):
    text(tmp_path / "file")
    words = ["score", "clips/good 1.mp4", "--truth=clips/good 1.mp4", "--metrics=SSIM", "--quiet"]
    code, _, error = command(*words, "--output=file/scores")
    assert code in (1, 3) and "file/scores" in error


def test_a_judge_that_runs_code_is_not_run(command, folder, tmp_path):
    torch.save({"state_dict": {"a": torch.zeros(1)}, "x": Executes(tmp_path / "ran")}, tmp_path / "evil.model")
    code, out, error = command("score", "clips/good 1.mp4", "--metrics=LSE", "--LSE.weights=evil.model", "--quiet", "--json")
    assert not (tmp_path / "ran").exists()
    assert code in (4, 5) and "refused" in out + error
