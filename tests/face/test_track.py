"""The policy of following one face, case by case; and Wav2Lip's own rules."""

import numpy as np
import pytest

from talkingface.face.track import pad_boxes, rescaled_size, smooth_boxes, smooth_boxes_forward, track_face

SIZE = (640, 360)


def box(x, y=100, side=80):
    return np.array([x, y, x + side, y + side, 1.0])


def found(*boxes):
    return np.array(boxes, np.float32).reshape(-1, 5)


def lefts(track):
    return [None if np.isnan(x) else round(float(x), 3) for x in track.boxes[:, 0]]


def test_a_face_that_stands_still_keeps_its_box():
    track = track_face([found(box(50))] * 9, SIZE)
    assert np.array_equal(track.boxes, np.tile(np.float32([50, 100, 130, 180]), (9, 1)))
    assert track.notes == [""] * 9 and track.boxes.dtype == np.float32


@pytest.mark.parametrize("select, x", [("largest", 300), ("left", 20), ("right", 500), ("center", 260), ("first", 500)])
def test_the_rule_chooses_among_several(select, x):
    faces = found(box(500), box(20), box(260, 20, 70), box(300, 150, 120))
    assert lefts(track_face([faces] * 3, SIZE, select=select)) == [x] * 3


def test_the_chosen_face_is_followed_when_another_becomes_larger():
    frames = [found(box(50), box(400, side=40 + 10 * t)) for t in range(12)]
    assert lefts(track_face(frames, SIZE)) == [50] * 12


def test_another_face_does_not_stand_in_for_one_that_is_missed():
    frames = [found(box(50), box(400, side=60))] * 3 + [found(box(400, side=60))] * 2 + [found(box(50), box(400, side=60))] * 3
    track = track_face(frames, SIZE)
    assert lefts(track) == [50] * 8 and track.notes[3:5] == ["bridged"] * 2


@pytest.mark.parametrize("gap, bridged", [(1, True), (4, True), (5, False)])
def test_short_gaps_are_bridged_in_a_straight_line_and_long_ones_are_not(gap, bridged):
    frames = [found(box(100 + 2 * t)) for t in range(20)]
    for t in range(6, 6 + gap):
        frames[t] = found()
    track = track_face(frames, SIZE, max_gap=4)
    expected = [100 + 2 * t if bridged or not 6 <= t < 6 + gap else None for t in range(20)]
    assert lefts(track) == expected
    assert track.notes[6 : 6 + gap] == ["bridged" if bridged else "no face"] * gap
    assert set(track.notes[:6] + track.notes[6 + gap :]) == {""}


def test_a_face_that_comes_late_or_leaves_is_not_made_up():
    frames = [found()] * 2 + [found(box(50))] * 5 + [found()] * 3
    track = track_face(frames, SIZE)
    assert track.notes == ["no face"] * 2 + [""] * 5 + ["no face"] * 3
    assert np.isnan(track.boxes[[0, 1, 7, 8, 9]]).all()


def test_nothing_is_averaged_or_bridged_across_a_cut():
    frames = [found(box(100))] * 6 + [found()] * 2 + [found(box(130))] * 6
    track = track_face(frames, SIZE, cuts=[7])
    assert lefts(track) == [100] * 6 + [None] * 2 + [130] * 6
    assert track.notes[6:8] == ["no face"] * 2


def test_the_only_face_jumping_away_is_a_cut():
    assert lefts(track_face([found(box(100))] * 5 + [found(box(400))] * 5, SIZE)) == [100] * 5 + [400] * 5


def test_after_a_cut_the_rule_chooses_anew_unless_a_face_fills_the_old_place():
    before = [found(box(50))] * 4
    assert lefts(track_face(before + [found(box(300), box(450, side=120))] * 4, SIZE, cuts=[4]))[4:] == [450] * 4
    assert lefts(track_face(before + [found(box(55), box(450, side=120))] * 4, SIZE, cuts=[4]))[4:] == [55] * 4


def test_boxes_end_at_the_frame_and_crumbs_are_no_faces():
    track = track_face([found(box(-20)), found(box(-20), np.array([5, 5, 7, 7, 1])), found(np.array([5, 5, 7, 7, 1]))], SIZE)
    assert lefts(track) == [0, 0, None]
    assert track_face([found([-9, -9, 999, 999, 1])], SIZE).boxes.tolist() == [[0, 0, 640, 360]]


def test_a_video_without_any_face_has_notes():
    track = track_face([found()] * 3, SIZE)
    assert np.isnan(track.boxes).all() and track.notes == ["no face"] * 3


def test_smoothing_does_not_lag_and_lessens_noise():
    line = np.arange(20.0)[:, None] * [1, 2, 3, 4]
    assert np.allclose(smooth_boxes(line, 5), line)
    noise = np.random.default_rng(0).normal(size=(500, 4))
    assert smooth_boxes(noise, 5).std() == pytest.approx(noise.std() / 5**0.5, rel=0.1)
    assert np.allclose(smooth_boxes(noise, 1), noise)
    assert np.allclose(smooth_boxes(noise, 5)[7], noise[5:10].mean(axis=0))


def test_pads_end_at_the_frame():
    boxes = np.array([[10, 20, 30, 40], [0, 0, 99, 79]])
    assert pad_boxes(boxes, (5, 10, 3, 4), (100, 80)).tolist() == [[7, 15, 34, 50], [0, 0, 100, 80]]


def official_smoothing(boxes, window):
    """get_smoothened_boxes of the authors' inference.py, retold."""
    for i in range(len(boxes)):
        boxes[i] = np.mean(boxes[len(boxes) - window :] if i + window > len(boxes) else boxes[i : i + window], axis=0)
    return boxes


@pytest.mark.parametrize("count", [1, 3, 5, 6, 40])
def test_forward_smoothing_is_wav2lips(count):
    boxes = np.random.default_rng(count).integers(0, 400, (count, 4))
    before = boxes.copy()
    smoothed = smooth_boxes_forward(boxes)
    assert np.array_equal(boxes, before)
    assert np.array_equal(smoothed, official_smoothing(boxes.copy(), 5))


@pytest.mark.parametrize(
    "size, side, expected",
    [
        ((1280, 720), 400, (1280, 720)),
        ((1920, 1080), 600, (960, 540)),
        ((640, 480), 300, (640, 480)),
        ((9999, 9999), 9000, (714, 714)),
    ],
)
def test_a_frame_is_reduced_towards_a_face_of_180_pixels(size, side, expected):
    assert rescaled_size(size, (10, 10, 10 + side - 7, 10 + side)) == expected
