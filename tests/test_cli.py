"""The command line: what it takes, what it prints, how it ends."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from talkingface import __version__
from talkingface.cli import main, parse_arguments, split_files
from talkingface.errors import ConfigError

ROOT = Path(__file__).resolve().parent.parent


def run(capsys, *argv):
    code = main(argv)
    out, err = capsys.readouterr()
    return code, out, err


def test_both_forms_of_a_flag_and_bare_switches():
    arguments = parse_arguments(
        ["--model=A", "--dataset", "b", "--training.lr", "-1", "--smoke", "--json", "--metrics", "SSIM,PSNR"]
    )
    assert arguments.verb == "run"
    assert arguments.flags == [
        ("model", "A"), ("dataset", "b"), ("training.lr", "-1"), ("smoke", "true"), ("evaluation.metrics", "SSIM,PSNR"),
    ]  # fmt: skip
    assert arguments.switches == {"json"}


def test_a_single_dash_is_explained():
    with pytest.raises(ConfigError, match="two dashes: --model"):
        parse_arguments(["run", "-model", "x"])


def test_config_files_take_several_names_and_names_with_blanks(tmp_path):
    blank = tmp_path / "my settings.yaml"
    blank.write_text("")
    assert split_files(str(blank)) == [blank]
    assert split_files("a.yaml b.yaml") == split_files("a.yaml,b.yaml") == [Path("a.yaml"), Path("b.yaml")]


@pytest.mark.parametrize("argv", [["--help"], ["run", "-h"], []])
def test_help(capsys, argv):
    code, out, _ = run(capsys, *argv)
    assert code == 0 and "--evaluate_model_file" in out and "Exit codes" in out


def test_version(capsys):
    assert run(capsys, "--version")[:2] == (0, __version__ + "\n")


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["lst"], 2, "did you mean 'list'"),
        (["list", "model"], 2, "expected one of models, datasets, metrics"),
        (["--model=Wav2Lop", "--dataset=demo"], 2, "did you mean 'Wav2Lip'"),
        (["--model=Wav2Lip", "--dataset=dmeo"], 2, "did you mean 'demo'"),
        (["--model=Wav2Lip", "--dataset=demo", "--stages=expart"], 2, "did you mean 'expert'"),
        (
            ["--model=Wav2Lip", "--dataset=demo", "--metrics=SIMM", "--smoke"],
            2,
            "no metric is called 'SIMM'; did you mean 'SSIM'",
        ),
        (["--dataset=demo"], 2, "no model given"),
        (["--model=Wav2Lip"], 2, "no data set given"),
        (["--model=Wav2Lip", "--dataset=demo", "--config_files=none.yaml"], 2, "none.yaml cannot be read"),
        (["generate", "--model=Wav2Lip", "--face=x.mp4"], 2, "needs --audio=FILE"),
        (["score"], 2, "needs one folder or file"),
        (["config", "Wav2Lip"], 2, "--model=Wav2Lip"),
        (["--resume=nowhere"], 2, "no run folder"),
    ],
)
def test_a_mistake_ends_with_a_message_and_a_code(capsys, tmp_path, monkeypatch, argv, code, words):
    monkeypatch.chdir(tmp_path)
    got, out, err = run(capsys, *argv)
    assert got == code and words in err and out == "" and err.count("\n") == 1


def test_config_prints_values_with_their_origin(capsys):
    code, out, _ = run(capsys, "config", "--model=wav2lip", "--dataset=demo", "--seed=5", "--json")
    entries = json.loads(out)
    assert code == 0 and entries["seed"] == {"value": 5, "origin": "--seed=5"}
    assert entries["face.select"]["origin"].startswith("overall.yaml:")
    assert entries["model"]["value"] == "Wav2Lip"


@pytest.mark.parametrize("what", ["models", "datasets", "metrics"])
def test_list_names_what_is_registered(capsys, what):
    from talkingface import registry

    _, out, _ = run(capsys, "list", what, "--json")
    table = {"models": registry.MODELS, "datasets": registry.DATASETS, "metrics": registry.METRICS}[what]
    registry.load_builtins(what[:-1])
    listed = json.loads(out)[what]
    assert set(listed) == set(table) and all(listed.values())


@pytest.mark.parametrize(
    "argv", [["--help"], ["list", "models"], ["list", "datasets"], ["config", "--model=Wav2Lip", "--dataset=demo"]]
)
def test_answers_at_once_without_torch(argv):
    code = f"import sys; from talkingface.cli import main; main({argv!r}); print('torch' in sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "False"


def test_the_three_ways_to_start_are_one_command():
    outputs = {
        subprocess.run([sys.executable, *argv, "list", "models"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for argv in (["run_talkingface.py"], ["-m", "talkingface"])
    }
    assert len(outputs) == 1
