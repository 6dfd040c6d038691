"""Settings, optimizers, schedules and averages."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
import torch
import yaml

import talkingface
from talkingface.errors import ConfigError, TrainingError
from talkingface.trainer.optim import MovingAverage, factor, make_groups, make_schedule
from talkingface.trainer.settings import TrainingSettings
from tests.trainer.toy import ToyStage


def test_settings_are_the_section_of_the_yaml_file():
    path = Path(talkingface.__file__).parent / "properties" / "overall.yaml"
    section = yaml.safe_load(path.read_text(encoding="utf-8"))["training"]
    defaults = TrainingSettings()
    assert list(section) == [f.name for f in fields(TrainingSettings)]
    assert {k: v if k != "betas" else tuple(v) for k, v in section.items()} == {k: getattr(defaults, k) for k in section}
    assert TrainingSettings(**section).betas == [0.9, 0.999]


@pytest.mark.parametrize(
    "key, value, allowed",
    [
        ("epochs", -1, "a whole number of at least 0"),
        ("steps", 1.5, "a whole number"),
        ("batch_size", 0, "at least 1"),
        ("learning_rate", 0.0, "a number above 0"),
        ("learning_rate", float("nan"), "a number above 0"),
        ("betas", [0.9], "two numbers"),
        ("betas", [0.9, 1.0], "two numbers"),
        ("ema", 1.0, "below 1"),
        ("precision", "fp8", "one of no, bf16, fp16"),
        ("optimizer", "Lion", "one of Adam, AdamW, SGD"),
        ("schedule", "cosinus", "one of constant, cosine, linear, step, exponential"),
        ("schedule_gamma", 1.5, "at most 1"),
        ("nan_guard", "yes", "true or false"),
        ("groups", [1], "a table"),
        ("rates", {"generator": 0.0}, "network -> a number above 0"),
    ],
)
def test_a_value_out_of_range_is_named_with_what_is_allowed(key, value, allowed):
    with pytest.raises(ConfigError) as error:
        TrainingSettings(**{key: value})
    assert f"training.{key}: {value!r}" in str(error.value) and allowed in str(error.value)


def test_a_training_needs_an_end():
    with pytest.raises(ConfigError, match="at least one limit"):
        TrainingSettings(epochs=0)
    with pytest.raises(ConfigError, match="needs a length"):
        TrainingSettings(epochs=0, minutes=1.0, schedule="cosine")


def test_settings_of_groups_are_checked():
    with pytest.raises(ConfigError, match="training.groups.generator.learning_rat: .* did you mean 'learning_rate'"):
        TrainingSettings(groups={"generator": {"learning_rat": 1.0}})
    with pytest.raises(ConfigError, match="training.groups.generator.betas: 3 is not possible"):
        TrainingSettings(groups={"generator": {"betas": 3}})
    with pytest.raises(ConfigError, match="training.groups.critic: no such group; ToyStage has generator, discriminator"):
        make_groups(ToyStage(), TrainingSettings(groups={"critic": {"learning_rate": 1.0}}))


def test_each_group_has_its_own_optimizer():
    own = {"generator": {"amsgrad": True}, "discriminator": {"optimizer": "SGD", "learning_rate": 0.5, "momentum": 0.3}}
    groups = make_groups(ToyStage(), TrainingSettings(weight_decay=0.1, groups=own))
    assert type(groups["generator"].optimizer) is torch.optim.Adam
    assert groups["generator"].optimizer.defaults["amsgrad"] is True
    options = groups["discriminator"].optimizer.param_groups[0]
    assert (options["lr"], options["momentum"], options["weight_decay"]) == (0.5, 0.3, 0.1)
    assert groups["generator"].names[0] == "generator.0.weight"


def test_networks_may_learn_more_slowly_than_their_group():
    settings = TrainingSettings(learning_rate=0.1, optimizer="SGD", rates={"generator": 0.5, "generator.0": 0.01})
    stage = ToyStage()
    groups = make_groups(stage, settings)
    before = {name: parameter.clone() for name, parameter in stage.named_parameters()}
    for group in groups.values():
        group.set_schedule(lambda step: 0.5, 0)
        for parameter in group.parameters:
            parameter.grad = torch.ones_like(parameter)
        group.optimizer.step()
    moved = {name: float((before[name] - parameter).detach().mean()) for name, parameter in stage.named_parameters()}
    assert moved["generator.0.weight"] == pytest.approx(0.1 * 0.01 * 0.5, rel=1e-4)
    others = {name for name in moved if name.startswith("generator.") and not name.startswith("generator.0.")}
    assert others and all(moved[name] == pytest.approx(0.1 * 0.5 * 0.5, rel=1e-4) for name in others)
    assert moved[groups["discriminator"].names[0]] == pytest.approx(0.1 * 0.5, rel=1e-4)


@pytest.mark.parametrize("settings", [{"rates": {"expert": 0.1}}, {"groups": {"generator": {"rates": {"expert": 0.1}}}}])
def test_rates_are_of_networks_that_the_stage_trains(settings):
    with pytest.raises(ConfigError, match="training.rates.expert: ToyStage trains no such network, but generator, discriminator"):
        make_groups(ToyStage(), TrainingSettings(**settings))


def test_a_group_without_parameters_is_an_error():
    stage = ToyStage()
    stage.generator.requires_grad_(False)
    with pytest.raises(TrainingError, match="'generator' of ToyStage has no parameter to train"):
        make_groups(stage, TrainingSettings())
    stage = ToyStage()
    stage.trainable = lambda: {"other": [torch.nn.Linear(1, 1)]}
    with pytest.raises(TrainingError, match="no attributes of the stage"):
        make_groups(stage, TrainingSettings())


@pytest.mark.parametrize(
    "schedule, expected",
    [
        ("constant", [1, 1, 1, 1]),
        ("linear", [1, 0.5, 0, 0]),
        ("cosine", [1, 0.5, 0, 0]),
        ("step", [1, 1, 0.1, 0.01]),
        ("exponential", [1, 0.1**0.5, 0.1, 0.01]),
    ],
)
def test_schedules(schedule, expected):
    length = 10
    assert [factor(schedule, 0, length, 0.1, step) for step in (0, 5, 10, 20)] == pytest.approx(expected)


def test_the_learning_rate_rises_first():
    schedule = make_schedule(TrainingSettings(warmup_steps=3, schedule="linear", schedule_steps=13), length=99)
    assert [schedule(step) for step in (0, 1, 2, 3, 8, 13)] == pytest.approx([0.25, 0.5, 0.75, 1, 0.5, 0])


def test_the_learning_rate_may_stay_for_some_epochs_before_it_falls():
    schedule = make_schedule(TrainingSettings(warmup_steps=1, hold_epochs=2.5, schedule="linear"), length=16, per_epoch=2)
    assert [schedule(step) for step in (0, 1, 5, 6, 11, 16)] == pytest.approx([0.5, 1, 1, 1, 0.5, 0])


def test_a_schedule_goes_on_where_it_was():
    settings = TrainingSettings(learning_rate=2.0, schedule="cosine", warmup_steps=2)
    schedule, rates = make_schedule(settings, 10), []
    group = make_groups(ToyStage(), settings)["generator"]
    group.set_schedule(schedule, 0)
    for _ in range(10):
        rates.append(group.learning_rate())
        group.optimizer.step()
        group.schedule.step()
    for step in range(10):
        again = make_groups(ToyStage(), settings)["generator"]
        again.set_schedule(schedule, step)
        assert again.learning_rate() == rates[step] == 2.0 * schedule(step)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"amsgrad": True},
        {"optimizer": "AdamW"},
        {"optimizer": "SGD", "momentum": 0.9},
        {"optimizer": "SGD"},
        {"amsgrad": True, "rates": {"generator": {"0": 0.5}}},
    ],
)
def test_an_optimizer_is_restored_by_parameter_name(options):
    def step(groups):
        for i, parameter in enumerate(groups["generator"].parameters):
            parameter.grad = torch.full_like(parameter, i + 1.0)
        groups["generator"].optimizer.step()

    stage, other = ToyStage(), ToyStage()
    settings = TrainingSettings(learning_rate=0.1, **options)
    groups = make_groups(stage, settings)
    step(groups)
    again = make_groups(other, settings)
    other.load_state_dict(stage.state_dict())
    again["generator"].load_state({name: tensor.clone() for name, tensor in groups["generator"].state().items()})
    step(groups), step(again)
    assert all(torch.equal(a, b) for a, b in zip(stage.parameters(), other.parameters(), strict=True))


def test_averages_follow_trained_weights_and_running_statistics():
    stage = ToyStage()
    average = MovingAverage(stage, 0.75)
    assert not any(name.startswith("expert") or name == "seen" for name in average.average)
    assert "generator.1.running_mean" in average.average and "generator.1.num_batches_tracked" not in average.average
    with torch.no_grad():
        start = stage.generator[0].weight.clone()
        stage.generator[0].weight += 1
        stage.generator[1].running_mean += 1
    average.update(1000)
    with average.applied():
        torch.testing.assert_close(stage.generator[0].weight, start + 0.25)
        torch.testing.assert_close(stage.generator[1].running_mean, torch.full((4,), 0.25))
    torch.testing.assert_close(stage.generator[0].weight, start + 1)
