"""Similarity maps: fitted exactly, applied to a fraction of a pixel, undone."""

import cv2
import numpy as np
import pytest

from talkingface.face.align import crop, five_points, inverse, move_points, similarity


def turned(degrees, scale, x, y):
    angle = np.deg2rad(degrees)
    rotation = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.column_stack((rotation, (x, y)))


def ramp(width=80, height=60):
    """A picture that is linear in x and y, so that any bilinear sample of it is known."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return 2 * x + 3 * y


@pytest.mark.parametrize("count", [2, 5, 68])
@pytest.mark.parametrize("degrees", [0, 30, -170])
def test_the_map_that_was_applied_is_found(count, degrees):
    points = np.random.default_rng(count).normal(50, 20, (count, 2))
    matrix = turned(degrees, 1.7, 12.25, -3.5)
    assert np.allclose(similarity(points, move_points(points, matrix)), matrix, atol=1e-9)


def test_a_mirrored_face_is_turned_and_not_mirrored():
    points = np.random.default_rng(0).normal(50, 20, (68, 2))
    matrix = similarity(points, points * [-1, 1])
    assert np.linalg.det(matrix[:, :2]) > 0


def test_no_other_similarity_is_nearer():
    rng = np.random.default_rng(1)
    points, target = rng.normal(0, 9, (5, 2)), rng.normal(0, 9, (5, 2))
    best = similarity(points, target)

    def distance(matrix):
        return ((move_points(points, matrix) - target) ** 2).sum()

    for degrees, scale, x, y in rng.normal(0, 0.05, (50, 4)):
        step = turned(degrees, 1 + scale, x, y)
        other = np.column_stack((step[:, :2] @ best[:, :2], best[:, 2] + step[:, 2]))
        assert distance(other) >= distance(best)


def test_points_that_fall_together_are_an_error():
    with pytest.raises(ValueError, match="two different points"):
        similarity(np.ones((5, 2)), np.zeros((5, 2)))


def test_inverse_undoes_a_map():
    points, matrix = np.random.default_rng(2).normal(0, 9, (7, 2)), turned(33, 0.4, 8, 9)
    assert np.allclose(move_points(move_points(points, matrix), inverse(matrix)), points)


def test_a_shift_by_whole_pixels_is_exact():
    frame = np.random.default_rng(3).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    assert np.array_equal(crop(frame, turned(0, 1, -7, -5), (20, 10)), frame[5:15, 7:27])


@pytest.mark.parametrize("matrix", [turned(0, 1, -10.5, -8.25), turned(20, 1.3, -15, -30), turned(-8, 0.8, 2, 1)])
def test_samples_are_right_to_a_thirty_second_of_a_pixel(matrix):
    frame, size = ramp(), (24, 16)
    got = crop(frame, matrix, size)
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    source = move_points(np.stack((x, y), axis=-1).astype(float), inverse(matrix))
    inside = (source >= 0).all(axis=-1) & (source <= [frame.shape[1] - 1, frame.shape[0] - 1]).all(axis=-1)
    assert inside.sum() > 100
    assert np.abs(got - source @ [2, 3])[inside].max() <= 5 / 32


def test_a_landmark_lands_where_its_pixel_lands():
    frame = np.zeros((100, 100), np.float32)
    cv2.circle(frame, (60, 40), 6, 255.0, -1)
    matrix = turned(25, 1.5, -20, -10)
    seen = crop(frame, matrix, (100, 100))
    y, x = np.mgrid[:100, :100]
    center = [(x * seen).sum() / seen.sum(), (y * seen).sum() / seen.sum()]
    assert np.allclose(center, move_points(np.array([60.0, 40.0]), matrix), atol=0.1)


def test_five_points_are_eyes_nose_and_mouth():
    landmarks = np.arange(68, dtype=float)[:, None] * [1, 10]
    assert five_points(landmarks)[:, 0].tolist() == [38.5, 44.5, 30, 48, 54]
    assert five_points(np.stack([landmarks] * 3)).shape == (3, 5, 2)
