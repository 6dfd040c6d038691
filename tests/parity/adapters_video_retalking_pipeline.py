"""Golden cases of VideoReTalking around its networks: geometry, blending, and the whole program."""

import os
import tempfile
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from scipy.io import savemat

from talkingface.dataset.base import Clip
from talkingface.face import deep3d, quad
from talkingface.face.align import inverse
from talkingface.face.pyramid import laplacian_blend
from talkingface.face.s3fd import FaceAlignmentS3FD, Level, best_box
from talkingface.media.audio import chunk_starts, mel_chunks, melspectrogram, to_float, write_audio
from talkingface.media.files import CACHE
from talkingface.media.image import resize
from talkingface.media.video import write_video
from talkingface.model.videoretalking import detectors, enhance, geometry, restoration
from talkingface.model.videoretalking.networks import Gpen
from talkingface.model.videoretalking.reference import with_head
from talkingface.model.videoretalking.retinaface import FoundFaces, RetinaFaceDetector, priors
from talkingface.model.videoretalking.tools import Given
from talkingface.quick_start import Config, build_model, load

ADAPTERS: dict = {}
RATES = {"25": 25, "22_13": 22.13, "29_97": 30000 / 1001, "60": 60}


def adapter(name):
    """Register the function as the adapter of a case."""
    return lambda function: ADAPTERS.setdefault(f"video_retalking/{name}", function)


def enlarged(small, factor=8):
    """A picture whose pixels are repeated, as the cases store them."""
    return np.asarray(small).astype(np.uint8).repeat(factor, -3).repeat(factor, -2)


def labels_of(case):
    """(512, 512): what the parser is made to answer."""
    return case.inputs()["labels"].numpy().astype(np.uint8).repeat(32, 0).repeat(32, 1)


def flipped(picture):
    """BGR of RGB, and back."""
    return np.ascontiguousarray(picture[..., ::-1])


def corners(box):
    """x1, y1, x2, y2 of y1, y2, x1, x2."""
    y1, y2, x1, x2 = (int(side) for side in box)
    return np.array([x1, y1, x2, y2])


def rows_and_columns(boxes):
    """y1, y2, x1, x2 of x1, y1, x2, y2."""
    return np.asarray(boxes)[..., [1, 3, 0, 2]]


class Answers(torch.nn.Module):
    """A network that gives a stored answer and remembers what it was asked."""

    def __init__(self, answer):
        super().__init__()
        self.answer, self.asked = answer, []

    def forward(self, *inputs):
        self.asked.append(inputs[0])
        return self.answer


@adapter("audio_mel")
def audio_mel(case):
    mel = melspectrogram(to_float(case.recorded["in_wav"]), reflect=False)
    starts = {f"starts_{name}": chunk_starts(mel.shape[1], fps) for name, fps in RATES.items()}
    return {"mel": mel, **starts, **{f"chunks_{name}": mel_chunks(mel, fps) for name, fps in RATES.items()}}


@adapter("croper")
def croper(case):
    outputs = {}
    for k, (landmarks, (height, width)) in enumerate(zip(case.recorded["in_landmarks"], case.recorded["in_sizes"], strict=True)):
        cut = geometry.head_crop(np.trunc(landmarks), (int(width), int(height)), faithful=True)
        box = rows_and_columns(cut.region)
        outputs |= {f"crop_{k}": cut.part, f"quad_{k}": cut.inner, f"box_{k}": box}
        outputs[f"region_shape_{k}"] = (box[1] - box[0], box[3] - box[2])
    return outputs


@adapter("align_img")
def align_img(case):
    picture, landmarks, standard = enlarged(case.inputs()["image32"]), case.recorded["in_landmarks"], case.recorded["in_lm3d"]
    seen, unseen = (deep3d.align(picture, points, standard) for points in (landmarks, None))
    upward = deep3d.flipped(landmarks, len(picture))
    fit = deep3d.fit(deep3d.five_of(upward), standard)
    return {
        "points5": deep3d.five_of(upward), "pos_t": fit.shift, "pos_s": fit.scale, "trans_params": seen.parameters,
        "aligned": seen.picture, "landmarks_out": seen.move(upward),
        "trans_params_noface": unseen.parameters, "aligned_noface": unseen.picture,
    }  # fmt: skip


