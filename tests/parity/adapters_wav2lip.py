"""Golden cases of wav2lip."""

import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from talkingface.face import track
from talkingface.face.s3fd import FaceAlignmentS3FD, best_box
from talkingface.media.audio import melspectrogram, to_float, write_audio
from talkingface.model.wav2lip import Wav2Lip, data
from talkingface.model.wav2lip.model import lip_sync
from talkingface.model.wav2lip.networks import Generator, QualityDiscriminator
from talkingface.model.wav2lip.stages import ExpertStage, GanStage, GeneratorStage
from talkingface.nn.sync_expert import SyncExpert, agreement, bce, lower_half, masked, on_channels, unit
from talkingface.nn.weights import load_weights

ADAPTERS: dict = {}


def adapter(name):
    """Register the function as the adapter of a case."""
    return lambda function: ADAPTERS.setdefault(name, function)


def network(case, built):
    """A network in evaluation mode with the made-up weights of a case."""
    load_weights(built, case.weights(), case.name)
    return built.eval()


def enlarged(small, factor=6):
    """Repeat every pixel of the last two axes."""
    return small.repeat_interleave(factor, -1).repeat_interleave(factor, -2)


@adapter("wav2lip/generator")
@torch.no_grad()
def generator(case):
    paint, x = network(case, Generator()), case.inputs()
    return {
        "image": paint(x["mel"], enlarged(x["face16"])),
        "image_seq": paint(x["mel_seq"], enlarged(x["face16_seq"])),
    }


@adapter("wav2lip/disc_qual")
@torch.no_grad()
def disc_qual(case):
    prob = network(case, QualityDiscriminator())(enlarged(case.inputs()["face16_seq"]))
    return {"prob": prob, "perceptual_loss": F.binary_cross_entropy(prob, torch.ones_like(prob))}


@adapter("wav2lip/syncnet_color")
@torch.no_grad()
def syncnet_color(case):
    x = case.inputs()
    audio, face = network(case, SyncExpert())(x["mel"], enlarged(x["face8"]))
    cosine = F.cosine_similarity(audio, face)
    return {
        "audio": audio,
        "face": face,
        "cosine": cosine,
        "loss_in_sync": F.binary_cross_entropy(cosine.abs(), torch.ones_like(cosine)),
        "loss_out_of_sync": F.binary_cross_entropy(cosine.abs(), torch.zeros_like(cosine)),
    }


@adapter("wav2lip/s3fd")
@torch.no_grad()
def s3fd(case):
    levels = network(case, FaceAlignmentS3FD())(100 * enlarged(case.inputs()["x"], 4))
    outputs = {f"cls{k}": level.logits for k, level in enumerate(levels, start=1)}
    return {**outputs, **{f"reg{k}": level.offsets for k, level in enumerate(levels, start=1)}}


@adapter("wav2lip/s3fd_detect")
def s3fd_detect(case):
    bgr = case.inputs()["images16"].numpy().astype(np.uint8).repeat(16, 1).repeat(16, 2)
    faces = network(case, FaceAlignmentS3FD()).detect(bgr[..., ::-1])
    return {
        "boxes": np.array([best_box(found) or (-1, -1, -1, -1) for found in faces]),
        "faces_of_first": faces[0][:40],
        "number": np.array([len(found) for found in faces]),
    }


@adapter("wav2lip/mel")
def mel(case):
    return {"mel": melspectrogram(to_float(case.recorded["in_audio"]))}


@adapter("wav2lip/dataset_item")
def dataset_item(case):
    frames = case.inputs()["frames8"].numpy().astype(np.uint8).repeat(11, 1).repeat(13, 2)[..., ::-1]
    boxes = np.tile([0, 0, frames.shape[2], frames.shape[1]], (len(frames), 1))
    with tempfile.TemporaryDirectory() as folder:
        mel = melspectrogram(to_float(case.recorded["in_audio"]))
        data.write_features(Path(folder), frames, boxes, mel)
        features = data.Features.open(Path(folder))
        real, wrong = (int(frame) for frame in case.recorded["in_choice"])
        assert real in features.real and wrong in features.windows
        sample = batch_of_one(data.MouthWindows.cut(features, real, wrong))
        in_sync = batch_of_one(data.SyncWindows.cut(features, real, real, True))
        off_sync = batch_of_one(data.SyncWindows.cut(features, real, wrong, False))
    mels, faces, truth, mel = GeneratorStage.inputs(sample)
    starts = np.arange(1, 60)[:, None] + np.arange(-1, 4)
    return {
        "x": faces[0], "indiv_mels": mels[0], "mel": mel[0], "y": truth[0],
        "sync_x": on_channels(unit(in_sync["mouths"]))[0], "sync_mel": in_sync["mel"], "sync_y": in_sync["in_sync"],
        "sync_neg_x": on_channels(unit(off_sync["mouths"]))[0], "sync_neg_y": off_sync["in_sync"],
        "mel_start_of_frame": data.first_column(np.arange(100)), "indiv_starts_of_frames_1_59": data.first_column(starts),
    }  # fmt: skip


