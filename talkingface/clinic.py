"""Sync clinic: why does a lip-sync expert not learn? Checks of its data, labels, batch, learning rate; a verdict; what to do.

The most asked question of the field is a sync loss that stays at 0.69 (the cross entropy of guessing). Each check looks for
one of the causes that users found. It takes minutes, not a training.
"""

from __future__ import annotations

import copy
import json
import logging
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from talkingface.config import Config
from talkingface.dataset.base import Clip, Samples
from talkingface.errors import ConfigError, MissingWeightsError, ScoreError, TalkingFaceError, TrainingError
from talkingface.media.audio import load_audio
from talkingface.media.video import Video
from talkingface.metric.landmark import MOUTH, silent_frames
from talkingface.metric.sync import LSE
from talkingface.model.base import Model
from talkingface.model.stage import Stage
from talkingface.quick_start import build_dataset, build_metrics, build_model, build_stage, check_names, prepare, set_up
from talkingface.trainer.settings import TrainingSettings
from talkingface.trainer.trainer import Trainer

log = logging.getLogger(__name__)

FPS, SAMPLE_RATE = 25.0, 16_000
DRIFT = 0.04, 0.02  # seconds, and share of the clip, by which sound and picture may differ in length
FEW = 0.2  # share of clips (or frames) that may be as they should not
OFFSET = 1  # frames
COMPARISONS = 16  # in an update, at least
RATES = (1e-5, 1e-4, 1e-3, 1e-2)
LEARNT, MOVED = 0.5, 0.1  # share of the first loss that is left, and of the best rate's progress that is enough


class Finding(NamedTuple):
    """What one check found.

    Attributes:
        state: "ok", "fault" or "unknown" (it could not be checked).
        remedy: the next command or step; "" where there is nothing to do.
    """

    check: str
    state: str
    text: str
    remedy: str = ""


@dataclass
class Diagnosis:
    """All findings, in the order in which causes should be removed."""

    findings: list[Finding]

    @property
    def faults(self) -> list[Finding]:
        """Those that need a remedy."""
        return [finding for finding in self.findings if finding.state == "fault"]

    @property
    def verdict(self) -> str:
        """One sentence."""
        if self.faults:
            names = ", ".join(finding.check for finding in self.faults)
            return f"{len(self.faults)} likely causes: {names}. Begin with the first."
        return "nothing is wrong with what was checked: train longer (published experts took 150 000 updates and more)."

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        first = self.faults[0].remedy if self.faults else ""
        return {"verdict": self.verdict, "next": first, "findings": [finding._asdict() for finding in self.findings]}

    def text(self) -> str:
        """As lines: each check, then the verdict and the next step."""
        width = max(len(finding.check) for finding in self.findings)
        lines = [f"{finding.state:<8}{finding.check:<{width}}  {finding.text}" for finding in self.findings]
        following = [f"next: {self.faults[0].remedy}"] if self.faults and self.faults[0].remedy else []
        return "\n".join([*lines, self.verdict, *following])


@dataclass
class Patient:
    """A lip-sync expert before its training, and what it is to learn from.

    Attributes:
        name: of the stage.
        clips: prepared training clips, evenly drawn.
        of: how many clips there are.
        judge: an LSE metric that measures offsets.
    """

    model: Model
    name: str
    stage: Stage
    settings: TrainingSettings
    clips: Sequence[Clip]
    of: int
    judge: LSE | None
    steps: int
    seed: int = 0

    @cached_property
    def samples(self) -> Samples:
        """The training samples of the clips."""
        return self.stage.samples(self.clips, "train")

    def drawn(self, count: int) -> list[dict[str, np.ndarray]]:
        """So many training samples."""
        size = len(self.samples)
        return [self.samples.sample(index % size, np.random.default_rng([self.seed, index])) for index in range(count)]

    def share(self, bad: Sequence[bool]) -> float:
        """The share of clips that are as they should not be."""
        return sum(bad) / max(1, len(bad))


