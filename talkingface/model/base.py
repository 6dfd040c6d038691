"""Model: networks under the authors' names. TalkingFace: a model that turns a clip into frames."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import nn

from talkingface.dataset.base import Clip
from talkingface.errors import CheckpointError, MissingWeightsError
from talkingface.face.finder import FaceFinder
from talkingface.model.stage import Stage
from talkingface.nn.weights import OPTIONAL, Weights, load_weights, read_networks, recognise, save_weights
from talkingface.registry import MODELS
from talkingface.zoo import remedy

log = logging.getLogger(__name__)


class Frame(NamedTuple):
    """One generated frame.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        note: why this frame is the input's own, untouched; "" for a generated one.
    """

    image: np.ndarray
    note: str = ""


class View(NamedTuple):
    """A further video of a clip: an input as the networks see it, say.

    Attributes:
        frames: (H, W, 3) uint8 RGB.
        with_sound: it is written with the sound of the generated video.
    """

    frames: Iterable[np.ndarray]
    with_sound: bool = False


class Model(nn.Module):
    """Networks, the files they are published in, and the stages that train them.

    Attributes:
        files: network (an attribute of the model) -> its published file below checkpoints/<Model>/.
        other_files: network -> further names under which it is published.
        entries: network -> its entry in its published file, where that holds several networks.
        folders: folders below checkpoints/ where the published files may lie; by default the model's name.
        stages: name -> Stage class, in training order.
        faces: how faces are found; the run puts its own configured finder here.
        checkpoints_dir: where published weights are, for what a model can do with further networks; the run's own.
    """

    files: ClassVar[Mapping[str, str]] = {}
    other_files: ClassVar[Mapping[str, Sequence[str]]] = {}
    entries: ClassVar[Mapping[str, str]] = {}
    folders: ClassVar[Sequence[str]] = ()
    stages: ClassVar[Mapping[str, type[Stage]]] = {}

    def __init__(self) -> None:
        super().__init__()
        self.faces = FaceFinder()
        self.checkpoints_dir = Path("checkpoints")

    @property
    def name(self) -> str:
        """The name under which the model is registered."""
        return next((name for name, cls in MODELS.items() if cls is type(self)), type(self).__name__)

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(self.parameters()).device

    def sizes(self) -> dict[str, Any]:
        """The constructor's arguments that decide the shapes of the networks; saved beside the weights."""
        return {}

    def preparation(self) -> dict[str, Any]:
        """The settings that change what `prepare` writes; another value means another folder of features."""
        return {}

    def prepare(self, clip: Clip, folder: Path) -> None:
        """Write the features of one clip, once, into an empty folder.

        Raises:
            MediaError: the clip cannot be used; it is set aside with this reason.
        """

    # --- weights ------------------------------------------------------------------------------------------------------

    def load(self, path: Path, needed: Sequence[str] = ()) -> list[str]:
        """Load the networks that lie at a path.

        Args:
            path: a folder with published files, a run's folder or its `weights`, or the file of one network, whichever
                it is: that is found out by its content.
            needed: networks that must be there.

        Returns:
            The networks that were loaded; the others keep their weights.

        Raises:
            MissingWeightsError: nothing of this model is there, or a needed network is not.
            CheckpointError: a file is damaged, unsafe, or of another network.
        """
        path = Path(path).expanduser()
        found, loaded = self.files_at(path), []
        for file in dict.fromkeys(found.values()):
            for network, weights in self.read(file, [network for network in found if found[network] == file]).items():
                self.load_network(network, weights, file)
                loaded.append(network)
        for network in needed:
            if network not in loaded:
                raise MissingWeightsError(self._lacks(network, path, loaded))
        return loaded

    def files_at(self, path: Path) -> dict[str, Path]:
        """Network -> the file at a path that holds it.

        Raises:
            MissingWeightsError: there is none.
            CheckpointError: the path is a file of no network of this model.
        """
        if path.is_file() or (path.suffix and not path.is_dir()):
            return dict.fromkeys(self.networks_in(path), path)
        folder = path / "weights" if (path / "weights").is_dir() else path
        found = {}
        for network in self.files:
            names = (f"{network}.safetensors", *self.published_names(network))
            if (file := next((folder / name for name in names if (folder / name).is_file()), None)) is not None:
                found[network] = file
        if not found:
            wanted = next(iter(self.files.values()), "weights")
            raise MissingWeightsError(
                f"{folder / wanted} does not exist, nor any other weights of {self.name} there. Give saved/<run> of a training, "
                f"or see checkpoints/README.md for published files. {remedy(wanted)}".rstrip()
            )
        return found

    def networks_in(self, path: Path) -> list[str]:
        """The networks of this model that a file may hold: those that are published together under its name, or by its content.

        Raises:
            MissingWeightsError: there is no such file.
            CheckpointError: it holds no network of this model.
        """
        together = [network for network in self.entries if path.name in self.published_names(network)]
        if together and path.is_file():
            return together
        held = read_networks(path, self.entries.values())
        known = [network for network, entry in self.entries.items() if entry in held]
        return known or [self.network_of(held[""], path)]

    def read(self, file: Path, networks: Sequence[str]) -> dict[str, Weights]:
        """The weights of networks that a file may hold; it is read once.

        Raises:
            CheckpointError: it is damaged, unsafe, or holds none of them.
        """
        held = read_networks(file, self.entries.values())
        if "" in held:
            return {networks[0] if len(networks) == 1 else self.network_of(held[""], file): held[""]}
        first = next(iter(held.values()))  # of a file named like one of another network: loading it says so
        own = {network: held.get(self.entries[network]) if network in self.entries else first for network in networks}
        return {network: weights for network, weights in own.items() if weights is not None}

    def network_of(self, weights: Weights, path: Path) -> str:
        """The network of this model that a file holds, by the names in it.

        Raises:
            CheckpointError: none; the message says which network it is, where that is known.
        """
        given = _names(weights.state)
        likeness = {}
        for network in self.files:
            own = _names(getattr(self, network).state_dict())
            likeness[network] = len(given & own) / len(given | own)
        best = max(likeness, key=lambda network: likeness[network], default="")
        if likeness.get(best, 0.0) < 0.5:
            label = recognise(weights.state)
            what = f"it is {label}" if label else f"its first entry is {min(weights.state)}"
            raise CheckpointError(f"{path} holds no network of {self.name} ({', '.join(self.files)}): {what}.")
        return best

    def load_network(self, network: str, weights: Weights, source: Path) -> None:
        """Load one network.

        Raises:
            CheckpointError: the weights do not fit; where they say how they were trained, the message says what to set.
        """
        differing = {key: weights.extra[key] for key, value in self.sizes().items() if weights.extra.get(key, value) != value}
        if differing:
            flags = " ".join(f"--{self.name}.{key}={value}" for key, value in differing.items())
            raise CheckpointError(f"{source} was trained with other sizes than this model has; add {flags}.")
        load_weights(getattr(self, network), weights.state, source)
        log.info("%s: weights of %s", network, source)

    def published_names(self, network: str) -> tuple[str, ...]:
        """The names under which a network is published."""
        return (self.files[network], *self.other_files.get(network, ()))

    def published(self, network: str, checkpoints_dir: Path) -> Path:
        """Where a network's published file lies, or should lie."""
        names = self.published_names(network)
        places = [Path(checkpoints_dir) / folder / name for folder in self.folders or (self.name,) for name in names]
        return next((place for place in places if place.is_file()), places[0])

    def published_folder(self, checkpoints_dir: Path) -> Path:
        """The folder of its published files: the first of `folders` that is there, or else where they should lie."""
        places = [Path(checkpoints_dir) / folder for folder in self.folders or (self.name,)]
        return next((place for place in places if place.is_dir()), places[0])

    def load_published(self, network: str, checkpoints_dir: Path, needed_by: str = "") -> None:
        """Load a network's published weights, for a stage that needs them.

        Raises:
            MissingWeightsError: they are not on this disk; the message says how to get them.
        """
        path = self.published(network, checkpoints_dir)
        if not path.is_file():
            who = f", and stage {needed_by!r} needs it" if needed_by else ""
            train = f"Train it with --stages={network}, or see" if network in self.stages else "See"
            raise MissingWeightsError(f"{path} does not exist{who}. {train} checkpoints/README.md. {remedy(path)}".rstrip())
        held = self.read(path, [network])
        if network not in held:
            raise MissingWeightsError(self._lacks(network, path, []))
        self.load_network(network, held[network], path)

    def save(self, folder: Path, owned: Mapping[str, nn.Module] | None = None) -> None:
        """Write `<network>.safetensors` for each network in `files`, with `sizes` beside the tensors.

        Args:
            owned: further networks to save, such as a stage's discriminator.
        """
        networks = {network: getattr(self, network) for network in self.files} | dict(owned or {})
        for network, module in networks.items():
            save_weights(Path(folder) / f"{network}.safetensors", module.state_dict(), {"model": self.name, **self.sizes()})

    def _lacks(self, network: str, path: Path, found: Sequence[str]) -> str:
        names = " or ".join((f"{network}.safetensors", *self.published_names(network)))
        entry = f", entry {self.entries[network]}" if network in self.entries else ""
        holds = f"holds {', '.join(found)} of {self.name}, and not" if found else "does not hold"
        return f"{path} {holds} the {network} ({names}{entry}), which is needed here."


