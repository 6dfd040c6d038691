"""CONTRIBUTING.md as it stands: its files make a model, a data set and a metric that work by name, without touching ours."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from talkingface.cli import main
from talkingface.config import settings_files
from talkingface.media.video import write_video
from talkingface.registry import DATASETS, METRICS, MODELS

ROOT = Path(__file__).resolve().parent.parent
FILES = dict(re.findall(r"^`(flap/[^`]+)`\n```\w+\n(.*?)^```", (ROOT / "CONTRIBUTING.md").read_text(), re.M | re.S))


@pytest.fixture
def flap(tmp_path):
    """The folder that CONTRIBUTING.md describes, and eight short videos whose mouth is bright where the sound is loud."""
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "selfies").mkdir()
    rng = np.random.default_rng(0)
    for number in range(8):
        loud = np.repeat(rng.random(5) > 0.5, 5)
        frames = np.full((25, 64, 64, 3), 90, np.uint8)
        frames[:, 40:56, 20:44] = np.where(loud, 250, 10)[:, None, None, None]
        wav = (np.repeat(loud, 640) * 0.5 * np.sin(np.arange(16_000) / 10)).astype(np.float32)
        write_video(tmp_path / "selfies" / f"{number}.mp4", frames, 25, audio=wav)
    yield tmp_path / "flap"
    for registry, name in ((MODELS, "Flap"), (DATASETS, "selfies"), (METRICS, "Glow")):
        registry.pop(name, None)
        registry.aliases.pop(name.lower(), None)
    for name in [name for name in sys.modules if name.startswith("talkingface_plugin_")]:
        del sys.modules[name]


def test_the_toy_model_is_small():
    code = [line for line in FILES["flap/flap.py"].split("@MODELS")[1].splitlines() if line.strip()]
    assert len(code) <= 60


def test_a_folder_of_ones_own_works_by_name(flap, capsys, monkeypatch):
    monkeypatch.chdir(flap.parent)
    argv = [
        "--plugins=flap",
        "--model=flap",
        "--dataset=selfies",
        "--selfies.root=selfies",
        "--metrics=Glow,SSIM",
        "--quiet",
        "--json",
    ]
    assert main([*argv, "--run_name=toy"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert {"Glow", "SSIM"} <= set(report["means"]) and len(report["clips"]) == 2
    assert json.loads(Path("saved/toy/report.json").read_text())["means"] == report["means"]
    assert {path.name for path in Path("saved/toy").iterdir()} >= {
        "config.yaml",
        "log.txt",
        "glow",
        "weights",
        "videos",
        "report.json",
    }
    assert main([*argv, "--run_name=again", "--evaluate_model_file=saved/toy/weights"]) == 0
    assert json.loads(capsys.readouterr().out)["means"] == report["means"]


def test_the_toy_learns(flap, monkeypatch):
    monkeypatch.chdir(flap.parent)
    main(["--plugins=flap", "--model=Flap", "--dataset=selfies", "--selfies.root=selfies", "--metrics=SSIM",
          "--quiet", "--run_name=toy", "--glow.epochs=0", "--glow.steps=150",
          "--glow.validate_every=50", "--glow.validate_at_start"])  # fmt: skip
    lines = [json.loads(line) for line in Path("saved/toy/glow/metrics.jsonl").read_text().splitlines()]
    losses = [line["val"]["l2"] for line in lines if line.get("val")]
    assert min(losses) < 0.5 * losses[0]


def test_list_shows_plug_ins(flap, capsys):
    assert main(["list", f"--plugins={flap}"]) == 0
    out = capsys.readouterr().out
    assert "Flap" in out and "A mouth that glows" in out and "Glow" in out


def test_an_installed_package_is_found_by_its_entry_points(flap, monkeypatch):
    """A package on the path whose metadata names the modules, as pip would leave it."""
    (flap / "__init__.py").write_text("")
    info = flap.parent / "flap-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: flap\nVersion: 1.0\n")
    toml = re.search(r"```toml\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.S).group(1)
    entries = re.sub(r'\[project\.entry-points\."([\w.]+)"\]', r"[\1]", toml).replace('"', "")
    (info / "entry_points.txt").write_text(entries)
    monkeypatch.syspath_prepend(str(flap.parent))
    assert settings_files("model")["Flap"] == flap / "model" / "Flap.yaml"
    assert MODELS["flap"].__name__ == "Flap" and METRICS["glow"].__name__ == "Glow"
    for name in ("flap", "flap.flap", "flap.selfies", "flap.glow"):
        sys.modules.pop(name, None)


def test_a_folder_without_classes_is_named(tmp_path, capsys):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "Flap.yaml").write_text(FILES["flap/model/Flap.yaml"])
    assert main([f"--plugins={tmp_path}", "--model=Flap", "--dataset=demo"]) == 2
    assert "not a folder with Python files" in capsys.readouterr().err
