"""Scenes, tracks and crops of free videos."""

import numpy as np
import pytest

from talkingface.face.shots import Detection, content_changes, crop_face, crop_path, overlap, scene_cuts, track_shots


def test_a_cut_is_where_the_picture_changes():
    frames = [np.full((20, 30, 3), level, np.uint8) for level in [30] * 20 + [220] * 20]
    changes = list(content_changes(frames))
    assert changes[0] == 0 and changes[20] > 30
    assert scene_cuts(changes) == [20]


def test_cuts_keep_their_distance_but_the_first_may_be_early():
    assert scene_cuts([0, 0, 40, 40, 0, *[0] * 11, 40, 40]) == [2, 17]


def test_wide_pictures_are_thinned_out():
    rng = np.random.default_rng(0)
    pair = [rng.integers(0, 256, (8, 600, 3), np.uint8) for _ in range(2)]
    assert list(content_changes(pair)) == list(content_changes([frame[::3, ::3][:, :399] for frame in pair]))


def test_overlap():
    assert overlap(np.array([0, 0, 2, 2]), np.array([1, 0, 3, 2])) == pytest.approx(1 / 3)
    assert overlap(np.array([0, 0, 1, 1]), np.array([2, 2, 3, 3])) == 0


def face(frame, x, size=120):
    return Detection(frame, np.array([x, 10.0, x + size, 10.0 + size]))


def test_two_people_are_two_shots_and_gaps_are_bridged():
    frames = [[face(t, t)] + ([face(t, 500)] if t % 3 else []) for t in range(160)]
    left, right = track_shots(frames)
    np.testing.assert_array_equal(left.boxes[:, 0], np.arange(160.0))
    assert right.frames.tolist() == list(range(1, 159)) and (right.boxes[:, 0] == 500).all()


@pytest.mark.parametrize(("count", "shots"), [(100, 0), (101, 1)])
def test_a_shot_has_more_detections_than_the_minimum(count, shots):
    assert len(track_shots([[face(t, 5)] for t in range(count)])) == shots


def test_small_faces_and_long_gaps_make_no_shot():
    assert track_shots([[face(t, 5, size=100)] for t in range(150)]) == []
    assert track_shots([[face(t, 5)] if t < 80 or t > 110 else [] for t in range(190)]) == []


def test_the_path_is_smooth_and_centered():
    path = crop_path(np.tile([10.0, 20.0, 50.0, 80.0], (30, 1)))
    assert (path.half[6:-6] == 30).all() and (path.x[6:-6] == 30).all() and (path.y[6:-6] == 50).all()


def test_a_crop_is_grey_beyond_the_picture():
    crop = crop_face(np.full((60, 60, 3), 200, np.uint8), half=20, x=0, y=30)
    assert crop.shape == (224, 224, 3)
    assert (crop[100, :100] == 110).all() and (crop[60, 130:] == 200).all()
