"""Characters: a drawn face with what lets it speak. Their files read and checked, or made of a picture and its 68 points.

A character `girl.png` has beside it, as the authors publish them,

    girl_face_open_mouth.txt        68 points in the picture: x y 1
    girl_face_open_mouth_norm.txt   the same, normalised, with the depth of the standard face
    girl_face_close_mouth.txt       the same with a closed mouth: the face at rest
    girl_scale_shift.txt            scale, shift x, shift y: the way back to pixels
    girl_delauney_tri.txt           triangles of points and of points at the picture's border
    girl_bg.png                     what is seen behind it (any picture format)
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from talkingface.errors import FaceError, MediaError
from talkingface.face.finder import FaceFinder
from talkingface.face.points import check_points, numbers, points_beside, read_points, text_of, write_points
from talkingface.media.files import existing_file
from talkingface.media.image import SUFFIXES, read_image, read_layer
from talkingface.media.video import Video
from talkingface.model.makeittalk.landmarks import INNER_LOWER, INNER_UPPER, OUTER_LOWER, OUTER_UPPER, normalise
from talkingface.model.makeittalk.tables import STANDARD_FACE

log = logging.getLogger(__name__)

OPEN, NORMAL, CLOSED, SCALE_SHIFT, TRIANGLES = (
    "face_open_mouth", "face_open_mouth_norm", "face_close_mouth", "scale_shift", "delauney_tri",
)  # fmt: skip
REQUIRED = (OPEN, CLOSED, SCALE_SHIFT, TRIANGLES)
EXTRAS = ("_bg", "_anno", "_hair", "_preview")  # ends of the names of pictures that belong to a character and are none

ALL_POINTS, WITHOUT_OUTER_LIP = list(range(68)), [*range(48), *range(60, 68)]
REACH = 5000  # pixels that the points of the border lie beyond the picture when it moves
CLOSING = (0.7, 0.4, 0.5, 0.5)  # how the mouth is closed: see `close_mouth`
STALE = 0.05  # normalised units by which a closed face may differ from the open one, but for the mouth


class Layout(NamedTuple):
    """Which points the triangles of a character join.

    Attributes:
        kept: indices of the 68 landmarks that are used.
        border: number of points at the picture's border, behind them.
    """

    kept: list[int]
    border: int

    @property
    def size(self) -> int:
        """How many points there are."""
        return len(self.kept) + self.border


LAYOUTS = {
    layout.size: layout for layout in (Layout(kept, border) for kept in (ALL_POINTS, WITHOUT_OUTER_LIP) for border in (12, 8))
}
"""Number of points -> layout: 80, and 68 without the outer lip; 76 and 64 of older tools, with eight points at the border."""

OTHER_REACH = {"sketch": 10_000, "onepunch": 0, "color": 0}
"""Published characters whose border lies elsewhere."""

KNOWN_SCALE_SHIFT = {
    "sketch": (-0.006393177201290783, -226.8411, -176.5216),
    "onepunch": (-0.007558707536598317, -301.4903, -120.05265),
    "color": (-0.012986159189209149, -237.27065, -79.2465),
}
"""Published characters whose scale and shift stand in the authors' program."""


@dataclass(frozen=True)
class Puppet:
    """A character.

    Attributes:
        name: of its files.
        picture: (H, W, 3 or 4) uint8 RGB, perhaps with opacity.
        background: (h, w, 3) uint8 RGB, stretched behind it; None is white.
        open_mouth: (68, 2) points in the picture, pixels.
        closed: (68, 3) normalised points of the face at rest, with the full depth of the standard face.
        scale, shift: from pixels to normalised units, as `landmarks.Face` has them.
        triangles: (N, 3) indices of points, in drawing order.
        layout: which points those are.
    """

    name: str
    picture: np.ndarray
    background: np.ndarray | None
    open_mouth: np.ndarray
    closed: np.ndarray
    scale: float
    shift: np.ndarray
    triangles: np.ndarray
    layout: Layout

    @property
    def border(self) -> np.ndarray:
        """(B, 2) where the points of the border stay, far outside."""
        height, width = self.picture.shape[:2]
        return border_points(width, height, self.layout.border, OTHER_REACH.get(self.name, REACH))

    @property
    def reference(self) -> np.ndarray:
        """(P, 2) where the points of the triangles are in the picture."""
        return reference_points(self.open_mouth, self.layout.kept, self.border)

    def reduced(self, side: int) -> Puppet:
        """The character in a picture whose longest side is at most this many pixels; 0 = as it is."""
        height, width = self.picture.shape[:2]
        factor = side / max(height, width)
        if not side or factor >= 1:
            return self
        size = (max(2, round(width * factor)), max(2, round(height * factor)))
        picture = cv2.resize(self.picture, size, interpolation=cv2.INTER_AREA)
        return replace(
            self,
            picture=picture,
            open_mouth=self.open_mouth * factor,
            scale=self.scale / factor,
            shift=self.shift * factor,
        )


