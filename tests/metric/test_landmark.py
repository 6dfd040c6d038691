"""Metrics of landmarks: in units of the face, over the frames that show one, with the boxes of the real video."""

import cv2
import numpy as np
import pytest

from talkingface.errors import ScoreError
from talkingface.face.finder import FaceFinder, FaceTrack, LandmarkTrack
from talkingface.media.audio import write_audio
from talkingface.media.video import Video, write_video
from talkingface.metric import landmark
from talkingface.metric.landmark import BlinkDistance, Jitter, LandmarkDistance, PoseDistance, SilentLips


class Seen:
    """Landmarks that need no frame to be known."""

    sees = False

    def __init__(self, track):
        self.track = track

    def landmarks(self):
        return self.track


class Known(FaceFinder):
    """A finder that knows the landmarks of each file."""

    def __init__(self, landmarks, detected=()):
        super().__init__()
        self.known, self.detected, self.boxes_given = landmarks, dict(detected), {}

    def boxes(self, video):
        return FaceTrack(np.tile(np.float32([0, 0, video.width, video.height]), (len(video), 1)), [""] * len(video))

    def landmarks(self, video, boxes=None):
        self.boxes_given[video.path.stem] = None if boxes is None else boxes.boxes
        landmarks = self.known[video.path.stem]
        return LandmarkTrack(landmarks, self.detected.get(video.path.stem, np.ones(len(landmarks), bool)))

    def reading(self, video, boxes):
        return Seen(self.landmarks(video, boxes))

    def fingerprint(self):
        return {"detector": "known"}


@pytest.fixture
def videos(tmp_path):
    def write(name, count=6, size=64, width=0):
        write_video(tmp_path / f"{name}.avi", np.zeros((count, size, width or size, 3), np.uint8), 25, lossless=True)
        return Video(tmp_path / f"{name}.avi")

    return write


@pytest.fixture
def real():
    """(6, 68, 2) landmarks of a face 32 pixels wide and high."""
    landmarks = np.random.default_rng(0).uniform(16, 48, (6, 68, 2)).astype(np.float32)
    landmarks[:, 0], landmarks[:, 1] = 16, 48
    return landmarks


def lmd(finder, ours, truth):
    metric = LandmarkDistance()
    metric.faces = finder
    return metric.score(ours, truth)["LMD"], metric.take_notes()


def test_a_shift_of_one_pixel_is_eight_of_a_face_32_wide(videos, real):
    shifted = real + np.array([1, 0], np.float32)
    assert lmd(Known({"ours": shifted, "real": real}), videos("ours"), videos("real")) == (pytest.approx(8, rel=1e-5), [])


def test_only_the_mouth_counts_but_for_the_face_all_do(videos, real):
    other = real.copy()
    other[:, :48] += 5
    finder = Known({"ours": other, "real": real})
    assert lmd(finder, videos("ours"), videos("real")) == (0, [])
    other[:, 48:] += 1
    assert lmd(finder, videos("ours"), videos("real"))[0] == pytest.approx(8 * np.sqrt(2), rel=1e-5)
    whole = LandmarkDistance()
    whole.choose("face")
    whole.faces = finder
    found = whole.score(videos("ours"), videos("real"))
    assert found == {"LMD (face)": pytest.approx(8 * np.sqrt(2) * (48 * 5 + 20) / 68, rel=1e-5)}


def test_the_size_of_the_picture_does_not_matter(videos, real):
    large, _ = lmd(Known({"ours": 2 * (real + 1), "real": 2 * real}), videos("ours", size=128), videos("real", size=128))
    mixed, _ = lmd(Known({"ours": 2 * (real + 1), "real": real}), videos("ours", size=128), videos("real"))
    assert large == pytest.approx(mixed, rel=1e-5) == pytest.approx(8 * np.sqrt(2), rel=1e-4)


def test_the_boxes_of_the_real_video_serve_both(videos, real):
    finder = Known({"ours": np.concatenate([real, real]), "real": real})
    lmd(finder, videos("ours", count=12, size=128), videos("real"))
    assert finder.boxes_given["ours"].tolist() == [[0, 0, 128, 128]] * 6
    lmd(finder, videos("ours", width=96), videos("real"))
    assert finder.boxes_given["ours"].tolist() == [[0, 0, 96, 64]] * 6  # another shape: found anew


def test_frames_without_a_face_are_left_out_and_noted(videos, real):
    ours = real.copy()
    ours[:2] += 30
    finder = Known({"ours": ours, "real": real}, {"ours": np.arange(6) >= 2, "real": np.arange(6) != 5})
    distance, notes = lmd(finder, videos("ours"), videos("real"))
    assert distance == 0
    assert notes == ["3 of 6 frames left out: no face in them or in the real ones."]


def test_no_face_at_all_cannot_be_scored(videos, real):
    finder = Known({"ours": real, "real": real}, {"ours": np.zeros(6, bool)})
    with pytest.raises(ScoreError, match="no frame shows a face"):
        lmd(finder, videos("ours"), videos("real"))


def store(video, landmarks):
    path = video.path.with_name(f"{video.path.stem}.landmarks.npz")
    np.savez(path, landmarks=landmarks, detected=np.ones(len(landmarks), bool))


class Looking(FaceFinder):
    """Reads files as every finder does; what it sees in a picture is 3 pixels beside what files say."""

    def __init__(self, seen):
        super().__init__()
        self.seen = seen

    def reading(self, video, boxes):
        return Seen(LandmarkTrack(self.seen, np.ones(len(self.seen), bool)))


