"""LPIPS: torchvision's file goes into the package's distance, unchanged."""

import lpips
import numpy as np
import pytest
import torch
import torchvision

from talkingface.errors import CheckpointError, ConfigError, MissingWeightsError
from talkingface.media.video import Video, write_video
from talkingface.metric.perceptual import LPIPS


@pytest.fixture(scope="module")
def alexnet(tmp_path_factory):
    """A file with torchvision's names and made-up values."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("alex") / "alexnet-owt-7be5be79.pth"
    network = torchvision.models.AlexNet()
    state = network.state_dict()
    torch.save({name: value for name, value in state.items() if name.startswith("features.")}, path)
    return path


def pictures(seed):
    return np.random.default_rng(seed).integers(0, 256, (64, 64, 3), np.uint8)


def test_the_value_is_that_of_the_package_with_the_same_network(alexnet):
    metric = LPIPS(weights=alexnet)
    reference = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    features = torchvision.models.AlexNet().features
    features.load_state_dict({name.removeprefix("features."): value for name, value in torch.load(alexnet).items()})
    parts = iter([layer for layer in features if isinstance(layer, torch.nn.Conv2d)])
    for layer in reference.net.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.load_state_dict(next(parts).state_dict())
    ours, real = pictures(0), pictures(1)
    x, y = (torch.from_numpy(p).permute(2, 0, 1)[None] / 127.5 - 1 for p in (ours, real))
    expected = float(reference.eval()(x, y))
    assert metric.compare(ours, real) == pytest.approx(expected, rel=1e-5) and expected > 0.01
    assert metric.compare(ours, ours) == 0


def test_a_video_is_the_mean_over_its_frames(alexnet, tmp_path):
    for name, seeds in (("ours", (0, 1)), ("real", (0, 2))):
        write_video(tmp_path / f"{name}.avi", [pictures(seed) for seed in seeds], 25, lossless=True)
    metric = LPIPS(weights=alexnet.parent)
    value = metric.score(Video(tmp_path / "ours.avi"), Video(tmp_path / "real.avi"))["LPIPS"]
    pairs = zip(Video(tmp_path / "ours.avi"), Video(tmp_path / "real.avi"), strict=True)
    assert value == pytest.approx(np.mean([metric.compare(*pair) for pair in pairs]))
    assert metric.protocol()["network"] == "alex" and len(metric.protocol()["weights_hash"]) == 32


def test_absent_and_other_weights_are_named(tmp_path):
    write_video(tmp_path / "a.avi", [pictures(0)], 25, lossless=True)
    video = Video(tmp_path / "a.avi")
    with pytest.raises(MissingWeightsError, match="alexnet-owt-7be5be79.pth"):
        LPIPS(weights=tmp_path / "none").score(video, video)
    torch.save({"features.0.weight": torch.zeros(2)}, tmp_path / "alexnet-owt-7be5be79.pth")
    with pytest.raises(CheckpointError, match="is not torchvision's"):
        LPIPS(weights=tmp_path).score(video, video)
    with pytest.raises(ConfigError, match="LPIPS.network"):
        LPIPS(network="squeeze")
