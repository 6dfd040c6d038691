"""What MakeItTalk learns from, and how."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from talkingface.config import Config
from talkingface.dataset.base import Clip
from talkingface.errors import ConfigError, DatasetError, MediaError, MissingWeightsError
from talkingface.media.audio import write_audio
from talkingface.media.image import write_image
from talkingface.media.video import write_video
from talkingface.model.makeittalk import MakeItTalk, data, losses, stages
from talkingface.model.makeittalk.converted import ConvertedSpeech
from talkingface.model.makeittalk.networks.content import WINDOW
from talkingface.model.makeittalk.registration import registered
from talkingface.model.makeittalk.rows import bridged, eye_distance, lifted, rows_of
from talkingface.model.makeittalk.tables import STANDARD_FACE, TARGET_VOICE
from talkingface.quick_start import complete, stand_ins

TINY = {"width": 0.05, "image_size": 64, "speaker_embedding": "spectrum", "pictures": 4}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return MakeItTalk(**TINY)


def turned(degrees, face=STANDARD_FACE):
    """A face that looks to the side."""
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    return face @ turn.T


def speaking(count, fps=25.0):
    """Landmarks (count, 68, 2) in pixels: a head that turns and a mouth that opens."""
    times, faces = np.arange(count) / fps, []
    for time in times:
        face = STANDARD_FACE.copy()
        face[[65, 66, 67, 55, 56, 57, 58, 59, 7, 8, 9], 1] += 0.1 * (1 - np.cos(9 * time))
        faces.append(turned(10 * np.sin(4 * time), face)[:, :2] * 30 + [64 + 3 * np.sin(2 * time), 50])
    return np.stack(faces)


@pytest.fixture
def clip(tmp_path):
    """Two seconds of a grey picture with landmarks beside it, and noise."""
    rng, count = np.random.default_rng(0), 50
    wav = rng.normal(0, 0.1, 32_000).astype(np.float32) * np.sin(np.arange(32_000) / 900) ** 2
    frames = (np.full((128, 128, 3), 100 + k, np.uint8) for k in range(count))
    path = tmp_path / "clip.mp4"
    write_video(path, frames, 25)
    write_audio(tmp_path / "clip.wav", wav, 16_000)
    detected = np.ones(count, bool)
    detected[20:30] = False
    np.savez(tmp_path / "clip.landmarks.npz", landmarks=speaking(count).astype(np.float32), detected=detected)
    return Clip("clip", path, tmp_path / "clip.wav", truth=path, speaker="someone")


@pytest.fixture
def prepared(model, clip, tmp_path):
    folder = tmp_path / "prepared"
    folder.mkdir()
    model.prepare(clip, folder)
    return clip.with_prepared(folder)


# --- losses -----------------------------------------------------------------------------------------------------------


def test_neighbors_stay_in_their_curve():
    neighbors = losses.neighbors()
    known = {0: (1, 1), 16: (15, 15), 17: (18, 18), 27: (28, 28), 30: (29, 31), 36: (41, 37), 47: (46, 42), 60: (67, 61)}
    assert all(tuple(neighbors[point]) == pair for point, pair in known.items()) and neighbors.shape == (68, 2)


def test_closed_lips_count_ten_times():
    face = torch.tensor(STANDARD_FACE, dtype=torch.float32).repeat(2, 1, 1)
    face[0, 66, 1] = face[0, 62, 1]
    face[1, 66, 1] = face[1, 62, 1] + 0.1
    weights = losses.lip_weights(face.flatten(1))
    assert torch.allclose(weights[:, 50], torch.tensor([10.0, 2.0])) and bool((weights[:, :48] == 1).all())


def test_a_face_moved_as_a_whole_has_the_same_laplacian():
    face = torch.tensor(STANDARD_FACE, dtype=torch.float32).flatten()[None]
    assert losses.laplacian_distance(face + 0.5, face) < 1e-6 < losses.landmark_distance(face + 0.5, face)


def test_steps_from_one_clip_to_the_next_are_not_compared():
    truth, made = torch.zeros(4, 204), torch.zeros(4, 204)
    made[2:] = 7.0
    assert losses.motion_distance(made, truth, torch.tensor([True, False, True])) == 0
    assert losses.motion_distance(made, truth, torch.tensor([True, True, True])) > 2


def test_style_is_compared_over_the_whole_batch_and_features_layer_by_layer():
    generator = torch.Generator().manual_seed(0)
    made, real = ([torch.rand(2, 3, side, side, generator=generator) for side in (4, 2)] for _ in range(2))
    assert losses.feature_distance(made, real) == pytest.approx(
        sum(float((a - b).abs().mean()) for a, b in zip(made, real, strict=True))
    )

    def gram(x):
        flat = x.reshape(6, -1).double().numpy()
        return flat @ flat.T / flat.size

    wanted = sum(3e7 * ((gram(a) - gram(b)) ** 2).mean() for a, b in zip(made, real, strict=True))
    assert float(losses.style_distance(made, real)) == pytest.approx(wanted, rel=1e-4)
    assert float(losses.style_distance(real, real)) == 0


# --- rows -------------------------------------------------------------------------------------------------------------


def test_two_dimensions_are_lifted_to_the_depth_of_the_pose():
    faces = np.stack([40 * turned(degrees) for degrees in (-25, 0, 15)])
    found = lifted(faces[..., :2] + 100)[..., 2]
    wanted = faces[..., 2] - faces[..., 2].mean(axis=1, keepdims=True)
    assert np.abs(found - found.mean(axis=1, keepdims=True) - wanted).max() < 1e-6 * 40


def test_features_move_without_the_head():
    rows = rows_of(speaking(50), np.ones(50, bool), 25.0)
    assert len(rows.still) == 125 and rows.seen.all()
    assert np.abs(eye_distance(rows.still) - 1).max() < 0.02
    nose, chin = rows.still[:, 30], rows.still[:, 8]
    assert nose.std(axis=0).max() < 0.01 < 0.05 < chin[:, 1].std()
    assert rows.moving[:, 30, 0].std() > 0.05
    assert np.abs(registered(rows.moving.mean(axis=0)) - rows.moving.mean(axis=0)).max() < 1e-5


def test_short_gaps_are_bridged_and_long_ones_are_not():
    detected = np.ones(40, bool)
    detected[[0, 1, 10, 11, 12, 13, 14, 20, 21, 22, 23, 24, 25]] = False
    landmarks = np.arange(40.0)[:, None, None] * np.ones((1, 68, 2))
    landmarks[~detected] = np.nan
    filled, seen = bridged(landmarks, detected)
    assert np.allclose(filled[2:, 0, 0], np.arange(2, 40)) and np.allclose(filled[:2, 0, 0], 2)
    assert np.flatnonzero(~seen).tolist() == [0, 1, *range(20, 26)]


# --- features ---------------------------------------------------------------------------------------------------------


def test_a_video_is_prepared_in_time_with_its_speech(prepared):
    arrays = {path.stem: np.load(path) for path in prepared.prepared.iterdir()}
    assert arrays["mel"].shape == (126, 80) and arrays["still"].shape == arrays["moving"].shape == (125, 68, 3)
    hidden = np.flatnonzero(~arrays["seen"])
    assert 48 <= hidden[0] <= 50 and 73 <= hidden[-1] <= 75
    assert arrays["pictures"].shape == (4, 64, 64, 3) and arrays["points"].shape == (4, 68, 2)
    assert abs(float(arrays["pictures"][-1].mean()) - 149) < 4  # the last frame
    assert arrays["points"].min() > 0 and arrays["points"].max() < 64


def test_what_cannot_be_learnt_from_is_refused(model, clip, tmp_path):
    (tmp_path / "out").mkdir()
    write_image(tmp_path / "still.png", np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(MediaError, match=r"still\.png is a still"):
        model.prepare(replace(clip, face=tmp_path / "still.png"), tmp_path / "out")
    other = MakeItTalk(**TINY, drawn_points=74, awing_file=str(tmp_path / "WFLW_4HG.pth"))
    with pytest.raises(MissingWeightsError, match="WFLW_4HG"):
        other.prepare(clip, tmp_path / "out")
    np.savez(tmp_path / "clip.landmarks.npz", landmarks=speaking(50).astype(np.float32), detected=np.arange(50) < 3)
    with pytest.raises(MediaError, match="training needs 10"):
        model.prepare(clip, tmp_path / "out")


def test_a_network_that_hears_gets_spectrograms(clip, tmp_path):
    model = MakeItTalk(**TINY, add_audio_in=True)
    (tmp_path / "out").mkdir()
    model.prepare(clip, tmp_path / "out")
    stage = stages.TranslatorStage(model, perceptual="none")
    samples = stage.samples([clip.with_prepared(tmp_path / "out")], "train")
    batch = batch_of(samples, 2)
    assert batch["sound"].shape == (2, 64, 64) and stage.paint(batch)[0].shape == (2, 3, 64, 64)


# --- samples ----------------------------------------------------------------------------------------------------------


def batch_of(samples, count):
    drawn = [samples.sample(index, np.random.default_rng(index)) for index in range(count)]
    return {name: torch.from_numpy(np.stack([sample[name] for sample in drawn])) for name in drawn[0]}


def raw(folder):
    return np.load(folder / data.MEL)


def test_a_window_belongs_to_its_first_row(prepared):
    batch = batch_of(data.Talks([prepared], raw, segment=40, shift=False), 3)
    windows, faces, rows, together = stages.windows_of(batch)
    mel, still = data.normalised_mel(raw(prepared.prepared)), np.load(prepared.prepared / data.STILL).reshape(-1, 204)
    seen = np.load(prepared.prepared / data.SEEN)[:107]
    parts = [start + np.flatnonzero(seen[start : start + 40]) for start in (0, 40, 67)]
    used = np.concatenate(parts)
    assert torch.equal(rows, torch.from_numpy(still[used])) and len(faces) == len(windows) == len(used)
    assert torch.equal(windows, torch.from_numpy(np.stack([mel[k : k + WINDOW] for k in used])))
    sample = np.repeat(np.arange(3), [len(part) for part in parts])
    assert together.tolist() == ((np.diff(used) == 1) & (np.diff(sample) == 0)).tolist()


def test_padding_changes_no_loss(model, prepared):
    stage = stages.ContentStage(model).eval()
    results = []
    for segment in (107, 300):
        (pair,) = stage.losses(batch_of(data.Talks([prepared], raw, segment, shift=False), 1))
        results.append([float(loss.detach()) for loss in pair[1].values()])
    assert results[0] == pytest.approx(results[1], rel=1e-6)


def test_parts_of_speech_are_padded_without_a_pitch(prepared):
    part = data.Recordings([prepared], crop=256).sample(0, np.random.default_rng(0))
    assert part["mel"].shape == (256, 80) and not part["mel"][126:].any()
    pitch = stages.one_hot(torch.from_numpy(part["pitch"])[None])
    assert pitch.shape == (1, 256, 257) and pitch[0, :126].sum() == 126 and pitch[0, 126:].sum() == 0


def test_the_earlier_picture_is_painted_from_the_later_one(prepared):
    samples = data.PicturePairs([prepared], 8)
    for index in range(8):
        pair = samples.sample(index, np.random.default_rng(index))
        assert pair["picture"].mean() < pair["portrait"].mean()


# --- stages -----------------------------------------------------------------------------------------------------------


def test_speech_is_converted_once_for_each_converter(model, prepared, tmp_path):
    def files():
        return sorted((tmp_path / "cache" / "converted").glob("*.npy"))

    speech = ConvertedSpeech(model.converter, [prepared.prepared])
    assert not files()
    first = speech.of(prepared.prepared)
    (file,) = files()
    changed = file.stat().st_mtime_ns
    carried = pickle.loads(pickle.dumps(ConvertedSpeech(model.converter, [prepared.prepared])))  # allowed: our own object
    assert carried.converter is None and np.array_equal(carried.of(prepared.prepared), first)
    assert file.stat().st_mtime_ns == changed and first.shape == (126, 80)
    with torch.no_grad():
        model.converter.decoder.linear_projection.linear_layer.bias += 1
    assert not np.allclose(ConvertedSpeech(model.converter, [prepared.prepared]).of(prepared.prepared), first)
    assert len(files()) == 2


def test_a_converter_keeps_the_voice_that_it_converts_to(model, prepared, tmp_path):
    assert np.allclose(model.converter.target_voice, TARGET_VOICE)
    stages.ConverterStage(model, target_voice="middle").samples([prepared], "train")
    voice = np.load(prepared.prepared / data.SOURCE)
    model.save(tmp_path / "weights")
    other = MakeItTalk(**TINY)
    other.load(tmp_path)
    assert np.array_equal(other.converter.target_voice, voice)
    published = {name: tensor for name, tensor in model.converter.state_dict().items() if name != "target_voice"}
    torch.save({"model": published}, tmp_path / "ckpt_autovc.pth")
    other.load(tmp_path / "ckpt_autovc.pth")
    assert np.allclose(other.converter.target_voice, TARGET_VOICE)


def test_settings_out_of_range_are_named(model):
    cases = [
        (stages.ConverterStage, {"crop": 100}, "multiple of 16, got 100"),
        (stages.ConverterStage, {"target_voice": "mine"}, "published, middle"),
        (stages.ContentStage, {"segment": 5}, "content.segment: expected at least 10, got 5"),
        (stages.ContentStage, {"drop_out": 1.0}, "content.drop_out"),
        (stages.SpeakerStage, {"segment": 600}, "at most 512, got 600"),
        (stages.SpeakerStage, {"distance": "l3"}, "squared, absolute"),
        (stages.TranslatorStage, {"perceptual": "vgg16"}, "vgg19, none"),
    ]
    for stage, settings, message in cases:
        with pytest.raises(ConfigError, match=message):
            stage(model, **settings)
    with pytest.raises(ConfigError, match="drawn_points"):
        MakeItTalk(**TINY, drawn_points=70)


def test_noise_is_added_to_the_speaker_code_in_training_alone(model):
    windows, voice = torch.randn(12, WINDOW, 80), torch.randn(256)
    model.speaker.train()
    one, two = (model.speaker(windows, voice)[1] for _ in range(2))
    assert 0 < (one - two).abs().max().item() < 0.1 and torch.equal(one[0], one[5])
    model.speaker.eval()
    assert torch.equal(model.speaker(windows, voice)[1], model.speaker(windows, voice)[1])


# --- dumps ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def dumped(tmp_path):
    """A clip of the authors' dumps, taken apart."""
    rng = np.random.default_rng(0)
    rows = STANDARD_FACE + 0.01 * rng.normal(size=(60, 68, 3))
    for name, array in (("mel", rng.random((60, 80))), ("landmarks", rows.reshape(60, 204)), ("embedding", rng.random(256))):
        np.save(tmp_path / f"{name}.npy", array.astype(np.float32))
    return Clip("dumped", tmp_path / "landmarks.npy", tmp_path / "mel.npy")


