"""Where chance comes from: seeds, and the state of every generator as one row of numbers."""

from __future__ import annotations

import math
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

PYTHON, NUMPY = 626, 627  # numbers in the state of Python's and of NumPy's generator


def set_seed(seed: int, deterministic: bool = True) -> None:
    """Seed Python, NumPy and torch.

    Args:
        deterministic: only algorithms that give the same bits each time; torch warns where it has none.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    # It finds bugs, and costs time at every allocation.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = not deterministic


def get_chance() -> Tensor:
    """The state of all generators as one row of float64, which holds their 32-bit integers exactly."""
    _, words, gauss = random.getstate()
    kind, keys, *rest = np.random.get_state()
    assert kind == "MT19937" and len(words) + 1 == PYTHON and len(keys) + len(rest) == NUMPY
    row = np.array([*words, math.nan if gauss is None else gauss, *keys, *rest], dtype=np.float64)
    states = [torch.get_rng_state(), *([torch.cuda.get_rng_state()] if torch.cuda.is_available() else [])]
    return torch.cat([torch.from_numpy(row), *(state.double() for state in states)])


def set_chance(row: Tensor) -> None:
    """Undo everything that was drawn since `get_chance` gave this row."""
    row = row.cpu()
    python, numpy, states = row[:PYTHON].tolist(), row[PYTHON : PYTHON + NUMPY].numpy(), row[PYTHON + NUMPY :].to(torch.uint8)
    random.setstate((3, tuple(map(int, python[:-1])), None if math.isnan(python[-1]) else python[-1]))
    position, has_gauss, gauss = numpy[-3:]
    np.random.set_state(("MT19937", numpy[:-3].astype(np.uint32), int(position), int(has_gauss), float(gauss)))
    size = len(torch.get_rng_state())
    torch.set_rng_state(states[:size])
    if torch.cuda.is_available() and len(states) > size:
        torch.cuda.set_rng_state(states[size:])


@contextmanager
def fixed_chance(seed: int) -> Iterator[None]:
    """Draw the same each time in here, and go on outside as if nothing had been drawn."""
    before = get_chance()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    try:
        yield
    finally:
        set_chance(before)
