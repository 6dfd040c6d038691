"""What every registered model promises, one that is added later too."""

import json
import pickle
import shutil
from collections.abc import Iterator
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from talkingface.errors import CheckpointError, MissingWeightsError, TalkingFaceError
from talkingface.media.video import Video
from talkingface.registry import MODELS, normalize
from talkingface.trainer.settings import TrainingSettings
from tests.contract.toys import (
    STAGES,
    TALKING,
    OneBatch,
    Twice,
    arguments,
    batch_of,
    different,
    explained,
    fit,
    prepare,
    settings_file,
    state,
    updated_names,
)

every_model = pytest.mark.parametrize("name", MODELS)
every_stage = pytest.mark.parametrize(("name", "stage_name"), STAGES, ids=[f"{model}-{stage}" for model, stage in STAGES])
every_talking_model = pytest.mark.parametrize("name", TALKING)


# --- settings ---------------------------------------------------------------------------------------------------------


@every_model
def test_the_settings_are_the_constructors_arguments_each_with_a_comment(name):
    text, settings = settings_file("model", name)
    assert text.startswith("# ") and len(text.partition("\n")[0]) > 20
    assert set(settings.get(name, {})) == explained(text, name) == arguments(MODELS[name])
    assert settings.get("stages", []) == list(MODELS[name].stages)
    assert all(MODELS.aliases[normalize(alias)] == name for alias in settings.get("aliases", []))


@every_stage
def test_a_stages_settings_are_its_own_and_those_of_training(name, stage_name):
    text, settings = settings_file("model", name)
    own = arguments(MODELS[name].stages[stage_name], leave_out=("model",))
    section, training = settings[stage_name], {field.name for field in fields(TrainingSettings)}
    assert own <= set(section) and set(section) - training == own
    assert own <= explained(text, stage_name)


@every_model
def test_networks_and_stages_are_described_by_what_they_are(name, world):
    model = world.model(name)
    assert model.files and all(isinstance(getattr(model, network), torch.nn.Module) for network in model.files)
    assert model.name == name and all((cls.__doc__ or "").strip() for cls in (type(model), *model.stages.values()))
    for cls in model.stages.values():
        assert set(cls.needs) <= set(model.files)
    if name in TALKING:
        assert set(model.generates_with) <= set(model.files)


# --- features and samples ---------------------------------------------------------------------------------------------


@every_model
def test_features_are_the_same_bytes_each_time(name, world, tmp_path):
    (clip, *_), model = world.clips("train"), world.model(name)
    one, two = (prepare(model, clip, tmp_path / str(number)).prepared for number in range(2))
    files = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert files and files == sorted(path.relative_to(two) for path in two.rglob("*") if path.is_file())
    assert all((one / file).read_bytes() == (two / file).read_bytes() for file in files)


@every_model
def test_what_features_depend_on_is_plain(name, world):
    model = world.model(name)
    assert json.loads(json.dumps(model.preparation())) == model.preparation()
    assert json.loads(json.dumps(model.sizes())) == model.sizes()


@every_stage
def test_a_sample_depends_on_its_index_and_chance_alone(name, stage_name, world):
    _, stage, _ = world.stage(name, stage_name)
    for split in ("train", "val"):
        samples, fresh = world.samples(name, stage, split), world.samples(name, stage, split)
        first = {i: samples.sample(i, np.random.default_rng((3, i))) for i in range(len(samples))}
        carried = pickle.loads(pickle.dumps(samples))  # allowed: our own object, on its way to a loader's process
        for source in (samples, fresh, carried):
            for i in reversed(range(len(samples))):
                again = source.sample(i, np.random.default_rng((3, i)))
                assert again.keys() == first[i].keys() and all(np.array_equal(again[key], first[i][key]) for key in again)
        shapes = [{key: (np.shape(value), np.asarray(value).dtype) for key, value in sample.items()} for sample in first.values()]
        assert len(shapes) >= 2 and all(shape == shapes[0] for shape in shapes)


