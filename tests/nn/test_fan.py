"""The face alignment network's trunk: narrow ones can learn, and what reads their maps does not start dead."""

import pytest
import torch
from torch import nn

from talkingface.nn.fan import FanTrunk, start_squeeze


@pytest.mark.parametrize(("width", "share"), [(1.0, 0.5), (0.25, 0.125)])
def test_narrow_trunks_leave_out_less(width, share):
    trunk = FanTrunk(align_corners=True, width=width)
    assert {module.p for module in trunk.modules() if isinstance(module, nn.Dropout)} == {share}


def test_what_reads_the_maps_of_points_is_alive_at_its_start_and_blind_to_what_all_places_share():
    torch.manual_seed(0)
    conv, fc = nn.Conv2d(68, 1, 3, 2, 1), nn.Linear(64, 8)
    start_squeeze(conv, fc)
    squeezed = conv(torch.randn(4, 68, 16, 16).relu())
    assert (squeezed > 0).all()
    one, other = fc(torch.rand(3, 64)), torch.full((3, 64), 5.0)
    assert torch.allclose(fc(other), fc.bias.expand(3, -1), atol=1e-4) and not torch.allclose(
        one, fc.bias.expand(3, -1), atol=1e-2
    )