@adapter("coeff_window")
def coeff_window(case):
    rows, source = (case.inputs()[name].numpy().copy() for name in ("semantic", "source"))
    for array in (rows, source):
        array[:, geometry.CROP.start] = 0.5 + np.abs(array[:, geometry.CROP.start])
    last, outputs = len(rows) - 1, {}
    frames = {"first": 0, "third": len(rows) // 3, "last": last}
    for name, frame in frames.items():
        window = geometry.window_frames(frame, 0, last)
        outputs |= {f"index_{name}": window, f"coeff_{name}": geometry.steering(rows[window])[None]}
    expression = case.inputs()["expression"].numpy()
    window = geometry.window_frames(frames["third"], 0, last)
    ratio = geometry.crop_scale_ratio(source[0], rows)
    return {
        **outputs,
        "coeff_third_neutral": geometry.steering(rows[window], expression)[None],
        "ratio_self": np.array([geometry.crop_scale_ratio(rows[frame], rows) for frame in frames.values()]),
        "ratio_other": np.array([ratio]),
        "coeff_other": geometry.steering(rows[geometry.window_frames(2, 0, last)], scale_ratio=ratio),
    }


@adapter("quad_crop_paste")
def quad_crop_paste(case):
    picture, full = enlarged(case.inputs()["frame32"]), enlarged(case.inputs()["orig"])
    landmarks, region, side = case.recorded["in_landmarks"], corners(case.recorded["in_box"]), 256
    square = quad.face_square(landmarks)
    crop, coefficients = quad.cut_quad(picture, square.quad, side), quad.perspective_map(square.quad, side)
    x1, y1, x2, y2 = region
    base = resize(full[y1:y2, x1:x2], (side, side))
    return {
        "center": square.center, "x": square.x, "y": square.y, "quad": square.quad, "crop": crop, "coefficients": coefficients,
        "base": base, "pasted": quad.paste_quad(base, crop, coefficients), "full": with_head(full, region, picture, landmarks),
    }  # fmt: skip


@adapter("s3fd_post")
def s3fd_post(case):
    maps = case.inputs()
    network = FaceAlignmentS3FD()
    asked = []

    def answer(pictures):
        asked.append(pictures)
        return [Level(maps[f"cls{k}"], maps[f"reg{k}"]) for k in range(1, 7)]

    network.forward = answer
    height, width = (int(side) for side in case.recorded["in_size"])
    frames = np.full((2, height, width, 3), (10, 20, 30), np.uint8)
    found = network.detect(frames)
    return {
        "net_input_pixel": asked[0][0, :, 0, 0],
        "rect_from_bgr": np.array([best_box(faces) or (-1, -1, -1, -1) for faces in found]),
        **{f"dets_{k}": faces for k, faces in enumerate(found)},
    }


@adapter("face_boxes")
def face_boxes(case):
    outputs = {}
    for k in (0, 1):
        rects, pads = case.recorded[f"in_rects_{k}"].astype(np.float64), tuple(case.recorded["in_pads"])
        boxes = geometry.padded_boxes(rects, pads, (320, 240))
        outputs[f"nosmooth_{k}"] = rows_and_columns(boxes)
        outputs[f"smooth_{k}"] = rows_and_columns(geometry.smoothed_forward(boxes))
    return outputs


@adapter("laplacian_blend")
def laplacian(case):
    inputs = case.inputs()
    mask = inputs["m"].numpy().repeat(32, 0).repeat(32, 1)
    blended = {n: laplacian_blend(enlarged(inputs["a"], 16), enlarged(inputs["b"], 16), mask, n) for n in (10, 6, 2)}
    outputs = {f"levels{n}": picture for n, picture in blended.items()}
    return outputs | {f"dtype_is_float_{n}": picture.dtype.kind == "f" for n, picture in blended.items()}


@adapter("gpen_align")
def gpen_align(case):
    picture, points = enlarged(case.inputs()["image"]), case.recorded["in_points"].T
    cut = enhance.upright_face(picture, points, np.zeros(4))
    scale = np.hypot(*cut.matrix[:, 0])
    return {
        "reference": enhance.GPEN_POINTS, "matrix": cut.matrix, "scale": scale, "inverse": inverse(cut.matrix), "face": cut.face
    }  # fmt: skip


@adapter("gpen_process")
def gpen_process(case):
    picture, original = (flipped(enlarged(case.inputs()[name])) for name in ("image", "original"))
    labels = labels_of(case)
    points = case.recorded["in_landms"].reshape(-1, 2, 5).transpose(0, 2, 1)
    found = FoundFaces(case.recorded["in_dets"], points)
    parser = Answers(torch.nn.functional.one_hot(torch.from_numpy(labels).long(), 19).permute(2, 0, 1)[None].float())
    parse = partial(restoration.parse_faces, parser)
    (plain,) = enhance.enhance([picture], [found], lambda faces: [255 - face for face in faces], parse, onto=[original])
    mask = restoration.part_mask(labels, restoration.FACE)
    return {
        "plain": flipped(plain),
        "poisson_box": flipped(enhance.blend_faces(picture, original, found, parse, corners(case.recorded["in_box"]))),
        "poisson": flipped(enhance.blend_faces(picture, original, found, parse)),
        "face": flipped(enhance.upright_face(picture, *enhance.good(found)[0]).face),
        "parser_input": parser.asked[0],
        "mask": mask,
        "feather": restoration.feathered(mask.astype(np.float32) / 255),
    }


@adapter("retinaface_post")
def retinaface_post(case):
    inputs = case.inputs()
    height, width = (int(side) for side in case.recorded["in_size"])
    network = Answers(
        (inputs["loc"][None], torch.stack((1 - inputs["score"], inputs["score"]), dim=-1)[None], inputs["landms"][None])
    )
    found = RetinaFaceDetector(network).detect(np.full((height, width, 3), (30, 20, 10), np.uint8))
    return {
        "net_input_shape": network.asked[0].shape, "net_input_pixel": network.asked[0][0, :, 0, 0],
        "priors": priors(height, width), "dets": found.boxes, "landms": found.points.transpose(0, 2, 1).reshape(-1, 10),
    }  # fmt: skip


@adapter("gfpgan_paste")
def gfpgan_paste(case):
    picture, rows = flipped(enlarged(case.inputs()["image"])), case.recorded["in_dets"]
    points = enhance.central_face(FoundFaces(rows[:, :5], rows[:, 5:].reshape(-1, 5, 2)), picture.shape[1::-1])
    matrix = enhance.gfpgan_map(points)
    cropped = enhance.gfpgan_face(picture, matrix)
    return {
        "n": 1, "landmarks": points, "affine": matrix, "inverse": cv2.invertAffineTransform(matrix), "cropped": flipped(cropped),
        "result": flipped(enhance.paste_restored(picture, 255 - cropped, matrix)),
    }  # fmt: skip


@adapter("fan_post")
def fan_post(case):
    view = detectors.fan_view(enlarged(case.inputs()["image"]), case.recorded["in_det"])
    heat = case.inputs()["heatmap"].numpy()
    points = detectors.peaks(heat)[0]
    return {
        "center": view.center, "scale": view.scale, "crop": view.picture, "points": points,
        "landmarks": detectors.to_picture(points, view), "flipped": detectors.mirrored(heat),
    }  # fmt: skip


@adapter("mouth_blend")
def mouth_blend(case):
    restored, composite = (flipped(enlarged(case.inputs()[name])) for name in ("restored", "composite"))
    box, labels = corners(case.recorded["in_box"]), labels_of(case)

    def parse(faces):
        return labels[None]

    share = enhance.mouth_share(restored, box, parse)
    return {
        "tmp_mask": restoration.part_mask(labels, restoration.LIPS), "mouth_mask": share,
        "mask512": resize(share.astype(np.float32), (512, 512)),
        "result": flipped(enhance.blend_mouth(restored, composite, box, parse)),
    }  # fmt: skip


# --- the whole program ----------------------------------------------------------------------------------------------------


class StoredDetectors:
    """The detectors' answers of a case, each asked for in the order of the frames."""

    def __init__(self, recorded):
        self.recorded = recorded
        self.asked = dict.fromkeys(("in_lm_frames", "in_rects", "step5", "step6", "gfpgan"), 0)
        self.rest = {
            "in_lm_frames": [*recorded["in_lm_frames"], *recorded["in_lm_enhanced"]],
            "in_rects": [*recorded["in_rects"]],
        }

    def next(self, name):
        self.asked[name] += 1
        return self.asked[name] - 1

    def first_landmarks(self, frame):
        return self.recorded["in_lm_first"]

    def landmarks(self, faces):
        return np.stack([self.rest["in_lm_frames"][self.next("in_lm_frames")] for _ in faces])

    def boxes(self, frames):
        return np.stack([self.rest["in_rects"][self.next("in_rects")] for _ in frames])

    def faces(self, picture):
        step = "step5" if len(picture) == 256 else "step6"
        index = self.next(step)
        box, points = (self.recorded[f"in_{kind}_{step}"][index : index + 1] for kind in ("det", "landms"))
        return FoundFaces(box, points.reshape(1, 2, 5).transpose(0, 2, 1))

    def faces_to_restore(self, picture):
        row = self.recorded["in_det_gfpgan"][self.next("gfpgan")][None]
        return FoundFaces(row[:, :5], row[:, 5:].reshape(1, 5, 2))


def write_files(case, folder):
    """The made-up official files, in the containers of the real ones."""
    folder.mkdir(parents=True)
    parts: dict = {}
    for name, tensor in case.weights().items():
        part, _, own = name.partition(".")
        parts.setdefault(part, {})[own] = tensor
    foreign = {f"low_res.{name}": torch.zeros(2) for name in list(parts["LNet"])[:3]}
    kernels = {name: tensor for name, tensor in Gpen().state_dict().items() if name.endswith("kernel")} if "GPEN" in parts else {}
    contents = {
        "DNet": ("DNet.pt", lambda state: {"net_G": {"other": torch.zeros(2)}, "net_G_ema": state, "current_epoch": 3}),
        "LNet": ("LNet.pth", lambda state: {"state_dict": {f"module.{name}": value for name, value in state.items()}}),
        "ENet": ("ENet.pth", lambda state: {"state_dict": {f"module.{n}": value for n, value in {**state, **foreign}.items()}}),
        "face3d": ("face3d_pretrain_epoch_20.pth", lambda state: {"net_recon": state, "opt_00": {"state": {}}}),
        "GPEN": ("GPEN-BFR-512.pth", lambda state: {**kernels, **state}),
        "GFPGAN": ("GFPGANv1.3.pth", lambda state: {"params_ema": state}),
        "ParseNet": ("ParseNet-latest.pth", dict),
        "GANimation": ("30_net_gen.pth", dict),
    }
    for part, state in parts.items():
        file, wrap = contents[part]
        torch.save(wrap(state), folder / file)
    center = case.inputs()["expression"].numpy()
    savemat(folder / "expression.mat", {"expression_center": center, "expression_mouth": 0.5 * center + 0.25})


def as_flags(options):
    """The authors' options as flags of ours: (key, text)."""
    flags: list = []
    for word in options:
        if word.startswith("--"):
            flags.append([word[2:], ""])
        else:
            flags[-1][1] += f",{word}" if flags[-1][1] else word
    return [(key, text or "true") for key, text in flags]


def program(case, replaced):
    """The whole program on a case: its intermediate results, as recorded, and the frames.

    Args:
        replaced: networks that the case replaces: GPEN and GFPGAN give back what they are given, the parser its labels.
    """
    with tempfile.TemporaryDirectory() as name:
        folder, before = Path(name), os.environ.get(CACHE)
        os.environ[CACHE] = str(folder / "cache")
        try:
            return run_program(case, folder, replaced)
        finally:
            if before is None:
                del os.environ[CACHE]
            else:
                os.environ[CACHE] = before


def run_program(case, folder, replaced):
    write_files(case, folder / "checkpoints" / "VideoReTalking")
    clip = Clip("clip", folder / "clip.mkv", folder / "speech.wav")
    frames = enlarged(case.inputs()["frames"])[..., ::-1]
    write_video(clip.face, frames, 25, lossless=True)
    write_audio(clip.audio, case.recorded["in_wav"])
    flags = [
        ("VideoReTalking.faithful", "true"),
        ("checkpoints_dir", str(folder / "checkpoints")),
        *as_flags(case.spec["options"]),
    ]
    model = build_model(Config.load("VideoReTalking", flags=flags)).eval()
    model.given = Given(StoredDetectors(case.recorded))
    if replaced:
        labels = labels_of(case)
        model.given = Given(model.given.detectors, list, list, lambda faces: np.stack([labels] * len(faces)))
    load(model, folder / "checkpoints" / "VideoReTalking")
    seen: dict = {"net_input": [], "mel": [], "low_res": [], "prediction": []}
    model.lnet.register_forward_pre_hook(lambda _, inputs: seen["mel"].append(inputs[0]))
    model.lnet.register_forward_hook(lambda _, inputs, output: seen["low_res"].append(output))
    model.enet.register_forward_hook(lambda _, inputs, output: seen["prediction"].append(output))
    with watched_inputs(seen["net_input"]):
        job = model.retalking(clip)
        images = [frame.image for frame in job.frames()]
    return {
        "coeffs": job.coefficients,
        "stabilised": np.stack([flipped(picture) for picture in job.heads().pictures()]),
        "enhanced": np.stack([flipped(picture) for picture in job.references().pictures()]),
        **{name: torch.cat(tensors) for name, tensors in seen.items()},
        "frames_out": np.stack(images)[..., ::-1],
        "writer_size": np.array(images[0].shape[1::-1]),
        "batches": np.array([len(tensor) for tensor in seen["mel"]]),
    }


class watched_inputs:
    """While it is open, notes the six channels that the networks are given."""

    def __init__(self, seen):
        self.seen = seen

    def __enter__(self):
        from talkingface.model.videoretalking import speak

        self.module, self.paint = speak, speak.paint

        def paint(lnet, enet, mel, faces, reference, noise):
            self.seen.append(faces)
            return self.paint(lnet, enet, mel, faces, reference, noise)

        speak.paint = paint

    def __exit__(self, *_):
        self.module.paint = self.paint


@adapter("e2e_core")
def e2e_core(case):
    return program(case, replaced=True)


@adapter("e2e_upface")
def e2e_upface(case):
    return program(case, replaced=True)


@adapter("e2e_full")
def e2e_full(case):
    return program(case, replaced=False)
