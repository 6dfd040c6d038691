"""DAVS: its networks, the faces that it sees, what drives them, and what it generates."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from talkingface.dataset.base import Clip
from talkingface.errors import CheckpointError, ConfigError, FaceError, MediaError
from talkingface.face.finder import FaceFinder
from talkingface.face.landmarks import LandmarkTrack
from talkingface.media.audio import load_audio, write_audio
from talkingface.media.image import read_image, write_image
from talkingface.media.mfcc import SpeechWindows, cepstra, speech_of, write_bin
from talkingface.media.video import Video, write_video
from talkingface.model.davs import DAVS, faces, networks
from talkingface.model.davs.driving import by_lips, by_speech, numbered, with_black_end
from talkingface.model.davs.faces import AUTO, Alignment, FaceVideo
from talkingface.model.davs.networks import FILE
from talkingface.model.davs.tuning import Painter, difference, fine_tune
from talkingface.nn.weights import read_networks
from talkingface.quick_start import generate

TINY = {"width": 0.05, "image_size": 64, "label_size": 2, "id_label_size": 2, "pred_length": 3, "batch_size": 3}
FULL = {
    "ID_encoder": (networks.IdentityEncoder, 15_619_584),
    "mfcc_encoder": (networks.SpeechEncoder, 1_603_136),
    "Decoder": (networks.Decoder, 22_404_547),
    "model_fusion": (networks.WordClassifier, 1_830_389),
    "ID_lip_discriminator": (networks.WordFromPersonClassifier, 1_412_277),
    "discriminator_audio": (networks.ModalityDiscriminator, 66_049),
}
"""Entries of the authors' file and how many values they publish; in FanFusion's and the critics' some are never trained."""


