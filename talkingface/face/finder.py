"""FaceFinder: the face of a video, frame by frame, as boxes and as 68 landmarks."""

from __future__ import annotations

import hashlib
import json
import logging
import zipfile
from collections.abc import Callable, Iterable, Iterator
from copy import copy
from functools import cached_property
from itertools import islice, tee
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from talkingface.errors import ConfigError, FaceError, MediaError
from talkingface.face.detect import BACK_ENDS, default_back_end, make_detector, make_landmarker
from talkingface.face.landmarks import Landmarker, LandmarkTrack, face_box, find_landmarks, read_landmarks
from talkingface.face.shots import content_changes, scene_cuts
from talkingface.face.track import SELECTIONS, FaceTrack, selection, track_face
from talkingface.media.files import atomic, content_hash
from talkingface.media.files import cache_dir as default_cache_dir
from talkingface.media.video import Video

log = logging.getLogger(__name__)

VERSION = 2  # of what is cached; another one is computed again
BATCH = 16  # frames in memory
LONG = 100  # frames from which on progress is shown
PART = 256  # frames after which what was found so far is kept, so that a killed run goes on from there


class Detections(NamedTuple):
    """What a detector says about a video.

    Attributes:
        faces: per frame (N, 5) float32 x1, y1, x2, y2, score, in pixels of the video.
        cuts: frames where a new shot begins.
    """

    faces: list[np.ndarray]
    cuts: list[int]


