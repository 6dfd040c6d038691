"""MakeItTalk: one picture of a face, photo, painting or cartoon, that says any speech."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from talkingface.dataset.base import Clip
from talkingface.errors import ConfigError
from talkingface.media.audio import SAMPLE_RATE
from talkingface.model.base import Frame, TalkingFace, View
from talkingface.model.makeittalk import voice
from talkingface.model.makeittalk.data import SCHEMES, PictureSettings, prepare_dump, prepare_video
from talkingface.model.makeittalk.frames import FrameSettings, real_frames, speaking_portrait, speaking_puppet
from talkingface.model.makeittalk.landmarks import Motion, animate, move
from talkingface.model.makeittalk.networks.content import ContentBranch
from talkingface.model.makeittalk.networks.conversion import VoiceConverter
from talkingface.model.makeittalk.networks.speaker import SpeakerBranch
from talkingface.model.makeittalk.networks.translation import ResUnetGenerator
from talkingface.model.makeittalk.portrait import Portrait, draw_rows, read_portrait
from talkingface.model.makeittalk.puppet import is_puppet, read_puppet
from talkingface.model.makeittalk.speech import Speech, convert, speech_features
from talkingface.model.makeittalk.stages import ContentStage, ConverterStage, SpeakerStage, TranslatorStage
from talkingface.model.makeittalk.tables import TARGET_VOICE
from talkingface.model.stage import Stage
from talkingface.nn.weights import Weights, load_weights, read_networks, read_weights
from talkingface.registry import MODELS

log = logging.getLogger(__name__)


@MODELS.register("MakeItTalk", aliases=["audio2landmark_content"])
class MakeItTalk(TalkingFace):
    """Speaker-aware talking heads from one picture and speech (Zhou et al., SIGGRAPH Asia 2020).

    Speech is converted to the one voice that the content branch knows, which moves the lips; the speaker branch moves head and
    brows as this speaker would; a portrait is then painted anew for each row of landmarks, a cartoon is warped.

    Args:
        width: factor of the networks' inner channel counts; 1.0 are the published networks.
        use_prior_net: the content branch looks at each mel row alone first, as published.
        speaker_embedding: "resemblyzer", as published, or "spectrum", which needs no weights.
        speaker_weights: Resemblyzer's file; "" = the one in its package.
        pitch_range: hertz between which the pitch is looked for.
        reuse_train_emb_list: a speaker of `emb_file`, in whose manner the face moves instead of the recording's speaker's.
        emb_file: embeddings of the speakers that the published speaker branch was trained with.
        converter_file: the published file of the voice converter; a name in the folder of weights, or a path.
        content_file: the same of the content branch.
        speaker_file: the same of the speaker branch.
        translator_file: the same of the image translation.
        amp_lip_x: factor of the lips' movement across.
        amp_lip_y: factor of the lips' movement up and down.
        amp_pos: factor of the movement of head, brows and style.
        close_input_face_mouth: close the portrait's mouth first.
        upper_lip: pixels by which the portrait's upper lip is moved down first, in a face of 256 x 256.
        lower_lip: the same of the lower lip.
        eye: pixels by which each lid of the portrait is opened first, in such a face.
        lip_width: factor of the width of the portrait's mouth.
        blink: let the eyes of portraits blink.
        blink_seed: of the times at which they do.
        add_audio_in: the image translation also sees a spectrogram around each frame.
        image_size: side of the face that is painted, pixels, a multiple of 64; 256 as published.
        fps: frames per second.
        output: "full" = a portrait's whole picture, "crop" = its face alone, "panels" = portrait, face and drawn landmarks.
        longest_side: larger pictures are reduced to this, pixels; 0 = never.
        to_the_end: hold the last face until the speech is over; the authors' pictures end 0.29 s earlier.
        translation_batch_size: frames painted at once; changes speed and memory only.
        bf16: paint in bfloat16.
        jpg_bg: picture behind a cartoon; "" = <name>_bg.* beside it, else white.
        beyond: what lies beyond the border of a cartoon's picture: "edge" or "repeat".
        pictures: of each clip, that the image translation learns from; 0 = all frames.
        drawn_points: that are drawn in them: 68 as at generation, 74 as for the published network, or 98.
        awing_file: weights of the Adaptive-Wing network, which finds 74 and 98.
        landmarks_video: also write the landmarks of each clip as they move.
        compare_content: compare clips without a real video with what the published content branch makes of them.
    """

    files: ClassVar[Mapping[str, str]] = {
        "converter": "ckpt_autovc.pth",
        "content": "ckpt_content_branch.pth",
        "speaker": "ckpt_speaker_branch.pth",
        "translator": "ckpt_116_i2i_comb.pth",
    }
    other_files: ClassVar[Mapping[str, Sequence[str]]] = {"content": ("ckpt_audio2landmark_c.pth",)}
    entries: ClassVar[Mapping[str, str]] = {"speaker": "G", "translator": "G"}
    folders: ClassVar[Sequence[str]] = ("MakeItTalk", "ckpt")
    stages: ClassVar[Mapping[str, type[Stage]]] = {
        "converter": ConverterStage,
        "content": ContentStage,
        "speaker": SpeakerStage,
        "translator": TranslatorStage,
    }
    generates_with: ClassVar[Sequence[str]] = ("converter", "content", "speaker", "translator")
    stand_in = "what the published content branch makes of them"

    def __init__(
        self,
        width: float = 1.0,
        use_prior_net: bool = True,
        speaker_embedding: str = "resemblyzer",
        speaker_weights: str = "",
        pitch_range: Sequence[float] = (100.0, 600.0),
        reuse_train_emb_list: Sequence[str] = (),
        emb_file: str = "checkpoints/MakeItTalk/emb.pickle",
        converter_file: str = "ckpt_autovc.pth",
        content_file: str = "ckpt_content_branch.pth",
        speaker_file: str = "ckpt_speaker_branch.pth",
        translator_file: str = "ckpt_116_i2i_comb.pth",
        amp_lip_x: float = 2.0,
        amp_lip_y: float = 2.0,
        amp_pos: float = 0.5,
        close_input_face_mouth: bool = False,
        upper_lip: float = 1.0,
        lower_lip: float = -1.0,
        eye: float = 2.0,
        lip_width: float = 1.0,
        blink: bool = True,
        blink_seed: int = 0,
        add_audio_in: bool = False,
        image_size: int = 256,
        fps: float = 25.0,
        output: str = "full",
        longest_side: int = 1280,
        to_the_end: bool = True,
        translation_batch_size: int = 8,
        bf16: bool = False,
        jpg_bg: str = "",
        beyond: str = "edge",
        pictures: int = 32,
        drawn_points: int = 68,
        awing_file: str = "checkpoints/MakeItTalk/WFLW_4HG.pth",
        landmarks_video: bool = False,
        compare_content: bool = False,
    ):
        super().__init__()
        if width <= 0:
            raise ConfigError(f"MakeItTalk.width: expected more than 0, got {width}.")
        self.width, self.use_prior_net, self.speaker_embedding = width, use_prior_net, speaker_embedding
        self.embed, self.pitch_range = voice.embedder(speaker_embedding, speaker_weights), checked_range(pitch_range)
        self.known_speaker, self.emb_file = one_speaker(reuse_train_emb_list), Path(emb_file)
        self.motion = Motion(
            amp_lip_x, amp_lip_y, amp_pos, close_input_face_mouth, upper_lip, lower_lip, eye, lip_width, blink, blink_seed
        ).for_side(image_size)
        files = {"converter": converter_file, "content": content_file, "speaker": speaker_file, "translator": translator_file}
        self.files = {network: named_file(name) for network, name in files.items()}  # type: ignore[misc]
        self.converter, self.content = VoiceConverter(width), ContentBranch(width, use_prior_net)
        self.frames = FrameSettings(
            fps, output, longest_side, to_the_end, image_size, translation_batch_size, bf16, jpg_bg, beyond
        )
        self.speaker, self.translator = SpeakerBranch(width), ResUnetGenerator(7 if add_audio_in else 6, width)
        self.pictures = PictureSettings(pictures, image_size, checked_scheme(drawn_points), awing_file, add_audio_in)
        self.landmarks_video, self.compare_content = landmarks_video, compare_content

    def sizes(self) -> dict[str, Any]:
        sizes = {"width": self.width, "image_size": self.frames.image_size, "add_audio_in": self.translator.hears}
        return {**sizes, "use_prior_net": self.use_prior_net}

    # --- features -----------------------------------------------------------------------------------------------------

    def preparation(self) -> dict[str, Any]:
        pictures = {"pictures": self.pictures.count, "image_size": self.pictures.side, "drawn_points": self.pictures.points}
        heard = {"pitch_range": list(self.pitch_range), "speaker_embedding": self.speaker_embedding}
        return {**pictures, **heard, "add_audio_in": self.pictures.hears}

    def prepare(self, clip: Clip, folder: Path) -> None:
        if clip.face.suffix == ".npy":
            prepare_dump(clip, folder)
        else:
            prepare_video(clip, folder, self.faces, self.listen, self.pictures)

    # --- weights ------------------------------------------------------------------------------------------------------

    def networks_in(self, path: Path) -> list[str]:
        if any(path.name in self.published_names(network) for network in self.files):
            return super().networks_in(path)
        held = read_networks(path, self.entries.values())  # two networks have the same entry: the names in it decide
        return [self.network_of(weights, path) for weights in held.values()]

    def load_network(self, network: str, weights: Weights, source: Path) -> None:
        super().load_network(network, fitted(network, weights, self), source)

    # --- landmarks ----------------------------------------------------------------------------------------------------

    def hear(self, audio: Path) -> Speech:
        """Listen to a recording; in `embedding` stands who was asked for, if anyone.

        Raises:
            MediaError: there is no sound, or too little.
            MissingWeightsError: the weights that tell who speaks are not on this disk.
        """
        speech = self.listen(audio)
        if self.known_speaker:
            speech = speech._replace(embedding=voice.known_embedding(self.emb_file, self.known_speaker))
        return speech

    def listen(self, audio: Path) -> Speech:
        """Listen to a recording as it is."""
        return speech_features(audio, self.embed, self.pitch_range)

    def animate(self, landmarks: np.ndarray, audio: Path, content: ContentBranch | None = None) -> np.ndarray:
        """Let the landmarks (68, 2 or 3) of a portrait speak: (N, 68, 3) in its pixels, 62.5 rows per second.

        Args:
            content: the branch that moves the lips; None = the model's own.
        """
        return animate(landmarks, *self.converted(audio), content or self.content, self.speaker, self.motion)

    def move(self, face: np.ndarray, audio: Path, content: ContentBranch | None = None) -> np.ndarray:
        """Let a normalised face (68, 3) with a closed mouth speak: (N, 68, 3) normalised, 62.5 rows per second."""
        return move(face, *self.converted(audio), content or self.content, self.speaker, self.motion)

    def converted(self, audio: Path) -> tuple[np.ndarray, np.ndarray]:
        """What the branches hear: a recording in the voice that they know, (T, 80), and who speaks, (256,)."""
        speech = self.hear(audio)
        return convert(self.converter, speech), speech.embedding

    # --- frames -------------------------------------------------------------------------------------------------------

    def frame_rate(self, clip: Clip) -> float:
        return self.frames.fps

    def generate(self, clip: Clip) -> Iterator[Frame]:
        yield from map(Frame, self.images(clip, self.content))

    def images(self, clip: Clip, content: ContentBranch) -> Iterator[np.ndarray]:
        """The frames of a clip whose lips a content branch moves."""
        settings = self.frames
        if is_puppet(clip.face):
            puppet = read_puppet(clip.face, settings.jpg_bg or None).reduced(settings.longest_side)
            return speaking_puppet(puppet, partial(self.move, content=content), clip.audio, settings)
        closes, name = self.motion.close_input_face_mouth, clip.face.name
        animate = partial(self.animate, content=content)
        return speaking_portrait(self.portrait(clip), animate, clip.audio, self.translator, settings, name, closes)

    def views(self, clip: Clip, video: Path) -> dict[str, View]:
        return {"landmarks": View(self.drawn_landmarks(clip), with_sound=True)} if self.landmarks_video else {}

    def drawn_landmarks(self, clip: Clip) -> Iterator[np.ndarray]:
        """The moving landmarks of a clip as lines on white: (S, S, 3) uint8 RGB."""
        side = self.frames.image_size
        if is_puppet(clip.face):
            rows = side * (0.3 * self.move(read_puppet(clip.face).closed, clip.audio)[..., :2] + [0.5, 0.4])
        else:
            rows = self.animate(self.portrait(clip).landmarks, clip.audio)
        return (drawing[..., ::-1] for drawing in draw_rows(self.frames.in_time(rows, clip.audio), side))

    def real(self, clip: Clip) -> Iterable[np.ndarray] | None:
        if clip.truth is None:
            content = self.published_content() if self.compare_content else None
            return None if content is None else self.images(clip, content)
        return None if is_puppet(clip.face) else real_frames(self.portrait(clip), clip.truth, self.frames)

    def published_content(self) -> ContentBranch | None:
        """The published content branch; None where its file is not there."""
        path = self.published("content", self.checkpoints_dir)
        if not path.is_file():
            log.warning("%s does not exist: clips without a real video are compared with nothing.", path)
            return None
        branch = ContentBranch(self.width, self.use_prior_net)
        load_weights(branch, read_weights(path).state, path)
        return branch.eval().to(self.device)

    def portrait(self, clip: Clip) -> Portrait:
        """The face that a clip shows; of a video, in its first frame."""
        return read_portrait(clip.face, self.faces, self.frames.image_size, self.frames.longest_side)


def checked_range(pitch_range: Sequence[float]) -> tuple[float, float]:
    """Raises ConfigError unless these are two frequencies that speech at 16 kHz can have."""
    if len(pitch_range) != 2 or not SAMPLE_RATE / 10_000 <= pitch_range[0] < pitch_range[1] < SAMPLE_RATE / 2:
        raise ConfigError(f"MakeItTalk.pitch_range: expected two rising frequencies in hertz, got {list(pitch_range)}.")
    return float(pitch_range[0]), float(pitch_range[1])


def named_file(name: str) -> str:
    """The name of a file in the folder of weights; where it is a path from the working folder, the whole path."""
    return str(Path(name).expanduser().resolve()) if Path(name).expanduser().is_file() else name


def one_speaker(names: Sequence[str]) -> str:
    """The only name in a list, or ""; raises ConfigError where there are more: one clip is one video."""
    if len(names) > 1:
        raise ConfigError(f"MakeItTalk.reuse_train_emb_list: one speaker makes one video, got {list(names)}. Run it for each.")
    return str(names[0]) if names else ""


def checked_scheme(points: int) -> int:
    """Raises ConfigError unless faces of so many points can be drawn."""
    if points not in SCHEMES:
        raise ConfigError(f"MakeItTalk.drawn_points: expected one of {', '.join(map(str, SCHEMES))}, got {points}.")
    return points


def fitted(network: str, weights: Weights, model: MakeItTalk) -> Weights:
    """Published weights as the networks want them.

    The file of the speaker branch may hold layers of an earlier version (`comb_mlp`), and need not hold its constants; that of
    the converter does not hold the voice that it converts to.
    """
    if network == "converter":
        return replace(weights, state={"target_voice": torch.tensor(TARGET_VOICE, dtype=torch.float32), **weights.state})
    if network != "speaker":
        return weights
    constants = {name: tensor for name, tensor in model.speaker.state_dict().items() if name.endswith("pe.pe")}
    kept = {name: tensor for name, tensor in weights.state.items() if not name.startswith("comb_mlp")}
    return replace(weights, state={**constants, **kept})
