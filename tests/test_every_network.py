"""Every network of every model: its file has a passport, and goes to its authors' container and back without a changed bit."""

import pytest
import torch

import talkingface
from talkingface.config import Config
from talkingface.convert import convert
from talkingface.errors import CheckpointError, ConfigError
from talkingface.model.base import TalkingFace
from talkingface.nn.weights import OPTIONAL, read_weights
from talkingface.passport import passport
from talkingface.quick_start import build_model
from talkingface.registry import MODELS
from talkingface.zoo import zoo


@pytest.fixture(scope="module", params=sorted(MODELS))
def saved(request, tmp_path_factory):
    """A model with small networks, and the folder that it is saved in."""
    model = build_model(Config.load(request.param, "demo", overrides={"smoke": True}))
    folder = tmp_path_factory.mktemp(request.param)
    model.save(folder)
    return model, folder


def counted(network):
    return sum(parameter.numel() for parameter in network.parameters())


def kept(state):
    """What the authors' torch knows of a network: all but counters."""
    return {name: tensor for name, tensor in state.items() if not name.endswith(tuple(OPTIONAL))}


def same(ours, theirs):
    return ours.keys() == theirs.keys() and all(
        ours[name].dtype == tensor.dtype and torch.equal(ours[name], tensor) for name, tensor in theirs.items()
    )


def test_each_has_a_passport_without_faults(saved):
    model, folder = saved
    for name in model.files:
        said = passport(folder / f"{name}.safetensors", digest=False).to_json()
        assert (said["model"], said["network"], said["parameters"]) == (model.name, name, counted(getattr(model, name)))
        assert (said["missing"], said["unexpected"], said["reshaped"], said["problem"]) == ([], [], [], "")


def test_each_goes_to_its_authors_container_and_back(saved, tmp_path):
    model, folder = saved
    for name, published in model.files.items():
        before = read_weights(folder / f"{name}.safetensors").state
        (theirs,) = convert(folder / f"{name}.safetensors", tmp_path / name, to="original")
        assert theirs.name == published
        file = zoo().named(published)
        content = torch.load(theirs, weights_only=True)
        entry = next((entry for entry, network in file.entries.items() if network == name), file.layout.entry)
        state = content[entry] if entry else content
        prefix = file.layout.prefix
        assert same(kept({key.removeprefix(prefix): value for key, value in state.items()}), kept(before))
        assert all(key.startswith(prefix) for key in state)
        (back,) = convert(theirs, tmp_path / "back" / name)
        assert back.name == f"{name}.safetensors" and same(kept(read_weights(back).state), kept(before))
        seen = passport(theirs, digest=False).to_json()
        assert not seen["problem"] and (seen["parameters"] == counted(getattr(model, name)) or not seen["model"])


def test_a_whole_folder_becomes_the_files_that_the_model_loads_again(saved, tmp_path):
    model, folder = saved
    made = convert(folder, tmp_path / "theirs", to="original")
    assert {path.name for path in made} == set(model.files.values())
    other = build_model(Config.load(model.name, "demo", overrides={"smoke": True}))
    other.load(tmp_path / "theirs")
    for name in model.files:
        assert same(kept(getattr(other, name).state_dict()), kept(getattr(model, name).state_dict())), name


def test_it_loads_as_a_speaker(saved):
    model, folder = saved
    if not isinstance(model, TalkingFace):
        with pytest.raises(ConfigError, match="generates no videos"):
            talkingface.load(model.name, folder, dataset="demo", smoke=True)
        return
    speaker = talkingface.load(model.name, folder, dataset="demo", smoke=True)
    assert type(speaker.model) is type(model) and not speaker.model.training
    for name in model.generates_with:
        assert same(getattr(speaker.model, name).state_dict(), getattr(model, name).state_dict()), name


def test_networks_that_nobody_publishes_are_left_out_with_a_word(tmp_path, caplog):
    model = build_model(Config.load("SyncNet", "demo", overrides={"smoke": True}))
    model.save(tmp_path / "weights", {"critic": torch.nn.Linear(2, 2)})
    (made,) = convert(tmp_path / "weights", tmp_path / "theirs", to="original")
    assert made.name == "syncnet_v2.model" and "container of critic is not known" in caplog.text
    with pytest.raises(CheckpointError, match="container of critic is not known"):
        convert(tmp_path / "weights" / "critic.safetensors", tmp_path / "theirs", to="original")