# --- reading ----------------------------------------------------------------------------------------------------------


def is_puppet(picture: Path) -> bool:
    """Whether a picture has the files of a character beside it."""
    return table_path(picture, TRIANGLES).is_file() and table_path(picture, CLOSED).is_file()


def table_path(picture: Path, table: str) -> Path:
    """Where a table of a character lies, or should lie."""
    return picture.with_name(f"{picture.stem}_{table}.txt")


def read_puppet(picture: Path | str, background: Path | str | None = None) -> Puppet:
    """Read a character.

    Args:
        picture: its picture; the tables lie beside it.
        background: by default <name>_bg.* beside it, else white.

    Raises:
        MediaError: a file is missing or cannot be read.
        FaceError: a table holds another number of points, or points that there are not.
    """
    picture = existing_file(picture)
    layer = read_layer(picture)
    scale, *shift = read_scale_shift(picture)
    open_mouth = read_points(needed(picture, OPEN))[:, :2]
    closed = read_points(needed(picture, CLOSED))
    if closed.shape[1] != 3:
        raise FaceError(
            f"{table_path(picture, CLOSED)} holds points without depth; expected x y z. Make it again: {remedy(picture)}"
        )
    behind = background or background_beside(picture)
    triangles, layout = read_triangles(needed(picture, TRIANGLES))
    puppet = Puppet(
        picture.stem,
        layer,
        read_image(behind) if behind else None,
        open_mouth,
        closed,
        scale,
        np.array(shift),
        triangles,
        layout,
    )
    return with_fresh_mouth(puppet, picture)


def needed(picture: Path, table: str) -> Path:
    """A table that a character must have.

    Raises:
        MediaError: it is not there.
    """
    path = table_path(picture, table)
    if not path.is_file():
        raise MediaError(
            f"{path} does not exist, and the character {picture.stem} needs it. Make its files with {remedy(picture)}"
        )
    return path


def remedy(picture: Path) -> str:
    return f"`talkingface puppet {picture}`."


def read_scale_shift(picture: Path) -> tuple[float, float, float]:
    """Scale, shift x and shift y.

    Raises:
        FaceError: the file holds something else.
    """
    if picture.stem in KNOWN_SCALE_SHIFT and not table_path(picture, SCALE_SHIFT).is_file():
        return KNOWN_SCALE_SHIFT[picture.stem]
    path = needed(picture, SCALE_SHIFT)
    values = numbers([[word] for word in text_of(path).split()], path).ravel()
    if len(values) != 3 or not np.isfinite(values).all() or not values[0]:
        raise FaceError(f"{path} holds {len(values)} numbers; expected scale, shift x and shift y, the scale not 0.")
    return float(values[0]), float(values[1]), float(values[2])


