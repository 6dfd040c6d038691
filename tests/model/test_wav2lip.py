"""Wav2Lip: its samples, its stages, its weights, and what it generates."""

import time

import numpy as np
import pytest
import torch

from talkingface.dataset.base import Clip
from talkingface.errors import CheckpointError, ConfigError, FaceError, MediaError, MissingWeightsError
from talkingface.face.finder import FaceFinder
from talkingface.face.track import FaceTrack
from talkingface.media.audio import melspectrogram, write_audio
from talkingface.media.edited import EditedVideo
from talkingface.media.image import write_image
from talkingface.media.video import Video, write_video
from talkingface.model.wav2lip import Wav2Lip, data
from talkingface.model.wav2lip.model import lip_sync
from talkingface.nn.sync_expert import batch_statistics
from talkingface.trainer.settings import TrainingSettings
from talkingface.trainer.trainer import Trainer
from tests.parity.kit import make_weight

TINY = {"width": 0.1}
HEIGHT, WIDTH = 72, 80
BOX = (20, 12, 60, 60)


def noise(seconds, seed=0):
    return np.random.default_rng(seed).uniform(-0.3, 0.3, int(16_000 * seconds)).astype(np.float32)


def picture(number):
    ramp = np.add.outer(np.arange(HEIGHT), np.arange(WIDTH))
    return np.stack([(ramp * gain + 9 * number) % 256 for gain in (1, 2, 3)], axis=2).astype(np.uint8)


def make_clip(folder, frames=10, seconds=0.6, fps=25.0, name="clip"):
    face, audio = folder / f"{name}.mkv", folder / f"{name}.wav"
    write_video(face, (picture(t) for t in range(frames)), fps, lossless=True)
    write_audio(audio, noise(seconds))
    return Clip(name, face, audio)


class FixedFinder(FaceFinder):
    """A face in a fixed place, but for some frames without one."""

    def __init__(self, without=()):
        super().__init__()
        self.without = without

    def boxes(self, video):
        boxes = np.tile(np.array(BOX, np.float32), (len(video), 1))
        boxes[list(self.without)] = np.nan
        return FaceTrack(boxes, ["no face" if np.isnan(box[0]) else "" for box in boxes])


def make_model(without=(), **settings):
    torch.manual_seed(0)
    model = Wav2Lip(**{"wav2lip_batch_size": 4, **TINY, **settings}).eval()
    model.faces = FixedFinder(without)
    return model


def features_clip(folder, frames=30, valid=None, name="features", seed=0):
    """A clip with features of made-up faces."""
    target = folder / name
    target.mkdir()
    rng = np.random.default_rng(seed)
    pictures = rng.integers(0, 200, (12, 12, 3)) + rng.integers(0, 50, (frames, 12, 12, 3))
    pictures = pictures.astype(np.uint8).repeat(8, 1).repeat(8, 2)
    boxes = np.tile([0, 0, 96, 96], (frames, 1))
    if valid is not None:
        boxes[~np.asarray(valid, bool)] = data.NO_BOX
    data.write_features(target, pictures, boxes, melspectrogram(noise(frames / 25, seed)))
    return Clip(name, folder, folder, prepared=target)


def batch_of(samples, count=2):
    rows = [samples.sample(i, np.random.default_rng((1, i))) for i in range(count)]
    return {name: torch.from_numpy(np.stack([row[name] for row in rows])) for name in rows[0]}


def settings(**values):
    return TrainingSettings(**{"epochs": 0, "batch_size": 2, "learning_rate": 1e-3, "log_every": 1, **values})


# --- samples ----------------------------------------------------------------------------------------------------------


