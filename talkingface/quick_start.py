"""One run: data, stages, generation, scores, report."""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from talkingface.config import Config
from talkingface.dataset.base import SPLITS, Clip, ClipDataset
from talkingface.dataset.prepare import Prepared, prepare_clips
from talkingface.errors import ConfigError, DatasetError, TalkingFaceError
from talkingface.evaluator import Evaluator, Scored
from talkingface.face.finder import FaceFinder
from talkingface.log import log_to_file
from talkingface.media.files import CACHE, atomic
from talkingface.media.video import write_video
from talkingface.metric.base import ClipSource, Metric
from talkingface.model.base import Model, TalkingFace
from talkingface.model.stage import Stage
from talkingface.page import write_page
from talkingface.registry import DATASETS, METRICS, MODELS, load_folder
from talkingface.report import Report
from talkingface.trainer import parallel
from talkingface.trainer.settings import TrainingSettings
from talkingface.trainer.trainer import Trainer, set_seed

log = logging.getLogger(__name__)

VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".mpg", ".m4v")


@dataclass
class Outcome:
    """What a run leaves behind.

    Attributes:
        folder: saved/<run>, with config.yaml, log.txt, <stage>/, weights/, videos/ and report.json.
        report: the scores; None for a model that generates nothing.
        losses: stage -> its last validation losses.
        failed: clip -> why it could not be generated.
    """

    folder: Path
    report: Report | None
    losses: dict[str, dict[str, float]]
    failed: dict[str, str]


def run_talkingface(
    model: str = "",
    dataset: str = "",
    config_files: Sequence[Path | str] = (),
    **overrides: Any,
) -> Outcome:
    """Train and score a model from Python, as the command line does.

    Args:
        model, dataset: registered names.
        config_files: YAML files, later ones win.
        overrides: settings, nested: `training={"epochs": 3}`.
    """
    return run(Config.load(model, dataset, config_files, overrides))


def run(config: Config) -> Outcome:
    """Train the model's stages (or load weights), generate the test clips, score them, and write the run folder."""
    set_up(config)
    check_names(config)
    folder = run_folder(config)
    with log_to_file(folder / "log.txt"):
        write_text(folder / "config.yaml", config.to_yaml())
        dataset = build_dataset(config)
        model = build_model(config)
        losses: dict[str, dict[str, float]] = {}
        if config["evaluate_model_file"]:
            load(model, Path(config["evaluate_model_file"]))
        else:
            losses = train(config, model, dataset, folder)
            if parallel.is_main():
                model.save(folder / "weights")
        report, failed = None, {}
        if isinstance(model, TalkingFace) and parallel.is_main():
            clips = generated_clips(config, dataset)
            failed = generate_clips(model, clips, folder / "videos", config)
            videos = [scored(clip, folder / "videos") for clip in clips if clip.name not in failed]
            report = score(config, videos, failed, model, RunClips(config, model, dataset))
            report.notes += stand_ins(model, clips, folder / "videos")
            save_report(config, report, folder)
        parallel.wait()
    return Outcome(folder, report, losses, failed)


def set_up(config: Config) -> None:
    """Import the user's own classes, say where what is computed once is kept, and seed all chance."""
    if config["cache_dir"]:
        os.environ[CACHE] = str(Path(config["cache_dir"]).expanduser())
    set_seed(config["seed"], config["deterministic"])
    for folder in config["plugins"]:
        load_folder(Path(folder).expanduser())


def check_names(config: Config, needs: Sequence[str] = ("model", "dataset")) -> None:
    """Refuse what is not named, or known by no such name, before anything is made.

    Args:
        needs: what is to be named.

    Raises:
        ConfigError: the model or the data set is not given.
        RegistryError: nobody registered it, or one of the metrics.
    """
    for kind, registry, what in (("model", MODELS, "model"), ("dataset", DATASETS, "data set")):
        if kind not in needs:
            continue
        if not config[kind]:
            raise ConfigError(f"no {what} given: add --{kind}=NAME; `talkingface list {kind}s` names them.")
        registry.resolve(config[kind])
    for metric in config["evaluation.metrics"]:
        METRICS.resolve(metric.partition("@")[0])


def run_folder(config: Config) -> Path:
    """The run's folder: the one to resume, or a new one; every process gets the same."""
    if config["resume"]:
        return Path(config["resume"])
    now = datetime.now().strftime("%Y%m%d-%H%M%S")
    name = config["run_name"] or f"{config['model']}-{config['dataset']}-{now}"
    folder = Path(parallel.agree(str(Path(config["saved_dir"]) / name)))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"saved_dir: {folder} cannot be made: {error.strerror}. Set --saved_dir to a folder you can write to."
        ) from None
    return folder


