"""The networks of Wav2Lip and SyncNet: sizes, shapes, and dense passes that equal windows."""

import pytest
import torch
from torch import nn

from talkingface.model.syncnet.networks import SyncNet
from talkingface.model.wav2lip.networks import Generator, QualityDiscriminator
from talkingface.nn.conv import fold_batch_norm
from talkingface.nn.sync_expert import SyncExpert

PUBLISHED = {Generator: 36_298_035, SyncExpert: 16_435_072, QualityDiscriminator: 14_113_793, SyncNet: 13_631_616}


def lively(network: nn.Module) -> nn.Module:
    """A network in evaluation mode whose norms do something."""
    torch.manual_seed(0)
    for layer in network.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            nn.init.normal_(layer.running_mean, std=0.1)
            nn.init.uniform_(layer.running_var, 0.8, 1.2)
            nn.init.normal_(layer.weight, 1.0, 0.1)
            nn.init.normal_(layer.bias, std=0.1)
    return network.eval()


def assert_equal(ours, expected):
    assert ours.shape == expected.shape
    assert (ours - expected).norm() <= 1e-5 * expected.norm()


@pytest.mark.parametrize("network", PUBLISHED)
def test_a_network_is_as_large_as_the_published_one(network):
    with torch.device("meta"):
        assert sum(p.numel() for p in network().parameters()) == PUBLISHED[network]


@pytest.mark.parametrize("network", PUBLISHED)
def test_width_makes_a_network_small(network):
    with torch.device("meta"):
        assert sum(p.numel() for p in network(width=1 / 16).parameters()) < PUBLISHED[network] / 100


@torch.no_grad()
def test_a_generated_clip_equals_its_frames():
    generator = lively(Generator(width=1 / 8))
    mel, faces = torch.randn(2, 3, 1, 80, 16), torch.rand(2, 6, 3, 96, 96)
    clip = generator(mel, faces)
    assert clip.shape == (2, 3, 3, 96, 96)
    for t in range(3):
        assert_equal(clip[:, :, t], generator(mel[:, t], faces[:, :, t]))


@torch.no_grad()
def test_the_generator_answers_in_zero_to_one_and_to_both_inputs():
    generator = lively(Generator(width=1 / 8))
    mel, faces = torch.randn(1, 1, 80, 16), torch.rand(1, 6, 96, 96)
    painted = generator(mel, faces)
    assert painted.min() >= 0 and painted.max() <= 1
    assert not torch.equal(painted, generator(mel + 1, faces))
    assert not torch.equal(painted, generator(mel, faces.flip(-1)))


@torch.no_grad()
def test_the_expert_embeds_to_unit_length_without_negatives():
    speech, mouths = lively(SyncExpert(width=1 / 8))(torch.randn(3, 1, 80, 16), torch.rand(3, 15, 48, 96))
    for embedding in (speech, mouths):
        assert embedding.shape == (3, 64)
        assert embedding.min() >= 0
        assert torch.allclose(embedding.norm(dim=1), torch.ones(3))


@torch.no_grad()
def test_the_discriminator_sees_the_lower_half_frame_by_frame():
    discriminator = QualityDiscriminator(width=1 / 8)
    frames = torch.rand(2, 3, 4, 96, 96)
    probabilities = discriminator(frames)
    assert probabilities.shape == (8, 1)
    assert torch.allclose(probabilities[2:4], discriminator(frames[:, :, 1:2]))  # samples of the second frame
    upper = frames.clone()
    upper[..., :48, :] = 0
    assert torch.equal(probabilities, discriminator(upper))


@torch.no_grad()
@pytest.mark.parametrize("size", [96, 112, 128, 224])
def test_lip_sequence_equals_windows(size):
    net = lively(SyncNet(width=1 / 16, image_size=size, embedding=32))
    frames = torch.randint(0, 256, (1, 3, 11, size, size), dtype=torch.uint8)
    windows = torch.stack([frames[0, :, v : v + 5] for v in range(7)]).float()
    expected = net.lip(windows)
    for chunk in (0, 1, 3, 7, 100):
        assert_equal(net.lip_sequence(frames, chunk), expected)


@torch.no_grad()
def test_the_window_convolution_is_the_3d_one():
    net = SyncNet(width=1 / 16, image_size=96)
    conv, frames = net.netcnnlip[0], torch.randn(2, 3, 5, 96, 96)
    expected = nn.functional.conv3d(frames, conv.weight, conv.bias, conv.stride, conv.padding)[:, :, 0]
    assert_equal(conv(frames.flatten(1, 2)), expected)


@torch.no_grad()
@pytest.mark.parametrize(("columns", "count"), [(20, 1), (23, 1), (24, 2), (59, 10)])
def test_audio_sequence_equals_windows(columns, count):
    net = lively(SyncNet(width=1 / 8, image_size=96))
    mfcc = 10 * torch.randn(13, columns, dtype=torch.float64)
    expected = net.audio(torch.stack([mfcc[None, :, 4 * v : 4 * v + 20] for v in range(count)]).float())
    assert_equal(net.audio_sequence(mfcc, chunk=4), expected)


def test_a_clip_without_a_window_has_no_embeddings():
    net = SyncNet(width=1 / 16, image_size=96, embedding=8)
    assert net.lip_sequence(torch.zeros(1, 3, 4, 96, 96)).shape == (0, 8)
    assert net.audio_sequence(torch.zeros(13, 19)).shape == (0, 8)


def test_dense_passes_leave_the_network_as_it_was():
    net = SyncNet(width=1 / 16, image_size=96, embedding=8)
    before, random = {name: value.clone() for name, value in net.state_dict().items()}, torch.get_rng_state()
    net.lip_sequence(torch.ones(1, 3, 6, 96, 96))
    net.audio_sequence(torch.ones(13, 40))
    assert torch.equal(torch.get_rng_state(), random)
    assert all(module.training for module in net.modules())
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_syncnet_learns_through_the_flattened_convolutions():
    net = SyncNet(width=1 / 16, image_size=96, embedding=8)
    net.lip(torch.rand(2, 3, 5, 96, 96)).sum().backward()
    assert net.netcnnlip[0].weight.grad.abs().sum() > 0


def test_syncnet_refuses_small_frames():
    with pytest.raises(ValueError, match="64"):
        SyncNet(image_size=64)


@torch.no_grad()
def test_folding_changes_nothing():
    layers = lively(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1), nn.BatchNorm2d(4)))
    folded = fold_batch_norm(layers)
    x = torch.randn(2, 3, 9, 9)
    assert len(folded) == 3
    assert_equal(folded(x), layers(x))
