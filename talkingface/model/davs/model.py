"""DAVS: a talking face from one picture, driven by speech or by other lips."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from talkingface.dataset.base import Clip
from talkingface.errors import CheckpointError, ConfigError
from talkingface.media.audio import SAMPLE_RATE, load_audio
from talkingface.media.image import write_image
from talkingface.media.mfcc import FPS
from talkingface.model.base import Frame, TalkingFace
from talkingface.model.davs import data
from talkingface.model.davs.driving import Driving, by_lips, by_speech, first_number, with_black_end
from talkingface.model.davs.faces import Alignment, FaceVideo, shown
from talkingface.model.davs.networks import (
    FILE,
    Decoder,
    IdentityEncoder,
    LipEncoder,
    PersonClassifier,
    SpeechEncoder,
    WordClassifier,
)
from talkingface.model.davs.spaces import spaces_of
from talkingface.model.davs.stages import STAGES
from talkingface.model.davs.tuning import Painter, Step, fine_tune
from talkingface.model.stage import Stage
from talkingface.nn.weights import read_networks
from talkingface.registry import MODELS

DRIVERS = {"audio": "audio", "video": "image", "image": "image"}  # test_type -> the word in the authors' file names
BORDERS, RECIPES = ("pad", "cut"), ("released", "paper")
PRECISIONS = {"single": torch.float32, "double": torch.float64}
SUFFIX = "_checkpoint.pth.tar"  # what the authors cut off a file's name to name a folder of results
PRETRAINED = {  # option of `load_separately` -> entry of its file -> network
    "id_pretrain_path": {"model_fusion": "identity"},
    "feature_extractor_path": {"face_encoder": "lips", "mfcc_encoder": "speech", "face_fusion": "words"},
}
ON_CPU = 4  # frames that the decoder makes at once on a CPU

log = logging.getLogger(__name__)


@MODELS.register("DAVS")
class DAVS(TalkingFace):
    """Talking faces by adversarially disentangled audio-visual representation (Zhou et al., AAAI 2019).

    Who speaks comes from one picture; what is said from speech (`test_type` "audio") or from the lips of a talking video
    ("video"), which share one space. Each frame is made on its own, at 25 per second, of an aligned face.

    Args:
        width: factor of the networks' inner channel counts; 1.0 are the published networks.
        image_size: side of the generated pictures, a multiple of 64; 256 as published.
        feature_length: numbers of an embedding.
        label_size: words that the classifiers tell apart.
        id_label_size: persons that the classifiers tell apart.
        disfc_length: consecutive frames from which the person space's maps are asked for the word.
        pred_length: frames, each second one, from which the word is recognised.
        sequence_length: frames that are generated, and judged, together in training.
        recipe: "released": what the authors released; "paper": all of the paper.
        id_pretrain_path: file of the authors' pretraining of persons to start from; "" = none.
        feature_extractor_path: file of the authors' pretraining of words to start from; "" = none.
        test_type: what drives: "audio", or the lips of a "video" ("image" is the same).
        test_audio_video_length: frames to make at most; 0 = all that are driven.
        fine_tune_steps: steps on the picture of who speaks before the first frame; 0 = none.
        fine_tune_rate: learning rate of these steps.
        fine_tune_weight: weight of the difference to the picture in these steps.
        fine_tune_precision: "single" or "double": how exactly these steps are computed. They follow signs of gradients, which
            rounding decides where they are small; in double precision machines agree.
        audio_factor: factor of what is heard; larger opens the mouth wider.
        video_factor: factor of what is seen.
        faithful: repeat two slips of the authors' program: the first face of all is fine-tuned with batch statistics, and the
            last two of the faces that drive are black.
        borders: "pad" makes frames from the first to the last moment of the sound; "cut" only those that the authors make, and
            the sound begins with them.
        align: "auto" aligns faces in what is neither 260 x 260 nor 256 x 256 pixels; "always"; "never".
        align_smooth: seconds over which the crop of a video is averaged, against jitter of its zoom; 0 = as the authors.
        align_reduce: reduce large faces before they are aligned, so that no pixel is skipped; the authors do not.
        align_lrw: eyes count twice in the alignment, as in the authors' preprocessing of LRW.
        batch_size: frames made at once; changes speed and memory only.
        results_dir: also write pictures as the authors do, below this folder; "" = do not.
        start_epoch: number in the names of their folders.
        test_num: name of their innermost folder.
    """

    files: ClassVar[Mapping[str, str]] = dict.fromkeys(("identity", "lips", "speech", "decoder", "words", "persons"), FILE)
    entries: ClassVar[Mapping[str, str]] = {
        "identity": "ID_encoder",
        "lips": "lip_feature_encoder",
        "speech": "mfcc_encoder",
        "decoder": "Decoder",
        "words": "model_fusion",
        "persons": "Face_ID_fc",  # which the released file does not have
    }
    stages: ClassVar[Mapping[str, type[Stage]]] = STAGES

    def __init__(
        self,
        width: float = 1.0,
        image_size: int = 256,
        feature_length: int = 256,
        label_size: int = 500,
        id_label_size: int = 40145,
        disfc_length: int = 20,
        pred_length: int = 12,
        sequence_length: int = 6,
        recipe: str = "released",
        id_pretrain_path: str = "",
        feature_extractor_path: str = "",
        test_type: str = "audio",
        test_audio_video_length: int = 0,
        fine_tune_steps: int = 5,
        fine_tune_rate: float = 2e-4,
        fine_tune_weight: float = 4.0,
        fine_tune_precision: str = "single",
        audio_factor: float = 1.5,
        video_factor: float = 0.8,
        faithful: bool = False,
        borders: str = "pad",
        align: str = "auto",
        align_smooth: float = 0.0,
        align_reduce: bool = True,
        align_lrw: bool = False,
        batch_size: int = 16,
        results_dir: str = "",
        start_epoch: int = 1,
        test_num: str = "1",
    ):
        super().__init__()
        words = {
            "recipe": (recipe, RECIPES),
            "test_type": (test_type, DRIVERS),
            "borders": (borders, BORDERS),
            "fine_tune_precision": (fine_tune_precision, PRECISIONS),
        }
        for key, (word, allowed) in words.items():
            if word not in allowed:
                raise ConfigError(f"DAVS.{key}: expected one of {', '.join(allowed)}, got {word!r}.")
        counts = {"feature_length": feature_length, "label_size": label_size, "id_label_size": id_label_size}
        for key, number in {**counts, "width": width, "batch_size": batch_size}.items():
            if number <= 0:
                raise ConfigError(f"DAVS.{key}: expected more than 0, got {number}.")
        limits = {
            "test_audio_video_length": test_audio_video_length,
            "fine_tune_steps": fine_tune_steps,
            "fine_tune_rate": fine_tune_rate,
        }
        for key, limit in limits.items():
            if limit < 0:
                raise ConfigError(f"DAVS.{key}: expected 0 or more, got {limit}.")
        if faithful and image_size < 128:
            raise ConfigError(f"DAVS.faithful needs an image_size of at least 128, got {image_size}.")
        if image_size % 64 or image_size < 64:
            raise ConfigError(f"DAVS.image_size: expected a multiple of 64, got {image_size}.")
        self.width, self.image_size, self.feature_length = width, image_size, feature_length
        self.label_size, self.id_label_size = label_size, id_label_size
        self.disfc_length, self.pred_length, self.sequence_length = disfc_length, pred_length, sequence_length
        self.recipe, self.test_type, self.length = recipe, test_type, test_audio_video_length
        self.fine_tune_steps, self.fine_tune_rate, self.fine_tune_weight = fine_tune_steps, fine_tune_rate, fine_tune_weight
        self.fine_tune_precision = PRECISIONS[fine_tune_precision]
        self.factor = audio_factor if test_type == "audio" else video_factor
        self.generates_with = ("identity", "decoder", "speech" if test_type == "audio" else "lips")  # type: ignore[misc]
        self.faithful, self.borders = faithful, borders
        self.alignment = Alignment(align, align_smooth, align_reduce, align_lrw).checked()
        self.batch_size = batch_size
        self.results_dir, self.start_epoch, self.test_num = results_dir, start_epoch, test_num
        self.identity = IdentityEncoder(width, image_size, feature_length)
        self.lips = LipEncoder(width, image_size, feature_length)
        self.speech = SpeechEncoder(width, feature_length)
        self.decoder = Decoder(width, image_size, feature_length)
        self.words = WordClassifier(pred_length, label_size, feature_length)
        self.persons = PersonClassifier(id_label_size, feature_length)
        self.weights_name = "untrained"
        self.remembered: tuple[Any, tuple[Painter, list[Tensor]]] | None = None
        self.faces_tuned = 0
        self.load_separately(id_pretrain_path, feature_extractor_path)

    def sizes(self) -> dict[str, Any]:
        names = ("width", "image_size", "feature_length", "label_size", "id_label_size", "pred_length")
        return {name: getattr(self, name) for name in names}

    # --- training data ------------------------------------------------------------------------------------------------

    def preparation(self) -> dict[str, Any]:
        return {"features": 2, "side": self.image_size, "alignment": list(self.alignment)}

    def prepare(self, clip: Clip, folder: Path) -> None:
        data.prepare(clip, folder, self.faces, self.alignment, self.image_size)

    def spaces(self, clips: Sequence[Clip]) -> dict[str, np.ndarray]:
        """What the spaces of words and persons hold of prepared clips: see `spaces_of`."""
        return spaces_of(self, clips)

    # --- weights ------------------------------------------------------------------------------------------------------

    def load(self, path: Path, needed: Sequence[str] = ()) -> list[str]:
        loaded = super().load(path, needed)
        file = Path(path) if Path(path).is_file() else Path(path) / FILE
        self.weights_name = file.name.removesuffix(SUFFIX) if file.is_file() else Path(path).name
        return loaded

    def load_separately(self, id_pretrain_path: str = "", feature_extractor_path: str = "") -> None:
        """Load the files of the authors' two pretrainings, which were not released, where they are given.

        Raises:
            CheckpointError: a file does not have all the networks that it should have, or they do not fit.
        """
        for option, path in (("id_pretrain_path", id_pretrain_path), ("feature_extractor_path", feature_extractor_path)):
            if not path:
                continue
            file, networks = Path(path).expanduser(), PRETRAINED[option]
            held = read_networks(file, networks)
            if missing := [entry for entry in networks if entry not in held]:
                raise CheckpointError(f"{file} has no entry {missing[0]!r}; DAVS.{option} needs {', '.join(networks)}.")
            for entry, network in networks.items():
                self.load_network(network, held[entry], file)

    # --- generation ---------------------------------------------------------------------------------------------------

    def frame_rate(self, clip: Clip) -> float:
        return float(FPS)

    def generate(self, clip: Clip) -> Iterator[Frame]:
        driving, results = self.driving(clip), self.results(clip)
        lead, index = driving.first if self.borders == "pad" else 0, 0
        for made in self.batches(clip, driving):
            for item, picture in zip(made.items, to_pictures(made.frames), strict=True):
                if results is not None:
                    results.write(index, made.person, item, picture)
                yield from repeat(Frame(picture), 1 if index else 1 + lead)
                index += 1

    def driving(self, clip: Clip) -> Driving:
        """What drives a clip.

        Raises:
            MediaError: it cannot be used for this `test_type`.
        """
        if self.test_type == "audio":
            return by_speech(clip.audio, self.borders == "pad")
        return by_lips(clip.audio, self.faces, self.alignment, self.image_size)

    @torch.no_grad()
    def batches(self, clip: Clip, driving: Driving | None = None) -> Iterator[Made]:
        """The frames of a clip as they leave the decoder, one for each driving item.

        Raises:
            MediaError: what drives, or the picture of who speaks, cannot be used.
        """
        items = self.driving_items(driving or self.driving(clip))
        first = list(islice(items, max(1, self.fine_tune_steps)))  # what cannot be used is said so before faces are searched
        picture = self.picture(clip)
        painter, person = self.speaker(picture, first[: self.fine_tune_steps])
        items, size = chain(first, items), self.batch_size if self.device.type != "cpu" else min(self.batch_size, ON_CPU)
        while batch := list(islice(items, size)):
            yield Made(batch, picture, painter.decoder(person, self.factor * self.embed(batch)))

    def driving_items(self, driving: Driving) -> Iterator[np.ndarray]:
        """The items that are used."""
        length = self.length or None
        if not self.faithful or self.test_type == "audio":
            return islice(driving.items, length)
        known = list(islice(driving.items, length))
        return iter(with_black_end(known, length or len(known) + 2))

    def embed(self, items: Sequence[np.ndarray]) -> Tensor:
        """Windows of speech, or faces, as words: (n, 256)."""
        stacked = torch.from_numpy(np.stack(items).astype(np.float32)).to(self.device)
        if self.test_type == "audio":
            return self.speech(stacked[:, None, None])[:, 0]
        return self.lips(stacked.permute(0, 3, 1, 2)[:, None])[:, 0]

    # --- who --------------------------------------------------------------------------------------------------------

    def picture(self, clip: Clip) -> Tensor:
        """The picture of who speaks: (1, 3, S, S) in [0, 1]; of a video, the first frame with a face."""
        face = shown(FaceVideo(clip.face, self.faces, self.alignment).first(), self.image_size)
        return torch.from_numpy(face).permute(2, 0, 1)[None].to(self.device)

    def speaker(self, picture: Tensor, items: Sequence[np.ndarray]) -> tuple[Painter, list[Tensor]]:
        """The networks that paint a person, fine-tuned on the picture, and the person as the decoder knows it.

        The last one is kept, for more speech of the same person.

        Args:
            items: what drives first, one for each step of fine-tuning.
        """
        words = self.tuning_words(picture, items)
        key = self.speaker_key(picture, words)
        if self.remembered is None or self.remembered[0] != key:
            painter = self.tuned(picture, words) if len(words) else Painter(self.identity, self.decoder).copy()
            self.remembered = (key, (painter, painter.identity(picture)))
        return self.remembered[1]

    def tuning_words(self, picture: Tensor, items: Sequence[np.ndarray]) -> Tensor:
        """What is said in each step of fine-tuning, (n, 256): what drives first, or what the picture's own lips say."""
        if not items:
            return picture.new_zeros(0, self.feature_length)
        if self.test_type == "audio":
            return self.embed(items)
        return self.lips(picture[:, None])[:, 0].expand(len(items), -1)

    def tuned(self, picture: Tensor, words: Tensor) -> Painter:
        """Copies of the networks that paint, after the steps of `tuning`."""
        painter, steps = self.tuning(picture, words)
        for step in steps:
            log.debug("fine-tuning: %.4f", step.loss)
        self.faces_tuned += 1
        painter.train(False)
        painter.to(picture.dtype)
        return painter

    def tuning(self, picture: Tensor, words: Tensor) -> tuple[Painter, Iterator[Step]]:
        """Copies of the networks that paint, and the steps that fine-tune them as they are gone through, one for each of `words`.

        In evaluation mode, unless this is `faithful` and the first face: then norms use the picture alone, and remember it.
        """
        painter, precision = Painter(self.identity, self.decoder).copy(), self.fine_tune_precision
        painter.train(self.faithful and not self.faces_tuned)
        painter.to(precision)
        settings = (self.fine_tune_rate, self.fine_tune_weight)
        return painter, fine_tune(painter, picture.to(precision), words.to(precision).split(1), *settings)

    def speaker_key(self, picture: Tensor, words: Tensor) -> tuple[Any, ...]:
        """What decides the result of `speaker`."""
        tensors = chain(self.identity.parameters(), self.identity.buffers(), self.decoder.parameters(), self.decoder.buffers())
        weights = hash(tuple((tensor.data_ptr(), tensor._version) for tensor in tensors))
        seen = hashlib.blake2b(picture.cpu().numpy().tobytes() + words.cpu().numpy().tobytes(), digest_size=16).hexdigest()
        return (weights, seen, self.faces_tuned if self.faithful else 0)

    # --- what is beside it --------------------------------------------------------------------------------------------

    def sound(self, clip: Clip) -> Path | np.ndarray | None:
        """The sound of the generated video, which begins with its first frame; None where only features of it are there."""
        driving = self.driving(clip)
        if driving.sound is None or self.borders == "pad":
            return driving.sound
        return load_audio(driving.sound)[driving.first * SAMPLE_RATE // FPS :]

    def real(self, clip: Clip) -> Iterator[np.ndarray] | None:
        """The real frames, aligned and cut as the networks see faces, from the first generated frame on."""
        if clip.truth is None:
            return None
        first = 0 if self.borders == "pad" else self.driving(clip).first
        return self.real_frames(clip.truth, first)

    def real_frames(self, truth: Path, first: int) -> Iterator[np.ndarray]:
        """The frames of a video or folder from the one of this number on; where it begins later, its first one is repeated."""
        begin = first_number(truth)
        for number, face in enumerate(FaceVideo(truth, self.faces, self.alignment), begin):
            if number >= first:
                picture = np.rint(255 * shown(face, self.image_size)).astype(np.uint8)
                yield from repeat(picture, 1 + (begin - first if number == begin else 0))

    def results(self, clip: Clip) -> Results | None:
        """Where pictures are written as the authors do, if they are."""
        if not self.results_dir:
            return None
        folder = Path(self.results_dir).expanduser() / self.weights_name / f"test_{self.start_epoch}" / self.test_num
        name = clip.face.stem if clip.face.is_file() else clip.name.replace("/", "_")
        return Results(folder, name, DRIVERS[self.test_type])


class Made(NamedTuple):
    """Some frames of a clip.

    Attributes:
        items: what drives each.
        person: (1, 3, S, S) in [0, 1], the picture of who speaks.
        frames: (b, 3, S, S) in [0, 1].
    """

    items: list[np.ndarray]
    person: Tensor
    frames: Tensor


class Results(NamedTuple):
    """Pictures in a folder as the authors write them: <name>_<label>_<item>.png.

    Attributes:
        name: of the picture of who speaks.
        driver: "audio" or "image".
    """

    folder: Path
    name: str
    driver: str

    def write(self, index: int, person: Tensor, item: np.ndarray, picture: np.ndarray) -> None:
        """Write a generated picture, who speaks, and the face that drives, if one does."""
        shown_too = {"real_A": to_pictures(person)[0], f"fake_{self.driver}_B_0": picture}
        if self.driver == "image":
            shown_too["real_B_0"] = (item * 255).astype(np.uint8)
        for label, image in shown_too.items():
            write_image(self.folder / f"{self.name}_{label}_{index}.png", image)


def to_pictures(generated: Tensor) -> np.ndarray:
    """(n, 3, H, W) in [0, 1] -> (n, H, W, 3) uint8, cut to whole numbers as the authors do."""
    return (generated.float() * 255).byte().permute(0, 2, 3, 1).cpu().numpy()
