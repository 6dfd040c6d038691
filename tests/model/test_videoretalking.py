"""VideoReTalking: the six steps from a video and speech to a video that says it, what is kept of them, and their options."""

import logging
import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.io import savemat

from talkingface.cli import parse_arguments
from talkingface.dataset.base import Clip
from talkingface.errors import CheckpointError, ConfigError, FaceError, MediaError, MissingWeightsError
from talkingface.face.finder import FaceFinder
from talkingface.media.audio import write_audio
from talkingface.media.image import resize, write_image
from talkingface.media.video import Video, write_video
from talkingface.model.videoretalking import steps
from talkingface.model.videoretalking.expression import chosen_expression
from talkingface.model.videoretalking.helpers import Shelf
from talkingface.model.videoretalking.model import VideoReTalking
from talkingface.model.videoretalking.networks import LNet
from talkingface.model.videoretalking.speak import Upper, lower_half_masked
from talkingface.model.videoretalking.store import Pieces, batches, digest, packed, unpacked
from talkingface.model.videoretalking.tools import Given
from talkingface.nn import weights
from talkingface.quick_start import generate, load
from tests.model.test_videoretalking_training import face_points

TINY = {"width": 0.06, "num_blocks": 1, "head_size": 64, "img_size": 96, "coefficients": "landmarks", "pads": (0, 0, 0, 0)}
SIZE = (160, 120)
FRAMES = 12


def background(scene, size=SIZE):
    """A soft picture."""
    return resize(np.random.default_rng(scene).integers(0, 256, (6, 8, 3)).astype(np.uint8), size)


def make_clip(folder, scenes=(0,) * FRAMES, unseen=(), seconds=0.5, fps=25, voice=0):
    """A video with a scene for each frame, known landmarks of a face that moves a little, and speech."""
    folder.mkdir(parents=True, exist_ok=True)
    video, audio = folder / "v.mkv", folder / f"a{voice}.wav"
    if not video.exists():  # no two Matroska files are alike
        write_video(video, map(background, scenes), fps, lossless=True)
    points = np.stack([face_points() * 22 + (78 + 0.2 * t, 58) for t in range(len(scenes))]).astype(np.float32)
    detected = np.array([t not in unseen for t in range(len(scenes))])
    np.savez(folder / "v.landmarks.npz", landmarks=points, detected=detected)
    write_audio(audio, np.random.default_rng(voice).uniform(-0.3, 0.3, round(16_000 * seconds)).astype(np.float32))
    return Clip(folder.name, video, audio)


def make_model(**settings):
    torch.manual_seed(0)
    model = VideoReTalking(**{**TINY, **settings}).eval()
    model.faces = FaceFinder("files", max_gap=0)
    return model


@pytest.fixture
def clip(tmp_path):
    return make_clip(tmp_path / "clip")


@pytest.fixture
def identity(monkeypatch):
    """LNet and ENet give back the face as it is."""
    monkeypatch.setattr(steps, "speak", lambda lnet, enet, mels, pairs, *_: np.stack([pair.original for pair in pairs]))


def counted(model):
    """How many pictures each network has drawn, from now on."""
    counts = Counter()
    for name in ("dnet", "lnet", "enet"):
        hook = lambda _module, inputs, _output, name=name: counts.update({name: len(inputs[0])})  # noqa: E731
        getattr(model, name).register_forward_hook(hook)
    return counts


def images(model, clip):
    return [frame.image for frame in model.generate(clip)]


# --- frames -----------------------------------------------------------------------------------------------------------


def test_only_what_is_around_the_face_changes(clip):
    for before, after in zip(Video(clip.face), images(make_model(), clip), strict=False):
        changed = np.abs(after.astype(int) - before).max(axis=2) > 0
        rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
        assert rows[0] > 20 and rows[-1] < 105 and columns[0] > 40 and columns[-1] < 118


