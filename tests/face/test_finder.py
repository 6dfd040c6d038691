"""FaceFinder: files before detectors, one detection per content, clear errors; and dlib on real clips."""

import os
import pickle
import shutil

import cv2
import numpy as np
import pytest

from talkingface.errors import ConfigError, FaceError
from talkingface.face import detect, finder
from talkingface.face.detect import Detector, DlibDetector, S3FDDetector
from talkingface.face.finder import FaceFinder
from talkingface.face.landmarks import FaceAlignmentLandmarks, face_box, find_landmarks, read_landmarks
from talkingface.media.image import write_image
from talkingface.media.video import Video, write_video


class BlobDetector(Detector):
    """Sees a bright square as a face, and counts the frames it is given."""

    seen: list[int] = []

    def detect(self, frames):
        self.seen.append(len(frames))
        return [self.blob(frame) for frame in frames]

    def blob(self, frame):
        rows, columns = (np.flatnonzero(frame[..., 0].max(axis=axis) > 128) for axis in (1, 0))
        if not len(rows):
            return np.empty((0, 5), np.float32)
        return np.array([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1, 1]], np.float32)


class RememberingDetector(BlobDetector):
    """Boxes drift with the frames that it remembers."""

    def __init__(self):
        self.forget()

    def forget(self):
        self.count = 0

    def blob(self, frame):
        self.count += 1
        return super().blob(frame) + np.float32(self.count)


class BlobLandmarks:
    """All landmarks in the center of the box."""

    def predict(self, frames, boxes):
        centers = (boxes[:, :2] + boxes[:, 2:]) / 2
        return np.repeat(centers[:, None], 68, axis=1)


@pytest.fixture
def blobs(monkeypatch):
    monkeypatch.setattr(finder, "make_detector", lambda back_end, weights: BlobDetector())
    monkeypatch.setattr(finder, "make_landmarker", lambda back_end: BlobLandmarks())
    monkeypatch.setattr(BlobDetector, "seen", [])
    return BlobDetector


def square_frames(lefts, size=(96, 128)):
    for left in lefts:
        frame = np.zeros((*size, 3), np.uint8)
        if left is not None:
            frame[32:64, left : left + 32] = 255
        yield frame


def write_squares(path, lefts, size=(96, 128), fps=25):
    write_video(path, square_frames(lefts, size), fps, crf=5)
    return path


@pytest.fixture
def clip(tmp_path):
    return write_squares(tmp_path / "clip.mp4", [20 + t for t in range(40)])


def sidecar(video, count, detected=None, x=0.0):
    """Landmarks of a face whose box is (10 + x, 0, 50 + x, 66), moving right by 1 pixel a frame."""
    face = np.zeros((68, 2), np.float32)
    face[:, 0], face[:, 1] = np.linspace(10, 50, 68) + x, np.linspace(30, 66, 68)
    face[17:27, 1], face[33, 1] = 30, 50
    landmarks = face + np.arange(count, dtype=np.float32)[:, None, None] * [1, 0]
    path = video.with_name(f"{video.stem}.landmarks.npz")
    np.savez(path, landmarks=landmarks.astype(np.float32), detected=np.ones(count, bool) if detected is None else detected)
    return path


# --- detection and cache ----------------------------------------------------------------------------------------------


def test_boxes_follow_the_face(blobs, clip):
    track = FaceFinder("dlib").boxes(Video(clip))
    expected = np.array([[20 + t, 32, 52 + t, 64] for t in range(40)])
    assert np.abs(track.boxes - expected).max() < 1 and track.notes == [""] * 40
    assert max(blobs.seen) <= 16 and sum(blobs.seen) == 40


def test_a_large_frame_is_reduced_and_its_boxes_are_not(blobs, tmp_path):
    path = write_squares(tmp_path / "large.mp4", [700] * 3, (720, 1280))
    assert np.abs(FaceFinder("dlib").boxes(Video(path)).boxes - [700, 32, 732, 64]).max() <= 4


def test_a_second_call_detects_nothing(blobs, clip, tmp_path):
    first = FaceFinder("dlib").boxes(Video(clip))
    seen = list(blobs.seen)
    same_content = shutil.copy(clip, tmp_path / "another name.mp4")
    for again in (FaceFinder("dlib").boxes(Video(clip)), FaceFinder("dlib").boxes(Video(same_content))):
        assert np.array_equal(again.boxes, first.boxes) and again.notes == first.notes
    FaceFinder("dlib", smooth=1, select="left", max_gap=0).boxes(Video(clip))
    assert blobs.seen == seen