class FaceFinder:
    """Finds one face in each frame of a video and follows it, by the policy in `talkingface.face.track`.

    Landmarks in a file win over any detector: `<video stem>.landmarks.npz` beside the video, or a file in `landmarks_dir`
    (see `find_landmarks`); their rows are the frames of the file at its own rate. Otherwise frames are detected in a stream,
    at most 16 in memory, and what was detected is kept on disk under the content of the video, so that neither another audio
    nor other settings of the tracker detect again.

    Args:
        detector: "face_alignment", "dlib", "s3fd" (checkpoints/Wav2Lip/s3fd.pth), "sfd" (checkpoints/LSE/sfd_face.pth, of
            SyncNet's pipeline), "files" (nothing but files) or "auto":
            face_alignment, or dlib where its weights are not on this disk and cannot be fetched.
        landmarks_dir: folder of precomputed landmarks; "" is none.
        select: which of several faces: "largest", "left", "right", "center", "first" (the detector's), a number ("2" is the
            second from the left) or a box ("x1 y1 x2 y2": the face nearest to it).
        smooth: frames over which boxes are averaged, odd; 1 is off.
        max_gap: frames without a detection that are bridged by interpolation.
        cache_dir: where results are kept; by default $TALKINGFACE_CACHE or ~/.cache/talkingface.
        checkpoints_dir: where published weights are.

    Raises:
        ConfigError: a setting is out of range.
    """

    def __init__(
        self,
        detector: str = "auto",
        landmarks_dir: Path | str = "",
        select: str = "largest",
        smooth: int = 5,
        max_gap: int = 12,
        cache_dir: Path | str | None = None,
        checkpoints_dir: Path | str = "checkpoints",
    ):
        _check("detector", detector, detector in BACK_ENDS, f"one of {', '.join(BACK_ENDS)}")
        _check("select", select, _is_selection(select), f"one of {SELECTIONS}")
        _check("smooth", smooth, smooth > 0 and smooth % 2 == 1, "an odd number of frames")
        _check("max_gap", max_gap, max_gap >= 0, "0 or more frames")
        self.landmarks_dir = Path(landmarks_dir).expanduser() if landmarks_dir else None
        _check("landmarks_dir", landmarks_dir, not self.landmarks_dir or self.landmarks_dir.is_dir(), "an existing folder")
        self.detector, self.select, self.smooth, self.max_gap = detector, select, smooth, max_gap
        self.cache_dir = Path(cache_dir).expanduser() if cache_dir else None
        published = {"s3fd": "Wav2Lip/s3fd.pth", "sfd": "LSE/sfd_face.pth"}
        self.weights = {name: Path(checkpoints_dir) / file for name, file in published.items()}
        self.reads_files = True

    @cached_property
    def back_end(self) -> str:
        """The detector in use: what `detector` says, with "auto" resolved."""
        return default_back_end() if self.detector == "auto" else self.detector

    def without_files(self) -> FaceFinder:
        """The same finder, looking at the pictures even where landmarks lie on disk."""
        looking = copy(self)
        looking.reads_files = False
        return looking

    def with_detector(self, detector: str) -> FaceFinder:
        """The same finder with another detector."""
        other = copy(self)
        vars(other).pop("back_end", None)
        other.detector = detector
        return other

    def back_end_fingerprint(self) -> dict[str, Any]:
        """What decides which boxes are detected, without the settings of the tracker."""
        file = self.weights.get(self.back_end)
        weights = {"weights": content_hash(file)} if file is not None and file.is_file() else {}
        return {"detector": self.back_end, **weights, "version": VERSION}

    def fingerprint(self) -> dict[str, Any]:
        """The settings that change what is found, as plain values."""
        folder = "" if self.landmarks_dir is None else str(self.landmarks_dir)
        tracker = {"select": self.select, "smooth": self.smooth, "max_gap": self.max_gap}
        return {"detector": self.back_end, "landmarks_dir": folder, **tracker, "version": VERSION}

    def boxes(self, video: Video) -> FaceTrack:
        """The box of the face in every frame; a still has one.

        Raises:
            FaceError: no frame has a face, the landmarks in a file do not fit the video, or the detector cannot be had.
        """
        seen = self._from_file(video) or self.detections(video)
        size = (video.width, video.height)
        track = track_face(seen.faces, size, seen.cuts, self.select, self.smooth, self.max_gap)
        if np.isnan(track.boxes).all():
            raise FaceError(
                f"{video.path}: no face was found in any of its {len(track.boxes)} frames. Try another --face.detector "
                f"(now {self.back_end}), or give landmarks in {video.path.stem}.landmarks.npz beside it."
            )
        return track

    def landmarks(self, video: Video, boxes: FaceTrack | None = None) -> LandmarkTrack:
        """The 68 landmarks of the face in every frame.

        Args:
            boxes: where the face is; by default found by `boxes`. Landmarks in a file do not need them.

        Raises:
            FaceError: as `boxes`.
        """
        stored = self.stored_landmarks(video)
        if stored is not None:
            return stored
        reading = self.reading(video, boxes or self.boxes(video))
        if reading.sees:
            for frame in islice(_with_progress(video, "landmarks"), len(reading.boxes)):
                reading.see(frame)
        return reading.landmarks()

    def reading(self, video: Video, boxes: FaceTrack) -> Reading:
        """The landmarks of a video whose frames somebody else decodes.

        Args:
            boxes: where the face is, in pixels of the video; a longer video's face stays where it was last.
        """
        return Reading(self, video, boxes)

    def cuts(self, video: Video) -> list[int]:
        """The frames where the pictures tell that a new shot begins, whatever is known of faces; found once and kept."""

        def found() -> dict[str, np.ndarray]:
            return {"cuts": np.array(scene_cuts(content_changes(_with_progress(video, "cuts")), min_length=1), int)}

        return self._cached(video, "cuts", {}, found)["cuts"].tolist()

    # --- files --------------------------------------------------------------------------------------------------------

    def _from_file(self, video: Video) -> Detections | None:
        stored = self.stored_landmarks(video)
        if stored is None:
            return None
        boxes = np.column_stack((face_box(stored.landmarks), np.ones(len(stored.landmarks), np.float32)))
        return Detections([boxes[t : t + 1] if seen else boxes[:0] for t, seen in enumerate(stored.detected)], [])

    def stored_landmarks(self, video: Video) -> LandmarkTrack | None:
        """The landmarks that lie on disk for a video, for the frames that it yields."""
        path = find_landmarks(video.path, self.landmarks_dir) if self.reads_files else None
        if path is None:
            return None
        stored = read_landmarks(path)
        rate = video.source_fps
        rows = np.floor((video.start + np.arange(len(video)) / video.fps) * rate + 1e-3).astype(int)
        slack = 2 + rate / video.fps  # frames: what containers say about their ends is a little vague
        surplus = len(stored.landmarks) - 1 - rows[-1]
        if surplus < -slack or (surplus > slack and np.isinf(video.stop) and not video.is_still):
            whole = f"{video.path} has about {rows[-1] + 1} frames at {rate:.5g} per second"
            raise FaceError(f"{path} has landmarks of {len(stored.landmarks)} frames, but {whole}; make it again.")
        rows = np.minimum(rows, len(stored.landmarks) - 1)
        return LandmarkTrack(stored.landmarks[rows], stored.detected[rows])

    # --- detection ----------------------------------------------------------------------------------------------------

    def detections(self, video: Video) -> Detections:
        """All faces of all frames, and where scenes begin."""
        if self.back_end == "files":
            missing = f"neither {video.path.stem}.landmarks.npz lies beside it nor a file of its in --face.landmarks_dir"
            raise FaceError(f"{video.path} has no landmarks: {missing}, and --face.detector=files allows nothing else.")
        file = self.weights.get(self.back_end)
        weights = {"weights": content_hash(file)} if file is not None and file.is_file() else {}
        begun = _begun(self._place(video, "faces", weights))
        found = self._cached(video, "faces", weights, lambda: self._detect(video, begun))
        _forget(begun)
        faces = np.split(found["faces"], np.cumsum(found["counts"])[:-1])
        return Detections(faces, found["cuts"].tolist())

    def _detect(self, video: Video, begun: Path) -> dict[str, np.ndarray]:
        """All faces of all frames: what an earlier run has `begun`, and the rest."""
        detector = make_detector(self.back_end, self.weights.get(self.back_end))
        scale = min(1.0, detector.longest_side / max(video.width, video.height))
        frames, same_frames = tee(_with_progress(video, "faces"))  # read in step: the second holds one frame back at most
        changes: list[float] = []
        earlier = _load(begun) or {"rows": np.empty(0), "counts": np.empty(0)}
        # lists, because thousands of small arrays between the frames would scatter the memory
        rows, counts = (earlier[name].tolist() for name in ("rows", "counts"))
        reduced = (_reduced(frame, scale) for frame in _noting(zip(frames, content_changes(same_frames), strict=True), changes))
        for batch in _batches(islice(reduced, len(counts), None)):
            for found in detector.detect(batch):
                rows += found.tolist()
                counts.append(len(found))
            if len(counts) % PART == 0:
                _keep(begun, {"rows": np.array(rows, np.float32), "counts": np.array(counts, int)})
                detector.forget()  # as after a kill here: both find the same
        faces = np.array(rows, np.float32).reshape(-1, 5)
        faces[:, :4] /= scale
        return {"faces": faces, "counts": np.array(counts), "cuts": np.array(scene_cuts(changes, min_length=1), int)}

    # --- cache --------------------------------------------------------------------------------------------------------

    def _cached(
        self, video: Video, kind: str, key: dict[str, Any], compute: Callable[[], dict[str, np.ndarray]]
    ) -> dict[str, np.ndarray]:
        """What `compute` gives for the content of a video: from the disk where it lies there, else computed and kept."""
        path = self._place(video, kind, key)
        found = _load(path)
        if found is None:
            found = compute()
            _keep(path, found)
        return found

    def _place(self, video: Video, kind: str, key: dict[str, Any]) -> Path:
        """The file that keeps one kind of result for the content of a video."""
        part = [round(video.fps, 4), video.start, str(video.stop)]
        text = json.dumps([VERSION, kind, self.back_end, video.content_hash(), part, key])
        return (self.cache_dir or default_cache_dir()) / "faces" / f"{_digest(text.encode())}.npz"


