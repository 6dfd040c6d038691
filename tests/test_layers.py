"""Imports only go down: cli > quick_start > trainer, evaluator > model, metric, dataset > face, nn > media > config, errors."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "talkingface"
LAYERS = [
    {"errors", "registry", "config", "log", "zoo"},
    {"media"},
    {"face", "nn"},
    {"model", "metric", "dataset"},
    {"trainer", "evaluator", "report", "compare", "page", "statistics", "curate"},
    {
        "quick_start",
        "tune",
        "bench",
        "verify",
        "clinic",
        "plan",
        "doctor",
        "passport",
        "convert",
        "download",
        "speaker",
        "training_set",
    },
    {"cli", "__main__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")
HEAVY = {"torch", "librosa", "cv2", "av", "accelerate", "ray", "dlib", "face_alignment", "scipy", "torchvision"}


def part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path, *, top_level: bool = False) -> set[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level else ast.walk(tree)
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down(path):
    ours = {name.split(".")[1] for name in imports(path) if name.startswith("talkingface.")} - {"__version__"}
    assert not {name for name in ours if LEVEL[name] > LEVEL[part(path)]}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_model_knows_no_other_model(path):
    parts = path.relative_to(PACKAGE).parts
    if parts[0] != "model" or len(parts) < 3:
        return
    folders = {p.name for p in (PACKAGE / "model").iterdir() if p.is_dir()} - {parts[1], "syncnet"}
    assert not {name for name in imports(path) if name.startswith("talkingface.model.") and name.split(".")[2] in folders}


def test_devices_and_processes_are_named_above_the_models_only():
    for path in FILES:
        names = {name.partition(".")[0] for name in imports(path)}
        if LEVEL[part(path)] < LEVEL["trainer"]:
            assert not names & {"accelerate", "ray"}, path


def test_there_is_one_backward_and_one_step():
    source = {path: path.read_text() for path in FILES}
    assert {p.name for p, text in source.items() if ".backward(" in text} == {"trainer.py"}


def test_what_help_needs_imports_nothing_heavy():
    for name in ("__init__", "cli", "config", "registry", "errors", "log", "zoo"):
        assert not {n.partition(".")[0] for n in imports(PACKAGE / f"{name}.py", top_level=True)} & HEAVY