def examine(config: Config) -> Diagnosis:
    """Check a model's lip-sync expert on a data set.

    Raises:
        ConfigError: the model trains none.
    """
    set_up(config)
    check_names(config)
    dataset, model = build_dataset(config), build_model(config)
    name = config["clinic.stage"] or expert_stage(config, model)
    if name not in model.stages:
        raise ConfigError(f"clinic.stage: {config['model']} has no stage {name!r}; it has {', '.join(model.stages)}.")
    settings, stage = build_stage(config, model, name)
    clips = prepare(config, model, dataset, "train").clips
    chosen = [clips[index] for index in np.unique(np.linspace(0, len(clips) - 1, config["clinic.clips"]).round().astype(int))]
    patient = Patient(
        model, name, stage, settings, chosen, len(clips), find_judge(config), config["clinic.steps"], config["seed"]
    )
    return diagnose(patient)


def expert_stage(config: Config, model: Model) -> str:
    """The first stage whose validation watches the sync loss and that needs no other."""
    for name in config["stages"]:
        _, stage = build_stage(config, model, name)
        if stage.monitor == "sync" and not stage.needs:
            return name
    raise ConfigError(f"{config['model']} trains no lip-sync expert; --clinic.stage names the stage to be examined.")


def find_judge(config: Config) -> LSE | None:
    """The run's first sync metric."""
    return next((metric for metric in build_metrics(config).values() if isinstance(metric, LSE)), None)


def diagnose(patient: Patient) -> Diagnosis:
    """Run all checks."""
    findings: list[Finding] = []
    for check in tqdm(CHECKS, desc="clinic", unit="check", leave=False, disable=None):
        try:
            findings += check(patient)
        except TalkingFaceError as error:
            findings.append(Finding(check.__name__.replace("_", " "), "unknown", str(error)))
    return Diagnosis(findings)


# --- the data ---------------------------------------------------------------------------------------------------------


def frame_rate(patient: Patient) -> list[Finding]:
    """Frames as often as windows need them, and sound as long as its picture."""
    videos = [Video(clip.face) for clip in patient.clips]
    slow = [video for video in videos if video.source_fps < FPS - 1]
    rates = sorted({round(video.source_fps, 2) for video in videos})
    drifting = [(clip, gap) for clip, video in zip(patient.clips, videos, strict=True) if (gap := length_gap(clip, video))]
    found = []
    if patient.share([video in slow for video in videos]) > FEW:
        text = f"{len(slow)} of {len(videos)} clips have fewer than 24 frames per second ({min(rates):g}): mouths are repeated."
        found.append(Finding("frame rate", "fault", text, f"use other clips; {slow[0].path} is one of the slow ones."))
    if patient.share([any(clip is one for one, _ in drifting) for clip in patient.clips]) > FEW:
        clip, gap = drifting[0]
        text = f"{len(drifting)} of {len(videos)} clips have a sound {gap:+.2f} s longer than their picture, such as {clip.name}."
        remedy = "cut the clips again from their sources, picture and sound in one step; a changed speed ruins every label."
        found.append(Finding("frame rate", "fault", text, remedy))
    return found or [Finding("frame rate", "ok", f"{', '.join(f'{rate:g}' for rate in rates)} frames per second; sound fits.")]


def length_gap(clip: Clip, video: Video) -> float:
    """Seconds by which the sound is longer than the picture; 0 where that is within what containers round."""
    if video.is_still:
        return 0.0
    gap = len(load_audio(clip.audio, SAMPLE_RATE)) / SAMPLE_RATE - video.duration
    return gap if abs(gap) > DRIFT[0] + DRIFT[1] * video.duration else 0.0


def silence(patient: Patient) -> list[Finding]:
    """Somebody has to speak."""
    shares = []
    for clip in patient.clips:
        wav = load_audio(clip.audio, SAMPLE_RATE)
        frames = max(1, round(len(wav) / SAMPLE_RATE * FPS))
        quiet = not len(wav) or float(np.abs(wav).max()) < 1e-3
        shares.append(1.0 if quiet else float(silent_frames(wav, FPS, frames).mean()))
    mute = [clip for clip, share in zip(patient.clips, shares, strict=True) if share > 0.5]
    text = f"{100 * np.mean(shares):.0f} % of the frames are silent"
    if len(mute) > FEW * len(shares):
        remedy = f"leave out clips in which nobody speaks, such as {mute[0].audio}."
        return [Finding("silence", "fault", f"{text}; {len(mute)} of {len(shares)} clips for the most part.", remedy)]
    return [Finding("silence", "ok", f"{text}.")]


