"""StyleGAN2's layers: weights scaled when used, one convolution for all styles, blurred doubling, and what is learned."""

import math

import pytest
import torch
import torch.nn.functional as F

from talkingface.nn.stylegan2 import (
    Activation,
    ConstantStart,
    EqualConv,
    EqualLinear,
    ModulatedConv,
    Noise,
    Resample,
    ToRGB,
    double,
)


@pytest.mark.parametrize("demodulate", [True, False])
@pytest.mark.parametrize("up", ["", "blur", "bilinear"])
def test_one_shared_convolution_is_as_weights_of_each_samples_own(demodulate, up):
    torch.manual_seed(0)
    conv = ModulatedConv(5, 7, 3, 11, demodulate, up).double()
    x, style = torch.randn(3, 5, 6, 6, dtype=torch.float64), torch.randn(3, 11, dtype=torch.float64)
    expected = []
    for sample, factors in zip(x, conv.modulation(style), strict=True):
        weight = conv.weight[0] / math.sqrt(5 * 9) * factors[None, :, None, None]
        if demodulate:
            weight = weight * torch.rsqrt(weight.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8)
        if up == "blur":
            expected.append(conv.blur(F.conv_transpose2d(sample[None], weight.transpose(0, 1), stride=2)))
        else:
            expected.append(F.conv2d(double(sample[None]) if up else sample[None], weight, padding=1))
    torch.testing.assert_close(conv(x, style), torch.cat(expected), atol=1e-6, rtol=1e-6)


def test_layers_that_scale_when_used_start_as_those_that_do_not():
    torch.manual_seed(0)
    x = torch.randn(64, 400)
    spreads = [
        float(layer(x).detach().std()) for layer in (EqualLinear(400, 300, rate=0.01), EqualLinear(400, 300, equalized=False))
    ]
    assert spreads == pytest.approx([1, 1], abs=0.05)
    assert float(EqualLinear(400, 300).weight.detach().std()) == pytest.approx(1, abs=0.02)
    assert float(EqualConv(40, 8, 3, padding=1)(torch.randn(2, 40, 9, 9)).detach().std()) == pytest.approx(1, abs=0.15)


def test_a_rate_scales_how_far_a_step_moves_the_output():
    layers = [EqualLinear(8, 4, bias=0.5, rate=rate) for rate in (1.0, 0.1)]
    x = torch.ones(1, 8)
    full, tenth = (torch.autograd.grad(layer(x).sum(), [layer.weight, layer.bias]) for layer in layers)
    assert all(torch.allclose(0.1 * one, other) for one, other in zip(full, tenth, strict=True))


@pytest.mark.parametrize("padding", [(2, 1), (1, 1)])
def test_doubling_is_zeros_between_and_a_blur(padding):
    x = torch.arange(12.0).view(1, 1, 3, 4)
    layer = Resample(padding, insert=True)
    spread = torch.zeros(1, 1, 6, 8)
    spread[..., ::2, ::2] = x
    torch.testing.assert_close(layer(x), F.conv2d(F.pad(spread, padding * 2), layer.kernel[None, None]))


def test_even_pictures_stay_even():
    assert torch.allclose(Resample((2, 1), insert=True)(torch.ones(1, 2, 6, 6))[..., 2:-2, 2:-2], torch.ones(()))
    assert torch.allclose(Resample((2, 1), gain=1.0)(torch.ones(1, 2, 6, 6))[..., 2:-2, 2:-2], torch.ones(()))


def test_noise_is_added_or_appended_by_its_learned_strength():
    x, noise = torch.randn(2, 3, 4, 4), torch.randn(2, 1, 4, 4)
    for append in (False, True):
        layer = Noise(append)
        assert layer(x, None) is x and torch.equal(layer(x, noise)[:, :3], x)
        torch.nn.init.constant_(layer.weight, 2.0)
        assert torch.allclose(layer(x, noise), torch.cat((x, 2 * noise), dim=1) if append else x + 2 * noise)


@pytest.mark.parametrize(("flat", "shape"), [(True, (3,)), (False, (1, 3, 1, 1))])
def test_a_bias_has_either_authors_shape(flat, shape):
    layer = Activation(3, flat)
    assert layer.bias.shape == shape
    x = torch.tensor([-1.0, 2.0]).view(1, 1, 1, 2).expand(1, 3, 1, 2)
    torch.testing.assert_close(layer(x)[0, 1, 0].detach(), torch.tensor([-0.2, 2.0]) * math.sqrt(2))


def test_colors_are_added_to_the_smaller_picture():
    torch.manual_seed(0)
    layer, x, style, before = ToRGB(4, 6), torch.randn(1, 4, 8, 8), torch.randn(1, 6), torch.randn(1, 3, 4, 4)
    torch.testing.assert_close(layer(x, style, before) - layer(x, style), layer.upsample(before))


def test_a_start_that_is_never_used_is_not_learned():
    learned, drawn = ConstantStart(5, 3), ConstantStart(5, 3, learned=False)
    assert learned(4).shape == drawn(4).shape == (4, 5, 3, 3)
    assert list(dict(learned.named_parameters())) == ["input"] and not list(drawn.parameters())
    assert list(drawn.state_dict()) == ["input"]
