"""What the contract tests share: a tiny demo world, and tiny models, stages and metrics built as a run builds them."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from talkingface.config import Config, settings_files
from talkingface.dataset.base import Clip, Samples
from talkingface.metric.base import Metric
from talkingface.model.base import Model, TalkingFace
from talkingface.model.stage import Batch, Stage
from talkingface.nn.weights import save_weights
from talkingface.quick_start import build_metrics, build_model, build_stage
from talkingface.registry import DATASETS, MODELS, load_builtins
from talkingface.trainer import parallel
from talkingface.trainer.chance import set_seed
from talkingface.trainer.loader import stack
from talkingface.trainer.settings import TrainingSettings
from talkingface.trainer.trainer import Trainer

for kind in ("model", "dataset", "metric"):
    load_builtins(kind)
STAGES = [(model, stage) for model in MODELS for stage in MODELS[model].stages]
TALKING = [name for name, cls in MODELS.items() if issubclass(cls, TalkingFace)]

TINY: dict[str, dict[str, Any]] = {  # settings below those for the demo world, for speed; a model may do without
    "Wav2Lip": {"width": 0.1, "wav2lip_batch_size": 8},
    "SyncNet": {"width": 0.05, "image_size": 96, "embedding": 16},
}


# --- settings files ---------------------------------------------------------------------------------------------------


def settings_file(kind: str, name: str) -> tuple[str, dict[str, Any]]:
    """Text and content of the settings file of a registered name."""
    text = settings_files(kind)[name].read_text(encoding="utf-8")
    return text, yaml.safe_load(text)


def arguments(cls: type, leave_out: tuple[str, ...] = ()) -> set[str]:
    """The names of a constructor's arguments."""
    return set(inspect.signature(cls).parameters) - set(leave_out)


def explained(text: str, section: str) -> set[str]:
    """The keys of a top-level section that have a comment in their line or just above, or are a section themselves."""
    found, inside, above = set(), False, False
    for line in text.splitlines():
        if line and line[0] not in "# ":
            inside = line.startswith(f"{section}:")
        key = re.match(r"  (\w+):(.*)", line)
        if inside and key and (above or "#" in key[2] or not key[2].strip()):
            found.add(key[1])
        above = line.strip().startswith("#")
    return found


# --- the world and what is built in it --------------------------------------------------------------------------------


@dataclass
class World:
    """A demo world as small as it can be, with the features of each model that was asked for.

    Attributes:
        folder: of everything that is written.
    """

    folder: Path
    prepared: dict[str, list[Clip]] = field(default_factory=dict)

    def config(self, model: str = "", overrides: Mapping[str, Any] | None = None) -> Config:
        """The settings of a smoke run on the demo world."""
        tiny = {model: TINY[model]} if model in TINY else {}
        places = {"demo.root": str(self.folder / "demo"), "demo.workers": 1, "checkpoints_dir": str(self.folder / "checkpoints")}
        config = Config.load(model, "demo", overrides={"smoke": True, **tiny, **places, **(overrides or {})})
        return config.replace({"demo.root": f"{config['demo.root']}-words"}, "tests") if config["demo.words"] else config

    def clips(self, split: str, model: str = "") -> list[Clip]:
        """The clips of a split, of the world that a model asks for; it is made at the first call."""
        config = self.config(model)
        dataset = DATASETS["demo"](**config.section("demo"))
        dataset.build()
        return dataset.clips(split)

    def model(self, name: str, seed: int = 0, overrides: Mapping[str, Any] | None = None) -> Model:
        """A tiny model with made-up weights."""
        set_seed(seed)
        return build_model(self.config(name, overrides)).eval()

    def stage(self, name: str, stage: str, seed: int = 0) -> tuple[Model, Stage, TrainingSettings]:
        """A stage of a tiny model, and its training settings."""
        model = self.model(name, seed)
        settings, built = build_stage(self.config(name), model, stage)
        return model, built, settings

    def features(self, name: str) -> list[Clip]:
        """The two training clips with a model's features, made once."""
        if name not in self.prepared:
            model, folder = self.model(name), self.folder / "features" / name
            self.prepared[name] = [prepare(model, clip, folder / clip.name) for clip in self.clips("train", name)]
        return self.prepared[name]

    def samples(self, name: str, stage: Stage, split: str = "train") -> Samples:
        """A stage's samples of the training clips."""
        return stage.samples(self.features(name), split)

    def metric(self, name: str) -> Metric:
        """A metric as a run builds it; the judge of a demo metric is a made-up one."""
        settings = {f"{name}.{key}": value for key, value in METRIC_SETTINGS.get(name, lambda world: {})(self).items()}
        return build_metrics(self.config(overrides={"evaluation.metrics": [name], **settings}))[name]