def crop(patient: Patient) -> list[Finding]:
    """The expert looks at lower halves of faces: a mouth has to be there, and large enough."""
    hidden = low = small = total = 0
    for clip in patient.clips:
        video = Video(clip.face, FPS)
        track = patient.model.faces.boxes(video)
        points = patient.model.faces.landmarks(video, track).landmarks[:, MOUTH].mean(axis=1)
        middle, side = track.boxes[:, [1, 3]].mean(axis=1), track.boxes[:, 3] - track.boxes[:, 1]
        seen = ~np.isnan(points).any(axis=1) & ~np.isnan(side)
        total, hidden = total + len(seen), hidden + int((~seen).sum())
        inside = (points[:, 1] > middle) & (points[:, 1] < track.boxes[:, 3])
        inside &= (points[:, 0] > track.boxes[:, 0]) & (points[:, 0] < track.boxes[:, 2])
        low, small = low + int((seen & ~inside).sum()), small + int((seen & (side < 40)).sum())
    found = []
    remedy = "look at the previews of a short training, and choose another --face.detector or --face.select."
    if hidden > FEW * total:
        found.append(Finding("crop", "fault", f"{hidden} of {total} frames show no face.", remedy))
    if low > FEW * total:
        found.append(
            Finding("crop", "fault", f"in {low} of {total} frames the mouth is not in the lower half of the box.", remedy)
        )
    if small > FEW * total:
        text = f"in {small} of {total} frames the face is lower than 40 pixels."
        found.append(Finding("crop", "fault", text, "use clips with larger faces."))
    return found or [Finding("crop", "ok", f"mouths are where the expert looks, in {total - hidden - low} of {total} frames.")]


def offsets(patient: Patient) -> list[Finding]:
    """Sound and lips of the training clips within one frame: the labels say so."""
    if patient.judge is None:
        return [
            Finding("offsets", "unknown", "no sync metric is asked for.", "add --metrics=LSE, or DemoLSE for the demo world.")
        ]
    found: list[float] = []
    for clip in patient.clips:
        try:
            name = next(name for name in patient.judge.names() if "offset" in name)
            found.append(patient.judge.score(Video(clip.face), None, clip.audio)[name])
        except MissingWeightsError as error:
            return [Finding("offsets", "unknown", str(error), "without a judge nobody knows whether lips and sound are in time.")]
        except ScoreError as error:
            log.info("%s: %s", clip.name, error)
    if not found:
        return [Finding("offsets", "unknown", "no clip could be judged.")]
    middle, apart = float(np.median(found)), np.abs(np.array(found) - np.median(found)) > OFFSET
    text = f"median {middle:+g} frames; {int(apart.sum())} of {len(found)} clips are more than one frame from it"
    if apart.mean() > 0.4:
        remedy = "leave out clips whose sound does not belong to their picture, and correct the others by their offset."
        return [Finding("offsets", "fault", f"{text}: each clip has another.", remedy)]
    if abs(middle) > OFFSET:
        remedy = f"move the sound of all clips by {-middle:+g} frames (40 ms each): labels are wrong by that much."
        return [Finding("offsets", "fault", f"{text}: all are out of sync alike.", remedy)]
    return [Finding("offsets", "ok", f"{text}.")]


# --- the training -----------------------------------------------------------------------------------------------------


def labels(patient: Patient) -> list[Finding]:
    """As many windows in sync as out of it; or places anywhere in the stretch."""
    samples = patient.drawn(200)
    if "in_sync" in samples[0]:
        share = float(np.mean([float(sample["in_sync"]) for sample in samples]))
        text = f"{100 * share:.0f} % of the windows are in sync"
        if not 0.35 <= share <= 0.65:
            remedy = "draw one window in sync for each one that is not: an expert that always says one thing is right too often."
            return [Finding("labels", "fault", f"{text}.", remedy)]
        return [Finding("labels", "ok", f"{text}.")]
    if "places" in samples[0]:
        places = np.concatenate([np.ravel(sample["places"]) for sample in samples])
        if len(np.unique(places)) < 3:
            remedy = "draw the place of the own speech anew for each sample: now it can be known without looking."
            return [Finding("labels", "fault", f"the own speech is always at places {np.unique(places).tolist()}.", remedy)]
        return [Finding("labels", "ok", f"the own speech is at {len(np.unique(places))} places of the stretch.")]
    return [Finding("labels", "unknown", "this stage's samples carry no labels of sync.")]


