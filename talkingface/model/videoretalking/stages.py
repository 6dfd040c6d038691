"""How VideoReTalking is trained: DNet's warp and then all of DNet, the lip-sync expert, LNet that it judges, and ENet.

The authors released no training. What their paper (Cheng et al., SIGGRAPH Asia 2022) says is followed: section 3.1 on DNet, 3.2
on LNet, 3.3 on ENet. DNet's architecture is PIRenderer's (Ren et al., ICCV 2021), and so is the recipe; LNet was, by its
authors' word, trained like Wav2Lip (Prajwal et al., 2020). What is inferred is said so where it is done.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from talkingface.dataset.base import Clip, Samples
from talkingface.dataset.windows import FRAMES
from talkingface.errors import ConfigError
from talkingface.model.lip_sync import LipSyncExpertStage, heed_expert
from talkingface.model.stage import Batch, Stage, at_least_one, one_of, without
from talkingface.model.videoretalking.data import HeadPairs, SpokenMouths, TalkingFaces
from talkingface.model.videoretalking.enhance import enhance
from talkingface.model.videoretalking.geometry import NUM_EXPRESSION
from talkingface.model.videoretalking.networks import DNet
from talkingface.model.videoretalking.networks.enet import paint, resized
from talkingface.model.videoretalking.reference import known_face
from talkingface.model.videoretalking.restoration import ovals
from talkingface.model.videoretalking.stabilise import to_bytes
from talkingface.nn.gan import GradientPenalty, StyleDiscriminator, logistic_fake, logistic_real
from talkingface.nn.init import normal_init
from talkingface.nn.perceptual import CONV_CUTS, PerceptualLoss
from talkingface.nn.speech import batch_to_time, time_to_batch, windows_to_batch
from talkingface.nn.sync_expert import masked, mouth, sync_loss, unit

if TYPE_CHECKING:
    from talkingface.model.videoretalking.model import VideoReTalking

PERCEPTUAL, IDENTITIES, TRUTHS = ("vgg19", "none"), ("arcface", "none"), ("original", "restored")
REFERENCES, STYLES = ("stabilised", "other"), ("reference", "other")
LAYERS = (1.0,) * 5  # PIRenderer's weights of VGG19's layers
GFPGAN_LAYERS = (0.1, 0.1, 1.0, 1.0, 1.0)
SCALES = 4  # at which PIRenderer compares pictures: full size, 1/2, 1/4, 1/8
OF_VGG = {"warp", "perceptual", "style"}  # losses that need VGG19
PYRAMID = (2, 4)  # reductions of ENet's pictures that are compared too
ENET_WEIGHTS = {
    **{"l1": 0.1, "pyramid": 1.0, "mouth": 0.0, "perceptual": 1.0, "style": 50.0, "identity": 10.0, "gan": 0.1},
    **{"real": 1.0, "fake": 1.0, "r1": 10.0},
}


def signed(pictures: Tensor) -> Tensor:
    """[0, 1] -> [-1, 1]."""
    return pictures * 2 - 1


def side_by_side(*columns: Tensor) -> np.ndarray:
    """Batches of pictures (n, 3, h, w) in [0, 1], RGB, as columns of one picture (n h, k w, 3) uint8."""
    return np.concatenate(to_bytes(torch.cat([column.float().clamp(0, 1) for column in columns], dim=-1)))


# --- DNet ---------------------------------------------------------------------------------------------------------------


class WarpStage(Stage):
    """DNet learns where to take pixels from: VGG19 distance of the moved head and the real one (PIRenderer, first stage).

    Two heads of a clip are each made from the other, with the other's coefficients. All of DNet starts from normal(0, 0.02), as
    PIRenderer does. That the recipe holds for DNet is inferred. "warp_l1", and "warp_mouth" of the mouth alone, are not the
    authors': they serve where there is no VGG19, and short trainings.

    Args:
        samples_per_clip: pairs of heads per epoch, for each clip.
        perceptual: "vgg19", or "none": train without.
        vgg_file: torchvision's weights for it; "" = torchvision's cache.
        init: standard deviation that DNet's weights start with; 0 = torch's own start.
    """

    title, fallback = "dnet_warp", "warp_l1"
    usual: Mapping[str, float] = {"warp": 2.5, "warp_l1": 0.0, "warp_mouth": 0.0}

    def __init__(
        self,
        model: VideoReTalking,
        loss_weights: Mapping[str, float] | None = None,
        samples_per_clip: int = 1,
        perceptual: str = "vgg19",
        vgg_file: str = "",
        init: float = 0.02,
    ):
        super().__init__(loss_weights if loss_weights is not None else self.usual)
        self.dnet, self.sizes, self.samples_per_clip = model.dnet, model.picture_sizes, samples_per_clip
        self.judge = vgg_judge(self.title, perceptual, vgg_file, LAYERS, num_scales=SCALES)
        if self.judge is None:
            self.loss_weights = without(self.loss_weights, OF_VGG)
        if not any(self.loss_weights.values()):
            raise ConfigError(
                f"{self.title}.perceptual=none leaves nothing to learn from: set --{self.title}.loss_weights.{self.fallback}=1."
            )
        if init:
            normal_init(self.dnet, init)

    def trainable(self) -> dict[str, list[nn.Module]]:
        return {"dnet": [self.dnet.mapping_net, self.dnet.warpping_net]}

    def samples(self, clips: Sequence[Clip], split: str) -> Samples:
        return HeadPairs(clips, self.sizes, self.samples_per_clip)

    def losses(self, batch: Batch) -> Iterator[tuple[str, dict[str, Tensor]]]:
        sources, truths, told = self.both_ways(batch)
        yield "dnet", self.warp_losses(self.dnet(sources, told, paint=False).warped, truths)

    @staticmethod
    def both_ways(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Sources and truths (2 B, 3, S, S) in [-1, 1], and what DNet is told (2 B, 73, 26)."""
        heads = signed(unit(batch["heads"])).transpose(1, 2)
        return heads.flatten(0, 1), heads.flip(1).flatten(0, 1), batch["steering"].flip(1).flatten(0, 1)

    def warp_losses(self, warped: Tensor, truths: Tensor) -> dict[str, Tensor]:
        """Losses of moved heads."""
        losses = {"warp_l1": F.l1_loss(warped.float(), truths)}
        if self.loss_weights.get("warp_mouth"):
            losses["warp_mouth"] = F.l1_loss(mouth(warped).float(), mouth(truths))
        return losses if self.judge is None else losses | {"warp": self.judge(warped, truths)}

    def preview(self, batch: Batch) -> np.ndarray:
        """Up to four samples below each other: source, source moved, (painted,) truth."""
        sources, truths, told = (part[:8:2] for part in self.both_ways(batch))
        _, warped, painted = self.dnet(sources, told, paint=isinstance(self, DNetStage))
        shown = [picture for picture in (sources, warped, painted, truths) if picture is not None]
        return side_by_side(*((picture.float() + 1) / 2 for picture in shown))


