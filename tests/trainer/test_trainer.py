"""The loop: what it updates, when, with what, and what it writes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from talkingface.dataset.base import Samples
from talkingface.errors import CheckpointError, ConfigError, TrainingError
from talkingface.model.stage import Stage
from talkingface.trainer.settings import TrainingSettings
from talkingface.trainer.trainer import Trainer, set_seed
from tests.trainer.toy import Pictures, ToyStage, toy_fit


@pytest.fixture
def stage():
    torch.set_num_threads(1)
    set_seed(0)
    return ToyStage()


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def copy(stage):
    return {name: tensor.clone() for name, tensor in stage.state_dict().items()}


def changed(before, stage):
    return {name for name, tensor in stage.state_dict().items() if not torch.equal(tensor, before[name])}


def test_every_group_is_updated_and_nothing_else(tmp_path, stage):
    before = copy(stage)
    result = toy_fit(tmp_path, stage, epochs=0, steps=3, learning_rate=1e-2, val=None)
    assert result.steps == 3 and result.reason == "steps"
    names = changed(before, stage)
    assert {p for p, _ in stage.named_parameters() if not p.startswith("expert")} <= names
    assert not any(name.startswith("expert") for name in names)
    assert all(p.requires_grad for p in stage.parameters())


def test_it_is_the_loop_one_would_write_by_hand(tmp_path):
    set_seed(0)
    ours, theirs = ToyStage(dropout=0.0), ToyStage(dropout=0.0)
    theirs.load_state_dict(ours.state_dict())
    toy_fit(tmp_path, ours, epochs=1, learning_rate=1e-2, groups={"discriminator": {"learning_rate": 3e-3}}, val=None)

    theirs.train()
    generator = torch.optim.Adam(theirs.generator.parameters(), 1e-2)
    discriminator = torch.optim.Adam(theirs.discriminator.parameters(), 3e-3)
    samples = Pictures()
    for indices in np.random.default_rng((1, 0)).permutation(20).reshape(5, 4):
        batch = {
            "frames": torch.stack(
                [torch.from_numpy(samples.sample(i, np.random.default_rng((1, 0, i)))["frames"]) for i in indices]
            )
        }
        run = theirs.losses(batch)
        _, losses = next(run)
        (2.0 * losses["l1"] + 0.1 * losses["adversarial"] + losses["expert"]).backward()
        generator.step()
        theirs.zero_grad()
        _, losses = next(run)
        losses["hinge"].backward()
        discriminator.step()
        theirs.zero_grad()
    for name, tensor in theirs.state_dict().items():
        if name != "seen":
            torch.testing.assert_close(ours.state_dict()[name], tensor, rtol=1e-5, atol=1e-6)


def test_the_later_group_sees_the_earlier_one_updated(tmp_path):
    class Peek(ToyStage):
        moved: list[bool] = []

        def losses(self, batch):
            run = super().losses(batch)
            before = self.generator[0].weight.detach().clone()
            for item in run:
                yield item
                self.moved.append(not torch.equal(before, self.generator[0].weight))

    toy_fit(tmp_path, Peek(), epochs=0, steps=1, val=None)
    assert Peek.moved == [True, True]


def test_accumulated_batches_are_one_large_batch(tmp_path):
    weights = []
    for batch_size, accumulate in [(8, 1), (4, 2), (2, 4)]:
        set_seed(0)
        stage = ToyStage(dropout=0.0, norm=False)
        toy_fit(
            tmp_path / str(accumulate),
            stage,
            epochs=1,
            batch_size=batch_size,
            accumulate=accumulate,
            learning_rate=1e-2,
            val=None,
        )
        weights.append(torch.cat([p.flatten() for p in stage.parameters()]))
        assert stage.seen == 16
    for other in weights[1:]:
        torch.testing.assert_close(other, weights[0], rtol=1e-4, atol=1e-6)


def test_mixed_precision_is_on_in_the_stage_and_off_between(tmp_path):
    inside, outside = [], []

    class Precise(ToyStage):
        def losses(self, batch):
            for item in super().losses(batch):
                inside.append(torch.is_autocast_enabled("cpu"))
                yield item
            inside.append(torch.is_autocast_enabled("cpu"))

    class Watching(Trainer):
        def update(self, *arguments):
            outside.append(torch.is_autocast_enabled("cpu"))
            super().update(*arguments)

    stage = Precise()
    Watching(TrainingSettings(epochs=0, steps=1, batch_size=4, precision="bf16"), tmp_path, device="cpu").fit(
        stage, Pictures(), None
    )
    assert inside == [True] * 3 and outside == [False] * 2
    assert all(p.dtype == torch.float32 for p in stage.parameters())


def test_gradients_are_clipped_per_group(tmp_path):
    set_seed(0)
    stage = ToyStage()
    before = copy(stage)
    settings = TrainingSettings(epochs=0, steps=1, batch_size=4, optimizer="SGD", learning_rate=1.0, clip_norm=1e-3)
    Trainer(settings, tmp_path, device="cpu").fit(stage, Pictures(), None)
    for network in ("generator", "discriminator"):
        moved = [p.detach() - before[name] for name, p in stage.named_parameters() if name.startswith(network)]
        assert torch.cat([m.flatten() for m in moved]).norm() == pytest.approx(1e-3, rel=1e-3)


def test_losses_of_weight_0_are_logged_and_do_not_count(tmp_path):
    weights = {}
    for name, loss_weights in {"off": {"adversarial": 0.0, "expert": 0.0}, "no such": {"adversarial": 0.0, "expert": 0}}.items():
        set_seed(0)
        stage = ToyStage(loss_weights)
        result = toy_fit(tmp_path / name, stage, epochs=0, steps=2, val=None)
        weights[name] = copy(stage)
        assert set(result.losses) == {"l1", "adversarial", "expert", "hinge"}
    assert all(torch.equal(weights["off"][k], v) for k, v in weights["no such"].items())


def test_a_misspelled_loss_weight_is_mentioned(tmp_path, caplog):
    toy_fit(tmp_path, ToyStage({"advresarial": 0.1}), epochs=0, steps=1, val=None)
    assert "advresarial" in caplog.text


def test_metrics_are_means_since_the_line_before(tmp_path, stage):
    toy_fit(tmp_path / "each", stage, epochs=1, log_every=1, val=None)
    set_seed(0)
    toy_fit(tmp_path / "some", ToyStage(), epochs=1, log_every=2, val=None)
    each, some = lines(tmp_path / "each"), lines(tmp_path / "some")
    assert [line["step"] for line in some] == [2, 4, 5]
    assert some[0]["train"]["l1"] == pytest.approx((each[0]["train"]["l1"] + each[1]["train"]["l1"]) / 2)
    assert some[2]["train"] == each[4]["train"]
    assert set(some[0]["learning_rate"]) == {"generator", "discriminator"} and some[0]["samples_per_second"] > 0


def test_validation_is_the_mean_over_samples_and_changes_nothing(tmp_path, stage):
    trainer = Trainer(TrainingSettings(epochs=0, steps=1, batch_size=3), tmp_path, seed=1, device="cpu")
    trainer.fit(stage, Pictures(), Pictures(7))
    before, chance = copy(stage), torch.get_rng_state()
    trainer.stage.train()
    losses = trainer.validation_losses()
    assert not changed(before, stage) and torch.equal(chance, torch.get_rng_state())
    stage.eval()
    samples = Pictures()
    single = [
        F.l1_loss(stage.generator(1 - x), x)
        for x in (torch.from_numpy(samples.sample(i, np.random.default_rng((1, 0, i)))["frames"])[None] for i in range(7))
    ]
    assert (
        losses["generator", "l1"]
        == trainer.progress.validation["l1"]
        == pytest.approx(float(torch.stack(single).detach().mean()), rel=1e-5)
    )


def test_the_stage_sees_validation_losses_and_earlier_scores_are_forgotten_when_it_changes_weights(tmp_path, stage):
    seen = []
    original = stage.after_validation
    stage.after_validation = lambda losses: (seen.append(losses), original(losses))
    result = toy_fit(tmp_path, stage, epochs=2)
    assert len(seen) == 2 and set(seen[0]) == {"l1", "adversarial", "expert", "hinge"}
    assert stage.loss_weights["expert"] == 0.5
    last = lines(tmp_path)[-1]
    assert result.validation == last["val"]
    weighted = 2 * last["val"]["l1"] + 0.1 * last["val"]["adversarial"] + 0.5 * last["val"]["expert"] + last["val"]["hinge"]
    assert last["score"] == pytest.approx(weighted)


class Line(Samples):
    def __len__(self):
        return 4

    def sample(self, index, rng):
        return {"x": np.float32([index])}


class Number(Stage):
    """One number that falls by 1 in each update; its validation loss is given per validation."""

    monitor = "distance"

    def __init__(self, scores=()):
        super().__init__()
        self.network, self.scores = nn.Linear(1, 1, bias=False), iter(scores)
        nn.init.zeros_(self.network.weight)

    def trainable(self):
        return {"network": [self.network]}

    def samples(self, clips, split):
        return Line()

    def losses(self, batch):
        weight = self.network.weight.sum()
        yield "network", {"distance": weight if self.training else weight * 0 + next(self.scores)}


def fit_number(folder, scores, **settings):
    set_seed(0)
    stage = Number(scores)
    options = {"batch_size": 4, "epochs": len(scores), "optimizer": "SGD", "learning_rate": 1.0} | settings
    result = Trainer(TrainingSettings(**options), folder, device="cpu").fit(stage, Line(), Line())
    return result, float(stage.network.weight.detach())


def test_the_best_weights_are_loaded_at_the_end(tmp_path):
    result, weight = fit_number(tmp_path, [5, 3, 4, 3, 9])
    assert (result.score, result.best_step, weight, result.reason) == (3.0, 2, -2.0, "epochs")
    assert float(load_file(tmp_path / "best.safetensors")["weights/network.weight"]) == -2
    assert float(load_file(tmp_path / "last.safetensors")["weights/network.weight"]) == -5


@pytest.mark.parametrize("keep, left", [(0, {6, 7}), (1, {2, 6, 7}), (3, {2, 3, 4, 6, 7})])
def test_the_best_checkpoints_stay_beside_the_two_newest(tmp_path, keep, left):
    fit_number(tmp_path, [5, 1, 3, 2, 9, 8, 7], keep=keep)
    assert {int(path.stem.split("_")[1]) for path in tmp_path.glob("checkpoint_*")} == left


def test_patience_ends_a_training(tmp_path):
    result, _ = fit_number(tmp_path, [5, 3, 4, 3, 1, 1], patience=2)
    assert (result.steps, result.reason, result.score) == (4, "patience", 3.0)


def test_a_score_that_is_not_finite_is_never_the_best(tmp_path):
    result, weight = fit_number(tmp_path, [float("nan"), 3, float("inf")])
    assert (result.best_step, weight) == (2, -2.0)
    assert [line["score"] for line in lines(tmp_path) if "val" in line] == [None, 3.0, None]


def test_validation_and_best_weights_are_averaged_ones(tmp_path):
    _, weight = fit_number(tmp_path, [1], ema=0.5)
    assert weight == pytest.approx(-0.9)  # the decay rises from 1 / 10
    _, weight = fit_number(tmp_path / "two", [1, 2], ema=0.5)
    assert weight == pytest.approx(-0.9)  # of update 1, from its checkpoint


def test_validation_at_start_can_be_the_best(tmp_path):
    result, weight = fit_number(tmp_path, [1, 2, 3], epochs=2, validate_at_start=True)
    assert (result.best_step, weight) == (0, 0.0)


def test_the_clock_ends_a_training(tmp_path, stage):
    result = toy_fit(tmp_path, stage, epochs=0, minutes=0.2 / 60, val=None)
    assert result.reason == "minutes" and result.steps > 1 and 0.2 <= result.seconds < 5


def test_an_unknown_monitor_is_explained(tmp_path, stage):
    stage.monitor = "lse"
    with pytest.raises(TrainingError, match="'lse' is none of the losses l1, adversarial, expert, hinge"):
        toy_fit(tmp_path, stage)


def test_a_loss_that_is_not_finite_stops_and_saves_the_culprit(tmp_path, stage):
    class Poisoned(Pictures):
        def sample(self, index, rng):
            return super().sample(index, rng) | ({"frames": np.full((1, 6, 6), np.nan, np.float32)} if index == 7 else {})

    before = copy(stage)
    with pytest.raises(TrainingError, match="loss 'l1', 'adversarial', 'expert' of group 'generator' is not finite") as error:
        toy_fit(tmp_path, stage, train=Poisoned(), val=None)
    (culprit,) = tmp_path.glob("culprit_*.safetensors")
    assert str(culprit) in str(error.value)
    assert 7 in load_file(culprit)["index"]
    assert all(tensor.isfinite().all() for name, tensor in stage.named_parameters())
    assert not (tmp_path / "last.safetensors").exists() and before


def test_a_gradient_that_is_not_finite_stops(tmp_path):
    class Root(Number):
        def losses(self, batch):
            yield "network", {"root": self.network.weight.sum().mul(0).sqrt()}

    with pytest.raises(TrainingError, match="the gradient of group 'network' is not finite"):
        Trainer(TrainingSettings(batch_size=4), tmp_path, device="cpu").fit(Root(), Line(), None)


@pytest.mark.parametrize(
    "item, message",
    [
        (("nobody", {"l1": torch.zeros(())}), "yields group 'nobody'; trainable\\(\\) names network"),
        (("network", {"l1": torch.zeros(2)}), "'l1' of group 'network' is no scalar tensor but \\(2,\\)"),
        (("network", {}), "yields no loss"),
    ],
)
def test_what_is_no_loss_is_refused(tmp_path, item, message):
    stage = Number()
    stage.losses = lambda batch: iter([item])
    with pytest.raises(TrainingError, match=message):
        Trainer(TrainingSettings(batch_size=4), tmp_path, device="cpu").fit(stage, Line(), None)


def test_smoke_is_one_batch_through_everything(tmp_path, stage):
    samples, val = Pictures(50), Pictures(50)
    trainer = Trainer(TrainingSettings(epochs=100, batch_size=16, validate_every=1000), tmp_path, device="cpu")
    result = trainer.fit(stage, samples, val, smoke=True)
    assert result.steps == 2 and result.score is not None and len(samples.read) == 4 and len(val.read) <= 4
    assert {path.name for path in tmp_path.iterdir()} >= {"metrics.jsonl", "best.safetensors", "last.safetensors", "previews"}


def test_previews_are_pictures(tmp_path, stage):
    from talkingface.media.image import read_image

    toy_fit(tmp_path, stage, epochs=1, preview_every=2)
    assert sorted(path.name for path in (tmp_path / "previews").iterdir())[:2] == ["00000002.png", "00000004.png"]
    assert read_image(tmp_path / "previews" / "00000002.png").shape == (6, 6, 3)


def test_a_new_training_does_not_write_over_an_old_one(tmp_path, stage):
    toy_fit(tmp_path, stage, epochs=0, steps=1)
    with pytest.raises(CheckpointError, match="resume it, or choose another run_name"):
        toy_fit(tmp_path, stage, epochs=0, steps=1)


def test_a_folder_that_cannot_be_written_is_explained(tmp_path, stage):
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="cannot be written"):
        toy_fit(tmp_path / "file" / "stage", stage)


def test_fp16_needs_an_accelerator(tmp_path):
    with pytest.raises(ConfigError, match="fp16 needs an accelerator"):
        Trainer(TrainingSettings(precision="fp16"), tmp_path, device="cpu")


def test_tensorboard_gets_the_losses(tmp_path, stage):
    pytest.importorskip("tensorboard")
    toy_fit(tmp_path, stage, epochs=0, steps=2, tensorboard=True, log_every=1)
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_what_is_not_installed_is_named(tmp_path, stage, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    with pytest.raises(ConfigError, match="pip install wandb"):
        toy_fit(tmp_path, stage, wandb="project")
