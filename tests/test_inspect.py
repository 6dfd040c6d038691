"""Passports: every file is named as what it is, with what is missing in it, and nothing of it runs."""

import io
import json
import pickle
import struct
import tarfile
import warnings
from collections import OrderedDict

import pytest
import torch
from torch import nn

from talkingface.cli import main
from talkingface.errors import CheckpointError, MissingWeightsError
from talkingface.model.davs import networks as davs
from talkingface.model.wav2lip import Wav2Lip
from talkingface.model.wav2lip.networks import Generator, QualityDiscriminator
from talkingface.nn.sync_expert import SyncExpert
from talkingface.nn.weights import read_weights
from talkingface.passport import passport


@pytest.fixture(scope="module")
def expert():
    torch.manual_seed(0)
    return SyncExpert().state_dict()


def official(state, prefix="module."):
    names = {f"{prefix}{name}": tensor for name, tensor in state.items()}
    return {"state_dict": names, "optimizer": None, "global_step": 7, "global_epoch": 2}


# --- what a file holds ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
@pytest.mark.parametrize(("zipped", "container"), [(True, "torch"), (False, "torch-legacy")])
def test_an_official_file_is_named_whatever_its_container_and_prefix(tmp_path, expert, prefix, zipped, container):
    torch.save(official(expert, prefix), tmp_path / "x.bin", _use_new_zipfile_serialization=zipped)
    found = passport(tmp_path / "x.bin").to_json()
    assert (found["model"], found["network"], found["parameters"]) == ("Wav2Lip", "expert", 16_435_072)
    assert found["missing"] == found["unexpected"] == found["reshaped"] == []
    assert found["container"] == container and found["problem"] == ""
    assert found["beside"] == {"global_step": 7, "global_epoch": 2}
    assert "research" in found["licence"] and "Rudrabha" in found["source"] and "Lip Sync Expert" in found["citation"]
    assert len(found["sha256"]) == 64 and found["agrees"] is None


def test_it_says_what_a_network_is_good_for(tmp_path, expert):
    torch.save(official(expert), tmp_path / "x.pth")
    use = passport(tmp_path / "x.pth").use
    assert "makes no videos: Wav2Lip needs the generator (wav2lip_gan.pth)" in use and "generator, gan start from it" in use
    with torch.device("meta"):
        names = list(Generator().state_dict())
    torch.save(official(Generator().state_dict()), tmp_path / "y.pth")
    found = passport(tmp_path / "y.pth")
    assert "makes videos" in found.use and "needs the expert (lipsync_expert.pth)" in found.use
    assert found.networks[0].tensors == len(names)


def test_what_is_missing_or_too_much_is_listed_and_grouped(tmp_path, expert):
    state = {name: tensor for name, tensor in expert.items() if not name.startswith("face_encoder.0.")}
    state |= {"extra.weight": torch.ones(2), "audio_encoder.0.conv_block.0.weight": torch.ones(1)}
    torch.save(official(state), tmp_path / "x.pth")
    found = passport(tmp_path / "x.pth")
    whole = found.to_json()
    assert whole["network"] == "expert" and whole["unexpected"] == ["extra.weight"]
    assert len(whole["missing"]) == 6 and all(name.startswith("face_encoder.0.") for name in whole["missing"])
    assert whole["reshaped"] == ["audio_encoder.0.conv_block.0.weight (1,) instead of (32, 1, 3, 3)"]
    assert "missing     6 (face_encoder: 6)" in found.text() and "unexpected  1 (extra.weight)" in found.text()


def test_a_file_of_several_networks_lists_them_all(tmp_path):
    parts = {"ID_encoder": davs.IdentityEncoder(), "mfcc_encoder": davs.SpeechEncoder()}
    content = {name: {f"module.{key}": value for key, value in part.state_dict().items()} for name, part in parts.items()}
    torch.save({**content, "optimizer_G": {"state": {}, "param_groups": []}, "epoch": 101}, tmp_path / "x.pth.tar")
    found = passport(tmp_path / "x.pth.tar")
    whole = found.to_json()
    assert whole["model"] == "DAVS" and whole["network"] == "identity, speech"
    assert [held.entry for held in found.networks] == ["ID_encoder", "mfcc_encoder"] and found.optimizers == ["optimizer_G"]
    assert whole["parameters"] == sum(p.numel() for part in parts.values() for p in part.parameters())