def _names(state: Mapping[str, torch.Tensor]) -> set[str]:
    return {name for name in state if not name.endswith(OPTIONAL)}


class TalkingFace(Model):
    """A model that makes a face speak.

    Attributes:
        generates_with: networks that `generate` uses; `load` is told that these are needed.
        stand_in: what `real` yields for clips that have no real video, in words; "" = nothing.
    """

    generates_with: ClassVar[Sequence[str]] = ()
    stand_in: ClassVar[str] = ""

    @abstractmethod
    def generate(self, clip: Clip) -> Iterator[Frame]:
        """The frames of the talking face, one by one, however long the clip is.

        Raises:
            MediaError: the face or the audio cannot be used.
        """

    def ready(self) -> None:
        """See to it that what `generate` needs besides the model's own networks is there: a training asks before it begins.

        Raises:
            MissingWeightsError: something is not, and what would do without it.
        """

    def frame_rate(self, clip: Clip) -> float:
        """Frames per second of what `generate` yields: the face video's own, 25 for a still."""
        from talkingface.media.video import Video

        video = Video(clip.face)
        return 25.0 if video.is_still else video.fps

    def sound(self, clip: Clip) -> Path | np.ndarray | None:
        """The sound of the generated video, a file or samples at 16 kHz; it begins with the first frame. None: there is none."""
        return clip.audio

    def real(self, clip: Clip) -> Iterable[np.ndarray] | None:
        """The real frames as `generate` shows the face, where it cuts or aligns it; None: as they are in `clip.truth`, if any."""
        return None

    def views(self, clip: Clip, video: Path) -> Mapping[str, View]:
        """Further videos of a clip that was generated, by their names; they are written into a folder of the video's name."""
        return {}
