"""Where the coefficient network wants a face."""

import numpy as np
import pytest

from talkingface.face import deep3d


def turned(x=0.0, y=0.0, z=0.0, scale=60.0, shift=(128, 100)):
    """(5, 2) the standard face's points, y up, seen from far away with the head turned by these radians."""
    (cx, sx), (cy, sy), (cz, sz) = ((np.cos(a), np.sin(a)) for a in (x, y, z))
    nod = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    shake = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    tilt = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return scale * (deep3d.STANDARD_POINTS @ (tilt @ shake @ nod).T)[:, :2] + shift


def test_scale_and_shift_of_a_turned_face_are_found():
    found = deep3d.fit(turned(z=0.2))
    assert found.scale == pytest.approx(60, rel=1e-4) and found.shift == pytest.approx((128, 100), abs=1e-3)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_angles_tell_which_way_a_head_turns(axis):
    angles = {name: 0.3 if number == axis else 0.0 for number, name in enumerate("xyz")}
    found = deep3d.angles(turned(**angles))
    assert np.abs(found).argmax() == axis and abs(found[axis]) == pytest.approx(0.3, abs=1e-3)


def test_an_aligned_face_has_its_points_where_the_standard_face_has_them():
    marks = np.zeros((68, 2))
    five = turned(scale=80, shift=(160, 130))
    for place, point in zip(((36, 39), (42, 45), (30,), (48,), (54,)), five, strict=True):
        marks[list(place)] = (point[0], 239 - point[1])
    alignment = deep3d.align(np.zeros((240, 320, 3), np.uint8), marks)
    expected = deep3d.STANDARD_POINTS[:, :2] * deep3d.UNIT + deep3d.SIDE / 2
    assert np.abs(alignment.move(five) - expected).max() < 2 and alignment.picture.shape == (224, 224, 3)


def test_an_unknown_face_fills_the_picture():
    assert deep3d.align(np.full((300, 200, 3), 9, np.uint8), None).parameters[:2].tolist() == [200, 300]