class DNetStage(WarpStage):
    """All of DNet: VGG19 distance and style of the painted head, and the warp's loss as before (section 3.1; PIRenderer).

    "l1", and "mouth" of the mouth alone, are not the authors': they serve where there is no VGG19, and short trainings.

    Args:
        samples_per_clip: pairs of heads per epoch, for each clip.
        perceptual: "vgg19", or "none": train without.
        vgg_file: torchvision's weights for it; "" = torchvision's cache.
    """

    title, fallback = "dnet", "l1"
    usual: Mapping[str, float] = {
        "warp": 2.5,
        "perceptual": 4.0,
        "style": 1000.0,
        "warp_l1": 0.0,
        "warp_mouth": 0.0,
        "l1": 0.0,
        "mouth": 0.0,
    }

    def __init__(
        self,
        model: VideoReTalking,
        loss_weights: Mapping[str, float] | None = None,
        samples_per_clip: int = 1,
        perceptual: str = "vgg19",
        vgg_file: str = "",
    ):
        super().__init__(model, loss_weights, samples_per_clip, perceptual, vgg_file, init=0.0)

    def trainable(self) -> dict[str, list[nn.Module]]:
        return {"dnet": [self.dnet]}

    def losses(self, batch: Batch) -> Iterator[tuple[str, dict[str, Tensor]]]:
        sources, truths, told = self.both_ways(batch)
        _, warped, painted = self.dnet(sources, told)
        yield "dnet", self.warp_losses(warped, truths) | self.paint_losses(painted, truths)

    def paint_losses(self, painted: Tensor, truths: Tensor) -> dict[str, Tensor]:
        """Losses of painted heads."""
        losses = {"l1": F.l1_loss(painted.float(), truths)}
        if self.loss_weights.get("mouth"):
            losses["mouth"] = F.l1_loss(mouth(painted).float(), mouth(truths))
        if self.judge is not None:
            losses["perceptual"], losses["style"] = self.judge.with_style(painted, truths)
        return losses


