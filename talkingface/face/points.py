"""The 68 points of one face in a text file: iBUG's .pts, a table of numbers, or an .npz; read and written."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from talkingface.errors import FaceError
from talkingface.face.landmarks import read_landmarks
from talkingface.media.files import atomic, existing_file

COUNT = 68
SUFFIXES = (".landmarks.txt", ".pts")  # of files beside a picture, in which its points are looked for


def read_points(path: Path | str) -> np.ndarray:
    """Read the points of one face.

    Args:
        path: .pts (iBUG: a head, the points in braces); .txt or .csv (a point a line, x y or x y z, blanks or commas between);
            .npz (`landmarks` of a video: its first frame).

    Returns:
        (68, 2 or 3) float64.

    Raises:
        FaceError: the file holds something else.
        MediaError: there is no such file.
    """
    path = existing_file(path)
    if path.suffix == ".npz":
        return read_landmarks(path).landmarks[0].astype(np.float64)
    rows = [line.replace(",", " ").split() for line in text_of(path).splitlines()]
    if path.suffix == ".pts":
        words = [row[:1] for row in rows]
        first = words.index(["{"]) + 1 if ["{"] in words else 0
        rows = rows[first : words.index(["}"]) if ["}"] in words else None]
    return check_points(numbers([row for row in rows if row], path), path)


def text_of(path: Path) -> str:
    """The text of a file.

    Raises:
        FaceError: it is no text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise FaceError(f"{path} is not a text file with {COUNT} points.") from error


def numbers(rows: list[list[str]], path: Path) -> np.ndarray:
    """Rows of words as a float64 table.

    Raises:
        FaceError: a word is no number, or rows differ in length.
    """
    try:
        return np.array([[float(word) for word in row] for row in rows], np.float64)
    except ValueError as error:
        raise FaceError(f"{path} is not a table of numbers: {error}.") from error


def check_points(points: np.ndarray, path: Path | str) -> np.ndarray:
    """The points, if they are those of one face.

    Raises:
        FaceError: there are not 68 of them, or not two or three finite coordinates of each.
    """
    if points.ndim != 2 or len(points) != COUNT or points.shape[1] not in (2, 3) or not np.isfinite(points).all():
        columns = points.shape[1] if points.ndim == 2 else "no"
        raise FaceError(
            f"{path} holds {len(points)} points with {columns} coordinates; expected {COUNT} (iBUG), a line each: x y or x y z."
        )
    return points


def write_points(path: Path | str, points: np.ndarray, decimals: int = 4) -> None:
    """Write a table of numbers, a row a line, whole or not at all."""
    lines = (" ".join(f"{value:.{decimals}f}" for value in row) for row in np.atleast_2d(points))
    with atomic(path) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in lines))


def points_beside(picture: Path) -> Path | None:
    """The file with the points of a picture: <stem>.landmarks.txt or <stem>.pts beside it; None if there is none."""
    return next((path for suffix in SUFFIXES if (path := picture.with_name(picture.stem + suffix)).is_file()), None)