# --- stages -----------------------------------------------------------------------------------------------------------


@every_stage
def test_losses_are_finite_scalars_of_the_groups_it_trains(name, stage_name, world):
    _, stage, _ = world.stage(name, stage_name)
    stage.train()
    groups = []
    for group, losses in stage.losses(batch_of(world.samples(name, stage))):
        groups.append(group)
        assert torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu")  # no mode leaks out of the stage
        assert losses and all(loss.numel() == 1 and torch.isfinite(loss) for loss in losses.values())
        assert any(loss.requires_grad and stage.loss_weights.get(key, 1) for key, loss in losses.items())
    assert set(groups) == set(stage.trainable())


@every_stage
def test_a_stage_updates_only_what_it_names(name, stage_name, world, tmp_path):
    model, stage, settings = world.stage(name, stage_name)
    before, all_before = state(stage), state(model)
    fit(stage, settings, tmp_path / "run", world.samples(name, stage), steps=2)
    changed, named = different(before, state(stage)), updated_names(stage)
    assert changed <= named.keys()
    parameters = {key for key, is_parameter in named.items() if is_parameter and not key.endswith(".bias")}  # 0 before a norm
    assert parameters <= changed, f"never updated: {sorted(parameters - changed)[:5]}"
    trained = {id(t) for networks in stage.trainable().values() for n in networks for t in (*n.parameters(), *n.buffers())}
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    assert not {key for key in different(all_before, state(model)) if id(tensors[key]) not in trained}
    assert all(parameter.requires_grad for parameter in model.parameters())


@every_stage
def test_validation_changes_nothing(name, stage_name, world):
    _, stage, _ = world.stage(name, stage_name)
    before, batch = state(stage), batch_of(world.samples(name, stage, "val"))
    stage.eval()
    modes = [module.training for module in stage.modules()]
    weights = dict(stage.loss_weights)
    with torch.no_grad():
        values = [[{key: float(loss) for key, loss in losses.items()} for _, losses in stage.losses(batch)] for _ in range(2)]
        stage.preview(batch)
    assert not different(before, state(stage)) and stage.loss_weights == weights
    assert [module.training for module in stage.modules()] == modes
    assert values[0] == values[1]


@every_stage
def test_a_stage_learns_one_batch_by_heart(name, stage_name, world, tmp_path):
    _, stage, settings = world.stage(name, stage_name)
    batch = OneBatch(world.samples(name, stage, "val"))
    lines = fit(stage, settings, tmp_path / "run", batch, steps=8, learning_rate=1e-3, keep=0)
    first, last = ([line["train"] for line in lines if "train" in line][i] for i in (0, -1))
    total = [sum(stage.loss_weights.get(key.rpartition(".")[2], 1.0) * line[key] for key in line) for line in (first, last)]
    assert total[1] < total[0]


@every_stage
def test_a_stage_trains_in_bfloat16(name, stage_name, world, tmp_path):
    _, stage, settings = world.stage(name, stage_name)
    before = state(stage)
    (line,) = fit(stage, settings, tmp_path / "run", world.samples(name, stage), precision="bf16")
    assert all(np.isfinite(value) for value in line["train"].values())
    after = state(stage)
    assert different(before, after) and all(after[key].dtype == before[key].dtype for key in before)


@every_stage
def test_the_same_seed_gives_the_same_weights_and_a_resumed_training_too(name, stage_name, world, tmp_path):
    ends = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        _, stage, settings = world.stage(name, stage_name)
        fit(stage, settings, folder, Twice(world.samples(name, stage)), steps=2)
        ends.append(state(stage))
    assert not different(*ends)
    _, stage, settings = world.stage(name, stage_name)
    fit(stage, settings, tmp_path / "cut", Twice(world.samples(name, stage)), steps=1)
    _, stage, settings = world.stage(name, stage_name, seed=9)
    fit(stage, settings, tmp_path / "cut", Twice(world.samples(name, stage)), steps=2, resume=True)
    assert not different(ends[0], state(stage))


