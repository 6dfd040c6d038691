"""How PC-AVS is trained: what is prepared, what samples hold, what each stage learns from and leaves alone."""

import logging
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from talkingface.config import Config
from talkingface.dataset.base import Clip
from talkingface.errors import CheckpointError, ConfigError, DatasetError, MediaError, MissingWeightsError
from talkingface.face.finder import FaceFinder
from talkingface.media.audio import write_audio
from talkingface.media.image import write_image
from talkingface.media.video import Video, write_video
from talkingface.model.pc_avs import PC_AVS, augment, data
from talkingface.model.pc_avs.faces import Alignment, view
from talkingface.model.pc_avs.speech import spectrogram
from talkingface.model.pc_avs.stages import (
    GENERATOR_WEIGHTS,
    UNKNOWN,
    GeneratorStage,
    IdentityStage,
    Nearness,
    Speakers,
    SyncStage,
    classification,
    content_losses,
    contrastive,
    from_uniform,
    pictures,
)
from talkingface.nn.gan import MultiscaleDiscriminator
from talkingface.nn.weights import save_weights
from talkingface.quick_start import train
from talkingface.trainer.loader import stack
from talkingface.trainer.settings import TrainingSettings
from talkingface.trainer.trainer import Trainer

SIDE = 64
TINY = {"width": 0.125, "image_size": SIDE, "num_classes": 3}
PLAIN = {"perceptual": "none"}


def noise(seconds, seed=0):
    return np.random.default_rng(seed).uniform(-0.3, 0.3, int(16_000 * seconds)).astype(np.float32)


def face(number, side=SIDE):
    """A picture that no other number has."""
    ramp = np.add.outer(np.arange(side), np.arange(side))
    return np.stack([(ramp * gain + 7 * number) % 256 for gain in (1, 2, 3)], axis=2).astype(np.uint8)


