"""LMD: in units of the face, over the frames that show one, with the boxes of the real video."""

import numpy as np
import pytest

from talkingface.errors import ScoreError
from talkingface.face.finder import FaceFinder, FaceTrack, LandmarkTrack
from talkingface.media.video import Video, write_video
from talkingface.metric.landmark import LandmarkDistance, mouth_distance


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


def test_only_the_mouth_counts(real):
    other = real.copy()
    other[:, :48] += 5
    assert mouth_distance(other, real) == 0
    other[:, 48:] += 1
    assert mouth_distance(other, real) == pytest.approx(8 * np.sqrt(2), rel=1e-5)


def test_the_size_of_the_picture_does_not_matter(videos, real):
    large, _ = lmd(Known({"ours": 2 * (real + 1), "real": 2 * real}), videos("ours", size=128), videos("real", size=128))
    mixed, _ = lmd(Known({"ours": 2 * (real + 1), "real": real}), videos("ours", size=128), videos("real"))
    assert large == pytest.approx(mixed, rel=1e-5) == pytest.approx(8 * np.sqrt(2), rel=1e-4)


def test_the_boxes_of_the_real_video_serve_both(videos, real):
    finder = Known({"ours": np.concatenate([real, real]), "real": real})
    lmd(finder, videos("ours", count=12, size=128), videos("real"))
    assert finder.boxes_given["ours"].tolist() == [[0, 0, 128, 128]] * 12
    lmd(finder, videos("ours", width=96), videos("real"))
    assert finder.boxes_given["ours"] is None  # another shape: found anew


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

    def _predict(self, video, boxes):
        return {"landmarks": self.seen[: len(boxes)]}


def test_a_file_of_one_video_alone_is_not_compared_with_a_look_at_the_other(videos, real):
    ours, truth = videos("ours"), videos("real")
    store(truth, real)
    assert lmd(Looking(real + 3), ours, truth) == (0, [])


def test_files_of_both_are_compared(videos, real):
    ours, truth = videos("ours"), videos("real")
    store(truth, real)
    store(ours, real + np.float32([0, 1]))
    assert lmd(Looking(real + 3), ours, truth) == (pytest.approx(8, rel=1e-5), [])
