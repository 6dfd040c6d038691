"""VideoReTalking's pictures: faces made upright and put back, blended, restored, and the authors' own ways."""

import numpy as np
import pytest
import torch

from talkingface.face.align import five_points
from talkingface.media.image import resize
from talkingface.model.videoretalking import detectors, enhance, paste, restoration
from talkingface.model.videoretalking.geometry import (
    NO_BOX,
    from_region,
    head_crop,
    padded_boxes,
    smoothed_forward,
    to_region,
    window_frames,
)
from talkingface.model.videoretalking.reference import known_face, with_head
from talkingface.model.videoretalking.retinaface import FoundFaces, RetinaFaceDetector
from tests.model.test_videoretalking_training import face_points

NOBODY = FoundFaces(np.empty((0, 5), np.float32), np.empty((0, 5, 2), np.float32))


def soft(seed, size=(300, 260)):
    return resize(np.random.default_rng(seed).integers(0, 256, (9, 10, 3)).astype(np.uint8), size)


def points(scale=50, center=(150, 130)):
    return face_points() * scale + center


BOX = np.array([95, 80, 205, 205])


# --- put down without a seam ------------------------------------------------------------------------------------------


def test_nothing_changes_beyond_a_margin_around_the_box():
    frame, face = soft(0), np.full((96, 96, 3), 255, np.uint8)
    (patch,) = paste.seamless([paste.put_down(frame, face, BOX, points())])
    changed = np.abs(patch.put_on(frame).astype(int) - frame).max(axis=2) > 0
    margin = np.rint(paste.MARGIN * (BOX[2:] - BOX[:2])).astype(int)
    (left, top), (right, bottom) = BOX[:2] - margin, BOX[2:] + margin
    changed[top:bottom, left:right] = False
    assert not changed.any() and patch.put_on(frame)[140, 150].min() > 200


@pytest.mark.parametrize("center", [(150, 130), (40, 60), (280, 240)])
def test_a_face_at_the_border_of_the_frame_is_put_down_too(center):
    frame = soft(0)
    box = np.clip(np.array([*center] * 2) + (-55, -50, 55, 75), 0, (300, 260) * 2)
    x1, y1, x2, y2 = box
    spot = paste.put_down(frame, resize(frame[y1:y2, x1:x2], (384, 384)), box, points(50, center))
    result = paste.seamless([spot])[0].put_on(frame)
    assert np.abs(result.astype(int) - frame).max() <= 3


def test_the_mask_does_not_fall_towards_the_frames_own_edge():
    limits = np.array([100, 80, 100, 80])
    mask = paste.soft_rectangle(np.array([0, 20, 60, 80]), np.array([0, 0, 100, 80]), limits, 0.2)
    assert mask.shape == (80, 100) and mask[50, 0] == 1 and mask[79, 30] == 1 and mask[21, 30] < 0.5 and mask[50, 58] < 0.5


def test_gfpgan_changes_the_mouth_and_leaves_the_rest(monkeypatch):
    frame = soft(3)
    face = resize(frame[BOX[1] : BOX[3], BOX[0] : BOX[2]], (96, 96))
    for parse in (None, restoration.ovals):
        labels = None
        if parse is not None:
            labels = np.full((1, 512, 512), 1, np.uint8)
            labels[0, 350:390, 205:310] = restoration.LIPS[1]
        spot = paste.put_down(frame, face, BOX, points())
        answer = None if labels is None else (lambda faces, labels=labels: labels)
        plain, restored = (
            paste.seamless([spot], restore, answer)[0].picture.astype(int)
            for restore in (None, lambda faces: [np.clip(face.astype(int) + 60, 0, 255).astype(np.uint8) for face in faces])
        )
        change = np.abs(restored - plain).max(axis=2)
        eyes, mouth = ((points()[part] - spot.rectangle[:2]).mean(axis=0).astype(int) for part in (slice(36, 48), slice(60, 68)))
        assert change[mouth[1], mouth[0]] > 25 and change[eyes[1] - 4 : eyes[1] + 4].max() <= 1


def test_a_large_face_is_reduced_before_it_is_made_upright():
    stripes = np.zeros((2400, 2400, 3), np.uint8)
    stripes[::2] = 255
    upright = paste.Upright.of(stripes, points(700, (1200, 1150)))
    assert np.ptp(upright.picture[60:-60, 60:-60]) < 40
    there = paste.Upright.of(soft(1), points())
    x, y = five_points(points())[2].round().astype(int)
    back = there.back(there.picture, (260, 300, 3))
    assert np.abs(back[y - 20 : y + 20, x - 20 : x + 20] - soft(1)[y - 20 : y + 20, x - 20 : x + 20]).max() < 6


def test_shares_of_parts_end_before_the_uprights_border():
    labels = np.full((512, 512), 1, np.uint8)
    share = paste.Upright.share(labels, restoration.FACE, 4.0)
    assert share[256, 256] > 0.999 and share[0].max() < 0.01 and share[:, -1].max() < 0.01


# --- references -------------------------------------------------------------------------------------------------------


