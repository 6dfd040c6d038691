"""The order of samples and their randomness come from the seed alone."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import torch

from talkingface.dataset.base import Samples
from talkingface.errors import MediaError, TrainingError
from talkingface.trainer.loader import Order, load, shares, validation_parts
from tests.trainer.toy import Pictures


def read(parts, count, workers=0, samples=None):
    return list(islice(load(samples or Pictures(), parts, seed=5, workers=workers), count))


def test_each_sample_comes_once_per_epoch_in_an_order_of_its_own():
    order = Order(20, 4, seed=3)
    parts = list(islice(order.parts(0, 0), 15))
    epochs = [[i for part in parts[e * 5 : e * 5 + 5] for i in part.indices] for e in range(3)]
    assert all(sorted(epoch) == list(range(20)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert epochs[0] == [i for part in islice(Order(20, 4, seed=3).parts(0, 0), 5) for i in part.indices]
    assert epochs[0] != [i for part in islice(Order(20, 4, seed=4).parts(0, 0), 5) for i in part.indices]


def test_an_epoch_can_be_entered_anywhere():
    order = Order(20, 4, accumulate=2, seed=3)
    assert order.num_updates == 2 and order.batches() == 2
    whole = list(islice(order.parts(0, 0), 8))
    assert list(islice(order.parts(0, 1), 6)) == whole[2:]
    assert list(islice(order.parts(1, 1), 2)) == whole[6:]


@pytest.mark.parametrize("size, accumulate, world", [(4, 1, 1), (4, 2, 2), (5, 1, 2), (7, 3, 3), (16, 4, 3)])
def test_processes_share_each_batch(size, accumulate, world):
    one = Order(40, size, accumulate, seed=3)
    orders = [Order(40, size, accumulate, seed=3, rank=rank, world=world) for rank in range(world)]
    all_parts = [list(islice(order.parts(0, 0), one.num_updates * one.batches())) for order in orders]
    for together, *mine in zip(islice(one.parts(0, 0), len(all_parts[0])), *all_parts, strict=True):
        assert [i for part in mine for i in part.indices] == together.indices
        assert sum(part.weight for part in mine) == pytest.approx(together.weight)
    assert sum(part.weight for part in all_parts[0][: one.batches()]) <= 1


def test_the_last_uneven_batch_is_left_out_unless_it_is_the_only_one():
    assert Order(10, 4).num_updates == 2
    few = Order(3, 4)
    assert few.num_updates == 1 and few.update_size == 3
    uneven = shares(np.arange(7), 0, 4, 0, 1)
    assert [len(part.indices) for part in uneven] == [4, 3] and [part.weight for part in uneven] == [4 / 7, 3 / 7]


def test_too_few_samples_are_an_error():
    for count, size, world in [(0, 4, 1), (1, 4, 2), (10, 1, 2)]:
        with pytest.raises(TrainingError, match="too few"):
            Order(count, size, world=world)


def test_a_sample_depends_on_seed_epoch_and_index_alone():
    one = read(Order(20, 4, seed=3).parts(0, 0), 10)
    other = read(Order(20, 20, seed=8).parts(0, 0), 2)
    by_index = {int(i): frames for i, frames in zip(other[0].batch["index"], other[0].batch["frames"], strict=True)}
    for share in one[:5]:
        for i, frames in zip(share.batch["index"], share.batch["frames"], strict=True):
            assert torch.equal(frames, by_index[int(i)])
    second = {int(i): frames for share in one[5:] for i, frames in zip(share.batch["index"], share.batch["frames"], strict=True)}
    assert not any(torch.equal(second[i], by_index[i]) for i in by_index)


def test_workers_change_nothing():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    alone, helped = (read(Order(20, 4, seed=3).parts(0, 2), 8, workers) for workers in (0, 2))
    for a, b in zip(alone, helped, strict=True):
        assert a.weight == b.weight and all(torch.equal(a.batch[name], b.batch[name]) for name in a.batch)
    assert torch.equal(state, torch.get_rng_state())


def test_only_what_is_asked_for_is_read():
    samples = Pictures()
    read(Order(20, 4).parts(0, 3), 2, samples=samples)
    assert len(samples.read) == 8


def test_batches_keep_types_and_shapes():
    (share,) = read(Order(20, 4).parts(0, 0), 1)
    assert share.batch["frames"].shape == (4, 1, 6, 6) and share.batch["frames"].dtype == torch.float32
    assert share.batch["index"].shape == (4,) and share.batch["index"].dtype == torch.int64


class Odd(Samples):
    def __len__(self):
        return 2

    def sample(self, index, rng):
        return {"mel": np.zeros((80, 16 + index), np.float32)}


def test_samples_of_different_shapes_are_named():
    with pytest.raises(
        TrainingError, match=r"'mel' has the shapes .*\(80, 16\).*\(80, 17\)|'mel' has the shapes .*\(80, 17\).*\(80, 16\)"
    ):
        read(Order(2, 2).parts(0, 0), 1, samples=Odd())


def test_an_error_in_a_worker_keeps_its_kind():
    class Broken(Odd):
        def sample(self, index, rng):
            raise MediaError("a.mp4 is damaged.")

    for workers in (0, 1):
        with pytest.raises(MediaError, match="a.mp4 is damaged"):
            read(Order(2, 2).parts(0, 0), 1, workers, samples=Broken())


@pytest.mark.parametrize("count, world", [(7, 1), (7, 2), (9, 2), (8, 3)])
def test_validation_reads_every_sample_once_over_all_processes(count, world):
    parts = [validation_parts(count, 4, 0, rank, world) for rank in range(world)]
    assert sorted(i for mine in parts for part in mine for i in part.indices) == list(range(count))
    assert sum(part.weight for mine in parts for part in mine) == count
    assert all(mine for mine in parts)


def test_validation_can_be_limited():
    assert [part.indices for part in validation_parts(20, 4, 2, 0, 1)] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert [part.indices for part in validation_parts(1, 4, 0, 1, 2)] == [[0]]
