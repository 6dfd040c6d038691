"""The one training loop. It knows what a Stage is, and no model."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from talkingface.dataset.base import Samples
from talkingface.errors import CheckpointError, ConfigError, TrainingError
from talkingface.model.stage import Stage
from talkingface.trainer import parallel
from talkingface.trainer.chance import fixed_chance, get_chance, set_chance, set_seed
from talkingface.trainer.checkpoint import Checkpoint, Checkpoints, load_tensors, read_checkpoint
from talkingface.trainer.guard import Guard
from talkingface.trainer.loader import Order, Share, load, to_device, validation_parts
from talkingface.trainer.log import Journal, Means, numbers, plain_names
from talkingface.trainer.optim import Group, MovingAverage, make_groups, make_schedule, only_trainable
from talkingface.trainer.settings import TrainingSettings

log = logging.getLogger(__name__)
Losses = dict[str, Tensor]


@dataclass(frozen=True)
class Result:
    """How a training ended.

    Attributes:
        score: the best validation score; None if nothing was validated.
        best_step: its update; the stage's networks have the weights of then.
        losses: mean training losses of the last logged updates.
        validation: mean losses of the last validation.
        steps: updates.
        seconds: of training, over all resumes.
        reason: the limit that ended it: "epochs", "steps", "minutes" or "patience".
    """

    score: float | None
    best_step: int | None
    losses: dict[str, float]
    validation: dict[str, float]
    steps: int
    seconds: float
    reason: str


@dataclass
class Progress:
    """How far a training is: the plain values of a checkpoint.

    Attributes:
        step: updates done.
        epoch, position: passes over the samples done; updates done in the next one.
        seconds: of training, over all resumes.
        best, best_step: lowest validation score and its update.
        kept: the best scores and their updates, best first.
        stale: validations since the best one.
        validated, saved: the updates of the last validation and of the last checkpoint.
        losses, validation: the last that were written down.
    """

    step: int = 0
    epoch: int = 0
    position: int = 0
    seconds: float = 0.0
    best: float | None = None
    best_step: int | None = None
    kept: list[list[float]] = field(default_factory=list)
    stale: int = 0
    validated: int = -1
    saved: int = -1
    losses: dict[str, float] = field(default_factory=dict)
    validation: dict[str, float] = field(default_factory=dict)


class Trainer:
    """Trains one stage: losses in, weights, checkpoints and metrics.jsonl out.

    A line of metrics.jsonl is {"step", "epoch", "train": {loss: mean since the line before}, "learning_rate": {group: value},
    "seconds", "samples_per_second"} or {"step", "epoch", "val": {loss: mean}, "score", "seconds"}. All but the last two
    keys are the same bits in a training that was killed and resumed, on a CPU. Several processes give what one gives, but
    for dropout and the like, which each draws for itself. What a stage must remember from update to
    update is a buffer (`register_buffer`) or in `loss_weights`.

    Args:
        settings: how long, how fast, how often.
        folder: of the stage, made if need be.
        seed: of the order of samples, of each sample, and of chance in the networks.
        deterministic: only algorithms that give the same bits each time.
        device: "cpu" or another; None = the accelerator that is there.
        name: of the stage, for what a user reads.

    Raises:
        ConfigError: the precision is not possible on this device.
    """

    def __init__(
        self,
        settings: TrainingSettings,
        folder: Path | str,
        seed: int = 2020,
        deterministic: bool = True,
        device: str | None = None,
        name: str = "",
    ):
        self.settings, self.folder, self.name = settings, Path(folder), name
        self.seed, self.deterministic = seed, deterministic
        parallel.processes(cpu=device == "cpu")
        self.device = torch.device(device) if device else parallel.device()
        self.rank, self.world = parallel.rank(), parallel.num_processes()
        # Precision is torch's own: accelerate allows one for the whole process, and stages may differ.
        if settings.precision == "fp16" and self.device.type == "cpu":
            raise ConfigError("training.precision: fp16 needs an accelerator, and this is a CPU; use bf16 or no.")
        dtype = torch.float16 if settings.precision == "fp16" else torch.bfloat16
        mixed = has_bf16(self.device) if settings.precision == "auto" else settings.precision != "no"
        self.autocast = torch.autocast(self.device.type, dtype=dtype, enabled=mixed)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=settings.precision == "fp16")  # type: ignore[attr-defined]

        self.since, self.written = time.monotonic(), (0.0, 0)  # now; seconds and update of the last line of losses
        self.groups: dict[str, Group] = {}
        self.warned = False

    def fit(self, stage: Stage, train: Samples, val: Samples | None = None, resume: bool = False, smoke: bool = False) -> Result:
        """Train until a limit is reached; the stage's networks then have the best weights (the last, without validation).

        Args:
            stage: its networks are moved to the device.
            resume: go on from the newest whole checkpoint in the folder; from the start where there is none.
            smoke: two updates of two samples and one batch of validation, whatever the settings say.

        Raises:
            TrainingError: nothing to train on, a loss that is not finite, or a folder that cannot be written.
            CheckpointError: the folder has checkpoints, and they are of another network, or damaged, or not to be resumed.
            ConfigError: settings do not fit the stage.
        """
        if smoke:
            self.settings = self.settings.smoke(self.world)
        self.begin(stage, train, val if val is not None and len(val) else None, resume)
        try:
            with only_trainable(stage, self.groups), parallel.global_batch_norm(stage):
                self.train(train)
            self.finish()
        finally:
            self.journal.close()
        p = self.progress
        return Result(p.best, p.best_step, p.losses, p.validation, p.step, p.seconds, self.reason())

    # ---- the loop ----------------------------------------------------------------------------------------------------

    def train(self, samples: Samples) -> None:
        """The loop that serves every stage of every model."""
        self.stage.train()
        if self.settings.validate_at_start and self.progress.validated < 0:
            self.validate()
            self.save()
        for batch in self.batches(samples):
            for group, losses in self.updates(batch):  # mixed precision is on inside the stage, off between
                self.update(group, losses, batch)  # backward into this group only, average, clip, step, zero
            self.after_update()

    def batches(self, samples: Samples) -> Iterator[list[Share]]:
        """What each update is made of: one share per batch that is accumulated. Ends when a limit is reached."""
        if self.reason():
            return
        parts = self.order.parts(self.progress.epoch, self.progress.position)
        shares = load(samples, parts, self.seed, self.settings.workers, pinned=self.device.type == "cuda")
        while not self.reason():
            yield [to_device(next(shares), self.device) for _ in range(self.order.batches())]

    def updates(self, batch: list[Share]) -> Iterator[tuple[Group, Iterator[Losses]]]:
        """The groups in the stage's order, each with its losses on every share.

        Shares go through the stage side by side: a group's losses are computed on all of them, then the group is
        updated, then all go on. So batches that are accumulated give what one large batch gives, in the later groups too.
        """
        runs = [self.stage.losses(share.batch) for share in batch]
        while (first := self.advance(runs[0])) is not None:
            name, losses = first
            yield self.groups[name], self.on_all_shares(name, losses, runs[1:])
        for run in runs[1:]:
            if (more := self.advance(run)) is not None:
                raise self.uneven(more[0], "nothing")

    def on_all_shares(self, name: str, losses: Losses, others: list[Iterator[tuple[str, Losses]]]) -> Iterator[Losses]:
        yield losses
        for run in others:
            item = self.advance(run)
            if item is None or item[0] != name:
                raise self.uneven(name, item[0] if item else "nothing")
            yield item[1]

    def uneven(self, one: str, other: str) -> TrainingError:
        return TrainingError(
            f"{self.title}: for two batches of one update, losses() yields group {one!r} and {other!r}. "
            "With accumulate above 1, the groups must not depend on the batch."
        )

    def advance(self, run: Iterator[tuple[str, Losses]]) -> tuple[str, Losses] | None:
        """Let a stage run to its next yield, in mixed precision; None at its end."""
        with self.autocast:
            item = next(run, None)
        if item is not None:
            self.check(*item)
        return item

    def update(self, group: Group, losses: Iterator[Losses], batch: list[Share]) -> None:
        """One step of one group: backward into it alone, average over shares and processes, clip, step, zero."""
        means: list[Tensor] = []
        names: tuple[str, ...] = ()
        for share, raw in zip(batch, losses, strict=True):
            total = self.weighted(group.name, raw)
            if total is not None:
                self.scaler.scale(total * share.weight).backward(inputs=group.parameters)
            names, values = tuple(raw), torch.stack([loss.detach().float().reshape(()) for loss in raw.values()])
            means.append(values if share.weight == 1 else values * share.weight)
        values = parallel.sum_gradients(group.parameters, means[0] if len(means) == 1 else torch.stack(means).sum(0))
        self.means.add(group.name, names, values)
        if any(p.grad is not None for p in group.parameters):
            self.step(group, names, values, batch)

    def step(self, group: Group, names: tuple[str, ...], values: Tensor, batch: list[Share]) -> None:
        """Move a group along its gradients, if they are finite."""
        self.scaler.unscale_(group.optimizer)
        scaled = self.scaler.is_enabled()  # then the scaler expects gradients that overflow, and skips those steps
        guarded = self.settings.nan_guard and not scaled
        norm = group.clip() if group.clip_norm or guarded else None
        if self.settings.nan_guard:
            counts = [i for i, name in enumerate(names) if self.loss_weight(group.name, name)]
            values, names = (values, names) if len(counts) == len(names) else (values[counts], tuple(names[i] for i in counts))
            self.guard.watch(self.progress.step + 1, group.name, names, values, norm if guarded else None, batch)
        self.scaler.step(group.optimizer)
        self.scaler.update()
        group.optimizer.zero_grad(set_to_none=True)

    def after_update(self) -> None:
        """What happens between two updates: averages, log, validation, previews, checkpoints; in this order."""
        p, settings = self.progress, self.settings
        if self.average is not None:
            self.average.update(p.step)
        for group in self.groups.values():
            group.schedule.step()
        p.step, p.position = p.step + 1, p.position + 1
        if p.position == self.order.num_updates:
            p.epoch, p.position = p.epoch + 1, 0
        self.journal.tick()
        if p.step % settings.log_every == 0:
            self.write_losses()
        milestone = is_due(p.step, settings.validate_every, p.position == 0)
        if milestone and self.val is not None:
            self.validate()
        if is_due(p.step, settings.preview_every, milestone):
            self.preview()
        worth_keeping = p.validated == p.step and any(step == p.step for _, step in p.kept)
        if is_due(p.step, settings.checkpoint_every, milestone) or worth_keeping:
            self.save()

    def reason(self) -> str:
        """The limit that is reached; "" if the training goes on."""
        p, settings = self.progress, self.settings
        if settings.epochs and p.epoch >= settings.epochs:
            return "epochs"
        if settings.steps and p.step >= settings.steps:
            return "steps"
        if settings.minutes and parallel.agree_number(self.seconds(), self.device) >= settings.minutes * 60:
            return "minutes"
        return "patience" if settings.patience and p.stale >= settings.patience else ""

    def seconds(self) -> float:
        """Of training so far, over all resumes."""
        return self.progress.seconds + time.monotonic() - self.since

    # ---- losses ------------------------------------------------------------------------------------------------------

    def check(self, group: str, losses: Losses) -> None:
        """Refuse what is no loss of this stage."""
        if group not in self.groups:
            raise TrainingError(f"{self.title}: losses() yields group {group!r}; trainable() names {', '.join(self.groups)}.")
        for name, loss in losses.items():
            if not isinstance(loss, Tensor) or loss.numel() != 1:
                shape = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
                raise TrainingError(f"{self.title}: loss {name!r} of group {group!r} is no scalar tensor but {shape}.")
        if not losses:
            raise TrainingError(f"{self.title}: losses() yields no loss for group {group!r}.")

    def loss_weight(self, group: str, name: str) -> float:
        """The factor of a loss: `loss_weights` may name it 'loss' or 'group.loss'; one that is not named counts once."""
        weights = self.stage.loss_weights
        return weights.get(f"{group}.{name}", weights.get(name, 1.0))

    def check_loss_weights(self, losses: Iterable[tuple[str, str]]) -> None:
        """Warn, once, of a factor that belongs to no loss: it may be misspelled."""
        known = {name for group, loss in losses for name in (loss, f"{group}.{loss}")}
        given = {name for name, weight in self.stage.loss_weights.items() if weight}
        if not self.warned and (unknown := sorted(given - known)):
            log.warning("%s: loss_weights has %s; losses() yields %s.", self.title, ", ".join(unknown), ", ".join(sorted(known)))
        self.warned = True

    def weighted(self, group: str, losses: Losses) -> Tensor | None:
        """The weighted sum that is minimized; losses of weight 0 cost no backward pass. None if nothing counts."""
        total: Tensor | None = None
        for name, loss in losses.items():
            if (weight := self.loss_weight(group, name)) and loss.requires_grad:
                term = loss.float().reshape(())
                term = term if weight == 1 else term * weight
                total = term if total is None else total + term
        return total

    def write_losses(self) -> None:
        """A line with the mean losses since the line before."""
        p = self.progress
        means = self.means.read()
        p.losses = plain_names(means)
        self.check_loss_weights(means)
        self.means.clear()
        seconds, since = self.seconds(), self.written
        self.written = (seconds, p.step)
        speed = (p.step - since[1]) * self.order.update_size / max(seconds - since[0], 1e-9)
        rates = {name: group.learning_rate() for name, group in self.groups.items()}
        line = {"step": p.step, "epoch": p.epoch, "train": p.losses, "learning_rate": rates}
        self.journal.write(p.step, line | {"seconds": round(seconds, 3), "samples_per_second": round(speed, 3)})
        self.journal.losses(p.losses, f"update {p.step}, epoch {p.epoch}, {speed:.1f} samples/s")

    # ---- validation --------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def judging(self) -> Iterator[None]:
        """Averaged weights, evaluation mode, no gradients, always the same chance; afterwards as if nothing had been."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.no_grad())
            stack.enter_context(fixed_chance(self.seed))
            stack.enter_context(parallel.local_batch_norm(self.stage))
            if self.average is not None:
                stack.enter_context(self.average.applied())
            stack.callback(self.stage.train)
            self.stage.eval()
            yield

    def validation_shares(self) -> Iterator[Share]:
        """The validation samples of this process, the same each time."""
        assert self.val is not None
        settings = self.settings
        parts = validation_parts(len(self.val), settings.batch_size, settings.validation_batches, self.rank, self.world)
        for share in load(self.val, parts, self.seed, settings.workers, pinned=self.device.type == "cuda"):
            yield to_device(share, self.device)

    def validation_losses(self) -> dict[tuple[str, str], float]:
        """(group, loss) -> mean over all validation samples."""
        means = Means()
        with self.judging():
            for share in self.validation_shares():
                run = self.stage.losses(share.batch)
                while (item := self.advance(run)) is not None:
                    group, losses = item
                    values = torch.stack([loss.detach().float().reshape(()) for loss in losses.values()])
                    means.add(group, list(losses), values, share.weight)
        for key, sums in means.sums.items():
            totals = parallel.total(torch.cat([sums, sums.new_tensor([means.counts[key]])]))
            means.sums[key], means.counts[key] = totals[:-1], float(totals[-1])
        return means.read()

    def validate(self) -> None:
        """Mean losses and the score of the weights as they are; remembers which were best.

        Without a monitor the score is the weighted sum of losses. When the stage then changes its loss weights, scores
        before and after mean different things: the earlier ones are forgotten.
        """
        p = self.progress
        self.guard.check()
        losses = self.validation_losses()
        p.validation, p.validated = plain_names(losses), p.step
        before = dict(self.stage.loss_weights)
        self.stage.after_validation(p.validation)
        if self.stage.loss_weights != before:
            self.journal.say("update %d: loss_weights are now %s", p.step, self.stage.loss_weights)
            if not self.stage.monitor:
                p.best, p.best_step, p.kept = None, None, []
        score = self.score(losses)
        self.rank_score(score)
        line = {"step": p.step, "epoch": p.epoch, "val": p.validation, "score": score, "seconds": round(self.seconds(), 3)}
        self.journal.write(p.step, line)
        star = ", the best so far" if p.best_step == p.step else ""
        self.journal.say("update %d: validation  %s  (score %.4g%s)", p.step, numbers(p.validation), score, star)

    def score(self, losses: Mapping[tuple[str, str], float]) -> float:
        """The number that decides which weights are best; lower is better."""
        monitor = self.stage.monitor
        if not monitor:
            return sum(self.loss_weight(group, name) * value for (group, name), value in losses.items())
        named = plain_names(losses) | {f"{group}.{name}": value for (group, name), value in losses.items()}
        if monitor not in named:
            raise TrainingError(f"{self.title}: monitor {monitor!r} is none of the losses {', '.join(plain_names(losses))}.")
        return named[monitor]

    def rank_score(self, score: float) -> None:
        """Place a score among the best; one that is not finite is never among them."""
        p = self.progress
        if math.isfinite(score):
            p.kept = sorted([*p.kept, [score, p.step]])[: self.settings.keep]
        if math.isfinite(score) and (p.best is None or score < p.best):
            p.best, p.best_step, p.stale = score, p.step, 0
        else:
            p.stale += 1

    def preview(self) -> None:
        """A picture of the first validation batch, for a human eye."""
        if self.val is None or not parallel.is_main():
            return
        from talkingface.media.image import write_image

        with self.judging(), self.autocast:
            image = self.stage.preview(next(self.validation_shares()).batch)
        if image is not None:
            write_image(self.folder / "previews" / f"{self.progress.step:08d}.png", image)

    # ---- start, end, checkpoints -------------------------------------------------------------------------------------

    def begin(self, stage: Stage, train: Samples, val: Samples | None, resume: bool) -> None:
        """Set up everything that one training needs; restore it from the newest checkpoint if there is one."""
        settings = self.settings
        self.title = f"stage {self.name or type(stage).__name__}"
        self.stage, self.val = stage.to(self.device), val
        self.order = Order(len(train), settings.batch_size, settings.accumulate, self.seed, self.rank, self.world)
        self.checkpoints, self.progress, self.means = Checkpoints(self.folder), Progress(), Means()
        self.since, self.written = time.monotonic(), (0.0, 0)
        self.groups = make_groups(stage, settings)
        stage.zero_grad(set_to_none=True)
        parallel.copy_from_main(self.tensors().values())
        self.average = MovingAverage(stage, settings.ema) if settings.ema else None
        self.guard = Guard(self.folder, self.name, self.rank if self.world > 1 else None)
        set_seed(self.seed + self.rank, self.deterministic)
        checkpoint = self.find_checkpoint(resume)
        size = self.restore(checkpoint) if checkpoint is not None else 0
        schedule = make_schedule(settings, self.length(), self.order.num_updates)
        for group in self.groups.values():
            group.set_schedule(schedule, self.progress.step)
        parallel.wait()
        self.open_journal(size)

    def find_checkpoint(self, resume: bool) -> Checkpoint | None:
        """The checkpoint to go on from; a new training does not write over an old one."""
        if resume:
            return self.checkpoints.newest()
        if self.checkpoints.paths():
            raise CheckpointError(f"{self.folder} has checkpoints of an earlier training: resume it, or choose another run_name.")
        return None

    def open_journal(self, size: int) -> None:
        """Clean up behind a training that was killed, and open the files."""
        settings, main = self.settings, parallel.is_main()
        if main:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                self.checkpoints.clean(self.progress.step)
            except OSError as error:
                raise TrainingError(f"{self.folder} cannot be written: {error.strerror}. Choose another saved_dir.") from error
        self.journal = Journal(self.folder, self.name, main, settings.tensorboard, settings.wandb)
        self.journal.cut(size)
        self.journal.start(self.length() or None, self.progress.step)
        if self.progress.step:
            self.journal.say("%s goes on after update %d", self.title, self.progress.step)

    def length(self) -> int:
        """Updates of the whole training as far as epochs and steps say; 0 if only the clock limits it."""
        limits = [limit for limit in (self.settings.steps, self.settings.epochs * self.order.num_updates) if limit]
        return min(limits, default=0)

    def tensors(self) -> dict[str, Tensor]:
        """All that a stage consists of: parameters and buffers of its networks, each once."""
        return {**dict(self.stage.named_parameters()), **dict(self.stage.named_buffers())}

    def snapshot(self) -> Checkpoint:
        """Everything that has to be as it is now when the training goes on."""
        sums, means = self.means.state()
        parts: dict[str, Mapping[str, Tensor]] = {
            "weights": self.tensors(),
            "ema": self.average.average if self.average is not None else {},
            "optimizer": {name: tensor for group in self.groups.values() for name, tensor in group.state().items()},
            "chance": {str(i): row.cpu() for i, row in enumerate(parallel.gather(get_chance().to(self.device)))},
            "means": sums,
        }
        state: dict[str, Any] = {
            "progress": asdict(self.progress) | {"seconds": self.seconds(), "saved": self.progress.step},
            "loss_weights": self.stage.loss_weights,
            "means": means,
            "scaler": self.scaler.state_dict(),
            "samples": [self.order.num_samples, self.order.update_size],
            "metrics_size": self.journal.size(),
        }
        return Checkpoint({f"{part}/{name}": t for part, tensors in parts.items() for name, t in tensors.items()}, state)

    def save(self) -> None:
        """Write a checkpoint; later ones that nobody needs any more are removed."""
        p = self.progress
        self.guard.check()
        checkpoint = self.snapshot()
        if parallel.is_main():
            self.checkpoints.save(p.step, checkpoint, [int(step) for _, step in p.kept], p.best_step)
        p.saved = p.step

    def restore(self, checkpoint: Checkpoint) -> int:
        """Be as at the time of a checkpoint. Returns the size of metrics.jsonl then.

        Limits, learning rates and other settings are today's: a training may be made longer.
        """
        state = checkpoint.state
        load_tensors(self.tensors(), checkpoint.part("weights"), "weights")
        if self.average is not None and (average := checkpoint.part("ema")):
            load_tensors(self.average.average, average, "averaged weights")
        for group in self.groups.values():
            group.load_state(checkpoint.part("optimizer"))
        self.means.load(checkpoint.part("means"), state["means"], self.device)
        if state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
        self.stage.loss_weights.clear()
        self.stage.loss_weights.update(state["loss_weights"])
        self.progress = p = Progress(**state["progress"])
        self.checkpoints.kept = {int(step) for _, step in p.kept}
        self.written = (p.seconds, p.step)
        self.restore_chance(checkpoint.part("chance"))
        if state["samples"] != [self.order.num_samples, self.order.update_size]:
            old, new = state["samples"], [self.order.num_samples, self.order.update_size]
            log.warning("%s: it had %d samples, %d per update; now %d and %d: a new epoch begins.", self.title, *old, *new)
            p.position = 0
        return int(state["metrics_size"])

    def restore_chance(self, rows: Mapping[str, Tensor]) -> None:
        """Chance in the networks goes on where it was; with other processes or devices it begins anew."""
        row, now = rows.get(str(self.rank)), get_chance()
        if len(rows) == self.world and row is not None and row.shape == now.shape:
            set_chance(row)
        else:
            log.warning("%s was trained by other processes or on another device: dropout and the like begin anew.", self.title)
            set_seed(self.seed + self.rank + 1000 * self.progress.step, self.deterministic)

    def finish(self) -> None:
        """Write down what is left, judge the last weights, save, and load the best."""
        p = self.progress
        self.guard.check()
        unjudged = self.val is not None and p.validated != p.step
        unsaved = bool(self.means.counts) or unjudged or p.saved != p.step
        if self.means.counts:
            self.write_losses()
        if unjudged:
            self.validate()
            self.preview()
        if unsaved:
            self.save()
        p.seconds, self.since = self.seconds(), time.monotonic()
        parallel.wait()
        self.load_best()
        self.stage.eval()

    def load_best(self) -> None:
        """Give the stage's networks the best weights that were kept, averaged if averages are on."""
        p = self.progress
        best = p.best_step if self.settings.keep else None
        if best is None or best == p.step:
            if self.average is not None:
                self.average.swap()
            return
        try:
            checkpoint = read_checkpoint(self.checkpoints.path(best))
        except CheckpointError as error:
            log.warning("%s The stage keeps its last weights.", error)
            return
        load_tensors(self.tensors(), checkpoint.part("weights") | checkpoint.part("ema"), "weights")
        self.journal.say("%s: the weights of update %d are the best (score %.4g)", self.title, best, p.best)


def is_due(step: int, every: int, otherwise: bool) -> bool:
    """Whether something that happens every so many updates happens now; 0 leaves it to the occasion."""
    return step % every == 0 if every else otherwise


def has_bf16(device: torch.device) -> bool:
    """Whether a device computes in bf16 itself; a CPU that does not is slower in it than in full precision."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return device.type == "cpu" and bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
