"""PC-AVS: its networks, its files, what it hears and sees, and what it generates."""

import logging
import wave
from dataclasses import replace

import av
import cv2
import numpy as np
import pytest
import torch

from talkingface.cli import load_config, main, parse_arguments
from talkingface.config import Config
from talkingface.dataset.base import Clip
from talkingface.dataset.pc_avs import STILL, DrivenClip
from talkingface.errors import CheckpointError, ConfigError, FaceError, MediaError, MissingWeightsError
from talkingface.face.finder import FaceFinder
from talkingface.face.landmarks import LandmarkTrack
from talkingface.media.audio import load_audio, write_audio
from talkingface.media.image import write_image
from talkingface.media.video import Video, write_video
from talkingface.model.pc_avs import PC_AVS, faces, speech
from talkingface.model.pc_avs.model import PoseCodes, held_on, there_and_back
from talkingface.model.pc_avs.networks import Generator, Widths
from talkingface.quick_start import generate

TINY = {"width": 0.1, "image_size": 64, "num_classes": 3}
PLACE = np.array([(87.0, 59.0), (137.0, 59.0), (112.0, 120.0)])


def make_model(seed=0, **settings):
    torch.manual_seed(seed)
    return PC_AVS(**{**TINY, **settings}).eval()


@pytest.fixture(scope="module")
def model():
    """A small model that no test changes."""
    return make_model()


def face(number, size=(224, 224)):
    """A smooth picture of its own."""
    down, right = np.meshgrid(*(np.linspace(0, 3, side) for side in size), indexing="ij")
    waves = [np.sin(down * (1 + number % 7) + channel) + np.cos(right * (2 + number % 5) - channel) for channel in range(3)]
    return (127 + 60 * np.stack(waves, axis=2)).astype(np.uint8)


def video(path, count, size=(224, 224), fps=25.0, first=0):
    write_video(path, (face(first + t, size) for t in range(count)), fps, lossless=True)
    return path


def sound(path, seconds, seed=0):
    write_audio(path, np.random.default_rng(seed).uniform(-0.3, 0.3, round(16_000 * seconds)).astype(np.float32))
    return path


def landmarks(centers, scale=1.0):
    """(T, 68, 2) float32: eyes and mouth as in an aligned face of `scale`, moved to centers (T, 2)."""
    points = np.zeros((len(centers), 68, 2), np.float32)
    for part, place in zip((slice(36, 42), slice(42, 48), slice(48, 68)), PLACE, strict=True):
        points[:, part] = ((place - PLACE.mean(axis=0)) * scale + np.asarray(centers))[:, None]
    return points


class KnownFaces(FaceFinder):
    """Landmarks that are known; counts how often it was asked."""

    def __init__(self, points, detected=None):
        super().__init__(detector="files")
        self.points, self.asked = points, 0
        self.detected = np.isfinite(points).all(axis=(1, 2)) if detected is None else np.array(detected)

    def landmarks(self, video, boxes=None):
        self.asked += 1
        return LandmarkTrack(self.points[: len(video)], self.detected[: len(video)])


@pytest.fixture
def clip(tmp_path):
    """Half a second of speech, an identity picture, and three pose frames: shorter than the speech."""
    write_image(tmp_path / "who.png", face(3))
    return Clip("clip", tmp_path / "who.png", sound(tmp_path / "speech.wav", 0.5), pose=video(tmp_path / "pose.mkv", 3, first=5))


def images(model, clip):
    return np.stack([frame.image for frame in model.generate(clip)])


def unrounded(model, clip):
    """Frames as they leave the generator: an untrained one shows less of a pose than 8 bits hold."""
    with torch.inference_mode():
        return torch.cat(list(model.batches(clip))).numpy()


def counting(module):
    """Count the rows that a network is given."""
    counts = []
    module.register_forward_pre_hook(lambda _, given: counts.append(len(given[0])))
    return counts