def test_with_networks_that_change_nothing_no_seam_is_seen(clip, identity):
    squared = [
        ((after.astype(float) - before) ** 2).mean()
        for before, after in zip(Video(clip.face), images(make_model(), clip), strict=False)
    ]
    assert 10 * np.log10(255**2 / max(squared)) > 50


def test_a_restored_mouth_is_all_that_restoration_changes(clip, identity):
    model = make_model()
    model.given = Given(restore=lambda faces: [255 - face for face in faces])
    (points,) = FaceFinder("files").landmarks(Video(clip.face)).landmarks[:1]
    (before, *_), (after, *_) = Video(clip.face), images(model, clip)
    change = np.abs(after.astype(int) - before).max(axis=2)
    x, y = np.rint(points[60:].mean(axis=0)).astype(int)
    assert change[y, x] > 50 and change[: int(points[30, 1])].max() < 8


def test_frames_without_a_face_pass_untouched_and_say_why(tmp_path):
    clip = make_clip(tmp_path / "c", unseen=(3, 4))
    frames = list(make_model().generate(clip))
    for t, (before, frame) in enumerate(zip(Video(clip.face), frames, strict=False)):
        assert bool(frame.note) == (t in (3, 4)) and np.array_equal(frame.image, before) == (t in (3, 4))


def test_no_face_at_all_is_an_error(tmp_path):
    clip = make_clip(tmp_path / "c", unseen=range(FRAMES))
    with pytest.raises(FaceError, match="no face"):
        images(make_model(), clip)


def test_steering_and_regions_stop_at_a_hard_cut_and_at_a_gap(tmp_path):
    clip = make_clip(tmp_path / "c", scenes=[0] * 5 + [1] * 7, unseen=(9,))
    job = make_model().retalking(clip)
    assert job.faces.segments.tolist() == [0] * 5 + [1] * 4 + [-1] + [2] * 2
    assert job.faces.span(6) == (5, 8)
    before = job.steering(6)
    job.coefficients[[*range(5), 10]] = 0  # the scene before and what comes after the gap
    assert np.array_equal(job.steering(6), before) and not np.array_equal(job.steering(2), before)


def test_one_shot_redraws_the_first_head_of_each_scene(tmp_path):
    clip = make_clip(tmp_path / "c", scenes=[0] * 5 + [1] * 7)
    firsts = list(make_model(one_shot=True).retalking(clip).first_of_segment())
    frames = list(Video(clip.face))
    assert all(np.array_equal(first, frames[0 if t < 5 else 5]) for t, first in enumerate(firsts))


@pytest.mark.parametrize(("seconds", "shown"), [(0.3, range(5)), (1.0, [*range(12), *range(10)])])
def test_a_short_video_begins_again_and_a_long_one_is_cut(tmp_path, seconds, shown):
    clip = make_clip(tmp_path / "c", scenes=range(FRAMES), seconds=seconds, unseen=range(1, FRAMES))
    frames, real = images(make_model(), clip), list(Video(clip.face))
    assert len(frames) == len(shown)
    assert all(np.array_equal(frame, real[t]) for frame, t in zip(frames, shown, strict=True) if t)


def test_the_output_keeps_frame_rate_and_size(tmp_path):
    clip = make_clip(tmp_path / "c", fps=30, seconds=0.4)
    model = make_model(crop=(8, -1, 10, 150))
    generate(model, clip, tmp_path / "out.mp4")
    video = Video(tmp_path / "out.mp4")
    assert (video.fps, video.width, video.height) == (30, 140, 112) and video.has_audio


def test_landmarks_in_a_file_move_with_the_crop(clip):
    whole, cut = make_model().retalking(clip), make_model(crop=(8, -1, 10, 150)).retalking(clip)
    assert np.abs(cut.faces.frame_landmarks(3) + (10, 8) - whole.faces.frame_landmarks(3)).max() < 1e-3


def test_a_still_speaks_and_its_head_is_redrawn_once(tmp_path):
    clip = make_clip(tmp_path / "c", scenes=(0,))
    write_image(tmp_path / "c" / "v.png", background(0))
    still, model = replace(clip, face=tmp_path / "c" / "v.png"), make_model(fps=20)
    counts = counted(model)
    assert model.frame_rate(still) == 20 and len(images(model, still)) == counts["lnet"] == 8 and counts["dnet"] == 1


