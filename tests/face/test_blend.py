"""Pasting: the face is where it belongs, and every other pixel is as it was."""

import cv2
import numpy as np
import pytest

from talkingface.face.align import crop, similarity
from talkingface.face.blend import mix, mouth_mask, paste, paste_aligned, soft_edges


@pytest.fixture
def frame():
    return np.random.default_rng(0).integers(0, 256, (60, 80, 3)).astype(np.uint8)


def test_a_hard_paste_is_wav2lips(frame):
    face = np.random.default_rng(1).integers(0, 256, (96, 96, 3)).astype(np.uint8)
    expected = frame.copy()
    expected[10:41, 20:65] = cv2.resize(face, (45, 31))
    assert np.array_equal(paste(frame, face, (20.7, 10.2, 65, 41.9)), expected)


def test_the_frame_itself_is_left_alone(frame):
    before = frame.copy()
    paste(frame, np.zeros((9, 9, 3), np.uint8), (0, 0, 30, 30))
    assert np.array_equal(frame, before)


@pytest.mark.parametrize("feather", [0, 0.2])
@pytest.mark.parametrize("box", [(-10, -5, 30, 30), (60, 40, 99, 70), (-5, -5, 85, 65), (90, 70, 99, 99)])
def test_what_hangs_over_the_border_is_left_out(frame, box, feather):
    x1, y1, x2, y2 = box
    wide = np.pad(frame, ((20, 40), (20, 40), (0, 0)))
    face = np.full((12, 12, 3), 200, np.uint8)
    expected = paste(wide, face, (x1 + 20, y1 + 20, x2 + 20, y2 + 20), feather)[20:80, 20:100]
    assert np.array_equal(paste(frame, face, box, feather), expected)


def test_a_soft_paste_touches_the_box_only_and_is_whole_in_its_middle(frame):
    pasted = paste(frame, np.full((20, 20, 3), 255, np.uint8), (20, 10, 60, 50), feather=0.1)
    outside = np.ones(frame.shape[:2], bool)
    outside[10:50, 20:60] = False
    assert np.array_equal(pasted[outside], frame[outside])
    assert (pasted[14:46, 24:56] == 255).all()
    assert (pasted[10, 20:60].astype(int) - frame[10, 20:60] <= 0.2 * 255).all()


def test_soft_edges_are_symmetric_and_reach_one():
    mask = soft_edges(20, 40, 0.25)
    assert mask.shape == (20, 40) and mask.dtype == np.float32
    assert np.array_equal(mask, mask[::-1, ::-1])
    assert mask.min() > 0 and mask[10, 20] == 1


def test_mix_is_exact_at_both_ends(frame):
    painted = 255 - frame
    mask = np.zeros(frame.shape[:2])
    mask[:30], mask[30] = 1, 0.5
    mixed = mix(frame, painted, mask)
    assert np.array_equal(mixed[:30], painted[:30]) and np.array_equal(mixed[31:], frame[31:])
    assert np.abs(mixed[30].astype(int) - 127.5).max() <= 0.5


def test_an_aligned_crop_goes_back_to_its_place():
    y, x = np.mgrid[:120, :160]
    frame = np.stack((x, y, x // 2 + y // 2), axis=-1).astype(np.uint8)
    matrix = similarity(np.array([[60.0, 50], [100, 55], [80, 90]]), np.array([[20.0, 20], [44, 20], [32, 44]]))
    face = crop(frame, matrix, (64, 64))
    mask = np.zeros((64, 64))
    mask[10:54, 10:54] = 1
    back = paste_aligned(frame, face, matrix, mask)
    assert np.abs(back.astype(int) - frame).max() <= 2  # what was not painted comes back as it was
    painted = paste_aligned(frame, 255 - face, matrix, mask)
    reached = cv2.warpAffine(mask, matrix, (160, 120), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    untouched = cv2.dilate(reached, np.ones((3, 3))) == 0
    assert untouched.sum() > 9000 and np.array_equal(painted[untouched], frame[untouched])
    assert np.abs(painted[70, 80].astype(int) - (255 - frame[70, 80])).max() <= 2


def face_landmarks():
    landmarks = np.zeros((68, 2))
    angle = np.linspace(np.pi, -np.pi, 12, endpoint=False)
    landmarks[48:60] = np.column_stack((50 + 20 * np.cos(angle), 40 - 8 * np.sin(angle)))
    return landmarks


def test_the_mouth_mask_is_one_on_the_lips_and_zero_away_from_them():
    mask = mouth_mask(face_landmarks(), 80, 100)
    assert mask.shape == (80, 100) and mask[40, 50] == 1 and mask[40, 69] == 1
    assert 0 < mask[40, 76] < 1 and mask[40, 84] == 0 and not mask[:18].any()


def test_a_mouth_outside_the_picture_has_no_mask():
    assert not mouth_mask(face_landmarks() + 500, 80, 100).any()