def build_dataset(config: Config) -> ClipDataset:
    """The data set, made on the spot where it can be."""
    dataset: ClipDataset = construct(DATASETS[config["dataset"]], config.section(config["dataset"]), config["dataset"])
    if parallel.is_main():
        dataset.build()
    parallel.wait()
    return dataset


def build_model(config: Config) -> Model:
    """The model with made-up weights, on the run's device."""
    if not config["model"]:
        raise ConfigError("no model given: add --model=NAME; `talkingface list models` names them.")
    model: Model = construct(MODELS[config["model"]], config.section(config["model"]), config["model"])
    model.faces, model.checkpoints_dir = face_finder(config), Path(config["checkpoints_dir"])
    return model.to(parallel.device())


def load(model: Model, path: Path) -> None:
    """Load what there is of a model's weights; those that it generates with must be there."""
    model.load(path, needed=model.generates_with if isinstance(model, TalkingFace) else ())


def face_finder(config: Config) -> FaceFinder:
    """How this run finds faces."""
    return FaceFinder(**config.section("face"), checkpoints_dir=config["checkpoints_dir"])


def construct(cls: type, settings: Mapping[str, Any], name: str) -> Any:
    """An object of a registered class; a setting that its constructor does not know is the YAML file's mistake."""
    try:
        return cls(**settings)
    except TypeError as error:
        raise ConfigError(f"settings of {name} do not fit {cls.__module__}.{cls.__qualname__}: {error}.") from error


def train(config: Config, model: Model, dataset: ClipDataset, folder: Path) -> dict[str, dict[str, float]]:
    """Train the stages in order; each starts from what the ones before have learnt. Returns the last losses of each."""
    rehearse(config)
    clips = {split: prepare(config, model, dataset, split).clips for split in ("train", "val")}
    trained: set[str] = set()
    losses = {}
    for name in config["stages"]:
        settings, stage = build_stage(config, model, name)
        if stage.left_out:
            log.info("stage %s is left out: %s", name, stage.left_out)
            continue
        start_stage(config, model, name, stage, settings, trained)
        log.info("stage %s: %s", name, (type(stage).__doc__ or "").partition("\n")[0])
        trainer = Trainer(settings, folder / name, seed=config["seed"], deterministic=config["deterministic"], name=name)
        train_samples, val_samples = (stage.samples(clips[split], split) for split in ("train", "val"))
        result = trainer.fit(stage, train_samples, val_samples, resume=bool(config["resume"]), smoke=config["smoke"])
        losses[name] = result.losses
        trained |= {attribute for attribute in model.files if updated(stage) & set(getattr(model, attribute).modules())}
    complete(config, model, trained)
    return losses


def rehearse(config: Config) -> None:
    """Build another such model and its stages, so that what a later one or generation lacks is missed before anything is made."""
    with torch.random.fork_rng(devices=[]):
        model = build_model(config)
        for name in config["stages"]:
            build_stage(config, model, name)
        if isinstance(model, TalkingFace):
            model.ready()


def complete(config: Config, model: Model, trained: set[str]) -> None:
    """Load the published weights of what a model generates with and no stage has trained; say so where there are none."""
    for network in model.generates_with if isinstance(model, TalkingFace) else ():
        path = model.published(network, Path(config["checkpoints_dir"]))
        if network not in trained and path.is_file():
            model.load_published(network, Path(config["checkpoints_dir"]))
        elif network not in trained:
            log.warning("The %s has made-up weights: no stage of this run trained it, and %s does not exist.", network, path)


def updated(stage: Any) -> set[Any]:
    """The networks, or parts of networks, that a stage trains."""
    return {network for networks in stage.trainable().values() for network in networks}


def build_stage(config: Config, model: Model, name: str) -> tuple[TrainingSettings, Any]:
    """A stage and its training settings, from the section of its name."""
    section = config.section(name)
    training = {field.name: section.pop(field.name) for field in fields(TrainingSettings) if field.name in section}
    stage = construct(lambda **settings: model.stages[name](model, **settings), section, f"stage {name}")  # type: ignore[arg-type]
    return TrainingSettings(**training), stage.to(parallel.device())


def start_stage(config: Config, model: Model, name: str, stage: Stage, settings: TrainingSettings, trained: set[str]) -> None:
    """Load the weights that a stage starts from, and those of the networks that it needs and nobody has trained yet."""
    if settings.start:
        trained |= set(model.load(Path(settings.start)))
        return
    for network in stage.needs:
        if network not in trained:
            model.load_published(network, Path(config["checkpoints_dir"]), needed_by=name)
            trained.add(network)


def prepare(config: Config, model: Model, dataset: ClipDataset, split: str) -> Prepared:
    """The clips of a split with this model's features, made once; those that cannot be used are set aside."""
    clips = dataset.clips(split)
    if config["smoke"]:
        clips = clips[:2]
    prepared = prepare_listed(config, model, clips) if parallel.is_main() else None
    parallel.wait()
    return prepared or prepare_listed(config, model, clips)