def test_further_networks_are_known_by_a_word(tmp_path):
    torch.save(QualityDiscriminator().state_dict(), tmp_path / "x.pth")
    whole = passport(tmp_path / "x.pth").to_json()
    assert (whole["model"], whole["network"], whole["parameters"]) == ("Wav2Lip", "discriminator", 14_113_793)


def test_weights_that_were_trained_here_say_so_with_their_sizes(tmp_path):
    Wav2Lip(width=0.1, image_size=48).save(tmp_path)
    found = passport(tmp_path / "generator.safetensors")
    whole = found.to_json()
    assert (whole["model"], whole["network"], whole["container"]) == ("Wav2Lip", "generator", "safetensors")
    assert whole["missing"] == whole["unexpected"] == whole["reshaped"] == [] and whole["licence"] == ""
    assert found.networks[0].label == "trained here (width 0.1, image_size 48)"
    assert whole["parameters"] == sum(p.numel() for p in Wav2Lip(width=0.1, image_size=48).generator.parameters())


def test_another_size_of_a_known_network_is_seen(tmp_path):
    torch.save(SyncExpert(width=0.1).state_dict(), tmp_path / "x.pth")
    whole = passport(tmp_path / "x.pth").to_json()
    assert whole["network"] == "expert" and "of other sizes" in whole["networks"][0]["label"] and whole["reshaped"]


def test_a_checkpoint_of_a_training_shows_its_networks_and_its_step(tmp_path):
    from talkingface.trainer.checkpoint import Checkpoint, write_checkpoint

    tensors = {f"weights/expert.{name}": value for name, value in SyncExpert().state_dict().items()}
    tensors["optimizer/0.exp_avg"] = torch.ones(3)
    write_checkpoint(tmp_path / "last.safetensors", Checkpoint(tensors, {"step": 120, "epoch": 3}))
    found = passport(tmp_path / "last.safetensors")
    assert found.to_json()["network"] == "expert" and found.beside == {"step": 120, "epoch": 3}
    assert found.optimizers == ["optimizer (optimizer)"]


def test_an_unknown_network_is_counted(tmp_path):
    torch.save(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).state_dict(), tmp_path / "x.pth")
    whole = passport(tmp_path / "x.pth").to_json()
    assert whole["model"] is None and whole["network"] is None and whole["parameters"] == 3 * 4 * 9 + 4 + 8
    assert whole["missing"] == [] and whole["problem"] == ""


def test_a_published_hash_is_compared(tmp_path):
    torch.save({"a": torch.ones(1)}, tmp_path / "s3fd.pth")
    assert passport(tmp_path / "s3fd.pth").agrees is False
    assert passport(tmp_path / "s3fd.pth", digest=False).agrees is None


# --- the tar files of torch 0.1 ---------------------------------------------------------------------------------------


class Id:
    """Stands for a tensor in the pickle of a tar file."""

    def __init__(self, key):
        self.key = key


class Pickler(pickle.Pickler):
    def persistent_id(self, value):
        return str(value.key) if isinstance(value, Id) else None


def save_tar(path, state, beside):
    """As torch 0.1 did: the numbers, the tensors that are views of them, and a pickle in which ids stand for tensors."""
    storages, tensors, ids = io.BytesIO(), io.BytesIO(), OrderedDict()
    storages.write(pickle.dumps(len(state), 2))
    tensors.write(pickle.dumps(len(state), 2))
    for number, (name, tensor) in enumerate(state.items()):
        key = 10_000 + number
        storages.write(pickle.dumps((number, "cuda:0", torch.FloatStorage), 2))
        storages.write(struct.pack("<q", tensor.numel()) + tensor.contiguous().numpy().tobytes())
        tensors.write(pickle.dumps((key, number, torch.FloatTensor), 2))
        tensors.write(struct.pack("<ii", tensor.dim(), 0))
        tensors.write(struct.pack(f"<{2 * tensor.dim() + 1}q", *tensor.shape, *tensor.contiguous().stride(), 0))
        ids[name] = Id(key)
    storages.write(pickle.dumps([], 2))
    content = io.BytesIO()
    Pickler(content, 2).dump({"state_dict": ids, **beside})
    parts = {"sys_info": pickle.dumps({"protocol_version": 1000}, 2), "pickle": content.getvalue()}
    with tarfile.open(path, "w") as archive:
        for name, part in {**parts, "tensors": tensors.getvalue(), "storages": storages.getvalue()}.items():
            info = tarfile.TarInfo(name)
            info.size = len(part)
            archive.addfile(info, io.BytesIO(part))


