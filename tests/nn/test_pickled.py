"""Pickle files that are read without being run."""

import os
import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch

from talkingface.errors import CheckpointError
from talkingface.nn.pickled import read_pickle

DUMP = [
    (np.arange(6, dtype=np.float32).reshape(2, 3), (0, "clip.mp4", np.ones(4))),
    (np.asfortranarray(np.arange(12.0).reshape(3, 4)), (np.int64(1), "größer.mp4", torch.arange(3.0))),
]
VALUES = {"epoch": 3, "rate": 1e-4, "none": None, "names": ["a", True, b"x", "y" * 300], "big": 2**70, "order": OrderedDict(a=1)}
ARRAYS = {
    "bytes": np.zeros(70_000, np.uint8),
    "big end": np.arange(4, dtype=">i2"),
    "empty": np.zeros((0, 3)),
    "scalar": np.array(3.0),
}


def written(folder, content, protocol=4):
    path = folder / "file.pickle"
    path.write_bytes(pickle.dumps(content, protocol))  # what other programs write
    return path


def same(one, other):
    if isinstance(one, np.ndarray | torch.Tensor):
        return type(one) is type(other) and one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return one == other


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("content", [DUMP, VALUES, ARRAYS], ids=["dump", "values", "arrays"])
def test_what_was_pickled_is_read(tmp_path, content, protocol):
    assert same(read_pickle(written(tmp_path, content, protocol)), content)


def test_a_tensor_that_is_part_of_another_is_read(tmp_path):
    whole = torch.rand(5, 4)
    content = {"first": whole[0], "last": whole[4]}
    assert same(read_pickle(written(tmp_path, content)), content)


class Hostile:
    def __init__(self, *reduced):
        self.reduced = reduced

    def __reduce__(self):
        return self.reduced


def test_nothing_in_the_file_runs(tmp_path):
    mark = tmp_path / "ran"
    for call in ((os.mkdir, (str(mark),)), (exec, (f"open({str(mark)!r}, 'w')",)), (np.save, (str(mark), 1))):
        with pytest.raises(CheckpointError, match="was refused"):
            read_pickle(written(tmp_path, [Hostile(*call)]))
        assert not mark.exists()


def test_a_tensor_whose_content_is_hostile_is_refused(tmp_path):
    inner = pickle.dumps(Hostile(os.mkdir, (str(tmp_path / "ran"),)))
    with pytest.raises(CheckpointError):
        read_pickle(written(tmp_path, Hostile(torch.storage._load_from_bytes, (inner,))))
    assert not (tmp_path / "ran").exists()


def test_an_array_of_objects_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="Python objects"):
        read_pickle(written(tmp_path, np.array([{}, []], dtype=object)))


def test_what_is_no_pickle_is_said_to_be_damaged(tmp_path):
    path = written(tmp_path, DUMP)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"hello", b"\x80\x04N"):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="damaged"):
            read_pickle(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="nothing.pickle"):
        read_pickle(tmp_path / "nothing.pickle")
