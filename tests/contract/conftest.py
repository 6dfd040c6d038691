"""The demo world of the contract tests, made once."""

import pytest

from tests.contract.toys import World


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("contract")
        patch.setenv("TALKINGFACE_CACHE", str(folder / "cache"))
        world = World(folder)
        world.clips("test")
        yield world