# --- weights ----------------------------------------------------------------------------------------------------------


@every_model
def test_saved_weights_are_loaded_again_bit_for_bit(name, world, tmp_path):
    model, other = world.model(name, seed=0), world.model(name, seed=1)
    model.save(tmp_path / "weights")
    assert set(other.load(tmp_path)) == set(model.files)
    for network in model.files:
        assert not different(state(getattr(model, network)), state(getattr(other, network)))
        single = world.model(name, seed=2)
        assert single.load(tmp_path / "weights" / f"{network}.safetensors") == [network]
    if name in TALKING:
        (clip,) = world.clips("test")
        frames = [[frame.image for _, frame in zip(range(3), m.generate(clip), strict=False)] for m in (model, other)]
        assert np.array_equal(*frames)


@every_model
def test_files_of_other_networks_are_refused(name, world, tmp_path):
    model = world.model(name)
    before = state(model)
    foreign = {"elsewhere": torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Conv2d(1, 2, 3))}
    world.model(name).save(tmp_path / name, foreign)
    files = [tmp_path / name / "elsewhere.safetensors"]
    for other in set(MODELS) - {name}:
        world.model(other).save(tmp_path / other)
        files += sorted((tmp_path / other).iterdir())
    for file in files:
        with pytest.raises(CheckpointError, match=file.name):
            model.load(file)
    network = next(iter(model.files))
    shutil.copy(files[0], tmp_path / model.files[network])
    with pytest.raises(CheckpointError):
        model.load(tmp_path)
    assert not different(before, state(model))


@every_model
def test_absent_weights_are_named(name, world, tmp_path):
    with pytest.raises(MissingWeightsError, match=str(tmp_path)):
        world.model(name).load(tmp_path / "nowhere")


# --- frames -----------------------------------------------------------------------------------------------------------


@every_talking_model
def test_frames_are_pictures_of_one_size_and_come_one_by_one(name, world):
    (clip,), model = world.clips("test"), world.model(name)
    frames = model.generate(clip)
    assert isinstance(frames, Iterator)
    images = [frame.image for frame in frames]
    assert {(image.shape, image.dtype.name) for image in images} == {(images[0].shape, "uint8")} and images[0].shape[2] == 3
    seconds = len(images) / model.frame_rate(clip)
    assert abs(seconds - Video(clip.truth).duration) < 0.3
    again = [frame.image for frame in model.generate(clip)]
    assert np.array_equal(images, again)


@every_talking_model
def test_untouched_frames_are_those_of_the_input(name, world, tmp_path):
    (clip,) = world.clips("test")
    face = tmp_path / "face.mp4"
    shutil.copy(clip.face, face)
    known = dict(np.load(clip.face.with_name(f"{clip.face.stem}.landmarks.npz")))
    known["detected"][:10] = False
    np.savez(tmp_path / "face.landmarks.npz", **known)
    model = world.model(name, overrides={"face.max_gap": 0})
    frames = list(model.generate(replace(clip, face=face)))
    noted = [t for t, frame in enumerate(frames) if frame.note]
    real = Video(face).read()
    assert all(np.array_equal(frames[t].image, real[t]) for t in noted)
    assert set(noted) <= set(range(12)) and len(noted) < len(frames)


@every_talking_model
@pytest.mark.parametrize("part", ["face", "audio"])
def test_what_cannot_be_used_is_an_error_that_names_the_file(name, part, world, tmp_path):
    (clip,) = world.clips("test")
    broken = tmp_path / "broken.mp4"
    broken.write_text("no video")
    with pytest.raises(TalkingFaceError, match=r"broken\.mp4"):
        next(world.model(name).generate(replace(clip, **{part: broken})))