def picture(number=0, side=260):
    """A picture that no other number has."""
    ramp = np.add.outer(np.arange(side), 2 * np.arange(side))
    return np.stack([(ramp * gain // 3 + 29 * number) % 256 for gain in (1, 2, 3)], axis=2).astype(np.uint8)


def speech(path, seconds=0.6, seed=0):
    write_audio(path, np.random.default_rng(seed).uniform(-0.3, 0.3, int(16_000 * seconds)).astype(np.float32))
    return path


def frames_in(folder, numbers=range(2, 8), side=260):
    for number in numbers:
        write_image(folder / f"{number}.jpg", picture(number, side))
    return folder


def windows_in(folder, numbers=range(2, 8)):
    for number in numbers:
        write_bin(folder / f"{number}.bin", np.random.default_rng(number).standard_normal((20, 12)))
    return folder


def make_model(seed=0, **settings):
    torch.manual_seed(seed)
    return DAVS(**{**TINY, **settings}).eval()


@pytest.fixture
def clip(tmp_path):
    """A picture of 260 x 260 and 0.6 s of speech."""
    write_image(tmp_path / "ann.png", picture())
    return Clip("ann", tmp_path / "ann.png", speech(tmp_path / "speech.wav"))


def pictures(model, clip):
    return [frame.image for frame in model.generate(clip)]


# --- networks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", FULL)
def test_networks_have_as_many_values_as_published(entry):
    network, count = FULL[entry]
    made = network()
    unused = [module for module in made.modules() if isinstance(module, networks.Unused)]
    kept = sum(buffer.numel() for module in unused for name, buffer in module.named_buffers() if not name.startswith("running"))
    assert sum(parameter.numel() for parameter in made.parameters()) + kept == count


def test_upsampling_keeps_corners():
    x = torch.arange(4.0).view(1, 1, 2, 2)
    assert torch.allclose(networks.enlarged(x)[0, 0, 0], torch.tensor([0, 1 / 3, 2 / 3, 1]))


def test_one_person_serves_any_number_of_words():
    model = make_model()
    with torch.no_grad():
        person, words = model.identity(torch.rand(1, 3, 64, 64)), torch.randn(3, 256)
        together = model.decoder(person, words)
        single = torch.cat([model.decoder(person, one) for one in words.split(1)])
    assert together.shape == (3, 3, 64, 64) and torch.allclose(together, single, atol=1e-5)


def test_clips_may_come_as_frames_in_time():
    encoder, frames = make_model().identity, torch.rand(2, 3, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(encoder(frames)[0], encoder(frames.flatten(0, 1))[0])


# --- faces ------------------------------------------------------------------------------------------------------------


def face_points(center=(150.0, 120.0), size=60.0, angle=0.0):
    """Eyes, nose and corners of the mouth of a face, (5, 2)."""
    shape = np.array([(-0.4, -0.4), (0.4, -0.4), (0, 0), (-0.3, 0.5), (0.3, 0.5)]) * size
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return shape @ turn.T + center


class MovingFinder(FaceFinder):
    """68 landmarks about `face_points`; one set of them per frame."""

    def __init__(self, points, without=()):
        super().__init__()
        self.points, self.without = points, without

    def landmarks(self, video, boxes=None):
        landmarks = np.zeros((len(video), 68, 2))
        for t in range(len(video)):
            points = self.points[min(t, len(self.points) - 1)]
            landmarks[t, 36:42], landmarks[t, 42:48], landmarks[t, 30] = points[0], points[1], points[2]
            landmarks[t, 48], landmarks[t, 54] = points[3], points[4]
        landmarks[list(self.without)] = np.nan
        return LandmarkTrack(landmarks, ~np.isnan(landmarks).any(axis=(1, 2)))


@pytest.mark.parametrize("angle", [0.0, 0.3, -0.5])
def test_alignment_brings_eyes_and_mouth_to_their_places(angle):
    points = faces.three_points(face_points(angle=angle))
    moved = faces.cut_points(points, faces.alignment(points))
    at_home = faces.cut_points(faces.TEMPLATE, np.eye(2, 3))
    assert np.abs(moved - at_home).max() < 12  # faces differ in proportion, but neither in place nor in turn
    assert abs(moved[0, 1] - moved[1, 1]) < 1e-6
    assert np.allclose(moved.mean(axis=0), at_home.mean(axis=0))


def test_what_is_aligned_is_cut_and_what_is_not_is_found(tmp_path):
    for side in (256, 260, 300):
        write_image(tmp_path / f"{side}.png", picture(side=side))
    finder = MovingFinder([face_points()])
    aligned = {side: FaceVideo(tmp_path / f"{side}.png", finder) for side in (256, 260, 300)}
    assert [aligned[side].is_aligned for side in (256, 260, 300)] == [True, True, False]
    assert [next(iter(aligned[side])).shape for side in (256, 260, 300)] == [(256, 256, 3), (260, 260, 3), (260, 260, 3)]
    assert np.array_equal(next(iter(aligned[260])), picture())
    assert not FaceVideo(tmp_path / "260.png", finder, Alignment("always")).is_aligned
    assert next(iter(FaceVideo(tmp_path / "300.png", finder, Alignment("never")))).shape == (260, 260, 3)


def test_a_face_of_256_loses_its_first_rows_as_the_authors_demo_pictures_do():
    face = picture(side=256)
    assert np.array_equal(faces.shown(picture(), 256), picture()[2:258, 2:258].astype(np.float32) / 255)
    assert np.allclose(faces.shown(face, 256)[0, 0], face[2, 2] / 255, atol=0.02)
    assert faces.shown(face, 64).shape == (64, 64, 3) and faces.shown(face, 64).max() <= 1


def test_a_picture_that_is_no_square_is_no_aligned_face(tmp_path):
    write_image(tmp_path / "wide.png", picture()[:200])
    with pytest.raises(MediaError, match=r"260 x 200.*--DAVS.align=auto"):
        FaceVideo(tmp_path / "wide.png", FaceFinder(), Alignment("never"))


def shaking(tmp_path, frames=12):
    """A video, and points whose scale and place jump from frame to frame."""
    rng = np.random.default_rng(0)
    write_video(tmp_path / "shaking.mkv", (picture(0, 300)[:240] for _ in range(frames)), 25, lossless=True)
    return tmp_path / "shaking.mkv", [face_points(size=60 * (1 + 0.05 * rng.standard_normal())) for _ in range(frames)]


def test_smoothing_calms_the_zoom_of_a_crop(tmp_path):
    video, points = shaking(tmp_path)

    def jitter(smooth):
        maps, _ = FaceVideo(video, MovingFinder(points), Alignment(smooth=smooth)).track
        return np.diff(np.hypot(maps[:, 0, 0], maps[:, 1, 0])).std()

    assert jitter(0.2) < 0.2 * jitter(0.0)


def test_frames_without_a_face_keep_the_place_and_the_first_with_one_says_who_it_is(tmp_path, caplog):
    video, points = shaking(tmp_path)
    face = FaceVideo(video, MovingFinder(points, without=(0, 1, 5)))
    maps, seen = face.track
    assert np.array_equal(maps[0], maps[2]) and np.array_equal(maps[5], maps[4])
    assert list(np.flatnonzero(~seen)) == [0, 1, 5] and "3 of 12 frames have no face" in caplog.text
    assert np.array_equal(face.first(), list(face)[2])
    with pytest.raises(FaceError, match="no frame has a face"):
        _ = FaceVideo(video, MovingFinder(points, without=range(12))).track


# --- points from a .mat file --------------------------------------------------------------------------------------------


def save_mat(path, **arrays):
    from scipy.io import savemat

    savemat(path, arrays)
    return path


@pytest.mark.parametrize("shape", [(10,), (5, 2)])
def test_points_come_from_a_mat_file_beside_the_video(tmp_path, shape):
    video, points = shaking(tmp_path)
    save_mat(tmp_path / "shaking.mat", points=np.reshape(points, (12, *shape)), name="ann")
    found, seen = faces.points_of(Video(video, fps=25), FaceFinder())
    assert np.allclose(found, points) and seen.all()


def test_points_of_fewer_pictures_than_there_are_say_so(tmp_path):
    folder = frames_in(tmp_path / "talk", range(6), side=300)
    save_mat(tmp_path / "talk.mat", points=np.reshape([face_points()] * 4, (4, 10)))
    with pytest.raises(FaceError, match=r"talk.mat has points of 4 pictures, and .*talk has 6"):
        _ = FaceVideo(folder, FaceFinder()).track


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"points": np.zeros((4, 9))}, r"points \(4, 9\); expected one table with 10 numbers"),
        ({"a": np.zeros((4, 10)), "b": np.zeros((4, 10))}, "expected one table"),
        ({"name": "ann"}, "no numbers"),
    ],
)
def test_mat_files_without_one_table_of_points_are_refused(tmp_path, arrays, reason):
    with pytest.raises(FaceError, match=reason):
        faces.read_mat(save_mat(tmp_path / "points.mat", **arrays))


