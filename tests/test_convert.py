"""Containers: what is converted and back again is what it was, and our networks run in their authors' programs."""

import pytest
import torch

from talkingface.cli import main
from talkingface.convert import convert
from talkingface.errors import CheckpointError, ConfigError
from talkingface.model.davs import DAVS
from talkingface.model.syncnet.networks import SyncNet
from talkingface.model.wav2lip import Wav2Lip
from talkingface.model.wav2lip.networks import Generator
from talkingface.nn.sync_expert import SyncExpert
from talkingface.nn.weights import read_content, read_weights
from talkingface.passport import passport


def same(ours, theirs):
    """Whether two contents of files are equal, to the last bit and name."""
    if isinstance(theirs, torch.Tensor):
        return isinstance(ours, torch.Tensor) and ours.dtype == theirs.dtype and torch.equal(ours, theirs)
    if isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(same(ours[key], value) for key, value in theirs.items())
    return type(ours) is type(theirs) and ours == theirs


def prefixed(state, prefix="module."):
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


@pytest.fixture(scope="module")
def expert():
    torch.manual_seed(0)
    return SyncExpert().state_dict()


@pytest.fixture(scope="module")
def small():
    """The expert of a small model."""
    torch.manual_seed(0)
    return Wav2Lip(width=0.1, image_size=48).expert.state_dict()


# --- there and back ---------------------------------------------------------------------------------------------------


LAYOUTS = {
    "wav2lip": lambda state: {"state_dict": prefixed(state), "global_step": 258_000, "global_epoch": 88, "note": "x", "lr": 1e-4},
    "bare": lambda state: state,
    "compiled": lambda state: {"model": prefixed(state, "_orig_mod.module."), "epoch": 3},
    "deep": lambda state: {"net": {"params": state}, "history": [1, 0.5], "args": {"lr": 0.1}},
}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_file_comes_back_as_it_was(tmp_path, small, layout, zipped):
    content = LAYOUTS[layout](small)
    torch.save(content, tmp_path / "first.pth", _use_new_zipfile_serialization=zipped)
    (made,) = convert(tmp_path / "first.pth", tmp_path / "a")
    assert made.name == "expert.safetensors" and read_weights(made).container == "safetensors"
    (back,) = convert(made, tmp_path / "b", to="original")
    assert back.name == "first.pth" and same(read_content(back)[1], content)


def test_an_optimizer_is_left_out_and_its_entry_stays(tmp_path, expert):
    network = torch.nn.Linear(2, 2)
    torch.optim.Adam(network.parameters())
    content = {"state_dict": expert, "optimizer": torch.optim.Adam(network.parameters()).state_dict(), "global_step": 1}
    torch.save(content, tmp_path / "x.pth")
    (made,) = convert(tmp_path / "x.pth", tmp_path / "a")
    (back,) = convert(made, tmp_path / "b", to="original")
    assert same(read_content(back)[1], {**content, "optimizer": None})


def test_odd_tensors_come_back_too(tmp_path):
    content = {
        "whole": torch.arange(5),
        "half": torch.ones(2, dtype=torch.bfloat16),
        "scalar": torch.tensor(3.5),
        "turned": torch.arange(6.0).reshape(2, 3).T,
        "empty": torch.empty(0, 3),
        "truth": torch.tensor([True, False]),
        "double": torch.tensor([1e-300], dtype=torch.float64),
        "special": torch.tensor([float("inf"), -0.0]),
    }
    torch.save(content, tmp_path / "odd.pth")
    (made,) = convert(tmp_path / "odd.pth", tmp_path / "a")
    (back,) = convert(made, tmp_path / "b", to="original")
    assert same(read_content(back)[1], content)


def test_what_was_converted_loads_into_its_model(tmp_path, expert):
    torch.save(LAYOUTS["wav2lip"](expert), tmp_path / "lipsync_expert.pth")
    convert(tmp_path / "lipsync_expert.pth", tmp_path / "weights")
    model = Wav2Lip()
    assert model.load(tmp_path / "weights") == ["expert"]
    assert same(dict(model.expert.state_dict()), dict(expert))


def test_a_file_of_several_networks_comes_apart_and_together_again(tmp_path):
    model = DAVS(width=0.1, image_size=64, id_label_size=3, label_size=4)
    parts = {
        "ID_encoder": model.identity,
        "lip_feature_encoder": model.lips,
        "mfcc_encoder": model.speech,
        "Decoder": model.decoder,
    }
    content = {entry: prefixed(network.state_dict()) for entry, network in parts.items()} | {"epoch": 101, "step": 5}
    torch.save(content, tmp_path / "101_DAVS_checkpoint.pth.tar")
    made = convert(tmp_path / "101_DAVS_checkpoint.pth.tar", tmp_path / "a")
    assert len(made) == 4
    (back,) = convert(tmp_path / "a", tmp_path / "b", to="original")
    assert back.name == "101_DAVS_checkpoint.pth.tar" and same(read_content(back)[1], content)


def test_a_second_copy_of_a_network_gets_a_name_of_its_own(tmp_path, small):
    torch.save({"params": small, "params_ema": small, "step": 1}, tmp_path / "x.pth")
    made = convert(tmp_path / "x.pth", tmp_path / "a")
    assert [path.name for path in made] == ["expert.safetensors", "expert.params_ema.safetensors"]


# --- to the authors' programs -----------------------------------------------------------------------------------------


