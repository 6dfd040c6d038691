"""MakeItTalk's pictures: the image translation, portraits of any kind, and characters that are warped."""

import logging

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.spatial import Delaunay

from talkingface.dataset.base import Clip
from talkingface.errors import ConfigError, FaceError, MediaError
from talkingface.face.finder import FaceFinder
from talkingface.face.points import write_points
from talkingface.media.audio import write_audio
from talkingface.media.image import read_image, write_image
from talkingface.media.video import write_video
from talkingface.model.makeittalk import MakeItTalk
from talkingface.model.makeittalk.cartoon import cartoon_frames, preview_rows, puppet_points
from talkingface.model.makeittalk.draw import draw_landmarks
from talkingface.model.makeittalk.frames import FrameSettings, portrait_frames, real_frames
from talkingface.model.makeittalk.networks.translation import ConvOfDoubled, ResUnetGenerator
from talkingface.model.makeittalk.portrait import Painter, cut_portrait, put_back, read_portrait
from talkingface.model.makeittalk.puppet import make_puppet, read_puppet
from talkingface.model.makeittalk.spectrogram import Sound
from talkingface.model.makeittalk.tables import STANDARD_FACE
from talkingface.model.makeittalk.warp import TriangleWarp, layers, spans

SIDE = 64
FILES_ONLY = FaceFinder(detector="files")


def face_points(width, height, share=0.6):
    """The standard face in the middle of a picture: (68, 2)."""
    flat = STANDARD_FACE[:, :2] - STANDARD_FACE[:, :2].mean(axis=0)
    return flat * (share * min(width, height) / 1.9) + [width / 2, height / 2]


@pytest.fixture
def picture(tmp_path):
    """Write a picture with the landmarks of its face beside it."""

    def write(width, height, name="face.png", points=None, alpha=False):
        rng = np.random.default_rng(0)
        small = rng.integers(0, 255, (8, 8, 4 if alpha else 3), np.uint8)
        cv2.imwrite(str(tmp_path / name), cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC))
        points = face_points(width, height) if points is None else points
        write_points((tmp_path / name).with_suffix(".landmarks.txt"), points)
        return tmp_path / name

    return write


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    """Two seconds of a humming voice."""
    path = tmp_path_factory.mktemp("speech") / "speech.wav"
    time = np.arange(32_000) / 16_000
    wav = 0.3 * np.sin(2 * np.pi * 140 * time) * (1 + np.sin(2 * np.pi * 3 * time)) / 2
    write_audio(path, wav + 0.01 * np.random.default_rng(0).standard_normal(32_000))
    return path


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return ResUnetGenerator(width=0.1).eval()


def tiny(**settings):
    torch.manual_seed(0)
    model = MakeItTalk(width=0.1, image_size=SIDE, speaker_embedding="spectrum", **settings).eval()
    model.faces = FILES_ONLY
    return model


# --- the network ------------------------------------------------------------------------------------------------------


def test_a_doubled_picture_is_convolved_without_being_made():
    torch.manual_seed(0)
    conv = ConvOfDoubled(5, 3, 3, padding=1, bias=False).double()
    x = torch.randn(2, 5, 16, 18, dtype=torch.float64, requires_grad=True)
    expected = F.conv2d(F.interpolate(x, scale_factor=2.0), conv.weight, padding=1)
    torch.testing.assert_close(conv(x), expected)
    wanted, found = (torch.autograd.grad((y**2).sum(), [x, conv.weight]) for y in (expected, conv(x)))
    torch.testing.assert_close(found, wanted)


def test_a_portrait_is_seen_once_for_all_of_its_frames(network):
    rng = np.random.default_rng(0)
    face, drawing = rng.integers(0, 255, (2, SIDE, SIDE, 3), np.uint8)
    whole = torch.from_numpy(np.concatenate((drawing, face[..., ::-1]), axis=2)[None].copy()).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        expected = (network(whole).tanh().clamp(min=0) * 255)[0].flip(0).permute(1, 2, 0).numpy()
    (painted,) = Painter(network, face).paint([drawing])
    assert np.abs(painted - expected).max() <= 1.01
    assert painted.any()


def test_equal_drawings_are_painted_once_whatever_the_batch(network):
    face = np.zeros((SIDE, SIDE, 3), np.uint8)
    drawings = [draw_landmarks(face_points(SIDE, SIDE, share), SIDE, 1) for share in (0.5, 0.5, 0.5, 0.7, 0.7, 0.5)]
    painter = Painter(network, face, batch_size=4)
    counts = []
    translate = painter.translate
    painter.translate = lambda pairs: counts.append(len(pairs)) or translate(pairs)
    frames = list(painter.paint(drawings))
    assert counts == [2, 1] and len(frames) == 6
    assert np.array_equal(frames[0], frames[2]) and not np.array_equal(frames[2], frames[3])
    assert all(np.array_equal(a, b) for a, b in zip(frames, Painter(network, face, 1).paint(drawings), strict=True))


