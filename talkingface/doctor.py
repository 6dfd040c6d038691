"""Check this machine: what is installed, what works, and which published weights are here."""

from __future__ import annotations

import importlib.util
import platform
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from talkingface.config import Config
from talkingface.errors import TalkingFaceError

PACKAGES = ("torch", "torchvision", "numpy", "scipy", "av", "opencv-python", "librosa", "accelerate", "safetensors", "PyYAML")
OPTIONAL = {
    "face-alignment": "68 landmarks and faces, the default detector",
    "dlib-bin": "68 landmarks and faces without a download",
    "face_recognition_models": "dlib's weights",
    "ray": "search over settings",
    "tensorboard": "--training.tensorboard=true",
    "wandb": "--training.wandb=PROJECT",
}


class Finding(NamedTuple):
    """One thing that was looked at: state is "ok", "missing" (may be) or "broken" (must not be)."""

    what: str
    state: str
    detail: str


def examine(config: Config) -> list[Finding]:
    """Everything a run may need, in the order in which a run meets it."""
    return [
        Finding(
            "Python", "ok" if sys.version_info >= (3, 10) else "broken", f"{platform.python_version()} on {platform.platform()}"
        ),
        *[package(name, "broken", "pip install -r requirements.txt") for name in PACKAGES],
        *[package(name, "missing", f"optional: {use}") for name, use in OPTIONAL.items()],
        device(),
        video(),
        face_detectors(config),
        *folders(config),
        *published(config),
    ]


def package(name: str, absent: str, hint: str) -> Finding:
    """An installed package's version."""
    try:
        return Finding(name, "ok", version(name))
    except PackageNotFoundError:
        return Finding(name, absent, hint)


def device() -> Finding:
    """Where networks will run."""
    if importlib.util.find_spec("torch") is None:
        return Finding("device", "broken", "torch is not installed")
    import torch

    if torch.cuda.is_available():
        return Finding("device", "ok", f"CUDA: {torch.cuda.get_device_name()}")
    return Finding("device", "ok", f"CPU, {torch.get_num_threads()} threads")


def video() -> Finding:
    """Write and read back a small H.264 file with AAC sound."""
    import numpy as np

    from talkingface.media.video import Video, write_video

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "check.mp4"
        try:
            write_video(path, (np.full((64, 64, 3), 40 * i, np.uint8) for i in range(5)), 25, audio=np.zeros(3200, np.float32))
            count = sum(1 for _ in Video(path))
        except TalkingFaceError as error:
            return Finding("video codecs", "broken", str(error))
    return Finding("video codecs", "ok" if count == 5 else "broken", f"H.264 and AAC: wrote 5 frames, read {count}")


def face_detectors(config: Config) -> Finding:
    """The face detector that a run would use."""
    from talkingface.quick_start import face_finder

    try:
        return Finding("face detector", "ok", face_finder(config).back_end)
    except TalkingFaceError as error:
        return Finding("face detector", "broken", str(error))


def folders(config: Config) -> list[Finding]:
    """Whether a run can write where it wants to."""
    findings = []
    for key in ("saved_dir", "prepare.dir"):
        path = Path(config[key])
        existing = next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())
        try:
            with tempfile.TemporaryFile(dir=existing):
                findings.append(Finding(key, "ok", f"{path} can be written"))
        except OSError as error:
            findings.append(Finding(key, "broken", f"{path} cannot be written: {error.strerror}"))
    return findings


def published_files(model: Any, name: str, root: Path) -> dict[Path, str]:
    """Where a model's published files lie, or should lie -> the network in each."""
    folders = [root / folder for folder in model.folders or (name,)]
    places = {network: [folder / file for folder in folders] for network, file in model.files.items()}
    return {next((p for p in paths if p.is_file()), paths[0]): f"{name}: {network}" for network, paths in places.items()}


def published(config: Config) -> list[Finding]:
    """The published weights that the zoo lists, and those of models that others registered."""
    from talkingface.registry import MODELS, load_builtins, load_plugins
    from talkingface.zoo import zoo

    load_builtins("model")
    load_plugins("model")
    root = Path(config["checkpoints_dir"])
    found = {}
    for file in zoo().files:
        path, advice = file.found(root), f"`talkingface download {file.model}`"
        users = ", ".join(file.used_by)
        found[path or file.place(root)] = f"{users}: {file.what}" if path else f"{users}: {file.what}; {advice}"
    for name, model in MODELS.items():
        known = {file.name for file in zoo().files if name in file.used_by}
        for path, use in published_files(model, name, root).items():
            if path.name not in known:
                found[path] = use
    return [Finding(str(path), "ok" if path.is_file() else "missing", use) for path, use in found.items()]
