"""The turned square around a face, cut out and put back."""

import numpy as np
import pytest

from talkingface.face.quad import bounds, cut_quad, face_square, paste_quad, perspective_map
from talkingface.media.image import resize


def soft(seed, size=(200, 160)):
    return resize(np.random.default_rng(seed).integers(0, 256, (8, 10, 3)).astype(np.uint8), size)


def points(angle=0.0):
    """(68, 2) whose eyes are 40 apart around (100, 60), the mouth 50 below, turned about (100, 80)."""
    marks = np.zeros((68, 2))
    marks[36:42], marks[42:48], marks[48], marks[54] = (80, 60), (120, 60), (85, 110), (115, 110)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (marks - (100, 80)) @ turn.T + (100, 80)


@pytest.mark.parametrize("angle", [0.0, 0.3, -0.5])
def test_the_square_turns_with_the_face_and_keeps_its_side(angle):
    square = face_square(points(angle))
    assert square.side == pytest.approx(2 * 1.8 * 50)
    assert np.arctan2(square.x[1], square.x[0]) == pytest.approx(angle) and square.x @ square.y == pytest.approx(0)
    assert square.quad.mean(axis=0) == pytest.approx(square.center)


@pytest.mark.parametrize("angle", [0.0, 0.3])
def test_what_is_cut_and_put_back_is_where_it_was(angle):
    picture, side = soft(0), 256
    quad = (points(angle)[36], points(angle)[48] + (0, 10), points(angle)[54] + (0, 10), points(angle)[42])
    quad = np.array(quad, np.float64)
    back = paste_quad(picture, cut_quad(picture, quad, side), perspective_map(quad, side))
    assert back.shape == (160, 200, 4) and (back[..., 3] == 255).all()
    assert np.abs(back[..., :3].astype(int) - picture).mean() < 1
    pasted = paste_quad(picture, np.zeros((side, side, 3), np.uint8), perspective_map(quad, side))
    middle = quad.mean(axis=0).astype(int)
    assert pasted[middle[1], middle[0], :3].max() == 0 and np.array_equal(pasted[:20, :20, :3], picture[:20, :20])


def test_beyond_the_picture_is_black():
    quad = np.array([(-40, -40), (-40, 60), (60, 60), (60, -40)], np.float64)
    cut = cut_quad(np.full((160, 200, 3), 200, np.uint8), quad, 100)
    assert cut[:35, :35].max() == 0 and cut[50:, 50:].min() == 200


def test_a_large_square_skips_no_pixels():
    stripes = np.zeros((1200, 1200, 3), np.uint8)
    stripes[:, ::2] = 255
    quad = np.array([(10, 10), (10, 1190), (1190, 1190), (1190, 10)], np.float64)
    assert np.ptp(cut_quad(stripes, quad, 64)[8:-8, 8:-8]) < 30


def test_bounds_stay_in_the_picture():
    assert bounds(np.array([(-5.5, 3.2), (20.1, 300)]), (100, 80), 4) == (0, 0, 25, 80)
