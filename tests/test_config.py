"""Settings: who wins, where a value came from, and what is refused."""

import pytest

from talkingface.config import Config, read_layer
from talkingface.errors import ConfigError, RegistryError


@pytest.fixture
def plugin(tmp_path):
    """A plug-in folder with the settings of a model 'Mumble' (stages first, second) and a data set 'words'."""
    (tmp_path / "model").mkdir()
    (tmp_path / "dataset").mkdir()
    (tmp_path / "model" / "Mumble.yaml").write_text(
        """# Mumbles.
aliases: {old_mumble: {stages: [second]}}
Mumble: {width: 1.0}
stages: [first, second]
first: {batch_size: 64, loss_weights: {sync: 0.5}}
second: {learning_rate: 1e-3}
datasets: {words: {Mumble: {width: 0.25}, first: {epochs: 9}}}
smoke: {Mumble: {width: 0.1}}
"""
    )
    (tmp_path / "dataset" / "words.yaml").write_text("# Words.\nwords: {root: dataset/words, fps: 25.0, speakers: []}\nseed: 7\n")
    return tmp_path


def load(plugin, *flags, files=(), **overrides):
    flags = [tuple(flag.split("=", 1)) for flag in flags]
    return Config.load("Mumble", "words", files, {"plugins": [str(plugin)], **overrides}, flags)


def test_later_layers_win_and_say_where_a_value_came_from(plugin, tmp_path):
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text("words: {fps: 30}\nface: {smooth: 3}\n")
    second.write_text("face:\n  smooth: 7\n")
    config = load(plugin, "face.max_gap=4", files=[first, second], face={"max_gap": 3, "select": "left"})
    assert [config[k] for k in ("seed", "words.fps", "face.smooth", "face.max_gap", "face.select")] == [7, 30.0, 7, 4, "left"]
    assert config.origin("face.smooth") == f"{second}:2"
    assert config.origin("face.max_gap") == "--face.max_gap=4"
    assert config.origin("face.detector").startswith("overall.yaml:")
    assert config.origin("seed").endswith("words.yaml:3")


def test_a_model_may_have_its_own_settings_for_a_data_set(plugin):
    config = load(plugin)
    assert config["Mumble.width"] == 0.25 and config["first.epochs"] == 9
    assert load(plugin, "Mumble.width=2")["Mumble.width"] == 2.0


def test_training_settings_reach_every_stage_and_a_stage_of_the_same_layer_wins(plugin):
    assert load(plugin)["first.batch_size"] == 64
    config = load(plugin, "training.batch_size=2", "second.batch_size=3")
    assert (config["first.batch_size"], config["second.batch_size"], config["training.batch_size"]) == (2, 3, 2)


@pytest.mark.parametrize("name", ["mumble", "MUMBLE", "mum-ble", "Mum_ble"])
def test_names_forgive_case_dash_and_underscore(plugin, name):
    config = Config.load(name, "Words", overrides={"plugins": [str(plugin)]})
    assert (config["model"], config["dataset"], config["stages"]) == ("Mumble", "words", ["first", "second"])


def test_an_alias_may_carry_settings(plugin):
    config = Config.load("old-mumble", "words", overrides={"plugins": [str(plugin)]})
    assert (config["model"], config["stages"]) == ("Mumble", ["second"])


