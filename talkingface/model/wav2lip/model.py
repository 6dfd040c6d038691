"""Wav2Lip: lips that follow any speech, painted into any video."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from talkingface.dataset.base import Clip
from talkingface.errors import ConfigError, FaceError
from talkingface.face.blend import paste
from talkingface.face.landmarks import find_landmarks
from talkingface.face.track import NO_FACE
from talkingface.media.edited import EditedVideo
from talkingface.media.video import Video
from talkingface.model.base import Frame, TalkingFace
from talkingface.model.stage import Stage
from talkingface.model.wav2lip import data
from talkingface.model.wav2lip.networks import Generator
from talkingface.model.wav2lip.stages import ExpertStage, GanStage, GeneratorStage
from talkingface.nn.sync_expert import SyncExpert, masked
from talkingface.registry import MODELS

ON_CPU = 8  # faces that the generator is given at once on a CPU: twice as fast as 128, which do not fit into its cache


@MODELS.register("Wav2Lip")
class Wav2Lip(TalkingFace):
    """Repaints the lower half of a face in every frame so that it says what is heard (Prajwal et al., 2020).

    Frames are painted one by one; where the video is shorter than the speech, its frames are repeated from the start;
    where it is longer, it is cut. A frame without a face stays as it is.

    Args:
        width: factor of the networks' inner channel counts; 1.0 are the published networks.
        pads: pixels by which a face's box grows at the top, the bottom, the left and the right.
        resize_factor: the frames' sides are divided by it.
        rotate: turn the frames by 90 degrees clockwise, after resizing.
        crop: rows and columns of the frames that are kept after that: top, bottom, left, right; -1 = to the border.
        box: one box for all frames instead of detection: top, bottom, left, right, in pixels; -1 = detect.
        static: use only the first frame of a video.
        fps: frames per second of a video made from a still.
        nosmooth: do not average boxes over 5 frames.
        wav2lip_batch_size: frames painted at once; changes speed and memory only.
        image_size: side of a face crop in pixels: 96 as published, or 48 for small worlds on small machines.
    """

    files: ClassVar[Mapping[str, str]] = {"generator": "wav2lip_gan.pth", "expert": "lipsync_expert.pth"}
    other_files: ClassVar[Mapping[str, Sequence[str]]] = {
        "generator": ("wav2lip.pth", "Wav2Lip-SD-GAN.pt", "Wav2Lip-SD-NOGAN.pt")
    }
    stages: ClassVar[Mapping[str, type[Stage]]] = {"expert": ExpertStage, "generator": GeneratorStage, "gan": GanStage}
    generates_with: ClassVar[Sequence[str]] = ("generator",)

    def __init__(
        self,
        width: float = 1.0,
        pads: Sequence[int] = (0, 10, 0, 0),
        resize_factor: int = 1,
        rotate: bool = False,
        crop: Sequence[int] = (0, -1, 0, -1),
        box: Sequence[int] = (-1, -1, -1, -1),
        static: bool = False,
        fps: float = 25.0,
        nosmooth: bool = False,
        wav2lip_batch_size: int = 128,
        image_size: int = 96,
    ):
        super().__init__()
        for name, value in (("pads", pads), ("crop", crop), ("box", box)):
            if len(value) != 4:
                raise ConfigError(f"Wav2Lip.{name}: expected 4 numbers (top, bottom, left, right), got {list(value)}.")
        numbers = {"width": width, "resize_factor": resize_factor, "fps": fps, "wav2lip_batch_size": wav2lip_batch_size}
        for name, number in numbers.items():
            if number <= 0:
                raise ConfigError(f"Wav2Lip.{name}: expected more than 0, got {number}.")
        self.width, self.pads, self.box, self.smooth = width, tuple(pads), tuple(box), not nosmooth
        self.edits: dict[str, Any] = {"resize_factor": resize_factor, "rotate": rotate, "crop": tuple(crop)}
        self.static, self.fps, self.batch_size = static, fps, wav2lip_batch_size
        self.image_size = image_size
        self.generator, self.expert = Generator(width, image_size), SyncExpert(width, image_size)

    def sizes(self) -> dict[str, Any]:
        return {"width": self.width, "image_size": self.image_size}

    def preparation(self) -> dict[str, Any]:
        return {"features": 1, "side": self.image_size, "fps": data.FPS}

    def prepare(self, clip: Clip, folder: Path) -> None:
        data.prepare(clip, folder, self.faces, self.image_size)

    def frame_rate(self, clip: Clip) -> float:
        video = Video(clip.face)
        return self.fps if video.is_still else video.fps

    @torch.inference_mode()
    def generate(self, clip: Clip) -> Iterator[Frame]:
        video = self.view(clip.face)
        chunks = data.speech_chunks(clip.audio, self.frame_rate(clip))
        chunks = chain([next(chunks)], chunks)  # sound that cannot be used is said so before faces are searched
        yield from lip_sync(video, self.boxes(video), chunks, self.generator, self.batch_size)

    def view(self, face: Path) -> EditedVideo:
        """The face's video or still, as the options change it."""
        source = Video(face)
        stop = 0.5 / source.fps if self.static and not source.is_still else math.inf
        return EditedVideo(face, stop=stop, **self.edits)

    def boxes(self, video: EditedVideo) -> np.ndarray:
        """(T, 4) int64 boxes of the face in what is shown, -1 where there is none.

        Raises:
            FaceError: no frame has a face, or `box` does not lie in the frame.
        """
        if -1 not in self.box:
            top, bottom, left, right = self.box
            if not (0 <= top < bottom <= video.height and 0 <= left < right <= video.width):
                box, size = f"{list(self.box)} (top, bottom, left, right)", f"{video.width} x {video.height}"
                raise FaceError(f"Wav2Lip.box: {box} is no box in the {size} frames of {video.path}.")
            return np.array([[left, top, right, bottom]])
        from_file = video.is_edited and find_landmarks(video.path, self.faces.landmarks_dir) is not None
        if from_file:  # landmarks in a file are of the frames as they are in the video
            found = video.edit_boxes(self.faces.boxes(EditedVideo(video.path, stop=video.stop)).boxes)
        else:
            found = self.faces.boxes(video).boxes
        return data.face_boxes(found, self.pads, (video.width, video.height), self.smooth)