@pytest.mark.parametrize("content", [b"", b"no matlab", b"MATLAB 5.0 MAT-file" + bytes(40)])
def test_a_damaged_mat_file_is_named(tmp_path, content):
    (tmp_path / "points.mat").write_bytes(content)
    with pytest.raises(FaceError, match="points.mat"):
        faces.read_mat(tmp_path / "points.mat")


# --- what drives --------------------------------------------------------------------------------------------------------


def test_folders_are_read_by_frame_number(tmp_path):
    files, first = numbered(windows_in(tmp_path / "mfcc20", range(2, 13)), (".bin",))
    assert first == 2 and [path.name for path in files] == [f"{number}.bin" for number in range(2, 13)]


def test_a_gap_in_a_folder_is_named(tmp_path):
    folder = windows_in(tmp_path / "speech", [2, 3, 5, 6, 9])
    with pytest.raises(MediaError, match=r"4.bin and 2 more are missing between 2 and 9"):
        by_speech(folder, pad=False)
    (folder / "9.bin").unlink()
    with pytest.raises(MediaError, match=r"4.bin is missing"):
        by_speech(folder, pad=False)


def test_the_other_kind_of_stream_is_recognised(tmp_path):
    with pytest.raises(MediaError, match="set --DAVS.test_type=audio"):
        by_lips(windows_in(tmp_path / "bins"), FaceFinder(), AUTO, 64)
    with pytest.raises(MediaError, match="set --DAVS.test_type=video"):
        by_speech(frames_in(tmp_path / "frames"), pad=False)
    with pytest.raises(MediaError, match="Name one of the folders in it: audio, video"):
        (tmp_path / "both" / "audio").mkdir(parents=True), (tmp_path / "both" / "video").mkdir()
        by_speech(tmp_path / "both", pad=False)
    with pytest.raises(MediaError, match="is a still"):
        by_lips(tmp_path / "frames" / "2.jpg", FaceFinder(), AUTO, 64)


