"""Fine-tuning on the picture of who speaks, before the face is made to speak (test_all.py)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from copy import deepcopy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from talkingface.model.davs.networks import Decoder, IdentityEncoder

EPSILON = 1e-8  # of Adam
MOUTH_ROWS, MOUTH_COLUMNS = (170, 234), (64, 192)  # of 256 pixels
MOUTH_WEIGHT = 0.001


class Painter(NamedTuple):
    """The two networks that know the face."""

    identity: IdentityEncoder
    decoder: Decoder

    def copy(self) -> Painter:
        """The same weights, which may now be changed; channels lie innermost, which processors compute faster."""
        identity, decoder = deepcopy(self.identity), deepcopy(self.decoder)
        return Painter(identity.to(memory_format=torch.channels_last), decoder.to(memory_format=torch.channels_last))

    def train(self, mode: bool) -> None:
        """Norms use the picture's own statistics, or those that they have learnt."""
        for network in self:
            network.train(mode)

    def to(self, precision: torch.dtype) -> None:
        """Compute in this precision."""
        for network in self:
            network.to(precision)

    def parameters(self) -> list[nn.Parameter]:
        """All parameters of both."""
        return [parameter for network in self for parameter in network.parameters()]


def mouth_weights(picture: Tensor) -> Tensor:
    """1, but for 0.001 where the mouth is: (1, 1, H, W) for a picture (..., H, W)."""
    height, width = picture.shape[-2:]
    (top, bottom), (left, right) = MOUTH_ROWS, MOUTH_COLUMNS
    weights = picture.new_ones(1, 1, height, width)
    rows, columns = (
        slice(round(top * height / 256), round(bottom * height / 256)),
        slice(round(left * width / 256), round(right * width / 256)),
    )
    weights[..., rows, columns] = MOUTH_WEIGHT
    return weights


def difference(painted: Tensor, picture: Tensor, weight: float) -> Tensor:
    """How far a painted picture is from the real one, the mouth all but left out: `weight` times the mean absolute difference."""
    mask = mouth_weights(picture)
    return weight * (mask * painted - mask * picture).abs().mean()


class Step(NamedTuple):
    """One step of fine-tuning.

    Attributes:
        loss: before the step.
        gradients: of the painter's parameters, in their order.
    """

    loss: Tensor
    gradients: tuple[Tensor, ...]


def fine_tune(painter: Painter, picture: Tensor, words: Iterable[Tensor], rate: float, weight: float) -> Iterator[Step]:
    """Bring a painter nearer to a picture, one step for each embedding of what is said.

    Each step is the first one of a new Adam, as in the original: every parameter moves by about `rate`, up or down.

    Args:
        picture: (1, 3, S, S) in [0, 1].
        words: (1, 256) each.
        rate: learning rate.
        weight: of the difference.
    """
    parameters = painter.parameters()
    for embedding in words:
        with torch.enable_grad():
            painted = painter.decoder(painter.identity(picture), embedding)
            loss = difference(painted, picture, weight)
            gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.sub_(rate * gradient / (gradient.abs() + EPSILON))
        yield Step(loss.detach(), gradients)
