import cv2
import numpy as np
import pytest

from talkingface.errors import MediaError
from talkingface.media.image import is_image, read_image, resize, write_image


@pytest.fixture
def picture():
    y, x = np.mgrid[:33, :47]
    return np.stack([x * 5, y * 7, x + y], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff"])
def test_lossless_formats_keep_every_pixel_and_the_channel_order(tmp_path, picture, suffix):
    path = tmp_path / f"un été 'ici'{suffix}"
    write_image(path, picture)
    assert is_image(path) and np.array_equal(read_image(path), picture)


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_lossy_formats_keep_the_picture(tmp_path, picture, suffix):
    write_image(tmp_path / f"a{suffix}", picture)
    assert is_image(tmp_path / f"a{suffix}")
    assert np.abs(read_image(tmp_path / f"a{suffix}").astype(int) - picture).mean() < 5


def test_the_content_decides_not_the_name(tmp_path, picture):
    write_image(tmp_path / "a.png", picture)
    (tmp_path / "a.png").rename(tmp_path / "a.mp4")
    assert is_image(tmp_path / "a.mp4") and np.array_equal(read_image(tmp_path / "a.mp4"), picture)


def test_transparency_is_black_and_grey_has_three_channels(tmp_path):
    bgra = np.full((4, 6, 4), 200, np.uint8)
    bgra[:, :3, 3], bgra[:, 3:, 3] = 0, 255
    cv2.imwrite(str(tmp_path / "alpha.png"), bgra)
    image = read_image(tmp_path / "alpha.png")
    assert image.shape == (4, 6, 3) and not image[:, :3].any() and (image[:, 3:] == 200).all()
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((4, 6), 77, np.uint8))
    assert (read_image(tmp_path / "grey.png") == np.full((4, 6, 3), 77)).all()
    cv2.imwrite(str(tmp_path / "deep.png"), np.full((4, 6, 3), 77 * 257, np.uint16))
    assert (read_image(tmp_path / "deep.png") == 77).all()


def test_the_exif_orientation_is_applied(tmp_path, picture):
    write_image(tmp_path / "a.jpg", picture)
    data = (tmp_path / "a.jpg").read_bytes()
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"  # orientation 6: turn clockwise
    segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    (tmp_path / "turned.jpg").write_bytes(data[:2] + segment + data[2:])
    assert np.array_equal(read_image(tmp_path / "turned.jpg"), np.rot90(read_image(tmp_path / "a.jpg"), -1))


def test_a_damaged_or_missing_picture_is_named(tmp_path, picture):
    write_image(tmp_path / "a.jpg", np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8))
    data = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "half.jpg").write_bytes(data[: len(data) // 2])
    with pytest.raises(MediaError, match="half.jpg.*cut short"):
        read_image(tmp_path / "half.jpg")
    (tmp_path / "text.png").write_text("this is no picture")
    with pytest.raises(MediaError, match="text.png is no picture"):
        read_image(tmp_path / "text.png")
    with pytest.raises(MediaError, match="nowhere.png does not exist"):
        read_image(tmp_path / "nowhere.png")


def test_an_unknown_suffix_or_shape_is_refused(tmp_path, picture):
    with pytest.raises(MediaError, match=r"\.png"):
        write_image(tmp_path / "a.xyz", picture)
    with pytest.raises(MediaError, match="uint8"):
        write_image(tmp_path / "a.png", picture.astype(np.float32))
    assert not list(tmp_path.iterdir())


def test_resize_takes_width_and_height(picture):
    assert resize(picture, (20, 10)).shape == (10, 20, 3)
    assert resize(picture, (47, 33)) is picture
