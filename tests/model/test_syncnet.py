"""SyncNet as a model: its samples, its stage, its weights as a judge."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from talkingface.dataset.base import Clip
from talkingface.errors import ConfigError, MediaError
from talkingface.media.audio import mfcc, to_int16, write_audio
from talkingface.media.video import write_video
from talkingface.metric.sync import DemoLSE
from talkingface.model.base import TalkingFace
from talkingface.model.syncnet import SyncNetModel
from talkingface.model.syncnet.data import Features, Stretches, augmented, num_windows
from talkingface.trainer.settings import TrainingSettings
from talkingface.trainer.trainer import Trainer
from tests.parity.kit import make_weight

TINY = {"width": 0.05, "image_size": 96, "embedding": 8}


def make_model(**sizes):
    torch.manual_seed(0)
    return SyncNetModel(**{**TINY, **sizes})


def features_clip(folder, frames=20, name="clip", seed=0):
    """Features of a clip whose pictures are as bright as its sound is loud."""
    target = folder / name
    target.mkdir()
    rng = np.random.default_rng(seed)
    loud = rng.uniform(0, 1, frames)
    wav = rng.uniform(-1, 1, 640 * frames) * loud.repeat(640)
    base = rng.integers(0, 40, (96, 96, 3))
    np.save(target / "frames.npy", (base + 200 * loud[:, None, None, None]).astype(np.uint8))
    np.save(target / "mfcc.npy", mfcc(to_int16(wav)).T.astype(np.float32))
    return Clip(name, folder, folder, prepared=target)


def batch_of(samples, count=2):
    rows = [samples.sample(i, np.random.default_rng((1, i))) for i in range(count)]
    return {name: torch.from_numpy(np.stack([row[name] for row in rows])) for name in rows[0]}


def test_prepared_features_are_whole_frames_and_the_authors_mfcc(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (12, 100, 60, 3), np.uint8)
    wav = np.random.default_rng(1).uniform(-0.5, 0.5, 640 * 12)
    write_video(tmp_path / "a.mkv", frames, 25, lossless=True)
    write_audio(tmp_path / "a.wav", wav)
    make_model().prepare(Clip("a", tmp_path / "a.mkv", tmp_path / "a.wav"), tmp_path)
    features = Features.open(tmp_path)
    assert features.frames.shape == (12, 96, 96, 3) and features.frames.dtype == np.uint8
    assert np.abs(features.frames.mean((1, 2)) - frames[..., ::-1].mean((1, 2))).max() < 4
    np.testing.assert_allclose(features.mfcc.T, mfcc(to_int16(wav)), rtol=1e-4, atol=1e-3)
    assert num_windows(12, len(features.mfcc)) == 7


def test_a_clip_too_short_to_train_on_says_so(tmp_path):
    write_video(tmp_path / "a.mkv", np.zeros((7, 96, 96, 3), np.uint8), 25, lossless=True)
    write_audio(tmp_path / "a.wav", np.zeros(640 * 7))
    with pytest.raises(MediaError, match="7 frames and 0.2. s of sound; 10 frames of both"):
        make_model().prepare(Clip("a", tmp_path / "a.mkv", tmp_path / "a.wav"), tmp_path)


def test_lips_and_speech_of_a_sample_belong_to_the_same_frames(tmp_path):
    clip = features_clip(tmp_path)
    features, samples = Features.open(clip.prepared), Stretches([clip], shifts=6, windows=3)
    for i in range(10):
        sample = samples.sample(0, np.random.default_rng(i))
        assert sample["mfcc"].shape == (4 * 5 + 20, 13) and sample["frames"].shape == (3, 5, 96, 96, 3)
        begin = next(b for b in range(20) if np.array_equal(features.mfcc[4 * b : 4 * b + 40], sample["mfcc"]))
        for window, place in zip(sample["frames"], sample["places"], strict=True):
            assert np.array_equal(window, features.frames[begin + place : begin + place + 5])


def test_clips_that_are_shorter_than_a_stretch_are_counted(tmp_path, caplog):
    clips = [features_clip(tmp_path, 40, "long"), features_clip(tmp_path, 12, "short")]
    assert Stretches(clips, shifts=31).folders == [clips[0].prepared]
    assert "1 of 2 clips are shorter than 1.40 s" in caplog.text
    assert Stretches(clips[1:], shifts=31).shifts == 7


def test_augmented_windows_are_another_picture_of_the_same_mouth():
    window = np.random.default_rng(0).integers(0, 256, (5, 96, 96, 3), np.uint8)
    one, same, other = (augmented(window, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one.shape == window.shape and np.array_equal(one, same) and not np.array_equal(one, other)
    still = np.repeat(window[:1], 5, axis=0)
    assert all(np.array_equal(frame, changed[0]) for changed in [augmented(still, np.random.default_rng(3))] for frame in changed)


@pytest.mark.parametrize("objective", ["multiway", "contrastive"])
def test_the_stage_learns_to_tell_what_belongs_together(tmp_path, objective):
    model = make_model()
    stage = model.stages["contrastive"](model, objective=objective, shifts=8, windows=4, augment=0.0, margin=3.0)
    clips = [features_clip(tmp_path, name=str(i), seed=i) for i in range(2)]
    samples = stage.samples(clips, "train")
    settings = TrainingSettings(epochs=0, steps=70, batch_size=2, learning_rate=3e-3, log_every=10, keep=0)
    trainers = [Trainer(replace(settings, steps=steps), tmp_path / str(steps), device="cpu") for steps in (1, 70)]
    first, last = (trainer.fit(stage, samples, samples) for trainer in trainers)
    assert last.losses["sync"] < 0.8 * first.losses["sync"]
    assert last.losses["accuracy"] > 0.65
    assert 0 <= last.validation["offset_accuracy"] <= 1


def test_accuracies_are_reported_and_not_trained(tmp_path):
    model = make_model()
    stage = model.stages["contrastive"](model, shifts=8).eval()
    group, losses = next(stage.losses(batch_of(stage.samples([features_clip(tmp_path)], "val"))))
    assert group == "syncnet" and losses["sync"].requires_grad
    assert not losses["accuracy"].requires_grad and not losses["offset_accuracy"].requires_grad
    assert stage.loss_weights["accuracy"] == stage.loss_weights["offset_accuracy"] == 0


def test_distances_are_those_of_the_towers(tmp_path):
    model = make_model().eval()
    stage = model.stages["contrastive"](model, shifts=6, windows=2)
    batch = batch_of(stage.samples([features_clip(tmp_path)], "val"))
    with torch.no_grad():
        found = stage.distances(batch["frames"], batch["mfcc"]).unflatten(0, (2, 2))
        lips = model.syncnet.lip(batch["frames"][1, 0].permute(3, 0, 1, 2)[None].float())
        speech = model.syncnet.audio(batch["mfcc"][1, 12:32].T[None, None])
    assert torch.isclose(found[1, 0, 3], (lips - speech).norm(), rtol=1e-4)


def test_an_unknown_objective_is_refused():
    with pytest.raises(ConfigError, match="expected contrastive or multiway, got 'cosine'"):
        make_model().stages["contrastive"](make_model(), objective="cosine")


def test_saved_weights_are_a_judge(tmp_path):
    model = make_model()
    model.save(tmp_path)
    judge = DemoLSE(weights=str(tmp_path / "syncnet.safetensors")).network
    assert all(torch.equal(tensor, judge.state_dict()[name]) for name, tensor in model.syncnet.state_dict().items())
    other = make_model()
    assert other.load(tmp_path / "syncnet.safetensors") == ["syncnet"]


def test_the_published_file_loads_from_either_folder(tmp_path):
    model = make_model()
    state = {name: torch.from_numpy(np.asarray(make_weight(name, t.shape))) for name, t in model.syncnet.state_dict().items()}
    published = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    (tmp_path / "LSE").mkdir()
    torch.save(published, tmp_path / "LSE" / "syncnet_v2.model", _use_new_zipfile_serialization=False)
    model.load_published("syncnet", tmp_path)
    assert all(torch.equal(tensor, model.syncnet.state_dict()[name]) for name, tensor in published.items())


def test_it_generates_nothing():
    assert not issubclass(SyncNetModel, TalkingFace)
