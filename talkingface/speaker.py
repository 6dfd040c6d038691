"""Talking videos from Python, in three lines:

import talkingface
model = talkingface.load("Wav2Lip", "checkpoints/Wav2Lip/wav2lip_gan.pth")
model.generate("face.mp4", "speech.wav", "talking.mp4")
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from talkingface.config import Config, sizes_of
from talkingface.dataset.base import Clip
from talkingface.errors import ConfigError
from talkingface.model.base import TalkingFace
from talkingface.quick_start import build_model, generate, set_up
from talkingface.quick_start import load as load_weights

LARGEST_SHOWN = 20_000_000  # bytes of a video that a notebook shows in its page


@dataclass(frozen=True)
class Talk:
    """A video that was made; a notebook shows it.

    Attributes:
        path: where it is.
        frames: how many frames it has.
        untouched: why frames are the input's own -> how many of them.
    """

    path: Path
    frames: int
    untouched: dict[str, int]

    def _repr_html_(self) -> str:
        if self.path.stat().st_size > LARGEST_SHOWN:
            return f"<p>{self.frames} frames; too large to show here.</p>"
        content = base64.b64encode(self.path.read_bytes()).decode()
        return f'<video controls width="480" src="data:video/mp4;base64,{content}"></video>'


class Speaker:
    """A model with its weights, ready to make faces speak; made by `talkingface.load`.

    Attributes:
        model: the networks.
        config: the settings that they were made with.
    """

    def __init__(self, model: TalkingFace, config: Config):
        self.model, self.config = model, config

    def __repr__(self) -> str:
        return f"{self.model.name} on {self.model.device}"

    def generate(
        self,
        face: Path | str,
        audio: Path | str,
        output: Path | str = "",
        pose: Path | str | None = None,
        mouth: Path | str | None = None,
    ) -> Talk:
        """Make one talking video.

        Args:
            face: a video or picture of who speaks.
            audio: what is said: any sound, or a video with sound.
            output: the video to write; "" = <face>_<audio>.mp4 in this folder.
            pose: the video whose head motion is followed, for models that do; "none" = the head stays still.
            mouth: the video that the speech comes from, for models that show it beside the result.

        Raises:
            MediaError: the face or the audio cannot be used, or the output cannot be written.
        """
        face, audio = Path(face).expanduser(), Path(audio).expanduser()
        place = Path(output or f"{face.stem}_{audio.stem}.mp4").expanduser()
        follow, beside = (Path(path).expanduser() if path is not None else None for path in (pose, mouth))
        made = generate(self.model, Clip(place.stem, face, audio, follow, beside), place, self.config["generation.crf"])
        return Talk(place, made["frames"], made["untouched"])


def load(model: str, weights: Path | str = "", **settings: Any) -> Speaker:
    """A model with its weights, on the fastest device there is.

    Args:
        model: its registered name.
        weights: a published file, a folder of them, or a run's folder or weights; "" = checkpoints/<Model>. Networks that were
            trained here get the sizes that they were trained with.
        settings: any of `talkingface config`, nested: `face={"detector": "dlib"}`, `Wav2Lip={"pads": [0, 20, 0, 0]}`.

    Raises:
        RegistryError: no model has this name.
        ConfigError: it makes no videos, or there is no such setting.
        CheckpointError: the weights are missing, damaged, unsafe or of another network.
    """
    place = Path(weights).expanduser()
    known = [sizes_of(place)] if str(weights) else []
    config = Config.load(model, files=known, overrides=settings)
    set_up(config)
    made = build_model(config)
    if not isinstance(made, TalkingFace):
        raise ConfigError(f"{config['model']} generates no videos; `talkingface list models` names those that do.")
    load_weights(made, place if str(weights) else made.published_folder(config["checkpoints_dir"]))
    return Speaker(made.eval(), config)