def test_a_window_starts_only_where_five_frames_have_a_face_and_speech_is_whole(tmp_path):
    valid = [True] * 12 + [False] + [True] * 17
    features = data.Features.open(features_clip(tmp_path, valid=valid).prepared)
    last = max(f for f in range(26) if (16 * (f + 3)) // 5 + 16 <= len(features.mel))
    assert features.windows.tolist() == [*range(8), *range(13, 26)]
    assert features.real.tolist() == [f for f in features.windows if 1 <= f <= last]
    assert 0 in features.spoken


def test_reference_windows_are_other_windows(tmp_path):
    samples = data.MouthWindows([features_clip(tmp_path)])
    rng = np.random.default_rng(0)
    starts = np.array([2, 3, 7])
    drawn = [data.other_than(3, starts, rng) for _ in range(300)]
    assert set(drawn) == {2, 7} and 100 < drawn.count(2) < 200
    for i in range(20):
        sample = samples.sample(0, np.random.default_rng(i))
        assert not np.array_equal(sample["frames"], sample["wrong"])


def test_half_of_the_experts_samples_are_in_sync(tmp_path):
    samples = data.SyncWindows([features_clip(tmp_path)])
    labels = [float(samples.sample(0, np.random.default_rng(i))["in_sync"]) for i in range(200)]
    assert 70 < sum(labels) < 130


def test_a_sample_depends_on_its_random_numbers_alone(tmp_path):
    samples = data.MouthWindows([features_clip(tmp_path, name="a"), features_clip(tmp_path, name="b", seed=1)], per_clip=3)
    assert len(samples) == 6
    one, two = (samples.sample(5, np.random.default_rng(7)) for _ in range(2))
    assert all(np.array_equal(one[name], two[name]) for name in one)


def test_the_loader_reads_thousands_of_windows_per_second(tmp_path):
    samples = data.MouthWindows([features_clip(tmp_path, frames=75)])
    rng = np.random.default_rng(0)
    samples.sample(0, rng)
    start = time.process_time()
    for i in range(200):
        samples.sample(i, rng)
    assert 200 / (time.process_time() - start) > 2000


def test_prepared_features_are_the_faces_of_the_video_and_the_speech(tmp_path):
    clip = make_clip(tmp_path, frames=30, seconds=1.2)
    model, folder = make_model(without=(3,)), tmp_path / "out"
    folder.mkdir()
    model.prepare(clip, folder)
    features = data.Features.open(folder)
    face = data.cut_face(next(iter(Video(clip.face))), BOX)
    assert features.faces.shape == (30, 96, 96, 3) and np.array_equal(features.faces[0], face)
    assert 3 not in features.windows and 4 in features.windows
    np.testing.assert_allclose(features.mel.T, melspectrogram(noise(1.2).round(6)), atol=0.05)


@pytest.mark.parametrize(
    ("frames", "seconds", "without", "reason"),
    [
        (12, 1.0, (), "has 12 frames"),
        (30, 0.1, (), "0.10 s long"),
        (30, 1.2, range(0, 30, 3), "20 of 30 frames have a face"),
    ],
)
def test_a_clip_that_cannot_be_trained_on_says_why(tmp_path, frames, seconds, without, reason):
    clip = make_clip(tmp_path, frames, seconds)
    with pytest.raises(MediaError, match=reason):
        make_model(without=without).prepare(clip, tmp_path)


# --- speech -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0.19, 1.0, 3.3, 7.013])
def test_mel_in_blocks_is_the_mel(tmp_path, monkeypatch, seconds):
    monkeypatch.setattr(data, "BLOCK", 16_000)
    path = tmp_path / "speech.wav"
    write_audio(path, noise(seconds))
    whole = melspectrogram(next(data.blocks_of(path, 10**9)))
    np.testing.assert_allclose(np.concatenate(list(data.mel_blocks(path)), axis=1), whole, atol=1e-4)


@pytest.mark.parametrize("fps", [25.0, 29.97, 10.0, 90.0])
def test_chunks_in_blocks_are_the_authors_chunks(fps):
    mel = np.random.default_rng(0).normal(size=(80, 203)).astype(np.float32)
    expected, i = [], 0
    while True:
        start = int(i * 80.0 / fps)
        if start + 16 > mel.shape[1]:
            expected.append(mel[:, -16:])
            break
        expected.append(mel[:, start : start + 16])
        i += 1
    for size in (203, 17, 5):
        found = list(data.chunks_of((mel[:, at : at + size] for at in range(0, 203, size)), fps))
        assert np.array_equal(found, expected)


# --- stages -----------------------------------------------------------------------------------------------------------


def state_of(stage):
    return {name: tensor.clone() for name, tensor in stage.state_dict().items()}


@pytest.mark.parametrize(
    ("name", "networks"), [("expert", ["expert"]), ("generator", ["generator"]), ("gan", ["generator", "discriminator"])]
)
def test_a_stage_updates_only_what_it_names(tmp_path, name, networks):
    model = make_model()
    stage = model.stages[name](model)
    stage.loss_weights["sync"] = 0.5
    clips = [features_clip(tmp_path)]
    before = state_of(stage)
    Trainer(settings(steps=1), tmp_path / "run", device="cpu").fit(stage, stage.samples(clips, "train"))
    changed = {key for key, value in stage.state_dict().items() if not torch.equal(value, before[key])}
    parameters = {key for key, _ in stage.named_parameters()}
    assert {key.partition(".")[0] for key in changed} == set(networks)
    assert {key for key in parameters if key.partition(".")[0] in networks} >= changed & parameters
    assert len(changed & parameters) > 0.9 * sum(key.partition(".")[0] in networks for key in parameters)


@pytest.mark.parametrize("name", ["expert", "generator", "gan"])
def test_a_stage_learns_one_batch_by_heart(tmp_path, name):
    model = make_model()
    stage = model.stages[name](model).train()
    batch = batch_of(stage.samples([features_clip(tmp_path)], "train"), 4 if name == "expert" else 1)
    parameters = {group: [p for n in networks for p in n.parameters()] for group, networks in stage.trainable().items()}
    optimizers = {group: torch.optim.Adam(own, 4e-3) for group, own in parameters.items()}
    key = "sync" if name == "expert" else "l1"
    history = []
    for _ in range(25 if name == "expert" else 12):
        for group, losses in stage.losses(batch):
            sum(stage.loss_weights.get(n, 1.0) * loss for n, loss in losses.items() if loss.requires_grad).backward()
            history += [losses[key].item()] if key in losses else []
            optimizers[group].step()
            stage.zero_grad()
    assert history[-1] < 0.85 * history[0]


def test_the_sync_loss_counts_once_mouths_can_be_judged_and_for_good():
    model = make_model()
    stage = model.stages["generator"](model)
    stage.after_validation({"sync": 0.8, "l1": 0.1})
    assert stage.loss_weights == {"l1": 1.0, "sync": 0.0}
    stage.after_validation({"sync": 0.7, "l1": 0.1})
    assert stage.loss_weights == {"l1": 0.99, "sync": 0.01}
    stage.after_validation({"sync": 0.9, "l1": 0.1})
    assert stage.loss_weights == {"l1": 0.99, "sync": 0.01}
    gan = model.stages["gan"](model)
    gan.after_validation({"sync": 0.7})
    assert gan.loss_weights == pytest.approx({"l1": 0.9, "sync": 0.03, "perceptual": 0.07})


def test_the_weight_of_the_sync_loss_survives_a_resume(tmp_path):
    model, clips = make_model(), [features_clip(tmp_path)]
    for steps in (1, 2):
        stage = model.stages["generator"](model, sync_threshold=50.0 if steps == 1 else 0.0)
        samples = stage.samples(clips, "train")
        Trainer(settings(steps=steps), tmp_path / "run", device="cpu").fit(stage, samples, samples, resume=steps == 2)
        assert stage.loss_weights == {"l1": 0.99, "sync": 0.01}


def test_the_expert_judges_by_the_batch_and_forgets_it(tmp_path):
    model = make_model()
    stage = model.stages["generator"](model)
    batch = batch_of(stage.samples([features_clip(tmp_path)], "val"))
    before = {key: value.clone() for key, value in model.expert.state_dict().items()}
    _, _, truth, mel = stage.inputs(batch)
    by_batch = stage.sync_loss(truth, mel)
    stage.expert_batch_statistics = False
    assert not torch.isclose(by_batch, stage.sync_loss(truth, mel))
    assert all(torch.equal(value, before[key]) for key, value in model.expert.state_dict().items())
    with batch_statistics(model.expert, True):
        assert model.expert.face_encoder[0].conv_block[1].training
    assert not model.expert.face_encoder[0].conv_block[1].training


def test_a_preview_shows_reference_mask_result_and_truth(tmp_path):
    model = make_model()
    stage = model.stages["generator"](model).eval()
    batch = batch_of(stage.samples([features_clip(tmp_path)], "val"))
    image = stage.preview(batch)
    assert image.shape == (2 * 96, 4 * 96, 3)
    assert np.array_equal(image[:96, -96:], batch["frames"][0, 0].numpy()[..., ::-1])
    assert not image[48:96, 96:192].any()


# --- weights ----------------------------------------------------------------------------------------------------------


def official(network, seed=1):
    """A file's content as the authors' trainers write it, with made-up weights."""
    state = {name: torch.from_numpy(np.asarray(make_weight(name, t.shape, seed))) for name, t in network.state_dict().items()}
    moments = {0: {"step": 3, "exp_avg": torch.zeros(2), "exp_avg_sq": torch.zeros(2)}}
    optimizer = {"state": moments, "param_groups": [{"lr": 1e-4, "params": [0]}]}
    prefixed = {f"module.{name}": tensor for name, tensor in state.items()}
    return state, {"state_dict": prefixed, "optimizer": optimizer, "global_step": 3, "global_epoch": 1}


def equal(network, state):
    return all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("file", ["wav2lip.pth", "wav2lip_gan.pth"])
def test_official_files_load_unchanged(tmp_path, file):
    model = make_model()
    generator, content = official(model.generator)
    expert, expert_content = official(model.expert)
    torch.save(content, tmp_path / file)
    torch.save(expert_content, tmp_path / "lipsync_expert.pth", _use_new_zipfile_serialization=False)
    assert model.load(tmp_path, needed=model.generates_with) == ["generator", "expert"]
    assert equal(model.generator, generator) and equal(model.expert, expert)


def test_a_torchscript_file_loads(tmp_path):
    model, other = make_model(), make_model()
    torch.nn.init.normal_(other.generator.output_block[1].weight)
    script = torch.jit.trace(other.generator, (torch.zeros(1, 1, 80, 16), torch.zeros(1, 6, 96, 96)))
    torch.jit.save(script, tmp_path / "Wav2Lip-SD-GAN.pt")
    assert model.load(tmp_path) == ["generator"]
    assert equal(model.generator, other.generator.state_dict())


def test_a_single_file_is_taken_for_the_network_it_holds(tmp_path):
    model = make_model()
    expert, content = official(model.expert)
    torch.save(content, tmp_path / "whatever.pth")
    assert model.load(tmp_path / "whatever.pth") == ["expert"] and equal(model.expert, expert)
    with pytest.raises(MissingWeightsError, match="holds expert of Wav2Lip, and not the generator"):
        model.load(tmp_path / "whatever.pth", needed=model.generates_with)


def test_saved_weights_load_again_from_a_run(tmp_path):
    model, other = make_model(), make_model()
    torch.nn.init.normal_(model.generator.output_block[1].weight)
    model.save(tmp_path / "weights")
    assert other.load(tmp_path) == ["generator", "expert"]
    assert equal(other.generator, model.generator.state_dict())
    with pytest.raises(CheckpointError, match="--Wav2Lip.width=0.1"):
        make_model(width=0.15).load(tmp_path)


def test_a_file_of_another_network_is_named(tmp_path):
    torch.save({"weight": torch.zeros(3, 3)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="holds no network of Wav2Lip"):
        make_model().load(tmp_path / "other.pth")


def test_missing_weights_say_how_to_get_them(tmp_path):
    with pytest.raises(MissingWeightsError) as error:
        make_model().load_published("expert", tmp_path, needed_by="generator")
    path = tmp_path / "Wav2Lip" / "lipsync_expert.pth"
    assert str(error.value).startswith(
        f"{path} does not exist, and stage 'generator' needs it. Train it with --stages=expert, or see checkpoints/README.md. "
    )
    assert "about 190 MB" in str(error.value) and "talkingface download Wav2Lip" in str(error.value)
    with pytest.raises(MissingWeightsError, match="wav2lip_gan.pth does not exist"):
        make_model().load(tmp_path / "Wav2Lip")


# --- generation -------------------------------------------------------------------------------------------------------


def outside(image):
    x1, y1, x2, y2 = BOX
    image = image.copy()
    image[y1:y2, x1:x2] = 0
    return image


@pytest.mark.parametrize(("frames", "seconds", "expected"), [(10, 0.6, 12), (30, 0.6, 12), (5, 1.0, 22)])
def test_there_is_a_frame_for_each_chunk_of_speech(tmp_path, frames, seconds, expected):
    model = make_model(pads=[0, 0, 0, 0])
    clip = make_clip(tmp_path, frames, seconds)
    made = list(model.generate(clip))
    chunks = 1 + sum(int(i * 80 / 25) + 16 <= 1 + int(16_000 * seconds) // 200 for i in range(100))
    assert len(made) == chunks and abs(chunks - expected) < 3
    for t, frame in enumerate(made):
        assert np.array_equal(outside(frame.image), outside(picture(t % frames))), "pixels outside of the box are as they were"
        assert not np.array_equal(frame.image, picture(t % frames)) and frame.note == ""
    assert model.frame_rate(clip) == 25


def test_a_frame_without_a_face_passes_untouched_with_a_reason(tmp_path):
    made = list(make_model(without=(2, 3)).generate(make_clip(tmp_path)))
    assert [frame.note for frame in made[:5]] == ["", "", "no face", "no face", ""]
    assert np.array_equal(made[2].image, picture(2)) and not np.array_equal(made[4].image, picture(4))


def test_batches_do_not_change_the_frames(tmp_path):
    clip = make_clip(tmp_path)
    one, many = ([frame.image for frame in make_model(wav2lip_batch_size=size, without=(1,)).generate(clip)] for size in (1, 64))
    assert np.abs(np.int16(one) - np.int16(many)).max() <= 1


def test_boxes_are_not_averaged_across_a_gap():
    boxes = np.float32([[10, 10, 30, 30]] * 3 + [[np.nan] * 4] + [[50, 50, 70, 70.9]] * 6)
    found = data.face_boxes(boxes, (0, 10, 0, 0), (80, 75))
    assert found[:3].tolist() == [[10, 10, 30, 40]] * 3 and found[3].tolist() == [-1] * 4
    assert found[4:].tolist() == [[50, 50, 70, 75]] * 6


@pytest.mark.parametrize("fps", [25.0, 10.0])
def test_a_still_speaks(tmp_path, fps):
    write_image(tmp_path / "a.face.png", picture(3))
    write_audio(tmp_path / "a.wav", noise(0.5))
    clip, model = Clip("a", tmp_path / "a.face.png", tmp_path / "a.wav"), make_model(fps=fps)
    made = list(model.generate(clip))
    assert model.frame_rate(clip) == fps and len(made) == (10 if fps == 25 else 5)
    assert all(np.array_equal(outside(frame.image)[:60], outside(picture(3))[:60]) for frame in made)


def test_silence_is_speech_too(tmp_path):
    clip = make_clip(tmp_path)
    write_audio(clip.audio, np.zeros(8000, np.float32))
    assert len(list(make_model().generate(clip))) > 5


def test_speech_below_a_fifth_of_a_second_is_refused_with_its_length(tmp_path):
    with pytest.raises(MediaError, match=r"clip.wav is 0.11 s long; Wav2Lip needs at least 0.2 s"):
        list(make_model().generate(make_clip(tmp_path, seconds=0.11)))


def test_static_repeats_the_first_frame_at_the_videos_rate(tmp_path):
    clip, model = make_clip(tmp_path, fps=20.0), make_model(static=True)
    made = list(model.generate(clip))
    assert model.frame_rate(clip) == 20
    assert all(np.array_equal(frame.image[: BOX[1]], picture(0)[: BOX[1]]) for frame in made)


def test_a_fixed_box_needs_no_detection_and_no_pads(tmp_path):
    clip, model = make_clip(tmp_path), make_model(box=[12, 60, 20, 60])
    model.faces = None
    made = list(model.generate(clip))
    assert all(np.array_equal(outside(frame.image), outside(picture(t % 10))) for t, frame in enumerate(made))
    with pytest.raises(FaceError, match="is no box in the 80 x 72 frames"):
        list(make_model(box=[12, 90, 20, 60]).generate(clip))
    with pytest.raises(ConfigError, match="expected 4 numbers"):
        make_model(box=[1, 2])


def test_frames_are_resized_turned_and_cut_in_this_order(tmp_path):
    clip = make_clip(tmp_path)
    view = EditedVideo(clip.face, resize_factor=2, rotate=True, crop=[2, -1, 1, 30])
    frame = next(iter(view))
    assert (view.height, view.width) == frame.shape[:2] == (38, 29)
    assert np.abs(frame[0, 0].astype(int) - picture(0)[-4:-2, 4:6].mean((0, 1))).max() < 2
    assert view.content_hash() != Video(clip.face).content_hash() == EditedVideo(clip.face).content_hash()
    box = view.edit_boxes(np.array([[20.0, 12, 60, 60], [0, 0, 1, 1]]))
    assert box[0].tolist() == [5, 8, 29, 28] and np.isnan(box[1]).all()
    with pytest.raises(MediaError, match="nothing is left"):
        next(iter(EditedVideo(clip.face, crop=[70, 40, 0, -1])))


def test_landmarks_of_the_file_serve_a_cropped_view(tmp_path):
    clip = make_clip(tmp_path)
    model = Wav2Lip(**TINY, crop=[10, -1, 10, -1], pads=[0, 0, 0, 0])
    points = np.random.default_rng(0).uniform((30, 30), (50, 55), (68, 2)).astype(np.float32)
    np.savez(clip.face.with_suffix(".landmarks.npz"), landmarks=np.tile(points, (10, 1, 1)), detected=np.ones(10, bool))
    whole = model.faces.boxes(Video(clip.face)).boxes[0]
    assert np.abs(model.boxes(model.view(clip.face))[0] - (whole - 10)).max() < 1.01


def test_a_long_video_is_never_held_whole():
    alive = 0

    class Counted(np.ndarray):
        def __del__(self):
            nonlocal alive
            alive -= 1

    def frames():
        nonlocal alive
        for t in range(60):
            alive += 1
            yield picture(t).view(Counted)

    class Frames:
        def __iter__(self):
            return frames()

    model, most = make_model(), 0
    chunks = (np.zeros((80, 16), np.float32) for _ in range(60))
    with torch.inference_mode():
        for _ in lip_sync(Frames(), np.array([BOX]), chunks, model.generator, batch_size=4):
            most = max(most, alive)
    assert most < 40


# --- other sizes and precisions ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["expert", "generator", "gan"])
def test_losses_are_finite_in_bf16(tmp_path, name):
    model = make_model()
    stage = model.stages[name](model).train()
    stage.loss_weights["sync"] = 0.5
    batch = batch_of(stage.samples([features_clip(tmp_path)], "train"))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = {key: loss for _, losses in stage.losses(batch) for key, loss in losses.items()}
    sum(loss for loss in found.values() if loss.requires_grad).backward()
    assert all(loss.dtype == torch.float32 and torch.isfinite(loss) for loss in found.values())


def test_the_discriminator_may_start_from_a_file(tmp_path):
    model = make_model()
    state, content = official(model.stages["gan"](model).discriminator)
    torch.save(content, tmp_path / "visual_quality_disc.pth")
    stage = model.stages["gan"](model, discriminator_file=str(tmp_path / "visual_quality_disc.pth"))
    assert equal(stage.discriminator, state)


def test_small_faces_go_all_the_way(tmp_path):
    clip = make_clip(tmp_path, frames=30, seconds=1.2)
    model, folder = make_model(image_size=48, pads=[0, 0, 0, 0]), tmp_path / "out"
    folder.mkdir()
    model.prepare(clip, folder)
    assert data.Features.open(folder).faces.shape[1:] == (48, 48, 3)
    samples = [Clip("a", folder, folder, prepared=folder)]
    for cls in model.stages.values():
        stage = cls(model)
        batch = batch_of(stage.samples(samples, "val"))
        assert all(torch.isfinite(loss) for _, losses in stage.losses(batch) for loss in losses.values())
    frame = next(model.generate(clip))
    assert np.array_equal(outside(frame.image), outside(picture(0))) and not np.array_equal(frame.image, picture(0))