def test_a_tar_file_of_torch_01_is_read_without_running_it(tmp_path, expert):
    state = {f"module.{name}": value for name, value in expert.items() if not name.endswith("num_batches_tracked")}
    save_tar(tmp_path / "x.pth", state, {"epoch": 5})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = torch.load(tmp_path / "x.pth", weights_only=False, map_location="cpu")  # allowed: our own file
    assert all(torch.equal(theirs["state_dict"][name], value) for name, value in state.items())
    read = read_weights(tmp_path / "x.pth")
    assert read.container == "torch-tar" and read.extra == {"epoch": 5}
    assert all(torch.equal(read.state[name.removeprefix("module.")], value) for name, value in state.items())
    found = passport(tmp_path / "x.pth").to_json()
    assert (found["network"], found["container"]) == ("expert", "torch-tar")
    assert all(name.endswith("num_batches_tracked") for name in found["missing"])


@pytest.mark.parametrize("part", [0.1, 0.5, 0.99])
def test_a_tar_file_that_was_cut_off_is_damaged(tmp_path, part):
    save_tar(tmp_path / "x.pth", {"a": torch.ones(5000)}, {})
    content = (tmp_path / "x.pth").read_bytes()
    (tmp_path / "x.pth").write_bytes(content[: int(part * 21_000)])
    with pytest.raises(CheckpointError, match=r"damaged|refused"):
        read_weights(tmp_path / "x.pth")


# --- what cannot be used ----------------------------------------------------------------------------------------------


def write_onnx(path):
    path.write_bytes(b"\x08\x07\x12\x07pytorch\x1a\x051.9.0" + bytes(100))


def write_whole_network(path):
    torch.save(nn.Sequential(nn.Linear(2, 2)), path)


def write_optimizer(path):
    torch.save(torch.optim.Adam([nn.Parameter(torch.ones(1))]).state_dict(), path)


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (write_onnx, "is an ONNX model"),
        (write_whole_network, "torch.save(network.state_dict(), ...)"),
        (write_optimizer, "an optimizer's state, and no network"),
        (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n"), "HDF5"),
        (lambda path: path.write_bytes(b"<html>"), "web page"),
        (lambda path: torch.save([1, 2], path), "holds a list"),
    ],
)
def test_what_cannot_be_used_has_a_passport_that_says_so(tmp_path, capsys, write, words):
    write(tmp_path / "x.pth")
    assert main(["inspect", str(tmp_path / "x.pth"), "--json", "--quiet"]) == 4
    found = json.loads(capsys.readouterr().out)
    assert words in found["problem"] and found["model"] is None and found["parameters"] == 0
    assert found["missing"] == found["unexpected"] == []


def test_paths_that_are_no_file(tmp_path):
    with pytest.raises(MissingWeightsError, match="does not exist"):
        passport(tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="is a folder"):
        passport(tmp_path)


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_prints_the_passport(tmp_path, expert, capsys):
    torch.save(official(expert), tmp_path / "x.pth")
    assert main(["inspect", str(tmp_path / "x.pth"), "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "Wav2Lip expert: the lip-sync expert of Wav2Lip" in out and "16,435,072 values" in out and "licence" in out
    assert main(["inspect", str(tmp_path / "x.pth"), "--json", "--quiet"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"model", "network", "parameters", "missing", "unexpected", "sha256", "container", "written_by"} <= found.keys()
    assert found["written_by"].startswith("torch 2.1")
    assert main(["inspect"]) == 2 and main(["inspect", str(tmp_path / "no.pth")]) == 4