def demo_judge(world: World) -> dict[str, Any]:
    """A judge with made-up weights."""
    path = world.folder / "judge.safetensors"
    if not path.exists():
        model = world.model("SyncNet")
        save_weights(path, model.syncnet.state_dict(), model.sizes())
    return {"weights": str(path)}


METRIC_SETTINGS: dict[str, Callable[[World], dict[str, Any]]] = {"DemoLSE": demo_judge, "MS-SSIM": lambda world: {"scales": 3}}


def prepare(model: Model, clip: Clip, folder: Path) -> Clip:
    """The clip with a model's features in a new folder."""
    folder.mkdir(parents=True)
    model.prepare(clip, folder)
    return clip.with_prepared(folder)


# --- training ---------------------------------------------------------------------------------------------------------


class OneBatch(Samples):
    """Two samples that are the same in each epoch: a batch that can be learnt by heart."""

    def __init__(self, samples: Samples):
        self.members = [samples.sample(index, np.random.default_rng(index)) for index in range(2)]

    def __len__(self) -> int:
        return len(self.members)

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return self.members[index]


class Twice(Samples):
    """All samples twice in an epoch, so that an epoch of two clips is more than one update."""

    def __init__(self, samples: Samples):
        self.samples = samples

    def __len__(self) -> int:
        return 2 * len(self.samples)

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return self.samples.sample(index % len(self.samples), rng)


def batch_of(samples: Samples) -> Batch:
    """Two samples as a batch."""
    return stack([samples.sample(index, np.random.default_rng(index)) for index in range(2)], range(2))


def fit(
    stage: Stage, settings: TrainingSettings, folder: Path, train: Samples, val: Samples | None = None, resume: bool = False,
    **changes: Any,
) -> list[dict[str, Any]]:  # fmt: skip
    """Train on the CPU, by default one update of two samples. Returns the lines of metrics.jsonl."""
    short = {"epochs": 0, "steps": 1, "minutes": 0.0, "batch_size": 2, "log_every": 1, "start": ""}
    rare = {"validate_every": 0, "validate_at_start": False, "validation_batches": 1}
    settings = replace(settings, **{**short, **rare, **changes})
    Trainer(settings, folder, seed=1, device="cpu", name="contract").fit(stage, train, val, resume=resume)
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def state(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of all parameters and buffers."""
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def different(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> set[str]:
    """The names whose values are not the same bits."""
    assert one.keys() == other.keys()
    return {name for name in one if not torch.equal(one[name], other[name])}


def updated_names(stage: Stage) -> dict[str, bool]:
    """Name of every tensor of the networks that a stage trains -> whether it is a parameter."""
    owned = {id(t) for networks in stage.trainable().values() for n in networks for t in (*n.parameters(), *n.buffers())}
    parameters = {name: True for name, tensor in stage.named_parameters() if id(tensor) in owned}
    return parameters | {name: False for name, tensor in stage.named_buffers() if id(tensor) in owned}


parallel.processes(cpu=True)  # contracts are of one CPU, also on a machine with an accelerator