def vgg_judge(
    stage: str, perceptual: str, file: str, layers: Sequence[float] | None = None, **how: object
) -> PerceptualLoss | None:
    """A VGG19 that compares pictures, as a stage's settings say; None trains without.

    Raises:
        ConfigError: `perceptual` is no such word.
        MissingWeightsError: VGG19's file is not there.
    """
    one_of(f"{stage}.perceptual", perceptual, PERCEPTUAL)
    if perceptual == "none":
        return None
    more = {"layer_weights": layers} if layers is not None else {}
    otherwise = f"Or train without: --{stage}.perceptual=none."
    return PerceptualLoss.vgg19(file, normalize=True, otherwise=otherwise, **more, **how)  # type: ignore[arg-type]


# --- the expert ---------------------------------------------------------------------------------------------------------


class ExpertStage(LipSyncExpertStage):
    """The lip-sync expert that judges LNet's mouths: cross entropy of the cosine between speech and five mouths (Wav2Lip).

    "accuracy" is the share of windows that the cosine puts on the right side of 1/2: reported, not trained. Where Wav2Lip's own
    lipsync_expert.pth is there, this stage need not be trained.

    Args:
        samples_per_clip: windows of each clip per epoch.
    """

    def __init__(self, model: VideoReTalking, loss_weights: Mapping[str, float] | None = None, samples_per_clip: int = 1):
        super().__init__(model.expert, loss_weights, samples_per_clip)
        self.sizes = model.picture_sizes

    def samples(self, clips: Sequence[Clip], split: str) -> Samples:
        return SpokenMouths(clips, self.sizes, self.expert.image_size, self.samples_per_clip)


# --- references ---------------------------------------------------------------------------------------------------------


@torch.no_grad()
def stabilised(dnet: DNet, expression: Tensor, batch: Batch, side: int) -> Tensor:
    """The faces that LNet is shown in generation: redrawn with one expression, and put back into their frames.

    Args:
        expression: (64,) that all wear.
        batch: of `TalkingFaces`.
        side: of the result.

    Returns:
        (B, 3, T, side, side) RGB in [0, 1].
    """
    frames = batch["heads"].shape[1]
    heads, faces = (time_to_batch(unit(batch[name])) for name in ("heads", "faces"))
    told, places = (batch[name].transpose(0, 1).flatten(0, 1) for name in ("steering", "places"))
    worn = expression[:, None].expand(len(told), NUM_EXPRESSION, told.shape[2])
    painted = dnet(signed(heads), torch.cat((worn, told[:, NUM_EXPRESSION:]), dim=1)).painted
    assert painted is not None
    return batch_to_time(put_back((painted.float().clamp(-1, 1) + 1) / 2, resized(faces, side), places), frames)