def test_a_window_of_the_wrong_length_is_named_with_what_it_should_be(tmp_path):
    folder = windows_in(tmp_path / "speech")
    (folder / "4.bin").write_bytes(bytes(8 * 239))
    with pytest.raises(MediaError, match=r"4.bin has 1912 bytes; a window of speech has 1920"):
        list(by_speech(folder, pad=False).items)


def test_a_prepared_clip_drives_by_the_part_that_is_needed_and_is_heard(tmp_path):
    root = tmp_path / "clip_7"
    frames_in(root / "align_face256"), windows_in(root / "mfcc20"), speech(root / "clip_7.wav")
    for named in (root, root / "align_face256", root / "mfcc20"):
        heard, seen = by_speech(named, pad=False), by_lips(named, FaceFinder(), AUTO, 64)
        assert (heard.first, seen.first) == (2, 2) and heard.sound == seen.sound == root / "clip_7.wav"
        assert (len(list(heard.items)), len(list(seen.items))) == (6, 6)


def test_the_authors_slip_is_two_black_faces():
    items = [np.full((2, 2, 3), value, np.float32) for value in (1, 2, 3, 4)]
    assert [item.max() for item in with_black_end(items, 6)] == [1, 2, 3, 4, 0, 0]
    assert [item.max() for item in with_black_end(items, 4)] == [1, 2, 0, 0]


def test_windows_of_a_sound_are_those_of_its_coefficients(tmp_path):
    path = speech(tmp_path / "speech.wav", 0.6)
    rows, driving = cepstra(speech_of(path))[:, 1:], by_speech(path, pad=False)
    assert driving.first == 2 and np.allclose(next(iter(driving.items)), rows[:20])
    assert len(list(by_speech(path, pad=True).items)) == 15  # 0.6 s at 25 per second


# --- generation -------------------------------------------------------------------------------------------------------


def test_speech_makes_a_frame_for_each_moment_of_it(clip):
    made = pictures(make_model(fine_tune_steps=0), clip)
    assert len(made) == 15 and made[0].shape == (64, 64, 3) and made[0].dtype == np.uint8


def test_cut_borders_make_the_authors_frames_and_the_sound_begins_with_them(clip):
    padded, cut = make_model(fine_tune_steps=0), make_model(fine_tune_steps=0, borders="cut")
    everything, theirs = pictures(padded, clip), pictures(cut, clip)
    assert len(theirs) == 15 - 2 - 4 + 1
    assert all(np.array_equal(one, other) for one, other in zip(everything[2:], theirs, strict=False))
    assert padded.sound(clip) == clip.audio
    assert np.array_equal(cut.sound(clip), load_audio(clip.audio)[2 * 640 :])


def test_other_speech_moves_the_face_and_batches_do_not(clip, tmp_path):
    model = make_model(fine_tune_steps=0)
    one = np.stack(pictures(model, clip))
    model.batch_size = 1
    assert np.abs(one.astype(int) - np.stack(pictures(model, clip))).max() <= 1
    other = replace(clip, audio=speech(tmp_path / "other.wav", seed=1))
    assert not np.array_equal(one, np.stack(pictures(model, other)))


def test_lips_of_a_video_drive_too(clip, tmp_path):
    model = make_model(fine_tune_steps=1, test_type="video")
    made = pictures(model, replace(clip, audio=frames_in(tmp_path / "talk")))
    assert len(made) == 2 + 6  # the first frame stands for those before number 2
    assert np.array_equal(made[0], made[2]) and not np.array_equal(made[2], made[5])


