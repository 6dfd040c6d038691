"""Step 1: where the face is in every frame of a video, found once and kept."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from talkingface.errors import FaceError
from talkingface.face.finder import FaceFinder
from talkingface.face.landmarks import find_landmarks
from talkingface.face.shots import overlap
from talkingface.face.track import NO_FACE, FaceTrack
from talkingface.media.edited import EditedVideo
from talkingface.media.image import resize
from talkingface.model.videoretalking.detectors import Detectors
from talkingface.model.videoretalking.geometry import (
    NO_BOX,
    SIDE,
    from_region,
    head_crop,
    padded_boxes,
    smoothed_forward,
    to_region,
)
from talkingface.model.videoretalking.store import Pieces, batches, digest

STRAYS = 0.5  # overlap of the region with where the head is now, below which a new region is cut


class Faces(NamedTuple):
    """Where the face is in T frames.

    Attributes:
        regions: (T, 4) int64 x1, y1, x2, y2 around the head, which DNet redraws; one region serves a whole segment.
        landmarks: (T, 68, 2) float64 in pixels of the region resized to 256 x 256.
        boxes: (T, 4) int64 x1, y1, x2, y2 around the face, which is repainted.
        segments: (T,) int64 number of the shot: what is smoothed or steered over time stays within one.
        notes: (T) why there is no face in a frame, "" where there is one.

    Without a face, regions and boxes hold -1, landmarks NaN, segments -1.
    """

    regions: np.ndarray
    landmarks: np.ndarray
    boxes: np.ndarray
    segments: np.ndarray
    notes: list[str]

    @property
    def painted(self) -> np.ndarray:
        """(T,) bool: there is a face to repaint."""
        return self.boxes[:, 0] != NO_BOX

    def span(self, frame: int) -> tuple[int, int]:
        """The first and the last frame of a frame's segment."""
        same = np.flatnonzero(self.segments == self.segments[frame])
        return int(same[0]), int(same[-1])

    def frame_landmarks(self, frame: int) -> np.ndarray:
        """(68, 2) in the frame."""
        return from_region(self.landmarks[frame], self.regions[frame])

    def crop(self, frame: int, picture: np.ndarray, side: int = SIDE) -> np.ndarray:
        """The region of a frame as DNet sees it: (side, side, 3) uint8."""
        x1, y1, x2, y2 = self.regions[frame]
        return resize(picture[y1:y2, x1:x2], (side, side))


# --- one face, followed through the video ---------------------------------------------------------------------------------


def followed_faces(video: EditedVideo, finder: FaceFinder, pads: Sequence[int], box: Sequence[int] | None = None) -> Faces:
    """The face that a finder follows, in segments that end at cuts, at gaps, and where the head leaves its region.

    Args:
        pads: pixels by which boxes grow at the top, the bottom, the left and the right.
        box: one box for all frames instead of detection: top, bottom, left, right.

    Raises:
        FaceError: no frame has a face, or `box` does not lie in the frame.
    """
    size = (video.width, video.height)
    track, landmarks = fixed_face(video, finder, box) if box else tracked_face(video, finder)
    boxes = padded_boxes(track.boxes, (0, 0, 0, 0) if box else tuple(pads), size)
    known = (boxes[:, 0] != NO_BOX) & np.isfinite(landmarks).all(axis=(1, 2))
    if not known.any():
        raise FaceError(f"{video.path}: no landmarks were found in any of its {len(boxes)} frames; give others, or another box.")
    regions, segments = follow_regions(landmarks, known, set(track.cuts or finder.cuts(video)), size)
    inside = np.full(landmarks.shape, np.nan)
    for t in np.flatnonzero(known):
        inside[t] = to_region(landmarks[t], regions[t])
    boxes[~known] = NO_BOX
    return Faces(regions, inside, boxes, segments, ["" if seen else NO_FACE for seen in known])


def tracked_face(video: EditedVideo, finder: FaceFinder) -> tuple[FaceTrack, np.ndarray]:
    """The boxes and the landmarks (T, 68, 2) that a finder gives, in the frames as they are shown."""
    if video.is_edited and finder.reads_files and find_landmarks(video.path, finder.landmarks_dir):
        plain = EditedVideo(video.path, stop=video.stop)  # landmarks in a file are of the frames as they are in the video
        track = finder.boxes(plain)
        found = video.edit_points(finder.landmarks(plain, track).landmarks.astype(np.float64))
        return FaceTrack(video.edit_boxes(track.boxes), track.notes, track.cuts), found
    track = finder.boxes(video)
    return track, finder.landmarks(video, track).landmarks.astype(np.float64)