def test_dumps_teach_the_content_branch_and_nothing_else(model, dumped, tmp_path):
    (tmp_path / "prepared").mkdir()
    model.prepare(dumped, tmp_path / "prepared")
    clip = dumped.with_prepared(tmp_path / "prepared")
    stage = stages.ContentStage(model, segment=20)
    batch = batch_of(stage.samples([clip], "train"), 2)
    ((group, found),) = stage.train().losses(batch)
    assert group == "content" and all(torch.isfinite(loss) for loss in found.values())
    assert not (tmp_path / "cache" / "converted").exists()
    for other in (stages.ConverterStage(model), stages.SpeakerStage(model), stages.TranslatorStage(model, perceptual="none")):
        with pytest.raises(DatasetError, match="dump files"):
            other.samples([clip], "train").sample(0, np.random.default_rng(0))


# --- the name of the course port --------------------------------------------------------------------------------------


def test_the_port_s_name_trains_the_content_branch_alone():
    config = Config.load("audio2landmark_content", "audio2landmark_content")
    assert config["model"] == "MakeItTalk" and config["stages"] == ["content"] and config["MakeItTalk.compare_content"]
    whole = Config.load("MakeItTalk", "demo")
    assert whole["stages"] == ["converter", "content", "speaker", "translator"] and not whole["MakeItTalk.compare_content"]