def test_smoke_sections_count_in_smoke_runs_only(plugin):
    assert load(plugin, "smoke=true")["Mumble.width"] == 0.1


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("training.learning_rate=1e-4", 1e-4),
        ("training.steps=1e5", 100_000),
        ("training.precision=no", "no"),
        ("training.betas=0.5,0.9", [0.5, 0.9]),
        ("training.betas=[0.5, 0.9]", [0.5, 0.9]),
        ("stages=second", ["second"]),
        ("deterministic=off", False),
        ("run_name=12", "12"),
    ],
)
def test_flags_are_read_as_the_type_of_their_setting(plugin, flag, value):
    result = load(plugin, flag)[flag.partition("=")[0]]
    assert result == value and type(result) is type(value)


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("generater.epochs=3", ["--generater.epochs: no such setting"]),
        ("frst.epochs=3", ["--frst.epochs: no such setting; did you mean --first.epochs?"]),
        ("batch_size=3", ["did you mean --training.batch_size?"]),
        ("seed=abc", ["--seed=abc: expected a whole number", "now 7", "words.yaml:3"]),
        ("seed=1.5", ["expected a whole number"]),
        ("deterministic=maybe", ["expected true or false"]),
        ("training.betas=[a, b]", ["expected a number"]),
        ("training=3", ["is a section"]),
        ("stages=frist", ["no stage is called 'frist'; did you mean 'first'? Mumble has: first, second"]),
    ],
)
def test_a_wrong_flag_is_named_with_the_nearest_right_one(plugin, flag, words):
    with pytest.raises(ConfigError) as error:
        load(plugin, flag)
    assert all(word in str(error.value) for word in words), error.value


def test_a_wrong_setting_in_a_file_is_named_with_its_line(plugin, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("seed: 1\nface:\n  smoth: 3\n")
    with pytest.raises(ConfigError, match=r"mine.yaml:3: face.smoth: no such setting; did you mean face.smooth\?"):
        load(plugin, files=[file])
    file.write_text("seed: one\n")
    with pytest.raises(ConfigError, match=r"mine.yaml:1: seed: expected a whole number, got 'one'"):
        load(plugin, files=[file])
    file.write_text("seed: 1\nseed: 2\n")
    with pytest.raises(ConfigError, match="mine.yaml:2: seed is set twice, first in line 1"):
        load(plugin, files=[file])


@pytest.mark.parametrize(
    "text",
    [
        "seed: !!python/object/apply:os.system ['touch ran']",
        "!!python/object/apply:os.system ['touch ran']",
        "face: !!python/dict {smooth: 1}",
        "seed: [1",
        "- a\n- b",
        "just words",
    ],
)
def test_a_file_that_is_no_settings_file_is_refused_and_runs_nothing(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match="bad.yaml"):
        read_layer(file)
    assert not (tmp_path / "ran").exists()


def test_the_saved_config_makes_the_same_config(plugin, tmp_path):
    config = load(plugin, "training.groups={generator: {learning_rate: 1e-5}}", "face.smooth=9")
    saved = tmp_path / "config.yaml"
    saved.write_text(config.to_yaml())
    again = Config.load(files=[saved])
    assert dict(again) == dict(config)


def test_unknown_names_suggest_a_neighbour(plugin):
    with pytest.raises(RegistryError, match="no model is called 'Mumbel'; did you mean 'Mumble'"):
        Config.load("Mumbel", overrides={"plugins": [str(plugin)]})
    with pytest.raises(RegistryError, match="no dataset is called 'wrds'"):
        Config.load("Mumble", "wrds", overrides={"plugins": [str(plugin)]})


def test_a_missing_config_key_is_an_error_in_code_too(plugin):
    with pytest.raises(ConfigError, match="did you mean seed"):
        load(plugin)["sed"]


def test_keys_of_older_programs_live_on(plugin, tmp_path, caplog):
    settings = plugin / "model" / "Mumble.yaml"
    settings.write_text(settings.read_text() + 'renamed: {netWidth: Mumble.width, fast: deterministic, gpu_ids: ""}\n')
    (tmp_path / "old.yaml").write_text("netWidth: 0.5\nfast: 0\ngpu_ids: 3\n")
    config = load(plugin, "netWidth=0.75", files=[tmp_path / "old.yaml"])
    assert config["Mumble.width"] == 0.75 and config.origin("Mumble.width") == "--netWidth=0.75"
    assert config["deterministic"] is False and "netWidth" not in config
    assert [record.getMessage() for record in caplog.records] == ["without effect here: gpu_ids."]
    with pytest.raises(ConfigError, match="--netWidth=wide: expected a number"):
        load(plugin, "netWidth=wide")