# --- networks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "side"), [(0.1, 64), (0.2, 96)])
def test_the_generator_doubles_its_start_five_times(width, side):
    net, widths = Generator(width, side), Widths.of(width)
    style = torch.randn(2, widths.style)
    picture = net(style, torch.randn(2, widths.levels[0], side // 32, side // 32))
    assert picture.shape == (2, 3, side, side) and picture.abs().max() <= 1
    assert [factors.shape[1] for factors in net.color_factors(style)] == list(widths.levels)
    assert [noise.shape[-1] for noise in net.stored_noise()] == [
        s for k, s in enumerate(side // 32 << np.arange(6)) for _ in range(1 + (k > 0))
    ]


def test_a_new_generator_starts_as_stylegan_does():
    net = Generator(0.1, 64)
    modulations = [module for name, module in net.named_modules() if name.endswith("modulation")]
    assert all((module.bias == 1).all() for module in modulations)
    assert all(0.8 < module.weight.std() < 1.2 for module in modulations) and 0.9 < net.convs[0].conv.weight.std() < 1.1
    assert all(module.weight == 0 for name, module in net.named_modules() if name.endswith(".noise"))


OUT_OF_RANGE = {
    "noise": "loud", "align": "maybe", "align_smooth": -1.0, "borders": "none", "identity_frame": "last", "num_inputs": 0,
    "image_size": 100, "pose_dim": 500,
}  # fmt: skip


@pytest.mark.parametrize("key", OUT_OF_RANGE)
def test_settings_out_of_range_are_refused(key):
    with pytest.raises(ConfigError, match=f"PC_AVS.{key}: expected"):
        PC_AVS(**{**TINY, key: OUT_OF_RANGE[key]})


# --- files ------------------------------------------------------------------------------------------------------------


def official(model, folder, change=lambda network, state: state):
    """The authors' files of a model's weights, and a fifth one that nobody asks for."""
    folder.mkdir(parents=True)
    for network, file in model.files.items():
        torch.save(change(network, dict(getattr(model, network).state_dict())), folder / file)
    torch.save({"something": torch.zeros(3)}, folder / "latest_net_X.pth")
    return folder


def same(one, other):
    """Whether two models agree in all that generation depends on."""
    heads = ("classifier", "mouth_fc", "headpose_fc", "speech.fc", "identity.fc")
    mine, theirs = one.state_dict(), other.state_dict()
    return all(torch.equal(mine[name], theirs[name]) for name in mine if not any(head in name for head in heads))


@pytest.mark.parametrize("place", ["PC_AVS/demo", "PC_AVS/demo/latest_net_G.pth", "PC_AVS", "PC_AVS/simple_model.pth", "demo"])
def test_the_official_folder_is_found_by_each_of_its_paths(model, tmp_path, place):
    official(model, tmp_path / ("demo" if place == "demo" else "PC_AVS/demo"))
    other = make_model(1)
    assert set(other.load(tmp_path / place, other.generates_with)) == set(model.files)
    assert same(model, other)


def test_the_official_folder_beside_is_found(model, tmp_path):
    official(model, tmp_path / "demo")
    assert len(make_model(1).load(tmp_path / "PC_AVS")) == 4


def test_another_epoch_has_other_names(model, tmp_path):
    official(make_model(which_epoch="20"), tmp_path / "demo")
    assert len(make_model(1, which_epoch="20").load(tmp_path / "demo")) == 4
    with pytest.raises(MissingWeightsError, match="latest_net_G"):
        make_model(1).load(tmp_path / "demo")


def old_names(network, state):
    new = {"to_mouth": "mapper", "mouth_embed": "mapper2small", "to_headpose": "pure_pose", "headpose_embed": "pure_pose2small"}
    return {".".join([new.get(part, part) for part in name.split(".")]): tensor for name, tensor in state.items()}


def other_heads(network, state):
    """Heads of other sizes, and one that is not there."""
    resized = {
        name: tensor[:1].clone() for name, tensor in state.items() if name.startswith(("fc.", "mouth_fc.", "headpose_fc."))
    }
    return {name: resized.get(name, tensor) for name, tensor in state.items() if not name.startswith("classifier.")}


def dead_weights(network, state):
    return {**state, "style.1.weight": torch.zeros(4, 4), "model.fc.bias" if network == "identity" else "more": torch.zeros(10)}


def in_parallel(network, state):
    return {f"module.{name}": tensor for name, tensor in state.items()}


@pytest.mark.parametrize("change", [old_names, other_heads, dead_weights, in_parallel])
def test_what_the_official_files_may_differ_in_is_taken(model, tmp_path, change):
    other = make_model(1)
    other.load(official(model, tmp_path / "demo", change), other.generates_with)
    assert same(model, other)


def test_heads_that_do_not_fit_are_named(model, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        make_model(1).load(official(model, tmp_path / "demo", other_heads))
    assert "classifier, headpose_fc, mouth_fc not taken" in caplog.text


@pytest.mark.parametrize("entry", ["convs.3.conv.weight", "noises.noise_4", "input.input"])
def test_anything_else_that_is_missing_is_an_error(model, tmp_path, entry):
    cut = official(model, tmp_path / "demo", lambda network, state: {n: t for n, t in state.items() if n != entry})
    with pytest.raises(CheckpointError, match=rf"latest_net_G.pth does not fit Generator: 1 missing \({entry}\)"):
        make_model(1).load(cut)


def test_a_missing_file_is_named(model, tmp_path):
    folder = official(model, tmp_path / "demo")
    (folder / "latest_net_E.pth").unlink()
    with pytest.raises(MissingWeightsError, match=r"not the pose_mouth .*latest_net_E\.pth"):
        make_model(1).load(folder, PC_AVS.generates_with)


def test_files_in_each_others_place_are_recognized(tmp_path):
    full = PC_AVS(1.0)
    torch.save(full.speech.state_dict(), tmp_path / "latest_net_E.pth")
    with pytest.raises(
        CheckpointError, match=r"file of another network: the speech network of PC-AVS \(latest_net_A_sync\.pth\)"
    ):
        full.load(tmp_path)


# --- speech -----------------------------------------------------------------------------------------------------------


def test_a_spectrogram_does_not_depend_on_loudness_or_blocks(tmp_path, monkeypatch):
    wav = np.random.default_rng(1).uniform(-0.2, 0.2, 30_000).astype(np.float32)
    write_audio(tmp_path / "a.wav", wav)
    wav = load_audio(tmp_path / "a.wav")
    whole = speech.spectrogram(wav)
    assert whole.shape == (7 + 188, 80) and whole.min() >= 0 and whole.max() <= 1
    assert np.abs(whole - speech.spectrogram(wav * 3)).max() < 1e-5
    heard = speech.Speech(tmp_path / "a.wav")
    assert heard.rows == len(whole) and np.abs(np.concatenate(list(heard.blocks())) - whole).max() < 1e-5


def test_windows_are_those_of_the_authors_and_silent_outside_of_the_speech(tmp_path):
    heard = speech.Speech(sound(tmp_path / "a.wav", 0.7))
    rows = np.concatenate(list(heard.blocks()))
    frames = speech.published_frames(len(rows))
    assert frames.tolist() == list(range(2, len(rows) // 4 - 2))
    windows = list(heard.windows(0, heard.frames))
    assert len(windows) == heard.frames == round(0.7 * 25)
    padded = np.concatenate((np.zeros((8, 80)), rows, np.zeros((20, 80))))
    for frame, window in enumerate(windows):
        assert np.array_equal(window, padded[4 * frame : 4 * frame + 20].T)
    assert all(np.array_equal(windows[f], speech.window(rows, f)) for f in frames[frames < len(windows)])
    assert np.array_equal(list(heard.windows(2, 3)), windows[2:5])


def test_a_part_of_the_speech_is_silent_where_there_is_none(tmp_path):
    heard = speech.Speech(sound(tmp_path / "a.wav", 0.4))
    rows = np.concatenate(list(heard.blocks()))
    part = heard.part(30, 40)
    assert np.array_equal(part[: len(rows) - 30], rows[30:]) and not part[len(rows) - 30 :].any()


def test_speech_shorter_than_one_clip_is_refused(tmp_path):
    with pytest.raises(MediaError, match=r"short\.wav is 0\.10 s long; PC-AVS needs at least 0\.13 s"):
        speech.Speech(sound(tmp_path / "short.wav", 0.1))
    assert speech.Speech(sound(tmp_path / "enough.wav", 0.13)).frames == 3


def test_a_stored_spectrogram_replaces_the_sound(tmp_path, model, clip):
    np.save(tmp_path / "speech.npy", np.concatenate(list(speech.Speech(clip.audio).blocks())))
    stored = replace(DrivenClip.of(clip), spectrogram=tmp_path / "speech.npy")
    other = sound(tmp_path / "other.wav", 0.9, seed=5)
    assert np.array_equal(images(model, clip), images(model, replace(stored, audio=other)))
    np.save(tmp_path / "speech.npy", np.zeros((80, 200), np.float32))
    with pytest.raises(MediaError, match=r"speech\.npy holds \(80, 200\); a spectrogram is \(T, 80\)"):
        images(model, stored)


def with_cover(path, wav):
    """A real mp3 with a cover picture, which is a video stream."""
    with av.open(str(path), "w", format="mp3") as container:
        track = container.add_stream("libmp3lame", rate=16_000, layout="mono")
        cover = container.add_stream("png", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "rgb24"
        cover.disposition = av.stream.Disposition.attached_pic
        container.mux(cover.encode(av.VideoFrame.from_ndarray(face(1, (64, 64)), format="rgb24")))
        container.mux(cover.encode(None))
        frame = av.AudioFrame.from_ndarray((wav[None] * 32767).astype(np.int16), format="s16", layout="mono")
        frame.sample_rate = 16_000
        resampler = av.AudioResampler("s16p", "mono", 16_000, frame_size=track.codec_context.frame_size or 1152)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(track.encode(piece))
        container.mux(track.encode(None))


def test_speech_may_be_in_an_mp3_with_a_cover_picture_a_video_or_a_wav_of_any_name(tmp_path, model, clip):
    wav = load_audio(clip.audio)
    with_cover(tmp_path / "song.mp3", wav)
    (tmp_path / "named.mp3").write_bytes(clip.audio.read_bytes())
    write_video(tmp_path / "talk.mp4", (face(t, (64, 64)) for t in range(13)), 25, wav)
    with wave.open(str(tmp_path / "named.mp3")):
        same = images(model, replace(clip, audio=tmp_path / "named.mp3"))
    assert np.array_equal(same, images(model, clip))
    for name in ("song.mp3", "talk.mp4"):
        assert abs(len(images(model, replace(clip, audio=tmp_path / name))) - len(same)) <= 2


# --- faces ------------------------------------------------------------------------------------------------------------


def test_the_mouth_stays_in_place_and_scale_and_turn_are_the_videos():
    centers = 200 + np.cumsum(np.random.default_rng(0).normal(size=(30, 2)), axis=0)
    points = faces.three_points(landmarks(centers, scale=2.0))
    maps = faces.frame_maps(points)
    assert np.allclose(maps[:, :, :2], maps[0, :, :2]) and np.allclose(maps[0, :, :2], 0.5 * np.eye(2))
    mouths = np.einsum("tij,tj->ti", maps[:, :, :2], points[:, 2]) + maps[:, :, 2]
    assert np.allclose(mouths[0], PLACE[2], atol=1e-3) and np.abs(mouths - PLACE[2]).max() < 0.5


def test_smoothing_takes_the_shaking_away():
    path = np.linspace(0, 30, 60)[:, None] * [1.0, 0.3]
    noise = np.random.default_rng(0).normal(0, 1.5, (60, 2))
    still = faces.frame_maps(faces.three_points(landmarks(200 + path)))[:, :, 2]
    shaking, smooth = (
        faces.frame_maps(faces.three_points(landmarks(200 + path + noise)), seconds)[:, :, 2] for seconds in (0.0, 0.2)
    )
    jerk = [np.abs(np.diff(shifts, 2, axis=0)).mean() for shifts in (shaking, smooth)]
    assert jerk[1] < 0.15 * jerk[0] and np.abs(smooth - still)[10:-10].max() < np.abs(shaking - still)[10:-10].max()


def test_a_smoothed_crop_does_not_nod_as_the_lips_open():
    points = faces.three_points(landmarks(np.full((60, 2), 200.0)))
    points[:, 2, 1] += 4 * np.sin(np.arange(60))
    nodding, steady = (faces.frame_maps(points, seconds) for seconds in (0.0, 0.05))
    assert np.ptp(steady[:, 1, 2]) < 0.3 * np.ptp(nodding[:, 1, 2])
    mouths = np.einsum("tij,tj->ti", steady[:, :, :2], points[:, 2]) + steady[:, :, 2]
    assert np.allclose(mouths.mean(axis=0), PLACE[2], atol=0.1)


@pytest.mark.slow
def test_a_real_face_trembles_less_when_its_crop_is_steadied(real_data):
    with np.load(real_data / "landmarks" / "wild_vrt_2.npz") as stored:
        points = faces.three_points(stored["landmarks"][:75])
    frames = Video(real_data / "wild" / "vrt_2.mp4").read()[:75]
    authors, steady = (trembling(frames, faces.frame_maps(points, seconds)) for seconds in (0.0, 0.05))
    assert steady < 0.7 * authors


def trembling(frames, maps):
    """Mean second difference of where the upper half of the face lies in its crop, pixels."""
    crops = [cv2.cvtColor(faces.cut(*pair, reduce=True), cv2.COLOR_RGB2GRAY) for pair in zip(frames, maps, strict=True)]
    upper = [crop[16:96, 48:176].astype(np.float32) for crop in crops]
    window = cv2.createHanningWindow((128, 80), cv2.CV_32F)
    moves = np.array([cv2.phaseCorrelate(one, other, window)[0] for one, other in zip(upper, upper[1:], strict=False)])
    return np.linalg.norm(np.diff(moves, axis=0), axis=1).mean()


def test_frames_without_a_face_keep_the_place_of_the_one_before_and_are_counted(tmp_path, caplog):
    points = landmarks(np.linspace(150, 170, 10)[:, None] * [1.0, 1.0])
    points[[0, 5, 6]] = np.nan
    maps = faces.frame_maps(faces.three_points(points))
    assert np.isfinite(maps).all() and np.allclose(maps[5], maps[4], atol=0.5) and np.allclose(maps[0], maps[1], atol=1e-6)
    detected = np.isfinite(points).all(axis=(1, 2)) & (np.arange(10) != 8)
    shown = faces.FaceVideo(video(tmp_path / "a.mkv", 10, (300, 320)), KnownFaces(points, detected))
    assert len(list(shown)) == 10 and list(shown.with_face()) == [1, 2, 3, 4, 7, 9]
    report = "no face was found in 4 of 10 frames (0, 5-6, 8): 1 bridged between their neighbors, 3 held where the last face was"
    assert report in caplog.text


def test_many_frames_without_a_face_are_named_as_far_as_a_line_holds_them():
    assert faces.spans(np.array([3])) == "3" and faces.spans(np.arange(4, 9)) == "4-8"
    assert faces.spans(np.arange(0, 40, 2), most=3) == "0, 2, 4 and 17 more"


def test_crops_are_taken_as_they_are_and_other_frames_are_aligned(tmp_path):
    finder = KnownFaces(landmarks(np.full((4, 2), 150.0)))
    crops, frames = video(tmp_path / "crops.mkv", 4), video(tmp_path / "frames.mkv", 4, (300, 320))
    assert np.array_equal(list(faces.FaceVideo(crops, finder)), Video(crops).read()) and finder.asked == 0
    aligned = np.stack(list(faces.FaceVideo(frames, finder)))
    assert aligned.shape == (4, 224, 224, 3) and finder.asked == 1
    left, top = np.round(150 - PLACE.mean(axis=0)).astype(int)
    assert np.abs(aligned[0].astype(int) - Video(frames).read()[0, top : top + 224, left : left + 224]).mean() < 2
    list(faces.FaceVideo(crops, finder, faces.Alignment("always")))
    assert finder.asked == 2
    with pytest.raises(MediaError, match=r"frames\.mkv is 320 x 300: no aligned face of 224 x 224 pixels"):
        faces.FaceVideo(frames, finder, faces.Alignment("never"))
    square = video(tmp_path / "square.mkv", 2, (256, 256))
    assert next(iter(faces.FaceVideo(square, finder, faces.Alignment("never")))).shape == (224, 224, 3)


def test_large_faces_are_reduced_before_they_are_aligned():
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (1200, 1200, 3), np.uint8)
    matrix = np.array([[0.15, 0, 20.0], [0, 0.15, 30.0]])
    sharp, skipped = faces.cut(frame, matrix, reduce=True), faces.cut(frame, matrix)
    inside = (slice(60, 160), slice(60, 160))
    assert sharp[inside].std() < 0.6 * skipped[inside].std()
    smooth = face(1, (1200, 1200))
    assert np.abs(faces.cut(smooth, matrix, reduce=True)[inside].astype(int) - faces.cut(smooth, matrix)[inside]).max() <= 3


def test_the_networks_see_the_top_of_a_face_and_pixels_survive_the_way_there_and_back():
    picture = face(2)
    assert np.array_equal(faces.view(picture, 192), picture[:192, 16:208])
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    back = faces.to_pictures(faces.to_unit(levels) + 1e-3)
    assert np.array_equal(back, levels)


# --- generation -------------------------------------------------------------------------------------------------------


def test_the_head_goes_there_and_back_or_begins_again():
    assert speech.pose_index(np.arange(8), 3).tolist() == [0, 1, 2, 2, 1, 0, 0, 1]
    assert speech.pose_index(np.arange(8), 3, loop=True).tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert speech.pose_index(np.arange(4), 1).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("loop", [False, True])
def test_each_pose_is_computed_once_and_pictures_come_back_in_order(loop):
    asked = []

    def encode(pictures):
        asked.extend(int(p[0, 0, 0]) for p in pictures)
        return torch.tensor([[float(p[0, 0, 0])] for p in pictures])

    pictures = [np.full((2, 2, 3), number, np.uint8) for number in range(5)]
    poses = PoseCodes(pictures, encode, 2)
    found = [poses.at(np.arange(first, first + 4), loop)[:, 0].tolist() for first in (0, 4, 8, 0)]
    expected = [speech.pose_index(np.arange(first, first + 4), 5, loop).tolist() for first in (0, 4, 8, 0)]
    assert found == expected and asked == [0, 1, 2, 3, 4]
    shown = [int(p[0, 0, 0]) for p in there_and_back(pictures, range(2, 14), loop)]
    assert shown == speech.pose_index(np.arange(2, 14), 5, loop).tolist()
    assert [int(p[0, 0, 0]) for p in held_on(pictures, range(3, 8))] == [3, 4, 4, 4, 4]


def test_every_combination_of_inputs_speaks(tmp_path, model, clip):
    folder = tmp_path / "head"
    for number in range(4):
        write_image(folder / f"{number:06d}.png", face(number))
    who = {"picture": clip.face, "video": video(tmp_path / "who.mkv", 3), "folder": folder}
    poses = {"video": clip.pose, "picture": clip.face, "folder": folder, "still": STILL, "unnamed": None}
    made = {(w, p): unrounded(model, replace(clip, face=path, pose=pose)) for w, path in who.items() for p, pose in poses.items()}
    assert {frames.shape for frames in made.values()} == {(12, 3, 64, 64)}
    assert np.array_equal(made["picture", "picture"], made["picture", "still"])
    assert np.array_equal(made["picture", "unnamed"], made["picture", "still"])
    assert not np.array_equal(made["folder", "unnamed"], made["folder", "still"])  # a video's own motion
    assert np.array_equal(made["folder", "unnamed"], made["folder", "folder"])


def test_inputs_of_different_sizes_are_aligned_each_on_its_own(tmp_path, clip):
    model = make_model()
    model.faces = KnownFaces(landmarks(np.full((3, 2), 150.0)))
    odd = replace(clip, pose=video(tmp_path / "odd.mkv", 3, (301, 333)))
    assert images(model, odd).shape == (12, 64, 64, 3) and model.faces.asked == 1


def test_a_file_without_a_face_is_named(tmp_path, clip):
    model = make_model()
    model.faces = FaceFinder(detector="dlib")
    with pytest.raises(FaceError, match=r"blank\.png: no face"):
        write_image(tmp_path / "blank.png", np.zeros((100, 120, 3), np.uint8))
        images(model, replace(clip, face=tmp_path / "blank.png"))


def test_borders_are_padded_or_cut_and_the_sound_begins_with_the_first_frame(clip):
    padded, cut = make_model(), make_model(borders="cut")
    frames, fewer = images(padded, clip), images(cut, clip)
    assert len(frames) == 12 and len(fewer) == (7 + 50) // 4 - 4
    assert np.array_equal(frames[2 : 2 + len(fewer)], fewer)
    assert padded.sound(clip) == clip.audio
    assert np.array_equal(cut.sound(clip), load_audio(clip.audio)[1280:])  # frame 0 is the video's frame 2: 80 ms


def test_a_still_head_is_that_of_the_identity_pictures(tmp_path, clip):
    fixed, driven = make_model(driving_pose=False), make_model()
    assert np.array_equal(images(fixed, clip), images(driven, replace(clip, pose=clip.face)))
    assert np.array_equal(images(make_model(own_pose="still"), replace(clip, face=clip.pose, pose=None)),
                          images(driven, replace(clip, face=clip.pose, pose=STILL)))  # fmt: skip


def test_identity_pictures_are_chosen_by_rule_and_averaged(tmp_path):
    path = video(tmp_path / "who.mkv", 9)
    reals = faces.to_unit(np.stack([faces.view(frame, 64) for frame in Video(path)]))

    def used(**settings):
        model = make_model(**settings)
        shown = model.identity_pictures(model.face_video(path))
        return [int((reals - picture).abs().sum(dim=(1, 2, 3)).argmin()) for picture in shown]

    assert used() == [0] and used(num_inputs=3) == [0, 1, 2] and used(num_inputs=20) == list(range(9))
    assert used(identity_frame="middle") == [4] and used(identity_frame="middle", num_inputs=3) == [1, 4, 7]
    random = used(identity_frame="random", num_inputs=3)
    assert random == used(identity_frame="random", num_inputs=3) and len(set(random)) == 3
    assert len({tuple(used(seed=seed, identity_frame="random")) for seed in range(6)}) > 1
    model = make_model(num_inputs=3)
    pooled, spatial = model.identity_of(model.face_video(path))
    each = [model.identity.encode(reals[k : k + 1]) for k in range(3)]
    assert torch.allclose(pooled, sum(one[0] for one in each) / 3, atol=1e-5)
    assert torch.allclose(spatial, sum(one[1] for one in each) / 3, atol=1e-5)


def test_noise_depends_on_seed_and_frame_alone(clip):
    def noisy(**settings):
        model = make_model(**settings)
        for name, parameter in model.generator.named_parameters():
            if name.endswith("noise.weight"):
                torch.nn.init.constant_(parameter, 0.5)
        return model

    model = noisy()
    fresh = images(model, clip)
    assert np.array_equal(fresh, images(model, clip))
    assert np.abs(fresh.astype(int) - images(noisy(batch_size=3), clip)).max() <= 1  # sums in another order
    assert not np.array_equal(fresh[0], fresh[-1])
    stored, none = images(noisy(noise="stored"), clip), images(noisy(noise="none"), clip)
    assert not np.array_equal(stored, none) and not np.array_equal(fresh, stored)
    model.seed += 1
    assert not np.array_equal(fresh, images(model, clip))


def test_nothing_of_a_face_is_computed_again_for_another_speech(tmp_path, clip):
    model = make_model()
    who, poses = counting(model.identity.model), counting(model.pose_mouth)
    first = images(model, clip)
    assert sum(who) == 1 and sum(poses) == 3
    images(model, replace(clip, audio=sound(tmp_path / "other.wav", 1.0, seed=2)))
    assert sum(who) == 1 and sum(poses) == 3
    with torch.no_grad():
        model.identity.conv1x1.weight.mul_(3)
    assert not np.array_equal(images(model, clip), first) and sum(who) == 2 and sum(poses) == 3


def test_the_constant_start_and_the_voice_are_other_ways_to_an_identity(tmp_path, clip):
    assert images(make_model(input_id_feature=False), clip).shape == (12, 64, 64, 3)
    long = replace(clip, audio=sound(tmp_path / "long.wav", 6.0))
    model = make_model(use_audio_id=True, batch_size=64)
    official(model, tmp_path / "demo_id")
    other = make_model(1, use_audio_id=True)
    other.load(tmp_path / "demo_id", other.generates_with)
    assert "voice" in other.load(tmp_path / "demo_id" / "latest_net_A.pth")
    heard = speech.Speech(long.audio)
    with torch.inference_mode():
        one, two = (m.voice_identity(heard).pooled for m in (model, other))
        assert one.shape == (1, Widths.of(0.1).identity) and torch.equal(one, two)
        assert not torch.equal(one, model.voice_identity(speech.Speech(clip.audio)).pooled)
    assert (tmp_path / "demo_id" / "latest_net_A.pth").is_file() and model.generates_with[-1] == "voice"


def test_weights_of_either_speech_network_are_told_apart(tmp_path):
    model = make_model(use_audio_id=True)
    for network in ("speech", "voice"):
        torch.save(getattr(model, network).state_dict(), tmp_path / "some.pth")
        assert make_model(1, use_audio_id=True).load(tmp_path / "some.pth") == [network]


# --- videos -----------------------------------------------------------------------------------------------------------


def test_all_videos_of_the_original_are_written(tmp_path, clip):
    mouth = video(tmp_path / "mouth.mkv", 8, first=9)
    model = make_model(all_videos=True)
    generate(model, replace(clip, truth=mouth), tmp_path / "out.mp4")
    names = {"Input_", "G_Pose_Driven_", "Pose_Source_", "Mouth_Source_", "concat", "avconcat"}
    made = {path.stem: Video(path) for path in (tmp_path / "out").iterdir()}
    assert set(made) == names and {len(part) for part in made.values()} == {12}
    assert [made[name].width for name in ("concat", "avconcat", "Input_")] == [256, 256, 64]
    assert made["avconcat"].has_audio and not made["concat"].has_audio
    side, pose = made["concat"].read()[7].astype(int), next(iter(Video(clip.pose)))
    expected = faces.view(list(Video(clip.pose))[speech.pose_index(7, 3)], 64)
    assert np.abs(side[:, 128:192] - expected).mean() < 8 and pose.shape == (224, 224, 3)
    generate(make_model(all_videos=True, driving_pose=False), clip, tmp_path / "fixed.mp4")
    assert {path.stem for path in (tmp_path / "fixed").iterdir()} == {"Input_", "G_Fix_Pose_", "concat", "avconcat"}
    assert not list(make_model().views(clip, tmp_path / "out.mp4"))


def test_real_frames_are_shown_as_the_generated_ones(tmp_path, clip):
    truth = video(tmp_path / "truth.mkv", 12)
    shown = np.stack(list(make_model().real(replace(clip, truth=truth))))
    assert shown.shape == (12, 64, 64, 3) and np.array_equal(shown[4], faces.view(face(4), 64))
    assert len(list(make_model(borders="cut").real(replace(clip, truth=truth)))) == 10
    assert make_model().real(clip) is None


# --- commands ---------------------------------------------------------------------------------------------------------

AUTHORS = """--name demo --meta_path_vox ./misc/demo.csv --dataset_mode voxtest --netG modulate --netA resseaudio
--netA_sync ressesync --netD multiscale --netV resnext --netE fan --model av --gpu_ids 0 --clip_len 1 --batchSize 16
--style_dim 2560 --nThreads 4 --input_id_feature --generate_interval 1 --style_feature_loss --use_audio 1 --noise_pose
--driving_pose --gen_video --generate_from_audio_only"""


def test_the_authors_options_keep_working(caplog):
    config = load_config(parse_arguments(AUTHORS.split()))
    assert (config["model"], config["dataset"], config["evaluate_model_file"]) == (
        "PC_AVS",
        "PC_AVSDataset",
        "checkpoints/PC_AVS",
    )
    assert config["PC_AVSDataset.meta_path_vox"] == "./misc/demo.csv" and config["PC_AVS.batch_size"] == 16
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith("without effect here: ") and "noise_pose" in message and "batchSize" not in message


def test_a_ports_settings_file_keeps_working(tmp_path):
    old = {"name": "demo", "meta_path_vox": "misc/demo.csv", 'use_audio"': 1, "noise_pose": 1, "driving_pose": 0, "train": 0,
           "input_id_feature": 1, "style_dim": 2560, "metrics": "[SSIM]", "temp_dir": "x"}  # fmt: skip
    lines = [f"{key}: {value}" for key, value in old.items()]
    (tmp_path / "old.yaml").write_text("\n".join(lines))
    config = Config.load("pc-avs", "pc_avs_dataset", [tmp_path / "old.yaml"])
    assert config["PC_AVS.driving_pose"] is False and config["PC_AVS.input_id_feature"] is True
    assert config["evaluation.metrics"] == ["SSIM"]
    with pytest.raises(ConfigError, match="nois_pose"):
        Config.load("PC_AVS", flags=[("nois_pose", "1")])


def test_generate_makes_a_video_of_raw_files(tmp_path, clip, model, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    official(model, tmp_path / "checkpoints/PC_AVS/demo")
    small = [f"--PC_AVS.{key}={value}" for key, value in TINY.items()]
    files = ["--face=who.png", "--audio=speech.wav", "--mouth=pose.mkv"]
    for pose in ("pose.mkv", "none"):
        assert (
            main(["generate", "--model=PC-AVS", *files, f"--pose={pose}", "--pose_loop", "--output=out.mp4", "--quiet", *small])
            == 0
        )
        assert len(Video("out.mp4")) == 12 and Video("out.mp4").has_audio
    assert "12 frames" in capsys.readouterr().out


def test_a_list_is_generated_and_scored_against_the_mouth_video(tmp_path, clip, model, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for folder, count in (("Input/me", 1), ("Pose_Source/head", 5), ("Mouth_Source/me", 13)):
        for number in range(count):
            write_image(tmp_path / "misc" / folder / f"{number:06d}.jpg", face(number))
    (tmp_path / "misc/demo.csv").write_text("misc/Input/me 1 misc/Pose_Source/head 4 speech.wav misc/Mouth_Source/me 13 dummy\n")
    official(model, tmp_path / "checkpoints/PC_AVS/demo")
    small = [f"--PC_AVS.{key}={value}" for key, value in TINY.items()]
    command = ["--model=PC_AVS", "--dataset=PC_AVSDataset", "--evaluate_model_file=./checkpoints/PC_AVS/simple_model.pth",
               "--meta_path_vox=misc/demo.csv", "--metrics=SSIM", "--run_name=run", "--quiet", *small]  # fmt: skip
    assert main(command) == 0
    name = "id_me_pose_head_audio_speech.mp4"
    made, real = Video(f"saved/run/videos/{name}"), Video(f"saved/run/real/{name}")
    assert (len(made), made.width, len(real), real.width) == (12, 64, 13, 64)
    assert "1/1" in capsys.readouterr().out
