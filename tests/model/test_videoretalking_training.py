"""How VideoReTalking is trained: what is prepared, what samples hold, what each stage learns from and leaves alone."""

import pickle
from zlib import crc32

import numpy as np
import pytest
import torch
from torch import nn

from talkingface.dataset.base import Clip
from talkingface.errors import ConfigError, MediaError, MissingWeightsError
from talkingface.face.finder import FaceFinder
from talkingface.media.audio import load_audio, mel_chunks, melspectrogram, write_audio
from talkingface.media.image import resize, write_image
from talkingface.media.video import Video, write_video
from talkingface.model.videoretalking.data import Features, HeadPairs, Preparation, Sizes, SpokenMouths, TalkingFaces
from talkingface.model.videoretalking.geometry import NUM_EXPRESSION
from talkingface.model.videoretalking.model import VideoReTalking
from talkingface.model.videoretalking.reference import with_head
from talkingface.model.videoretalking.speak import face_pair
from talkingface.model.videoretalking.stages import DNetStage, ENetStage, ExpertStage, LNetStage, WarpStage, put_back, stabilised
from talkingface.nn.perceptual import VggFeatures
from talkingface.quick_start import run_talkingface
from talkingface.trainer.loader import stack
from talkingface.trainer.settings import TrainingSettings
from talkingface.trainer.trainer import Trainer

HEAD, FACE = 64, 96
SIZES = Sizes(HEAD, FACE)
TINY = {"width": 0.06, "num_blocks": 1, "head_size": HEAD, "img_size": FACE, "coefficients": "landmarks", "pads": (0, 0, 0, 0)}
PLAIN = {"perceptual": "none"}
L1_ONLY = {WarpStage: {"warp_l1": 1.0}, DNetStage: {"l1": 1.0}}
FRAMES = 30


def face_points(mouth=0.0):
    """(68, 2): a face whose eyes are about 0.8 from each other, around (0, 0)."""
    angles = np.linspace(0, np.pi, 17)
    jaw = np.stack((-np.cos(angles), 0.1 + 1.1 * np.sin(angles)), axis=1)
    brows = np.concatenate([np.stack((x + np.linspace(-0.25, 0.25, 5), np.full(5, -0.55)), axis=1) for x in (-0.4, 0.4)])
    nose = np.concatenate(
        (np.stack((np.zeros(4), np.linspace(-0.3, 0.15, 4)), 1), np.stack((np.linspace(-0.15, 0.15, 5), np.full(5, 0.25)), 1))
    )
    turns = np.linspace(np.pi, -np.pi, 7)[:6]
    eyes = np.concatenate([np.stack((x + 0.16 * np.cos(turns), -0.3 - 0.06 * np.sin(turns)), axis=1) for x in (-0.4, 0.4)])
    outer, inner = np.linspace(np.pi, -np.pi, 13)[:12], np.linspace(np.pi, -np.pi, 9)[:8]
    lips = [np.stack((r * np.cos(a), 0.6 - (0.4 * r + mouth) * np.sin(a)), axis=1) for r, a in ((0.3, outer), (0.2, inner))]
    return np.concatenate((jaw, brows, nose, eyes, *lips))


def picture(number, size=(160, 120)):
    """A soft picture that no other number has."""
    small = np.random.default_rng(number).integers(0, 256, (9, 12, 3)).astype(np.uint8)
    return resize(small, size)


def make_clip(folder, frames=FRAMES, seconds=1.6, unseen=(), speaker="a", scale=22.0):
    """A video with known landmarks, and sound."""
    folder.mkdir(parents=True)
    video, audio = folder / "v.mkv", folder / "a.wav"
    write_video(video, (picture(1000 * crc32(folder.name.encode()) + t) for t in range(frames)), 25, lossless=True)
    write_audio(audio, np.random.default_rng(0).uniform(-0.3, 0.3, int(16_000 * seconds)).astype(np.float32))
    shift = np.array([(78 + 0.2 * t, 58) for t in range(frames)])
    points = np.stack([face_points(0.1 * (t % 3)) * scale + shift[t] for t in range(frames)]).astype(np.float32)
    detected = np.ones(frames, bool)
    detected[list(unseen)] = False
    np.savez(folder / "v.landmarks.npz", landmarks=points, detected=detected)
    return Clip(str(folder), video, audio, speaker=speaker)


