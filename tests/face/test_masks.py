"""The soft mask of a face."""

import numpy as np

from talkingface.face.masks import face_mask
from tests.model.test_videoretalking_training import face_points


def test_a_face_is_covered_from_half_of_its_forehead_to_below_its_chin():
    points = face_points() * 60 + (150, 120)
    mask = face_mask(points, 300, 320)
    inner = np.rint(points[17:]).astype(int)
    assert mask[inner[:, 1], inner[:, 0]].min() > 0.5 and mask.min() >= 0 and mask.max() <= 1
    chin, brows = points[8], points[17:27].mean(axis=0)
    assert mask[int(chin[1]) + 3, int(chin[0])] > 0.5 and mask[int(brows[1]) - 12, int(brows[0])] > 0.5
    assert mask[0].max() == mask[-1].max() == mask[:, 0].max() == 0


def test_its_edge_is_as_soft_as_the_face_is_large():
    slopes = [np.abs(np.diff(face_mask(face_points() * s + 3 * s, 6 * s, 6 * s)[3 * s])).max() for s in (20, 80)]
    assert slopes[1] < slopes[0] / 2


def test_a_face_beyond_the_picture_is_no_error():
    assert face_mask(face_points() * 60, 100, 100).shape == (100, 100)