def test_static_shows_the_first_frame_only(tmp_path):
    clip = make_clip(tmp_path / "c", scenes=range(FRAMES))
    model = make_model(static=True)
    counts = counted(model)
    first = next(iter(Video(clip.face)))
    assert all(np.array_equal(image[:20], first[:20]) for image in images(model, clip)) and counts["dnet"] == 1


def test_a_box_replaces_detection(clip, monkeypatch):
    asked = []
    landmarks = FaceFinder.landmarks

    def answer(self, video, boxes=None):
        asked.append((self.reads_files, boxes.boxes[0].tolist()))
        return landmarks(make_model().faces, video)

    monkeypatch.setattr(FaceFinder, "landmarks", answer)
    job = make_model(box=(30, 100, 50, 110), pads=(0, 20, 0, 0)).retalking(clip)
    assert (job.faces.boxes == (50, 30, 110, 100)).all() and asked[0] == (False, [50, 30, 110, 100])


def test_a_box_beyond_the_frame_is_an_error(clip):
    with pytest.raises(FaceError, match="no box in the 160 x 120 frames"):
        images(make_model(box=(30, 200, 50, 110)), clip)


# --- what is kept -----------------------------------------------------------------------------------------------------


def test_another_speech_starts_at_lnet(tmp_path):
    model = make_model()
    counts = counted(model)
    one = images(model, make_clip(tmp_path / "c"))
    drawn = counts["dnet"]
    other = images(model, make_clip(tmp_path / "c", voice=1))
    assert drawn == counts["dnet"] > 0 and counts["lnet"] == 2 * len(one)
    assert any(not np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_what_is_kept_belongs_to_content_and_settings_not_to_names(tmp_path):
    short = {"scenes": (0,) * 4, "seconds": 0.25}
    first = make_clip(tmp_path / "one", **short)

    def drawn(clip, model):
        counts = counted(model)
        images(model, clip)
        return counts["dnet"] > 0

    (tmp_path / "two").mkdir()
    for file in (tmp_path / "one").iterdir():
        shutil.copy(file, tmp_path / "two" / file.name)
    same = replace(first, face=tmp_path / "two" / "v.mkv")
    other = make_clip(tmp_path / "three" / "one", **{**short, "scenes": (5,) * 4})
    assert drawn(first, make_model()) and not drawn(same, make_model()) and drawn(other, make_model())
    assert drawn(first, make_model(one_shot=True)) and drawn(first, make_model(crop=(4, -1, 0, -1)))
    assert drawn(first, make_model(re_preprocess=True)) and not drawn(first, make_model())
    torch.manual_seed(1)
    changed = make_model()
    with torch.no_grad():
        next(changed.dnet.parameters()).add_(0.1)
    assert drawn(first, changed)


def test_a_killed_run_goes_on_where_it_stopped(tmp_path, monkeypatch):
    clip = make_clip(tmp_path / "c", scenes=(0,) * 20, seconds=0.8)
    monkeypatch.setattr(steps, "PIECE", 4)
    settings = {"LNet_batch_size": 4}
    model = make_model(**settings)
    counts = counted(model)
    speak = steps.speak

    def killed(*args):
        if counts["lnet"] >= 8:
            raise KeyboardInterrupt
        return speak(*args)

    monkeypatch.setattr(steps, "speak", killed)
    with pytest.raises(KeyboardInterrupt):
        images(model, clip)
    monkeypatch.setattr(steps, "speak", speak)
    again = make_model(**settings)
    rest = counted(again)
    result = images(again, clip)
    assert rest["dnet"] == 0 and counts["lnet"] + rest["lnet"] == len(result)
    monkeypatch.setenv("TALKINGFACE_CACHE", str(tmp_path / "other"))
    assert all(np.array_equal(a, b) for a, b in zip(result, images(make_model(**settings), clip), strict=True))


def test_what_depends_on_the_speech_is_forgotten_when_all_is_done(clip, tmp_path):
    images(make_model(), clip)
    kept = {folder.name.partition("-")[0] for folder in (tmp_path / "cache" / "videoretalking").iterdir()}
    assert kept == {"coefficients", "heads", "references"}


def test_a_damaged_piece_is_removed_and_made_again(clip, tmp_path):
    images(make_model(), clip)
    (piece,) = (tmp_path / "cache" / "videoretalking").glob("references-*/*.npz")
    piece.write_bytes(b"half of it")
    with pytest.raises(MediaError, match="start again"):
        images(make_model(), clip)
    assert images(make_model(), clip)


def test_each_step_says_how_much_there_is_to_do(clip, caplog):
    with caplog.at_level(logging.INFO):
        images(make_model(), clip)
    told = [record.getMessage() for record in caplog.records if "/6 " in record.getMessage()]
    assert [message[:3] for message in told] == ["1/6", "2/6", "3/6", "4/6", "5/6", "6/6"]
    assert all("frames to do" in message for message in told[1:])


def test_pictures_of_any_size_are_kept_exactly():
    pictures = [background(1), np.empty((0, 0, 3), np.uint8), background(2, (31, 17))]
    arrays = packed(pictures)
    assert all(np.array_equal(unpacked(arrays, "pictures", k), picture) for k, picture in enumerate(pictures))


def test_pieces_are_made_once_and_only_as_far_as_needed(tmp_path):
    asked = []

    def stream():
        for number in range(10):
            asked.append(number)
            yield number

    pieces = Pieces("step", digest("key"), 10, size=4)
    for start, items in pieces.made_from(stream(), "bar", upto=5):
        pieces.write(start, {"numbers": np.array(items)})
    assert asked == list(range(8)) and pieces.at(6, "numbers") == 6
    again = Pieces("step", digest("key"), 10, size=4)
    for start, items in again.made_from(stream(), "bar"):
        assert items == [8, 9]
        again.write(start, {"numbers": np.array(items)})
    assert again.all("numbers").tolist() == list(range(10))
    assert not Pieces("step", digest("key"), 10, size=4, fresh=True).path(0).exists()
    assert [*batches([1, 2, 3], 2)] == [[1, 2], [3]]


# --- speech and the upper face ----------------------------------------------------------------------------------------


def test_the_batch_size_changes_nothing(tmp_path, monkeypatch):
    clip = make_clip(tmp_path / "c")
    results = []
    for size in (1, 5):
        monkeypatch.setenv("TALKINGFACE_CACHE", str(tmp_path / f"cache {size}"))
        model = make_model(LNet_batch_size=size)
        with torch.no_grad():
            for layer in model.enet.style_convs:
                layer.weight.fill_(0.1)
        results.append(np.stack(images(model, clip)).astype(int))
    assert np.abs(results[0] - results[1]).max() <= 1


def test_the_seed_is_that_of_the_noise(clip):
    def painted(seed):
        model = make_model(seed=seed)
        with torch.no_grad():
            for layer in model.enet.style_convs:
                layer.weight.fill_(0.1)
        return np.stack(images(model, clip))

    assert np.array_equal(painted(3), painted(3)) and not np.array_equal(painted(3), painted(4))


class Red(torch.nn.Module):
    """In place of GANimation: faces become red, by the strength of all action units."""

    def forward(self, faces, units):
        class Answer:
            pass

        answer = Answer()
        answer.faces = faces.clone()
        answer.faces[:, 2] = units.sum(dim=1)[:, None, None] * 2
        return answer


def test_the_upper_half_may_stay_as_it_was_or_be_edited():
    originals = torch.rand(1, 3, 96, 96) * 0.5 + 0.25
    painted = torch.zeros_like(originals)
    masked = lower_half_masked(originals)
    kept = Upper(None, {}).put_on(painted, originals, masked, faithful=False)
    assert torch.equal(kept[:, :, :40], originals[:, :, :40]) and kept[:, :, 56:].max() == 0
    edited = Upper(Red(), {2: 0.3}).put_on(painted, originals, masked, faithful=False)
    assert torch.allclose(edited[:, 2, :40], torch.tensor(0.8), atol=1e-3)


def test_the_authors_take_black_pixels_for_masked_ones():
    originals = torch.full((1, 3, 8, 8), 0.5)
    originals[..., 1, 1] = 0
    result = Upper(None, {}).put_on(torch.ones_like(originals), originals, lower_half_masked(originals), faithful=True)
    assert (result[..., 1, 1] == 1).all() and (result[:, :, :4].sum() == 3 * (31 * 0.5 + 1)) and (result[:, :, 4:] == 1).all()


def test_an_upper_face_works_alone_unless_the_authors_way_is_wanted(monkeypatch):
    for faithful, expected in ((False, {0: 0.3, 2: 0.15}), (True, None)):
        box = make_model(faithful=faithful).toolbox
        monkeypatch.setattr(box, "helper", lambda name, why: Red())
        upper = box.upper("sad", without_rl1=False)
        assert (upper.units if upper else None) == expected
    assert box.upper("sad", without_rl1=True).units == {} and box.upper("angry", without_rl1=True).units == {2: 0.3}


# --- expressions ------------------------------------------------------------------------------------------------------


def test_expressions_are_published_or_a_pictures_own(tmp_path):
    rows = {f"expression_{name}": np.full((2, 70), value) for name, value in (("center", 1.0), ("mouth", 2.0))}
    savemat(tmp_path / "expression.mat", rows)
    shelf, network = Shelf([tmp_path]), torch.nn.Identity()
    assert (chosen_expression("neutral", shelf, network, None) == np.full(64, 1)).all()
    assert (chosen_expression("smile", shelf, network, None) == np.full(64, 2)).all()
    make_clip(tmp_path / "c", scenes=(0,))
    write_image(tmp_path / "c" / "v.png", background(0))
    found = chosen_expression(str(tmp_path / "c" / "v.png"), shelf, None, FaceFinder("files"))
    assert found.shape == (64,) and found.any()


def test_without_the_file_neutral_is_the_mean_face_and_a_smile_is_not_known(tmp_path):
    assert not chosen_expression("neutral", Shelf([tmp_path]), torch.nn.Identity(), None).any()
    with pytest.raises(MissingWeightsError, match=r"expression\.mat does not exist, and exp_img=smile needs it"):
        chosen_expression("smile", Shelf([tmp_path]), torch.nn.Identity(), None)
    with pytest.raises(ConfigError, match="give a picture"):
        chosen_expression("smile", Shelf([tmp_path]), None, None)
    with pytest.raises(ConfigError, match="expected neutral, smile or a picture"):
        chosen_expression("happy", Shelf([tmp_path]), None, None)


def test_a_damaged_expression_file_is_named(tmp_path):
    (tmp_path / "expression.mat").write_bytes(b"no matrix")
    with pytest.raises(CheckpointError, match=r"expression\.mat is damaged"):
        Shelf([tmp_path]).expression("center")


# --- files ------------------------------------------------------------------------------------------------------------


def write_official(model, folder):
    """The files of a model in the containers of the authors."""
    folder.mkdir(parents=True)
    states = {name: getattr(model, name).state_dict() for name in ("dnet", "lnet", "enet")}
    torch.save({"net_G": {"other": torch.zeros(2)}, "net_G_ema": states["dnet"], "current_epoch": 3}, folder / "DNet.pt")
    torch.save({"state_dict": {f"module.{key}": value for key, value in states["lnet"].items()}}, folder / "LNet.pth")
    copies = {f"module.low_res.{key}": torch.zeros_like(value) for key, value in states["lnet"].items()}
    own = {f"module.{key}": value for key, value in states["enet"].items()}
    torch.save({"state_dict": {**copies, **own}}, folder / "ENet.pth")


def equal(one, other):
    return all(torch.equal(value, other.state_dict()[key]) for key, value in one.state_dict().items())


def test_official_files_load_and_enets_copy_of_lnet_is_ignored(tmp_path):
    model, other = make_model(), make_model(seed=1)
    for parameter in other.parameters():
        torch.nn.init.zeros_(parameter)
    write_official(model, tmp_path / "checkpoints")
    load(other, tmp_path / "checkpoints")
    assert all(equal(getattr(model, name), getattr(other, name)) for name in ("dnet", "lnet", "enet"))
    assert other.load(tmp_path / "checkpoints" / "ENet.pth") == ["enet"]


def test_single_networks_may_lie_elsewhere(tmp_path):
    model = make_model()
    write_official(model, tmp_path / "a")
    (tmp_path / "a" / "DNet.pt").rename(tmp_path / "mine.pt")
    with pytest.raises(MissingWeightsError, match=r"DNet\.pt"):
        load(make_model(), tmp_path / "a")
    other = make_model(DNet_path=tmp_path / "mine.pt")
    load(other, tmp_path / "a")
    assert equal(model.dnet, other.dnet)


def test_a_file_of_another_network_is_recognised(tmp_path, monkeypatch):
    write_official(make_model(), tmp_path / "a")
    monkeypatch.setattr(weights, "known_networks", {"the lip-sync network": lambda: LNet(0.06, 1)})
    with pytest.raises(CheckpointError, match="lip-sync network"):
        load(make_model(DNet_path=tmp_path / "a" / "LNet.pth"), tmp_path / "a")


@pytest.mark.parametrize(
    ("settings", "file"),
    [
        ({"restoration": "all"}, r"GPEN-BFR-512\.pth"),
        ({"faithful": True}, r"GPEN-BFR-512\.pth"),
        ({"up_face": "angry"}, r"30_net_gen\.pth"),
    ],
)
def test_missing_helpers_are_named_before_anything_is_generated(tmp_path, settings, file):
    write_official(make_model(), tmp_path / "a")
    model = make_model(**settings)
    model.checkpoints_dir = tmp_path
    with pytest.raises(MissingWeightsError, match=rf"{file} does not exist, and .* needs it: .* Get it from https"):
        load(model, tmp_path / "a")


def test_what_restoration_leaves_out_is_said_once(tmp_path, caplog):
    write_official(make_model(), tmp_path / "a")
    model = make_model()
    model.checkpoints_dir = tmp_path
    load(model, tmp_path / "a")
    model.tools()
    assert [record.getMessage().count("is not there, which") for record in caplog.records if record.levelname == "WARNING"] == [
        1
    ] * 3


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pads": (1, 2)}, r"VideoReTalking\.pads: expected 4 numbers"),
        ({"up_face": "glad"}, "expected one of original, angry, surprise, sad, got 'glad'"),
        ({"coefficients": "guess"}, "expected one of network, landmarks"),
        ({"restoration": "some"}, "expected one of auto, off, all"),
        ({"LNet_batch_size": 0}, "expected more than 0, got 0"),
        ({"head_size": 100}, "expected a multiple of 32"),
        ({"img_size": 100}, "expected a multiple of 32"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        VideoReTalking(**{**TINY, **settings})


def test_the_authors_flags_are_understood_as_they_are_typed():
    typed = "generate --face f.mp4 --audio a.wav --outfile o.mp4 --pads 0 20 0 0 --crop 0 -1 0 -1 --up_face sad --one_shot"
    flags = dict(parse_arguments(typed.split()).flags)
    assert flags == {
        "face": "f.mp4", "audio": "a.wav", "output": "o.mp4", "pads": "0,20,0,0", "crop": "0,-1,0,-1", "up_face": "sad",
        "one_shot": "true",
    }  # fmt: skip


def test_speech_that_is_too_short_is_an_error(tmp_path):
    clip = make_clip(tmp_path / "c", seconds=0.1)
    with pytest.raises(MediaError, match="0.1"):
        images(make_model(), clip)
