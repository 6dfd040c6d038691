"""Fixtures of the media tests."""

from pathlib import Path

import numpy as np
import pytest

SHARED = Path(__file__).resolve().parents[3] / "shared"


@pytest.fixture(scope="session")
def golden():
    """Name of a golden case -> the arrays of each recording of it; skips where there is none."""

    def load(name):
        paths = [path for folder in ("parity", "parity_more") if (path := SHARED / folder / f"{name}.npz").is_file()]
        if not paths:
            pytest.skip(f"no golden case {name} below {SHARED}")
        return [dict(np.load(path)) for path in paths]

    return load
