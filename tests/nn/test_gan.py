"""The discriminator, its spectral norm, and the losses of an adversary."""

import pytest
import torch
from torch import nn

from talkingface.model.stage import Stage
from talkingface.nn.gan import (
    GradientPenalty,
    MultiscaleDiscriminator,
    StyleDiscriminator,
    batch_deviation,
    feature_distances,
    hinge_fake,
    hinge_generator,
    hinge_real,
    logistic_fake,
    logistic_real,
    parts,
    scores,
    style_channels,
)
from talkingface.nn.init import normal_init, xavier_init
from talkingface.nn.weights import load_weights, read_weights, save_weights
from talkingface.trainer.settings import TrainingSettings
from talkingface.trainer.trainer import Trainer
from tests.trainer.toy import Pictures

NORMALIZED = "discriminator_0.model1.0.0"


def small(seed=0):
    torch.manual_seed(seed)
    return MultiscaleDiscriminator(width=0.1)


def faces(count=2, side=32, seed=0):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_answers_are_the_picture_then_features_then_scores_on_each_scale():
    pictures = faces()
    answers = small()(pictures)
    assert [len(scale) for scale in answers] == [6, 6]
    assert torch.equal(answers[0][0], pictures) and answers[1][0].shape == (2, 3, 16, 16)
    assert [score.shape[1] for score in scores(answers)] == [1, 1]


def test_borders_do_not_darken_the_picture_of_the_next_scale():
    white = torch.ones(1, 3, 32, 32)
    torch.testing.assert_close(small()(white)[1][0], torch.ones(1, 3, 16, 16))


def test_weights_carry_the_names_of_the_old_hook():
    names = {name.rpartition(".")[2] for name in small().state_dict() if name.startswith(NORMALIZED)}
    assert names == {"weight_orig", "weight_u", "weight_v"}


def test_a_pass_in_training_comes_nearer_to_the_largest_singular_value():
    discriminator = small()
    convolution = discriminator.get_submodule(NORMALIZED)
    largest = torch.linalg.matrix_norm(convolution.weight_orig.detach().flatten(1), 2)
    off = []
    for _ in range(3):
        for _ in range(8):
            discriminator(faces())
        u, v = convolution.weight_u, convolution.weight_v
        off.append(abs(float(u @ convolution.weight_orig.detach().flatten(1) @ v) - float(largest)))
    assert off[2] < off[0] and off[2] < 0.03 * float(largest)
    before = convolution.weight_u.clone()
    discriminator.eval()(faces())
    assert torch.equal(before, convolution.weight_u)


def test_norms_are_restored_with_the_weights(tmp_path):
    one, other = small(), small(1)
    one(faces())
    save_weights(tmp_path / "D.safetensors", one.state_dict())
    load_weights(other, read_weights(tmp_path / "D.safetensors").state, "D")
    one.eval(), other.eval()
    assert torch.equal(scores(one(faces()))[0], scores(other(faces()))[0])
    one.train(), other.train()
    assert torch.equal(scores(one(faces()))[1], scores(other(faces()))[1])


class Critic(Stage):
    """A discriminator alone."""

    def __init__(self):
        super().__init__()
        self.discriminator = small()

    def trainable(self):
        return {"discriminator": [self.discriminator]}

    def samples(self, clips, split):
        raise NotImplementedError

    def losses(self, batch):
        pictures = batch["frames"].expand(-1, 3, -1, -1)
        yield "discriminator", {"real": hinge_real(scores(self.discriminator(pictures)))}


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_a_training_that_is_cut_and_resumed_has_the_same_norms(tmp_path, precision):
    def train(folder, steps, resume=False):
        stage = Critic()
        settings = TrainingSettings(epochs=0, steps=steps, batch_size=4, precision=precision)
        Trainer(settings, folder, device="cpu").fit(stage, Pictures(20, 16), resume=resume)
        return stage.state_dict()

    whole = train(tmp_path / "whole", 3)
    train(tmp_path / "cut", 2)
    resumed = train(tmp_path / "cut", 3, resume=True)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert whole[f"discriminator.{NORMALIZED}.weight_u"].dtype == torch.float32


def test_hinge_losses_are_means_over_scales_not_over_patches():
    judged = [torch.full((1, 1, 8, 8), 0.5), torch.full((1, 1, 2, 2), -2.0)]
    assert float(hinge_real(judged)) == pytest.approx((0.5 + 3) / 2)
    assert float(hinge_fake(judged)) == pytest.approx((1.5 + 0) / 2)
    assert float(hinge_generator(judged)) == pytest.approx(0.75)


