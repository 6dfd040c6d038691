"""Weights: every container is read, nothing in a file runs, and a wrong file is named as what it is."""

import argparse
import io
import json
import os
import resource
import struct
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from talkingface.errors import CheckpointError, MediaError, MissingWeightsError
from talkingface.face.s3fd import FaceAlignmentS3FD, SyncNetS3FD
from talkingface.model.wav2lip.networks import Generator
from talkingface.nn import weights
from talkingface.nn.sync_expert import SyncExpert
from talkingface.nn.weights import load_weights, read_weights, recognise, register_network, save_weights


def network(outputs=3):
    torch.manual_seed(0)
    return nn.Sequential(OrderedDict(conv=nn.Conv2d(2, outputs, 3), norm=nn.BatchNorm2d(outputs), tail=nn.Conv2d(outputs, 1, 1)))


def assert_same(ours, expected):
    assert ours.keys() == expected.keys()
    assert all(torch.equal(ours[name], expected[name]) for name in expected)


def refusal(path, **kwargs):
    with pytest.raises(CheckpointError) as caught:
        read_weights(path, **kwargs)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.fixture
def known(monkeypatch):
    """No networks known but those of the test."""
    monkeypatch.setattr(weights, "known_networks", {})


# --- containers


@pytest.mark.parametrize(("zipped", "container"), [(True, "torch"), (False, "torch-legacy")])
def test_both_formats_of_torch_save_are_read(tmp_path, zipped, container):
    state = network().state_dict()
    torch.save(state, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    read = read_weights(tmp_path / "a.pth")
    assert read.container == container
    assert_same(read.state, state)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_training_checkpoint_gives_its_network_and_plain_values(tmp_path, zipped):
    net = nn.DataParallel(network())
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.randn(2, 2, 5, 5)).sum().backward()
    optimizer.step()
    content = {
        "state_dict": net.state_dict(),
        "optimizer": optimizer.state_dict(),
        "global_step": 258_000,
        "best": np.float64(0.25),
        "history": np.arange(3.0),
        "args": argparse.Namespace(lr=1e-4, name="a"),
        "when": [1, "two", None],
    }
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    read = read_weights(tmp_path / "a.pth")
    assert_same(read.state, net.module.state_dict())
    assert read.extra == {
        "global_step": 258_000,
        "best": 0.25,
        "history": [0, 1, 2],
        "args": {"lr": 1e-4, "name": "a"},
        "when": [1, "two", None],
    }


@pytest.mark.parametrize("wrap", [torch.jit.script, lambda net: torch.jit.trace(net, torch.randn(1, 2, 5, 5), check_trace=False)])
def test_a_torchscript_archive_gives_its_tensors(tmp_path, wrap):
    net = network().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(wrap(net), tmp_path / "a.pt")
    read = read_weights(tmp_path / "a.pt")
    assert read.container == "torchscript"
    assert_same(read.state, net.state_dict())


def test_a_torchscript_archive_is_not_run(tmp_path):
    class Trap(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2))

        @torch.jit.export
        def __getstate__(self):
            return self.weight, self.training

        @torch.jit.export
        def __setstate__(self, state: tuple[torch.Tensor, bool]):
            self.weight = state[0]
            self.training = state[1]
            assert False, "ran"  # noqa: B011, PT015

        def forward(self, x):
            return x

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(Trap()), tmp_path / "a.pt")
        with pytest.raises(Exception, match="ran"):
            torch.jit.load(tmp_path / "a.pt")
    assert "holds no network" in refusal(tmp_path / "a.pt")


def test_safetensors_come_back_with_their_metadata(tmp_path):
    state, metadata = network().state_dict(), {"step": 7, "note": "ä", "sizes": {"width": 0.5}}
    save_weights(tmp_path / "new" / "a.safetensors", state, metadata)
    read = read_weights(tmp_path / "new" / "a.safetensors")
    assert read.container == "safetensors" and read.extra == metadata
    assert_same(read.state, state)


def test_weights_are_saved_whole_or_not_at_all(tmp_path):
    save_weights(tmp_path / "a.safetensors", {"x": torch.ones(2)})
    with pytest.raises(TypeError):
        save_weights(tmp_path / "a.safetensors", {"x": torch.zeros(2)}, {"bad": object()})
    assert read_weights(tmp_path / "a.safetensors").state["x"].tolist() == [1, 1]
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]
    (tmp_path / "folder").mkdir()
    with pytest.raises(MediaError):
        save_weights(tmp_path / "folder", {"x": torch.ones(2)})


def test_tensors_that_share_memory_can_be_saved(tmp_path):
    shared = torch.arange(6.0).reshape(2, 3)
    save_weights(tmp_path / "a.safetensors", {"a": shared, "b": shared, "c": shared.T})
    assert torch.equal(read_weights(tmp_path / "a.safetensors").state["c"], shared.T)


# --- names and wrappers


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "net", "anything"])
def test_wrappers_are_taken_off(tmp_path, wrapper):
    torch.save({wrapper: network().state_dict(), "epoch": 3}, tmp_path / "a.pth")
    read = read_weights(tmp_path / "a.pth")
    assert_same(read.state, network().state_dict())
    assert read.extra == {"epoch": 3}


