"""Seconds per step of the Trainer against a loop written by hand for one model, on the same samples, in one run.

    python benchmarks/trainer_overhead.py [--steps 20] [--rounds 9] [--width 32] [--clock cpu]

Both read samples of 8, update a generator and a discriminator with Adam, and log every tenth step. They take turns, and
ratios are taken of the fastest rounds, of the medians, and of rounds that follow each other (on a busy machine, trust
the fastest). The trainer does more: it checks every update for values that are not finite.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from talkingface.dataset.base import Samples
from talkingface.model.stage import Stage
from talkingface.trainer.settings import TrainingSettings
from talkingface.trainer.trainer import Trainer, set_seed

BATCH, SIZE = 8, 48
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
clock = CLOCKS["wall"]


class Noise(Samples):
    """Pictures from memory."""

    def __init__(self, count: int):
        self.frames = np.random.default_rng(0).random((count, 3, SIZE, SIZE), dtype=np.float32)

    def __len__(self) -> int:
        return len(self.frames)

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return {"frames": self.frames[index]}


def network(width: int, out: int) -> nn.Module:
    """Three convolutions with batch norm."""

    def block(a: int, b: int) -> list[nn.Module]:
        return [nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU()]

    return nn.Sequential(*block(3, width), *block(width, width), nn.Conv2d(width, out, 3, padding=1))


class Adversarial(Stage):
    """A generator and a discriminator."""

    def __init__(self, width: int):
        super().__init__({"l1": 1.0, "adversarial": 0.1})
        self.generator, self.discriminator = network(width, 3), network(width, 1)

    def trainable(self):
        return {"generator": [self.generator], "discriminator": [self.discriminator]}

    def samples(self, clips, split):
        return Noise(len(clips))

    def losses(self, batch):
        frames = batch["frames"]
        fake = self.generator(frames)
        yield "generator", {"l1": F.l1_loss(fake, frames), "adversarial": F.softplus(-self.discriminator(fake)).mean()}
        real, fake = self.discriminator(frames), self.discriminator(fake.detach())
        yield "discriminator", {"real": F.softplus(-real).mean(), "fake": F.softplus(fake).mean()}


def by_hand(samples: Samples, width: int, steps: int, folder: Path) -> float:
    """Seconds per step of the loop that one would write for this model alone."""
    set_seed(0)
    stage = Adversarial(width)
    stage.train()
    for parameter in stage.parameters():
        parameter.grad = None
    generator = torch.optim.Adam(stage.generator.parameters(), 1e-4)
    discriminator = torch.optim.Adam(stage.discriminator.parameters(), 1e-4)
    order = np.random.default_rng(0).permutation(len(samples))
    totals = torch.zeros(4)
    start = clock()
    with (folder / "by_hand.jsonl").open("w") as file:
        for step in range(steps):
            members = [samples.sample(i, np.random.default_rng((0, 0, i))) for i in order[step * BATCH : (step + 1) * BATCH]]
            frames = torch.from_numpy(np.stack([member["frames"] for member in members]))
            fake = stage.generator(frames)
            l1, adversarial = F.l1_loss(fake, frames), F.softplus(-stage.discriminator(fake)).mean()
            generator.zero_grad()
            (l1 + 0.1 * adversarial).backward(inputs=list(stage.generator.parameters()))
            generator.step()
            real = F.softplus(-stage.discriminator(frames)).mean()
            unreal = F.softplus(stage.discriminator(fake.detach())).mean()
            discriminator.zero_grad()
            (real + unreal).backward()
            discriminator.step()
            totals += torch.stack([l1.detach(), adversarial.detach(), real.detach(), unreal.detach()])
            if (step + 1) % 10 == 0:
                file.write(json.dumps((totals / 10).tolist()) + "\n")
                totals.zero_()
    return (clock() - start) / steps


class Timed(Trainer):
    """Notes how long the loop alone takes."""

    def train(self, samples: Samples) -> None:
        start = clock()
        super().train(samples)
        self.loop_seconds = clock() - start


def by_trainer(samples: Samples, width: int, steps: int, folder: Path) -> float:
    """Seconds per step of the Trainer."""
    set_seed(0)
    settings = TrainingSettings(epochs=0, steps=steps, batch_size=BATCH, checkpoint_every=10 * steps)
    trainer = Timed(settings, folder, device="cpu")
    trainer.fit(Adversarial(width), samples)
    return trainer.loop_seconds / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=20, help="per round")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--width", type=int, default=32, help="channels: sets how long a step takes")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: time of this process alone, on a busy machine")
    options = parser.parse_args()
    global clock
    clock = CLOCKS[options.clock]
    torch.set_num_threads(options.threads)
    samples = Noise(options.steps * BATCH)
    seconds: dict[str, list[float]] = {"by hand": [], "Trainer": []}
    with tempfile.TemporaryDirectory() as name:
        for number in range(options.rounds + 1):
            folder = Path(name) / str(number)
            folder.mkdir()
            turns = [("by hand", by_hand), ("Trainer", by_trainer)]
            for label, loop in turns if number % 2 else turns[::-1]:
                value = loop(samples, options.width, options.steps, folder)
                if number:  # the first round warms up
                    seconds[label].append(value)
    hand, ours = (statistics.median(values) for values in seconds.values())
    pairs = [b / a for a, b in zip(*seconds.values(), strict=True)]
    print(f"{'loop':<10}{'ms per step':>14}")
    print(f"{'by hand':<10}{hand * 1000:>14.2f}\n{'Trainer':<10}{ours * 1000:>14.2f}")
    fastest = min(seconds["Trainer"]) / min(seconds["by hand"])
    print(f"ratio of the fastest {fastest:.3f}, of the medians {ours / hand:.3f}, of neighbors {statistics.median(pairs):.3f}")
    print("target: at most 1.03")


if __name__ == "__main__":
    main()