def test_feature_distances_tell_the_picture_from_the_features_and_leave_the_truth_alone():
    real = [[torch.zeros(1, 3, 4, 4, requires_grad=True), torch.zeros(1, 2, 2, 2, requires_grad=True), torch.zeros(1)]]
    fake = [[torch.ones(1, 3, 4, 4, requires_grad=True), torch.full((1, 2, 2, 2), 3.0, requires_grad=True), torch.ones(1)]]
    image, features = feature_distances(fake, real)
    assert (image.item(), features.item()) == (1.0, 3.0)
    (image + features).backward()
    assert real[0][0].grad is None and fake[0][1].grad is not None


def test_a_batch_of_parts_is_judged_as_its_parts_alone():
    discriminator = small().eval()
    one, other = faces(seed=1), faces(seed=2)
    first, second = parts(discriminator(torch.cat([one, other])), 2)
    torch.testing.assert_close(scores(first)[0], scores(discriminator(one))[0])
    torch.testing.assert_close(second[1][2], discriminator(other)[1][2])


def test_networks_start_as_released():
    network = xavier_init(nn.Sequential(nn.Conv2d(64, 64, 3), nn.BatchNorm2d(64), nn.Linear(100, 100)))
    assert float(network[0].weight.std()) == pytest.approx(0.02 * (2 / (9 * 128)) ** 0.5, rel=0.05)
    assert not network[0].bias.any() and not network[2].bias.any()
    assert float(network[1].weight.std()) == pytest.approx(0.02, rel=0.4)


def test_networks_start_as_pirenderers():
    network = normal_init(nn.Sequential(nn.Conv2d(32, 64, 3), nn.Linear(100, 100)))
    assert all(float(layer.weight.std()) == pytest.approx(0.02, rel=0.05) and not layer.bias.any() for layer in network)


# --- StyleGAN2 --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [24, 32, 40])
def test_stylegan2s_discriminator_judges_pictures_of_any_size(side):
    judged = StyleDiscriminator(side, width=0.05)(faces(3, side))
    assert judged.shape == (3, 1) and judged.std() > 0


def test_its_channels_are_those_of_gfpgan():
    assert [style_channels(side) for side in (512, 384, 256, 128, 64, 32, 8, 4)] == [32, 32, 64, 128, 256, 512, 512, 512]


def test_its_layers_keep_the_variance_and_halve_the_picture():
    torch.manual_seed(0)
    block = StyleDiscriminator(64).blocks[0]
    x = torch.randn(4, block.conv1[0].weight.shape[1], 64, 64)
    y = block(x)
    assert y.shape[2:] == (32, 32) and 0.2 < float(y.detach().std()) < 2


def test_pictures_that_are_all_the_same_show_no_deviation():
    x = torch.randn(1, 5, 4, 4)
    assert float(batch_deviation(x.expand(4, -1, -1, -1)).max()) < 2e-4
    varied = torch.cat([x, x + 2])
    assert batch_deviation(varied).shape == (2, 1, 4, 4) and torch.allclose(batch_deviation(varied), torch.ones(()), atol=1e-4)
    assert batch_deviation(torch.randn(6, 5, 4, 4)).unique().numel() == 2  # of three groups of two there would be one per pair


def test_logistic_losses_of_undecided_scores_are_log_2():
    undecided = torch.zeros(3, 1)
    assert float(logistic_real(undecided)) == float(logistic_fake(undecided)) == pytest.approx(0.6931, abs=1e-4)
    assert logistic_real(undecided + 9) < 1e-3 < 8 < logistic_fake(undecided + 9)


def test_the_gradients_penalty_is_half_its_square_times_the_pause():
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.factor = nn.Parameter(torch.tensor(3.0))

        def forward(self, pictures):
            return self.factor * pictures.sum(dim=(1, 2, 3))

    judge, penalty = Sum(), GradientPenalty(every=4)
    values = [penalty(judge, faces(2, 8)) for _ in range(5)]
    assert [float(value.detach()) for value in values] == [4 * 9 * 192 / 2, 0, 0, 0, 4 * 9 * 192 / 2]
    assert float(torch.autograd.grad(values[0], judge.factor)[0]) == 4 * 3 * 192
    assert penalty.eval()(judge, faces(2, 8)) == 0 and int(penalty.calls) == 5
