"""VideoReTalking's golden cases of networks: each loads the authors' state dict and answers the stored inputs."""

from __future__ import annotations

import torch
from face_alignment.models import FAN

from talkingface.face.s3fd import FaceAlignmentS3FD
from talkingface.model.videoretalking.networks import (
    CoefficientNetwork,
    DNet,
    ENet,
    ExpressionEditor,
    Gfpgan,
    Gpen,
    LNet,
    ParseNet,
    RetinaFace,
)
from talkingface.model.videoretalking.networks.blocks import UpBlock
from talkingface.model.videoretalking.networks.enet import StyleConv, paint
from talkingface.model.videoretalking.networks.lnet import CrossAttention, FourierBlock
from talkingface.nn.speech import time_to_batch
from talkingface.nn.weights import OPTIONAL, load_weights

ADAPTERS: dict = {}


def adapter(name):
    """Register the function as the adapter of a case."""
    return lambda function: ADAPTERS.setdefault(f"video_retalking/{name}", function)


def network(case, built, weights=None):
    """A network in evaluation mode with the made-up weights of a case; fixed entries are the constructor's."""
    fixed = tuple(case.spec.get("fixed", ()))
    load_weights(built, case.weights() if weights is None else weights, case.name, (*OPTIONAL, *fixed))
    return built.eval()


def enlarged(small, factor=8):
    """Repeat every pixel of the last two axes."""
    return small.repeat_interleave(factor, -1).repeat_interleave(factor, -2)


def heard(module, said):
    """Keep in `said` what a module answers."""
    return module.register_forward_hook(lambda _module, _inputs, output: said.append(output))


# --- DNet, LNet, ENet -------------------------------------------------------------------------------------------------


@adapter("dnet")
@torch.no_grad()
def dnet(case):
    net, x = network(case, DNet()), case.inputs()
    redrawn = net(x["image"], x["coeff"])
    return {
        "descriptor": net.mapping_net(x["coeff"]), "flow_field": redrawn.flow,
        "warp_image": redrawn.warped, "fake_image": redrawn.painted,
    }  # fmt: skip


@adapter("lnet")
@adapter("lnet_video")
@torch.no_grad()
def lnet(case):
    net, x = network(case, LNet()), case.inputs()
    features, codes, drawn = [], [], []
    for module, said in ((net.encoder, features), (net.audio_encoder, codes), (net.decoder, drawn)):
        heard(module, said)
    output = net(x["audio"], enlarged(x["face_small"]))
    encoded = {f"enc{level}": feature for level, feature in enumerate(features[0])}
    return {"output": output, "audio_feat": codes[0], "pre_sigmoid": drawn[0], **encoded}