def prepare_listed(config: Config, model: Model, clips: Sequence[Clip]) -> Prepared:
    """These clips with this model's features, made once."""
    folder = Path(config["prepare.dir"]) / config["dataset"] / config["model"]
    fingerprint = {"model": config["model"], **model.preparation(), "face": model.faces.fingerprint()}
    return prepare_clips(clips, model.prepare, folder, config["prepare.workers"], fingerprint)


def generated_clips(config: Config, dataset: ClipDataset) -> list[Clip]:
    """The clips that are generated and scored."""
    split = config["generation.split"]
    if split not in SPLITS:
        raise ConfigError(f"generation.split: expected one of {', '.join(SPLITS)}, got {split!r}.")
    clips = dataset.clips(split)
    limit = 1 if config["smoke"] else config["generation.clips"]
    if not clips:
        raise DatasetError(f"{config['dataset']} has no clips in its {split} split: nothing to generate.")
    return clips[:limit] if limit else clips


def generate_clips(model: TalkingFace, clips: Sequence[Clip], folder: Path, config: Config) -> dict[str, str]:
    """Write a video of each clip. Returns the clips that could not be generated, with the reason."""
    failed: dict[str, str] = {}
    for clip in tqdm(clips, desc="generate", unit="clip", leave=False):
        path = folder / f"{clip.name}.mp4"
        if path.is_file() and not config["generation.overwrite"]:
            continue
        try:
            generate(model, clip, path, config["generation.crf"])
            write_real(model, clip, real_video(folder, clip), config["generation.crf"])
        except TalkingFaceError as error:
            failed[clip.name] = str(error)
            log.warning("%s was not generated: %s", clip.name, error)
    return failed


def generate(model: TalkingFace, clip: Clip, path: Path, crf: int = 18) -> dict[str, Any]:
    """Write the video of one clip, and beside it which frames were left untouched and why (<name>.frames.json).

    Returns:
        {"frames": how many, "untouched": {reason: how many}}.
    """
    notes: list[str] = []
    model.eval()

    def images() -> Iterator[np.ndarray]:
        for frame in model.generate(clip):
            notes.append(frame.note)
            yield frame.image

    fps = model.frame_rate(clip)
    count = write_video(path, images(), fps, audio=model.sound(clip), crf=crf)
    for name, view in model.views(clip, path).items():
        sound = model.sound(clip) if view.with_sound else None
        write_video(path.with_suffix("") / f"{name}.mp4", view.frames, fps, audio=sound, crf=crf)
    counts = Counter(note for note in notes if note)
    if counts:
        write_text(path.with_suffix(".frames.json"), json.dumps({"frames": count, "notes": notes}, indent=1))
        log.warning("%s: %s", path.name, ", ".join(f"{n} frames untouched ({note})" for note, n in counts.items()))
    return {"frames": count, "untouched": dict(counts)}


def write_real(model: TalkingFace, clip: Clip, path: Path, crf: int = 18) -> None:
    """Write the real video as the model shows faces, where it cuts or aligns them: what a generated one is compared with."""
    if (frames := model.real(clip)) is not None:
        write_video(path, frames, model.frame_rate(clip), audio=model.sound(clip), crf=crf)


def real_video(videos: Path, clip: Clip) -> Path:
    """Where `write_real` writes: beside the folder of generated videos."""
    return videos.parent / "real" / f"{clip.name}.mp4"


def stand_ins(model: TalkingFace, clips: Sequence[Clip], videos: Path) -> list[str]:
    """A note on clips that have no real video and are compared with something else, where there are any."""
    count = sum(clip.truth is None and real_video(videos, clip).is_file() for clip in clips)
    return [f"{count} clips have no real video; what stands here as theirs is {model.stand_in}."] if count else []


def scored(clip: Clip, folder: Path) -> Scored:
    """A generated video with what it is compared with."""
    real = real_video(folder, clip)
    truth = real if real.is_file() else clip.truth
    return Scored(clip.name, folder / f"{clip.name}.mp4", truth, driving=clip.pose or clip.face)


def prepare_all(config: Config) -> dict[str, dict[str, Any]]:
    """Prepare every split. Returns split -> {"prepared": how many, "set_aside": {clip: reason}}."""
    set_up(config)
    check_names(config)
    dataset, model = build_dataset(config), build_model(config)
    counts = {}
    for split in SPLITS:
        prepared = prepare(config, model, dataset, split)
        reasons = {clip.name: clip.reason for clip in prepared.set_aside}
        counts[split] = {"prepared": len(prepared.clips), "set_aside": len(reasons), "reasons": reasons}
    return counts