def batch_of_one(sample):
    return {name: torch.from_numpy(np.asarray(value)[None].copy()) for name, value in sample.items()}


@adapter("wav2lip/train_losses")
def train_losses(case):
    model, x = Wav2Lip(), case.inputs()
    stage = GanStage(model, {"l1": 0.9, "sync": 0.03, "perceptual": 0.07})
    networks = {"generator": model.generator, "syncnet": model.expert, "disc": stage.discriminator}
    for prefix, built in networks.items():
        own = {name.removeprefix(f"{prefix}."): w for name, w in case.weights().items() if name.startswith(f"{prefix}.")}
        load_weights(built, own, case.name)
    stage.train()
    truth, mel = enlarged(x["gt16"]), x["mel"]
    painted = model.generator(x["indiv_mels"], torch.cat((masked(enlarged(x["x16"][:, :3])), enlarged(x["x16"][:, 3:])), dim=1))
    losses = stage.generator_losses(painted, truth, mel)
    l1, sync, perceptual = losses["l1"], losses["sync"], losses["perceptual"]
    parameters = dict(model.generator.named_parameters())
    names = [name.removeprefix("grad/") for name in case.outputs if name.startswith("grad/")]
    grads = torch.autograd.grad(0.07 * perceptual + 0.9 * l1, [parameters[name] for name in names])
    critic = stage.discriminator_losses(painted, truth)
    expert = ExpertStage(model).train()
    cosine = agreement(expert.expert, mel, on_channels(lower_half(truth)))
    return {
        "g": painted, "l1": l1, "sync_loss": sync, "perceptual": perceptual,
        "loss_hq": sum(stage.loss_weights[name] * loss for name, loss in losses.items()), "loss_plain": 0.01 * sync + 0.99 * l1,
        "disc_real": critic["real"], "disc_fake": critic["fake"], "expert_loss": bce(cosine, x["label"][:, 0].float()),
        **{f"grad/{name}": grad for name, grad in zip(names, grads, strict=True)},
    }  # fmt: skip


@adapter("wav2lip/e2e_inference")
@torch.inference_mode()
def e2e_inference(case):
    frames = case.inputs()["frames8"].numpy().astype(np.uint8).repeat(20, 1).repeat(20, 2)[..., ::-1]
    size = (frames.shape[2], frames.shape[1])
    boxes = data.face_boxes(case.recorded["in_rects"].astype(np.float32), Wav2Lip(width=0.1).pads, size)
    with tempfile.TemporaryDirectory() as folder:
        speech = Path(folder) / "speech.wav"
        write_audio(speech, case.recorded["in_audio"])
        chunks = list(data.speech_chunks(speech, float(case.recorded["in_fps"])))
    painted = [frame.image[..., ::-1] for frame in lip_sync(frames, boxes, chunks, network(case, Generator()), batch_size=5)]
    return {"frames": np.stack(painted), "boxes": boxes, "mel_chunks": np.stack(chunks), "number": len(painted)}


@adapter("wav2lip/helpers")
def helpers(case):
    given = case.recorded
    sizes = [track.rescaled_size((width, height), (0, 0, face - 7, face)) for height, width, face in given["in_sizes"]]
    repeats = [track.lengthened(count, length) for count, length in given["in_lengths"]]
    return {
        "smoothed": track.smooth_boxes_forward(given["in_boxes"]),
        "rescaled": np.array([(height, width) for width, height in sizes]),
        **{f"increase_{k}": frames for k, frames in enumerate(repeats)},
    }
