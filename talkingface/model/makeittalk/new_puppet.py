"""`talkingface puppet`: from a picture to a character: its points, placed by hand if wanted, its files, and a preview."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from talkingface.errors import FaceError, MediaError
from talkingface.face.editor import PointEditor
from talkingface.face.finder import FaceFinder
from talkingface.media.files import existing_file
from talkingface.media.image import is_image, read_image, write_image
from talkingface.media.video import write_video
from talkingface.model.makeittalk.cartoon import preview_frames
from talkingface.model.makeittalk.puppet import (
    OPEN,
    Puppet,
    background_beside,
    first_points,
    make_puppet,
    read_puppet,
    standard_points,
    table_path,
)
from talkingface.model.makeittalk.warp import TriangleWarp

PREVIEW_FPS = 25.0
POINT, LINE = (214, 40, 57), (150, 190, 60)  # R, G, B of the points and triangles in the picture that shows them


class NewPuppet(NamedTuple):
    """What was made.

    Attributes:
        picture: of the character; `talkingface generate --face` takes it.
        files: what lies beside it, all that was written.
    """

    picture: Path
    files: list[Path]


def new_puppet(
    picture: Path | str,
    faces: FaceFinder,
    landmarks: Path | None = None,
    folder: Path | None = None,
    background: Path | None = None,
    inner_lip: bool = False,
    opened: Callable[[str], Any] | None = None,
    preview: bool = True,
) -> NewPuppet | None:
    """Make a character of a picture.

    Args:
        picture: a drawn face that looks at the viewer, its mouth open; what is transparent stays so.
        faces: finds the face where no file has its points.
        landmarks: file of the 68 points; by default those of the character (to be edited), of a file beside the picture, or
            found.
        folder: where the files go; by default beside the picture.
        background: picture that is seen behind the character.
        inner_lip: join the inner lips only, for mouths that are drawn without lips.
        opened: opens a page on which points are placed by hand (it is called with the address); None = do not ask.
        preview: write <name>_anno.png with points and triangles, and two seconds of movement, <name>_preview.mp4.

    Returns:
        The character; None where the page was closed without saving.

    Raises:
        FaceError: no face is found and no page asked for, or the points cannot be used.
        MediaError: a file cannot be read or written.
    """
    picture = existing_file(picture)
    if not is_image(picture):
        raise MediaError(f"{picture} is no picture; a character is made of one (PNG or JPEG).")
    where = folder or picture.parent
    character, made = where / picture.name, list[Path]()
    if landmarks is None and table_path(character, OPEN).is_file():
        landmarks = table_path(character, OPEN)

    def make(points: np.ndarray) -> None:
        made[:] = make_puppet(picture, points, where, inner_lip)

    if opened is None:
        make(first_points(picture, faces, landmarks))
    elif not PointEditor(picture, points_to_edit(picture, faces, landmarks), make).run(opened):
        return None
    if background is not None:
        made.append(copy_background(background, character))
    if preview:
        made += write_preview(character)
    return NewPuppet(character, made)


def points_to_edit(picture: Path, faces: FaceFinder, landmarks: Path | None) -> np.ndarray:
    """Where the points are at first: `first_points`, or the standard face where none is found."""
    try:
        return first_points(picture, faces, landmarks)
    except FaceError:
        if landmarks is not None:
            raise
        height, width = read_image(picture).shape[:2]
        return standard_points(width, height)


def copy_background(background: Path, character: Path) -> Path:
    """Copy a background beside a character, under its name; other backgrounds of it go."""
    read_image(background)  # refuses what is no picture
    path = character.with_name(f"{character.stem}_bg{background.suffix.lower()}")
    old = background_beside(character)
    if background.resolve() != path.resolve():
        shutil.copy(background, path)
    if old is not None and old != path and old.resolve() != background.resolve():
        old.unlink()
    return path


def write_preview(character: Path) -> list[Path]:
    """Write the picture of a character's points and the video of its movement."""
    puppet = read_puppet(character)
    picture, video = (character.with_name(f"{character.stem}_{end}") for end in ("anno.png", "preview.mp4"))
    write_image(picture, annotated(puppet))
    write_video(video, preview_frames(puppet, PREVIEW_FPS), PREVIEW_FPS)
    return [picture, video]


def annotated(puppet: Puppet) -> np.ndarray:
    """The picture of a character with its triangles and points: (H, W, 3) uint8 RGB."""
    picture = TriangleWarp(puppet.picture, puppet.triangles, puppet.reference, puppet.background).frame(puppet.reference)
    corners = puppet.reference[puppet.triangles]
    for triangle in np.rint(np.clip(corners, -(2**14), 2**14)).astype(np.int32):
        cv2.polylines(picture, [triangle], True, LINE, 1, cv2.LINE_AA)
    for x, y in np.rint(puppet.open_mouth).astype(int).tolist():
        cv2.circle(picture, (x, y), max(2, round(max(picture.shape) / 300)), POINT, -1, cv2.LINE_AA)
    return picture
