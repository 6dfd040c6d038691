"""Golden cases of syncnet."""

import itertools
import tempfile
from pathlib import Path

import numpy as np
import torch

from talkingface.face import shots
from talkingface.face.s3fd import FIRST_STRIDE, SyncNetS3FD, priors
from talkingface.media.audio import mfcc
from talkingface.media.image import decode_image
from talkingface.media.video import Video
from talkingface.metric import embeddings, sync
from talkingface.model.syncnet.networks import SyncNet
from talkingface.nn.weights import load_weights

ADAPTERS: dict = {}


def adapter(name):
    """Register the function as the adapter of a case."""
    return lambda function: ADAPTERS.setdefault(name, function)


def network(case, built):
    """A network in evaluation mode with the made-up weights of a case."""
    load_weights(built, case.weights(), case.name)
    return built.eval()


def enlarged(small, factor):
    """Repeat every pixel of the last two axes."""
    return small.repeat_interleave(factor, -1).repeat_interleave(factor, -2)


@adapter("syncnet/syncnet")
@torch.no_grad()
def syncnet(case):
    net, x = network(case, SyncNet()), case.inputs()
    frames = 255 * enlarged(x["lip28"], 8)
    return {"lip": net.lip(frames), "lipfeat": net.lip_features(frames), "aud": net.audio(10 * x["aud"])}


@adapter("syncnet/s3fd_sfd_face")
@torch.no_grad()
def s3fd_sfd_face(case):
    detector, x = network(case, SyncNetS3FD()), 100 * enlarged(case.inputs()["x"], 4)
    levels, sides = detector(x), np.array([x.shape[3], x.shape[2]] * 2, np.float32)
    cells = [priors(*level.logits.shape[2:], FIRST_STRIDE * 2**k) for k, level in enumerate(levels)]
    found = detector.first_faces(x + torch.tensor(detector.means)[:, None, None])[0]
    return {
        "loc": torch.cat([level.offsets.permute(0, 2, 3, 1).flatten(1, 2) for level in levels], dim=1),
        "conf": torch.cat([level.logits.permute(0, 2, 3, 1).flatten(1, 2) for level in levels], dim=1).softmax(-1),
        "priors": np.concatenate([cell.reshape(-1, 4) for cell in cells]) / sides,
        "detections": np.concatenate((found[:60, 4:], found[:60, :4] / sides), axis=1),
        "count": len(found),
    }


@adapter("syncnet/s3fd_detect_faces")
def s3fd_detect_faces(case):
    detector = network(case, SyncNetS3FD())
    image = case.inputs()["image16"].numpy().astype(np.uint8).repeat(16, 0).repeat(16, 1)
    return {
        "boxes_scale_0.25": detector.detect([image], threshold=0.9, scale=0.25)[0][:80],
        "boxes_scale_0.5_conf_0.8": detector.detect([image], threshold=0.8, scale=0.5)[0][:80],
    }


def lip_rows(judge, frames):
    """The embeddings of a clip's lips."""
    with tempfile.NamedTemporaryFile() as file:
        rows = embeddings.Embeddings(Path(file.name), judge.embedding)
        clip = embeddings.LipReader(judge).clip(rows)
        for frame in frames:
            clip.see(frame)
        clip.close()
        return rows.rows(0, len(rows), len(rows))


def network_scores(case, frames, prefix=""):
    """A clip's scores by the made-up judge: the sound is what ffmpeg extracted, the frames are given."""
    judge = network(case, SyncNet())
    samples = case.recorded["in_audio16k"]
    frames = list(frames)
    count = min(len(frames), len(samples) // 640) - 5
    lips = lip_rows(judge, frames)[:count]
    speech = np.concatenate(list(embeddings.speech_embeddings(judge, mfcc(samples))))[:count]
    return {f"{prefix}{name}": value for name, value in features_scores(lips, speech).items()}


def features_scores(lips, speech):
    """The metric's outputs, from the embeddings of a clip."""
    dists = sync.distances(lips, np.pad(speech, ((15, 15), (0, 0))))
    score = sync.sync_score(dists)
    return {
        "im_feat": lips, "cc_feat": speech, "dists": dists, "mdist": score.means, "offset": score.offset,
        "lse_c": score.confidence, "lse_d": score.distance, "framewise_conf": score.curve,
    }  # fmt: skip


@adapter("syncnet/metric")
def metric(case):
    inputs = {name: value.numpy() for name, value in case.inputs().items()}
    base, noise = inputs["base"], inputs["noise"]
    return features_scores(base[5 : 5 + len(noise)], base[2 : 2 + len(noise)] + 0.5 * noise)


@adapter("syncnet/evaluate")
@adapter("syncnet/evaluate_lrs")
def evaluate(case):
    offsets = case.recorded["in_jpg_offsets"]
    files = [case.recorded["in_jpg_bytes"][start:stop] for start, stop in itertools.pairwise(offsets)]
    frames = [decode_image(file.tobytes()) for file in files]
    with tempfile.NamedTemporaryFile(suffix=case.recorded["in_suffix"].tobytes().decode()) as clip:
        clip.write(case.recorded["in_clip"].tobytes())
        clip.flush()
        lossless = network_scores(case, Video(clip.name), "png_")
    return {**network_scores(case, frames), **lossless}


@adapter("syncnet/scene")
def scene(case):
    base = case.inputs()["base"].numpy().repeat(16, 1).repeat(16, 2)
    sequence = [np.clip(base[int(i)] * gain, 0, 255).astype(np.uint8) for i, gain in case.recorded["in_sequence"]]
    changes = list(shots.content_changes(frame[..., ::-1] for frame in sequence))
    return {"content_val": np.array(changes), "cuts": np.array(shots.scene_cuts(changes))}


@adapter("syncnet/track")
def track(case):
    rows = case.recorded["in_dets"]
    faces = [shots.Detection(int(row[0]), row[1:5]) for row in rows]
    frames = [[face for face in faces if face.frame == number] for number in range(faces[-1].frame + 1)]
    tracks = [np.c_[np.full(len(t.frames), k), t.frames, t.boxes] for k, t in enumerate(shots.track_shots(frames))]
    return {"tracks": np.concatenate([np.empty((0, 6)), *tracks])}


@adapter("syncnet/crop")
def crop(case):
    path = shots.crop_path(case.recorded["in_boxes"])
    crops = [shots.crop_face(case.recorded["in_image"], *place) for place in zip(*path, strict=True)]
    return {"s": path.half, "x": path.x, "y": path.y, "crops": np.stack(crops)}


@adapter("syncnet/mfcc")
def cepstra(case):
    return {"mfcc": mfcc(case.recorded["in_audio"])}