def put_back(heads: Tensor, faces: Tensor, places: Tensor) -> Tensor:
    """Faces (n, 3, F, F) with what heads (n, 3, S, S) show within the turned squares around them.

    Args:
        places: (n, 10) of `Features.place`.
    """
    left, top, right, bottom, *square = places.float().unbind(1)
    steps = (torch.arange(faces.shape[-1], device=faces.device) + 0.5) / faces.shape[-1]
    x = left[:, None] + steps * (right - left)[:, None]
    y = top[:, None] + steps * (bottom - top)[:, None]
    points = torch.stack((x[:, None, :].expand(-1, len(steps), -1), y[:, :, None].expand(-1, -1, len(steps))), dim=-1)
    moved = F.grid_sample(heads, signed(points), mode="bilinear", padding_mode="border", align_corners=False)
    center, across, down = (torch.stack(square[k : k + 2], dim=1)[:, None, None] for k in (0, 2, 4))
    shares = [((points - center) * axis).sum(-1) / axis.square().sum(-1) for axis in (across, down)]
    inside = (shares[0].abs() <= 1) & (shares[1].abs() <= 1)
    return torch.where(inside[:, None], moved, faces)


class FaceStage(Stage):
    """What LNet's and ENet's trainings share: faces in a row, and their references.

    Args:
        reference: "stabilised", by the frozen DNet, as in generation; or "other", frames from elsewhere in the clip, as in
            Wav2Lip, which needs no DNet.
        frames: in a row.
    """

    title = ""

    def __init__(
        self,
        model: VideoReTalking,
        loss_weights: Mapping[str, float],
        samples_per_clip: int,
        reference: str,
        frames: int,
    ):
        super().__init__(loss_weights)
        one_of(f"{self.title}.reference", reference, REFERENCES)
        if not 1 <= frames <= FRAMES:
            raise ConfigError(f"{self.title}.frames: expected 1 to {FRAMES}, got {frames}.")
        self.dnet, self.lnet, self.sizes = model.dnet, model.lnet, model.picture_sizes
        self.low_size, self.samples_per_clip, self.reference = model.enet.low_size, samples_per_clip, reference
        self.frames = frames
        self.expression: Tensor
        self.register_buffer("expression", torch.from_numpy(model.worn_expression()), persistent=False)

    def references(self, batch: Batch, side: int) -> Tensor:
        """(B, 3, T, side, side) BGR in [0, 1]: what LNet is shown of the faces besides their upper halves."""
        if self.reference == "stabilised":
            return stabilised(self.dnet, self.expression, batch, side).flip(1)
        return shrunk(unit(batch["others"]), side).flip(1)


def shrunk(faces: Tensor, side: int) -> Tensor:
    """(B, 3, T, F, F) faces in another size."""
    return faces if faces.shape[-1] == side else batch_to_time(resized(time_to_batch(faces), side), faces.shape[2])


# --- LNet ---------------------------------------------------------------------------------------------------------------


