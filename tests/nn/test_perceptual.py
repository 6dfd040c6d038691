"""Perceptual losses, and where their weights come from."""

import pytest
import torch

from talkingface.errors import CheckpointError, MissingWeightsError
from talkingface.nn import perceptual
from talkingface.nn.perceptual import PerceptualLoss, VggFeatures
from talkingface.nn.torchvision_files import RESNEXT50, VGG19, find_file


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    """VGG19 of an eighth of its channels."""
    monkeypatch.setattr(perceptual, "CHANNELS", tuple(channels // 8 for channels in perceptual.CHANNELS))


def torchvision_state(features):
    """The entries of torchvision's file for some features."""
    state = {f"features.{name.split('.', 1)[1]}": value.clone() for name, value in features.state_dict().items()}
    return {"features.34.weight": torch.zeros(1), **state, "classifier.0.weight": torch.zeros(3, 3)}


def pictures(seed):
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_torchvisions_file_is_loaded_without_its_classifier(tmp_path):
    torch.save(torchvision_state(VggFeatures()), tmp_path / "vgg19-12345678.pth")
    loss = PerceptualLoss.vgg19(tmp_path)
    stored = torch.load(tmp_path / "vgg19-12345678.pth", weights_only=True)
    assert torch.equal(loss.features.slice5.get_parameter("28.weight"), stored["features.28.weight"])


def test_torchvisions_cache_is_searched(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    path = tmp_path / "checkpoints" / VGG19.name
    torch.save(torchvision_state(VggFeatures()), path)
    assert find_file(VGG19) == path
    PerceptualLoss.vgg19()
    with pytest.raises(MissingWeightsError, match=RESNEXT50.name):
        find_file(RESNEXT50)


def test_an_absent_file_is_named_with_its_source_and_the_way_without(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(MissingWeightsError) as error:
        PerceptualLoss.vgg19(otherwise="Or set --x=none.")
    for part in (str(tmp_path), "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth", "575 MB", "Or set --x=none."):
        assert part in str(error.value)
    with pytest.raises(MissingWeightsError, match=r"mine\.pth"):
        PerceptualLoss.vgg19(tmp_path / "mine.pth")


def test_a_file_of_another_network_is_refused(tmp_path):
    torch.save({"features.0.weight": torch.zeros(8, 3, 3, 3)}, tmp_path / "vgg19-0.pth")
    with pytest.raises(CheckpointError, match=r"vgg19-0\.pth does not fit"):
        PerceptualLoss.vgg19(tmp_path / "vgg19-0.pth")


def test_equal_pictures_are_no_distance_apart_and_others_are():
    loss = PerceptualLoss(VggFeatures())
    one, other = pictures(0), pictures(1)
    assert float(loss(one, one)) == 0 and float(loss(one, other)) > 0


def test_gradients_reach_the_picture_and_nothing_else():
    loss = PerceptualLoss(VggFeatures())
    picture, truth = pictures(0).requires_grad_(), pictures(1).requires_grad_()
    loss(picture, truth).backward()
    assert picture.grad.abs().sum() > 0 and truth.grad is None
    assert all(parameter.grad is None for parameter in loss.parameters())


def test_the_network_stays_a_judge_in_training():
    loss = PerceptualLoss(VggFeatures(batch_norm=True), perceptual.FACE_WEIGHTS).train()
    before = {name: value.clone() for name, value in loss.state_dict().items()}
    loss(pictures(0), pictures(1))
    assert not loss.features.training
    assert all(torch.equal(value, before[name]) for name, value in loss.state_dict().items())


def test_pictures_are_brought_to_imagenets_statistics_on_request():
    loss = PerceptualLoss(VggFeatures(), normalize=True)
    grey = torch.zeros(1, 3, 1, 1)
    expected = torch.tensor(
        [(0.5 - mean) / deviation for mean, deviation in zip(perceptual.MEAN, perceptual.DEVIATION, strict=True)]
    )
    torch.testing.assert_close(loss.fitted(grey).flatten(), expected)
    assert PerceptualLoss(VggFeatures()).fitted(grey) is grey


def test_a_face_network_is_cut_at_the_same_numbers(tmp_path):
    features = VggFeatures(batch_norm=True)
    torch.save(torchvision_state(features), tmp_path / "face.pth")
    loss = PerceptualLoss.vggface(tmp_path / "face.pth")
    ends = [type(part[-1]).__name__ for part in loss.features.children()]
    assert ends == ["BatchNorm2d", "MaxPool2d", "BatchNorm2d", "Conv2d", "ReLU", "MaxPool2d"]
    h = loss.features(pictures(0)), loss.features(pictures(1))
    apart = [torch.nn.functional.l1_loss(a, b) for a, b in zip(*h, strict=True)]
    torch.testing.assert_close(loss(pictures(0), pictures(1)), apart[4] / 8 + apart[5] / 4 + apart[5])


def test_the_style_is_of_how_channels_go_together_wherever_that_is():
    loss = PerceptualLoss(VggFeatures(cuts=perceptual.CONV_CUTS), (1.0, 0.0, 0.0, 0.0, 0.0))
    x = pictures(0)
    content, style = loss.with_style(x.flip(3).flip(2), x)
    turned = loss.features(x.flip(3).flip(2))[0], loss.features(x)[0]
    assert style == pytest.approx(float((perceptual.gram(turned[0]) - perceptual.gram(turned[1])).abs().mean()), rel=1e-5)
    assert perceptual.gram(torch.ones(1, 3, 4, 5)).flatten().tolist() == pytest.approx([20 / 60] * 9) and content > 0


def test_reductions_are_compared_as_long_as_the_network_can_see_them():
    features = VggFeatures()
    one, two, many = (PerceptualLoss(features, num_scales=count) for count in (1, 2, 9))
    x, y = pictures(0), pictures(1)
    half = [torch.nn.functional.interpolate(z, scale_factor=0.5, mode="bilinear") for z in (x, y)]
    assert float(two(x, y)) == pytest.approx(float(one(x, y) + one(*half)), rel=1e-5) and float(many(x, y)) == float(two(x, y))