def test_prefixes_are_removed_wherever_they_stand(tmp_path):
    torch.save({"module.a._orig_mod.module.b": torch.ones(1), "submodule.c": torch.ones(1)}, tmp_path / "a.pth")
    assert set(read_weights(tmp_path / "a.pth").state) == {"a.b", "submodule.c"}


def test_a_file_with_a_network_twice_is_refused(tmp_path):
    torch.save({"module.a": torch.ones(1), "a": torch.zeros(1)}, tmp_path / "a.pth")
    assert "two networks" in refusal(tmp_path / "a.pth")


def test_one_of_several_networks_is_taken_by_its_key(tmp_path):
    torch.save({"G": {"a": torch.ones(1)}, "F": {"b": torch.ones(2)}, "step": 1}, tmp_path / "a.pth")
    assert set(read_weights(tmp_path / "a.pth", key="F").state) == {"b"}
    assert "G, F, step" in refusal(tmp_path / "a.pth")
    assert "'H'" in refusal(tmp_path / "a.pth", key="H")


# --- what is no file of weights


def test_paths_that_are_no_file(tmp_path):
    with pytest.raises(MissingWeightsError, match="does not exist"):
        read_weights(tmp_path / "a.pth")
    assert "folder" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"\x00" * 257 + b"ustar" + b"\x00" * 250, "tar file"),
        (b"\x80\x04K\x01.", "plain pickle"),
        (b"hello, world", "not a file of weights"),
        (b"PK\x03\x04" + b"\x00" * 600, "damaged"),
        (struct.pack("<Q", 2**62) + b"{", "damaged"),
    ],
)
def test_other_files_are_named_as_what_they_are(tmp_path, content, word):
    (tmp_path / "a.pth").write_bytes(content)
    assert word in refusal(tmp_path / "a.pth")


def test_a_file_without_tensors_says_what_it_holds(tmp_path):
    torch.save({"epoch": 1, "lr": 0.1}, tmp_path / "a.pth")
    assert "epoch, lr" in refusal(tmp_path / "a.pth")
    torch.save([1, 2], tmp_path / "b.pth")
    assert "list" in refusal(tmp_path / "b.pth")


@pytest.mark.parametrize("kind", ["torch", "torch-legacy", "torchscript", "safetensors"])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.97])
def test_a_file_cut_off_anywhere_is_damaged(tmp_path, kind, part):
    path = tmp_path / "a"
    if kind == "safetensors":
        save_weights(path, network().state_dict())
    elif kind == "torchscript":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.jit.save(torch.jit.script(network()), path)
    else:
        torch.save(network().state_dict(), path, _use_new_zipfile_serialization=kind == "torch")
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
    assert "damaged" in refusal(path)


# --- hostile files


class Executes:
    """Runs a command when it is unpickled."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_runs_code_is_refused_and_not_run(tmp_path, zipped):
    content = {"state_dict": network().state_dict(), "epoch": Executes(tmp_path / "ran")}
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    message = refusal(tmp_path / "a.pth")
    assert "refused" in message and "mkdir" in message and "state_dict" in message
    assert not (tmp_path / "ran").exists()


class Settings:
    """An object of somebody's program."""


