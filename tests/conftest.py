"""Fixtures that every test may use."""

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """What is cached by one test is not seen by another."""
    monkeypatch.setenv("TALKINGFACE_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real clips; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("TALKINGFACE_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real clips at {folder}; set TALKINGFACE_TEST_DATA to their folder")
    return folder