def test_a_network_with_seven_channels_hears(speech):
    sound = Sound(np.random.default_rng(0).standard_normal(16_000).astype(np.float32) / 4)
    early, late = sound.picture(0.0, SIDE), sound.picture(0.5, SIDE)
    assert early.shape == (SIDE, SIDE) and late.max() <= 1 and early[:, : SIDE // 3].max() < late[:, : SIDE // 3].min() + 1
    model = tiny(add_audio_in=True)
    portrait = cut_portrait(np.zeros((SIDE, SIDE, 3), np.uint8), face_points(SIDE, SIDE))
    rows = np.repeat(portrait.landmarks[None], 12, axis=0)
    frames = list(portrait_frames(portrait, rows, model.translator, model.frames, speech))
    assert len(frames) == 12 and not np.array_equal(frames[0], frames[6])


def test_a_recording_is_heard_in_blocks_as_in_one():
    wav = np.random.default_rng(1).standard_normal(200_000).astype(np.float32)
    sound = Sound(wav)
    assert sound.largest == pytest.approx(float(sound.log_power(0, sound.count).max()), rel=1e-6)


# --- portraits --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(SIDE, SIDE), (300, 200), (90, 160)])
def test_a_portrait_of_any_size_is_given_back_whole(picture, network, size):
    portrait = read_portrait(picture(*size), FILES_ONLY, SIDE)
    assert portrait.face.shape == (SIDE, SIDE, 3)
    assert (portrait.landmarks > 0).all() and (portrait.landmarks < SIDE).all()
    frames = list(portrait_frames(portrait, portrait.landmarks[None], network, FrameSettings(image_size=SIDE)))
    assert frames[0].shape == (size[1], size[0], 3)
    assert np.array_equal(put_back(portrait, portrait.face)[0], portrait.picture[0])


def test_only_the_face_of_a_picture_changes(picture, network):
    portrait = read_portrait(picture(600, 400, points=face_points(600, 400, 0.3)), FILES_ONLY, SIDE)
    (frame,) = portrait_frames(portrait, portrait.landmarks[None], network, FrameSettings(image_size=SIDE))
    changed = (frame != portrait.picture).any(axis=-1)
    rows, columns = np.nonzero(changed)
    reach = SIDE / portrait.matrix[0, 0]
    most = reach + reach / SIDE  # a pixel of the crop more
    assert changed.any() and np.ptp(rows) <= most and np.ptp(columns) <= most and most < 300


def test_a_large_photo_is_reduced_without_skipping_pixels(picture):
    path = picture(4000, 3000, name="photo.jpg")
    portrait = read_portrait(path, FILES_ONLY, SIDE, longest_side=1000)
    assert portrait.picture.shape == (750, 1000, 3)
    direct = read_portrait(path, FILES_ONLY, SIDE)
    assert direct.picture.shape == (3000, 4000, 3)
    assert np.abs(direct.face.astype(int) - portrait.face).mean() < 2
    assert np.allclose(direct.landmarks, portrait.landmarks, atol=0.1)


def test_panels_and_crop(picture, network):
    portrait = read_portrait(picture(300, 200), FILES_ONLY, SIDE)
    rows = portrait.landmarks[None]
    (crop,) = portrait_frames(portrait, rows, network, FrameSettings(output="crop", image_size=SIDE))
    (panels,) = portrait_frames(portrait, rows, network, FrameSettings(output="panels", image_size=SIDE))
    assert crop.shape == (SIDE, SIDE, 3) and panels.shape == (SIDE, 3 * SIDE, 3)
    assert np.array_equal(panels[:, SIDE : 2 * SIDE], crop)
    assert np.abs(panels[:, :SIDE].astype(int) - portrait.face).max() <= 1
    assert np.array_equal(panels[:, 2 * SIDE :, ::-1], draw_landmarks(portrait.landmarks, SIDE, 1))


def test_a_transparent_picture_is_a_portrait(picture):
    assert read_portrait(picture(200, 200, alpha=True), FILES_ONLY, SIDE).face.shape == (SIDE, SIDE, 3)


def test_the_first_frame_of_a_video_is_a_portrait(tmp_path, network):
    frames = np.random.default_rng(0).integers(0, 255, (8, 96, 128, 3), np.uint8)
    write_video(tmp_path / "talk.mkv", frames, 25.0, lossless=True)
    np.savez(tmp_path / "talk.landmarks.npz", landmarks=np.repeat(face_points(128, 96)[None], 8, axis=0))
    portrait = read_portrait(tmp_path / "talk.mkv", FILES_ONLY, SIDE)
    assert np.array_equal(portrait.picture, frames[0])
    settings = FrameSettings(output="crop", image_size=SIDE)
    real = list(real_frames(portrait, tmp_path / "talk.mkv", settings))
    assert len(real) == 8 and np.array_equal(real[0], portrait.face)
    assert real_frames(portrait, tmp_path / "talk.mkv", FrameSettings(image_size=SIDE)) is None


def test_a_profile_and_a_face_on_its_head_are_refused(picture):
    turned = face_points(200, 200)
    turned[27:36, 0] -= 70
    with pytest.raises(FaceError, match=r"profile.*both sides"):
        read_portrait(picture(200, 200, points=turned), FILES_ONLY, SIDE)
    upside_down = [200, 200] - face_points(200, 200)
    with pytest.raises(FaceError, match="on its head"):
        read_portrait(picture(200, 200, points=upside_down), FILES_ONLY, SIDE)


def test_a_face_that_is_turned_far_is_mentioned(picture, caplog):
    turned = face_points(200, 200)
    turned[27:36, 0] -= 45
    read_portrait(picture(200, 200, points=turned), FILES_ONLY, SIDE)
    assert "turned far" in caplog.text


def test_one_of_several_faces_speaks_and_the_others_are_mentioned(real_data, tmp_path, caplog):
    faces = [read_image(real_data / "portraits" / name) for name in ("obama.jpg", "taylor.jpg")]
    write_image(tmp_path / "two.png", np.concatenate(faces, axis=1))
    left, right = (read_portrait(tmp_path / "two.png", FaceFinder("dlib", select=side), SIDE) for side in ("left", "right"))
    assert left.matrix[0, 2] > right.matrix[0, 2]
    assert "2 faces" in caplog.text and "--face.select=right" in caplog.text


def test_no_face_is_an_error_that_says_what_to_do(tmp_path):
    write_image(tmp_path / "wall.png", np.full((80, 80, 3), 90, np.uint8))
    with pytest.raises(FaceError, match="wall"):
        read_portrait(tmp_path / "wall.png", FILES_ONLY, SIDE)


def test_landmarks_of_another_number_are_refused(picture):
    path = picture(100, 100)
    path.with_suffix(".landmarks.txt").write_text("1 2\n" * 67)
    with pytest.raises(FaceError, match=r"67 points.*68"):
        read_portrait(path, FILES_ONLY, SIDE)


def test_an_open_mouth_is_mentioned_unless_it_is_closed(picture, speech, caplog):
    wide = face_points(SIDE, SIDE)
    wide[[65, 66, 67], 1] += 8
    path = picture(SIDE, SIDE, points=wide)
    with caplog.at_level(logging.WARNING):
        next(iter(tiny(close_input_face_mouth=True).generate(Clip("a", path, speech))))
        assert "open" not in caplog.text
        next(iter(tiny().generate(Clip("a", path, speech))))
    assert "close_input_face_mouth" in caplog.text


@pytest.mark.parametrize(
    ("fps", "to_the_end", "count"), [(25.0, True, 50), (25.0, False, 44), (62.5, False, 108), (30.0, True, 60)]
)
def test_a_portrait_speaks_to_the_end_at_the_rate_asked_for(picture, speech, fps, to_the_end, count):
    model = tiny(fps=fps, to_the_end=to_the_end)
    clip = Clip("a", picture(SIDE, SIDE), speech)
    frames = [frame.image for frame in model.generate(clip)]
    assert model.frame_rate(clip) == fps
    assert abs(len(frames) - count) <= 1 and frames[0].shape == (SIDE, SIDE, 3)
    assert any(not np.array_equal(frames[0], frame) for frame in frames)


@pytest.mark.parametrize(
    ("settings", "named"),
    [({"output": "half"}, "output"), ({"fps": 0.0}, "fps"), ({"image_size": 100}, "64"), ({"beyond": "x"}, "beyond")],
)
def test_settings_out_of_range_are_named(settings, named):
    with pytest.raises(ConfigError, match=named):
        FrameSettings(**settings)


# --- warping ----------------------------------------------------------------------------------------------------------


def random_mesh(rng, width, height, count=30):
    """Points inside of a picture and at its corners, and their Delaunay triangles."""
    corners = [[0, 0], [0, height - 1], [width - 1, 0], [width - 1, height - 1]]
    points = np.concatenate((rng.uniform([2, 2], [width - 3, height - 3], (count, 2)), corners))
    return points, Delaunay(points).simplices


@pytest.mark.parametrize("seed", range(5))
def test_moved_triangles_leave_neither_cracks_nor_double_pixels(seed):
    rng = np.random.default_rng(seed)
    points, triangles = random_mesh(rng, 90, 70)
    moved = points.copy()
    moved[:-4] += rng.normal(0, 0.4, (len(points) - 4, 2))
    runs = spans(moved[triangles], 90, 70)
    covered = np.zeros((70, 90), int)
    for row, start, stop in zip(runs.row, runs.start, runs.stop, strict=True):
        covered[row, start:stop] += 1
    corners = moved[triangles]
    (a, b), (c, d) = (corners[:, 1] - corners[:, 0]).T, (corners[:, 2] - corners[:, 0]).T
    folded = len(set(np.sign(a * d - b * c))) > 1
    assert not folded
    assert (covered[:69, :89] == 1).all()


def test_an_unmoved_picture_stays_as_it_is():
    ramp = np.broadcast_to(np.arange(160)[None, :, None], (120, 160, 3)).astype(np.uint8)
    points, triangles = random_mesh(np.random.default_rng(0), 160, 120)
    frame = TriangleWarp(ramp, triangles, points).frame(points)
    assert np.abs(frame[:-1, :-1].astype(int) - ramp[:-1, :-1]).max() <= 1  # the original zooms by W / (W - 1)


def test_a_later_triangle_covers_an_earlier_one_and_both_cover_the_background():
    corners = np.array([[1.0, 1], [30, 1], [1, 30], [5, 5], [40, 5], [5, 40]])
    picture = np.zeros((50, 50, 4), np.uint8)
    picture[..., 0], picture[..., 3] = 200, 255
    picture[:25, :, 1] = 100
    warp = TriangleWarp(picture, np.array([[0, 1, 2], [0, 1, 2]]), corners[:3], np.full((5, 5, 3), 77, np.uint8))
    warp.triangles = np.array([[0, 1, 2], [3, 4, 5]])
    warp.texels = np.stack([np.full((3, 2), 30.0), np.full((3, 2), 10.0)])  # two plain colors
    frame = warp.frame(corners)
    assert frame[3, 3].tolist() == [200, 0, 0] and frame[10, 10].tolist() == [200, 100, 0] and frame[45, 45].tolist() == [77] * 3


def test_half_transparent_folds_show_what_lies_beneath():
    parts = layers(np.array([4, 5, 4, 6, 4]), 9)
    assert [part.tolist() for part in parts] == [[0], [2], [1, 3, 4]]


def test_beyond_the_border_the_picture_repeats_or_its_edge_goes_on():
    picture = np.zeros((20, 20, 3), np.uint8)
    picture[:, 10:] = 255
    reference = np.array([[-20.0, -20], [40, -20], [-20, 40], [40, 40]])
    triangles = np.array([[0, 1, 2], [1, 3, 2]])
    moved = reference + [6.0, 0]
    repeated, edge = (TriangleWarp(picture, triangles, reference, beyond=b).frame(moved) for b in ("repeat", "edge"))
    assert repeated[10, 2].tolist() == [255] * 3 and edge[10, 2].tolist() == [0] * 3


# --- characters -------------------------------------------------------------------------------------------------------


@pytest.fixture
def character(tmp_path):
    """A character of its own: a disc on transparent ground."""
    picture = np.zeros((120, 160, 4), np.uint8)
    cv2.circle(picture, (80, 60), 45, (40, 160, 220, 255), -1)
    cv2.imwrite(str(tmp_path / "disc.png"), picture)
    points = face_points(160, 120, 0.5)
    points[[65, 66, 67, 56, 57, 58], 1] += 5
    make_puppet(tmp_path / "disc.png", points)
    write_image(tmp_path / "disc_bg.png", np.full((30, 40, 3), 50, np.uint8))
    return tmp_path / "disc.png"


def test_a_character_speaks_before_its_background(character, speech):
    frames = [frame.image for frame in tiny(amp_pos=0.0).generate(Clip("a", character, speech))]
    assert len(frames) == 50 and frames[0].shape == (120, 160, 3)
    assert all((frame[[0, 0, -1, -1], [0, -1, 0, -1]] == 50).all() for frame in frames)
    assert any(not np.array_equal(frames[0], frame) for frame in frames)


def test_another_background_is_taken_from_the_settings(character, speech, tmp_path):
    write_image(tmp_path / "sea.png", np.full((10, 10, 3), 200, np.uint8))
    frame = next(iter(tiny(jpg_bg=str(tmp_path / "sea.png")).generate(Clip("a", character, speech)))).image
    assert (frame[0, 0] == 200).all()


def test_without_a_real_video_the_published_content_branch_is_compared_with(character, speech, tmp_path, caplog):
    clip, model = Clip("a", character, speech), tiny(compare_content=True)
    model.checkpoints_dir = tmp_path / "checkpoints"
    assert tiny().real(clip) is None and model.real(clip) is None
    assert "ckpt_content_branch.pth does not exist: clips without a real video are compared with nothing" in caplog.text
    (model.checkpoints_dir / "MakeItTalk").mkdir(parents=True)
    torch.save({"model_g_face_id": model.content.state_dict()}, model.checkpoints_dir / "MakeItTalk" / "ckpt_content_branch.pth")
    own, published = ([np.copy(image) for image in images] for images in (model.images(clip, model.content), model.real(clip)))
    assert np.array_equal(own, published)
    model.content.fc[-1].weight.data *= 3
    trained = [frame.image for frame in model.generate(clip)]
    assert not np.array_equal(trained, published) and np.array_equal(list(model.real(clip)), published)


def test_landmarks_are_shown_as_they_move(character, picture, speech):
    assert tiny().views(Clip("a", character, speech), character) == {}
    for face in (character, picture(SIDE, SIDE)):
        model, clip = tiny(landmarks_video=True), Clip("a", face, speech)
        view = model.views(clip, face.with_suffix(".mp4"))["landmarks"]
        frames = list(view.frames)
        assert len(frames) == 50 and frames[0].shape == (SIDE, SIDE, 3) and view.with_sound
        assert (frames[0][0] == 255).all() and frames[0].min() < 100 and not np.array_equal(frames[0], frames[20])


def test_a_large_character_is_reduced_with_its_points(character):
    puppet = read_puppet(character)
    half = puppet.reduced(80)
    assert half.picture.shape == (60, 80, 4)
    whole, small = (puppet_points(p, preview_rows(p, 40))[20, :68] for p in (puppet, half))
    assert np.allclose(whole / 2, small, atol=0.02)
    frame = cv2.resize(next(cartoon_frames(puppet, puppet.reference[None])), (80, 60), interpolation=cv2.INTER_AREA)
    assert np.abs(frame.astype(int) - next(cartoon_frames(half, half.reference[None]))).mean() < 6


@pytest.mark.parametrize("name", ["cartoonM.png", "girl.png", "bluehead.jpg"])
def test_the_published_characters_move_without_folding(real_data, name):
    puppet = read_puppet(real_data / "puppets" / name)
    points = puppet_points(puppet, preview_rows(puppet, 60))

    def areas(corners):
        (a, b), (c, d) = (corners[:, 1] - corners[:, 0]).T, (corners[:, 2] - corners[:, 0]).T
        return a * d - b * c

    before = areas(puppet.reference[puppet.triangles])
    assert all((areas(row[puppet.triangles]) * before > 0).all() for row in points)
    frame = next(cartoon_frames(puppet, puppet.reference[None]))
    shown = puppet.picture[..., :3].astype(int)
    if puppet.picture.shape[2] == 4:
        alpha = puppet.picture[..., 3:] / 255
        assert puppet.background is not None
        shown = shown * alpha + cv2.resize(puppet.background, shown.shape[1::-1]) * (1 - alpha)
    assert np.abs(frame - shown).mean() < 1


def test_a_stale_face_at_rest_is_made_anew(real_data, caplog):
    with caplog.at_level(logging.WARNING):
        puppet = read_puppet(real_data / "puppets" / "girl.png")
    assert "closed anew" in caplog.text
    opened = -(puppet.open_mouth + puppet.shift) * puppet.scale
    assert np.allclose(puppet.closed[:48, :2], opened[:48]) and (puppet.closed[66, 1] - puppet.closed[62, 1]) < 0.06


@pytest.mark.parametrize("portrait", ["obama.jpg", "angelina.jpg", "paint_boy.jpg", "full_body_1.png"])
def test_real_portraits_and_paintings_have_a_face(real_data, portrait):
    found = read_portrait(real_data / "portraits" / portrait, FaceFinder(detector="dlib"))
    assert found.face.shape == (256, 256, 3) and (found.landmarks > 0).all() and (found.landmarks < 256).all()


def test_a_missing_table_of_a_character_says_how_to_make_it(character):
    character.with_name("disc_scale_shift.txt").unlink()
    with pytest.raises(MediaError, match=r"scale_shift.*talkingface puppet"):
        read_puppet(character)