class Reading:
    """The landmarks of a video, predicted from frames as they pass; what is on disk already needs no frame.

    Attributes:
        sees: whether it wants to be shown the frames.
    """

    def __init__(self, finder: FaceFinder, video: Video, boxes: FaceTrack):
        self.boxes, self.notes = boxes.boxes, boxes.notes
        self._path = finder._place(video, "landmarks", {"boxes": _digest(boxes.boxes)})
        self._found = _load(self._path)
        self._back_end = finder.back_end
        self._waiting: list[np.ndarray] = []
        self._parts: list[np.ndarray] = [np.empty((0, 68, 2), np.float32)]
        if self._found is None and (earlier := _load(_begun(self._path))):
            self._parts = [earlier["landmarks"]]
        self._count = self._known = len(self._parts[0])  # frames whose landmarks are there; those of an earlier run
        self.sees = self._found is None

    @cached_property
    def _landmarker(self) -> Landmarker:
        return make_landmarker(self._back_end)

    def see(self, frame: np.ndarray) -> None:
        """The next (H, W, 3) uint8 RGB frame; at most 16 are kept."""
        if self._known:
            self._known -= 1
            return
        self._waiting.append(frame)
        if len(self._waiting) == BATCH:
            self._predict()

    def landmarks(self) -> LandmarkTrack:
        """The landmarks of all frames seen, in pixels of the video."""
        if self._found is None:
            self._predict()
            self._found = {"landmarks": np.concatenate(self._parts)}
            _keep(self._path, self._found)
            _forget(_begun(self._path))
            self.sees = False
        landmarks = self._found["landmarks"]
        last = len(self.notes) - 1
        detected = np.array([self.notes[min(t, last)] == "" for t in range(len(landmarks))], bool)
        return LandmarkTrack(landmarks, detected & ~np.isnan(landmarks).any(axis=(1, 2)))

    def _predict(self) -> None:
        batch, self._waiting = self._waiting, []
        boxes = self.boxes[np.minimum(np.arange(self._count, self._count + len(batch)), len(self.boxes) - 1)]
        found = np.full((len(batch), 68, 2), np.nan, np.float32)
        known = ~np.isnan(boxes).any(axis=1)
        if known.any():
            found[known] = self._landmarker.predict(
                [frame for frame, here in zip(batch, known, strict=True) if here], boxes[known]
            )
        self._parts.append(found)
        self._count += len(batch)
        if batch and self._count % PART == 0:
            _keep(_begun(self._path), {"landmarks": np.concatenate(self._parts)})


