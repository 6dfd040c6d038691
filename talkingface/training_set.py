"""talkingface curate: from the settings of a command to `talkingface.curate`, and on to the models' own data."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from talkingface.config import Config
from talkingface.curate.base import Kit
from talkingface.curate.page import write_page
from talkingface.curate.run import Curated, build_steps, curate
from talkingface.errors import ConfigError, DatasetError
from talkingface.metric.sync import LSE
from talkingface.quick_start import construct, face_finder, prepare_all, set_up
from talkingface.registry import METRICS


def make_training_set(
    config: Config, raw: Path, output: Path, models: Sequence[str], config_of: Callable[[str], Config]
) -> Curated:
    """Make a training set of a folder of raw videos, and each model's own data of it.

    Args:
        models: whose data is prepared, as `talkingface prepare` does for the data set `folder`.
        config_of: model -> the settings of its preparation.

    Raises:
        DatasetError: not one clip was kept.
    """
    set_up(config)
    configs = {model: config_of(model) for model in models}
    raw, output = raw.expanduser().absolute(), output.expanduser().absolute()
    names = config["curate.steps"]
    if models and not {"write", "split"} <= set(names):
        raise ConfigError("--model prepares the clips that are written and listed: --steps should have write and split then.")
    steps = build_steps(
        names, {name: settings for name, settings in config.section("curate").items() if isinstance(settings, dict)}
    )
    asked = {step.name for step in steps}
    kit = Kit(output, face_finder(config), judge(config) if asked & {"speaker", "sync"} else None)
    found = curate(raw, output, steps, kit, config["curate.workers"])
    if config["curate.page_clips"]:
        write_page(output / "curation.html", found, raw, config.section("curate"), config["curate.page_clips"])
    if not found.kept:
        counts = ", ".join(f"{count} {reason}" for reason, count in found.reasons.items())
        raise DatasetError(f"{raw}: no clip was kept ({counts}). {output / 'manifest.jsonl'} says why, of each.")
    for model, settings in configs.items():
        prepare_all(settings)
        found.commands.append(
            f"python run_talkingface.py --model={model} --dataset=folder --folder.root={shlex.quote(str(output))}"
        )
    return found


def judge(config: Config) -> LSE | None:
    """What measures sync.

    Raises:
        ConfigError: the metric of that name judges no lip-sync.
    """
    asked = config["curate.sync.judge"]
    if asked.casefold() in ("none", ""):
        return None
    name = METRICS.resolve(asked)
    settings: dict[str, Any] = config.section(name)
    metric = construct(METRICS[name], settings, name)
    if not isinstance(metric, LSE):
        raise ConfigError(f"curate.sync.judge: expected LSE, DemoLSE or none, got {asked!r}: {name} measures no offset.")
    metric.checkpoints_dir = Path(config["checkpoints_dir"])
    return metric
