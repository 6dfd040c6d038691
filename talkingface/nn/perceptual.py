"""Perceptual losses: pictures compared by what a trained VGG19 sees in them (Johnson et al., ECCV 2016)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from talkingface.nn.torchvision_files import VGG19, find_file
from talkingface.nn.weights import State, load_weights, read_weights, register_network

CHANNELS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 256, 0, 512, 512, 512, 512, 0, 512, 512, 512, 512, 0)  # 0: pooling
CUTS = (2, 7, 12, 21, 30)  # of VGG19 without norms: behind relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1
CONV_CUTS = (3, 8, 17, 26, 35)  # behind conv1_2, conv2_2, conv3_4, conv4_4 and conv5_4, as GFPGAN's authors look
LAYER_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)
FACE_WEIGHTS = (0.0, 0.0, 0.0, 0.0, 1 / 8, 1 / 4 + 1.0)
SMALLEST = 16  # pixels that the last slice needs
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pictures in [0, 1]
WITHOUT = "Or train without perceptual losses, which is not the published recipe."


class VggFeatures(nn.Module):
    """VGG19's convolutions, cut into slices: `slice<k>.<n>`, where n is the layer's number in torchvision's `features`.

    Args:
        batch_norm: VGG19 with batch norms, all of it, and cut at the same numbers, as PC-AVS does with its face network:
            six slices that end behind a norm, a pooling, a norm, a convolution, a ReLU and the last pooling.
        cuts: how many layers lie before the end of each slice.
    """

    def __init__(self, batch_norm: bool = False, cuts: Sequence[int] = CUTS):
        super().__init__()
        layers = vgg_layers(batch_norm)
        ends = (*cuts, len(layers)) if batch_norm else tuple(cuts)
        for k, (start, end) in enumerate(zip((0, *ends), ends, strict=False), start=1):
            part = nn.Sequential()
            for number in range(start, end):
                part.add_module(str(number), layers[number])
            self.add_module(f"slice{k}", part)
        self.num_slices = len(ends)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> what each slice answers."""
        features: list[Tensor] = []
        for k in range(1, self.num_slices + 1):
            features.append(getattr(self, f"slice{k}")(features[-1] if features else pictures))
        return features

    def load(self, path: Path) -> None:
        """Load torchvision's file (`features.<n>.*`), or one of the slices; its classifier is left aside.

        Raises:
            CheckpointError: the file is damaged, or of another network.
        """
        state = read_weights(path).state
        load_weights(self, as_slices(state, self.state_dict()), path)


def vgg_layers(batch_norm: bool) -> list[nn.Module]:
    """The layers of torchvision's `vgg19().features`, or `vgg19_bn().features`."""
    layers: list[nn.Module] = []
    before = 3
    for channels in CHANNELS:
        if not channels:
            layers.append(nn.MaxPool2d(2, 2))
            continue
        layers.append(nn.Conv2d(before, channels, 3, padding=1))
        if batch_norm:
            layers.append(nn.BatchNorm2d(channels))
        layers.append(nn.ReLU())
        before = channels
    return layers


def as_slices(state: State, own: State) -> State:
    """The entries of torchvision's file under the names of the slices, without the layers that lie behind the last one."""
    if not any(name.startswith("features.") for name in state):
        return state
    known = {name.split(".", 1)[1]: name for name in own}
    entries = {name.removeprefix("features."): value for name, value in state.items() if name.startswith("features.")}
    return {known[name]: value for name, value in entries.items() if name in known}