def test_a_file_of_one_video_alone_is_not_compared_with_a_look_at_the_other(videos, real):
    ours, truth = videos("ours"), videos("real")
    store(truth, real)
    assert lmd(Looking(real + 3), ours, truth) == (0, [])


def test_files_of_both_are_compared(videos, real):
    ours, truth = videos("ours"), videos("real")
    store(truth, real)
    store(ours, real + np.float32([0, 1]))
    assert lmd(Looking(real + 3), ours, truth) == (pytest.approx(8, rel=1e-5), [])


def turned(yaw, pitch, roll, size=256):
    """The six landmarks of the generic head, turned by degrees, as a picture of 256 pixels shows them; the others are 0."""
    x, y, z = np.deg2rad((pitch, yaw, roll))
    about_x = np.array([(1, 0, 0), (0, np.cos(x), -np.sin(x)), (0, np.sin(x), np.cos(x))])
    about_y = np.array([(np.cos(y), 0, np.sin(y)), (0, 1, 0), (-np.sin(y), 0, np.cos(y))])
    about_z = np.array([(np.cos(z), -np.sin(z), 0), (np.sin(z), np.cos(z), 0), (0, 0, 1)])
    camera = np.array([(size, 0, size / 2), (0, size, size / 2), (0, 0, 1.0)])
    turn, _ = cv2.Rodrigues(about_z @ about_y @ about_x)
    points, _ = cv2.projectPoints(landmark.HEAD * (1, -1, -1), turn, np.array([0.0, 0, 1500]), camera, None)
    found = np.zeros((68, 2), np.float32)
    found[landmark.HEAD_POINTS] = points[:, 0]
    return found


@pytest.mark.parametrize("angles", [(0, 0, 0), (30, 0, 0), (0, -15, 0), (0, 0, 20), (-25, 10, 8)])
def test_the_angles_of_a_head_are_found(angles):
    found = landmark.head_angles(turned(*angles)[None], (256, 256))
    straight = landmark.head_angles(turned(0, 0, 0)[None], (256, 256))
    np.testing.assert_allclose((found - straight + 180) % 360 - 180, [angles], atol=0.05)


def test_pose_is_the_mean_difference_of_three_angles(videos):
    ours, real = (np.stack([turned(yaw, 0, 3) for yaw in yaws]) for yaws in ((0, 20, 10), (6, 17, 10)))
    metric = PoseDistance()
    metric.faces = Known({"ours": ours, "real": real})
    assert metric.score(videos("ours", 3, 256), videos("real", 3, 256))["pose"] == pytest.approx((6 + 3 + 0) / 9, abs=0.02)


def eyes(opening):
    """Landmarks of eyes as wide as 10 pixels and as high as told."""
    found = np.zeros((68, 2), np.float32)
    for first, left in ((36, 20), (42, 40)):
        for k, (x, y) in enumerate([(0, 0), (3, -0.5), (7, -0.5), (10, 0), (7, 0.5), (3, 0.5)]):
            found[first + k] = left + x, 30 + opening * y
    return found


def test_blink_is_the_difference_of_height_by_width(videos):
    metric = BlinkDistance()
    metric.faces = Known({"ours": np.stack([eyes(3), eyes(3)]), "real": np.stack([eyes(3), eyes(1)])})
    assert metric.score(videos("ours", 2), videos("real", 2))["blink"] == pytest.approx((0 + 0.2) / 2, rel=1e-4)


def test_even_motion_does_not_jitter_and_trembling_does(videos, real):
    metric, even = Jitter(), real[:1] + np.arange(6, dtype=np.float32)[:, None, None]
    metric.faces = Known({"ours": even})
    assert metric.score(videos("ours"))["jitter"] == pytest.approx(0, abs=1e-4)
    trembling = np.repeat(real[:1], 6, axis=0) + np.tile([[0.0], [1.0]], (3, 1))[:, :, None] * np.float32([1, 0])
    metric.faces = Known({"ours": trembling.astype(np.float32)})
    assert metric.score(videos("ours"))["jitter"] == pytest.approx(2 * 256 / 32, rel=1e-4)  # there and back: 2 pixels of 32


@pytest.fixture
def half_silent(tmp_path):
    """A tone of one second, then silence of one second."""
    tone = np.sin(np.arange(16_000) * 0.3) * 0.5
    write_audio(tmp_path / "half.wav", np.concatenate((tone, np.zeros(16_000))).astype(np.float32))
    return tmp_path / "half.wav"


def test_only_what_moves_in_silence_counts(videos, real, half_silent):
    points = np.repeat(real[:1], 50, axis=0)
    moving = points.copy()
    moving[:25:2, 48:] += 4  # while it speaks
    metric, video = SilentLips(), videos("ours", 50)
    metric.faces = Known({"ours": moving})
    assert metric.score(video, None, half_silent)["silent lips"] == 0
    moving[26::2, 48:, 0] += 1
    assert metric.score(video, None, half_silent)["silent lips"] == pytest.approx(8, rel=0.05)  # lips also widen the face
    nodding = points + np.arange(50, dtype=np.float32)[:, None, None]
    metric.faces = Known({"ours": nodding})
    assert metric.score(video, None, half_silent)["silent lips"] == pytest.approx(0, abs=1e-3)


def test_a_clip_without_silence_cannot_be_scored(videos, real, tmp_path):
    write_audio(tmp_path / "loud.wav", np.sin(np.arange(32_000) * 0.3).astype(np.float32))
    metric = SilentLips()
    metric.faces = Known({"ours": np.repeat(real[:1], 50, axis=0)})
    with pytest.raises(ScoreError, match="silent in fewer than 5"):
        metric.score(videos("ours", 50), None, tmp_path / "loud.wav")