def test_a_killed_search_goes_on_where_it_stopped(blobs, clip, tmp_path, monkeypatch):
    monkeypatch.setattr(finder, "PART", finder.BATCH)
    monkeypatch.setattr(finder, "make_detector", lambda back_end, weights: RememberingDetector())
    whole = FaceFinder("dlib", cache_dir=tmp_path / "whole").landmarks(Video(clip)).landmarks
    blobs.seen.clear()
    detect, predict, asked = BlobDetector.detect, BlobLandmarks.predict, []

    def killed(self, frames):
        if sum(self.seen) == 2 * finder.BATCH:
            raise KeyboardInterrupt
        return detect(self, frames)

    def counted(self, frames, boxes):
        if len(asked) == 1:
            asked.append(0)
            raise KeyboardInterrupt
        asked.append(len(frames))
        return predict(self, frames, boxes)

    half = FaceFinder("dlib", cache_dir=tmp_path / "half")
    monkeypatch.setattr(BlobDetector, "detect", killed)
    with pytest.raises(KeyboardInterrupt):
        half.landmarks(Video(clip))
    monkeypatch.setattr(BlobDetector, "detect", detect)
    monkeypatch.setattr(BlobLandmarks, "predict", counted)
    with pytest.raises(KeyboardInterrupt):
        half.landmarks(Video(clip))
    found = half.landmarks(Video(clip)).landmarks
    assert sum(blobs.seen) == sum(asked) == len(found) == 40 and np.array_equal(found, whole)
    assert not list((tmp_path / "half").rglob("*.part.npz"))


def test_another_rate_or_detector_detects_again(blobs, clip):
    FaceFinder("dlib").boxes(Video(clip))
    assert len(FaceFinder("dlib").boxes(Video(clip, fps=12.5)).boxes) == 20
    assert sum(blobs.seen) == 60
    FaceFinder("s3fd").boxes(Video(clip))
    assert sum(blobs.seen) == 100


def test_a_damaged_cache_is_made_again_with_a_warning(blobs, clip, tmp_path, caplog):
    faces = FaceFinder("dlib", cache_dir=tmp_path / "kept")
    first = faces.boxes(Video(clip))
    (kept,) = (tmp_path / "kept" / "faces").iterdir()
    for damage in (b"", b"not a zip", kept.read_bytes()[:100]):
        kept.write_bytes(damage)
        caplog.clear()
        assert np.array_equal(faces.boxes(Video(clip)).boxes, first.boxes)
        assert str(kept) in caplog.text and "damaged" in caplog.text
    assert sum(blobs.seen) == 160


