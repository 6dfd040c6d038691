"""DAVS's networks under the authors' names: encoders of person, lips and speech, the decoder, and the judges of its training.

Pictures are (B, 3, S, S) RGB in [0, 1], S a multiple of 64 (published: 256). `width` scales the inner channel counts; 1 is
published. All bilinear upsampling has `align_corners`, which is what it meant in the authors' torch 0.2. What published files
hold and nothing reads is kept as buffers: it is loaded, saved, and never trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from talkingface.nn.conv import scaled
from talkingface.nn.fan import FanTrunk, start_squeeze
from talkingface.nn.weights import register_network

FEATURE = 256  # numbers of an embedding, of a person and of a word
WINDOW = (20, 12)  # a window of speech: time steps of 10 ms, cepstral coefficients
WORDS, PERSONS = 500, 40145  # classes of the published classifiers
SLOPE = 0.2  # of the leaky ReLUs
SLIM = 16  # channels below which a decoder cannot carry a picture


class Unused(nn.Module):
    """Entries that published files hold and nothing reads, as buffers.

    Args:
        shapes: name -> shape.
    """

    def __init__(self, **shapes: Sequence[int]):
        super().__init__()
        for name, shape in shapes.items():
            self.register_buffer(name, torch.zeros(*shape))

    @classmethod
    def norm(cls, channels: int) -> Unused:
        """The entries of a batch norm."""
        return cls(**dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (channels,)))


def enlarged(x: Tensor) -> Tensor:
    """Maps of twice the size, as torch 0.2 made them."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


# --- who: the space of persons ----------------------------------------------------------------------------------------


