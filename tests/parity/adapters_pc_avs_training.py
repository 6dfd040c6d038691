"""Golden cases of PC-AVS's training."""

import tempfile
from pathlib import Path

import numpy as np
import torch

from talkingface.model.pc_avs import PC_AVS, augment
from talkingface.model.pc_avs.stages import GeneratorStage, contrastive, crossmodal, from_uniform
from talkingface.nn.gan import MultiscaleDiscriminator, feature_distances, hinge_fake, hinge_generator, hinge_real
from talkingface.nn.perceptual import LAYER_WEIGHTS, PerceptualLoss, VggFeatures
from talkingface.nn.weights import Weights, load_weights

ADAPTERS: dict = {}
NETWORKS = {"netG": "generator", "netV": "identity", "netE": "pose_mouth", "netA_sync": "speech"}
RELEASED = {  # the released name of a loss -> ours
    "CrossModal": ["crossmodal"], "SoftmaxContrastive": ["contrastive_a2v"], "SoftmaxContrastive_v2a": ["contrastive_v2a"],
    "GANv": ["gan_video"], "GANa": ["gan_audio"], "VGGv": ["vgg_video"], "VGGa": ["vgg_audio"], "loss_cls": ["identity"],
    "GAN_Feat": ["image_video", "features_video"], "GAN_Feat_audio": ["image_audio", "features_audio"],
    "logSoftmax_v": ["disentangle"], "D_Fake": ["fake"], "D_real": ["real"], "headpose_feature_cls": ["pose_speaker"],
}  # fmt: skip


def adapter(name):
    """Register the function as the adapter of a case."""
    return lambda function: ADAPTERS.setdefault(name, function)


def as_vector(value):
    return value.reshape(1)


@adapter("pc_avs/netD")
@torch.no_grad()
def net_d(case):
    discriminator = MultiscaleDiscriminator().eval()
    load_weights(discriminator, case.weights(), case.name)
    image = case.inputs()["image"]
    judged = {f"out{d}_{k}": part for d, scale in enumerate(discriminator(image)) for k, part in enumerate(scale)}
    convolutions = {
        f"{d}_{k}": discriminator.get_submodule(f"discriminator_{d}.model{k}.0.0") for d in range(2) for k in range(1, 4)
    }
    weights = {f"weight{key}": convolution.weight.clone() for key, convolution in convolutions.items()}
    trained = {f"train_score{d}": scale[-1] for d, scale in enumerate(discriminator.train()(image))}
    return {**judged, **weights, **trained, **{f"u{key}": convolution.weight_u for key, convolution in convolutions.items()}}


@adapter("pc_avs/losses")
def losses(case):
    x = case.inputs()
    face, audio = x["face"], x["audio"].requires_grad_()
    value = contrastive(face, audio)
    scales = [[x["fake0"]], [x["fake1"]]]
    ours = [[x["img0"], x["fakef0"], x["fake0"]], [x["img1"], x["fakef1"], x["fake1"]]]
    real = [[x["rimg0"], x["realf0"], x["fake0"]], [x["rimg1"], x["realf1"], x["fake1"]]]
    image, features = feature_distances(ours, real)
    classes = x["scores"].shape[1]
    outputs = {
        "contrastive": value,
        "contrastive_close": contrastive(face, face + 0.5 * audio),
        "l2softmax": from_uniform(x["scores"]),
        "sum_log_softmax": -x["scores"].log_softmax(1).mean() - np.log(classes),
        "crossmodal": crossmodal(face, audio),
        "hinge_real": hinge_real([scale[-1] for scale in scales]),
        "hinge_fake": hinge_fake([scale[-1] for scale in scales]),
        "hinge_g": hinge_generator([scale[-1] for scale in scales]),
        "feature_match": 10 * image + 10 * features,
    }
    (gradient,) = torch.autograd.grad(value, audio)
    return {"contrastive_grad": gradient, **{name: as_vector(output) for name, output in outputs.items()}}


def vgg(state):
    features = VggFeatures()
    load_weights(features, state, "made up")
    return features


