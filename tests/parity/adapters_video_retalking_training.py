"""Golden cases of VideoReTalking's training."""

import torch

from talkingface.model.videoretalking.stages import LAYERS, SCALES, DNetStage
from talkingface.nn.perceptual import PerceptualLoss, VggFeatures, as_slices
from talkingface.nn.weights import load_weights

ADAPTERS: dict = {}


def adapter(name):
    """Register the function as the adapter of a case."""
    return lambda function: ADAPTERS.setdefault(f"video_retalking/{name}", function)


@adapter("dnet_training_loss")
def dnet_training_loss(case):
    features, x = VggFeatures(), case.inputs()
    load_weights(features, as_slices(case.weights(), features.state_dict()), case.name)
    judge = PerceptualLoss(features, LAYERS, normalize=True, num_scales=SCALES)
    fake, warp = (x[name].requires_grad_() for name in ("fake", "warp"))
    losses = {"warp": judge(warp, x["target"])}
    losses["perceptual"], losses["style"] = judge.with_style(fake, x["target"])
    total = sum(DNetStage.usual[name] * loss for name, loss in losses.items())
    gradients = torch.autograd.grad(total, (fake, warp))
    final = losses["perceptual"] + losses["style"] * DNetStage.usual["style"] / DNetStage.usual["perceptual"]
    values = {"loss_warp": losses["warp"], "loss_final": final, "loss_final_without_style": losses["perceptual"], "total": total}
    return {name: value.reshape(1) for name, value in values.items()} | dict(
        zip(("grad_fake", "grad_warp"), gradients, strict=True)
    )
