"""A training that is killed and goes on ends as if nothing had happened, bit for bit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from talkingface.errors import CheckpointError
from talkingface.trainer import checkpoint as checkpoints
from talkingface.trainer.checkpoint import Checkpoint, Checkpoints, read_checkpoint, write_checkpoint
from talkingface.trainer.trainer import set_seed
from tests.trainer.toy import EXACT, Pictures, ToyStage, toy_fit

ROOT = Path(__file__).resolve().parents[2]


def metrics(folder):
    """metrics.jsonl without the keys that are about the clock."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("seconds", "samples_per_second")} for line in lines]


def assert_same(one, other):
    """Two folders hold the same training: weights, averages, optimizers, chance, progress and metrics."""
    a, b = (read_checkpoint(folder / "last.safetensors") for folder in (one, other))
    assert a.tensors.keys() == b.tensors.keys()
    for name, tensor in a.tensors.items():
        assert tensor.numpy().tobytes() == b.tensors[name].numpy().tobytes(), name
    for state in (a.state, b.state):
        del state["metrics_size"], state["progress"]["seconds"]
    assert a.state == b.state
    assert metrics(one) == metrics(other)


class Interrupt(Exception):
    pass


class Breaking(ToyStage):
    """Breaks off in the middle of an update."""

    def __init__(self, at):
        super().__init__()
        self.at, self.calls = at, 0

    def losses(self, batch):
        for item in super().losses(batch):
            yield item
            self.calls += self.training
            if self.calls == self.at:
                raise Interrupt


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    toy_fit(folder, **EXACT)
    return folder


