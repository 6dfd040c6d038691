"""A tiny adversarial stage with batch norm and dropout, and made-up samples; run as a program, one training of it."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from talkingface.dataset.base import Samples
from talkingface.model.stage import Stage
from talkingface.trainer.settings import TrainingSettings
from talkingface.trainer.trainer import Result, Trainer, set_seed


class Pictures(Samples):
    """Small pictures of noise that depends on the index and on the epoch; notes what was read."""

    def __init__(self, count: int = 20, size: int = 6):
        self.count, self.size = count, size
        self.read: list[int] = []

    def __len__(self):
        return self.count

    def sample(self, index, rng):
        self.read.append(index)
        fixed = np.random.default_rng(index).random((1, self.size, self.size), dtype=np.float32)
        noise = rng.random((1, self.size, self.size), dtype=np.float32)
        return {"frames": 0.8 * fixed + 0.2 * noise, "index": np.array(index)}


class ToyStage(Stage):
    """A generator that restores pictures, and a discriminator; a frozen expert looks on."""

    def __init__(self, loss_weights=None, dropout: float = 0.3, norm: bool = True):
        super().__init__({"l1": 2.0, "adversarial": 0.1} if loss_weights is None else loss_weights)

        def layers(out: int) -> nn.Sequential:
            middle = nn.BatchNorm2d(4) if norm else nn.Identity()
            return nn.Sequential(
                nn.Conv2d(1, 4, 3, padding=1, bias=not norm),
                middle,
                nn.ReLU(),
                nn.Dropout(dropout),
                nn.Conv2d(4, out, 3, padding=1),
            )

        self.generator, self.discriminator, self.expert = layers(1), layers(1), layers(1)
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))
        self.orders: list[str] = []

    def trainable(self):
        return {"generator": [self.generator], "discriminator": [self.discriminator]}

    def losses(self, batch):
        frames = batch["frames"]
        if self.training:
            self.seen += len(frames)
        fake = self.generator(1 - frames)
        yield (
            "generator",
            {
                "l1": F.l1_loss(fake, frames),
                "adversarial": -self.discriminator(fake).mean(),
                "expert": self.expert(fake).square().mean(),
            },
        )
        real, fake = self.discriminator(frames), self.discriminator(self.generator(1 - frames).detach())
        yield "discriminator", {"hinge": F.relu(1 - real).mean() + F.relu(1 + fake).mean()}

    def samples(self, clips, split):
        return Pictures()

    def after_validation(self, losses):
        if "expert" not in self.loss_weights:
            self.loss_weights["expert"] = 0.5

    def preview(self, batch):
        picture = self.generator(1 - batch["frames"])[0, 0].clamp(0, 1)
        return (picture[..., None].repeat(1, 1, 3) * 255).byte().cpu().numpy()


VAL = Pictures(8)
EXACT = {
    "epochs": 3,
    "batch_size": 4,
    "log_every": 3,
    "validate_every": 4,
    "checkpoint_every": 1,
    "ema": 0.9,
    "schedule": "cosine",
}


def toy_fit(folder: Path, stage: Stage | None = None, resume=False, train=None, val=VAL, **settings) -> Result:
    """One training on the CPU; `settings` are TrainingSettings."""
    torch.set_num_threads(1)
    if stage is None:
        set_seed(0)
        stage = ToyStage()
    trainer = Trainer(TrainingSettings(**({"batch_size": 4} | settings)), folder, seed=1, device="cpu", name="toy")
    return trainer.fit(stage, train or Pictures(), val, resume=resume)


def fit_and_kill(folder: Path, seed: int) -> int:
    """Train in child processes that are killed at random moments, until one of them comes to the end. Returns the kills.

    This process must not have trained itself: a forked child could not run backward then.
    """
    moments, kills = random.Random(seed), 0
    while True:
        child = os.fork()
        if child == 0:
            toy_fit(folder, resume=True, **EXACT)
            os._exit(0)
        end = time.monotonic() + moments.uniform(0.0, 0.2 + 0.1 * kills)  # later and later: a slow machine comes to the end, too
        while time.monotonic() < end and (done := os.waitpid(child, os.WNOHANG)) == (0, 0):
            time.sleep(0.002)
        if done[0] == child:
            assert done[1] == 0
            return kills
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        kills += 1


def load_optimizers() -> None:
    """Let torch import what it imports at a first step, once for all children."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    parameter.grad = torch.zeros(1)
    torch.optim.Adam([parameter]).step()


if __name__ == "__main__":
    load_optimizers()
    for number in range(int(sys.argv[2])):
        print(fit_and_kill(Path(sys.argv[1]) / str(number), number), flush=True)
