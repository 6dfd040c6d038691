"""--dry_run: what a run would load, how large it is, and where its outputs go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from talkingface.config import Config
from talkingface.dataset.base import SPLITS
from talkingface.errors import TalkingFaceError
from talkingface.quick_start import build_model, build_stage, construct, set_up
from talkingface.registry import DATASETS


def plan(config: Config) -> tuple[dict[str, Any], str]:
    """The plan as an object and as text; builds the networks, writes nothing."""
    set_up(config)
    model = build_model(config)
    size = {name: count(network) for name, network in model.named_children()}
    stages = {}
    for name in config["stages"]:
        settings, stage = build_stage(config, model, name)
        stages[name] = {
            "trains": {group: sum(map(count, networks)) for group, networks in stage.trainable().items()},
            "needs": list(stage.needs),
            "limits": {limit: getattr(settings, limit) for limit in ("epochs", "steps", "minutes") if getattr(settings, limit)},
            "batch_size": settings.batch_size,
        }
    result = {
        "model": config["model"],
        "parameters": size,
        "dataset": config["dataset"],
        "clips": clip_counts(config),
        "stages": {} if config["evaluate_model_file"] else stages,
        "weights": weights(config, model),
        "output": str(
            Path(config["resume"] or config["saved_dir"]) / ("" if config["resume"] else config["run_name"] or "<new run>")
        ),
    }
    return result, as_text(result)


def count(network: Any) -> int:
    """Values in a network's parameters."""
    return sum(parameter.numel() for parameter in network.parameters())


def clip_counts(config: Config) -> dict[str, int | str]:
    """Clips per split, or why they cannot be listed."""
    dataset = construct(DATASETS[config["dataset"]], config.section(config["dataset"]), config["dataset"])
    counts: dict[str, int | str] = {}
    for split in SPLITS:
        try:
            counts[split] = len(dataset.clips(split))
        except TalkingFaceError as error:
            counts[split] = str(error)
    return counts


def weights(config: Config, model: Any) -> dict[str, str]:
    """Published or given weights -> whether they are on this disk."""
    if config["evaluate_model_file"]:
        path = Path(config["evaluate_model_file"])
        return {str(path): "there" if path.exists() else "missing"}
    paths = [model.published(network, Path(config["checkpoints_dir"])) for network in model.files]
    return {str(path): "there" if path.is_file() else "missing" for path in paths}


def as_text(result: dict[str, Any]) -> str:
    """The plan in lines."""
    total = sum(result["parameters"].values())
    lines = [f"{result['model']}: {total:,} parameters"]
    lines += [f"  {name:<14} {size:>12,}" for name, size in result["parameters"].items()]
    lines += [f"{result['dataset']}: " + ", ".join(f"{split} {n}" for split, n in result["clips"].items())]
    for name, stage in result["stages"].items():
        trains = ", ".join(f"{group} {size:,}" for group, size in stage["trains"].items())
        limits = ", ".join(f"{n:g} {limit}" for limit, n in stage["limits"].items())
        needs = f"; needs {', '.join(stage['needs'])}" if stage["needs"] else ""
        lines.append(f"stage {name}: {trains}; batches of {stage['batch_size']}; at most {limits}{needs}")
    lines += [f"{path}: {state}" for path, state in result["weights"].items()]
    return "\n".join([*lines, f"output: {result['output']}"])