class LNetStage(FaceStage):
    """LNet paints mouths that match the speech: L1, VGG19 distance, and the frozen expert's sync loss (section 3.2).

    The sum is (1 - w - p) L1 + p perceptual + w sync, trained by self-reconstruction. As in Wav2Lip, w is 0 until a validation
    gives a mean sync loss below `sync_threshold`, then `sync_weight`. Inferred: p = 0.07, the place of Wav2Lip's adversary; the
    reference is the frame itself, stabilised. A weight for "mouth", the L1 of the mouth alone, makes short trainings look there
    first; it is not the authors'.

    Args:
        samples_per_clip: windows of each clip per epoch.
        reference: "stabilised", by DNet, as in generation; or "other", a random other window of the clip, as in Wav2Lip.
        perceptual: "vgg19", or "none": train without.
        vgg_file: torchvision's weights for it; "" = torchvision's cache.
        expert_batch_statistics: the expert's batch norms use the batch's statistics, as in Wav2Lip's training; else those
            that it has learnt.
        sync_threshold: mean validation sync loss below which the sync loss counts; 0 = it never does.
        sync_weight: w from then on.
        frames: of each window that are painted in training while the sync loss does not count, 1 to 5.
    """

    title = "lnet"
    needs: Sequence[str] = ("dnet", "expert")

    def __init__(
        self,
        model: VideoReTalking,
        loss_weights: Mapping[str, float] | None = None,
        samples_per_clip: int = 1,
        reference: str = "stabilised",
        perceptual: str = "vgg19",
        vgg_file: str = "",
        expert_batch_statistics: bool = True,
        sync_threshold: float = 0.75,
        sync_weight: float = 0.03,
        frames: int = FRAMES,
    ):
        weights = loss_weights if loss_weights is not None else {"l1": 0.93, "perceptual": 0.07, "sync": 0.0}
        super().__init__(model, weights, samples_per_clip, reference, frames)
        self.expert, self.expert_batch_statistics = model.expert, expert_batch_statistics
        self.sync_threshold, self.sync_weight = sync_threshold, sync_weight
        if reference == "other":
            self.needs = ("expert",)
        self.judge = vgg_judge(self.title, perceptual, vgg_file)
        if self.judge is None:
            self.loss_weights = without(self.loss_weights, OF_VGG)

    def trainable(self) -> dict[str, list[nn.Module]]:
        return {"lnet": [self.lnet]}

    def samples(self, clips: Sequence[Clip], split: str) -> Samples:
        frames = FRAMES if split != "train" or self.sync_threshold or self.loss_weights.get("sync") else self.frames
        return TalkingFaces(clips, self.sizes, self.samples_per_clip, frames, others=self.reference == "other")

    def losses(self, batch: Batch) -> Iterator[tuple[str, dict[str, Tensor]]]:
        if self.training and not self.loss_weights.get("sync"):
            batch = {name: value[:, : self.frames] for name, value in batch.items()}
        mels, faces, truth = self.inputs(batch)
        yield "lnet", self.painting_losses(self.lnet(mels, faces), truth, mels[:, 0])

    def inputs(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Mels (B, T, 1, 80, 16); faces (B, 6, T, s, s), masked and then reference; truth (B, 3, T, s, s); BGR in [0, 1]."""
        truth = shrunk(unit(batch["faces"]).flip(1), self.low_size)
        return batch["mels"][:, :, None], torch.cat((masked(truth), self.references(batch, self.low_size)), dim=1), truth

    def painting_losses(self, painted: Tensor, truth: Tensor, mel: Tensor) -> dict[str, Tensor]:
        """Losses of painted faces (B, 3, T, s, s); in training, the expert is asked only when its word counts."""
        losses = {"l1": F.l1_loss(painted.float(), truth)}
        if self.loss_weights.get("mouth"):
            losses["mouth"] = F.l1_loss(mouth(painted).float(), mouth(truth))
        if self.judge is not None:
            losses["perceptual"] = self.judge(*(signed(time_to_batch(faces).flip(1)) for faces in (painted, truth)))
        if not self.training or self.loss_weights.get("sync"):
            seen = shrunk(painted, self.expert.image_size)
            losses["sync"] = sync_loss(self.expert, mel, seen, self.expert_batch_statistics)
        return losses

    def after_validation(self, losses: Mapping[str, float]) -> None:
        heed_expert(self.loss_weights, losses, self.sync_threshold, self.sync_weight)

    def preview(self, batch: Batch) -> np.ndarray:
        """Up to four samples below each other, their first frames: reference, masked input, painted, truth."""
        mels, faces, truth = self.inputs({name: value[:4, :1] for name, value in batch.items()})
        painted = self.lnet(mels, faces)
        return side_by_side(*(picture[:, :, 0].flip(1) for picture in (faces[:, 3:], faces[:, :3], painted, truth)))


# --- ENet ---------------------------------------------------------------------------------------------------------------


class Clock(nn.Module):
    """Counts updates; a part of what a group trains, so that a resumed training knows the time."""

    def __init__(self) -> None:
        super().__init__()
        self.now: Tensor
        self.register_buffer("now", torch.zeros((), dtype=torch.int64))

    def tick(self) -> int:
        """Updates before this one; outside of training it stands still."""
        before = int(self.now)
        self.now += int(self.training)
        return before


class ENetStage(FaceStage):
    """ENet makes LNet's faces sharp: reconstruction, VGG19 distance, an adversary and the identity (section 3.3).

    LNet is frozen and in evaluation mode. Inferred, from GFPGAN's training: all factors, VGG19's layers with their style, L1 of
    the picture and of its reductions, StyleGAN2's discriminator with R1 at every 16th update. Where "gan" has the factor 0, there
    is no discriminator. "mouth" is not the authors': the L1 of the mouth alone.

    Args:
        samples_per_clip: windows of each clip per epoch.
        reference: as of LNet's stage.
        style: what gives ENet the style: "reference", as in generation; or "other", a frame from elsewhere in the clip as it
            is, which is as sharp as a reference that GPEN has enhanced.
        truth: "original", or "restored": by GPEN first, as the authors did with small faces; needs its file.
        frames: of a window, 1 to 5.
        perceptual: "vgg19", or "none": train without.
        vgg_file: torchvision's weights for it; "" = torchvision's cache.
        identity: "arcface", or "none": train without.
        r1_every: updates from one gradient penalty to the next.
        pyramid_updates: updates in which the reductions are compared too.
        plain_start: ENet starts as LNet's face, enlarged: its last layers at 0; for short trainings. Else its colors start at
            random, as StyleGAN2's.
    """

    title = "enet"
    needs: Sequence[str] = ("dnet", "lnet")
    monitor = "l1"

    def __init__(
        self,
        model: VideoReTalking,
        loss_weights: Mapping[str, float] | None = None,
        samples_per_clip: int = 1,
        reference: str = "stabilised",
        style: str = "reference",
        truth: str = "original",
        frames: int = 1,
        perceptual: str = "vgg19",
        vgg_file: str = "",
        identity: str = "arcface",
        r1_every: int = 16,
        pyramid_updates: int = 50_000,
        plain_start: bool = False,
    ):
        super().__init__(model, loss_weights if loss_weights is not None else ENET_WEIGHTS, samples_per_clip, reference, frames)
        for setting, value, allowed in (("style", style, STYLES), ("truth", truth, TRUTHS), ("identity", identity, IDENTITIES)):
            one_of(f"enet.{setting}", value, allowed)
        at_least_one("enet", r1_every=r1_every)
        self.enet, self.style, self.pyramid_updates = model.enet, style, pyramid_updates
        if reference == "other":
            self.needs = ("lnet",)
        self.discriminator, self.penalty = StyleDiscriminator(self.sizes.face, model.width), GradientPenalty(r1_every)
        self.clock = Clock()
        if plain_start:
            for to_rgb in self.enet.to_rgbs:
                nn.init.zeros_(to_rgb.modulated_conv.weight)  # type: ignore[union-attr,arg-type]
        self.judge = vgg_judge(self.title, perceptual, vgg_file, GFPGAN_LAYERS, cuts=CONV_CUTS)
        self.recognizer = model.recognizer("enet.identity=arcface") if identity == "arcface" else None
        self.restore = model.restorer("enet.truth=restored") if truth == "restored" else None
        off = (OF_VGG if self.judge is None else set()) | ({"identity"} if self.recognizer is None else set())
        self.has_adversary = bool(self.loss_weights.get("gan", 1.0))
        off |= set() if self.has_adversary else {"gan", "real", "fake", "r1"}
        self.loss_weights = without(self.loss_weights, off)

    def trainable(self) -> dict[str, list[nn.Module]]:
        groups: dict[str, list[nn.Module]] = {"generator": [self.enet, self.clock]}
        return groups | ({"discriminator": [self.discriminator, self.penalty]} if self.has_adversary else {})

    def samples(self, clips: Sequence[Clip], split: str) -> Samples:
        others = "other" in (self.reference, self.style)
        return TalkingFaces(clips, self.sizes, self.samples_per_clip, self.frames, others)

    def losses(self, batch: Batch) -> Iterator[tuple[str, dict[str, Tensor]]]:
        sharp, _, truth = self.look(batch)
        yield "generator", self.generator_losses(sharp, truth)
        if self.has_adversary:
            yield "discriminator", self.discriminator_losses(sharp.detach(), truth)

    def look(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """ENet's faces and LNet's, the latter in their own size, and the truth: (T B, 3, ...) BGR in [0, 1], not clipped."""
        faces, mels = time_to_batch(unit(batch["faces"]).flip(1)), windows_to_batch(batch["mels"][:, :, None])
        reference = time_to_batch(self.references(batch, self.sizes.face))
        style = reference if self.style == "reference" else time_to_batch(unit(batch["others"]).flip(1))
        sharp, low = paint(self.lnet, self.enet, mels, torch.cat((masked(faces), style), dim=1), reference)
        return sharp, low, faces if self.restore is None else self.restored(batch, faces)

    def restored(self, batch: Batch, faces: Tensor) -> Tensor:
        """The faces (T B, 3, F, F) as GPEN draws them."""
        assert self.restore is not None
        landmarks = batch["landmarks"].transpose(0, 1).flatten(0, 1).cpu().numpy()
        better = enhance([*to_bytes(faces.flip(1))], [known_face(points) for points in landmarks], self.restore, ovals)
        return (torch.from_numpy(np.stack(better)).permute(0, 3, 1, 2).to(faces) / 255).flip(1)

    def generator_losses(self, sharp: Tensor, truth: Tensor) -> dict[str, Tensor]:
        """What ENet learns from."""
        losses = {"l1": F.l1_loss(sharp.float(), truth)}
        if self.clock.tick() < self.pyramid_updates:
            reduced = ([F.avg_pool2d(faces.float(), by) for faces in (sharp, truth)] for by in PYRAMID)
            losses["pyramid"] = torch.stack([F.l1_loss(ours, real) for ours, real in reduced]).sum()
        if self.loss_weights.get("mouth"):
            losses["mouth"] = F.l1_loss(mouth(sharp).float(), mouth(truth))
        pictures, real = (signed(faces.flip(1)) for faces in (sharp, truth))
        if self.judge is not None:
            losses["perceptual"], losses["style"] = self.judge.with_style(pictures, real)
        if self.recognizer is not None:
            losses["identity"] = self.identity_loss(pictures, real)
        if self.has_adversary:
            losses["gan"] = logistic_real(self.discriminator(pictures))
        return losses

    def identity_loss(self, pictures: Tensor, real: Tensor) -> Tensor:
        """1 - the cosine of what ArcFace sees in RGB faces in [-1, 1]."""
        assert self.recognizer is not None
        with torch.no_grad():
            wanted = self.recognizer(real)
        return (1 - (self.recognizer(pictures) * wanted).sum(dim=1)).mean()

    def discriminator_losses(self, sharp: Tensor, truth: Tensor) -> dict[str, Tensor]:
        """What the discriminator learns from, and its gradient's penalty."""
        fake, real = (signed(faces.flip(1)) for faces in (sharp, truth))
        scores = {"fake": logistic_fake(self.discriminator(fake)), "real": logistic_real(self.discriminator(real))}
        return scores | {"r1": self.penalty(self.discriminator, real)}

    def preview(self, batch: Batch) -> np.ndarray:
        """Up to four samples below each other, their first frames: reference, LNet's face, ENet's, truth."""
        first = {name: value[:4, :1] for name, value in batch.items()}
        sharp, low, truth = self.look(first)
        reference = self.references(first, self.sizes.face)[:, :, 0]
        return side_by_side(*(face.flip(1) for face in (reference, resized(low, self.sizes.face), sharp, truth)))
