"""Search over settings: each trial is a whole run; Ray spreads the trials over the cores of one machine or of several."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from talkingface.config import Config, flat_dict
from talkingface.errors import ConfigError
from talkingface.quick_start import build_dataset, run, set_up

log = logging.getLogger(__name__)


class Trial(NamedTuple):
    """One combination of settings, its run folder and its mean score."""

    settings: dict[str, Any]
    folder: str
    score: float


def search(config: Config) -> list[Trial]:
    """Run every trial of the section `tune`. Returns them best first.

    Raises:
        ConfigError: nothing to try, an unknown setting, or a column that has no direction.
    """
    import ray

    settings = config.section("tune")
    trials = combinations(settings["space"], settings["trials"], config["seed"])
    name = config["run_name"] or f"tune-{config['model']}-{config['dataset']}"
    configs = [config.replace({**trial, "run_name": f"{name}/trial-{number:03d}"}, "tune") for number, trial in enumerate(trials)]
    set_up(config)
    build_dataset(config)  # once, before all trials want it
    ray.init(address=settings["address"] or None, ignore_reinit_error=True, include_dashboard=False, log_to_driver=False)
    try:
        remote = ray.remote(num_cpus=settings["cpus"], num_gpus=settings["gpus"])(trial_score)
        scores = ray.get([remote.remote(one, settings["metric"]) for one in configs])
    finally:
        ray.shutdown()
    found = [
        Trial(trial, str(Path(one["saved_dir"]) / one["run_name"]), s)
        for trial, one, (s, _) in zip(trials, configs, scores, strict=True)
    ]
    return sorted(found, key=lambda trial: trial.score, reverse=scores[0][1])


def combinations(space: Mapping[str, Sequence[Any]], most: int, seed: int) -> list[dict[str, Any]]:
    """All combinations of the values of a space, or `most` of them drawn without repetition."""
    lists = flat_dict(space)
    if not lists or not all(isinstance(values, list) and values for values in lists.values()):
        raise ConfigError(f"tune.space: expected settings with lists of values, such as {{seed: [1, 2]}}, got {dict(space)!r}.")
    every = [dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())]
    if not most or most >= len(every):
        return every
    drawn = np.random.default_rng(seed).choice(len(every), most, replace=False)
    return [every[index] for index in sorted(drawn)]


def trial_score(config: Config, column: str) -> tuple[float, bool]:
    """Run one trial. Returns the mean of the deciding column, and whether higher is better."""
    report = run(config).report
    if report is None:
        raise ConfigError(f"{config['model']} generates nothing that could be scored: there is nothing to decide by.")
    column = column or next((name for name, value in report.columns.items() if value.higher_is_better is not None), "")
    if column not in report.means:
        raise ConfigError(f"tune.metric: {column!r} is no column of the report; it has {', '.join(report.means)}.")
    return report.means[column], bool(report.columns[column].higher_is_better)