@pytest.mark.parametrize("trials", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_sigkill_at_random_moments_changes_nothing(tmp_path, whole, trials):
    command = [sys.executable, "-m", "tests.trainer.toy", str(tmp_path), str(trials)]
    kills = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert sum(map(int, kills)) >= trials
    for trial in range(trials):
        assert_same(whole, tmp_path / str(trial))


@pytest.mark.parametrize("every, at", [(1, 1), (2, 11), (4, 14), (3, 20), (5, 29)])
def test_what_was_done_after_the_checkpoint_is_done_again(tmp_path, every, at):
    settings = EXACT | {"checkpoint_every": every}
    toy_fit(tmp_path / "whole", **settings)
    set_seed(0)
    with pytest.raises(Interrupt):
        toy_fit(tmp_path / "broken", Breaking(at), **settings)
    toy_fit(tmp_path / "broken", resume=True, **settings)
    assert_same(tmp_path / "whole", tmp_path / "broken")


def test_the_final_networks_are_those_of_the_uninterrupted_training(tmp_path, whole):
    settings = EXACT | {"checkpoint_every": 2}
    results, states = [], []
    for name, at in (("whole", 0), ("broken", 17)):
        if at:
            set_seed(0)
            with pytest.raises(Interrupt):
                toy_fit(tmp_path / name, Breaking(at), **settings)
        set_seed(0)
        stage = ToyStage()
        results.append(toy_fit(tmp_path / name, stage, resume=True, **settings))
        states.append(stage.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert (results[0].score, results[0].losses, results[0].best_step) == (
        results[1].score,
        results[1].losses,
        results[1].best_step,
    )


def test_samples_that_were_seen_are_not_read_again(tmp_path):
    one, two, three = Pictures(), Pictures(), Pictures()
    toy_fit(tmp_path / "whole", train=one, epochs=2, val=None)
    toy_fit(tmp_path / "parts", train=two, epochs=0, steps=3, val=None)
    toy_fit(tmp_path / "parts", train=three, epochs=2, val=None, resume=True)
    assert len(one.read) == 40 and two.read + three.read == one.read


def test_a_finished_training_is_not_trained_again(tmp_path, whole):
    before = (whole / "metrics.jsonl").read_bytes()
    set_seed(0)
    stage, samples = ToyStage(), Pictures()
    first = read_checkpoint(whole / "best.safetensors")
    result = toy_fit(whole, stage, train=samples, resume=True, **EXACT)
    assert not samples.read and result.steps == 15 and result.reason == "epochs" and result.losses
    assert (whole / "metrics.jsonl").read_bytes() == before
    assert torch.equal(stage.generator[0].weight, first.tensors["ema/generator.0.weight"])


def test_a_training_can_be_made_longer(tmp_path):
    toy_fit(tmp_path, epochs=1)
    assert toy_fit(tmp_path, resume=True, epochs=2).steps == 10


def test_minutes_count_over_resumes(tmp_path):
    toy_fit(tmp_path, epochs=1)
    result = toy_fit(tmp_path, resume=True, epochs=0, minutes=1e-6)
    assert result.steps == 5 and result.reason == "minutes"


def test_resume_without_a_checkpoint_starts(tmp_path):
    assert toy_fit(tmp_path, resume=True, epochs=1).steps == 5


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_a_damaged_newest_checkpoint_gives_way_to_the_one_before(tmp_path, damage, caplog):
    toy_fit(tmp_path / "whole", **EXACT)
    set_seed(0)
    with pytest.raises(Interrupt):
        toy_fit(tmp_path / "broken", Breaking(20), **EXACT)
    newest = Checkpoints(tmp_path / "broken").paths()[-1]
    data = bytearray(newest.read_bytes())
    data[-100] ^= 1
    newest.write_bytes({"cut": data[:-50], "flip": data, "empty": b""}[damage])
    toy_fit(tmp_path / "broken", resume=True, **EXACT)
    assert f"{newest} is damaged" in caplog.text
    assert_same(tmp_path / "whole", tmp_path / "broken")


def test_nothing_but_damaged_checkpoints_is_an_error(tmp_path):
    toy_fit(tmp_path, epochs=1)
    for path in Checkpoints(tmp_path).paths():
        path.write_bytes(b"not a checkpoint")
    with pytest.raises(CheckpointError, match="no checkpoint in .* can be read"):
        toy_fit(tmp_path, resume=True, epochs=2)


def test_another_network_is_an_error(tmp_path):
    toy_fit(tmp_path, epochs=1)
    with pytest.raises(CheckpointError, match="of another network"):
        toy_fit(tmp_path, ToyStage(norm=False), resume=True, epochs=2)


def test_a_full_disk_keeps_the_last_good_checkpoint(tmp_path, monkeypatch):
    toy_fit(tmp_path, epochs=1)
    good = {path.name: path.read_bytes() for path in Checkpoints(tmp_path).paths()}

    def half(tensors, path, metadata):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "save_file", half)
    with pytest.raises(CheckpointError, match="No space left on device.*--resume"):
        toy_fit(tmp_path, resume=True, epochs=2)
    assert {path.name: path.read_bytes() for path in Checkpoints(tmp_path).paths()} == good
    assert not list(tmp_path.glob(".*"))


def test_other_samples_begin_a_new_epoch(tmp_path, caplog):
    toy_fit(tmp_path, epochs=0, steps=3, val=None)
    toy_fit(tmp_path, resume=True, epochs=1, val=None, train=Pictures(12))
    assert "a new epoch begins" in caplog.text


def test_a_checkpoint_is_tensors_and_plain_values(tmp_path):
    path = tmp_path / "a" / "checkpoint_00000001.safetensors"
    tensors = {
        "x/half": torch.ones(2, dtype=torch.bfloat16),
        "x/scalar": torch.tensor(3),
        "y/turned": torch.arange(6).view(2, 3).T,
    }
    write_checkpoint(path, Checkpoint(tensors, {"step": 1, "best": None, "scores": [[0.1, 2]]}))
    read = read_checkpoint(path)
    assert all(torch.equal(read.tensors[name], tensor) for name, tensor in tensors.items())
    assert read.state == {"format": 1, "step": 1, "best": None, "scores": [[0.1, 2]]}
    assert set(read.part("x")) == {"half", "scalar"}
    with pytest.raises(CheckpointError, match="does not exist"):
        read_checkpoint(tmp_path / "b.safetensors")