def test_a_head_that_was_not_changed_leaves_the_frame_as_it_was():
    frame, region = soft(5), np.array([60, 30, 240, 230])
    head = resize(frame[30:230, 60:240], (256, 256))
    inside = to_region(points(), region)
    result = with_head(frame, region, head, inside)
    assert np.abs(result.astype(int) - frame).mean() < 0.5 and np.array_equal(result[:30], frame[:30])
    assert np.allclose(from_region(inside, region), points())


def test_faces_are_sharpened_where_they_are_known_and_others_stay():
    pictures = [soft(1, (256, 256)), soft(2, (256, 256))]
    marks = points(60, (128, 120))
    found = [known_face(marks), known_face(np.full((68, 2), np.nan))]
    first, second = enhance.enhance(pictures, found, lambda faces: [255 - face for face in faces], restoration.ovals)
    assert np.array_equal(second, pictures[1]) and np.abs(first[120, 128].astype(int) - (255 - pictures[0][120, 128])).max() < 20
    assert np.array_equal(first[:10], pictures[0][:10])


def test_faces_that_are_not_sure_are_left_alone():
    picture = soft(1)
    found = FoundFaces(np.array([[90, 70, 210, 210, 0.89]], np.float32), five_points(points())[None].astype(np.float32))
    (same,) = enhance.enhance([picture], [found], lambda faces: [255 - face for face in faces], restoration.ovals)
    assert np.array_equal(same, picture)


# --- the authors' ways ------------------------------------------------------------------------------------------------


def test_without_a_face_the_authors_blending_gives_the_frame_back():
    frame = soft(1)
    assert np.array_equal(enhance.blend_faces(soft(2), frame, NOBODY, restoration.ovals, BOX), frame)
    assert np.array_equal(enhance.restore_central_face(frame, NOBODY, list), frame)


def test_gfpgan_takes_the_face_nearest_to_the_middle():
    boxes = np.array([[0, 0, 60, 60, 0.99], [110, 90, 190, 170, 0.98]], np.float32)
    marks = np.stack([five_points(points(20, (30, 30))), five_points(points(30, (150, 130)))]).astype(np.float32)
    assert np.array_equal(enhance.central_face(FoundFaces(boxes, marks), (300, 260)), marks[1])
    assert enhance.central_face(FoundFaces(boxes[:1], marks[:1] * 0 + 7), (300, 260)) is None


def test_boxes_grow_and_stay_in_the_frame():
    boxes = np.array([[10, 10, 50, 50], [np.nan] * 4, [-5, 5, 100, 90.0]])
    assert padded_boxes(boxes, (5, 20, 3, 4), (80, 60)).tolist() == [[7, 5, 54, 60], [NO_BOX] * 4, [0, 0, 80, 60]]


def test_boxes_are_not_averaged_over_a_gap():
    boxes = np.array([[10, 10, 50, 50]] * 6 + [[NO_BOX] * 4] + [[40, 40, 80, 80]] * 6)
    smooth = smoothed_forward(boxes)
    assert np.array_equal(smooth, boxes)


def test_the_bottom_of_a_wide_or_tall_frame_limits_a_head():
    marks = points(110, (100, 200))
    own, theirs = (head_crop(marks, (200, 400), faithful).region for faithful in (False, True))
    assert own[3] <= 400 and own[3] - own[1] > theirs[3] - theirs[1]  # the authors limit rows by the width


def test_windows_stop_at_the_ends_of_a_segment():
    frames = window_frames(5, 4, 9)
    assert len(frames) == 26 and frames[0] == 4 and frames[13] == 5 and frames[-1] == 9


def test_a_fan_view_may_reach_beyond_the_picture():
    view = detectors.fan_view(soft(1), np.array([-30.0, 200, 60, 290]))
    assert view.picture.shape == (256, 256, 3) and view.picture[:, 0].max() == 0 and view.picture[30, 200].max() > 0


def test_peaks_lean_to_the_hotter_neighbor():
    heat = np.zeros((1, 68, 64, 64))
    heat[0, :, 20, 30], heat[0, :, 20, 31], heat[0, 1, 19, 30] = 1, 0.5, 0.5
    assert detectors.peaks(heat)[0, :2].tolist() == [[30.75, 20.5], [30.75, 20.25]]
    assert np.array_equal(detectors.mirrored(detectors.mirrored(heat)), heat)


def test_a_large_picture_is_searched_in_a_smaller_copy():
    seen = []

    class Nothing(torch.nn.Module):
        def forward(self, pictures):
            seen.append(tuple(pictures.shape[2:]))
            cells = sum(2 * -(-seen[-1][0] // s) * -(-seen[-1][1] // s) for s in (8, 16, 32))
            return torch.zeros(1, cells, 4), torch.zeros(1, cells, 2), torch.zeros(1, cells, 10)

    found = RetinaFaceDetector(Nothing()).detect(np.zeros((400, 2000, 3), np.uint8))
    RetinaFaceDetector(Nothing(), reduce=False).detect(np.zeros((400, 2000, 3), np.uint8))
    assert seen == [(200, 1000), (400, 2000)] and found.boxes.shape == (0, 5)
