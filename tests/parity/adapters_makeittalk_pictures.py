"""Golden cases of makeittalk's pictures: the image translation, portraits, cartoons and the files of characters."""

import tempfile
from pathlib import Path

import numpy as np
import torch

from talkingface.media.image import write_image
from talkingface.model.makeittalk import MakeItTalk, puppet
from talkingface.model.makeittalk.cartoon import moving_points
from talkingface.model.makeittalk.draw import draw_landmarks
from talkingface.model.makeittalk.frames import portrait_frames
from talkingface.model.makeittalk.networks.translation import ResUnetGenerator
from talkingface.model.makeittalk.portrait import cut_portrait, on_channels
from talkingface.model.makeittalk.warp import TriangleWarp
from talkingface.nn.weights import load_weights

ADAPTERS: dict = {}


def adapter(name):
    """Register the function as the adapter of a case."""
    return lambda function: ADAPTERS.setdefault(name, function)


@torch.inference_mode()
def translated(case, channels):
    """The made-up network of a case on its input, whole and with the portrait's part computed apart, which must agree."""
    network, x = ResUnetGenerator(channels).eval(), case.inputs()["x"]
    load_weights(network, case.weights(), case.name)
    raw = network(x)
    apart = network.with_portrait(x[:1, :3], network.portrait_part(x[:1, 3:6]), x[:1, 6:] if network.hears else None)
    torch.testing.assert_close(apart, raw[:1], rtol=1e-4, atol=1e-5)
    return {"raw": raw, "tanh": raw.tanh()}


@adapter("makeittalk/image_translation")
def image_translation(case):
    return translated(case, 6)


@adapter("makeittalk/image_translation_audio")
def image_translation_audio(case):
    return translated(case, 7)


@adapter("makeittalk/draw_landmarks")
def drawn(case):
    given = case.recorded
    return {
        "image68": draw_landmarks(given["in_landmarks"]),
        "image68_outside": draw_landmarks(given["in_outside"]),
        "image98": draw_landmarks(given["in_points98"]),
        "image74": draw_landmarks(given["in_points74"]),
    }


@adapter("makeittalk/cartoon_points")
def cartoon_points(case):
    given = case.recorded
    (scale, *shift), border = given["in_scale_shift"], given["in_bound"].reshape(-1, 2)
    layouts = {"": puppet.ALL_POINTS, "_inner": puppet.WITHOUT_OUTER_LIP}
    outputs = {}
    for name, kept in layouts.items():
        moved = moving_points(given["in_sequence"], scale, np.array(shift), kept, border)
        outputs[f"warped{name}"] = moved.reshape(len(moved), -1)
        outputs[f"reference{name}"] = puppet.reference_points(given["in_open_mouth"][:, :2], kept, border)
    return outputs


@adapter("makeittalk/cartoon_warp")
def cartoon_warp(case):
    given = case.recorded
    warp = TriangleWarp(given["in_image_rgba"], given["in_triangles"], given["in_reference"], given["in_background_rgb"])
    return {"frames_rgb": np.stack([warp.frame(points.reshape(-1, 2)) for points in given["in_warped"]])}


@adapter("makeittalk/puppet_files")
def puppet_files(case):
    """The files as `talkingface puppet` writes them, read as tables."""
    points, (height, width) = case.recorded["in_landmarks"][:, :2], case.recorded["in_size_hw"]
    tables = {}
    for inner_lip in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            picture = Path(folder) / "someone.png"
            write_image(picture, np.zeros((height, width, 3), np.uint8))
            for file in puppet.make_puppet(picture, points, inner_lip=inner_lip):
                tables[file.stem.removeprefix("someone_") + "_inner" * inner_lip] = np.loadtxt(file)
    normal = puppet.normalise(points, depth=1.0).points
    return {
        "open_norm": tables[puppet.NORMAL],
        "scale_shift": tables[puppet.SCALE_SHIFT],
        "close_mouth": tables[puppet.CLOSED],
        "close_mouth_default_param": puppet.close_mouth(normal, (0.75, 0.35, 0.6, 0.6)).round(4),
        "triangles": tables[puppet.TRIANGLES],
        "triangles_inner": tables[f"{puppet.TRIANGLES}_inner"],
        "bound": puppet.border_points(width, height, 12, puppet.REACH).reshape(1, -1),
    }


@adapter("makeittalk/e2e_frame")
def e2e_frame(case):
    """The authors' file on disk, with their optimizer and the names of a training on several devices."""
    picture, rows = case.recorded["in_image"][..., ::-1], case.recorded["in_landmarks"]
    model = MakeItTalk(output="panels", fps=62.5).eval()
    with tempfile.TemporaryDirectory() as folder:
        for name, entries in case.spec["checkpoints"].items():
            ((entry, prefix),) = entries.items()
            state = {f"module.{key.removeprefix(prefix)}": w for key, w in case.weights().items() if key.startswith(prefix)}
            if state:
                parameters = [torch.nn.Parameter(tensor) for tensor in state.values() if tensor.is_floating_point()]
                optimizer = torch.optim.Adam(parameters[:2], lr=1e-4)
                torch.save({entry: state, "opt": optimizer, "epoch": 116}, Path(folder) / name)
        assert model.load(Path(folder)) == ["translator"]
    portrait = cut_portrait(np.ascontiguousarray(picture), rows[0, :, :2])
    frames = np.stack(list(portrait_frames(portrait, rows, model.translator, model.frames)))
    drawings = on_channels([draw_landmarks(row) for row in rows])
    faces = on_channels([case.recorded["in_image"]] * len(rows))
    return {"net_input": torch.cat((drawings, faces), dim=1), "frames": frames[..., ::-1]}