def lip_sync(
    frames: Iterable[np.ndarray], boxes: np.ndarray, chunks: Iterable[np.ndarray], generator: Generator, batch_size: int = 128
) -> Iterator[Frame]:
    """Paint one frame for each chunk of speech; at most `batch_size` frames are in memory.

    Args:
        frames: (H, W, 3) uint8 RGB; gone through again from the start when there are more chunks.
        boxes: (T, 4) x1, y1, x2, y2, whole pixels, -1 where there is no face; the last one serves all later frames.
        chunks: (80, 16) mel windows.
    """
    spoken = zip(chunks, again_and_again(frames, boxes), strict=False)
    while batch := list(islice(spoken, batch_size)):
        known = [(mel, frame, box) for mel, (frame, box) in batch if box[0] != data.NO_BOX]
        faces = iter(paint(generator, *zip(*known, strict=True)) if known else ())
        for _, (frame, box) in batch:
            if box[0] == data.NO_BOX:
                yield Frame(frame, NO_FACE)
            else:
                yield Frame(paste(frame, next(faces), box))


def again_and_again(frames: Iterable[np.ndarray], boxes: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each frame with its box, and then all over again, for ever."""
    while True:
        for t, frame in enumerate(frames):
            yield frame, boxes[min(t, len(boxes) - 1)]


def paint(
    generator: Generator, mels: Sequence[np.ndarray], frames: Sequence[np.ndarray], boxes: Sequence[np.ndarray]
) -> np.ndarray:
    """The faces in the boxes of RGB frames, speaking: (n, side, side, 3) uint8 RGB."""
    device = next(generator.parameters()).device
    crops = np.stack([data.cut_face(frame, box, generator.image_size) for frame, box in zip(frames, boxes, strict=True)])
    size = ON_CPU if device.type == "cpu" else len(crops)
    pieces = zip(torch.from_numpy(np.stack(mels)).split(size), torch.from_numpy(crops).split(size), strict=True)
    return np.concatenate([paint_piece(generator, speech.to(device), faces.to(device)) for speech, faces in pieces])


def paint_piece(generator: Generator, speech: torch.Tensor, crops: torch.Tensor) -> np.ndarray:
    """Faces (n, side, side, 3) uint8 BGR that say (n, 80, 16): uint8 RGB, cut to whole numbers as the authors do."""
    faces = crops.permute(0, 3, 1, 2).float() / 255
    painted = generator(speech[:, None], torch.cat((masked(faces), faces), dim=1))
    return (painted.float() * 255).byte().permute(0, 2, 3, 1).flip(-1).cpu().numpy()