def prepared(clip, folder, **changes):
    settings = {"finder": FaceFinder("files", max_gap=0), "head_side": HEAD, "face_side": FACE, "pads": (0, 0, 0, 0), **changes}
    folder.mkdir()
    Preparation(**settings)(clip, folder)
    return clip.with_prepared(folder)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Two clips of one speaker, one of another."""
    root = tmp_path_factory.mktemp("clips")
    made = [make_clip(root / name, speaker=name[0]) for name in ("a0", "a1", "b0")]
    return [prepared(clip, root / f"features{number}") for number, clip in enumerate(made)]


def make_model(**settings):
    torch.manual_seed(0)
    model = VideoReTalking(**{**TINY, **settings})
    model.faces = FaceFinder("files")
    return model


def batch(samples, count=2):
    return stack([samples.sample(index, np.random.default_rng(index)) for index in range(count)], range(count))


def run(stage, samples):
    """Group -> losses of one batch in training mode."""
    stage.train()
    return dict(stage.losses(batch(samples)))


# --- features ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sides", [(64, 96), (16, 24)])
def test_pictures_are_those_that_generation_shows_the_networks(tmp_path, sides):
    clip = make_clip(tmp_path / "clip", unseen=[4])
    features = Features.open(prepared(clip, tmp_path / "f", head_side=sides[0], face_side=sides[1]).prepared, Sizes(*sides))
    assert np.flatnonzero(~features.valid).tolist() == [4] and len(features.valid) == FRAMES
    for t, frame in enumerate(Video(clip.face)):
        if t == 4:
            continue
        x1, y1, x2, y2 = features.track.boxes[t]
        assert np.array_equal(features.faces[t], resize(frame[y1:y2, x1:x2], (sides[1], sides[1])))
        assert np.array_equal(features.heads[t], features.track.crop(t, frame, sides[0]))


def test_small_pictures_stay_small_on_disk(tmp_path):
    clip = make_clip(tmp_path / "clip")
    sizes = [(prepared(clip, tmp_path / str(side), face_side=side).prepared / "faces.bin").stat().st_size for side in (96, 960)]
    assert sizes[0] == sizes[1]


def test_steering_never_looks_over_a_gap(tmp_path):
    features = Features.open(prepared(make_clip(tmp_path / "clip", unseen=[12]), tmp_path / "f").prepared, SIZES)
    for frame in (11, 13):
        assert np.isfinite(features.steering(frame)).all() and features.steering(frame).shape == (73, 26)
    assert np.isnan(features.coefficients[12]).all()


def test_a_frame_is_taught_with_the_speech_that_generation_gives_it(clips):
    features = Features.open(clips[0].prepared, SIZES)
    windows = mel_chunks(melspectrogram(load_audio(clips[0].audio), reflect=False), 25)
    for frame in range(FRAMES):
        assert np.array_equal(features.window(frame), windows[frame])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"frames": 12}, "has 12 frames at 25 fps; training needs 16"),
        ({"seconds": 0.3}, r"30 of 30 frames have a face, and nowhere five in a row with speech"),
        ({"unseen": range(0, 30, 3)}, "20 of 30 frames have a face, and nowhere five in a row"),
    ],
)
def test_what_cannot_be_trained_on_says_why(tmp_path, changes, reason):
    with pytest.raises(MediaError, match=reason):
        prepared(make_clip(tmp_path / "clip", **changes), tmp_path / "f")


def test_a_still_cannot_be_trained_on(tmp_path):
    write_image(tmp_path / "still.png", picture(0))
    with pytest.raises(MediaError, match="is a still"):
        prepared(Clip("c", tmp_path / "still.png", tmp_path / "a.wav"), tmp_path / "f")


def test_workers_are_sent_no_more_than_they_need():
    model = make_model(width=0.5)
    assert len(pickle.dumps(model.prepare)) < 10_000


def test_the_coefficient_networks_weights_are_needed_to_prepare_with_it(tmp_path):
    model = VideoReTalking(**{**TINY, "coefficients": "network"})
    model.checkpoints_dir = tmp_path
    with pytest.raises(MissingWeightsError, match=r"face3d_pretrain_epoch_20\.pth.*coefficients=landmarks"):
        model.prepare  # noqa: B018


# --- samples ----------------------------------------------------------------------------------------------------------


def test_heads_are_of_each_speaker_equally_often_and_of_all_his_clips(clips):
    samples = HeadPairs(clips, SIZES)
    known = {
        features.heads[t].tobytes(): clip
        for clip in clips
        for features in [Features.open(clip.prepared, SIZES)]
        for t in range(FRAMES)
    }
    drawn = [known[samples.sample(index, np.random.default_rng(index))["heads"][0].tobytes()] for index in range(40)]
    assert sum(clip.speaker == "a" for clip in drawn) == 20 and {clip.name for clip in drawn} == {clip.name for clip in clips}


def test_a_pair_of_heads_is_of_one_clip_each_with_what_draws_it(clips):
    samples = HeadPairs(clips, SIZES)
    features = [samples.features(number) for number in range(3)]
    for index in range(6):
        sample = samples.sample(index, np.random.default_rng(index))
        places = [
            (k, t)
            for head in sample["heads"]
            for k, f in enumerate(features)
            for t in range(FRAMES)
            if np.array_equal(f.heads[t], head)
        ]
        assert len({k for k, _ in places}) == 1
        assert all(np.array_equal(told, features[k].steering(t)) for told, (k, t) in zip(sample["steering"], places, strict=True))


def test_the_expert_hears_the_first_of_its_frames_or_another(clips):
    samples = SpokenMouths(clips, SIZES, side=48)
    features = samples.features(0)
    lower = {resize(features.faces[t], (48, 48))[24:, :, ::-1].tobytes(): t for t in range(FRAMES)}
    labels = []
    for seed in range(20):
        sample = samples.sample(0, np.random.default_rng(seed))
        shown = [lower[mouth.tobytes()] for mouth in sample["mouths"]]
        heard = next(t for t in range(FRAMES) if np.array_equal(features.window(t), sample["mel"]))
        assert np.diff(shown).tolist() == [1] * 4 and (shown[0] == heard) == bool(sample["in_sync"])
        labels.append(float(sample["in_sync"]))
    assert 0.2 < np.mean(labels) < 0.8


def test_talking_faces_are_five_in_a_row_with_whole_speech(tmp_path):
    clip = prepared(make_clip(tmp_path / "clip", unseen=[9], seconds=1.0), tmp_path / "f")
    samples = TalkingFaces([clip], SIZES, others=True)
    features = samples.features(0)
    starts = set()
    for seed in range(60):
        sample = samples.sample(0, np.random.default_rng(seed))
        start = next(t for t in range(FRAMES) if features.valid[t] and np.array_equal(features.faces[t], sample["faces"][0]))
        assert np.array_equal(sample["mels"], np.stack([features.window(start + k) for k in range(5)]))
        assert np.array_equal(sample["heads"][4], features.heads[start + 4])
        assert not np.array_equal(sample["others"][0], sample["faces"][0])
        starts.add(start)
    assert starts == {*range(5), *range(10, 17)}  # 81 columns: the last whole window is that of frame 20


# --- DNet -------------------------------------------------------------------------------------------------------------


def test_each_head_of_a_pair_is_made_from_the_other_with_its_own_coefficients(clips):
    items = batch(HeadPairs(clips, SIZES))
    sources, truths, told = WarpStage.both_ways(items)
    heads = items["heads"].permute(0, 1, 4, 2, 3) / 127.5 - 1
    assert torch.allclose(sources, heads.flatten(0, 1), atol=1e-6) and torch.allclose(truths[::2], heads[:, 1], atol=1e-6)
    assert torch.equal(told[::2], items["steering"][:, 1]) and torch.equal(told[1::2], items["steering"][:, 0])


def test_the_warp_stage_starts_anew_and_leaves_the_painting_alone(clips):
    model = make_model()
    before = model.dnet.editing_net.decoder.final.model[0].weight.clone()
    stage = WarpStage(model, L1_ONLY[WarpStage], **PLAIN)
    weight = model.dnet.editing_net.decoder.final.model[0].weight
    assert not torch.equal(before, weight) and abs(float(weight.detach().std()) - 0.02) < 0.005
    (losses,) = run(stage, stage.samples(clips, "train")).values()
    assert set(losses) == {"warp_l1"} and model.dnet.editing_net not in stage.trainable()["dnet"]
    kept = model.dnet.mapping_net.first[0].weight.clone()
    DNetStage(model, L1_ONLY[DNetStage], **PLAIN)
    assert torch.equal(kept, model.dnet.mapping_net.first[0].weight)


def test_what_the_authors_code_throws_away_is_in_files_and_not_trained():
    dnet = make_model().dnet
    unused = {name for name in dnet.state_dict() if ".conv1." in name or ".norm1." in name}
    assert len(unused) == 6 * 8 and not unused & {name for name, _ in dnet.named_parameters()}
    assert (
        sum(tensor.numel() for tensor in VideoReTalking(coefficients="landmarks", num_blocks=1).dnet.state_dict().values())
        == 22_519_109
    )


@pytest.mark.parametrize("stage", [WarpStage, DNetStage])
def test_nothing_to_learn_from_is_an_error(stage):
    with pytest.raises(ConfigError, match=rf"{stage.title}\.perceptual=none leaves nothing.*{stage.fallback}=1"):
        stage(make_model(), **PLAIN)


# --- references -------------------------------------------------------------------------------------------------------


def test_a_redrawn_head_lies_in_the_face_where_generation_puts_it(tmp_path):
    clip = make_clip(tmp_path / "clip", scale=18.0)
    features = Features.open(prepared(clip, tmp_path / "f").prepared, SIZES)
    frame, track = next(iter(Video(clip.face))), features.track
    head = 255 - features.heads[0]
    landmarks = (track.landmarks[0] + 0.5) * HEAD / 256 - 0.5
    wanted = face_pair(frame, with_head(frame, track.regions[0], head, landmarks), track.boxes[0], FACE).reference
    heads, faces = (torch.from_numpy(p).permute(2, 0, 1)[None] / 255 for p in (head, features.faces[0]))
    ours = put_back(heads, faces, torch.from_numpy(features.place(0))[None])[0].permute(1, 2, 0).numpy() * 255
    difference = np.abs(ours - wanted)
    assert np.median(difference) < 2 and (difference > 24).mean() < 0.05  # but for the edge and the resampling
    assert np.abs(features.faces[0].astype(float) - wanted).mean() > 40


def test_beyond_the_turned_square_a_face_stays_as_it_is():
    heads, faces = torch.ones(1, 3, 8, 8), torch.zeros(1, 3, 8, 8)
    place = torch.tensor([[0.0, 0.0, 1.0, 1.0, 0.5, 0.5, 0.25, 0.0, 0.0, 0.25]])
    result = put_back(heads, faces, place)[0, 0]
    assert result[2:6, 2:6].min() == 1 and result.sum() == 16


def test_all_references_wear_the_one_expression(clips):
    model, told = make_model(), []
    model.dnet.register_forward_pre_hook(lambda _net, inputs: told.append(inputs[1]))
    expression = torch.arange(64.0)
    items = batch(TalkingFaces(clips, SIZES))
    reference = stabilised(model.dnet, expression, items, 24)
    assert reference.shape == (2, 3, 5, 24, 24) and not reference.requires_grad
    assert (told[0][:, :NUM_EXPRESSION] == expression[:, None]).all()
    assert torch.equal(told[0][1, NUM_EXPRESSION:], items["steering"][1, 0, NUM_EXPRESSION:])  # second sample, first frame


# --- LNet -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def lnet_stage():
    return LNetStage(make_model(), **PLAIN)


def test_lnet_sees_the_upper_half_and_a_reference_and_must_paint_the_face(clips, lnet_stage):
    items = batch(lnet_stage.samples(clips, "train"))
    mels, faces, truth = lnet_stage.inputs(items)
    assert mels.shape == (2, 5, 1, 80, 16) and faces.shape == (2, 6, 5, 24, 24) and truth.shape == (2, 3, 5, 24, 24)
    assert torch.equal(faces[:, :3, :, :12], truth[:, :, :, :12]) and not faces[:, :3, :, 12:].any()
    whole = items["faces"][0, 0].numpy().astype(np.float32)[..., ::-1] / 255
    middle = (whole[1::4, 1::4] + whole[2::4, 1::4] + whole[1::4, 2::4] + whole[2::4, 2::4]) / 4  # as generation shrinks it
    assert np.allclose(truth[0, :, 0].permute(1, 2, 0).numpy(), middle, atol=1e-5)


def test_the_expert_is_heard_once_mouths_are_good_enough(clips, lnet_stage):
    samples = lnet_stage.samples(clips, "train")
    assert "sync" not in run(lnet_stage, samples)["lnet"]
    lnet_stage.eval()
    assert "sync" in next(lnet_stage.losses(batch(samples)))[1]
    lnet_stage.after_validation({"sync": 0.76})
    assert lnet_stage.loss_weights["sync"] == 0
    lnet_stage.after_validation({"sync": 0.74})
    assert lnet_stage.loss_weights["sync"] == 0.03 and lnet_stage.loss_weights["l1"] == pytest.approx(0.97)
    loss = run(lnet_stage, samples)["lnet"]["sync"]
    assert torch.autograd.grad(loss, lnet_stage.lnet.decoder.final.model[0].bias)[0].abs().sum() > 0


def test_with_vgg19_l1_makes_room_for_both(tmp_path, clips):
    features = VggFeatures()
    torch.save(
        {f"features.{name.split('.', 1)[1]}": value for name, value in features.state_dict().items()}, tmp_path / "vgg19-0.pth"
    )
    stage = LNetStage(make_model(), vgg_file=str(tmp_path))
    stage.after_validation({"sync": 0.1})
    assert stage.loss_weights == {"l1": pytest.approx(0.9), "perceptual": 0.07, "sync": 0.03}
    assert float(run(stage, stage.samples(clips, "train"))["lnet"]["perceptual"].detach()) > 0
    dnet = DNetStage(make_model(), vgg_file=str(tmp_path))
    assert set(run(dnet, dnet.samples(clips, "train"))["dnet"]) == {"warp", "warp_l1", "perceptual", "style", "l1"}


def test_single_frames_are_painted_until_the_expert_counts(clips):
    stage, painted = LNetStage(make_model(), frames=1, **PLAIN), []
    stage.lnet.register_forward_hook(lambda _net, _inputs, output: painted.append(output.shape[2] if output.dim() == 5 else 0))
    samples = stage.samples(clips, "train")
    run(stage, samples)
    stage.after_validation({"sync": 0.0})
    run(stage, samples)
    assert [frames for frames in painted if frames] == [1, 5]


def test_windows_are_short_where_the_expert_never_counts(clips):
    stage = LNetStage(make_model(), frames=2, sync_threshold=0.0, **PLAIN)
    lengths = [len(stage.samples(clips, split).sample(0, np.random.default_rng(0))["faces"]) for split in ("train", "val")]
    assert lengths == [2, 5]


def test_without_dnet_the_reference_is_from_elsewhere_in_the_clip(clips):
    stage = LNetStage(make_model(), reference="other", **PLAIN)
    assert stage.needs == ("expert",) and LNetStage.needs == ("dnet", "expert")
    items = batch(stage.samples(clips, "train"))
    others = items["others"][1, 2].numpy().astype(np.float32)[..., ::-1] / 255
    found = stage.references(items, FACE)[1, :, 2].permute(1, 2, 0).numpy()
    assert np.allclose(found, others, atol=1e-6)


# --- ENet -------------------------------------------------------------------------------------------------------------


def enet_stage(model=None, **settings):
    return ENetStage(model or make_model(), **{**PLAIN, "identity": "none", **settings})


def test_lnet_does_not_move_while_enet_is_trained(clips, tmp_path):
    model = make_model()
    before = {name: tensor.clone() for name, tensor in model.lnet.state_dict().items()}
    stage = enet_stage(model)
    settings = TrainingSettings(epochs=0, steps=2, batch_size=2)
    Trainer(settings, tmp_path, device="cpu").fit(stage, stage.samples(clips, "train"))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.lnet.state_dict().items())


def test_the_penalty_is_due_at_every_so_manieth_update_and_the_pyramid_ends(clips):
    stage = enet_stage(r1_every=2, pyramid_updates=3)
    samples = stage.samples(clips, "train")
    seen = [run(stage, samples) for _ in range(4)]
    assert [float(groups["discriminator"]["r1"].detach()) > 0 for groups in seen] == [True, False, True, False]
    assert ["pyramid" in groups["generator"] for groups in seen] == [True, True, True, False]
    stage.eval()
    before = int(stage.clock.now), int(stage.penalty.calls)
    with torch.no_grad():
        validation = dict(stage.losses(batch(samples)))
    assert before == (int(stage.clock.now), int(stage.penalty.calls)) and validation["discriminator"]["r1"] == 0


def test_without_a_factor_for_the_adversary_there_is_none(clips):
    stage = enet_stage(loss_weights={"l1": 1.0, "gan": 0.0, "r1": 10.0})
    groups = run(stage, stage.samples(clips, "train"))
    assert set(groups) == {"generator"} == set(stage.trainable()) and "gan" not in groups["generator"]
    assert "r1" not in stage.loss_weights


def test_enet_may_start_as_lnets_face_enlarged(clips):
    stage = enet_stage(plain_start=True)
    sharp, low, _ = stage.look(batch(stage.samples(clips, "train")))
    edge = nn.functional.pad(low, (2, 2, 2, 2), mode="reflect")
    for _ in range(2):
        edge = nn.functional.interpolate(edge, scale_factor=2, mode="bilinear")
    assert torch.allclose(sharp, edge[..., 8:-8, 8:-8], atol=1e-6)


def test_the_identity_is_that_of_the_truth(clips):
    class Colors(nn.Module):
        def forward(self, faces):
            return nn.functional.normalize(faces.mean(dim=(2, 3)) + 2)

    model = make_model()
    model.recognizer = lambda why: Colors()
    stage = enet_stage(model, identity="arcface")
    same = torch.rand(2, 3, 8, 8)
    assert float(stage.identity_loss(same, same)) == pytest.approx(0, abs=1e-6)
    assert float(run(stage, stage.samples(clips, "train"))["generator"]["identity"].detach()) > 0


def test_without_arcface_the_error_names_its_source_and_the_switch(tmp_path):
    model = make_model()
    model.checkpoints_dir = tmp_path
    with pytest.raises(MissingWeightsError, match=r"recognition_arcface_ir_se50\.pth.*facexlib"):
        ENetStage(model, **PLAIN)


def test_the_truth_can_be_restored_first(clips):
    model = make_model()
    model.restorer = lambda why: lambda faces: [np.full((512, 512, 3), 255, np.uint8) for _ in faces]
    stage = enet_stage(model, truth="restored", frames=2)
    items = batch(stage.samples(clips, "train"))
    _, _, truth = stage.look(items)
    plain = enet_stage(frames=2).look(items)[2]
    middle = truth[..., 40:56, 40:56] - plain[..., 40:56, 40:56]
    assert truth.shape == plain.shape == (4, 3, FACE, FACE) and middle.mean() > 0.2 and truth.max() <= 1


def test_the_style_may_come_from_another_frame(clips):
    stage, styles = enet_stage(style="other"), []
    stage.enet.conv_body_first.register_forward_pre_hook(lambda _net, inputs: styles.append(inputs[0]))
    items = batch(stage.samples(clips, "train"))
    stage.look(items)
    wanted = items["others"][:, 0].permute(0, 3, 1, 2).flip(1) / 255
    assert torch.allclose(styles[0], nn.functional.interpolate(wanted, styles[0].shape[2:], mode="bilinear"), atol=1e-6)


# --- settings and previews --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "settings", "message"),
    [
        (LNetStage, {"reference": "neutral"}, r"lnet\.reference: expected one of stabilised, other, got 'neutral'"),
        (LNetStage, {"frames": 6}, r"lnet\.frames: expected 1 to 5, got 6"),
        (ENetStage, {"truth": "gpen"}, r"enet\.truth: expected one of original, restored"),
        (ENetStage, {"style": "mine"}, r"enet\.style: expected one of reference, other"),
        (ENetStage, {"identity": "no"}, r"enet\.identity: expected one of arcface, none"),
        (ENetStage, {"r1_every": 0}, r"enet\.r1_every: expected at least 1, got 0"),
        (WarpStage, {"perceptual": "vgg"}, r"dnet_warp\.perceptual: expected one of vgg19, none, got 'vgg'"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(stage, settings, message):
    with pytest.raises(ConfigError, match=message):
        stage(make_model(), **{**PLAIN, **settings})


@pytest.mark.parametrize("stage", [WarpStage, DNetStage, LNetStage, ENetStage])
def test_without_vgg19_the_error_names_its_source_and_the_switch(stage, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(MissingWeightsError, match=rf"vgg19-dcbb9e9d\.pth.*--{stage.title}\.perceptual=none"):
        stage(make_model())


@pytest.mark.parametrize(
    ("stage", "columns", "side", "settings"),
    [
        (WarpStage, 3, HEAD, {"loss_weights": {"warp_l1": 1.0}}),
        (DNetStage, 4, HEAD, {"loss_weights": {"l1": 1.0}}),
        (LNetStage, 4, 24, {}),
        (ENetStage, 4, FACE, {"identity": "none"}),
    ],
)
def test_a_preview_ends_with_the_truth(stage, columns, side, settings, clips):
    built = stage(make_model(), **PLAIN, **settings)
    items = batch(built.samples(clips, "val"))
    with torch.no_grad():
        shown = built.eval().preview(items)
    assert shown.shape == (2 * side, columns * side, 3) and shown.dtype == np.uint8
    truth = items["heads"][0, 1] if "faces" not in items else items["faces"][0, 0]
    truth = truth.numpy() if side in (HEAD, FACE) else truth.numpy()[1::4, 1::4]
    assert np.abs(shown[:side, -side:].astype(int) - truth).mean() < (1 if side in (HEAD, FACE) else 12)


# --- real clips, full size --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_real_clips_are_prepared_and_train_the_full_networks(real_data, tmp_path):
    videos = sorted((real_data / "voxceleb2").rglob("*.mp4"))[:2]
    model = VideoReTalking(coefficients="landmarks")
    clips = []
    for number, video in enumerate(videos):
        clip, folder = Clip(video.stem, video, video, speaker=str(number)), tmp_path / str(number)
        folder.mkdir()
        model.prepare(clip, folder)
        clips.append(clip.with_prepared(folder))
    stages = [
        WarpStage(model, L1_ONLY[WarpStage], **PLAIN),
        DNetStage(model, L1_ONLY[DNetStage], **PLAIN),
        ExpertStage(model),
        LNetStage(model, frames=1, **PLAIN),
        ENetStage(model, identity="none", **PLAIN),
    ]
    for number, stage in enumerate(stages):
        settings = TrainingSettings(epochs=0, steps=1, batch_size=2, log_every=1)
        result = Trainer(settings, tmp_path / f"stage{number}", device="cpu").fit(stage, stage.samples(clips, "train"))
        assert all(np.isfinite(loss) for loss in result.losses.values())


def test_a_training_asks_for_the_helpers_of_generation_before_it_makes_anything(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = {
        "restoration": "all",
        "coefficients": "landmarks",
        "width": 0.06,
        "num_blocks": 1,
        "head_size": 64,
        "img_size": 96,
    }
    with pytest.raises(MissingWeightsError, match=r"GPEN-BFR-512\.pth.*restoration"):
        run_talkingface("VideoReTalking", "demo", smoke=True, VideoReTalking=settings)
    assert not (tmp_path / "dataset" / "prepared").exists()
