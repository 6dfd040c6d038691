"""PC-AVS's golden cases through the code that users run: networks, sound, faces, and inference from official files on disk."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from talkingface.config import Config
from talkingface.dataset.pc_avs import PCAVSDataset
from talkingface.media import lws
from talkingface.media.audio import mel_filters, to_float, write_audio
from talkingface.media.image import decode_image
from talkingface.model.pc_avs import faces, speech
from talkingface.model.pc_avs.model import PC_AVS, Identity, fitted
from talkingface.model.pc_avs.networks import Generator, IdentityEncoder, PoseMouthEncoder, SpeechEncoder, VoiceIdentityEncoder
from talkingface.nn.weights import load_weights
from talkingface.quick_start import build_model, load

ADAPTERS: dict = {}
NETWORKS = {"generator": "netG", "identity": "netV", "pose_mouth": "netE", "speech": "netA_sync"}


def adapter(name):
    """Register the function as the adapter of a case."""
    return lambda function: ADAPTERS.setdefault(f"pc_avs/{name}", function)


def network(case, kind, module):
    """A network in evaluation mode with the made-up weights of a case."""
    load_weights(module, fitted(kind, module, case.weights(), case.name), case.name)
    return module.eval()


# --- networks ---------------------------------------------------------------------------------------------------------


@adapter("netG")
@torch.inference_mode()
def generator(case):
    net, x = network(case, "generator", Generator()), case.inputs()
    image, constant = (net(x["style"], start, net.stored_noise()) for start in (x["identity"], None))
    factors = {f"style_rgb_{i}": factor for i, factor in enumerate(net.color_factors(x["style"]))}
    return {"image": image, "image_const": constant, **factors}


@adapter("netV")
@torch.inference_mode()
def identity(case):
    net, x = network(case, "identity", IdentityEncoder()), case.inputs()
    names = ("pooled", "spatial", "score")
    one, several = dict(zip(names, net(x["image"]), strict=True)), dict(zip(names, net(x["images"]), strict=True))
    return {**one, **{f"{name}_multi": value for name, value in several.items()}}


@adapter("netE")
@torch.inference_mode()
def pose_mouth(case):
    net, x = network(case, "pose_mouth", PoseMouthEncoder()), case.inputs()
    feature = net(x["image"])
    mouth, mouth_code, pose_code = net.to_mouth(feature), net.mouth_code(net.to_mouth(feature)), net.pose_code(feature)
    return {
        "feature": feature, "mouth": mouth, "headpose": net.to_headpose(feature), "mouth_code": mouth_code,
        "pose_code": pose_code, "merged": torch.cat((mouth_code, pose_code), dim=1), "score": net.classifier(feature),
        "mouth_score": net.mouth_fc(mouth), "headpose_score": net.headpose_fc(pose_code),
    }  # fmt: skip


@adapter("netA_sync")
@torch.inference_mode()
def content(case):
    net, x = network(case, "speech", SpeechEncoder()), case.inputs()
    feature = net(x["spectrogram"])
    return {"feature": feature, "score": net.fc(feature), "feature_clips": net(x["clips"]), "feature_longer": net(x["longer"])}


@adapter("netA")
@torch.inference_mode()
def voice(case):
    net, x = network(case, "voice", VoiceIdentityEncoder()), case.inputs()
    feature = net(x["spectrogram_id"])
    return {"feature": feature, "score": net.fc(feature)}


# --- sound and pictures -----------------------------------------------------------------------------------------------


@adapter("lws_stft")
def lws_stft(case):
    spectrum = lws.stft(case.recorded["in_wav"] / 32768)
    return {"real": spectrum.real, "imag": spectrum.imag, "window": lws.window()}


@adapter("audio_mel")
def audio_mel(case):
    wav = to_float(case.recorded["in_wav"])
    loud, quiet = (speech.spectrogram(sound) for sound in (wav, wav * np.float32(1e-5)))
    return {
        "wav_norm": speech.normalized(wav), "mel": loud, "quiet_mel": quiet,
        "mel_basis": mel_filters(lws.WINDOW, 125.0, 7600.0),
    }  # fmt: skip


@adapter("test_items")
def test_items(case):
    rows = case.inputs()["spectrogram"].numpy()
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "speech.npy", rows)
        heard = speech.Speech("speech.wav", Path(folder) / "speech.npy")
        frames = speech.published_frames(heard.rows)
        windows = np.stack(list(heard.windows(int(frames[0]), len(frames))))[:, None]
    poses = {name: speech.pose_index(np.arange(len(out)), int(name[5:])) for name, out in case.outputs.items() if "pose_" in name}
    items = case.outputs["window_items"]
    return {
        "frame_inds": frames, "audio_inds": speech.first_row(frames), "window_items": items, "windows": windows[items], **poses
    }  # fmt: skip


@adapter("image_input")
def image_input(case):
    image = case.recorded["in_image"][..., ::-1]
    shown = [faces.to_unit(faces.view(picture)[None])[0] for picture in (image[16:240, 16:240], image)]
    return dict(zip(("tensor", "tensor_256"), shown, strict=True))


@adapter("image_output")
def image_output(case):
    return {"picture": faces.to_pictures(case.inputs()["image"][None])[0]}


@adapter("align_68")
def align_68(case):
    picture, points = decode_image(case.recorded["in_jpeg"].tobytes()), faces.three_points(case.recorded["in_landmarks"])
    maps = faces.frame_maps(points)
    crops = np.stack([faces.cut(picture, matrix)[..., ::-1] for matrix in maps])
    return {"points": points, "matrix": faces.mean_map(points), "matrices": maps, "crops": crops}


# --- inference --------------------------------------------------------------------------------------------------------


@adapter("inference")
@torch.inference_mode()
def inference(case):
    model, x = PC_AVS().eval(), case.inputs()
    weights = own_weights(case)
    for attribute, prefix in NETWORKS.items():
        module = getattr(model, attribute)
        load_weights(module, fitted(attribute, module, weights[prefix], case.name), case.name)
    pooled, spatial = model.identity.encode(x["input"])
    mouth = model.mouth_feature_weight * model.speech(x["spectrograms"])
    codes = model.content(x["spectrograms"])
    poses = [model.pose_mouth.pose_code(model.pose_mouth(pictures)) for pictures in (x["driving_pose_frames"], x["input"][:, 0])]
    driven, ref = (model.render(Identity(pooled, spatial), codes, pose, ()) for pose in poses)
    return {
        "fake_driven_pose": driven, "fake_ref_pose": ref, "mouth": mouth,
        "driven_code": torch.cat((codes, poses[0]), dim=1), "ref_code": torch.cat((codes, poses[1]), dim=1),
    }  # fmt: skip


def own_weights(case):
    """Network -> its entries, of a case of several networks."""
    own = {prefix: {} for prefix in NETWORKS.values()}
    for name, tensor in case.weights().items():
        prefix, _, rest = name.partition(".")
        own[prefix][rest] = tensor
    return own


@adapter("e2e_demo")
def e2e_demo(case):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        csv = write_demo(case, root)
        clip = PCAVSDataset(meta_path_vox=csv).clips("test")[0]
        driven, ref_pose = generated(clip, root)
        rows = np.concatenate(list(speech.Speech(clip.audio).blocks()))
    pictures = faces.to_pictures(driven)
    indices = speech.pose_index(speech.published_frames(len(rows)), case.spec["options"]["pose_count"])
    return {
        "mel": rows, "pose_index": indices, "driven": driven, "ref_pose": ref_pose, "saved_picture": pictures,
        "saved_jpg": np.stack([as_jpeg(picture) for picture in pictures]),
    }  # fmt: skip


def write_demo(case, root):
    """The authors' files of a case, in a folder as theirs. Returns the list of jobs."""
    folder = root / "checkpoints" / "PC_AVS" / "demo"
    folder.mkdir(parents=True)
    for prefix, state in own_weights(case).items():
        torch.save(state, folder / f"latest_{prefix.replace('net', 'net_')}.pth")
    torch.save({"unrelated": torch.zeros(3)}, folder / "latest_net_X.pth")
    for name, data in case.recorded.items():
        if name.startswith("in_jpg_"):
            kind, _, number = name.removeprefix("in_jpg_").partition("_")
            place = root / ("Input/person" if kind == "identity" else "Pose_Source/pose") / f"{int(number or 0):06d}.jpg"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data.tobytes())
    write_audio(root / "speech.wav", case.recorded["in_wav"])
    line = f"Input/person 1 Pose_Source/pose {case.spec['options']['pose_count']} speech.wav None 0 dummy\n"
    (root / "demo.csv").write_text(line)
    return root / "demo.csv"


def generated(clip, root):
    """Frames (n, 3, 224, 224) with the official files below `root`, as the command makes them; then without the pose video."""
    settings = {"PC_AVS": {"borders": "cut", "noise": "none"}, "checkpoints_dir": str(root / "checkpoints")}
    model = build_model(Config.load("PC_AVS", overrides=settings)).eval()
    load(model, root / "checkpoints" / "PC_AVS")
    for model.driving_pose in (True, False):
        with torch.inference_mode():
            frames = torch.cat(list(model.batches(clip))).cpu()
        yield frames


def as_jpeg(picture):
    """A picture written and read back as the authors do: quality 75."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "jpeg")
    return decode_image(file.getvalue())