def test_no_more_frames_are_made_than_wanted(clip):
    assert len(pictures(make_model(fine_tune_steps=0, test_audio_video_length=4, borders="cut"), clip)) == 4


def test_a_picture_is_tuned_once_for_two_speeches_that_begin_alike_and_the_model_stays_as_it_was(clip, tmp_path):
    model = make_model(fine_tune_steps=2, borders="cut")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    made = pictures(model, clip)
    wav = load_audio(clip.audio)
    write_audio(tmp_path / "longer.wav", np.concatenate((wav, wav)))
    longer = pictures(model, replace(clip, audio=tmp_path / "longer.wav"))
    assert model.faces_tuned == 1 and len(longer) > len(made)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_identity_is_encoded_once_for_all_frames(clip):
    model, calls = make_model(fine_tune_steps=0), []
    model.identity.register_forward_hook(lambda *_: calls.append(1))
    pictures(model, clip)
    pictures(model, clip)
    assert len(calls) == 1


def test_steps_of_tuning_bring_the_picture_nearer_and_are_first_steps_of_adam():
    model = make_model()
    painter, target = Painter(model.identity, model.decoder).copy(), torch.rand(1, 3, 64, 64)
    before = [parameter.detach().clone() for parameter in painter.parameters()]
    steps = list(fine_tune(painter, target, torch.randn(1, 256).expand(6, -1).split(1), 1e-3, 4.0))
    moved = [(old - new).abs().max() for old, new in zip(before, painter.parameters(), strict=True)]
    assert steps[-1].loss < steps[0].loss
    assert max(moved) <= 6.1e-3 and max(moved) > 5e-3
    assert torch.allclose(steps[0].loss, difference(torch.full_like(target, 0.5), target, 4.0), rtol=1)


def test_tuning_leaves_the_mouth_out():
    target, painted = torch.zeros(1, 3, 256, 256), torch.zeros(1, 3, 256, 256)
    painted[..., 170:234, 64:192] = 1
    assert difference(painted, target, 4.0) == pytest.approx(4 * 0.001 * 64 * 128 / 256**2)


def test_double_precision_agrees_with_single_and_gives_pictures_in_single(clip):
    one, other = (pictures(make_model(fine_tune_steps=1, fine_tune_precision=name), clip) for name in ("single", "double"))
    assert np.abs(np.stack(one).astype(int) - np.stack(other)).mean() < 2


def test_the_first_face_of_a_faithful_run_is_tuned_with_its_own_norms(clip):
    model = make_model(image_size=128, fine_tune_steps=1, faithful=True, borders="cut", test_audio_video_length=2)
    first, later = pictures(model, clip), pictures(model, clip)
    assert model.faces_tuned == 2 and not np.array_equal(first[0], later[0])


def test_pictures_are_written_as_the_authors_write_them(clip, tmp_path):
    model = make_model(fine_tune_steps=0, borders="cut", results_dir=str(tmp_path / "results"), test_num="7", start_epoch=3)
    made = pictures(model, clip)
    folder = tmp_path / "results" / "untrained" / "test_3" / "7"
    assert np.array_equal(read_image(folder / "ann_fake_audio_B_0_4.png"), made[4])
    assert {path.name.rpartition("_")[0] for path in folder.iterdir()} == {"ann_real_A", "ann_fake_audio_B_0"}
    lips = make_model(fine_tune_steps=0, test_type="video", borders="cut", results_dir=str(tmp_path / "lips"))
    pictures(lips, replace(clip, audio=frames_in(tmp_path / "talk")))
    names = {path.name.rpartition("_")[0] for path in (tmp_path / "lips" / "untrained" / "test_1" / "1").iterdir()}
    assert names == {"ann_real_A", "ann_fake_image_B_0", "ann_real_B_0"}


def test_a_video_has_the_sound(clip, tmp_path):
    generate(make_model(fine_tune_steps=0), clip, tmp_path / "made.mp4")
    video = Video(tmp_path / "made.mp4")
    assert video.has_audio and video.fps == 25 and len(video) == 15


