"""DAVS's golden cases through the code that users run: networks, sound, faces, and inference from official files on disk."""

from __future__ import annotations

import contextlib
import io
import tempfile
from pathlib import Path

import numpy as np
import torch

from talkingface.cli import main
from talkingface.config import Config
from talkingface.media import mfcc
from talkingface.media.image import read_image, write_image
from talkingface.model.davs import faces, networks
from talkingface.model.davs.networks import FILE
from talkingface.nn.weights import load_weights
from talkingface.quick_start import build_dataset, build_model, load

ADAPTERS: dict = {}
RATE = 2e-6  # with which the cases were fine-tuned
EXACT = "double"  # their gradients tell rounding apart: one ReLU of some million that is 0 or not moves them by 0.3 %


def adapter(name):
    """Register the function as the adapter of a case."""
    return lambda function: ADAPTERS.setdefault(f"davs/{name}", function)


def network(case, module):
    """A network in evaluation mode with the made-up weights of a case."""
    load_weights(module, case.weights(), case.name)
    return module.eval()


def enlarged(small):
    """Each pixel of pictures (..., h, w) eight times in both directions."""
    return small.repeat_interleave(8, -1).repeat_interleave(8, -2)


# --- networks ---------------------------------------------------------------------------------------------------------


@adapter("id_encoder")
@torch.inference_mode()
def id_encoder(case):
    found = network(case, networks.IdentityEncoder())(enlarged(case.inputs()["x32"]))
    return dict(zip(("feat", "net4", "net3", "net2", "net1"), found, strict=True))


@adapter("lip_encoder")
@torch.inference_mode()
def lip_encoder(case):
    net, x = network(case, networks.LipEncoder()), enlarged(case.inputs()["x32"])
    return {"embedding": net(x), "heatmaps": net.model(x.flatten(0, 1))}


@adapter("mfcc_encoder")
@torch.inference_mode()
def mfcc_encoder(case):
    return {"embedding": network(case, networks.SpeechEncoder())(case.inputs()["mfcc"])}


@adapter("decoder")
@torch.inference_mode()
def decoder(case):
    x = case.inputs()
    return {"image": network(case, networks.Decoder())([x["id_feat"], None, None, x["id_map"]], x["mouth"])}


@adapter("netD")
@torch.inference_mode()
def net_d(case):
    x = case.inputs()
    frames = x["x32"].shape[1] // 3
    patch, combine = network(case, networks.FrameDiscriminator(frames))(enlarged(x["x32"]), x["mfcc"])
    return {"patch": patch, "combine": combine}


ADAPTERS["davs/netD_mul"] = net_d


@adapter("id_lip_discriminator")
@torch.inference_mode()
def id_lip_discriminator(case):
    return {"logits": network(case, networks.WordFromPersonClassifier())(case.inputs()["id_map"])}


@adapter("model_fusion")
@torch.inference_mode()
def model_fusion(case):
    return {"logits": network(case, networks.WordClassifier())(case.inputs()["x"])}


@adapter("discriminator_audio")
@torch.inference_mode()
def discriminator_audio(case):
    return {"prob": network(case, networks.ModalityDiscriminator())(case.inputs()["x"])}


@adapter("vgg_encoder")
@torch.inference_mode()
def vgg_encoder(case):
    found = network(case, networks.VggEncoder())(enlarged(case.inputs()["x32"]))
    return dict(zip(("pooled", "net8", "net7", "net5", "net4", "net2", "logits"), found, strict=True))


@adapter("vgg_decoder")
@torch.inference_mode()
def vgg_decoder(case):
    x = case.inputs()
    return {"image": network(case, networks.VggDecoder())([x["id_feat"], None, None, x["id_map"]], x["mouth"])}


# --- sound and faces --------------------------------------------------------------------------------------------------


@adapter("mfcc_matlab")
def mfcc_matlab(case):
    wav = case.recorded["in_wav"]
    wav = wav if wav.ndim == 1 else wav[:, 0]
    coefficients, numbers = mfcc.cepstra(wav), mfcc.frame_numbers(len(wav))
    with tempfile.TemporaryDirectory() as folder:
        for number, window in zip(numbers, mfcc.windows(coefficients[:, 1:], numbers), strict=True):
            mfcc.write_bin(Path(folder) / f"{number}.bin", window)
        windows = np.stack([mfcc.read_bin(Path(folder) / f"{number}.bin") for number in numbers])
    return {"cc": coefficients, "fbe": mfcc.filter_magnitudes(wav), "numbers": np.array(numbers), "windows": windows}


@adapter("face_align")
def face_align(case):
    matrix = faces.alignment(faces.three_points(case.recorded["in_points"].reshape(5, 2)))
    return {"matrix": matrix, "aligned": faces.cut(case.recorded["in_image"], matrix)}


@adapter("lrw_align")
def lrw_align(case):
    points = case.recorded["in_points106"]
    matrix = faces.alignment(np.stack((points[74], points[77], points[[84, 90]].mean(axis=0))), lrw=True)
    return {"matrix": matrix, "aligned": faces.cut(case.recorded["in_image"], matrix), "points": faces.cut_points(points, matrix)}