@pytest.mark.skipif(os.name == "nt", reason="a file in the way of a folder is told differently")
def test_faces_are_found_without_a_place_to_keep_them(blobs, clip, tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    assert len(FaceFinder("dlib", cache_dir=tmp_path / "file" / "cache").boxes(Video(clip)).boxes) == 40
    assert "not kept" in caplog.text


def test_a_still_has_one_box(blobs, tmp_path):
    write_image(tmp_path / "still.png", next(square_frames([40])))
    track = FaceFinder("dlib").boxes(Video(tmp_path / "still.png"))
    assert track.boxes.tolist() == [[40, 32, 72, 64]] and track.notes == [""]


def test_a_cut_in_the_pictures_is_seen(blobs, tmp_path):
    frames = list(square_frames([20] * 6 + [26] * 6))
    frames[6:] = [np.where(frame > 0, frame, np.uint8([110, 20, 90])) for frame in frames[6:]]
    write_video(tmp_path / "cut.mp4", frames, 25, crf=5)
    lefts = FaceFinder("dlib").boxes(Video(tmp_path / "cut.mp4")).boxes[:, 0]
    assert np.abs(lefts - ([20] * 6 + [26] * 6)).max() < 1  # not averaged across


def test_gaps_have_reasons_and_a_video_without_a_face_is_an_error(blobs, tmp_path):
    gaps = write_squares(tmp_path / "gaps.mp4", [20, 20, None, 20, 20, None, None])
    assert FaceFinder("dlib").boxes(Video(gaps)).notes == ["", "", "bridged", "", "", "no face", "no face"]
    empty = write_squares(tmp_path / "empty.mp4", [None] * 4)
    with pytest.raises(FaceError, match=r"empty\.mp4: no face was found in any of its 4 frames.*--face\.detector.*dlib"):
        FaceFinder("dlib").boxes(Video(empty))


def test_landmarks_are_predicted_in_the_boxes_and_kept(blobs, tmp_path):
    video = Video(write_squares(tmp_path / "gaps.mp4", [20, 21, None, 23, 24, None]))
    track = FaceFinder("dlib").landmarks(video)
    assert track.landmarks.shape == (6, 68, 2) and track.landmarks.dtype == np.float32
    assert track.detected.tolist() == [True, True, False, True, True, False]
    assert np.abs(track.landmarks[:5, 0] - [[36 + t, 48] for t in range(5)]).max() < 1
    assert np.isnan(track.landmarks[5]).all()
    finder.make_landmarker = None  # the fixture puts it back
    assert np.array_equal(FaceFinder("dlib").landmarks(video).landmarks, track.landmarks, equal_nan=True)


def test_landmarks_in_given_boxes(blobs, clip):
    boxes = FaceFinder("dlib").boxes(Video(clip))
    shifted = boxes._replace(boxes=boxes.boxes + 5)
    moved = (
        FaceFinder("dlib").landmarks(Video(clip), shifted).landmarks - FaceFinder("dlib").landmarks(Video(clip), boxes).landmarks
    )
    assert np.allclose(moved, 5)


# --- files ------------------------------------------------------------------------------------------------------------


def test_a_file_beside_the_video_wins_and_nothing_is_detected(blobs, clip):
    sidecar(clip, 40)
    track = FaceFinder("dlib").boxes(Video(clip))
    assert np.allclose(track.boxes, [[10 + t, 14, 50 + t, 66] for t in range(40)], atol=0.01)
    assert FaceFinder("files").landmarks(Video(clip)).landmarks.shape == (40, 68, 2)
    assert not blobs.seen


def test_a_finder_without_files_looks_at_the_pictures(blobs, clip):
    sidecar(clip, 40)
    track = FaceFinder("dlib").without_files().boxes(Video(clip))
    assert np.abs(track.boxes[0] - [20, 32, 52, 64]).max() < 1 and sum(blobs.seen) == 40


@pytest.mark.parametrize("fps, expected", [(25, range(40)), (50, np.arange(80) // 2), (10, np.arange(16) * 5 // 2)])
def test_rows_of_a_file_are_frames_at_its_own_rate(clip, fps, expected):
    sidecar(clip, 40)
    landmarks = FaceFinder("files").landmarks(Video(clip, fps=fps)).landmarks
    assert np.array_equal(landmarks[:, 0, 0] - 10, np.array(expected))


def test_rows_of_a_part_of_a_video(clip):
    sidecar(clip, 40)
    landmarks = FaceFinder("files").landmarks(Video(clip, start=0.4, stop=0.8)).landmarks
    assert np.array_equal(landmarks[:, 0, 0] - 10, np.arange(10, 20))


def test_frames_that_a_file_calls_undetected_are_bridged(clip):
    sidecar(clip, 40, detected=np.arange(40) % 10 != 3)
    track = FaceFinder("files").boxes(Video(clip))
    assert [t for t, note in enumerate(track.notes) if note == "bridged"] == [3, 13, 23, 33]
    assert FaceFinder("files").landmarks(Video(clip)).detected.sum() == 36


@pytest.mark.parametrize("name", ["speaker_clip.npz", "clip.npz", "clip.landmarks.npz"])
def test_a_folder_of_landmarks(tmp_path, name):
    (tmp_path / "speaker").mkdir()
    (tmp_path / "points").mkdir()
    video = write_squares(tmp_path / "speaker" / "clip.mp4", [20] * 5)
    sidecar(video, 5).rename(tmp_path / "points" / name)
    assert find_landmarks(video, tmp_path / "points") == tmp_path / "points" / name
    assert len(FaceFinder("files", landmarks_dir=tmp_path / "points").boxes(Video(video)).boxes) == 5


def test_files_only_means_files_only(clip):
    with pytest.raises(FaceError, match=r"clip\.mp4 has no landmarks.*clip\.landmarks\.npz.*detector=files"):
        FaceFinder("files").boxes(Video(clip))


@pytest.mark.parametrize("count", [20, 60])
def test_landmarks_of_another_video_are_an_error(clip, count):
    path = sidecar(clip, count)
    with pytest.raises(FaceError, match=f"{path.name} has landmarks of {count} frames, but .*clip.mp4 has about 40"):
        FaceFinder("files").boxes(Video(clip))


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", {"points": np.ones(3)}, {"landmarks": np.ones((40, 5, 2))}, {"landmarks": np.array([None])}]
)
def test_a_damaged_file_of_landmarks_is_an_error_that_names_it(clip, content):
    path = clip.with_name("clip.landmarks.npz")
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.savez(path, **content)
    with pytest.raises(FaceError, match=path.name):
        FaceFinder("files").boxes(Video(clip))


def test_landmarks_that_are_not_finite_are_not_detected(tmp_path):
    landmarks = np.ones((3, 68, 2), np.float32)
    landmarks[1, 5, 0] = np.nan
    np.savez(tmp_path / "x.npz", landmarks=landmarks)
    assert read_landmarks(tmp_path / "x.npz").detected.tolist() == [True, False, True]


def test_a_face_box_reaches_the_forehead_and_turns_with_the_face():
    face = np.zeros((68, 2))
    face[:17] = [[50 + 40 * np.sin(a), 60 + 40 * np.cos(a)] for a in np.linspace(-1.5, 1.5, 17)]
    face[17:27, 0], face[17:27, 1] = np.linspace(20, 80, 10), 50
    face[27:] = [50, 75]
    x1, y1, x2, y2 = face_box(face)
    assert (y1, y2) == (pytest.approx(50 - 0.8 * 25), pytest.approx(100))
    upside_down = face_box(100 - face)
    assert np.allclose(upside_down, [100 - x2, 100 - y2, 100 - x1, 100 - y1])
    face[60:68, 1] += 3  # an open mouth
    assert np.allclose(face_box(face), [x1, y1, x2, y2])


# --- settings and back ends -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "setting",
    [{"detector": "yolo"}, {"select": "best"}, {"smooth": 4}, {"smooth": 0}, {"max_gap": -1}, {"landmarks_dir": "no/such"}],
)
def test_settings_are_checked(setting):
    ((name, value),) = setting.items()
    with pytest.raises(ConfigError, match=f"face.{name}: expected .*{value}"):
        FaceFinder(**setting)


def test_the_fingerprint_tells_what_auto_means(monkeypatch):
    monkeypatch.setattr(finder, "default_back_end", lambda: "dlib")
    print_ = FaceFinder("auto", smooth=3).fingerprint()
    assert print_ == {"detector": "dlib", "landmarks_dir": "", "select": "largest", "smooth": 3, "max_gap": 12, "version": 2}


def test_a_finder_can_be_sent_to_another_process(clip):
    sidecar(clip, 40)
    sent = pickle.loads(pickle.dumps(FaceFinder("files", smooth=3)))  # allowed: our own object, sent to a process
    assert sent.smooth == 3 and len(sent.boxes(Video(clip)).boxes) == 40


def test_auto_falls_back_to_dlib_with_one_warning(monkeypatch, tmp_path, caplog):
    def no_network(url, path, *args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", no_network)
    detect.default_back_end.cache_clear()
    try:
        assert [FaceFinder().back_end for _ in range(3)] == ["dlib"] * 3
    finally:
        detect.default_back_end.cache_clear()
    (warning,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert "dlib" in warning.message and "no route to host" in warning.message and "s3fd-619a316812.pth" in warning.message


def test_what_was_asked_for_and_cannot_be_had_is_an_error(monkeypatch, tmp_path, clip):
    def no_network(url, path, *args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", no_network)
    with pytest.raises(FaceError, match="s3fd-619a316812.pth does not exist and cannot be fetched.*no route to host"):
        FaceFinder("face_alignment").boxes(Video(clip))


@pytest.mark.slow
def test_s3fd_finds_what_face_alignment_finds(tmp_path):
    import torch
    from face_alignment.detection.sfd import FaceDetector

    from talkingface.face.s3fd import FaceAlignmentS3FD

    torch.manual_seed(0)
    network = FaceAlignmentS3FD()
    for name, layer in network.named_modules():
        if name.endswith("conf"):
            torch.nn.init.normal_(layer.weight, std=0.02)
    torch.save(network.state_dict(), tmp_path / "s3fd.pth")
    frame = np.random.default_rng(0).integers(0, 256, (96, 128, 3)).astype(np.uint8)
    theirs = np.array(FaceDetector("cpu", path_to_detector=str(tmp_path / "s3fd.pth")).detect_from_image(frame))
    (ours,) = S3FDDetector(tmp_path / "s3fd.pth", swap_colors=True).detect([frame])
    assert len(theirs) > 3
    assert np.allclose(ours[np.lexsort(ours.T)], theirs[np.lexsort(theirs.T)], atol=1e-2)


@pytest.mark.slow
def test_landmarks_of_face_alignment_are_the_packages_own_to_the_pixel(tmp_path, monkeypatch):
    import torch
    from face_alignment import FaceAlignment, LandmarksType
    from face_alignment.models import FAN

    from talkingface.face.s3fd import FaceAlignmentS3FD

    torch.manual_seed(0)
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    weights = tmp_path / "hub" / "checkpoints" / "2DFAN4-11f355bf06.pth.tar"
    torch.save(FAN(4).state_dict(), weights)
    torch.save(FaceAlignmentS3FD().state_dict(), weights.with_name("s3fd-619a316812.pth"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    frame = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (150, 200, 3)).astype(np.uint8), (0, 0), 3)
    boxes = np.array([[40.0, 30, 110, 120], [-10, 50, 90, 160]])
    package = FaceAlignment(LandmarksType.TWO_D, device="cpu", flip_input=False, compile=False)
    theirs = np.array(package.get_landmarks_from_image(frame, detected_faces=boxes))
    ours = FaceAlignmentLandmarks(weights).predict([frame, frame], boxes)
    assert np.abs(ours - theirs).max() < 1.001  # the package cuts to whole pixels
    assert (np.trunc(ours) == theirs).mean() > 0.99


# --- dlib on real clips -----------------------------------------------------------------------------------------------


def overlaps(boxes, others):
    low, high = np.maximum(boxes[:, :2], others[:, :2]), np.minimum(boxes[:, 2:], others[:, 2:])
    common = np.prod(np.maximum(high - low, 0), axis=1)
    return common / (np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) + np.prod(others[:, 2:] - others[:, :2], axis=1) - common)


@pytest.mark.parametrize(
    "name, distance",
    [("voxceleb2/00473", 0.01), ("voxceleb2/00010", 0.025), ("hdtf/WDA_KatieHill_000", 0.01), ("wild/vrt_1", 0.015)],
)
def test_dlib_agrees_with_the_landmarks_on_disk(real_data, name, distance):
    video = Video(real_data / f"{name}.mp4", stop=0.6)
    kept = read_landmarks(real_data / "landmarks" / f"{name.replace('/', '_')}.npz").landmarks
    faces = FaceFinder("dlib")
    track, landmarks = faces.boxes(video), faces.landmarks(video)
    kept = kept[: len(track.boxes)]
    assert len(track.boxes) >= 13 and landmarks.detected.all()
    expected = np.clip(face_box(kept), 0, [video.width, video.height] * 2)
    assert overlaps(track.boxes, expected).min() > 0.8 and overlaps(track.boxes, expected).mean() > 0.92
    side = (expected[:, 3] - expected[:, 1]).mean()
    assert np.linalg.norm(landmarks.landmarks - kept, axis=-1).mean() < distance * side


def test_dlib_finds_a_small_face_in_a_large_portrait(real_data):
    track = FaceFinder("dlib").boxes(Video(real_data / "wild" / "portrait_1080x1920.mp4", stop=0.1))
    x1, y1, x2, y2 = track.boxes[0]
    assert 60 < x2 - x1 < 300 and 0.6 < (x2 - x1) / (y2 - y1) < 0.95 and y2 < 1000


@pytest.mark.slow
def test_dlib_finds_a_profile_that_its_frontal_detector_misses(real_data):
    track = FaceFinder("dlib").boxes(Video(real_data / "voxceleb2" / "00002.mp4", stop=1.0))
    assert track.notes.count("no face") == 0


def test_after_a_failure_the_slow_detector_rests(monkeypatch):
    asked = []
    monkeypatch.setattr(detect, "_profile_detector", lambda: lambda view, times: asked.append(view.shape) or [])
    faces = DlibDetector().detect([np.zeros((60, 80, 3), np.uint8)] * 13)
    assert [len(found) for found in faces] == [0] * 13 and len(asked) == 3
