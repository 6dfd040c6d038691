"""Golden cases of makeittalk's training."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from talkingface.model.makeittalk import MakeItTalk, losses
from talkingface.model.makeittalk.data import Talk, published_order
from talkingface.model.makeittalk.networks.content import WINDOW
from talkingface.model.makeittalk.speech import normalised_mel
from talkingface.model.makeittalk.stages import ContentStage, TranslatorStage
from talkingface.nn.perceptual import PerceptualLoss, VggFeatures
from talkingface.nn.weights import load_weights

ADAPTERS: dict = {}
ROOT = Path(__file__).resolve().parents[2]


def adapter(name):
    """Register the function as the adapter of a case."""
    return lambda function: ADAPTERS.setdefault(f"makeittalk/{name}", function)


def part(case, prefix):
    """The made-up weights of one network of a case."""
    return {name.removeprefix(prefix): tensor for name, tensor in case.weights().items() if name.startswith(prefix)}


def norms(parameters):
    return np.array([p.grad.double().norm().item() for p in parameters])


@adapter("content_batches")
def content_batches(case):
    lengths, given = case.spec["facts"]["clip_lengths"], case.recorded
    order = published_order(len(lengths))
    mel, rows = normalised_mel(given["in_au0"]), given["in_fl0"]
    count = lengths[order[0]] - WINDOW
    talk = Talk(mel, rows, rows[0], np.ones(count, bool), np.zeros(256))
    windows = np.array([lengths[k] - WINDOW for k in order])
    return {"order": np.array(order), "windows": windows, "au_windows": talk.windows(), "fl_first": talk.rows[:count]}


def content_stage(case, **options):
    """The stage with the made-up weights of a case, in training, without dropout."""
    model = MakeItTalk(width=1.0)
    load_weights(model.content, case.weights(), case.name)
    return ContentStage(model, drop_out=0.0, **options).train()


@adapter("content_training")
def content_training(case):
    facts, windows = case.spec["facts"], case.inputs()["au"]
    truth, face = (torch.from_numpy(case.recorded[name]) for name in ("in_target", "in_face_id"))
    together = torch.ones(len(truth) - 1)

    def total(stage):
        raw = stage.compare(windows, face, truth, together)
        return sum(stage.loss_weights.get(name, 1.0) * loss for name, loss in raw.items())

    changed = {
        "no_lip_weight": content_stage(case, use_lip_weight=False),
        "motion": content_stage(case, use_motion_loss=True),
        "no_laplacian": content_stage(case, loss_weights={"laplacian": 0.0}),
    }
    outputs = {f"loss_{name}": total(stage).detach() for name, stage in changed.items()}
    stage = content_stage(case)
    network = stage.content
    with torch.no_grad():
        outputs["prediction"] = content_stage(case).content(windows, face)
    parameters = [network.get_parameter(name) for name in facts["parameters"]]
    optimizer = torch.optim.Adam(parameters, lr=facts["lr"])
    loss = total(stage)
    loss.backward()
    outputs |= {
        "loss": loss, "grad_norms": norms(parameters), "grad_fc6_bias": network.fc[6].bias.grad.clone(),
        "grad_prior0": network.fc_prior[0].weight.grad[:8].clone(),
        "grad_hh_l2": network.bilstm.weight_hh_l2.grad[::64, ::16].clone(),
        "fc1_running_mean": network.fc[1].running_mean.clone(), "prior1_running_var": network.fc_prior[1].running_var.clone(),
    }  # fmt: skip
    later = []
    for _ in facts["later_losses_at_step"]:
        optimizer.step()
        optimizer.zero_grad()
        loss = total(stage)
        loss.backward()
        later.append(loss.item())
    return outputs | {"later_losses": np.array(later)}


@adapter("speaker_training")
def speaker_training(case):
    """What the released script adds up: a pose that the published network does not have, and the face twice in the Laplacian."""
    given = {name.removeprefix("in_"): torch.from_numpy(value) for name, value in case.recorded.items()}
    face, truth = given["face_id"], given["registered"]
    pose = torch.cat((given["quat"], given["rot_trans"][:, :, 3]), dim=1)
    outputs = {}
    for name, lips in (("plain", 0), ("residual", given["content"])):
        displacement, position = (given[key].clone().requires_grad_() for key in ("prediction", "pos"))
        made = displacement + lips + face
        parts = [losses.landmark_distance(made, truth), losses.laplacian_distance(made + face, truth), F.l1_loss(position, pose)]
        total = sum(parts)
        total.backward()
        outputs |= {f"losses_{name}": torch.stack([total, *parts]), f"grad_{name}": displacement.grad}
        outputs[f"grad_pos_{name}"] = position.grad
    return outputs


@adapter("image_translation_training")
def image_translation_training(case):
    """In a process whose convolutions sum in the order of AVX2, as where the case was recorded.

    The batch norms of 2 x 2 pixels magnify rounding: a change of the input by 1e-7 changes the first gradient by 1 %, and so does
    another order of sums. In the same order, output and gradients agree to the last bit.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "case.json").write_text(json.dumps(case.spec))
        np.savez(folder / "case.npz", **case.outputs, **case.recorded)
        environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
        subprocess.run([sys.executable, "-m", __name__, name], cwd=ROOT, env=environment, check=True)
        with np.load(folder / "made.npz") as made:
            return dict(made)


def trained_translation(case):
    """The losses and gradients of the stage."""
    x, vgg = case.inputs(), VggFeatures()
    load_weights(vgg, part(case, "vgg."), case.name)
    model = MakeItTalk(width=1.0)
    load_weights(model.translator, part(case, "G."), case.name)
    stage = TranslatorStage(model, perceptual="none")
    stage.vgg = PerceptualLoss(vgg)
    stage.train()
    painted = model.translator(x["x"]).tanh()
    raw = stage.compare(painted, x["target"])
    total = sum(raw.values())
    total.backward()
    parameters = [model.translator.get_parameter(name) for name in case.spec["facts"]["parameters"]]
    with torch.no_grad():
        features = vgg(x["target"])
    outputs = {
        "losses": torch.stack([total, raw["l1"], raw["vgg"], raw["style"]]), "output": painted, "grad_norms": norms(parameters),
        "grad_first": parameters[0].grad, "grad_last": parameters[-1].grad,
        "feature_norms": torch.stack([taken.double().norm() for taken in features]), "relu5_1": features[-1],
    }  # fmt: skip
    return {name: np.asarray(getattr(value, "detach", lambda v=value: v)()) for name, value in outputs.items()}


if __name__ == "__main__":
    from tests.parity.kit import Case

    folder = Path(sys.argv[1])
    np.savez(folder / "made.npz", **trained_translation(Case.load("case", folder)))