def batch_size(patient: Patient) -> list[Finding]:
    """Enough comparisons in an update that their mean says more than their noise."""
    sample = patient.drawn(1)[0]
    windows = len(np.ravel(sample["places"])) if "places" in sample else 1
    count = patient.settings.batch_size * windows
    text = f"{count} comparisons in an update"
    if count < COMPARISONS:
        remedy = f"--{patient.name}.batch_size=64, as published; below {COMPARISONS} the loss hardly moves."
        return [Finding("batch size", "fault", f"{text}.", remedy)]
    return [Finding("batch size", "ok", f"{text}.")]


def learning(patient: Patient) -> list[Finding]:
    """Can it learn one batch by heart, and does it at this learning rate?"""
    batch = OneBatch(patient.drawn(min(patient.settings.batch_size, 8)))
    own = patient.settings.learning_rate
    rates = sorted({*RATES, own})
    runs = {rate: losses_of(patient, batch, rate) for rate in rates}
    first = float(np.median([run[0] for run in runs.values() if math.isfinite(run[0])]))
    ends = {rate: min(run[-3:]) if math.isfinite(run[-1]) else math.inf for rate, run in runs.items()}
    best = min(ends, key=lambda rate: ends[rate])
    text = f"loss of one batch of {len(batch)} after {patient.steps} updates: {ends[best]:.3g}, at first {first:.3g}"
    if ends[best] > LEARNT * first:
        remedy = "look at the previews: equal inputs with different labels, empty crops or silent sound cannot be learnt."
        return [Finding("one batch", "fault", f"{text}, at the best of {len(rates)} learning rates: it is not learnt.", remedy)]
    found = [Finding("one batch", "ok", f"{text}.")]
    progress = (first - ends[own]) / (first - ends[best]) if math.isfinite(ends[own]) else -math.inf
    told = (
        f"{own:g}: {100 * max(progress, 0):.0f} % of the progress of {best:g}, the best of {', '.join(f'{r:g}' for r in rates)}"
    )
    remedy = f"--{patient.name}.learning_rate={best:g}"
    if progress < MOVED:
        kind = "too small" if own < best else "too large"
        return [*found, Finding("learning rate", "fault", f"{told}: {kind}.", remedy)]
    return [*found, Finding("learning rate", "ok", f"{told}.")]


class OneBatch(Samples):
    """The same samples in each epoch."""

    def __init__(self, members: list[dict[str, np.ndarray]]):
        self.members = members

    def __len__(self) -> int:
        return len(self.members)

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return self.members[index]


def losses_of(patient: Patient, batch: OneBatch, rate: float) -> list[float]:
    """The weighted loss after each update of a copy that sees nothing but one batch; inf where it is no number."""
    stage = copy.deepcopy(patient.stage)
    short: dict[str, Any] = {"epochs": 0, "steps": patient.steps, "minutes": 0.0, "batch_size": len(batch), "log_every": 1}
    quiet: dict[str, Any] = {"validate_every": 0, "validate_at_start": False, "validation_batches": 1, "keep": 0, "start": ""}
    plain: dict[str, Any] = {"learning_rate": rate, "schedule": "constant", "warmup_steps": 0, "checkpoint_every": 0, "ema": 0.0}
    settings = replace(patient.settings, **short, **quiet, **plain)
    level = logging.getLogger("talkingface").level
    with tempfile.TemporaryDirectory(prefix="talkingface-clinic-") as folder:
        try:
            logging.getLogger("talkingface").setLevel(logging.ERROR)
            Trainer(settings, Path(folder) / "run", seed=patient.seed, name="clinic").fit(stage, batch, None)
        except TrainingError:
            return [math.inf, math.inf]
        finally:
            logging.getLogger("talkingface").setLevel(level)
        lines = [json.loads(line) for line in (Path(folder) / "run" / "metrics.jsonl").read_text().splitlines()]
    return [weighted(line["train"], stage.loss_weights) for line in lines if "train" in line]


def weighted(losses: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """The sum that is minimized."""
    return sum(weights.get(name.rpartition(".")[2], 1.0) * value for name, value in losses.items())


CHECKS: Sequence[Callable[[Patient], list[Finding]]] = (
    frame_rate, silence, crop, offsets, labels, batch_size, learning,
)  # fmt: skip
