"""VideoReTalking: the mouth of a talking video follows another speech, in the full frame."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import nn

from talkingface.dataset.base import Clip
from talkingface.dataset.windows import FPS
from talkingface.errors import ConfigError, MissingWeightsError
from talkingface.media.audio import SpeechWindows, load_audio, melspectrogram
from talkingface.media.edited import EditedVideo
from talkingface.media.video import Video
from talkingface.model.base import Frame, TalkingFace
from talkingface.model.stage import Stage
from talkingface.model.videoretalking.data import Preparation, Sizes
from talkingface.model.videoretalking.expression import chosen_expression
from talkingface.model.videoretalking.geometry import SIDE
from talkingface.model.videoretalking.helpers import Shelf, hub_folder
from talkingface.model.videoretalking.networks import CoefficientNetwork, DNet, ENet, LNet
from talkingface.model.videoretalking.restoration import Improve, generate_faces
from talkingface.model.videoretalking.speak import UNITS
from talkingface.model.videoretalking.stages import DNetStage, ENetStage, ExpertStage, LNetStage, WarpStage
from talkingface.model.videoretalking.steps import Options, Retalking
from talkingface.model.videoretalking.store import digest
from talkingface.model.videoretalking.tools import RESTORATION, Given, Toolbox, Tools
from talkingface.nn.sync_expert import LARGE, SMALL, SyncExpert
from talkingface.nn.weights import Weights
from talkingface.registry import MODELS

COEFFICIENTS = ("network", "landmarks")


@MODELS.register("VideoReTalking", aliases=["video_retalking"])
class VideoReTalking(TalkingFace):
    """Edits the mouth of a talking video to another speech, full frame, any size (Cheng et al., SIGGRAPH Asia 2022).

    Every head is redrawn with one expression, which then serves as the picture from which the face is painted that says what
    is heard; talkingface.model.videoretalking.steps lists the six steps. The video's frame rate stays; where the video is
    shorter than the speech, its frames are repeated from the start; where it is longer, it is cut. A frame without a face
    stays as it is.

    Args:
        width: factor of the networks' inner channel counts; 1.0 are the published networks.
        num_blocks: Fourier blocks at each size of LNet's decoder; 9 as published.
        head_size: side of DNet's pictures, pixels; a multiple of 32; 256 as published.
        img_size: side of the painted faces, pixels; a multiple of 32; 384 as published. LNet's have a quarter of it.
        coefficients: "network" = Deep3DFaceRecon's, as published; "landmarks" = from landmarks alone, for networks that were
            trained so.
        exp_img: the expression that all heads are redrawn with: "neutral", "smile", or that of a picture.
        up_face: the upper face: "original", "sad", "angry" or "surprise".
        without_rl1: take only the lower half from ENet, and the upper half from the original, or from `up_face`.
        one_shot: redraw the head of each shot's first frame, instead of the head of each frame.
        pads: pixels by which a face's box grows at the top, the bottom, the left and the right.
        crop: rows and columns of the frames that are kept: top, bottom, left, right; -1 = to the border.
        box: one box for all frames instead of detection: top, bottom, left, right, in pixels; -1 = detect.
        nosmooth: do not average boxes over frames.
        static: use only the first frame of a video.
        fps: frames per second of a video made from a still.
        face_det_batch_size: frames that the authors' detectors are given at once.
        LNet_batch_size: faces painted at once.
        re_preprocess: make again what an earlier run has kept of this video.
        restoration: GPEN, GFPGAN and ParseNet: "auto" = those whose weights are there, "off", or "all" = refuse to run without.
        faithful: the authors' program to the pixel, with its detectors and its faults.
        seed: of ENet's noise.
        DNet_path, LNet_path, ENet_path, face3d_net_path: files of single networks; "" = where the others are.
    """

    files: ClassVar[Mapping[str, str]] = {
        "dnet": "DNet.pt",
        "lnet": "LNet.pth",
        "enet": "ENet.pth",
        "coefficients": "face3d_pretrain_epoch_20.pth",
        "expert": "lipsync_expert.pth",
    }
    folders: ClassVar[Sequence[str]] = ("VideoReTalking", "Wav2Lip")  # the expert is Wav2Lip's
    entries: ClassVar[Mapping[str, str]] = {"dnet": "net_G_ema", "coefficients": "net_recon"}
    stages: ClassVar[Mapping[str, type[Stage]]] = {
        "dnet_warp": WarpStage,
        "dnet": DNetStage,
        "expert": ExpertStage,
        "lnet": LNetStage,
        "enet": ENetStage,
    }
    generates_with: ClassVar[Sequence[str]] = ("dnet", "lnet", "enet", "coefficients")

    def __init__(
        self,
        width: float = 1.0,
        num_blocks: int = 9,
        head_size: int = SIDE,
        img_size: int = 384,
        coefficients: str = "network",
        exp_img: str = "neutral",
        up_face: str = "original",
        without_rl1: bool = False,
        one_shot: bool = False,
        pads: Sequence[int] = (0, 20, 0, 0),
        crop: Sequence[int] = (0, -1, 0, -1),
        box: Sequence[int] = (-1, -1, -1, -1),
        nosmooth: bool = False,
        static: bool = False,
        fps: float = 25.0,
        face_det_batch_size: int = 4,
        LNet_batch_size: int = 16,
        re_preprocess: bool = False,
        restoration: str = "auto",
        faithful: bool = False,
        seed: int = 0,
        DNet_path: Path | str = "",
        LNet_path: Path | str = "",
        ENet_path: Path | str = "",
        face3d_net_path: Path | str = "",
    ):
        super().__init__()
        for name, sides in (("pads", pads), ("crop", crop), ("box", box)):
            if len(sides) != 4:
                raise ConfigError(f"VideoReTalking.{name}: expected 4 numbers (top, bottom, left, right), got {list(sides)}.")
        numbers = {"width": width, "fps": fps, "face_det_batch_size": face_det_batch_size, "LNet_batch_size": LNet_batch_size}
        for name, number in numbers.items():
            if number <= 0:
                raise ConfigError(f"VideoReTalking.{name}: expected more than 0, got {number}.")
        if head_size < 64 or head_size % 32:
            raise ConfigError(f"VideoReTalking.head_size: expected a multiple of 32, at least 64, got {head_size}.")
        words = {"coefficients": COEFFICIENTS, "up_face": ("original", *UNITS), "restoration": RESTORATION}
        given = {"coefficients": coefficients, "up_face": up_face, "restoration": restoration}
        for name, known in words.items():
            if given[name] not in known:
                raise ConfigError(f"VideoReTalking.{name}: expected one of {', '.join(known)}, got {given[name]!r}.")
        self.width, self.num_blocks, self.from_landmarks = width, num_blocks, coefficients == "landmarks"
        self.exp_img, self.crop, self.fps = exp_img, tuple(crop), fps
        self.options = Options(
            pads=tuple(pads),
            box=None if -1 in box else tuple(box),
            smooth=not nosmooth,
            static=static,
            one_shot=one_shot,
            without_rl1=without_rl1,
            up_face=up_face,
            head_size=head_size,
            face_size=img_size,
            detection_batch=face_det_batch_size,
            speech_batch=LNet_batch_size,
            faithful=faithful,
            fresh=re_preprocess,
            seed=seed,
        )
        paths = {"dnet": DNet_path, "lnet": LNet_path, "enet": ENet_path, "coefficients": face3d_net_path}
        self.paths = {network: Path(path).expanduser() for network, path in paths.items() if path}
        self.dnet, self.lnet = DNet(width), LNet(width, num_blocks)
        self.enet = ENet(width, img_size, reference_size(img_size))
        self.expert = SyncExpert(width, LARGE if self.enet.low_size >= LARGE else SMALL)
        if self.from_landmarks:
            self.files = {network: file for network, file in self.files.items() if network != "coefficients"}  # type: ignore[misc]
            self.generates_with = [network for network in self.generates_with if network in self.files]  # type: ignore[misc]
            self.entries = {network: entry for network, entry in self.entries.items() if network in self.files}  # type: ignore[misc]
        else:
            self.coefficients = CoefficientNetwork()
        self.given, self.toolbox = Given(), Toolbox(restoration, faithful)
        self._folder: Path | None = None
        self._loaded: set[str] = set()

    def sizes(self) -> dict[str, Any]:
        sizes = {"width": self.width, "num_blocks": self.num_blocks}
        kinds = {"coefficients": "landmarks" if self.from_landmarks else "network"}
        return {**sizes, "head_size": self.options.head_size, "img_size": self.options.face_size, **kinds}

    # --- weights ----------------------------------------------------------------------------------------------------------

    def load(self, path: Path, needed: Sequence[str] = ()) -> list[str]:
        """See `Model.load`; a network with a path of its own is read from there. Where networks are `needed`, so are the
        helpers that the settings ask for: what is missing is said now, before anything is generated."""
        elsewhere = [network for network in self.paths if network in self.files]
        rest = [network for network in needed if network not in elsewhere]
        loaded = [] if needed and not rest else super().load(path, rest)
        for network in elsewhere:
            self.load_network(network, self.read(self.paths[network], [network])[network], self.paths[network])
        folder = Path(path).expanduser()
        self._folder = folder if folder.is_dir() else folder.parent
        if needed:
            self.ready()
        return list(dict.fromkeys([*loaded, *elsewhere]))

    def network_of(self, weights: Weights, path: Path) -> str:
        return super().network_of(without_copies(weights), path)

    def load_network(self, network: str, weights: Weights, source: Path) -> None:
        super().load_network(network, without_copies(weights), source)
        self._loaded.add(network)

    # --- training ---------------------------------------------------------------------------------------------------------

    @property
    def picture_sizes(self) -> Sizes:
        """Sides of DNet's and of ENet's pictures."""
        return Sizes(self.options.head_size, self.options.face_size)

    def preparation(self) -> dict[str, Any]:
        kind = "landmarks" if self.from_landmarks else "network"
        return {
            "features": 1,
            "fps": FPS,
            "sizes": list(self.picture_sizes),
            "pads": list(self.options.pads),
            "coefficients": kind,
        }

    @property
    def prepare(self) -> Preparation:  # type: ignore[override]
        """Writes the features of a clip: see `Preparation`.

        Raises:
            MissingWeightsError: the coefficient network's weights are needed and not there.
        """
        return Preparation(self.faces, *self.picture_sizes, self.options.pads, self.known_coefficients())

    def known_coefficients(self) -> nn.Module | None:
        """The coefficient network with its published weights; None where coefficients are from landmarks.

        Raises:
            MissingWeightsError: they are not there.
        """
        if self.from_landmarks:
            return None
        if "coefficients" not in self._loaded:
            try:
                if (own := self.paths.get("coefficients")) is not None:
                    self.load_network("coefficients", self.read(own, ["coefficients"])["coefficients"], own)
                else:
                    self.load_published("coefficients", self.checkpoints_dir)
            except MissingWeightsError as error:
                otherwise = f"Or take coefficients from landmarks: --{self.name}.coefficients=landmarks."
                raise MissingWeightsError(f"{error} {otherwise}") from error
        return self.coefficients

    def worn_expression(self) -> np.ndarray:
        """(64,) float32 the expression that all heads are redrawn with.

        Raises:
            MissingWeightsError, ConfigError, FaceError: as `chosen_expression`.
        """
        return np.asarray(chosen_expression(self.exp_img, self.shelf(), self.known_coefficients(), self.faces), np.float32)

    def recognizer(self, why: str) -> nn.Module:
        """ArcFace, for the setting that asks for it.

        Raises:
            MissingWeightsError: its file is not there.
        """
        return self.shelf().need("recognizer", why)

    def restorer(self, why: str) -> Improve:
        """GPEN, for the setting that asks for it.

        Raises:
            MissingWeightsError: its file is not there.
        """
        return partial(generate_faces, self.shelf().need("gpen", why).to(self.device))

    # --- what generation works with ---------------------------------------------------------------------------------------

    def shelf(self) -> Shelf:
        """The folders where published files may lie."""
        published = Path(self.checkpoints_dir) / self.name
        own = [self._folder] if self._folder and self._folder != published else []
        return Shelf([published, *own, hub_folder(), self.faces.weights["s3fd"].parent])

    def ready(self) -> None:
        self.tools()

    def tools(self) -> Tools:
        """What the steps work with; helpers are read at the first call.

        Raises:
            MissingWeightsError: one that cannot be done without is not there.
            ConfigError, FaceError: `exp_img` names no expression.
        """
        box, given, options = self.toolbox, self.given, self.options
        box.shelf, box.device = self.shelf(), self.device
        network = None if self.from_landmarks else self.coefficients
        tools = Tools(
            dnet=self.dnet,
            lnet=self.lnet,
            enet=self.enet,
            coefficients=network,
            expression=chosen_expression(self.exp_img, box.shelf, network, self.faces),
            finder=copy(self.faces),
            upper=box.upper(options.up_face, options.without_rl1),
            generate=given.generate or box.generate(),
            restore=given.restore or box.restore(),
            parse=given.parse or box.parse(),
            detectors=(given.detectors or box.detectors()) if options.faithful else None,
        )
        if not options.smooth:
            tools.finder.smooth = 1
        networks = {"dnet": self.dnet, "lnet": self.lnet, "enet": self.enet, "coefficients": network, **box.networks}
        tools.prints = {name: box.print_of(network) for name, network in networks.items()}
        return tools

    # --- frames -----------------------------------------------------------------------------------------------------------

    def frame_rate(self, clip: Clip) -> float:
        video = Video(clip.face)
        return self.fps if video.is_still else video.fps

    def generate(self, clip: Clip) -> Iterator[Frame]:
        yield from self.retalking(clip).frames()

    def retalking(self, clip: Clip) -> Retalking:
        """The steps of one clip; nothing of the face is computed yet.

        Raises:
            MediaError: the speech cannot be used, or the video cannot be opened.
            MissingWeightsError: as `tools`.
        """
        video = self.view(clip.face)
        wav = load_audio(clip.audio)
        mels = SpeechWindows(melspectrogram(wav, reflect=False), self.frame_rate(clip))
        options = replace(self.options, static=self.options.static or video.is_still)
        return Retalking(video, mels, digest(wav), self.tools(), options)

    def view(self, face: Path) -> EditedVideo:
        """The face's video or still, as the options cut it."""
        source = Video(face)
        first_only = self.options.static and not self.options.faithful and not source.is_still
        return EditedVideo(face, stop=0.5 / source.fps if first_only else math.inf, crop=self.crop)


def reference_size(img_size: int) -> int:
    """The side to which ENet brings its reference: the largest power of 2 that is at most two thirds of the face's."""
    return 1 << ((2 * img_size // 3).bit_length() - 1)


def without_copies(weights: Weights) -> Weights:
    """Weights without the copy of LNet that the published ENet.pth holds, which its authors' program ignores too."""
    own = {name: tensor for name, tensor in weights.state.items() if "low_res" not in name}
    return Weights(own, weights.extra, weights.container)
