"""TrainingSettings: how one stage is trained, checked where the values come in."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from talkingface.config import flat_dict
from talkingface.errors import ConfigError

OPTIMIZERS = ("Adam", "AdamW", "SGD")
SCHEDULES = ("constant", "cosine", "linear", "step", "exponential")
PRECISIONS = ("no", "bf16", "fp16", "auto")
OF_GROUPS = ("optimizer", "learning_rate", "betas", "amsgrad", "weight_decay", "momentum", "rates", "clip_norm")
SMOKE_STEPS, SMOKE_BATCH = 2, 2


@dataclass(frozen=True)
class TrainingSettings:
    """The section `training` of properties/overall.yaml, where every value is explained; a stage's own section may change it.

    Raises:
        ConfigError: a value is out of range; the message names it and what is allowed.
    """

    epochs: int = 1
    steps: int = 0
    minutes: float = 0.0
    batch_size: int = 16
    accumulate: int = 1
    workers: int = 0
    precision: str = "no"
    optimizer: str = "Adam"
    learning_rate: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    amsgrad: bool = False
    weight_decay: float = 0.0
    momentum: float = 0.0
    rates: Mapping[str, Any] = field(default_factory=dict)
    groups: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    schedule: str = "constant"
    warmup_steps: int = 0
    hold_epochs: float = 0.0
    schedule_steps: int = 0
    schedule_gamma: float = 0.1
    clip_norm: float = 0.0
    ema: float = 0.0
    validate_every: int = 0
    validate_at_start: bool = False
    validation_batches: int = 0
    checkpoint_every: int = 0
    keep: int = 1
    patience: int = 0
    log_every: int = 10
    preview_every: int = 0
    nan_guard: bool = True
    start: str = ""
    tensorboard: bool = False
    wandb: str = ""

    def __post_init__(self) -> None:
        for key, (allowed, fits) in RANGES.items():
            value = getattr(self, key)
            if not is_fitting(value, fits):
                raise ConfigError(f"training.{key}: {value!r} is not possible; it must be {allowed}.")
        for group, own in self.groups.items():
            check_group(group, own)
        if not (self.epochs or self.steps or self.minutes):
            raise ConfigError("training.epochs, training.steps and training.minutes are all 0: set at least one limit above 0.")
        if self.schedule != "constant" and not (self.epochs or self.steps or self.schedule_steps):
            raise ConfigError(f"training.schedule: {self.schedule!r} needs a length; set epochs, steps or schedule_steps.")

    def of_group(self, group: str) -> TrainingSettings:
        """The settings of one group's optimizer: its own values, else the stage's."""
        return replace(self, groups={}, **self.groups.get(group, {}))

    def smoke(self, num_processes: int = 1) -> TrainingSettings:
        """The same training, as short as it can be: two updates of two samples, one validation batch."""
        batch = min(self.batch_size, SMOKE_BATCH * num_processes)
        return replace(
            self, epochs=0, steps=SMOKE_STEPS, minutes=0.0, batch_size=batch, accumulate=1, workers=0, validate_every=0,
            validate_at_start=False, validation_batches=1, checkpoint_every=0, preview_every=0, log_every=1,
        )  # fmt: skip


Test = Callable[[Any], bool]


def number(low: float, high: float = math.inf, *, above: bool = False, below: bool = False, whole: bool = False) -> Test:
    """A test for numbers from `low` (itself excluded if `above`) to `high` (itself excluded if `below`)."""

    def fits(value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or not math.isfinite(value):
            return False
        return (value > low if above else value >= low) and (value < high if below else value <= high)

    return fits


def one_of(names: tuple[str, ...]) -> tuple[str, Test]:
    return "one of " + ", ".join(names), lambda value: value in names


COUNT = ("a whole number of at least 0", number(0, whole=True))
POSITIVE = ("a whole number of at least 1", number(1, whole=True))
FLAG = ("true or false", lambda value: isinstance(value, bool))
TEXT = ("text", lambda value: isinstance(value, str))
AT_LEAST_0 = ("a number of at least 0", number(0))
DECAY = ("a number from 0 to below 1", number(0, 1, below=True))
RANGES: dict[str, tuple[str, Test]] = {
    "epochs": COUNT, "steps": COUNT, "minutes": AT_LEAST_0, "batch_size": POSITIVE, "accumulate": POSITIVE, "workers": COUNT,
    "precision": one_of(PRECISIONS), "optimizer": one_of(OPTIMIZERS),
    "learning_rate": ("a number above 0", number(0, above=True)),
    "betas": ("two numbers from 0 to below 1", lambda value: len(value) == 2 and all(DECAY[1](beta) for beta in value)),
    "amsgrad": FLAG, "weight_decay": AT_LEAST_0, "momentum": DECAY,
    "rates": ("a table: network -> a number above 0", lambda value: all(map(number(0, above=True), flat_dict(value).values()))),
    "groups": ("a table: group -> its settings", lambda value: all(isinstance(own, Mapping) for own in value.values())),
    "schedule": one_of(SCHEDULES), "warmup_steps": COUNT, "hold_epochs": AT_LEAST_0,
    "schedule_steps": COUNT, "schedule_gamma": ("a number above 0, at most 1", number(0, 1, above=True)),
    "clip_norm": AT_LEAST_0, "ema": DECAY, "validate_every": COUNT, "validate_at_start": FLAG, "validation_batches": COUNT,
    "checkpoint_every": COUNT, "keep": COUNT, "patience": COUNT, "log_every": POSITIVE, "preview_every": COUNT,
    "nan_guard": FLAG, "start": TEXT, "tensorboard": FLAG, "wandb": TEXT,
}  # fmt: skip
assert set(RANGES) == {f.name for f in fields(TrainingSettings)}


def is_fitting(value: Any, fits: Test) -> bool:
    """Whether a value passes its test; one of another kind, which the test cannot even look at, does not."""
    try:
        return fits(value)
    except (TypeError, AttributeError):
        return False


def check_group(group: str, own: Mapping[str, Any]) -> None:
    """Refuse settings that an optimizer does not have, and values out of their range."""
    for key, value in own.items():
        if key not in OF_GROUPS:
            close = difflib.get_close_matches(str(key), OF_GROUPS, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"a group may set {', '.join(OF_GROUPS)}."
            raise ConfigError(f"training.groups.{group}.{key}: no such setting of a group; {hint}")
        allowed, fits = RANGES[key]
        if not is_fitting(value, fits):
            raise ConfigError(f"training.groups.{group}.{key}: {value!r} is not possible; it must be {allowed}.")
