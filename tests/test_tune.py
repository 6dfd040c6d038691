"""Search over settings."""

import json
from pathlib import Path

import pytest

from talkingface.cli import main
from talkingface.errors import ConfigError
from talkingface.tune import combinations


def test_all_combinations_or_some_of_them():
    space = {"generator": {"learning_rate": [1e-3, 1e-4]}, "seed": [1, 2, 3]}
    every = combinations(space, 0, seed=0)
    assert len(every) == 6 and every[0] == {"generator.learning_rate": 1e-3, "seed": 1}
    some = combinations(space, 4, seed=0)
    assert len(some) == 4 and some == combinations(space, 4, seed=0) and all(one in every for one in some)


@pytest.mark.parametrize("space", [{}, {"seed": 3}, {"seed": []}])
def test_a_space_is_lists_of_values(space):
    with pytest.raises(ConfigError, match=r"tune\.space"):
        combinations(space, 0, seed=0)


@pytest.mark.slow
def test_trials_are_runs_and_come_best_first(tmp_path, monkeypatch, capsys):
    pytest.importorskip("ray")
    monkeypatch.chdir(tmp_path)
    argv = [
        "tune",
        "--model=Wav2Lip",
        "--dataset=demo",
        "--smoke",
        "--stages=expert,generator",
        "--metrics=SSIM",
        "--quiet",
        "--json",
    ]
    assert main([*argv, "--tune.space={generator.learning_rate: [1e-3, 1e-2]}"]) == 0
    trials = json.loads(capsys.readouterr().out)
    assert trials[0]["score"] >= trials[1]["score"]
    assert all((Path(trial["folder"]) / "report.json").is_file() for trial in trials)
