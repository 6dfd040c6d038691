"""Blending band by band."""

import numpy as np
import pytest

from talkingface.face.pyramid import laplacian_blend

ONE, OTHER = np.full((61, 90, 3), 200, np.uint8), np.full((61, 90, 3), 40, np.uint8)


def test_equal_pictures_stay_as_they_are():
    picture = np.random.default_rng(0).integers(0, 256, (61, 90, 3)).astype(np.uint8)
    mask = np.random.default_rng(1).random((61, 90)).astype(np.float32)
    assert np.abs(laplacian_blend(picture, picture, mask, 5) - picture).max() < 1e-3


@pytest.mark.parametrize("levels", [1, 2, 4])
def test_far_from_the_edge_it_is_one_of_both(levels):
    mask = np.zeros((61, 90), np.float32)
    mask[:, :45] = 1
    blended = laplacian_blend(ONE, OTHER, mask, levels)
    assert np.allclose(blended[:, 0], 200) and np.allclose(blended[:, -1], 40)


def test_more_levels_fade_wider_over_the_edge():
    mask = np.zeros((61, 90), np.float32)
    mask[:, :45] = 1
    widths = [(np.abs(laplacian_blend(ONE, OTHER, mask, n)[30, :, 0] - 120) < 75).sum() for n in (1, 2, 4)]
    assert widths[0] == 0 < widths[1] < widths[2]