def authors_wav2lip(path, network):
    """The loading of the authors' inference: strict, with every `module.` taken out of the names."""
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    network.load_state_dict({name.replace("module.", ""): value for name, value in checkpoint["state_dict"].items()})
    return checkpoint


def test_a_generator_trained_here_loads_in_its_authors_program(tmp_path):
    model = Wav2Lip(width=0.1)
    model.save(tmp_path / "run" / "weights")
    (tmp_path / "run" / "weights" / "expert.safetensors").unlink()
    (made,) = convert(tmp_path / "run", tmp_path / "theirs", to="original")
    target = Generator(width=0.1)
    checkpoint = authors_wav2lip(made, target)
    assert made.name == "wav2lip_gan.pth" and same(dict(target.state_dict()), dict(model.generator.state_dict()))
    assert (checkpoint["global_step"], checkpoint["global_epoch"], checkpoint["optimizer"]) == (0, 0, None)
    assert all(name.startswith("module.") for name in checkpoint["state_dict"])
    assert passport(made).container == "torch-legacy"  # which their torch of then reads


def test_another_size_than_published_is_told(tmp_path, caplog):
    Wav2Lip(width=0.1).save(tmp_path)
    convert(tmp_path, tmp_path / "theirs", to="original")
    assert "other sizes than the published network" in caplog.text


def test_counters_that_the_authors_do_not_know_are_left_out(tmp_path):
    from talkingface.model.syncnet import SyncNetModel

    SyncNetModel(width=0.05, image_size=96, embedding=16).save(tmp_path)
    (made,) = convert(tmp_path / "syncnet.safetensors", tmp_path / "syncnet_v2.model", to="original")
    names = set(torch.load(made, weights_only=True))
    with torch.device("meta"):
        assert names == {name for name in SyncNet().state_dict() if not name.endswith("num_batches_tracked")}


def test_networks_that_are_published_together_come_into_one_file(tmp_path):
    model = DAVS(width=0.1, image_size=64, id_label_size=3, label_size=4)
    model.save(tmp_path / "weights")
    (tmp_path / "weights" / "persons.safetensors").unlink()  # which their file does not have
    (made,) = convert(tmp_path / "weights", tmp_path / "theirs", to="original")
    content = torch.load(made, weights_only=True)
    assert made.name == "101_DAVS_checkpoint.pth.tar"
    assert set(content) == {"ID_encoder", "lip_feature_encoder", "mfcc_encoder", "Decoder", "model_fusion", "step", "epoch"}
    assert not any(name.endswith("num_batches_tracked") for name in content["ID_encoder"])
    other = DAVS(width=0.1, image_size=64, id_label_size=3, label_size=4)
    other.load(made, needed=["identity", "decoder"])
    assert same(dict(other.decoder.named_parameters()), dict(model.decoder.named_parameters()))


def test_a_network_that_nobody_publishes_has_no_such_file(tmp_path):
    from talkingface.nn.weights import save_weights

    save_weights(tmp_path / "x.safetensors", {"a": torch.ones(2)})
    with pytest.raises(CheckpointError, match="container of x is not known"):
        convert(tmp_path / "x.safetensors", to="original")


# --- precision --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_half_the_size_and_whole_numbers_stay(tmp_path, small, precision):
    torch.save({"state_dict": small}, tmp_path / "x.pth")
    (made,) = convert(tmp_path / "x.pth", tmp_path / "half.safetensors", precision=precision)
    state = read_weights(made).state
    assert made.stat().st_size < 0.6 * (tmp_path / "x.pth").stat().st_size
    for name, tensor in small.items():
        whole = not tensor.is_floating_point()
        assert torch.equal(state[name], tensor if whole else tensor.to(getattr(torch, precision)))
    (again,) = convert(made, tmp_path / "whole.safetensors", precision="float32")
    (twice,) = convert(again, tmp_path / "twice.safetensors", precision=precision)
    assert same(read_weights(twice).state, state)
    model = Wav2Lip(width=0.1, image_size=48)
    model.load(made)
    assert model.expert.state_dict()[next(iter(small))].dtype == torch.float32


def test_numbers_too_large_for_half_are_refused(tmp_path):
    torch.save({"a": torch.tensor([1e6])}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="numbers of a are too large for float16; use --precision=bfloat16"):
        convert(tmp_path / "x.pth", tmp_path / "y.safetensors", precision="float16")
    assert not (tmp_path / "y.safetensors").exists()
    convert(tmp_path / "x.pth", tmp_path / "y.safetensors", precision="bfloat16")


# --- mistakes ---------------------------------------------------------------------------------------------------------


def test_mistakes_are_named(tmp_path, small, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": small, "other": {"a": torch.ones(1)}}, "x.pth")
    with pytest.raises(ConfigError, match="expected safetensors or original"):
        convert("x.pth", to="onnx")
    with pytest.raises(ConfigError, match="expected one of float32, float16, bfloat16"):
        convert("x.pth", precision="int8")
    with pytest.raises(ConfigError, match="2 files are written"):
        convert("x.pth", "y.safetensors")
    with pytest.raises(ConfigError, match="would replace what is converted"):
        convert("x.pth", to="original")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="holds no file of weights"):
        convert("empty")
    assert main(["convert", "--quiet"]) == 2 and main(["convert", "no.pth", "--quiet"]) == 4
    assert main(["convert", "x.pth", "--output=made", "--precision=float16", "--quiet"]) == 0
    assert capsys.readouterr().out.split() == ["made/expert.safetensors", "made/other.safetensors"]