def read_triangles(path: Path) -> tuple[np.ndarray, Layout]:
    """Triangles (N, 3) and the layout of the points that they join.

    Raises:
        FaceError: no layout has so many points, or a line is no triangle.
    """
    rows = [line.split() for line in text_of(path).splitlines() if line.strip()]
    if not rows or any(len(row) != 3 for row in rows):
        raise FaceError(f"{path} is no list of triangles: expected three indices of points in each line.")
    table = numbers(rows, path)
    triangles = table.astype(np.int64)
    if (triangles != table).any() or triangles.min() < 0:
        raise FaceError(f"{path} holds a number that is no index of a point (0, 1, 2, ...).")
    count = int(triangles.max()) + 1
    if count not in LAYOUTS:
        raise FaceError(
            f"{path} joins {count} points; expected 80 (68 landmarks and 12 at the border), 68 (without the outer lips), or, "
            "with 8 at the border, 76 or 64. Delete it and make the character's files again."
        )
    return triangles, LAYOUTS[count]


def background_beside(picture: Path) -> Path | None:
    """<name>_bg.* beside a picture, or None."""
    named = (picture.with_name(f"{picture.stem}_bg{suffix}") for suffix in SUFFIXES)
    return next((path for path in named if path.is_file()), None)


def with_fresh_mouth(puppet: Puppet, picture: Path) -> Puppet:
    """The character; its face at rest made anew where the file has another face than that of the open mouth."""
    face = normalise(puppet.open_mouth, depth=1.0)
    flat = -(puppet.open_mouth + puppet.shift) * puppet.scale
    difference = np.abs(puppet.closed[:48, :2] - flat[:48]).mean()
    if difference <= STALE:
        return puppet
    log.warning(
        "%s is not the face of %s_%s.txt (they differ by %.2f); its mouth is closed anew.",
        table_path(picture, CLOSED), picture.stem, OPEN, difference,
    )  # fmt: skip
    return replace(puppet, closed=close_mouth(face.points), scale=face.scale, shift=face.shift)


# --- making -----------------------------------------------------------------------------------------------------------


def make_puppet(picture: Path, open_mouth: np.ndarray, folder: Path | None = None, inner_lip: bool = False) -> list[Path]:
    """Write the files of a character.

    Args:
        picture: its picture.
        open_mouth: (68, 2) points in it, pixels.
        folder: where the files go, with a copy of the picture; by default beside it.
        inner_lip: leave the outer lips out of the triangles, for drawn mouths that are but a line.

    Returns:
        The files written.

    Raises:
        FaceError: a point lies outside of the picture, or the face does not look towards the camera.
    """
    height, width = read_layer(picture).shape[:2]
    points = check_points(open_mouth, picture)[:, :2]
    outside = np.flatnonzero((points < 0).any(axis=1) | (points >= (width, height)).any(axis=1))
    if len(outside):
        x, y = points[outside[0]]
        raise FaceError(
            f"point {outside[0]} of {picture} lies at ({x:.0f}, {y:.0f}), outside of its {width} x {height} pixels "
            f"({len(outside)} do). Move it, for instance with --edit."
        )
    if folder is not None and folder.resolve() != picture.parent.resolve():
        folder.mkdir(parents=True, exist_ok=True)
        picture = Path(shutil.copy(picture, folder / picture.name))
    points = np.round(points, 4)
    face = normalise(points, depth=1.0)
    tables = {
        OPEN: (np.column_stack((points, np.ones(len(points)))), 4),
        NORMAL: (face.points, 4),
        CLOSED: (close_mouth(face.points), 4),
        SCALE_SHIFT: (np.array([[face.scale], [face.shift[0]], [face.shift[1]]]), 10),
        TRIANGLES: (triangulate(points, width, height, WITHOUT_OUTER_LIP if inner_lip else ALL_POINTS), 0),
    }
    for table, (values, decimals) in tables.items():
        write_points(table_path(picture, table), values, decimals)
    return [table_path(picture, table) for table in tables]


def close_mouth(points: np.ndarray, shares: Sequence[float] = CLOSING) -> np.ndarray:
    """Close a mouth, one lip after the other, each step seeing what the ones before have done.

    Args:
        points: (68, 3) with an open mouth.
        shares: which part of itself the height of the outer upper, outer lower, inner upper and inner lower lip keeps; the
            second and fourth is the part that it takes of the upper lip's new height.

    Returns:
        (68, 3), a copy.
    """
    points = points.copy()
    for upper, lower, (keep, take) in ((OUTER_UPPER, OUTER_LOWER, shares[:2]), (INNER_UPPER, INNER_LOWER, shares[2:])):
        points[upper, 1] = keep * points[upper, 1] + (1 - keep) * points[lower, 1]
        points[lower, 1] = take * points[upper, 1] + (1 - take) * points[lower, 1]
    points[INNER_UPPER, 0] = 0.6 * points[INNER_UPPER, 0] + 0.4 * points[INNER_LOWER, 0]
    points[INNER_LOWER, 0] = 0.6 * points[INNER_UPPER, 0] + 0.4 * points[INNER_LOWER, 0]
    return points