def generate_one(
    config: Config, face: Path, audio: Path, pose: Path | None, output: Path, mouth: Path | None = None
) -> dict[str, Any]:
    """One talking video of any face and any speech, with published weights or those of --evaluate_model_file.

    Args:
        pose: the video whose head motion is followed; "none" for a head that stays still.
        mouth: the video that the speech comes from, to be shown beside the result.

    Raises:
        ConfigError: the model generates nothing.
        MissingWeightsError: there are no weights to generate with.
    """
    set_up(config)
    model = build_model(config)
    if not isinstance(model, TalkingFace):
        raise ConfigError(f"{config['model']} generates no videos; `talkingface list models` names those that do.")
    load(model, Path(config["evaluate_model_file"] or model.published_folder(config["checkpoints_dir"])))
    return generate(model, Clip(output.stem, face, audio, pose, mouth), output, config["generation.crf"])


def score_videos(config: Config, videos: Path, truth: Path | None) -> Report:
    """Score a video, or every video below a folder; the real ones have the same names below `truth`."""
    set_up(config)
    return score(config, pairs(videos, truth))


def pairs(videos: Path, truth: Path | None) -> list[Scored]:
    """The videos of a folder with the real ones of the same relative name (any video suffix).

    Raises:
        DatasetError: there are no videos, or `truth` is not there or not what `videos` is: a file or a folder.
    """
    if truth is not None and not truth.exists():
        raise DatasetError(f"{truth} does not exist: --truth names the real video, or the folder of the real videos.")
    if videos.is_file():
        return [Scored(videos.stem, videos, truth)]
    if truth is not None and truth.is_file():
        raise DatasetError(f"{truth} is one file, and {videos} is a folder: --truth should name the folder of the real videos.")
    found = videos_below(videos)
    if not found:
        raise DatasetError(f"{videos}: no video there. Videos end in {', '.join(VIDEO_SUFFIXES)}.")
    real = videos_below(truth) if truth else {}
    return [Scored(name, path, real.get(name)) for name, path in found.items()]


def videos_below(folder: Path) -> dict[str, Path]:
    """Relative name without suffix -> video file, sorted.

    Raises:
        DatasetError: two videos differ only in their suffix.
    """
    found: dict[str, Path] = {}
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES):
        first = found.setdefault(str(path.relative_to(folder).with_suffix("")), path)
        if first != path:
            raise DatasetError(f"{first} and {path} have one name: give one of them another.")
    return found


def build_metrics(config: Config) -> dict[str, Metric]:
    """The metrics of the run, by their registered names; NAME@VARIANT is one of the ways in which a metric can be measured."""
    metrics = {}
    for asked in config["evaluation.metrics"]:
        name, _, variant = asked.partition("@")
        name = METRICS.resolve(name)
        settings = config.section(name)
        metric = construct(METRICS[name], settings, name)
        if variant:
            metric.choose(variant)
        metric.faces, metric.checkpoints_dir = face_finder(config), Path(config["checkpoints_dir"])
        metric.settings = dict(settings)
        metrics[f"{name}@{variant}" if variant else name] = metric
    return metrics


def score(
    config: Config,
    videos: Sequence[Scored],
    failed: Mapping[str, str] | None = None,
    model: Model | None = None,
    clips: ClipSource | None = None,
) -> Report:
    """Score videos with the run's metrics, and the model that made them with those that score a model on clips."""
    evaluator = Evaluator(build_metrics(config), config["evaluation.controls"], config["evaluation.workers"])
    report = evaluator.evaluate(videos, model=config["model"], dataset=config["dataset"], failed=failed or {})
    if model is not None and clips is not None:
        evaluator.evaluate_model(model, clips, report)
    report.config = {key: {"value": value, "origin": config.origin(key)} for key, value in config.items()}
    return report


def save_report(config: Config, report: Report, folder: Path) -> None:
    """Write report.json and, unless it is switched off, report.html."""
    report.save(folder)
    if config["evaluation.page_clips"]:
        write_page(
            folder / "report.html", {folder.name: report}, config["evaluation.page_clips"], config["evaluation.page_seconds"]
        )


class RunClips(ClipSource):
    """The clips of a run's data set with the features of its model; a smoke run has two of each split."""

    def __init__(self, config: Config, model: Model, dataset: ClipDataset):
        super().__init__()
        self.config, self.model, self.dataset = config, model, dataset

    def listed(self, split: str) -> list[Clip]:
        clips = [replace(clip, face=clip.truth) for clip in self.dataset.clips(split) if clip.truth is not None]
        return clips[:2] if self.config["smoke"] else clips

    def prepared(self, clips: Sequence[Clip]) -> list[Clip]:
        return prepare_listed(self.config, self.model, clips).clips if clips else []


def write_text(path: Path, text: str) -> None:
    """Write a small text file whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
