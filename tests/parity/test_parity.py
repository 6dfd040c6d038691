"""Every golden case through the public code: the authors' parameter names, their outputs, on made-up weights.

Cases whose inputs are made up lie in tests/parity/cases; those with recorded sound or frames are used where they are found:
$TALKINGFACE_PARITY, or ../shared/parity and ../shared/parity_more.
"""

import importlib.util
import os
from pathlib import Path

import pytest

from tests.parity.adapters import ADAPTERS
from tests.parity.kit import Case, names

HERE = Path(__file__).resolve().parent
SHARED = HERE.parents[2] / "shared"
ROOTS = [HERE / "cases", *map(Path, os.environ.get("TALKINGFACE_PARITY", f"{SHARED}/parity:{SHARED}/parity_more").split(":"))]
CASES = {
    f"{root.name}:{name}": (root, name)
    for root in reversed(ROOTS)  # of equal cases, the copy in the project is enough
    if root.is_dir()
    for name in names(root)
    if name in ADAPTERS and not (root.name == "parity" and (ROOTS[0] / f"{name}.npz").exists())
}
SLOW = {  # several seconds to minutes of a processor, beside quicker cases of the same: pytest -m slow
    "davs/e2e_audio",
    "davs/e2e_video",
    "parity:davs/train_losses",
    "makeittalk/image_translation",
    "makeittalk/image_translation_training",
    "parity:makeittalk/e2e_frame",
    "parity:pc_avs/e2e_demo",
    "parity:pc_avs/inference",
    "parity:pc_avs/train_losses",
    "parity:video_retalking/e2e_core",
    "video_retalking/e2e_full",
    "video_retalking/e2e_upface",
    "video_retalking/enet_video",
    "video_retalking/gfpgan_v1_clean",
    "video_retalking/gpen_bfr_512",
    "video_retalking/lnet_video",
}

NEEDS = {"makeittalk/speaker_embedding": "resemblyzer"}  # whose own requirements need a compiler, so that ours leave it out


def marked(label):
    """A case as a parameter, with what says that it is slow."""
    return pytest.param(label, marks=[pytest.mark.slow] if {label, CASES[label][1]} & SLOW else [])


@pytest.mark.parametrize("label", map(marked, sorted(CASES)))
def test_equals_the_authors_output(label):
    root, name = CASES[label]
    if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None:
        pytest.skip(f"needs `pip install --no-deps {NEEDS[name]}`")
    case = Case.load(name, root)
    assert case.misses(ADAPTERS[name](case)) == {}


def test_every_recorded_case_of_our_models_has_an_adapter():
    models = {name.partition("/")[0] for name in ADAPTERS}
    recorded = {name for root in ROOTS if root.is_dir() for name in names(root) if name.partition("/")[0] in models}
    assert recorded <= set(ADAPTERS)