# --- inference --------------------------------------------------------------------------------------------------------


@adapter("e2e_audio")
def e2e_audio(case):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_official(case, root)
        for number, window in enumerate(case.inputs()["mfcc"].numpy(), 2):
            mfcc.write_bin(root / "sample" / f"{number}.bin", window)
        return {**plain(root, "audio"), **tuned(case, root, "audio", faithful=True), **tuned(case, root, "audio", faithful=False)}


@adapter("e2e_video")
def e2e_video(case):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_official(case, root)
        for number, small in enumerate(case.inputs()["frames33"].numpy(), 2):
            write_as_jpg(root / "sample" / f"{number}.jpg", small)
        return {**plain(root, "video"), **tuned(case, root, "video", faithful=True)}


def write_official(case, root):
    """The authors' checkpoint of a case, and its picture of who speaks, in folders as theirs."""
    entries: dict[str, dict] = {}
    for name, tensor in case.weights().items():
        entry, _, rest = name.partition(".")
        entries.setdefault(entry, {})[f"module.{rest}"] = tensor
    (root / "checkpoints").mkdir()
    moments = {"state": {0: {"step": 1, "exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 2e-4, "params": [0]}]}
    content = {"step": 16, "epoch": 1, "optimizer_D": moments, **entries, "netD": {"module.conv1.bias": torch.zeros(64)}}
    torch.save(content, root / "checkpoints" / FILE, _use_new_zipfile_serialization=False)
    write_as_jpg(root / "demo_images" / "test_sample1.jpg", case.inputs()["identity33"].numpy())


def write_as_jpg(path, small):
    """A picture (33, 33, 3) BGR, enlarged to 260 x 260: without loss, under the name that the authors gave it."""
    picture = small.astype(np.uint8).repeat(8, 0).repeat(8, 1)[:260, :260, ::-1]
    write_image(path.with_suffix(".png"), np.ascontiguousarray(picture))
    path.with_suffix(".png").rename(path)


def options(root, driver, **more):
    """What a user of test_all.py types."""
    given = {"test_root": root / "sample", "test_type": driver, "test_resume_path": root / "checkpoints" / FILE}
    return {**given, "test_A_path": root / "demo_images", "results_dir": root / "results", "DAVS.borders": "cut", **more}


def built(root, driver, **more):
    """The model of such a command with its weights, and the test clip."""
    flags = [(key, str(value)) for key, value in options(root, driver, **more).items()]
    config = Config.load("DAVS", "DAVSDataset", flags=flags)
    model = build_model(config).eval()
    load(model, Path(config["evaluate_model_file"]))
    return model, build_dataset(config).clips("test")[0]


def plain(root, driver):
    """Without fine-tuning: frames as they leave the decoder, and the pictures that the command writes."""
    more = {"DAVS.faithful": True, "DAVS.fine_tune_steps": 0}
    model, clip = built(root, driver, **more)
    frames = torch.cat([made.frames for made in model.batches(clip)])
    given = {**options(root, driver, **more), "test_audio_video_length": len(frames), "saved_dir": root / "saved", "metrics": ""}
    command = ["--model=DAVS", "--dataset=DAVSDataset", *(f"--{key}={value}" for key, value in given.items())]
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(command) == 0
    folder = root / "results" / "101_DAVS" / "test_1" / "1"
    word = "audio" if driver == "audio" else "image"
    pictures = [read_image(folder / f"test_sample1_fake_{word}_B_0_{item}.png") for item in range(len(frames))]
    return {
        "image_plain": frames,
        "saved_png": np.stack(pictures),
        "real_A_png": read_image(folder / "test_sample1_real_A_0.png"),
    }


def tuned(case, root, driver, faithful):
    """With fine-tuning: frames, losses, the first step's gradients; of the first face as the authors do, or of a later one."""
    label = "first" if faithful and driver == "audio" else "later"
    more = {"lr": RATE, "DAVS.faithful": faithful, "DAVS.fine_tune_precision": EXACT}
    model, clip = built(root, driver, **more)
    model.faces_tuned = 1 if label == "later" else 0
    tuning, losses, gradients = model.tuning, [], {}

    def watched(picture, words):
        """The model's own steps, noted as they are gone through."""
        painter, steps = tuning(picture, words)

        def noted():
            for step in steps:
                if not losses:
                    gradients.update(asked_of(case, f"grad_{label}/", painter, step))
                losses.append(step.loss)
                yield step

        return painter, noted()

    model.tuning = watched
    frames = torch.cat([made.frames for made in model.batches(clip)])
    return {f"image_{label}": frames, f"loss_{label}": torch.stack(losses), **gradients}


def asked_of(case, prefix, painter, step):
    """The gradients of a step that a case has stored; of large ones, corners."""
    networks = zip(("ID_encoder", "Decoder"), painter, strict=True)
    names = [f"{prefix}{entry}.{name}" for entry, network in networks for name, _ in network.named_parameters()]
    made = dict(zip(names, step.gradients, strict=True))
    stored = {name: output.shape for name, output in case.outputs.items() if name.startswith(prefix)}
    return {name: made[name][tuple(map(slice, shape))] for name, shape in stored.items()}
