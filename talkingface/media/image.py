"""Pictures: (H, W, 3) uint8 RGB arrays from and to files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from talkingface.errors import MediaError
from talkingface.media.files import atomic, existing_file

JPEG = b"\xff\xd8\xff"
SIGNATURES = (JPEG, b"\x89PNG\r\n\x1a\n", b"BM", b"II*\0", b"MM\0*", b"P5\n", b"P6\n", b"\0\0\0\x0cjP  ")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


def is_image(path: Path | str) -> bool:
    """Whether a file holds a still picture, by its first bytes; its name does not matter."""
    with Path(path).open("rb") as file:
        head = file.read(16)
    return head.startswith(SIGNATURES) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def read_image(path: Path | str) -> np.ndarray:
    """Read a picture as (H, W, 3) uint8 RGB.

    The EXIF orientation is applied, grey becomes three equal channels, 16 bits become 8, and what is transparent is
    shown on black.

    Raises:
        MediaError: there is no such file, it is no picture, or it is cut short.
    """
    path = existing_file(path)
    data = path.read_bytes()
    image = decode_image(data)
    has_end = not data.startswith(JPEG) or data.rfind(b"\xff\xd9") > data.rfind(b"\xff\xda")
    if image is None or not has_end:
        raise MediaError(f"{path} is no picture that can be read, or it is damaged or cut short. Save it again as PNG or JPEG.")
    return image


def read_layer(path: Path | str) -> np.ndarray:
    """Read a picture that is to lie over another: as `read_image`, but what is transparent stays so.

    Returns:
        (H, W, 4) uint8, R, G, B and opacity (255 = opaque), or (H, W, 3) where the file has no transparency.

    Raises:
        MediaError: as `read_image`.
    """
    import cv2

    image = read_image(path)
    raw = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if raw is None or raw.ndim != 3 or raw.shape[2] != 4:
        return image
    return cv2.cvtColor(raw if raw.dtype == np.uint8 else (raw // 257).astype(np.uint8), cv2.COLOR_BGRA2RGBA)


def decode_image(data: bytes) -> np.ndarray | None:
    """The picture in the bytes of a file, as `read_image` returns it; None when there is none."""
    import cv2

    if not data:
        return None
    packed = np.frombuffer(data, np.uint8)
    try:
        if not data.startswith(JPEG):  # a JPEG has no transparency: spare it a second decoding
            raw = cv2.imdecode(packed, cv2.IMREAD_UNCHANGED)
            if raw is not None and raw.ndim == 3 and raw.shape[2] == 4:
                return _on_black(raw)
        image = cv2.imdecode(packed, cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _on_black(bgra: np.ndarray) -> np.ndarray:
    white = np.iinfo(bgra.dtype).max
    rgb, alpha = bgra[:, :, 2::-1].astype(np.float32), bgra[:, :, 3:].astype(np.float32)
    return np.rint(rgb * alpha * (255 / white**2)).astype(np.uint8)


def write_image(path: Path | str, image: np.ndarray) -> None:
    """Write (H, W, 3) uint8 RGB, or (H, W) grey, in the format that the suffix names (JPEG at quality 95).

    Raises:
        MediaError: the suffix names no format, or the file cannot be written.
    """
    import cv2

    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise MediaError(f"{path}: pictures are written as {', '.join(SUFFIXES)}, not as {path.suffix!r}.")
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.size == 0 or image.shape[2:] not in ((), (3,)):
        raise MediaError(f"{path}: a picture is (H, W, 3) uint8 RGB, not {image.shape} {image.dtype}.")
    bgr = image if image.ndim == 2 else cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2BGR)
    written, data = cv2.imencode(path.suffix.lower(), bgr)
    if not written:
        size = f"{image.shape[1]} x {image.shape[0]}"
        raise MediaError(f"{path}: a picture of {size} cannot be stored as {path.suffix}; use .png.")
    with atomic(path) as temporary:
        temporary.write_bytes(data.tobytes())


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear (OpenCV, no smoothing before shrinking): `size` is (width, height). Returns the image itself when it fits."""
    import cv2

    if (image.shape[1], image.shape[0]) == tuple(size):
        return image
    return cv2.resize(image, (int(size[0]), int(size[1])), interpolation=cv2.INTER_LINEAR)