def test_the_real_frames_are_cut_as_the_made_ones(clip, tmp_path):
    truth = frames_in(tmp_path / "align_face256", range(2, 8))
    model = make_model(fine_tune_steps=0, borders="cut", test_type="video")
    real = list(model.real(replace(clip, audio=truth, truth=truth)))
    first = np.rint(255 * faces.shown(read_image(truth / "2.jpg"), 64)).astype(np.uint8)
    assert len(real) == 6 and np.array_equal(real[0], first)
    padded = make_model(fine_tune_steps=0, test_type="video")
    assert len(list(padded.real(replace(clip, audio=truth, truth=truth)))) == 8


# --- weights ----------------------------------------------------------------------------------------------------------


def official(model, path):
    """The authors' file of a model: DataParallel's names, no counters, an optimizer beside the networks."""
    entries = {
        entry: {f"module.{key}": value for key, value in getattr(model, name).state_dict().items() if "num_batches" not in key}
        for name, entry in model.entries.items()
        if name != "persons"
    }
    moments = {"state": {0: {"step": 1, "exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 2e-4, "params": [0]}]}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"step": 16, "epoch": 1, "optimizer_G": moments, **entries}, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("by", ["file", "folder"])
def test_the_authors_file_is_loaded_and_names_the_results(tmp_path, by):
    theirs, ours = make_model(seed=1), make_model(seed=2)
    official(theirs, tmp_path / FILE)
    ours.load(tmp_path / FILE if by == "file" else tmp_path)
    assert torch.equal(ours.decoder.conv7_2.weight, theirs.decoder.conv7_2.weight) and ours.weights_name == "101_DAVS"


def test_files_of_the_two_pretrainings_begin_a_training(tmp_path):
    theirs = make_model(seed=1)
    torch.save({"model_fusion": theirs.identity.state_dict()}, tmp_path / "persons.pth.tar")
    torch.save(
        {
            "face_encoder": theirs.lips.state_dict(),
            "mfcc_encoder": theirs.speech.state_dict(),
            "face_fusion": theirs.words.state_dict(),
        },
        tmp_path / "words.pth.tar",
    )
    paths = {"id_pretrain_path": str(tmp_path / "persons.pth.tar"), "feature_extractor_path": str(tmp_path / "words.pth.tar")}
    ours = make_model(seed=2, **paths)
    for name in ("identity", "lips", "speech", "words"):
        one, other = getattr(ours, name).state_dict(), getattr(theirs, name).state_dict()
        assert all(torch.equal(one[key], other[key]) for key in other), name
    with pytest.raises(CheckpointError, match="no entry 'face_encoder'"):
        make_model(feature_extractor_path=paths["id_pretrain_path"])
    assert set(read_networks(tmp_path / "words.pth.tar", ["face_encoder"])) == {"face_encoder"}


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"test_type": "text"}, "DAVS.test_type: expected one of audio, video, image, got 'text'"),
        ({"recipe": "own"}, "DAVS.recipe"),
        ({"borders": "both"}, "DAVS.borders"),
        ({"align": "no"}, "DAVS.align"),
        ({"align_smooth": -1.0}, "DAVS.align_smooth"),
        ({"image_size": 100}, "multiple of 64"),
        ({"fine_tune_steps": -1}, "DAVS.fine_tune_steps"),
        ({"fine_tune_precision": "half"}, "DAVS.fine_tune_precision"),
        ({"width": 0.0}, "DAVS.width"),
        ({"faithful": True}, "image_size of at least 128"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, reason):
    with pytest.raises(ConfigError, match=reason):
        make_model(**settings)


# --- memory -----------------------------------------------------------------------------------------------------------


def test_speech_is_read_as_frames_are_made(clip, monkeypatch):
    asked = []
    windows = SpeechWindows.__iter__

    def noted(self):
        for window in windows(self):
            asked.append(1)
            yield window

    monkeypatch.setattr(SpeechWindows, "__iter__", noted)
    frames = make_model(fine_tune_steps=0, batch_size=2).generate(clip)
    next(frames)
    assert len(asked) <= 3
