"""What the steps work with: the model's networks, and the published helpers that the settings ask for and that are there."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from talkingface.face.finder import FaceFinder
from talkingface.model.videoretalking.detectors import Detectors, PublishedDetectors
from talkingface.model.videoretalking.helpers import HELPERS, Shelf, check_dlib
from talkingface.model.videoretalking.networks import ENet, LNet
from talkingface.model.videoretalking.restoration import Improve, Parse, generate_faces, parse_faces, restore_faces
from talkingface.model.videoretalking.speak import UNITS, Upper
from talkingface.model.videoretalking.store import fingerprint

log = logging.getLogger(__name__)

RESTORATION = ("auto", "off", "all")


class Given(NamedTuple):
    """What a caller puts in the place of published helpers; None = the published one."""

    detectors: Detectors | None = None
    generate: Improve | None = None
    restore: Improve | None = None
    parse: Parse | None = None


@dataclass
class Tools:
    """The networks, and what goes around them.

    Attributes:
        coefficients: None takes coefficients from landmarks.
        expression: (64,) that all heads are redrawn with.
        upper: what becomes of the upper half of the face; None = ENet's.
        generate, restore, parse: GPEN, GFPGAN and ParseNet; None where they are left out.
        detectors: the authors', for the authors' way; None otherwise.
        prints: name -> digest of the weights behind it, for the keys of what is kept.
    """

    dnet: nn.Module
    lnet: LNet
    enet: ENet
    coefficients: nn.Module | None
    expression: np.ndarray
    finder: FaceFinder
    upper: Upper | None = None
    generate: Improve | None = None
    restore: Improve | None = None
    parse: Parse | None = None
    detectors: Detectors | None = None
    prints: dict[str, str] = field(default_factory=dict)

    def print_of(self, *names: str) -> list[str]:
        """The digests of these networks."""
        return [self.prints.get(name, "") for name in names]


class Toolbox:
    """The helpers of a model: each is read once, when it is first asked for.

    Args:
        restoration: "auto" = GPEN, GFPGAN and ParseNet where their weights are there, "off", or "all" = refuse to do without.
        faithful: the authors' program needs all of them, and its own detectors.
    """

    def __init__(self, restoration: str = "auto", faithful: bool = False):
        self.restoration, self.faithful = restoration, faithful
        self.networks: dict[str, nn.Module] = {}
        self.shelf, self.device = Shelf([Path("checkpoints")]), torch.device("cpu")
        self._prints: dict[int, tuple[Sequence, str]] = {}
        self._told: set[str] = set()

    def helper(self, name: str, why: str = "") -> nn.Module | None:
        """A helper; None where its file is not there and nothing (`why`) depends on it.

        Raises:
            MissingWeightsError: it is needed and not there.
            CheckpointError: its file is damaged, or of another network.
        """
        if name not in self.networks:
            found = self.shelf.need(name, why) if why else self.shelf.network(name)
            if found is None:
                return None
            self.networks[name] = found
        return self.networks[name].to(self.device)

    def generate(self) -> Improve | None:
        """GPEN."""
        network = self._improver("gpen")
        return None if network is None else partial(generate_faces, network)

    def restore(self) -> Improve | None:
        """GFPGAN."""
        network: Any = self._improver("gfpgan")
        return None if network is None else partial(restore_faces, network)

    def parse(self) -> Parse | None:
        """ParseNet."""
        network = self._improver("parser")
        return None if network is None else partial(parse_faces, network)

    def _improver(self, name: str) -> nn.Module | None:
        """A network that may be left out, which is said once."""
        if self.faithful or self.restoration == "all":
            return self.helper(name, "VideoReTalking.faithful" if self.faithful else "VideoReTalking.restoration=all")
        network = self.helper(name) if self.restoration == "auto" else None
        if network is None and self.restoration == "auto" and name not in self._told:
            self._told.add(name)
            helper = HELPERS[name]
            path, source = self.shelf.absent(helper)
            log.warning("%s is not there, which %s: %s. It comes from %s.", path, helper.purpose, helper.without, source)
        return network

    def upper(self, name: str, without_rl1: bool) -> Upper | None:
        """What becomes of the upper half of the face.

        A name alone is without effect in the authors' program, which throws the edited face away; here it is not.
        """
        if name == "original" or (self.faithful and not without_rl1):
            return Upper(None, {}) if without_rl1 else None
        editor: Any = self.helper("editor", f"up_face={name}")
        return Upper(editor, {} if self.faithful and name == "sad" else UNITS[name])

    def detectors(self) -> Detectors:
        """The authors' own.

        Raises:
            MissingWeightsError, FaceError: one of their files is not there.
        """
        check_dlib()
        names = ("s3fd", "fan", "retinaface", "restoration_retinaface")
        networks: Any = {name: self.helper(name, "VideoReTalking.faithful") for name in names}
        return PublishedDetectors(**networks)

    def print_of(self, network: nn.Module | None) -> str:
        """Digest of a network's weights, computed again when they have changed."""
        if network is None:
            return ""
        tensors = (*network.parameters(), *network.buffers())
        state = [(tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version) for tensor in tensors]
        if self._prints.get(id(network), ((), ""))[0] != state:
            self._prints[id(network)] = (state, fingerprint(network))
        return self._prints[id(network)][1]