def test_a_report_says_what_stands_for_real_videos(model, tmp_path):
    clips = [Clip(name, tmp_path / "a.png", tmp_path / "a.wav") for name in ("one", "two")]
    assert stand_ins(model, clips, tmp_path / "videos") == []
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "two.mp4").touch()
    assert stand_ins(model, clips, tmp_path / "videos") == [
        "1 clips have no real video; what stands here as theirs is what the published content branch makes of them."
    ]


def test_networks_that_no_stage_trains_are_loaded_or_named(model, tmp_path, caplog):
    torch.manual_seed(1)
    other = MakeItTalk(**TINY)
    folder = tmp_path / "checkpoints" / "MakeItTalk"
    folder.mkdir(parents=True)
    torch.save({"G": other.translator.state_dict(), "epoch": 1}, folder / "ckpt_116_i2i_comb.pth")
    config = Config.load("MakeItTalk", "demo", overrides={"checkpoints_dir": str(tmp_path / "checkpoints")})
    complete(config, model, {"converter", "content"})
    loaded, wanted = model.translator.state_dict(), other.translator.state_dict()
    assert all(torch.equal(loaded[name], wanted[name]) for name in wanted)
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1 and "The speaker has made-up weights" in warnings[0] and "ckpt_speaker_branch.pth" in warnings[0]