@adapter("enet")
@adapter("enet_video")
@torch.no_grad()
def enet(case):
    own, inner = {}, {}
    for name, tensor in case.weights().items():
        (inner if name.startswith("low_res.") else own)[name.removeprefix("low_res.")] = tensor
    low_net, net, x = network(case, LNet(), inner), network(case, ENet(), own), case.inputs()
    faces = enlarged(x["face_small"])
    faces[:, :3, ..., faces.shape[-2] // 2 :, :] = 0
    styles = []
    heard(net.final_linear, styles)
    output, low = paint(low_net, net, x["audio"], faces, faces[:, 3:])
    if low.dim() == 5:
        flat = torch.nn.functional.interpolate(time_to_batch(low), output.shape[3:])
        low = flat.unflatten(0, (low.shape[2], -1)).permute(1, 2, 0, 3, 4)
    return {"output": output, "low_res": low, "style_code": styles[0]}


# --- published helpers ------------------------------------------------------------------------------------------------


@adapter("recon_net")
@torch.no_grad()
def recon_net(case):
    return {"coeffs": network(case, CoefficientNetwork())(case.inputs()["image"])}


@adapter("gpen_bfr_512")
def gpen(case):
    return gpen_answers(case, Gpen())


@adapter("gpen_small")
def gpen_small(case):
    return gpen_answers(case, Gpen(image_size=64, style=32, num_layers=2, narrow=1 / 16))


@torch.no_grad()
def gpen_answers(case, built):
    net, small = network(case, built), case.inputs()["image_small"]
    names = {"z": net.final_linear, "w": net.generator.style, "rgb4": net.generator.to_rgb1, "rgb16": net.generator.to_rgbs[1]}
    said = {name: [] for name in names}
    for name, module in names.items():
        heard(module, said[name])
    side = 4 << net.levels
    output = net(enlarged(small, side // small.shape[-1]))
    return {"output": output, **{name: answers[0] for name, answers in said.items()}}


@adapter("gfpgan_v1_clean")
def gfpgan(case):
    return gfpgan_answers(case, Gfpgan())


@adapter("gfpgan_small")
def gfpgan_small(case):
    return gfpgan_answers(case, Gfpgan(image_size=64, style=32, num_layers=2, narrow=1 / 8))


@torch.no_grad()
def gfpgan_answers(case, built):
    net, small = network(case, built), case.inputs()["image_small"]
    styles, ups = [], []
    heard(net.final_linear, styles)
    for up in net.conv_body_up:
        heard(up, ups)
    side = net.stored_noise()[-1].shape[-1]
    output = net(enlarged(small, side // small.shape[-1]), net.stored_noise())
    pictures = [to_rgb(feature) for to_rgb, feature in zip(net.toRGB, ups, strict=True)]
    return {"output": output, "style_code": styles[0], "out_rgb_first": pictures[0], "out_rgb_last": pictures[-1]}


@adapter("parsenet")
@torch.no_grad()
def parsenet(case):
    net, picture = network(case, ParseNet()), case.inputs()["image"]
    scores = net(picture)
    return {"mask_logits": scores, "argmax": scores.argmax(dim=1), "image": net.out_img_conv(net.features(picture))}


@adapter("retinaface_r50")
@torch.no_grad()
def retinaface(case):
    seen = network(case, RetinaFace())(case.inputs()["image"])
    return {"loc": seen.offsets, "conf": seen.scores, "landms": seen.points}


@adapter("ganimation")
@torch.no_grad()
def ganimation(case):
    x = case.inputs()
    edited = network(case, ExpressionEditor())(x["src_img"], x["tar_aus"])
    return {"color_mask": edited.colors, "aus_mask": edited.mask, "embed": edited.features, "fake_img": edited.faces}


@adapter("s3fd")
@torch.no_grad()
def s3fd(case):
    levels = network(case, FaceAlignmentS3FD())(case.inputs()["image"])
    outputs = {f"cls{k}": level.logits for k, level in enumerate(levels, start=1)}
    return {**outputs, **{f"reg{k}": level.offsets for k, level in enumerate(levels, start=1)}}


@adapter("fan2d4")
@torch.no_grad()
def fan2d4(case):
    heat = network(case, FAN(4))(case.inputs()["image"])
    return {f"heatmap{stack}": maps for stack, maps in enumerate(heat)}


# --- blocks -----------------------------------------------------------------------------------------------------------


@adapter("block_ffc")
@torch.no_grad()
def block_ffc(case):
    x = case.inputs()
    block = network(case, FourierBlock(x["x"].shape[1], x["z"].shape[1]))
    return {"output": block(x["x"], x["z"])}


@adapter("block_transformer")
@torch.no_grad()
def block_transformer(case):
    x, weights = case.inputs(), case.weights()
    head = weights["layers.0.0.fn.to_q.weight"].shape[0] // 4
    hidden = weights["layers.0.1.fn.net.0.weight"].shape[0]
    return {"output": network(case, CrossAttention(x["x"].shape[1], head, hidden))(x["x"], x["y"])}


@adapter("block_style_conv")
@torch.no_grad()
def block_style_conv(case):
    x, weights = case.inputs(), case.weights()
    _, outputs, inputs, *_ = weights["modulated_conv.weight"].shape
    style = x["style"].flatten(1)
    return {"output": network(case, StyleConv(inputs, outputs, style.shape[1], up=True))(x["x"], style, x["noise"])}


@adapter("block_spectral_train")
def block_spectral_train(case):
    x, weights = case.inputs()["x"], case.weights()
    outputs, inputs, *_ = weights["model.0.weight_orig"].shape
    block = network(case, UpBlock(inputs, outputs, spectral=True)).train()
    conv, norm = block.model
    answers = {}
    for turn, name in enumerate(("first", "second"), start=1):
        answers[name] = block(x)
        answers[f"u{turn}"], answers[f"v{turn}"] = conv.weight_u.clone(), conv.weight_v.clone()
    loss = answers["second"].square().mean()
    weight_grad, norm_grad = torch.autograd.grad(loss, [conv.weight_orig, norm.weight])
    return {**answers, "loss": loss[None], "grad_weight_orig": weight_grad, "grad_norm_weight": norm_grad}
