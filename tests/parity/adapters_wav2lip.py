"""Golden cases of wav2lip."""

import numpy as np
import torch
import torch.nn.functional as F

from talkingface.face.s3fd import FaceAlignmentS3FD, best_box
from talkingface.media.audio import melspectrogram, to_float
from talkingface.model.wav2lip.networks import Generator, QualityDiscriminator, SyncExpert
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
