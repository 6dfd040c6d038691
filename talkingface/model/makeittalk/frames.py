"""What `generate` yields: a portrait is painted anew, a character is warped, frame by frame, until the speech is over."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from talkingface.errors import ConfigError
from talkingface.media.audio import SAMPLE_RATE, audio_blocks, load_audio
from talkingface.media.image import resize
from talkingface.media.video import Video
from talkingface.model.makeittalk.cartoon import cartoon_frames, puppet_points
from talkingface.model.makeittalk.draw import SIDE
from talkingface.model.makeittalk.landmarks import resample
from talkingface.model.makeittalk.networks.translation import SIDE_STEP, ResUnetGenerator
from talkingface.model.makeittalk.portrait import (
    OPEN_MOUTH,
    Painter,
    Portrait,
    crop_reduced,
    draw_rows,
    mouth_opening,
    panels,
    put_back,
)
from talkingface.model.makeittalk.puppet import Puppet
from talkingface.model.makeittalk.spectrogram import Sound
from talkingface.model.makeittalk.speech import ROWS_PER_SECOND
from talkingface.model.makeittalk.warp import BEYOND

log = logging.getLogger(__name__)

OUTPUTS = ("full", "crop", "panels")


@dataclass(frozen=True)
class FrameSettings:
    """How frames look, and how many there are.

    Attributes:
        fps: frames per second.
        output: of a portrait: "full" picture, "crop" of the face as the network paints it, or "panels", the authors' three.
        longest_side: larger pictures are reduced to this, pixels; 0 = never.
        to_the_end: hold the last face until the speech is over; the authors' pictures end 0.29 s earlier.
        image_size: side of the face that the network paints, pixels.
        batch_size: frames that are painted at once.
        bf16: paint in bfloat16.
        jpg_bg: picture behind a character; "" = <name>_bg.* beside it, else white.
        beyond: what lies beyond the border of a character's picture: "edge" or "repeat".

    Raises:
        ConfigError: a value is out of range.
    """

    fps: float = 25.0
    output: str = "full"
    longest_side: int = 1280
    to_the_end: bool = True
    image_size: int = SIDE
    batch_size: int = 8
    bf16: bool = False
    jpg_bg: str = ""
    beyond: str = "edge"

    def __post_init__(self) -> None:
        for name, known in (("output", OUTPUTS), ("beyond", BEYOND)):
            if getattr(self, name) not in known:
                raise ConfigError(f"MakeItTalk.{name}: expected one of {', '.join(known)}, got {getattr(self, name)!r}.")
        if not self.fps > 0 or self.batch_size < 1 or self.longest_side < 0:
            given = f"fps {self.fps}, translation_batch_size {self.batch_size}, longest_side {self.longest_side}"
            raise ConfigError(f"MakeItTalk: expected more than 0 fps, batches of 1 or more, no negative side; got {given}.")
        if self.image_size < SIDE_STEP or self.image_size % SIDE_STEP:
            raise ConfigError(f"MakeItTalk.image_size: expected a multiple of {SIDE_STEP}, got {self.image_size}.")

    def in_time(self, rows: np.ndarray, audio: Path) -> np.ndarray:
        """Rows at 62.5 per second as one per frame, the last one held until the speech is over if that is wanted."""
        frames = resample(rows, ROWS_PER_SECOND, self.fps)
        missing = int(np.ceil(seconds_of(audio) * self.fps - 1e-6)) - len(frames) if self.to_the_end else 0
        return np.concatenate((frames, np.repeat(frames[-1:], max(0, missing), axis=0)))


def seconds_of(audio: Path) -> float:
    """How long a recording lasts."""
    return sum(block.shape[-1] for block in audio_blocks(audio, SAMPLE_RATE)) / SAMPLE_RATE


def portrait_frames(
    portrait: Portrait, rows: np.ndarray, network: ResUnetGenerator, settings: FrameSettings, audio: Path | None = None
) -> Iterator[np.ndarray]:
    """A portrait whose landmarks move.

    Args:
        rows: (N, 68, 2 or more) in the portrait's face, pixels; one per frame.
        audio: what is said, for a network that hears it.

    Yields:
        (H, W, 3) uint8 RGB: see `FrameSettings.output`.
    """
    side = portrait.face.shape[0]
    painter = Painter(network, portrait.face, settings.batch_size, settings.bf16)
    sounds = None
    if audio is not None:
        sounds = Sound(load_audio(audio)).pictures((k / settings.fps for k in range(len(rows))), side)
    painted = painter.paint(draw_rows(rows, side), sounds)
    if settings.output == "panels":
        yield from (panels(portrait, face, drawn) for face, drawn in zip(painted, draw_rows(rows, side), strict=True))
    elif settings.output == "crop":
        yield from painted
    else:
        yield from (put_back(portrait, face) for face in painted)


def real_frames(portrait: Portrait, truth: Path, settings: FrameSettings) -> Iterator[np.ndarray] | None:
    """The real video as `portrait_frames` shows the face: reduced, or cut out; None where it shows it as it is."""
    video, (height, width) = Video(truth, fps=settings.fps), portrait.picture.shape[:2]
    if settings.output == "full" and (video.width, video.height) == (width, height):
        return None
    pictures = (resize(frame, (width, height)) for frame in video)
    if settings.output == "full":
        return pictures
    return (crop_reduced(picture, portrait.matrix, portrait.face.shape[0]) for picture in pictures)


def speaking_portrait(
    portrait: Portrait, animate: Callable[[np.ndarray, Path], np.ndarray], audio: Path, network: ResUnetGenerator,
    settings: FrameSettings, name: str = "the portrait", closes_mouth: bool = False,
) -> Iterator[np.ndarray]:  # fmt: skip
    """A portrait that says what a recording says.

    Args:
        animate: landmarks in the face's pixels and a recording -> their rows, 62.5 per second.
        name: of the portrait, for a warning.
        closes_mouth: whether `animate` closes its mouth first.
    """
    if not closes_mouth and mouth_opening(portrait.landmarks) > OPEN_MOUTH:
        log.warning("the mouth of %s is open and will not close; add --MakeItTalk.close_input_face_mouth.", name)
    rows = settings.in_time(animate(portrait.landmarks, audio), audio)
    yield from portrait_frames(portrait, rows, network, settings, audio if network.hears else None)


def speaking_puppet(
    puppet: Puppet, move: Callable[[np.ndarray, Path], np.ndarray], audio: Path, settings: FrameSettings
) -> Iterator[np.ndarray]:
    """A character that says what a recording says.

    Args:
        move: normalised face at rest and a recording -> its rows, 62.5 per second.
    """
    points = settings.in_time(puppet_points(puppet, move(puppet.closed, audio)), audio)
    yield from cartoon_frames(puppet, points, settings.beyond)