def fixed_face(video: EditedVideo, finder: FaceFinder, box: Sequence[int]) -> tuple[FaceTrack, np.ndarray]:
    """One box for all frames, and the landmarks (T, 68, 2) in it.

    Raises:
        FaceError: the box does not lie in the frame.
    """
    top, bottom, left, right = box
    if not (0 <= top < bottom <= video.height and 0 <= left < right <= video.width):
        shown, size = f"{list(box)} (top, bottom, left, right)", f"{video.width} x {video.height}"
        raise FaceError(f"VideoReTalking.box: {shown} is no box in the {size} frames of {video.path}.")
    track = FaceTrack(np.tile(np.array([left, top, right, bottom], np.float32), (len(video), 1)), [""] * len(video))
    return track, finder.without_files().landmarks(video, track).landmarks.astype(np.float64)


def follow_regions(
    landmarks: np.ndarray, known: np.ndarray, cuts: Collection[int], size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """The region around the head of each frame (T, 4), and the number of its segment (T,).

    The region is that of the segment's first frame, as the authors' is that of the video's. A new segment begins at a cut,
    after a frame without a face, and where the head has moved so far that half of its own region lies outside.
    """
    regions, segments = np.full((len(known), 4), NO_BOX, np.int64), np.full(len(known), -1)
    current, number = None, -1
    for t, seen in enumerate(known):
        if not seen:
            current = None
            continue
        own = np.array(head_crop(landmarks[t], size).region)
        if current is None or t in cuts or overlap(own, current) < STRAYS:
            current, number = own, number + 1
        regions[t], segments[t] = current, number
    return regions, segments


# --- the authors' way -----------------------------------------------------------------------------------------------------


def authors_faces(
    video: EditedVideo, detectors: Detectors, pads: Sequence[int], smooth: bool, key: str, batch: int, fresh: bool = False
) -> Faces:
    """The faces that the authors' detectors see: a region for the whole video, landmarks and boxes in each frame.

    A frame whose landmarks are not seen takes those of the frame before. A frame without a box has no face to repaint.

    Args:
        smooth: average boxes over five frames, forward.
        key: digest of what the detectors depend on.
        batch: frames that are searched at once.

    Raises:
        FaceError: the first detector sees no face in any frame, or the second none.
    """
    region = np.array(first_region(video, detectors))
    pieces = Pieces("faces", digest(key, video.content_hash(), region), len(video), fresh=fresh)
    x1, y1, x2, y2 = region
    for start, frames in pieces.made_from(video, "1/6 faces"):
        points, boxes = [], []
        for part in batches(frames, batch):
            points.append(detectors.landmarks([resize(frame[y1:y2, x1:x2], (SIDE, SIDE)) for frame in part]))
            boxes.append(detectors.boxes(part))
        pieces.write(start, {"landmarks": np.concatenate(points), "boxes": np.concatenate(boxes)})
    landmarks, found = pieces.all("landmarks"), pieces.all("boxes").astype(np.float64)
    found[found[:, 0] < 0] = np.nan
    boxes_ = padded_boxes(found, tuple(pads), (video.width, video.height))
    boxes_ = smoothed_forward(boxes_) if smooth else boxes_
    known = boxes_[:, 0] != NO_BOX
    if not known.any():
        raise FaceError(f"{video.path}: no face was found in any of its {len(known)} frames.")
    count = len(known)
    notes = ["" if seen else NO_FACE for seen in known]
    return Faces(np.tile(region, (count, 1)), repeated(landmarks), boxes_, np.zeros(count, np.int64), notes)


def first_region(video: EditedVideo, detectors: Detectors) -> tuple[int, int, int, int]:
    """The region around the head in the first frame that shows one."""
    for frame in video:
        if (landmarks := detectors.first_landmarks(frame)) is not None:
            return head_crop(np.trunc(landmarks), (video.width, video.height), faithful=True).region
    raise FaceError(f"{video.path}: dlib's detector finds no face in it; without faithful, other detectors are asked.")


def repeated(landmarks: np.ndarray) -> np.ndarray:
    """(T, 68, 2) with NaN replaced by the landmarks of the frame before, as far as there is one."""
    seen = np.isfinite(landmarks).all(axis=(1, 2))
    last = np.maximum.accumulate(np.where(seen, np.arange(len(seen)), -1))
    return np.where((last >= 0)[:, None, None], landmarks[np.maximum(last, 0)], landmarks)
