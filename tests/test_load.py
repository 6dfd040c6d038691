"""`talkingface.load`: three lines of Python make a talking video."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import talkingface
from talkingface.dataset.demo.clip import render_clip
from talkingface.dataset.demo.look import make_speaker
from talkingface.errors import CheckpointError, ConfigError, MediaError, MissingWeightsError, RegistryError
from talkingface.media.audio import write_audio
from talkingface.media.video import Video, write_video
from talkingface.model.wav2lip import Wav2Lip

ROOT = Path(__file__).resolve().parent.parent
SIZES = {"width": 0.1, "image_size": 48}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A drawn head, speech, and a run that has small weights."""
    folder = tmp_path_factory.mktemp("place")
    clip = render_clip(make_speaker(0, 2020), seconds=0.6, size=96)
    write_video(folder / "face.mp4", clip.frames, 25)
    np.savez(folder / "face.landmarks.npz", landmarks=clip.landmarks, detected=np.ones(len(clip.frames), bool))
    write_audio(folder / "speech.wav", clip.wav)
    torch.manual_seed(0)
    Wav2Lip(**SIZES).save(folder / "run" / "weights")
    (folder / "run" / "config.yaml").write_text("model: Wav2Lip\nWav2Lip: {width: 0.1, image_size: 48}\n")
    return folder


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, talkingface; print(talkingface.__version__, 'torch' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [talkingface.__version__, "False", "False"]
    with pytest.raises(AttributeError, match="no attribute 'lood'"):
        talkingface.lood  # noqa: B018


@pytest.mark.parametrize("weights", ["run", "run/weights", "run/weights/generator.safetensors"])
def test_three_lines_make_a_video(place, tmp_path, weights):
    model = talkingface.load("wav2lip", place / weights)
    made = model.generate(place / "face.mp4", place / "speech.wav", tmp_path / "out.mp4")
    assert made.path == tmp_path / "out.mp4" and made.frames == len(Video(made.path)) > 10 and made.untouched == {}
    assert repr(model) == "Wav2Lip on cpu"
    assert made._repr_html_().startswith("<video controls") and "base64" in made._repr_html_()


def test_a_loaded_model_generates_again_the_same(place, tmp_path):
    model = talkingface.load("Wav2Lip", str(place / "run"))
    first, second = (model.generate(place / "face.mp4", place / "speech.wav", tmp_path / name) for name in ("a.mp4", "b.mp4"))
    assert np.array_equal(Video(first.path).read(), Video(second.path).read())


def test_published_files_are_found_where_they_lie(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("checkpoints/Wav2Lip").mkdir(parents=True)
    weights = torch.nn.Module.state_dict(Wav2Lip(**SIZES).generator)
    torch.save(
        {"state_dict": {f"module.{name}": value for name, value in weights.items()}}, "checkpoints/Wav2Lip/wav2lip_gan.pth"
    )
    model = talkingface.load("Wav2Lip", Wav2Lip=SIZES)
    made = model.generate(place / "face.mp4", place / "speech.wav")
    assert made.path == Path("face_speech.mp4") and made.path.is_file()


def test_mistakes_are_named(place, tmp_path):
    with pytest.raises(RegistryError, match="did you mean 'Wav2Lip'"):
        talkingface.load("Wav2Lop")
    with pytest.raises(ConfigError, match="generates no videos"):
        talkingface.load("SyncNet")
    with pytest.raises(ConfigError, match="no such setting"):
        talkingface.load("Wav2Lip", place / "run", Wav2Lip={"widht": 1})
    with pytest.raises(MissingWeightsError, match="talkingface download Wav2Lip"):
        talkingface.load("Wav2Lip", checkpoints_dir=str(tmp_path))
    with pytest.raises(CheckpointError):
        talkingface.load("Wav2Lip", place / "face.mp4")
    model = talkingface.load("Wav2Lip", place / "run")
    with pytest.raises(MediaError):
        model.generate(place / "no.mp4", place / "speech.wav", tmp_path / "out.mp4")