def make_features(folder, frames=40, seconds=1.6, without=(), first=0):
    folder.mkdir(parents=True)
    usable = np.ones(frames, bool)
    usable[list(without)] = False
    data.write_features(folder, (face(first + t) for t in range(frames)), usable, spectrogram(noise(seconds, first)))
    return folder


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Two clips of each of two speakers, prepared."""
    root = tmp_path_factory.mktemp("features")
    names = [(speaker, take) for speaker in "ab" for take in range(2)]
    return [
        Clip(f"{speaker}/{take}", root, root, speaker=speaker, prepared=make_features(root / speaker / str(take), first=50 * i))
        for i, (speaker, take) in enumerate(names)
    ]


def make_model(**settings):
    torch.manual_seed(0)
    return PC_AVS(**{**TINY, **settings})


def batch(samples, count=2):
    return stack([samples.sample(index, np.random.default_rng(index)) for index in range(count)], range(count))


def run(stage, samples):
    """Group -> losses of one batch in training mode."""
    stage.train()
    return dict(stage.losses(batch(samples)))


# --- features ---------------------------------------------------------------------------------------------------------


def test_faces_and_speech_of_a_clip_are_prepared_as_the_networks_see_them(tmp_path):
    video, audio = tmp_path / "v.mkv", tmp_path / "a.wav"
    write_video(video, (face(t, 224) for t in range(30)), 25, lossless=True)
    write_audio(audio, noise(1.4))
    (tmp_path / "features").mkdir()
    data.prepare(Clip("c", video, audio), tmp_path / "features", FaceFinder(), Alignment("never"), SIDE)
    features = data.Features.open(tmp_path / "features")
    wanted = np.stack([view(frame, SIDE) for frame in Video(video)])
    assert np.array_equal(features.faces, wanted) and len(features.shown) == 30
    assert features.speech.shape == (7 + 140, 80) and np.flatnonzero(features.spoken).tolist() == list(range(2, 30))


def test_what_cannot_be_trained_on_says_why(tmp_path):
    write_image(tmp_path / "still.png", face(0, 224))
    write_video(tmp_path / "short.mkv", (face(t, 224) for t in range(20)), 25, lossless=True)
    write_audio(tmp_path / "a.wav", noise(2))
    for name, reason in (("still.png", "is a still"), ("short.mkv", "18 of 20 frames at 25 fps")):
        with pytest.raises(MediaError, match=reason):
            data.prepare(Clip("c", tmp_path / name, tmp_path / "a.wav"), tmp_path, FaceFinder(), Alignment("never"), SIDE)


def test_frames_of_a_sample_have_a_face_and_whole_speech(tmp_path):
    features = data.Features.open(make_features(tmp_path / "f", frames=40, seconds=1.2, without=range(10, 20)))
    drawn = np.stack([features.draw(3, 2, np.random.default_rng(seed)) for seed in range(200)])
    assert set(np.diff(drawn).ravel()) == {2}
    rows = len(features.speech)
    assert set(drawn.ravel()) == {*range(2, 10), *range(20, rows // 4 - 2)}
    assert np.array_equal(features.windows(drawn[0])[1], features.speech[4 * (drawn[0][1] - 2) :][:20].T)


def test_a_clip_too_short_for_the_interval_gives_nearer_frames_and_at_last_an_error(tmp_path):
    features = data.Features.open(make_features(tmp_path / "f", frames=30, seconds=1.2))
    assert np.diff(features.draw(2, 100, np.random.default_rng(0)))[0] == 26  # frames 2 and 28 are the first and the last
    with pytest.raises(DatasetError, match=r"nowhere 60 frames in a row.*smaller clip_len"):
        features.draw(60, 1, np.random.default_rng(0))


# --- samples ----------------------------------------------------------------------------------------------------------


def test_targets_are_plain_and_what_pose_and_lips_are_read_from_is_changed(clips):
    samples = data.TalkingClips(clips, [0, 0, 1, 1], length=4, interval=3, every=2, references=2)
    sample = samples.sample(1, np.random.default_rng(0))
    faces = samples.features(1).faces
    numbers = [next(t for t in range(len(faces)) if np.array_equal(faces[t], target)) for target in sample["frames"]]
    assert np.diff(numbers).tolist() == [6] and sample["speaker"] == 0
    assert sample["augmented"].shape == (4, SIDE, SIDE, 3) and not np.array_equal(sample["augmented"][::2], sample["frames"])
    assert all(any(np.array_equal(picture, known) for known in faces) for picture in sample["identity"])
    plain = data.TalkingClips(clips, [0] * 4, length=4, change=False).sample(1, np.random.default_rng(0))
    assert np.array_equal(plain["augmented"], plain["frames"])


def test_several_clips_of_a_video_in_one_sample_differ(clips):
    sample = data.SpeechClips(clips, [0] * 4, length=3, times=4).sample(0, np.random.default_rng(0))
    assert sample["mels"].shape == (4, 3, 80, 20) and sample["augmented"].shape == (4, 3, SIDE, SIDE, 3)
    assert not np.array_equal(sample["mels"][0], sample["mels"][1])


def test_portraits_show_every_frame_with_a_face(tmp_path):
    folder = make_features(tmp_path / "f", frames=6, without=(0, 3))
    clip = Clip("c", folder, folder, prepared=folder)
    samples = data.Portraits([clip], [UNKNOWN])
    seen = {tuple(samples.sample(0, np.random.default_rng(seed))["picture"][0, 0]) for seed in range(60)}
    assert seen == {tuple(face(t)[0, 0]) for t in (1, 2, 4, 5)}


# --- augmentation -----------------------------------------------------------------------------------------------------


def test_draws_keep_to_the_authors_ranges():
    draws = [augment.Draw.random(np.random.default_rng(seed), 3) for seed in range(500)]
    ranges = {field.name: [getattr(draw, field.name) for draw in draws] for field in fields(augment.Draw)}
    assert 0.3 <= min(ranges["gain"]) < 0.32 and 1.58 < max(ranges["gain"]) <= 1.6
    assert {(draw.first, draw.last) for draw in draws} == {(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (1, 4)}
    assert set(ranges["stretch"]) == set(range(15, 25)) and all(draw.margin < draw.stretch // 2 for draw in draws)
    assert set(map(abs, ranges["reach"])) == set(range(20, 40)) and set(map(abs, ranges["shear"])) == set(range(20, 30))
    assert {len(blurs) for blurs in ranges["blurs"]} == {0, 3} and {b for blurs in ranges["blurs"] for b in blurs} == {3, 5, 7, 9}


def test_all_frames_of_a_clip_are_changed_alike():
    frames = np.repeat(face(3, 224)[None], 3, axis=0)
    changed = [augment.augment(frames, np.random.default_rng(seed)) for seed in range(8)]
    draws = [augment.Draw.random(np.random.default_rng(seed), 3) for seed in range(8)]
    assert all(np.array_equal(clip[0], clip[1]) for clip, draw in zip(changed, draws, strict=True) if len(set(draw.blurs)) < 2)
    assert all(clip.shape == frames.shape and not np.array_equal(clip, frames) for clip in changed)


def test_smaller_pictures_are_changed_as_much():
    draw = replace(augment.Draw.random(np.random.default_rng(1), 1), blurs=(), gain=1.0)
    large = cv_smooth(np.kron(np.random.default_rng(0).integers(0, 255, (8, 8, 3)), np.ones((28, 28, 1)))).astype(np.uint8)
    small = large[::2, ::2].copy()
    one, other = augment.reshaped(large, draw)[::2, ::2], augment.reshaped(small, draw.scaled(112))
    still = np.abs(small.astype(int) - other).mean()
    assert np.abs(one.astype(int) - other).mean() < 0.25 * still


def cv_smooth(image):
    kernel = np.ones(15) / 15
    for axis in (0, 1):
        image = np.apply_along_axis(lambda line: np.convolve(np.pad(line, 7, mode="edge"), kernel, "valid"), axis, image)
    return image


# --- speakers ---------------------------------------------------------------------------------------------------------


def test_speakers_are_numbered_by_name_and_unknown_ones_are_not_judged(clips):
    speakers = Speakers(2)
    speakers.learn(clips)
    stranger = replace(clips[0], speaker="c")
    assert speakers.labels([clips[3], stranger, clips[0]]) == [1, UNKNOWN, 0]
    logits = torch.randn(3, 2)
    one = classification(logits, torch.tensor([1, UNKNOWN, UNKNOWN]))
    torch.testing.assert_close(one, nn.functional.cross_entropy(logits[:1], torch.tensor([1])))
    assert classification(logits, torch.tensor([UNKNOWN] * 3)) == 0


def test_more_speakers_than_classes_names_the_flag(clips):
    many = [replace(clips[0], name=str(i), speaker=str(i)) for i in range(4)]
    for stage in (IdentityStage(make_model()), GeneratorStage(make_model(), **PLAIN)):
        with pytest.raises(ConfigError, match=r"4 speakers: add --PC_AVS\.num_classes=4"):
            stage.samples(many, "train")


# --- identity ---------------------------------------------------------------------------------------------------------


def test_identity_is_validated_on_clips_of_known_speakers_that_it_has_not_seen(clips):
    stage = IdentityStage(make_model())
    train, val = stage.samples(clips, "train"), stage.samples([replace(clips[0], name="x", speaker="x")], "val")
    assert len(train.folders) == len(val.folders) == 2 and not set(train.folders) & set(val.folders)
    assert sorted(train.labels) == sorted(val.labels) == [0, 1]


def test_the_identity_trunk_starts_from_torchvisions_file(tmp_path, monkeypatch):
    other = make_model(width=0.25).identity.model
    state = {**other.state_dict(), "fc.weight": torch.zeros(5, 2), "fc.bias": torch.zeros(5)}
    path = tmp_path / "resnext50_32x4d-1a0047aa.pth"
    torch.save(state, path)
    for file in (path, tmp_path):
        stage = IdentityStage(make_model(width=0.25), resnext_file=str(file))
        assert torch.equal(stage.identity.model.conv1.weight, other.conv1.weight)
    with pytest.raises(CheckpointError, match="does not fit ResNeXt"):
        IdentityStage(make_model(), resnext_file=str(path))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "empty"))
    with pytest.raises(MissingWeightsError, match=r"resnext50_32x4d-7cdf4587\.pth does not exist.*made-up"):
        IdentityStage(make_model(), resnext_file="torchvision")


# --- speech content ---------------------------------------------------------------------------------------------------


def test_content_losses_move_one_side_each():
    lips, speech = torch.randn(3, 8, requires_grad=True), torch.randn(3, 8, requires_grad=True)
    moved = {"crossmodal": speech, "contrastive_a2v": speech, "contrastive_v2a": lips}
    for name, loss in content_losses(lips, speech, Nearness()).items():
        gradients = torch.autograd.grad(loss, (lips, speech), retain_graph=True, allow_unused=True)
        assert [g is not None for g in gradients] == [moved[name] is lips, moved[name] is speech], name


def test_the_contrastive_loss_is_lowest_where_each_finds_its_own_and_finite_where_they_meet():
    fixed = torch.eye(4, 16)
    assert (
        contrastive(fixed, fixed.clone()) < 1e-3 < contrastive(fixed, torch.randn(4, 16)) < contrastive(fixed, fixed.roll(1, 0))
    )
    moved = fixed.clone().requires_grad_()
    contrastive(fixed, moved).backward()
    assert torch.isfinite(moved.grad).all()


def test_nearness_may_be_the_cosine_with_a_temperature():
    rows, others = torch.randn(5, 16), torch.randn(5, 16)
    cosines = F.cosine_similarity(rows[:, None], others[None], dim=2)
    assert torch.allclose(Nearness("cosine", 0.1).of(rows, others), cosines / 0.1, atol=1e-5)
    assert torch.allclose(Nearness().of(rows, others), 1 / (2 - 2 * cosines).sqrt(), atol=1e-5)
    wanted = F.cross_entropy(cosines / 0.1, torch.arange(5))
    assert torch.allclose(contrastive(rows, others, Nearness("cosine", 0.1)), wanted, atol=1e-5)
    with pytest.raises(ConfigError, match=r"sync\.nearness: expected one of inverse, cosine"):
        SyncStage(make_model(), nearness="near")
    with pytest.raises(ConfigError, match=r"generator\.temperature: expected more than 0"):
        GeneratorStage(make_model(), temperature=0.0, perceptual="none")


def test_with_a_fan_file_the_trunk_stays_as_it_is(tmp_path, clips, caplog):
    model, fan = make_model(), make_model(width=0.25).pose_mouth.model
    source = {name: value + 0.01 for name, value in model.pose_mouth.model.state_dict().items() if value.is_floating_point()}
    state = {**source, "m1.b1_4.bn1.weight": torch.zeros(3), "fc.weight": torch.zeros(2, 2)}
    save_weights(tmp_path / "2DFAN4.safetensors", state)
    tail = model.pose_mouth.model.fc.weight.clone()
    stage = SyncStage(model, clip_len=2, fan_file=str(tmp_path / "2DFAN4.safetensors"))
    trunk = model.pose_mouth.model
    assert torch.equal(trunk.m0.b1_4.conv1.weight, source["m0.b1_4.conv1.weight"]) and torch.equal(trunk.fc.weight, tail)
    before = {name: value.clone() for name, value in trunk.state_dict().items()}
    samples = stage.samples(clips, "train")
    settings = TrainingSettings(epochs=0, steps=2, batch_size=2)
    Trainer(settings, tmp_path / "run", device="cpu").fit(stage, samples)
    changed = {name.partition(".")[0] for name, value in trunk.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"bn5", "conv6", "fc"}
    save_weights(tmp_path / "wrong.safetensors", fan.state_dict())
    with pytest.raises(CheckpointError, match="wrong"):
        SyncStage(make_model(), fan_file=str(tmp_path / "wrong.safetensors"))


def test_classifiers_learn_without_moving_what_they_judge(clips):
    stage = SyncStage(make_model(), clip_len=2, clips_per_video=2, classifiers=True)
    losses = run(stage, stage.samples(clips, "train"))
    assert set(losses) == {"content", "classifiers"} == set(stage.trainable())
    content = [p for network in stage.trainable()["content"] for p in network.parameters()]
    for loss in losses["classifiers"].values():
        assert all(g is None for g in torch.autograd.grad(loss, content, allow_unused=True, retain_graph=True))
    assert "speaker_heard" not in SyncStage(make_model(), loss_weights={"speaker_heard": 1.0}).loss_weights


def test_clips_of_one_video_are_told_from_each_other(clips):
    stage = SyncStage(make_model(), clip_len=2, clips_per_video=3)
    losses = run(stage, stage.samples(clips, "train"))["content"]
    assert float(losses["contrastive_a2v"].detach()) == pytest.approx(np.log(6), abs=0.6)  # 2 videos, 3 clips each


# --- the generator ----------------------------------------------------------------------------------------------------


def test_everything_is_trained_that_generates_and_mouth_embed_too():
    stage = GeneratorStage(make_model(), **PLAIN)
    trained = {id(p) for network in stage.trainable()["generator"] for p in network.parameters()}
    encoder = stage.pose_mouth
    for network in (stage.generator, stage.identity, stage.speech.model, encoder.model, encoder.mouth_embed, encoder.to_headpose):
        assert all(id(p) in trained for p in network.parameters())
    for network in (stage.discriminator, encoder.headpose_fc, encoder.mouth_fc, encoder.classifier, stage.speech.fc):
        assert not any(id(p) in trained for p in network.parameters())
    assert stage.trainable()["discriminator"] == [stage.discriminator, encoder.headpose_fc]


@pytest.mark.parametrize(
    ("switch", "fixed"),
    [
        ("fix_netG", ["generator"]),
        ("fix_netV", ["identity"]),
        ("fix_netA_sync", ["speech.model"]),
        ("fix_netE", ["pose_mouth.model", "pose_mouth.to_mouth", "pose_mouth.headpose_embed"]),
        ("fix_netE_mouth", ["pose_mouth.to_mouth", "pose_mouth.mouth_embed"]),
        ("fix_netE_headpose", ["pose_mouth.to_headpose", "pose_mouth.headpose_embed"]),
        ("fix_netD", ["discriminator"]),
    ],
)
def test_a_switch_keeps_a_network_as_it_is(switch, fixed, clips):
    free, stage = (GeneratorStage(make_model(), **PLAIN, **switches) for switches in ({}, {switch: True}))

    def trained(stage):
        networks = [network for group in stage.trainable().values() for network in group]
        return {name for name, module in stage.named_modules() if any(module is network for network in networks)}

    assert set(fixed) <= trained(free) and trained(stage).isdisjoint(fixed) and trained(stage) < trained(free)
    assert set(run(stage, stage.samples(clips, "train"))) == set(stage.trainable())


def test_without_an_adversary_and_pose_head_there_is_one_group(clips):
    stage = GeneratorStage(make_model(), **PLAIN, fix_netD=True, disentangle="off")
    assert set(run(stage, stage.samples(clips, "train"))) == {"generator"} == set(stage.trainable())


def test_both_paths_are_generated_unless_only_the_speech_counts(clips):
    both, alone = (GeneratorStage(make_model(), **PLAIN, generate_from_audio_only=only) for only in (False, True))
    losses = {stage: run(stage, stage.samples(clips, "train"))["generator"] for stage in (both, alone)}
    video = {name for name in losses[both] if name.endswith("_video")}
    assert video == {"gan_video", "image_video", "features_video"} and losses[alone].keys() == losses[both].keys() - video
    assert not any(name.endswith("_video") for name in alone.loss_weights)


def test_only_every_so_manieth_frame_is_generated(clips):
    stage = GeneratorStage(make_model(), clip_len=4, frame_interval=2, generate_interval=2, num_inputs=2, **PLAIN)
    items = batch(stage.samples(clips, "train"))
    identity, frames, augmented = (pictures(items[name]) for name in ("identity", "frames", "augmented"))
    seen = stage.eval().look(identity, frames, augmented, items["mels"].unsqueeze(2))
    assert seen.painted["audio"].shape == seen.truth.shape == (4, 3, SIDE, SIDE)
    codes = torch.arange(8.0)[:, None]
    assert stage.chosen(codes, 2).flatten().tolist() == [0, 2, 4, 6]


def test_pose_codes_learn_not_to_tell_the_speaker_while_the_head_learns_to_guess_it(clips):
    stage = GeneratorStage(make_model(), **PLAIN)
    samples = stage.samples(clips, "train")
    head, embed = stage.pose_mouth.headpose_fc[1].weight, stage.pose_mouth.headpose_embed[1].weight
    assert head.shape == (3, 24)
    losses = run(stage, samples)
    (to_codes,) = torch.autograd.grad(losses["generator"]["disentangle"], embed, retain_graph=True)
    (to_head,) = torch.autograd.grad(losses["discriminator"]["pose_speaker"], head, retain_graph=True)
    assert to_codes.abs().sum() > 0 and to_head.abs().sum() > 0
    assert torch.autograd.grad(losses["discriminator"]["pose_speaker"], embed, allow_unused=True) == (None,)
    released = GeneratorStage(make_model(), disentangle="released", **PLAIN)
    assert not run(released, released.samples(clips, "train"))["generator"]["disentangle"].requires_grad


def test_clips_that_span_less_than_20_frames_are_not_disentangled(clips):
    stage = GeneratorStage(make_model(), clip_len=2, frame_interval=9, **PLAIN)
    losses = run(stage, stage.samples(clips, "train"))
    assert "disentangle" not in losses["generator"] and "pose_speaker" not in losses["discriminator"]


def test_an_even_guess_is_no_loss():
    assert from_uniform(torch.zeros(2, 5)) == 0 and from_uniform(torch.tensor([[9.0, 0, 0]])) > 0.1


def test_a_speaker_of_the_validation_has_no_identity_loss(clips):
    stage = GeneratorStage(make_model(), **PLAIN)
    stage.samples(clips, "train")
    losses = run(stage, stage.samples([replace(clip, speaker="x") for clip in clips[:2]], "val"))
    assert losses["generator"]["identity"] == 0 and losses["discriminator"]["pose_speaker"] == 0


def test_without_vgg19_the_error_names_its_source_and_the_switch(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(MissingWeightsError, match=r"vgg19-dcbb9e9d\.pth.*--generator\.perceptual=none"):
        GeneratorStage(make_model())
    with pytest.raises(ConfigError, match=r"generator\.perceptual: expected one of vgg19, none, got 'vgg'"):
        GeneratorStage(make_model(), perceptual="vgg")


def test_what_a_later_stage_lacks_is_said_before_anything_is_prepared_or_trained(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    config = Config.load("PC_AVS", overrides={"PC_AVS": TINY, "generator": {"perceptual": "vgg19"}})
    with pytest.raises(MissingWeightsError, match="vgg19"):
        train(config, make_model(), dataset=None, folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("setting", ["clip_len", "frame_interval", "generate_interval", "num_inputs"])
def test_a_setting_below_one_is_named(setting):
    with pytest.raises(ConfigError, match=rf"generator\.{setting}: expected at least 1, got 0"):
        GeneratorStage(make_model(), **PLAIN, **{setting: 0})


def test_the_voice_has_no_training():
    with pytest.raises(ConfigError, match="use_audio_id"):
        GeneratorStage(make_model(use_audio_id=True, input_id_feature=False), **PLAIN)


def test_the_factors_are_the_published_ones():
    assert GENERATOR_WEIGHTS["contrastive_a2v"] == 100 and GENERATOR_WEIGHTS["disentangle"] == 1e6
    assert [GENERATOR_WEIGHTS[f"{name}_audio"] for name in ("gan", "image", "features", "vgg", "vggface", "mouth")] == [
        1, 10, 10, 10, 5, 0,
    ]  # fmt: skip


def test_the_discriminator_starts_from_a_published_file(tmp_path):
    torch.manual_seed(5)
    published = MultiscaleDiscriminator(0.125)
    published(torch.rand(2, 3, SIDE, SIDE))
    torch.save(published.state_dict(), tmp_path / "latest_net_D.pth")
    stage = GeneratorStage(make_model(), discriminator_file=str(tmp_path / "latest_net_D.pth"), **PLAIN)
    assert all(torch.equal(value, published.state_dict()[name]) for name, value in stage.discriminator.state_dict().items())


def test_a_preview_shows_identity_changed_generated_and_truth(clips):
    stage = GeneratorStage(make_model(), **PLAIN)
    items = batch(stage.samples(clips, "val"))
    with torch.no_grad():
        picture = stage.eval().preview(items)
    assert picture.shape == (2 * SIDE, 4 * SIDE, 3) and picture.dtype == np.uint8
    assert np.abs(picture[:SIDE, 3 * SIDE :].astype(int) - items["frames"][0, 0].numpy()).max() <= 1


def test_weights_of_a_training_generate_without_its_heads(tmp_path, clips, caplog):
    model = make_model()
    GeneratorStage(model, clip_len=3, **PLAIN)
    model.save(tmp_path)
    other = make_model(num_classes=9)
    with caplog.at_level(logging.INFO):
        assert set(other.load(tmp_path)) == set(model.files)
    assert torch.equal(other.pose_mouth.mouth_embed[1].weight, model.pose_mouth.mouth_embed[1].weight)
    assert other.pose_mouth.headpose_fc[1].weight.shape == (9, 12)


# --- real clips, full size --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_real_clips_are_prepared_and_train_the_full_networks(real_data, tmp_path):
    videos = sorted((real_data / "voxceleb2").rglob("*.mp4"))[:2]
    model = PC_AVS(num_classes=2)
    clips = []
    for number, video in enumerate(videos):
        folder = tmp_path / str(number)
        folder.mkdir()
        clip = Clip(video.stem, video, video, speaker=str(number))
        model.prepare(clip, folder)
        clips.append(clip.with_prepared(folder))
    for stage in (IdentityStage(model), SyncStage(model, clip_len=2), GeneratorStage(model, **PLAIN)):
        settings = TrainingSettings(epochs=0, steps=1, batch_size=2, log_every=1)
        result = Trainer(settings, tmp_path / type(stage).__name__, device="cpu").fit(stage, stage.samples(clips, "train"))
        assert all(np.isfinite(loss) for loss in result.losses.values())