@pytest.mark.parametrize("zipped", [True, False])
def test_an_object_beside_the_weights_is_refused_by_its_name(tmp_path, zipped):
    torch.save({"net": network().state_dict(), "config": Settings()}, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    message = refusal(tmp_path / "a.pth")
    assert "refused" in message and "Settings" in message


@pytest.mark.parametrize("zipped", [True, False])
def test_a_whole_network_is_refused(tmp_path, zipped):
    torch.save(network(), tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    assert "refused" in refusal(tmp_path / "a.pth")


def rezip(source: Path, change):
    """Rewrite the parts of a zip file: change(name, content) -> content."""
    with zipfile.ZipFile(source) as archive:
        parts = [(name, change(name, archive.read(name))) for name in archive.namelist()]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in parts:
            archive.writestr(name, content)
    source.write_bytes(buffer.getvalue())


def test_code_in_a_torchscript_archive_is_refused(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(network()), tmp_path / "a.pt")
    code = b"\x80\x02cos\nmkdir\nX" + struct.pack("<I", len(str(tmp_path / "ran"))) + str(tmp_path / "ran").encode() + b"\x85R."
    rezip(tmp_path / "a.pt", lambda name, content: code if name.endswith("data.pkl") else content)
    message = refusal(tmp_path / "a.pt")
    assert "refused" in message and "os.mkdir" in message
    assert not (tmp_path / "ran").exists()


class Claim:
    """A tensor that claims a shape."""

    def __init__(self, shape):
        self.shape = shape

    def __reduce__(self):
        storage = torch.ones(4).storage()
        return torch._utils._rebuild_tensor_v2, (storage, 0, self.shape, (1,) * len(self.shape), False, OrderedDict())


@pytest.mark.parametrize("zipped", [True, False])
def test_a_tensor_larger_than_its_file_is_refused(tmp_path, zipped):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save({"a": Claim((10**12,))}, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    assert "damaged" in refusal(tmp_path / "a.pth")


def test_a_torchscript_tensor_larger_than_its_file_is_refused(tmp_path):
    net = nn.Linear(3, 5, bias=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(net), tmp_path / "a.pt")
    shape, large = b"K\x05K\x03", b"K\xffK\xff"
    rezip(tmp_path / "a.pt", lambda name, content: content.replace(shape, large) if "data.pkl" in name else content)
    assert "claims the shape" in refusal(tmp_path / "a.pt")


def test_a_torchscript_archive_whose_modules_contain_each_other_is_refused(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(nn.ReLU()), tmp_path / "a.pt")
    loop = b"\x80\x02c__torch__\nA\n)\x81q\x00}(X\x01\x00\x00\x00ah\x00X\x01\x00\x00\x00bh\x00ub."
    rezip(tmp_path / "a.pt", lambda name, content: loop if name.endswith("data.pkl") else content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "contain each other" in refusal(tmp_path / "a.pt")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def test_a_safetensors_shape_larger_than_the_file_is_refused(tmp_path):
    header = json.dumps({"a": {"dtype": "F32", "shape": [10**6, 10**6], "data_offsets": [0, 4 * 10**12]}}).encode()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(16))
    assert "damaged" in refusal(tmp_path / "a.safetensors")


def test_a_compressed_archive_is_not_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(10**6))
    assert "compressed" in refusal(tmp_path / "a.pth")


@pytest.mark.parametrize("zipped", [True, False])
def test_random_damage_never_escapes_as_another_error(tmp_path, zipped):
    path = tmp_path / "a.pth"
    torch.save({"state_dict": network().state_dict(), "step": 1}, path, _use_new_zipfile_serialization=zipped)
    whole, random = path.read_bytes(), np.random.default_rng(0)
    for _ in range(60):
        content = bytearray(whole)
        for position in random.integers(0, len(content), 8):
            content[position] = random.integers(256)
        path.write_bytes(content)
        try:
            read_weights(path)
        except CheckpointError as error:
            assert str(path) in str(error)  # noqa: PT017


# --- loading


def test_weights_go_into_their_network():
    target, state = network(), {name: torch.randn_like(value.float()) for name, value in network().state_dict().items()}
    load_weights(target, state, "a.pth")
    assert torch.equal(target.conv.weight, state["conv.weight"])


def test_counters_may_be_missing_or_too_many():
    state = {name: value for name, value in network().state_dict().items() if not name.endswith("num_batches_tracked")}
    load_weights(network(), state, "a.pth")
    load_weights(network(), {**network().state_dict(), "old.num_batches_tracked": torch.zeros(1)}, "a.pth")
    with pytest.raises(CheckpointError, match="1 missing"):
        load_weights(network(), state, "a.pth", optional=())


def test_differences_are_grouped_and_nothing_is_copied(known):
    state = {name: value + 1 for name, value in network().state_dict().items()}
    state["surplus"] = state.pop("tail.bias")
    state["conv.weight"] = torch.zeros(1, 2)
    target = network()
    with pytest.raises(CheckpointError) as caught:
        load_weights(target, state, "a.pth")
    assert str(caught.value) == (
        "a.pth does not fit Sequential: 1 missing (tail.bias); 1 unexpected (surplus); "
        "1 of another shape (conv.weight (1, 2) instead of (3, 2, 3, 3))."
    )
    assert_same(target.state_dict(), network().state_dict())


def test_long_lists_are_cut(known):
    with pytest.raises(CheckpointError, match=r"6 missing \(conv.bias, conv.weight, norm.bias, ...\)"):
        load_weights(network(), {"norm.weight": torch.ones(3), "norm.running_mean": torch.ones(3)}, "a.pth")


def test_other_sizes_are_recognized(known):
    with pytest.raises(CheckpointError, match="other sizes"):
        load_weights(network(), network(outputs=4).state_dict(), "a.pth")


def test_a_file_of_another_network_is_recognized(known):
    register_network("the generator (wav2lip.pth)", Generator)
    register_network("the expert (lipsync_expert.pth)", SyncExpert)
    with torch.device("meta"):
        expert, generator = SyncExpert(), Generator()
    assert recognise(expert.state_dict()) == "the expert (lipsync_expert.pth)"
    with pytest.raises(CheckpointError, match=r"another network: the expert \(lipsync_expert.pth\)"):
        load_weights(generator, expert.state_dict(), "wav2lip.pth")
    assert recognise(network().state_dict()) is None


def test_the_two_face_detectors_are_told_apart():
    with torch.device("meta"):
        first, second = FaceAlignmentS3FD(), SyncNetS3FD()
    with pytest.raises(CheckpointError, match="sfd_face.pth"):
        load_weights(first, second.state_dict(), "s3fd.pth")
    with pytest.raises(CheckpointError, match=r"s3fd-619a316812.pth"):
        load_weights(second, first.state_dict(), "sfd_face.pth")