class MaxoutBlock(nn.Module):
    """The larger of two convolutions, each with its norm.

    Args:
        number: of the block, which is in the names of its layers.
        nominal: kernel size by which the weights are initialised, where that is not the real one.
    """

    def __init__(self, number: str, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, nominal: int = 0):
        super().__init__()
        self.branches = [f"conv{number}_{branch}" for branch in "ab"]
        for name in self.branches:
            conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2)
            nn.init.normal_(conv.weight, 0, ((nominal or kernel) ** 2 * outputs) ** -0.5)
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
            self.add_module(name, conv)
            self.add_module(f"{name}_bn", nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        one, other = (getattr(self, f"{name}_bn")(getattr(self, name)(x)) for name in self.branches)
        return torch.maximum(one, other)


class IdentityEncoder(nn.Module):
    """Picture -> who it is (`ID_encoder`): a feature of 256 numbers and the maps of four sizes; maxout, no ReLU."""

    GROUPS = (("11", "12", "13", "14"), ("21", "22", "23", "24", "25", "26"), ("31", "32", "33", "34"), ("41", "42"))
    CHANNELS = ((32, 32, 64, 64), (96, 96, 128, 128, 160, 160), (320, 320, 320, 320), (256, 256))

    def __init__(self, width: float = 1.0, image_size: int = 256, feature: int = FEATURE):
        super().__init__()
        self.image_size = image_size
        channels = scaled(32, width)
        self.block1 = MaxoutBlock("01", 3, channels, 7, 2)
        for names, published in zip(self.GROUPS, self.CHANNELS, strict=True):
            kernel = 5 if names[0] == "41" else 3
            for name, count in zip(names, published, strict=True):
                before, channels = channels, feature if name == "42" else scaled(count, width)
                self.add_module(f"block{name}", MaxoutBlock(name, before, channels, kernel, nominal=3))

    @staticmethod
    def channels(width: float) -> tuple[int, int]:
        """Of the first maps, and of those that the decoder reads; published: 64 and 160."""
        return scaled(64, width), scaled(160, width)

    def group(self, index: int, x: Tensor) -> Tensor:
        """One of the four groups of blocks, after halving."""
        x = F.max_pool2d(x, 2)
        for name in self.GROUPS[index]:
            x = getattr(self, f"block{name}")(x)
        return x

    def first_maps(self, pictures: Tensor) -> Tensor:
        """(..., 3, S, S) -> (B, 64, S / 4, S / 4): `net1` alone."""
        return self.group(0, self.block1(pictures.reshape(-1, 3, self.image_size, self.image_size)))

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """(..., 3, S, S) -> [feature (B, 256), net4 (256, S / 32), net3 (320, S / 16), net2 (160, S / 8), net1 (64, S / 4)]."""
        maps = [self.first_maps(pictures)]
        for index in (1, 2, 3):
            maps.append(self.group(index, maps[-1]))
        return [maps[-1].mean(dim=(2, 3)), *reversed(maps)]


# --- what is said: the space of words ---------------------------------------------------------------------------------


class LipTrunk(FanTrunk):
    """A face alignment network of one stack, with the layers that DAVS's file has behind it and nothing uses."""

    def __init__(self, width: float = 1.0, feature: int = FEATURE):
        super().__init__(align_corners=True, width=width)
        channels, points = self.l0.in_channels, self.l0.out_channels
        self.conv5 = Unused(weight=(channels, channels, 5, 5), bias=(channels,))
        self.conv6 = Unused(weight=(1, points, 3, 3), bias=(1,))
        self.fc = Unused(weight=(feature, 1024), bias=(feature,))


class LipEncoder(nn.Module):
    """Faces -> what their lips say (`lip_feature_encoder`)."""

    def __init__(self, width: float = 1.0, image_size: int = 256, feature: int = FEATURE):
        super().__init__()
        self.model = LipTrunk(width, feature)
        points = self.model.l0.out_channels
        self.bn1, self.conv6 = nn.BatchNorm2d(points), nn.Conv2d(points, 1, 3, 2, 1)
        self.fc = nn.Linear((image_size // 8) ** 2, feature)
        start_squeeze(self.conv6, self.fc)

    def forward(self, faces: Tensor) -> Tensor:
        """(B, T, 3, S, S) -> (B, T, 256)."""
        points = self.model(faces.flatten(0, 1))
        return self.fc(F.relu(self.conv6(F.relu(self.bn1(points)))).flatten(1)).view(*faces.shape[:2], -1)


class SpeechSquares(nn.Module):
    """The first half of the speech encoder: 2-D convolutions over time and coefficients."""

    def __init__(self, channels: Sequence[int]):
        super().__init__()
        one, two, three, four = channels
        self.conv1, self.bn1 = nn.Conv2d(1, one, 3, (3, 2), (1, 2), bias=False), nn.BatchNorm2d(one)
        self.conv2, self.bn2 = nn.Conv2d(one, two, 3, 2, 1, bias=False), nn.BatchNorm2d(two)
        self.conv3, self.bn3 = nn.Conv2d(two, three, 3, bias=False), nn.BatchNorm2d(three)
        self.conv4 = nn.Conv2d(three, four, 2, bias=False)
        self.bn5 = Unused.norm(four)

    def forward(self, windows: Tensor) -> Tensor:
        """(B, 1, 20, 12) -> (B, 512)."""
        x = F.leaky_relu(self.bn1(self.conv1(windows)), SLOPE)
        x = F.leaky_relu(self.bn2(self.conv2(x)), SLOPE)
        x = F.leaky_relu(self.bn3(self.conv3(x)), SLOPE)
        return self.conv4(x).flatten(1)


class SpeechRows(nn.Module):
    """The second half: each convolution sees all coefficients at once and moves along time."""

    def __init__(self, channels: Sequence[int]):
        super().__init__()
        one, two, three = channels
        self.conv1, self.bn1 = nn.Conv2d(1, one, (3, WINDOW[1]), bias=False), nn.BatchNorm2d(one)
        self.conv2, self.bn2 = nn.Conv2d(one, two, (3, 1), padding=(1, 0), bias=False), nn.BatchNorm2d(two)
        self.conv3 = nn.Conv2d(two, three, (3, 1), bias=False)

    def forward(self, windows: Tensor) -> Tensor:
        """(B, 1, 20, 12) -> (B, 512)."""
        x = F.leaky_relu(self.bn1(self.conv1(windows)), SLOPE)[:, :, ::3]
        x = F.leaky_relu(self.bn2(self.conv2(x)), SLOPE)[:, :, ::2]
        return self.conv3(x).flatten(1)


class SpeechEncoder(nn.Module):
    """Windows of speech -> what is said (`mfcc_encoder`)."""

    def __init__(self, width: float = 1.0, feature: int = FEATURE):
        super().__init__()
        low, middle, high, top = (scaled(count, width) for count in (64, 128, 256, 512))
        self.model1, self.model2 = SpeechSquares((low, middle, high, top)), SpeechRows((low, high, top))
        self.fc = nn.Linear(2 * top, feature)

    def forward(self, windows: Tensor) -> Tensor:
        """(B, T, 1, 20, 12) -> (B, T, 256)."""
        single = windows.flatten(0, 1)
        return self.fc(torch.cat((self.model1(single), self.model2(single)), dim=1)).view(*windows.shape[:2], -1)


# --- pictures ---------------------------------------------------------------------------------------------------------


class DecoderBlock(nn.Module):
    """Convolutions of 3 x 3, each with norm and ReLU; the first changes the channels."""

    def __init__(self, number: int, inputs: int, outputs: int, count: int):
        super().__init__()
        self.layers = [f"conv{number}_{index}" for index in range(count)]
        for index, name in enumerate(self.layers):
            self.add_module(name, nn.Conv2d(outputs if index else inputs, outputs, 3, padding=1))
            self.add_module(f"{name}_bn", nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        for name in self.layers:
            x = F.relu(getattr(self, f"{name}_bn")(getattr(self, name)(x)))
        return x


class Decoder(nn.Module):
    """Who it is and what is said -> the picture (`Decoder`)."""

    BLOCKS = ((512, 2), (512, 3), (256, 4), (256, 4), (128, 3), (64, 2))  # channels as published, convolutions
    WITH_MAPS = 3  # the block that also sees the person's maps

    def __init__(self, width: float = 1.0, image_size: int = 256, feature: int = FEATURE):
        super().__init__()
        channels = scaled(512, width, SLIM)
        self.deconv1_1_new = nn.ConvTranspose2d(2 * feature, channels, image_size // 64)
        self.deconv1_1_bn = nn.BatchNorm2d(channels)
        for index, (published, count) in enumerate(self.BLOCKS):
            maps = IdentityEncoder.channels(width)[1] if index == self.WITH_MAPS else 0
            before, channels = channels, scaled(published, width, SLIM)
            self.add_module(f"convblock{index + 1}", DecoderBlock(index + 1, maps + before, channels, count))
        last = scaled(32, width, SLIM)
        self.conv7_1, self.conv7_1_bn = nn.ConvTranspose2d(channels, last, 3, 1, 1), nn.BatchNorm2d(last)
        self.conv7_2 = nn.ConvTranspose2d(last, 3, 3, 1, 1)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, person: Sequence[Tensor], words: Tensor) -> Tensor:
        """[feature (B, 256), -, -, net2 (B, 160, S / 8, S / 8), ...] and words (B, 256) -> (B, 3, S, S).

        One person (B = 1) serves any number of words.
        """
        feature, maps = (part.expand(len(words), *part.shape[1:]) for part in (person[0], person[3]))
        x = torch.cat((feature, words), dim=1)[:, :, None, None]
        x = F.relu(self.deconv1_1_bn(self.deconv1_1_new(x)))
        for index in range(len(self.BLOCKS)):
            if index == self.WITH_MAPS:
                x = torch.cat((maps, x), dim=1)
            x = enlarged(getattr(self, f"convblock{index + 1}")(x))
        x = self.conv7_2(F.relu(self.conv7_1_bn(self.conv7_1(x))))
        return (torch.tanh(x) + 1) / 2


# --- judges of the training -------------------------------------------------------------------------------------------


class Patch(NamedTuple):
    """Where the mouth is in the discriminator's maps: first row and column, and side."""

    top: int
    left: int
    side: int

    @classmethod
    def of(cls, image_size: int) -> Patch:
        """Rows 19 to 27 and columns 11 to 19 of the 31 of the published size; in proportion else, at least 3."""
        share = (image_size // 8 - 1) / 31
        return cls(round(19 * share), round(11 * share), max(3, round(9 * share)))


class FrameDiscriminator(nn.Module):
    """Frames and their speech -> whether they are real (`netD` of one frame, `netD_mul` of six): patches, and mouth with speech.

    Args:
        frames: that are seen at once, on the channels.
    """

    def __init__(self, frames: int = 1, width: float = 1.0, image_size: int = 256):
        super().__init__()
        self.patch = Patch.of(image_size)
        one, two, three, four = (scaled(count, width) for count in (64, 128, 256, 512))
        self.conv1 = nn.Conv2d(3 * frames, one, 4, 2, 1)
        self.conv2_1, self.norm_1 = nn.Conv2d(one, two, 4, 2, 1, bias=False), nn.BatchNorm2d(two)
        self.conv2_2, self.norm_2 = nn.Conv2d(two, three, 4, 2, 1, bias=False), nn.BatchNorm2d(three)
        self.conv3, self.norm3 = nn.Conv2d(three, four, 4, 1, 1, bias=False), nn.BatchNorm2d(four)
        self.conv4 = nn.Conv2d(four, 1, 4, 1, 1)
        self.mfcc_conv1, self.mfcc_bn1 = nn.Conv2d(frames, one, 3, (3, 2), (1, 2), bias=False), nn.BatchNorm2d(one)
        self.mfcc_conv2, self.mfcc_bn2 = nn.Conv2d(one, two, 3, 2, 1, bias=False), nn.BatchNorm2d(two)
        self.mfcc_conv3, self.mfcc_bn3 = nn.Conv2d(two, three, 3, bias=False), nn.BatchNorm2d(three)
        self.mfcc_conv4, self.mfcc_bn4 = nn.Conv2d(three, three, 2, bias=False), nn.BatchNorm2d(three)
        self.conv6, self.bn6 = nn.Conv2d(four, four, 3, bias=False), nn.BatchNorm2d(four)
        self.conv8, self.bn7, self.bn8, self.bn9 = Unused(weight=(1, four, 1, 1)), *map(Unused.norm, (four, 1, four))
        self.conv9 = nn.Conv2d(four, four, self.patch.side - 2)
        self.fc, self.fc2 = nn.Linear(four + three, four), nn.Linear(four, 1)
        self.apply(start_discriminator)

    def forward(self, frames: Tensor, mfcc: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (B, 3 T, S, S) and windows (B, T, 20, 12) -> probabilities of patches (B, 1, 30, 30), and of all (B, 1)."""
        x = F.leaky_relu(self.conv1(frames), SLOPE)
        x = F.leaky_relu(self.norm_1(self.conv2_1(x)), SLOPE)
        x = F.leaky_relu(self.norm_2(self.conv2_2(x)), SLOPE)
        x = F.leaky_relu(self.norm3(self.conv3(x)), SLOPE)
        top, left, side = self.patch
        mouth = F.leaky_relu(self.bn6(self.conv6(x[:, :, top : top + side, left : left + side])), SLOPE)
        mouth = F.leaky_relu(self.conv9(mouth), SLOPE).flatten(1)
        together = self.fc2(self.fc(torch.cat((mouth, self.heard(mfcc)), dim=1)))
        return torch.sigmoid(self.conv4(x)), torch.sigmoid(together)

    def heard(self, mfcc: Tensor) -> Tensor:
        """(B, T, 20, 12) -> (B, 256); nothing but convolutions and norms."""
        x = self.mfcc_bn1(self.mfcc_conv1(mfcc))
        x = self.mfcc_bn2(self.mfcc_conv2(x))
        x = self.mfcc_bn3(self.mfcc_conv3(x))
        return self.mfcc_bn4(self.mfcc_conv4(x)).flatten(1)


def start_discriminator(module: nn.Module) -> None:
    """The authors' `weights_init`, of one layer."""
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
    if isinstance(module, (nn.Conv2d, nn.BatchNorm2d)) and module.bias is not None:
        nn.init.zeros_(module.bias)


class WordFromPersonClassifier(nn.Module):
    """First maps of the person space of some frames -> which word (`ID_lip_discriminator`), which it should not know.

    Args:
        frames: of a clip.
        words: classes.
    """

    def __init__(self, width: float = 1.0, image_size: int = 256, frames: int = 20, words: int = WORDS):
        super().__init__()
        self.frames, self.maps = frames, IdentityEncoder.channels(width)[0]
        self.conv6 = nn.Conv2d(self.maps, 1, 3, 2, 1)
        self.fc, self.fc_2 = nn.Linear((image_size // 8) ** 2, 128), nn.Linear(128 * frames, words)
        self.dropout = nn.Dropout(0.5)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, frames 64, S / 4, S / 4) -> logits (B, words)."""
        single = maps.reshape(-1, self.maps, *maps.shape[-2:])
        features = self.fc(F.relu(self.conv6(single)).flatten(1)).view(len(maps), -1)
        return self.fc_2(self.dropout(features))


class WordClassifier(nn.Module):
    """Embeddings of a clip's sound or lips -> which word (`model_fusion`); shared by both.

    Args:
        frames: embeddings of a clip.
        words: classes.
    """

    def __init__(self, frames: int = 12, words: int = WORDS, feature: int = FEATURE):
        super().__init__()
        self.inputs = frames * feature
        self.fc_1, self.fc_2 = nn.Linear(self.inputs, 512), nn.Linear(512, words)
        self.dis = Unused(weight=(1, 512), bias=(1,))

    def forward(self, embeddings: Tensor) -> Tensor:
        """(B, T, 256) -> logits (B, words)."""
        return self.fc_2(F.relu(self.fc_1(embeddings.reshape(-1, self.inputs))))


class ModalityDiscriminator(nn.Module):
    """Embedding -> the probability that it was heard, not seen (`discriminator_audio`)."""

    def __init__(self, feature: int = FEATURE):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(feature, feature), nn.Linear(feature, 1)

    def forward(self, embeddings: Tensor) -> Tensor:
        """(..., 256) -> (B, 1)."""
        return torch.sigmoid(self.fc2(F.relu(self.fc1(embeddings.reshape(-1, self.fc1.in_features)))))


class PersonClassifier(nn.Module):
    """Embedding -> which person (the authors' `ID_fc` and `Face_ID_fc`, of which no weights were released).

    Args:
        persons: classes.
    """

    def __init__(self, persons: int = PERSONS, feature: int = FEATURE):
        super().__init__()
        self.dropout, self.fc = nn.Dropout(0.5), nn.Linear(feature, persons)

    def forward(self, embeddings: Tensor) -> Tensor:
        """(B, 256) -> logits (B, persons)."""
        return self.fc(self.dropout(embeddings))


# --- the other pair of `network/VGGM.py` ------------------------------------------------------------------------------


class VggEncoder(nn.Module):
    """Picture of 256 x 256 -> a feature, maps and words: the authors' other encoder, which none of their scripts uses."""

    CHANNELS = (3, 64, 128, 256, 256, 512, 512, 512)

    def __init__(self, words: int = WORDS):
        super().__init__()
        for layer, (inputs, outputs) in enumerate(zip(self.CHANNELS[:-1], self.CHANNELS[1:], strict=True), start=1):
            self.add_module(f"conv{layer}", nn.Conv2d(inputs, outputs, 3, padding=1))
            self.add_module(f"bn{layer}", nn.BatchNorm2d(outputs))
        self.fc = nn.Linear(self.CHANNELS[-1], words)

    def layer(self, number: int, x: Tensor) -> Tensor:
        """Convolution, norm, ReLU."""
        return F.relu(getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(x)))

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """(B, 3, 256, 256) -> [feature (B, 512), net8, net7, net5 (512, 32, 32), net4, net2, logits (B, words)]."""
        net2 = self.layer(2, F.max_pool2d(self.layer(1, pictures), 2))
        net4 = self.layer(4, self.layer(3, F.max_pool2d(net2, 2)))
        net5 = self.layer(5, F.max_pool2d(net4, 2))
        net7 = self.layer(7, self.layer(6, F.max_pool2d(net5, 2)))
        net8 = F.max_pool2d(net7, 2)
        feature = net8.mean(dim=(2, 3))
        return [feature, net8, net7, net5, net4, net2, self.fc(feature)]


class VggDecoder(nn.Module):
    """The feature and net5 of a `VggEncoder` and words -> picture: unused as well."""

    LAYERS = ("00", "0", "1", "2", "3", "4")
    CHANNELS = (768, 512, 512, 512, 256, 128, 64)

    def __init__(self) -> None:
        super().__init__()
        for index, name in enumerate(self.LAYERS):
            inputs, outputs = self.CHANNELS[index] * (2 if name == "2" else 1), self.CHANNELS[index + 1]
            size, stride, padding = (8, 1, 0) if name == "00" else (4, 2, 1)
            conv = nn.ConvTranspose2d(inputs, outputs, size, stride, padding, bias=name == "2")
            self.add_module(f"upconv{name}", conv)
            self.add_module(f"upnorm{name}", nn.BatchNorm2d(outputs))
        self.upconv5, self.upnorm5 = nn.ConvTranspose2d(64, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64)
        self.upconv6 = nn.Conv2d(64, 3, 1)

    def forward(self, person: Sequence[Tensor], words: Tensor) -> Tensor:
        """The list of a `VggEncoder` and words (B, 256) -> (B, 3, 256, 256)."""
        x = self.upconv00(torch.cat((person[0], words), dim=1)[:, :, None, None])  # type: ignore[operator]
        x = self.upnorm00(x)  # type: ignore[operator]
        for name in self.LAYERS[1:]:
            if name == "2":
                x = torch.cat((person[3], x), dim=1)
            x = F.relu(getattr(self, f"upnorm{name}")(getattr(self, f"upconv{name}")(x)))
        x = self.upconv6(F.relu(self.upnorm5(self.upconv5(x))))
        return (torch.tanh(x) + 1) / 2


FILE = "101_DAVS_checkpoint.pth.tar"
register_network(f"the identity encoder of DAVS ({FILE}, ID_encoder)", IdentityEncoder)
register_network(f"the lip encoder of DAVS ({FILE}, lip_feature_encoder)", LipEncoder)
register_network(f"the speech encoder of DAVS ({FILE}, mfcc_encoder)", SpeechEncoder)
register_network(f"the decoder of DAVS ({FILE}, Decoder)", Decoder)