def _begun(path: Path) -> Path:
    """Where the beginning of a result lies until all of it is there."""
    return path.with_suffix(".part.npz")


def _forget(path: Path) -> None:
    """Remove a file that may not be there."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.debug("%s stays: %s", path, error)


def _load(path: Path) -> dict[str, np.ndarray] | None:
    """Arrays kept on disk; None where there are none that can be read."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return dict(stored)
    except FileNotFoundError:
        return None
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        log.warning("%s is damaged (%s); faces are found again.", path, error)
        return None


def _keep(path: Path, found: dict[str, np.ndarray]) -> None:
    """Keep arrays on disk for next time, if the disk allows."""
    try:
        with atomic(path) as temporary:
            np.savez_compressed(temporary, **found)  # type: ignore[arg-type]
    except (MediaError, OSError) as error:
        log.warning("faces are not kept for next time: %s", error)


def _is_selection(select: str) -> bool:
    try:
        selection(select)
    except ValueError:
        return False
    return True


def _check(name: str, value: Any, good: bool, expected: str) -> None:
    if not good:
        raise ConfigError(f"face.{name}: expected {expected}, got {value!r}.")


def _digest(data: bytes | np.ndarray) -> str:
    return hashlib.blake2b(data if isinstance(data, bytes) else data.tobytes(), digest_size=16).hexdigest()


def _with_progress(video: Video, what: str) -> Iterable[np.ndarray]:
    count = 1 if video.is_still else round(video.duration * video.fps)
    return tqdm(video, f"{what}: {video.path.name}", count, leave=False, unit="frame", disable=None if count >= LONG else True)


def _noting(frames: Iterable[tuple[np.ndarray, float]], changes: list[float]) -> Iterator[np.ndarray]:
    for frame, change in frames:
        changes.append(change)
        yield frame


def _reduced(frame: np.ndarray, scale: float) -> np.ndarray:
    if scale == 1:
        return frame
    return cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def _batches(frames: Iterable[np.ndarray]) -> Iterator[list[np.ndarray]]:
    frames = iter(frames)
    while batch := list(islice(frames, BATCH)):
        yield batch