@adapter("pc_avs/vgg_loss")
@torch.no_grad()
def vgg_loss(case):
    x, features = case.inputs(), vgg(case.weights())
    later = PerceptualLoss(features, (0.0, 0.0, *LAYER_WEIGHTS[2:]))
    return {
        **{f"relu{k}": feature for k, feature in enumerate(features(x["x"]), start=1)},
        "loss": as_vector(PerceptualLoss(features)(x["x"], x["y"])),
        "loss_from_layer_2": as_vector(later(x["x"], x["y"])),
    }


@adapter("pc_avs/augment")
def augmentation(case):
    frames, outputs = case.recorded["in_frames"], {}
    for k, given in enumerate(case.spec["options"]["draws"]):
        draw = augment.Draw(
            gain=given["gain"], first=given["first"], last=given["last"], tall=bool(given["tall"]),
            stretch=given["reshape_size"], margin=given["extra"], reach=given["enlarge"], shear=given["pers"],
            blurs=(given["ksize"],) if given["blur"] else (),
        )  # fmt: skip
        colored = augment.recolored(frames, draw)
        outputs[f"color{k}"] = colored
        outputs[f"shape{k}"] = np.stack([augment.reshaped(frame, draw) for frame in colored])
        outputs[f"final{k}"] = augment.apply(frames, draw)
    return outputs


@adapter("pc_avs/train_losses")
def train_losses(case):
    stage, x, labels = stage_of(case), case.inputs(), torch.tensor(case.spec["options"]["labels"])
    frames = x["target"][:, :: stage.generate_interval]
    seen = stage.look(x["input"], frames, x["augmented"], x["spectrograms"])
    groups = {"G": stage.generator_losses(seen, labels), "D": stage.discriminator_losses(seen, labels)}
    weighted = {name: stage.loss_weights.get(name, 1.0) * loss for group in groups.values() for name, loss in group.items()}
    outputs = {}
    for name in (name for name in case.outputs if not name.startswith("grad_")):
        outputs[name] = as_vector(sum(weighted[ours] for ours in RELEASED[name.partition("/")[2]]))
    for group, losses in groups.items():
        names = [name for name in case.outputs if name.startswith(f"grad_{group}/")]
        parameters = [parameter_of(stage, name.partition("/")[2]) for name in names]
        total = sum(weighted[name] for name in losses)
        found = torch.autograd.grad(total, parameters, retain_graph=group == "G", allow_unused=True)
        outputs |= {n: torch.zeros_like(p) if g is None else g for n, p, g in zip(names, parameters, found, strict=True)}
    return outputs


def stage_of(case):
    """The generation stage with the options and the made-up weights of a case, everything in evaluation mode."""
    flags = case.spec["options"]["flags"]
    given = {name: int(flags[flags.index(f"--{name}") + 1]) for name in ("clip_len", "frame_interval", "generate_interval")}
    weights, parts = case.weights(), ("netD", "criterionVGG.vgg", *NETWORKS)
    states = {part: {n.removeprefix(f"{part}."): w for n, w in weights.items() if n.startswith(f"{part}.")} for part in parts}
    model = PC_AVS(num_classes=len(states["netV"]["fc.bias"]), clip_len=given["clip_len"])
    for part, network in NETWORKS.items():
        model.load_network(network, Weights(states[part]), Path(case.name))
    with tempfile.TemporaryDirectory() as folder:
        torch.save(states["criterionVGG.vgg"], Path(folder) / "vgg19.pth")
        stage = GeneratorStage(
            model,
            **given,
            vgg_file=f"{folder}/vgg19.pth",
            disentangle="released" if "--disentangle" in flags else "off",
            generate_from_audio_only="--generate_from_audio_only" in flags,
        )
    load_weights(stage.discriminator, states["netD"], case.name)
    return stage.eval()


def parameter_of(stage, released):
    """A parameter by its released name."""
    network, _, name = released.partition(".")
    module = stage.discriminator if network == "netD" else getattr(stage, NETWORKS[network])
    return module.get_parameter(name)