def triangulate(points: np.ndarray, width: int, height: int, kept: Sequence[int] = ALL_POINTS) -> np.ndarray:
    """Delaunay triangles of a face and of the border of its picture.

    Args:
        points: (68, 2) in the picture, pixels; cut to whole numbers.
        width, height: of the picture.
        kept: which of the points.

    Returns:
        (N, 3) int64: indices into the kept points and the 12 of the border behind them. Of points at one pixel the last counts.
    """
    corners = np.concatenate((points[kept].astype(int), border_points(width, height).astype(int)))
    index = {tuple(corner): i for i, corner in enumerate(corners.tolist())}
    division = cv2.Subdiv2D((0, 0, width, height))
    for corner in corners.tolist():
        division.insert((float(corner[0]), float(corner[1])))
    found = np.rint(division.getTriangleList()).astype(int).reshape(-1, 3, 2).tolist()
    inside = [[tuple(corner) for corner in triangle] for triangle in found if all(tuple(corner) in index for corner in triangle)]
    return np.array([[index[corner] for corner in triangle] for triangle in inside], np.int64).reshape(-1, 3)


def reference_points(open_mouth: np.ndarray, kept: Sequence[int], border: np.ndarray) -> np.ndarray:
    """Where the points of the triangles are in the picture, as the authors write them: (P, 2) with two decimals."""
    return np.round(np.concatenate((open_mouth[kept], border)), 2)


def border_points(width: int, height: int, count: int = 12, reach: int = 0) -> np.ndarray:
    """Points around a picture: (count, 2) float64 x, y, from the top left corner down, right, up and back.

    Args:
        count: 12, three between the corners on the left and at the top; or 8, one between all corners.
        reach: how far beyond the picture they lie, pixels.
    """
    right, bottom = width - 1, height - 1
    left, top, far_right, far_bottom = -reach, -reach, right + reach, bottom + reach
    down = [bottom // 4, bottom // 2, bottom // 4 * 3] if count == 12 else [bottom // 2]
    across = [right // 4, right // 2, right // 4 * 3] if count == 12 else [right // 2]
    points = [
        (left, top), *((left, y) for y in down), (left, far_bottom),
        (right // 2, far_bottom), (far_right, far_bottom),
        (far_right, bottom // 2), (far_right, top),
        *((x, top) for x in across),
    ]  # fmt: skip
    return np.array(points, np.float64)


# --- where a new character's points come from -------------------------------------------------------------------------


def first_points(picture: Path, faces: FaceFinder, landmarks: Path | None = None) -> np.ndarray:
    """The points of a picture: from the file that is named, those of the character, a file beside it, or found in it.

    Returns:
        (68, 2) float64 pixels.

    Raises:
        FaceError: a file holds something else, or no face is found.
    """
    own = table_path(picture, OPEN)
    file = landmarks or (own if own.is_file() else points_beside(picture))
    if file is not None:
        return read_points(file)[:, :2]
    try:
        return faces.landmarks(Video(picture)).landmarks[0].astype(np.float64)
    except FaceError as error:
        raise FaceError(f"{error} Or place the points by hand: --edit.") from error


def standard_points(width: int, height: int) -> np.ndarray:
    """The standard face in the middle of a picture, half as wide: (68, 2), to be moved by hand."""
    flat = STANDARD_FACE[:, :2]
    low, high = flat.min(axis=0), flat.max(axis=0)
    factor = 0.5 * min(width / (high[0] - low[0]), height / (high[1] - low[1]))
    return (flat - (low + high) / 2) * factor + [width / 2, height / 2]
