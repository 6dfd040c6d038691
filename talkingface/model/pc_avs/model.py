"""PC-AVS: a face that says any speech and moves its head as another video does."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from io import SEEK_END
from itertools import chain, islice, repeat
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from talkingface.dataset.base import Clip
from talkingface.dataset.pc_avs import DrivenClip, is_still
from talkingface.errors import ConfigError
from talkingface.media.audio import SAMPLE_RATE, load_audio
from talkingface.media.video import Video
from talkingface.model.base import Frame, TalkingFace, View
from talkingface.model.pc_avs import data
from talkingface.model.pc_avs.faces import Alignment, FaceVideo, to_pictures, to_unit, view
from talkingface.model.pc_avs.networks import (
    Generator,
    IdentityEncoder,
    PoseMouthEncoder,
    SpeechEncoder,
    VoiceIdentityEncoder,
    Widths,
)
from talkingface.model.pc_avs.speech import FPS, MARGIN, Speech, first_row, pose_index, published_frames
from talkingface.model.pc_avs.stages import GeneratorStage, IdentityStage, SyncStage
from talkingface.model.stage import Stage
from talkingface.nn.weights import Weights, register_network
from talkingface.registry import MODELS

NOISES, BORDERS = ("fresh", "stored", "none"), ("pad", "cut")
IDENTITY_FRAMES, POSES = ("first", "middle", "random"), ("face", "still")
HEADS = {  # entries for training alone, whose sizes depend on the training data: any size, or none at all
    "generator": (),
    "identity": ("fc.",),
    "pose_mouth": ("classifier.", "mouth_fc.", "headpose_fc."),
    "speech": ("fc.",),
    "voice": ("fc.",),
}
CONSTANTS = ("num_batches_tracked", ".kernel")  # ends of entries that need not be in a file
OLD_NAMES = {  # of the pose and mouth network, in older files
    "mapper": "to_mouth",
    "mapper2small": "mouth_embed",
    "mapper_fc": "mouth_fc",
    "pure_pose": "to_headpose",
    "pure_pose2small": "headpose_embed",
    "pure_pose_fc": "headpose_fc",
}
DUMMY = "simple_model.pth"  # what a course's port of PC-AVS names in its command; its file holds nothing
REMEMBERED = 12  # things about faces and pose videos that are kept: places of faces, identities, pose codes
ON_CPU = 4  # pictures that the generator makes at once on a CPU

T = TypeVar("T")
log = logging.getLogger(__name__)


@MODELS.register("PC_AVS", aliases=["av"])
class PC_AVS(TalkingFace):
    """Talking faces with free head motion (Zhou et al., CVPR 2021).

    Who speaks comes from one picture or a few, the mouth from speech, the head from another video. Each frame is made on its
    own, at 25 frames per second.

    Args:
        width: factor of the networks' inner channel counts; 1.0 are the published networks.
        image_size: side of the generated pictures, a multiple of 32 from 64 on; 224 as published.
        pose_dim: numbers of a pose code.
        num_classes: speakers that the heads for training tell apart.
        clip_len: frames per training clip, which the heads for training see together.
        name: folder of the published files, below checkpoints/PC_AVS or checkpoints.
        which_epoch: what the names of the published files begin with.
        input_id_feature: the generator starts from the spatial identity; else from its constant map.
        use_audio_id: who speaks is taken from the voice (Speech2Talking-Face, IJCAI 2021), which needs latest_net_A.pth.
        n_mel_T: length of the speech that tells the voice, in 0.8 s.
        num_inputs: pictures of the identity that are averaged.
        identity_frame: which frames of an identity video: "first", "middle" or "random".
        driving_pose: the head moves as the pose video's; else it stays as in the identity picture.
        own_pose: how the head moves where no pose is named: as in the "face" video, or "still".
        pose_loop: a pose video that is too short begins again; else it goes back and forth.
        mouth_feature_weight: factor of the speech content.
        noise: of the generator: "fresh" for each frame, "stored" with the weights, or "none".
        borders: "pad" makes the first and last two frames too; "cut" leaves them out, as the authors do.
        align: "auto" aligns faces in what is not 224 x 224 pixels; "always"; "never".
        align_smooth: seconds over which an alignment follows the head; 0 = it follows the mouth, as the authors' does.
        align_reduce: reduce large faces before they are aligned, so that no pixel is skipped; the authors do not.
        batch_size: frames made at once; changes speed and memory only.
        all_videos: also write the inputs as the networks see them, and everything side by side.
    """

    files: ClassVar[Mapping[str, str]] = {
        "generator": "latest_net_G.pth",
        "identity": "latest_net_V.pth",
        "pose_mouth": "latest_net_E.pth",
        "speech": "latest_net_A_sync.pth",
    }
    folders: ClassVar[Sequence[str]] = ("PC_AVS/demo", "demo", "PC_AVS")
    stages: ClassVar[Mapping[str, type[Stage]]] = {
        "identity": IdentityStage,
        "sync": SyncStage,
        "generator": GeneratorStage,
    }
    generates_with: ClassVar[Sequence[str]] = ("generator", "identity", "pose_mouth", "speech")

    def __init__(
        self,
        width: float = 1.0,
        image_size: int = 224,
        pose_dim: int = 12,
        num_classes: int = 5830,
        clip_len: int = 1,
        name: str = "demo",
        which_epoch: str = "latest",
        input_id_feature: bool = True,
        use_audio_id: bool = False,
        n_mel_T: int = 4,
        num_inputs: int = 1,
        identity_frame: str = "first",
        driving_pose: bool = True,
        own_pose: str = "face",
        pose_loop: bool = False,
        mouth_feature_weight: float = 1.2,
        noise: str = "fresh",
        borders: str = "pad",
        align: str = "auto",
        align_smooth: float = 0.0,
        align_reduce: bool = True,
        batch_size: int = 16,
        all_videos: bool = False,
    ):
        super().__init__()
        words = {"noise": noise, "identity_frame": identity_frame, "borders": borders, "own_pose": own_pose}
        for (key, word), allowed in zip(words.items(), (NOISES, IDENTITY_FRAMES, BORDERS, POSES), strict=True):
            if word not in allowed:
                raise ConfigError(f"PC_AVS.{key}: expected one of {', '.join(allowed)}, got {word!r}.")
        counts = {"pose_dim": pose_dim, "num_classes": num_classes, "clip_len": clip_len, "num_inputs": num_inputs}
        for key, number in {**counts, "width": width, "n_mel_T": n_mel_T, "batch_size": batch_size}.items():
            if number <= 0:
                raise ConfigError(f"PC_AVS.{key}: expected more than 0, got {number}.")
        if image_size % 32 or image_size < 64:
            raise ConfigError(f"PC_AVS.image_size: expected a multiple of 32 from 64 on, got {image_size}.")
        if pose_dim >= Widths.of(width).feature:
            raise ConfigError(f"PC_AVS.pose_dim: expected less than {Widths.of(width).feature} at this width, got {pose_dim}.")
        self.width, self.image_size, self.pose_dim = width, image_size, pose_dim
        self.num_classes, self.clip_len = num_classes, clip_len
        self.experiment, self.input_id_feature = name, input_id_feature
        self.num_inputs, self.identity_frame = num_inputs, identity_frame
        self.driving_pose, self.own_pose, self.pose_loop = driving_pose, own_pose, pose_loop
        self.mouth_feature_weight, self.noise, self.borders = mouth_feature_weight, noise, borders
        self.alignment = Alignment(align, align_smooth, align_reduce).checked()
        self.batch_size, self.all_videos = batch_size, all_videos
        self.seed = torch.initial_seed()
        self.generator = Generator(width, image_size, constant=not input_id_feature or use_audio_id)
        self.identity = IdentityEncoder(num_classes, width, image_size)
        self.pose_mouth = PoseMouthEncoder(pose_dim, num_classes, clip_len, width, image_size)
        self.speech = SpeechEncoder(num_classes, width)
        self.voice = VoiceIdentityEncoder(num_classes, width, 80 * n_mel_T) if use_audio_id else None
        self.use_published_names(which_epoch)
        self.memory: OrderedDict[Hashable, Any] = OrderedDict()

    def use_published_names(self, which_epoch: str) -> None:
        """Set the names of this model's published files, and which networks it needs."""
        files = {network: file.replace("latest", which_epoch, 1) for network, file in self.files.items()}
        if self.voice is not None:
            files["voice"] = f"{which_epoch}_net_A.pth"
            self.generates_with = ("generator", "pose_mouth", "speech", "voice")  # type: ignore[misc]
        self.files = files  # type: ignore[misc]

    def sizes(self) -> dict[str, Any]:
        names = ("width", "image_size", "pose_dim", "num_classes", "clip_len")
        return {name: getattr(self, name) for name in names}

    # --- training data ------------------------------------------------------------------------------------------------

    def preparation(self) -> dict[str, Any]:
        return {"features": 1, "side": self.image_size, "alignment": list(self.alignment)}

    def prepare(self, clip: Clip, folder: Path) -> None:
        data.prepare(clip, folder, self.faces, self.alignment, self.image_size)

    # --- weights ------------------------------------------------------------------------------------------------------

    def files_at(self, path: Path) -> dict[str, Path]:
        return super().files_at(self.official_folder(path))

    def official_folder(self, path: Path) -> Path:
        """The folder of the published files that a path means: the folder itself, `demo` in it or beside it, or that of a file.

        Any other path is returned as it is.
        """
        if path.name in self.files.values() and path.is_file():
            return path.parent
        folder = path.parent if path.name == DUMMY and not path.is_file() else path
        published = self.files["generator"]
        places = [folder / self.experiment, *([folder.parent / self.experiment] if folder.name == self.name else [])]
        if folder != path:
            places = [folder, *places]
        elif (folder / "weights").is_dir() or any((folder / file).is_file() for file in (published, "generator.safetensors")):
            return path
        found = next((place for place in places if (place / published).is_file()), path)
        if found != path:
            log.info("%s: the published files in %s are used.", path, found)
        return found

    def network_of(self, weights: Weights, path: Path) -> str:
        network = super().network_of(weights, path)
        if network == "speech" and self.voice is not None:  # both have the same names
            size = weights.state["model.fc.weight"].shape[0] if "model.fc.weight" in weights.state else 0
            return "voice" if size == Widths.of(self.width).identity else "speech"
        return network

    def load_network(self, network: str, weights: Weights, source: Path) -> None:
        module: nn.Module = getattr(self, network)
        beside = {key: value for key, value in weights.extra.items() if key != "num_classes"}  # only the heads depend on it
        state = fitted(network, module, weights.state, source)
        super().load_network(network, replace(weights, state=state, extra=beside), source)

    # --- generation ---------------------------------------------------------------------------------------------------

    def frame_rate(self, clip: Clip) -> float:
        return float(FPS)

    @torch.inference_mode()
    def generate(self, clip: Clip) -> Iterator[Frame]:
        for generated in self.batches(clip):
            yield from map(Frame, to_pictures(generated))

    def batches(self, clip: Clip) -> Iterator[Tensor]:
        """The frames of a clip as they leave the generator: (b, 3, S, S) in [-1, 1] at a time.

        Raises:
            MediaError: speech or pictures cannot be used.
        """
        driven = DrivenClip.of(clip)
        speech = Speech(driven.audio, driven.spectrogram)
        frames = self.span(speech)
        face = self.face_video(driven.face)
        identity = self.identity_of(face) if self.voice is None else self.voice_identity(speech)
        poses = self.poses(driven, face)
        windows = speech.windows(frames.start, len(frames))
        size = self.batch_size if self.device.type != "cpu" else min(self.batch_size, ON_CPU)
        for start in range(frames.start, frames.stop, size):
            here = np.arange(start, min(start + size, frames.stop))
            mels = torch.from_numpy(np.stack(list(islice(windows, len(here)))))[:, None]
            yield self.render(identity, self.content(mels), poses.at(here, self.pose_loop), self.noise_of(here))

    def span(self, speech: Speech) -> range:
        """The video frames that are made of some speech, counted from its beginning."""
        if self.borders == "pad":
            return range(speech.frames)
        found = published_frames(speech.rows)
        return range(int(found[0]), int(found[-1]) + 1)

    def content(self, mels: Tensor) -> Tensor:
        """Mouth codes of speech: (b, 1, 80, 20) -> (b, 500)."""
        return self.pose_mouth.mouth_code(self.mouth_feature_weight * self.speech(mels.to(self.device)))

    def render(self, identity: Identity, mouth: Tensor, pose: Tensor, noise: Sequence[Tensor]) -> Tensor:
        """Pictures (b, 3, S, S) in [-1, 1] of one identity with mouth codes (b, 500) and pose codes (b, 12)."""
        pooled, start = identity
        style = torch.cat((pooled.expand(len(mouth), -1), mouth, pose), dim=1)
        return self.generator(style, None if start is None else start.expand(len(mouth), -1, -1, -1), noise)

    def noise_of(self, frames: np.ndarray) -> Sequence[Tensor]:
        """The generator's noise for some frames; fresh noise is a function of the run's seed and the frame alone."""
        if self.noise != "fresh":
            return self.generator.stored_noise() if self.noise == "stored" else ()
        chances = [torch.Generator().manual_seed((self.seed * 1_000_003 + int(frame)) % 2**63) for frame in frames]
        drawn = [self.generator.fresh_noise(1, chance) for chance in chances]
        return [torch.cat(maps) for maps in zip(*drawn, strict=True)]

    # --- who --------------------------------------------------------------------------------------------------------

    def face_video(self, path: Path, count: int = 0) -> FaceVideo:
        """The faces of a file or folder; where they are is found once."""
        video = FaceVideo(path, self.faces, self.alignment, count)
        return self.remembered(("faces", path, video.key()), lambda: video)

    def identity_of(self, face: FaceVideo) -> Identity:
        """What the generator is told of who it is; computed once per face."""

        def encode() -> Identity:
            pooled, spatial = self.identity.encode(self.identity_pictures(face)[None])
            return Identity(pooled, spatial if self.input_id_feature else None)

        return self.remembered(("identity", *self.identity_key(face), state_of(self.identity)), encode)

    def voice_identity(self, speech: Speech) -> Identity:
        """What the generator is told of who it is by a voice: 3.2 s around the middle of the speech."""
        assert self.voice is not None
        rows = self.voice.rows
        found = published_frames(speech.rows)
        start = int(first_row(int(found[max(len(found) // 2 - 10, -len(found))]) - 8))
        heard = speech.part(start, rows) if start >= 0 else np.zeros((rows, 80), np.float32)
        return Identity(self.voice(torch.from_numpy(heard)[None, None].to(self.device)), None)

    def identity_pictures(self, face: FaceVideo) -> Tensor:
        """The pictures (n, 3, S, S) that show who it is; fewer than `num_inputs` where there are no more."""
        frames = chosen(face, self.num_inputs, self.identity_frame, self.seed)
        return self.shown(face.pick(frames))

    def shown(self, faces: Iterable[np.ndarray]) -> Tensor:
        """224 x 224 faces as the networks eat them: (n, 3, S, S) in [-1, 1]."""
        return to_unit(np.stack([view(face, self.image_size) for face in faces])).to(self.device)

    # --- how the head moves -------------------------------------------------------------------------------------------

    def pose_video(self, clip: DrivenClip) -> FaceVideo | None:
        """The video whose head motion is followed; None where the head stays as in the identity picture."""
        if not self.driving_pose or is_still(clip.pose):
            return None
        if clip.pose is not None:
            return self.face_video(clip.pose, clip.pose_count)
        return self.face_video(clip.face) if self.own_pose == "face" and not Video(clip.face).is_still else None

    def poses(self, clip: DrivenClip, face: FaceVideo) -> PoseCodes:
        """The pose codes of a clip; computed once per pose video."""
        video = self.pose_video(clip)
        network = state_of(self.pose_mouth)
        if video is not None:
            return self.remembered(("poses", video.key(), network), lambda: PoseCodes(video, self.pose_codes, self.batch_size))
        own = ("own pose", *self.identity_key(face), network)
        return self.remembered(own, lambda: PoseCodes([], self.pose_codes, 1, self.own_code(face)))

    def pose_codes(self, faces: Sequence[np.ndarray]) -> Tensor:
        """(n, 12) of 224 x 224 faces."""
        return self.pose_mouth.pose_code(self.pose_mouth(self.shown(faces)))

    def own_code(self, face: FaceVideo) -> Tensor:
        """(1, 12): how the head is held in the identity pictures, on average."""
        poses = self.pose_mouth.to_headpose(self.pose_mouth(self.identity_pictures(face)))
        return self.pose_mouth.headpose_embed(poses.mean(dim=0, keepdim=True))

    def identity_key(self, face: FaceVideo) -> tuple[Any, ...]:
        """What decides the identity pictures."""
        return (face.key(), self.num_inputs, self.identity_frame)

    def remembered(self, key: Hashable, make: Callable[[], T]) -> T:
        """What was made under a key, kept for the next clip with the same face or pose; the longest unused is forgotten."""
        found = self.memory.pop(key) if key in self.memory else make()
        self.memory[key] = found
        if len(self.memory) > REMEMBERED:
            self.memory.popitem(last=False)
        return found

    # --- what is shown beside it --------------------------------------------------------------------------------------

    def sound(self, clip: Clip) -> Path | np.ndarray:
        """The sound of the generated video; it begins with the first generated frame."""
        if self.borders == "pad":
            return clip.audio
        return load_audio(clip.audio)[MARGIN * SAMPLE_RATE // FPS :]

    def real(self, clip: Clip) -> Iterator[np.ndarray] | None:
        """The real frames, aligned and cut as the networks see faces."""
        if clip.truth is None:
            return None
        return islice(self.pictures(self.face_video(clip.truth)), 0 if self.borders == "pad" else MARGIN, None)

    def views(self, clip: Clip, video: Path) -> dict[str, View]:
        """The original's further videos: what each network saw, and everything side by side."""
        if not self.all_videos:
            return {}
        driven = DrivenClip.of(clip)
        frames = self.span(Speech(driven.audio, driven.spectrogram))
        pose = self.pose_video(driven)
        made = "G_Fix_Pose_" if pose is None else "G_Pose_Driven_"
        parts: dict[str, Callable[[], Iterator[np.ndarray]]] = {
            "Input_": lambda: repeat(self.identity_shown(driven), len(frames)),
            made: lambda: iter(Video(video)),
        }
        if pose is not None:
            parts["Pose_Source_"] = lambda: there_and_back(self.pictures(pose), frames, self.pose_loop)
        if driven.mouth is not None:
            mouth = self.face_video(driven.mouth)
            parts["Mouth_Source_"] = lambda: held_on(self.pictures(mouth), frames)
        views = {name: View(part()) for name, part in parts.items()}
        for name in ("concat", "avconcat"):
            views[name] = View(side_by_side([part() for part in parts.values()]), with_sound=name == "avconcat")
        return views

    def identity_shown(self, clip: Clip) -> np.ndarray:
        """(S, S, 3): the first identity picture."""
        return to_pictures(self.identity_pictures(self.face_video(clip.face))[:1])[0]

    def pictures(self, video: FaceVideo) -> Iterator[np.ndarray]:
        """The faces of a video as the networks see them: (S, S, 3) uint8."""
        return (view(face, self.image_size) for face in video)


class Identity(NamedTuple):
    """What the generator is told of who it is.

    Attributes:
        pooled: (1, 2048).
        start: (1, 512, s, s), or None for the generator's constant.
    """

    pooled: Tensor
    start: Tensor | None


class PoseCodes:
    """The pose codes of a video, in order of time; each is computed once, when a frame from there on is first asked for.

    Args:
        faces: 224 x 224 faces.
        encode: faces -> (n, 12).
        batch_size: faces encoded at once.
        codes: (n, 12) that are known already.
    """

    def __init__(
        self,
        faces: Iterable[np.ndarray],
        encode: Callable[[Sequence[np.ndarray]], Tensor],
        batch_size: int,
        codes: Tensor | None = None,
    ):
        self.faces, self.encode, self.batch_size = iter(faces), encode, batch_size
        self.parts = [] if codes is None else [codes]
        self.count, self.is_whole = sum(map(len, self.parts)), False

    def at(self, frames: np.ndarray, loop: bool) -> Tensor:
        """(n, 12) of video frames (n,), which may lie behind the end of the pose video: see `pose_index`."""
        while not self.is_whole and self.count <= frames.max():
            self.read()
        codes = self.parts[0] if len(self.parts) == 1 else torch.cat(self.parts)
        self.parts = [codes]
        return codes[pose_index(frames, self.count, loop) if self.is_whole else frames]

    def read(self) -> None:
        """Encode the next faces."""
        faces = list(islice(self.faces, self.batch_size))
        if faces:
            self.parts.append(self.encode(faces))
            self.count += len(faces)
        self.is_whole = len(faces) < self.batch_size


def chosen(face: FaceVideo, count: int, rule: str, seed: int) -> list[int]:
    """The frames of an identity video that show who it is, in order of time: at most `count`, all with a face.

    Args:
        rule: "first"; "middle", spread evenly over the video; "random", by the seed.
    """
    if face.video.is_still:
        return [0]
    if rule == "first" and face.is_aligned:
        return list(range(count if count == 1 else min(count, len(face))))
    frames = face.with_face()
    count = min(count, len(frames))
    if rule == "first":
        places = np.arange(count)
    elif rule == "middle":
        places = (len(frames) * (np.arange(count) + 0.5) / count).astype(int)
    else:
        places = np.sort(np.random.default_rng(seed).choice(len(frames), count, replace=False))
    return [frames[int(place)] for place in places]


def state_of(network: nn.Module) -> int:
    """A number that changes whenever the network's weights do, or where they are."""
    tensors = chain(network.parameters(), network.buffers())
    return hash(tuple((tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version) for tensor in tensors))


# --- videos beside the result -----------------------------------------------------------------------------------------


def held_on(pictures: Iterable[np.ndarray], frames: range) -> Iterator[np.ndarray]:
    """The pictures of some frames; the last picture stays on where there are no more."""
    pictures, picture, read = iter(pictures), None, 0
    for frame in frames:
        while read <= frame and (following := next(pictures, None)) is not None:
            picture, read = following, read + 1
        assert picture is not None
        yield picture


def there_and_back(pictures: Iterable[np.ndarray], frames: range, loop: bool) -> Iterator[np.ndarray]:
    """The pose pictures of some frames: see `pose_index`. Pictures are kept in a file, not in memory, for the way back."""
    pictures, count, is_whole = iter(pictures), 0, False
    with TemporaryFile() as kept:
        for frame in frames:
            while not is_whole and count <= frame:
                picture = next(pictures, None)
                if picture is None:
                    is_whole = True
                else:
                    shape, count = picture.shape, count + 1
                    kept.seek(0, SEEK_END)
                    kept.write(picture.tobytes())
            place = int(pose_index(frame, count, loop)) if is_whole else frame
            size = int(np.prod(shape))
            kept.seek(place * size)
            yield np.frombuffer(kept.read(size), np.uint8).reshape(shape)


def side_by_side(parts: Sequence[Iterable[np.ndarray]]) -> Iterator[np.ndarray]:
    """Videos of one height as one."""
    return (np.concatenate(pictures, axis=1) for pictures in zip(*parts, strict=False))


# --- published files --------------------------------------------------------------------------------------------------


def fitted(network: str, module: nn.Module, state: Mapping[str, Tensor], source: Path) -> dict[str, Tensor]:
    """The entries of a file that a network has, as far as the rest is of no use.

    Older names are understood. Heads for training may have any size, or be absent: they stay as they are. Entries that no
    network has are left out. Where anything else is missing, all entries are returned, for the error to name.
    """
    own = module.state_dict()
    given = {current_name(name): tensor for name, tensor in state.items()}
    heads = [name for name in own if name.startswith(HEADS[network]) and given.get(name, Tensor()).shape != own[name].shape]
    absent = [name for name in own if name.endswith(CONSTANTS) and name not in given]
    if any(name not in given for name in own.keys() - {*heads, *absent}):
        return dict(state)
    if heads:
        names = sorted({name.partition(".")[0] for name in heads})
        log.info("%s: %s not taken: heads for training alone, of another number of classes or frames.", source, ", ".join(names))
    kept = {*heads, *absent}
    return {name: own[name] if name in kept else given[name] for name in own}


def current_name(name: str) -> str:
    """The name of an entry today."""
    first, dot, rest = name.partition(".")
    return OLD_NAMES.get(first, first) + dot + rest


def published_generator() -> nn.Module:
    """The published generator with its mapping network, which is never used."""
    network, style = Generator(), Widths.of(1.0).style
    network.style = nn.Sequential(nn.Identity(), *(nn.Linear(style, style) for _ in range(8)))
    return network


register_network("the generator of PC-AVS (latest_net_G.pth)", published_generator)
register_network("the identity network of PC-AVS (latest_net_V.pth)", IdentityEncoder)
register_network("the pose and mouth network of PC-AVS (latest_net_E.pth)", PoseMouthEncoder)
register_network("the speech network of PC-AVS (latest_net_A_sync.pth)", SpeechEncoder)
