"""Speech of prepared clips in the one voice that the branches hear: converted once for each converter, and kept."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from tqdm import tqdm

from talkingface.media.files import atomic, cache_dir, content_hash
from talkingface.model.makeittalk.data import CONVERTED, MEL, VOICE_FILES, read_speech
from talkingface.model.makeittalk.networks.conversion import VoiceConverter
from talkingface.model.makeittalk.speech import convert


class ConvertedSpeech:
    """The converted speech of prepared clips.

    It is made when the first of it is asked for, or when this is sent to another process: by then the converter has the weights
    that it keeps, also in a training that is resumed.
    """

    def __init__(self, converter: VoiceConverter, folders: Sequence[Path]):
        self.converter: VoiceConverter | None = converter
        self.folders = list(folders)
        self.files: dict[Path, Path] = {}

    def of(self, folder: Path) -> np.ndarray:
        """(T, 80) float32 mel of a clip, not normalised."""
        self.make()
        return np.load(self.files[folder], allow_pickle=False)

    def make(self) -> None:
        """Convert what has not been converted."""
        if self.converter is not None and not self.files:
            self.files = converted_files(self.converter, self.folders)

    def __getstate__(self) -> dict[str, Any]:
        self.make()
        return {**self.__dict__, "converter": None}


def converted_files(converter: VoiceConverter, folders: Sequence[Path]) -> dict[Path, Path]:
    """Folder of a prepared clip -> the file of its converted mel, (T, 80) float32; made where it is not there yet.

    The authors' dumps hold converted speech: there is nothing to do for those. Other files lie in the cache.
    """
    mark = digest(converter.state_dict())
    files = {folder: file_of(folder, mark) for folder in folders}
    missing = [folder for folder, file in files.items() if not file.is_file()]
    for folder in tqdm(missing, "convert voices", unit="clip", leave=False, disable=None):
        mel = convert(converter, read_speech(folder))
        with atomic(files[folder]) as temporary:
            np.save(temporary, mel)
    return files


def file_of(folder: Path, mark: str) -> Path:
    """Where the converted speech of a clip lies, or will lie."""
    if not (folder / MEL).is_file():
        return folder / CONVERTED
    content = "".join(content_hash(folder / name) for name in VOICE_FILES)
    name = hashlib.blake2b((mark + content).encode(), digest_size=16).hexdigest()
    return cache_dir() / "converted" / f"{name}.npy"


def digest(state: Mapping[str, Tensor]) -> str:
    """What tells the weights of one network from others."""
    content = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(state.items()):
        content.update(name.encode())
        content.update(np.ascontiguousarray(tensor.detach().cpu().numpy()).tobytes())
    return content.hexdigest()
