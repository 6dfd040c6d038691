"""Two processes that train together give what one gives."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
from safetensors.torch import load_file, save_file
from torch import nn

from talkingface.errors import TrainingError
from talkingface.trainer import parallel
from talkingface.trainer.trainer import set_seed
from tests.trainer.toy import Pictures, ToyStage, toy_fit

SETTINGS = {"epochs": 2, "batch_size": 5, "accumulate": 2, "learning_rate": 1e-3, "ema": 0.9, "clip_norm": 0.5, "log_every": 1}


def train(folder: Path, **settings) -> None:
    """The toy training without dropout, which every process would draw for itself."""
    set_seed(0 if parallel.is_main() else 99)  # the processes start with different weights and agree on the main one's
    stage = ToyStage(dropout=0.0)
    toy_fit(folder, stage, val=Pictures(7), **(SETTINGS | settings))
    if parallel.rank():
        save_file(dict(stage.state_dict()), folder.parent / "second.safetensors")


def join(rank: int, world: int, port: int) -> None:
    """Make this process one of several, as a launcher does."""
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    assert parallel.num_processes() == world  # without being told that there is no GPU


def work(rank: int, port: int, folder: Path) -> None:
    """What each of two processes does; they take seconds to start, so they do everything that is tested here."""
    join(rank, 2, port)
    assert parallel.num_processes() == 2 and parallel.is_main() == (rank == 0)
    assert parallel.agree(f"from {rank}") == "from 0" and parallel.agree("") == ""
    check_batch_norm(rank)
    train(folder / "whole")
    train(folder / "parts", epochs=1)
    train(folder / "parts", resume=True)
    try:
        toy_fit(folder / "poisoned", ToyStage(), train=Poisoned(), val=None)
    except TrainingError as error:
        (folder / f"error_{rank}").write_text(str(error))
    parallel.wait()
    torch.distributed.destroy_process_group()


class Poisoned(Pictures):
    def sample(self, index, rng):
        item = super().sample(index, rng)
        return item | {"frames": item["frames"] * (float("nan") if index == 3 else 1)}


def check_batch_norm(rank: int) -> None:
    """Outputs, gradients and running statistics over shares of 3 and 2 samples are those over all 5."""
    torch.manual_seed(0)
    x, target = torch.randn(5, 3, 4, 4) * 3 + 1, torch.randn(5, 3, 4, 4)
    for make in (lambda: nn.BatchNorm2d(3), lambda: nn.BatchNorm2d(3, momentum=None), lambda: nn.BatchNorm2d(3, affine=False)):
        whole, shared = make(), make()
        mine = slice(0, 3) if rank == 0 else slice(3, 5)
        a, b = x.clone().requires_grad_(), x[mine].clone().requires_grad_()
        expected = whole(a)
        (expected * target).sum().backward()
        with parallel.global_batch_norm(shared):
            ours = shared(b)
            (ours * target[mine]).sum().backward()
            with parallel.local_batch_norm(shared):
                assert "forward" not in shared.__dict__
            assert "forward" in shared.__dict__
        assert "forward" not in shared.__dict__
        torch.testing.assert_close(ours, expected[mine], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(b.grad, a.grad[mine], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(dict(shared.named_buffers()), dict(whole.named_buffers()), rtol=1e-5, atol=1e-6)
        if whole.affine:
            torch.testing.assert_close(parallel.total(shared.weight.grad), whole.weight.grad, rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parallel")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    mp.spawn(work, (port, folder / "two"), nprocs=2)
    train(folder / "one" / "whole")
    return folder


def tensors(folder, part):
    return {k: v for k, v in load_file(folder / "last.safetensors").items() if k.startswith(part + "/")}


@pytest.mark.parametrize("part", ["weights", "ema", "optimizer"])
def test_two_processes_give_what_one_gives(folders, part):
    one, two = (tensors(folders / world / "whole", part) for world in ("one", "two"))
    assert one.keys() == two.keys() and one
    for name, tensor in one.items():
        if name == "weights/seen":
            assert (int(tensor), int(two[name])) == (40, 24)  # a process counts its own samples
            continue
        torch.testing.assert_close(two[name], tensor, rtol=2e-5, atol=2e-7, msg=lambda m, name=name: f"{name}: {m}")


def test_metrics_are_over_all_processes_and_written_once(folders):
    one, two = (
        [json.loads(line) for line in (folders / world / "whole" / "metrics.jsonl").read_text().splitlines()]
        for world in ("one", "two")
    )
    assert len(one) == len(two) == 6
    for a, b in zip(one, two, strict=True):
        assert a["step"] == b["step"]
        for part in ("train", "val"):
            assert b.get(part, {}) == pytest.approx(a.get(part, {}), rel=2e-5)


def test_both_processes_end_with_the_same_weights(folders):
    second = load_file(folders / "two" / "second.safetensors")
    first = load_file(folders / "two" / "parts" / "best.safetensors")
    for name, tensor in second.items():
        if name != "seen":
            assert torch.equal(tensor, first.get(f"ema/{name}", first[f"weights/{name}"])), name


def test_two_processes_resume_exactly(folders):
    whole, parts = (load_file(folders / "two" / name / "last.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole if name.startswith(("weights", "ema", "optimizer")))


def test_a_loss_that_is_not_finite_in_one_process_stops_both(folders):
    errors = [(folders / "two" / f"error_{rank}").read_text() for rank in (0, 1)]
    assert all("is not finite" in error for error in errors)
    assert len(list((folders / "two" / "poisoned").glob("culprit_*.safetensors"))) == 2