class PerceptualLoss(nn.Module):
    """Weighted mean absolute differences of the features of two pictures, the second of which is the truth.

    The network is frozen.

    Args:
        features: the network.
        layer_weights: of its slices; a slice of weight 0 is not compared.
        normalize: pictures in [-1, 1] are brought to ImageNet's statistics first, as the network has learnt them. SPADE's
            code, and PC-AVS after it, feed them as they are.
        num_scales: also compare the pictures halved, and halved again, and so on, as long as 16 pixels are left; the distances
            are summed.
    """

    def __init__(
        self,
        features: VggFeatures,
        layer_weights: Sequence[float] = LAYER_WEIGHTS,
        normalize: bool = False,
        num_scales: int = 1,
    ):
        super().__init__()
        self.num_scales = num_scales
        if len(layer_weights) != features.num_slices:
            raise ValueError(f"{len(layer_weights)} weights for {features.num_slices} slices")
        self.features, self.layer_weights, self.normalize = features.requires_grad_(False).eval(), tuple(layer_weights), normalize
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(3, 1, 1), persistent=False)

    @classmethod
    def vgg19(
        cls,
        file: Path | str = "",
        normalize: bool = False,
        otherwise: str = WITHOUT,
        cuts: Sequence[int] = CUTS,
        layer_weights: Sequence[float] = LAYER_WEIGHTS,
        num_scales: int = 1,
    ) -> PerceptualLoss:
        """With torchvision's ImageNet weights, of a file or of torchvision's cache.

        Args:
            cuts: see `VggFeatures`.
            otherwise: what else a user can do where there is no such file, for the message.

        Raises:
            MissingWeightsError: there is no such file; the message says where it comes from.
            CheckpointError: it is another file.
        """
        features = VggFeatures(cuts=cuts)
        features.load(find_file(VGG19, file, otherwise))
        return cls(features, layer_weights, normalize, num_scales)

    @classmethod
    def vggface(cls, file: Path | str) -> PerceptualLoss:
        """With a VGG19 with batch norms that was trained to recognize faces; no such file is published with PC-AVS.

        Raises:
            MissingWeightsError: there is no such file.
            CheckpointError: it is another file.
        """
        features = VggFeatures(batch_norm=True)
        features.load(Path(file).expanduser())
        return cls(features, FACE_WEIGHTS)

    def train(self, mode: bool = True) -> PerceptualLoss:
        """The network is a judge: it stays in evaluation mode."""
        return super().train(False)

    def forward(self, pictures: Tensor, truth: Tensor) -> Tensor:
        """Of pictures (B, 3, H, W) in [-1, 1]; no gradient reaches the truth."""
        return total(self.compared(pictures, truth))

    def with_style(self, pictures: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        """The distance, and that of the features' Gram matrices, which are divided by C H W: of the full size alone."""
        pairs = list(self.compared(pictures, truth))
        layers = sum(bool(weight) for weight in self.layer_weights)
        return total(pairs), total((weight, gram(ours), gram(real)) for weight, ours, real in pairs[:layers])

    def compared(self, pictures: Tensor, truth: Tensor) -> Iterator[tuple[float, Tensor, Tensor]]:
        """The weight of each slice that counts, and what it answers to both: of the full size first, then of smaller ones."""
        pictures, truth = self.fitted(pictures), self.fitted(truth)
        for scale in range(self.num_scales):
            if scale and min(pictures.shape[2:]) < 2 * SMALLEST:
                return
            if scale:
                pictures, truth = (F.interpolate(x, scale_factor=0.5, mode="bilinear") for x in (pictures, truth))
            with torch.no_grad():
                wanted = self.features(truth)
            yield from (pair for pair in zip(self.layer_weights, self.features(pictures), wanted, strict=True) if pair[0])

    def fitted(self, pictures: Tensor) -> Tensor:
        """The pictures as the network gets them."""
        return ((pictures + 1) / 2 - self.mean) / self.deviation if self.normalize else pictures


def total(compared: Iterable[tuple[float, Tensor, Tensor]]) -> Tensor:
    """The weighted sum of mean absolute differences."""
    return torch.stack([weight * F.l1_loss(ours.float(), real.float()) for weight, ours, real in compared]).sum()


def gram(features: Tensor) -> Tensor:
    """(B, C, C): how the channels of features (B, C, H, W) go together, divided by C H W, in full precision."""
    with torch.autocast(features.device.type, enabled=False):
        flat = features.float().flatten(2)
        return flat @ flat.transpose(1, 2) / flat[0].numel()


def published_vgg19() -> nn.Module:
    """All of VGG19, to recognize its file in the wrong place."""
    from torchvision.models import vgg19

    return vgg19()


register_network(f"VGG19 of torchvision ({VGG19.name})", published_vgg19)
