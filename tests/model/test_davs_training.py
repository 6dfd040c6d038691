"""How DAVS is trained: what samples hold, what each loss is, who learns from it, and what the recipes leave out."""

import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from talkingface.config import Config
from talkingface.dataset.base import Clip
from talkingface.errors import ConfigError, DatasetError, MediaError
from talkingface.face.finder import FaceFinder
from talkingface.media.audio import write_audio
from talkingface.media.image import write_image
from talkingface.media.mfcc import write_bin
from talkingface.media.video import write_video
from talkingface.model.davs import DAVS, data, stages
from talkingface.model.davs.data import Choices, Features, Lengths, SpokenWords, unit
from talkingface.model.davs.faces import Alignment
from talkingface.model.davs.stages import Painted, Spoken
from talkingface.trainer.loader import stack
from talkingface.trainer.settings import TrainingSettings
from talkingface.trainer.trainer import Trainer

SIDE, BORDERED = 64, 65
SIZES = {"label_size": 2, "id_label_size": 3, "disfc_length": 4, "pred_length": 6, "sequence_length": 2}
TINY = {"width": 0.05, "image_size": SIDE, **SIZES}
SHORT = Lengths(4, 6, 2)


def face(number, side=BORDERED):
    """A picture that no other number has."""
    ramp = np.add.outer(np.arange(side), 2 * np.arange(side))
    return np.stack([(ramp * gain + 9 * number) % 256 for gain in (1, 2, 3)], axis=2).astype(np.uint8)


def make_clip(folder, numbers=range(2, 29), faces=None, seed=0):
    """A prepared clip as the authors have it."""
    rng = np.random.default_rng(seed)
    for number in numbers if faces is None else faces:
        write_image(folder / data.FACES / f"{number}.jpg", face(number + 40 * seed))
    for number in numbers:
        write_bin(folder / data.SPEECH / f"{number}.bin", rng.standard_normal((20, 12)) + number)
    return folder


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Two persons say two words twice each."""
    root = tmp_path_factory.mktemp("words")
    names = [(person, word, take) for person in "ab" for take in range(2) for word in ("kiwi", "mama")]
    return [
        Clip(f"{person}/{i}", root, root, speaker=person, word=word, prepared=make_clip(root / person / str(i), seed=i))
        for i, (person, word, _) in enumerate(names)
    ]


def make_model(**settings):
    torch.manual_seed(0)
    return DAVS(**{**TINY, **settings})


def batch_of(samples, count=2):
    return stack([samples.sample(index, np.random.default_rng(index)) for index in range(count)], range(count))


def rows(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# --- losses -----------------------------------------------------------------------------------------------------------


def test_binary_cross_entropy_is_minus_the_logarithm_and_finite_where_a_critic_is_sure():
    probability = torch.tensor([0.2, 0.9])
    assert float(stages.bce(probability, 1.0)) == pytest.approx(-(math.log(0.2) + math.log(0.9)) / 2, rel=1e-6)
    assert float(stages.bce(probability, 0.05)) == pytest.approx(
        -sum(0.05 * math.log(p) + 0.95 * math.log(1 - p) for p in (0.2, 0.9)) / 2, rel=1e-6
    )
    assert float(stages.bce(torch.tensor([0.0, 1.0], dtype=torch.bfloat16), 1.0)) == 50


@pytest.mark.parametrize("hardest", [False, True])
def test_contrastive_loss_pulls_pairs_and_pushes_others_to_the_margin(hardest):
    one, other = F.normalize(rows(5, 7), dim=1), F.normalize(rows(5, 7, seed=1), dim=1)
    wanted = 0.0
    for i in range(5):
        apart = [float((one[i] - other[j]).norm()) for j in range(5)]
        close = [max(0.0, 1.1 - apart[j]) ** 2 for j in range(5) if j != i]
        wanted += apart[i] ** 2 + (max(close) if hardest else sum(close))
    assert float(stages.contrastive(one, other, 1.1, hardest)) == pytest.approx(wanted / 10, rel=1e-5)
    far = 9 * torch.eye(4)
    assert float(stages.contrastive(far, far)) == 0


def test_contrastive_loss_of_equal_rows_has_a_gradient_that_is_finite():
    one, other = torch.ones(3, 4, requires_grad=True), torch.ones(3, 4)
    stages.contrastive(one, other).backward()
    assert torch.isfinite(one.grad).all()


def test_ranking_loss_counts_what_scores_more_than_ones_own_but_for_a_margin():
    one, other = rows(4, 3), rows(4, 3, seed=1)
    scores = (one @ other.T).tolist()
    wanted = sum(max(0.0, 0.2 + scores[i][j] - scores[i][i]) for i in range(4) for j in range(4) if i != j)
    assert float(stages.ranking(one, other)) == pytest.approx(wanted, rel=1e-5)


def test_a_critic_says_nothing_when_all_classes_are_as_probable():
    even, sure = torch.full((3, 8), 2.5), 100 * torch.eye(8)[:3]
    assert float(stages.uniformity(even)) == 0 and float(stages.uniform_cross_entropy(even)) == pytest.approx(math.log(8))
    assert float(stages.uniformity(sure)) == pytest.approx((1 - 1 / 8) / 8)
    assert float(stages.uniform_cross_entropy(sure)) > math.log(8)


def test_labels_are_softened_by_a_tenth_at_most_and_in_validation_by_no_chance():
    torch.manual_seed(0)
    drawn = [stages.soft_label(True) for _ in range(300)]
    assert 0 <= min(drawn) < 0.005 and 0.095 < max(drawn) < 0.1
    assert stages.soft_label(False) == 0.05


def test_the_mouth_is_where_the_authors_have_it():
    mask = stages.mouth_mask(torch.zeros(2, 3, 256, 256))[0, 0]
    assert mask[170:234, 64:192].all() and mask.sum() == 64 * 128
    assert stages.mouth_mask(torch.zeros(64, 64)).sum() == 16 * 32


def test_embeddings_are_cut_in_time_and_brought_to_length_one():
    embeddings = rows(2, 6, 4)
    cut = stages.flat(embeddings, chunks=3)
    assert cut.shape == (6, 8) and torch.allclose(cut.norm(dim=1), torch.ones(6))
    assert torch.allclose(cut[4], F.normalize(embeddings[1, 2:4].flatten(), dim=0))


@pytest.fixture
def painted():
    """Frames of grey 0.5; by audio one level lighter each time, by video ten levels darker in the mouth."""
    truth = torch.full((2, 3, 3, SIDE, SIDE), 0.5)
    by_audio = truth + (torch.arange(1, 4) / 255).view(1, 3, 1, 1, 1)
    by_video = truth - 10 / 255 * stages.mouth_mask(truth)
    return Painted(by_audio, by_video, truth, rows(2, 3, 20, 12), truth[:, 0])


def test_differences_of_pictures_count_in_levels_and_those_of_both_drivers_are_added(painted):
    losses = stages.picture_differences(painted)
    mouth = 16 * 32 / 64**2
    assert losses["l1"].item() == pytest.approx(2 + 10 * mouth, rel=1e-4)
    assert losses["mouth"].item() == pytest.approx((2 + 10) * mouth, rel=1e-4)
    assert stages.restlessness(painted).item() == pytest.approx(
        3 / 255 * (1 - mouth), rel=1e-4
    )  # one level from each frame to the next


class Coin(torch.nn.Module):
    """A critic that says the same of everything."""

    def forward(self, frames, mfcc):
        assert frames.shape[1] == 9 and mfcc.shape[1:] == (3, 20, 12)
        return torch.full((len(frames), 1, 2, 2), 0.8), torch.full((len(frames), 1), 0.3)


def test_adversaries_learn_from_fakes_of_both_drivers_and_the_generator_from_their_verdict(painted):
    stage = stages.GeneratorStage(make_model(sequence_length=3))
    stage.discriminators["sequence"] = Coin()
    critic = stage.discriminator_losses(painted, lambda: 0.1)
    assert critic["sequence"].item() == pytest.approx(-(0.5 * math.log(0.8) + 0.5 * math.log(0.2)), rel=1e-5)
    assert critic["sequence_combine"].item() == pytest.approx(-(0.5 * math.log(0.3) + 0.5 * math.log(0.7)), rel=1e-5)
    own = stage.adversarial_losses(painted)
    assert own["real_sequence"].item() == pytest.approx(-math.log(0.8), rel=1e-5)
    assert own["real_sequence_combine"].item() == pytest.approx(-math.log(0.3), rel=1e-5)


def spoken_pair(seed=0):
    return Spoken(rows(2, 6, 256, seed=seed).requires_grad_(), rows(2, 6, 256, seed=seed + 1).requires_grad_())


def test_critics_learn_nothing_into_the_encoders_and_encoders_answer_all_critics():
    stage = stages.DisentangleStage(make_model(recipe="paper"))
    stage.eval()
    spoken, maps, feature = spoken_pair(), rows(2, 4 * stage.word_from_person.maps, 16, 16).requires_grad_(), rows(2, 256)
    batch = {"word": torch.tensor([0, 1]), "person": torch.tensor([2, 0])}
    critic = stage.critic_losses(spoken, maps, batch)
    assert set(critic) == {"modality", "word_from_person", "person_from_word"}
    sum(critic.values()).backward()
    assert spoken.audio.grad is None and spoken.video.grad is None and maps.grad is None
    probability = [stage.modality(part).flatten().tolist() for part in spoken.detached()]
    wanted = -(sum(map(math.log, probability[0])) + sum(math.log(1 - p) for p in probability[1])) / (2 * 12)
    assert critic["modality"].item() == pytest.approx(wanted, rel=1e-5)
    logits = stage.person_from_word(torch.cat([part.mean(dim=1) for part in spoken]))
    persons = torch.tensor([2, 0, 2, 0])
    assert critic["person_from_word"].item() == pytest.approx(F.cross_entropy(logits, persons).item(), rel=1e-5)
    own = stage.encoder_losses(spoken, maps, feature, batch)
    for name, reached in {"forget_word": maps, "forget_person": spoken.audio, "contrastive": spoken.audio}.items():
        (gradient,) = torch.autograd.grad(own[name], reached, retain_graph=True)
        assert gradient.abs().sum() > 0, name
    assert torch.autograd.grad(own["contrastive"], spoken.video, allow_unused=True)[0] is None  # lips are what sound comes to


def test_encoders_that_follow_forget_leave_a_critic_with_nothing():
    """The critic of persons is fixed; the embeddings alone move."""
    stage = stages.DisentangleStage(make_model(recipe="paper"))
    stage.eval()
    spoken = spoken_pair()
    optimizer = torch.optim.Adam(list(spoken), 0.05)
    values = []
    for _ in range(20):
        loss = stage.evenness(stage.persons_in(spoken))
        values.append(loss.item())
        optimizer.zero_grad()
        (1000 * loss).backward()
        optimizer.step()
    assert values[-1] < 0.1 * values[0]


def test_words_come_from_a_shared_classifier_and_both_learn_the_contrast(clips):
    stage = stages.WordStage(make_model(), chunks=3)
    batch = batch_of(stage.samples(clips, "train"))
    stage.eval()
    (_, critic), (_, own) = stage.losses(batch)
    assert set(critic) == {"modality"} and set(own) == set(settings("word")) - {"modality"}
    spoken = stage.spoken(batch)
    audio = F.normalize(spoken.audio.reshape(6, -1), dim=1)
    video = F.normalize(spoken.video.reshape(6, -1), dim=1)
    assert own["contrastive"].item() == pytest.approx(stages.contrastive(video, audio).item(), rel=1e-5)
    assert own["video_contrastive"].item() == pytest.approx(stages.contrastive(audio, video).item(), rel=1e-5)
    assert own["audio_word"].item() == pytest.approx(F.cross_entropy(stage.words(spoken.audio), batch["word"]).item(), rel=1e-5)


def test_persons_are_known_from_single_frames_and_accuracy_is_not_trained(clips):
    stage = stages.PersonStage(make_model(recipe="paper"))
    stage.eval()
    ((group, losses),) = stage.losses(batch_of(stage.samples(clips, "train")))
    assert group == "encoder" and losses["person"].requires_grad and not losses["accuracy"].requires_grad


def settings(stage):
    """The weights of a stage's losses as the YAML file says them."""
    return Config.load("DAVS").section(stage)["loss_weights"]


def test_weights_are_the_authors(clips):
    weights = settings("generator")
    assert {name for name, weight in weights.items() if weight == 5} == {"audio_modality", "video_modality", "still"}
    assert weights["l1"] == 4 and weights["mouth"] == 8 and weights["forget_word"] == 1e6
    section = Config.load("DAVS").section("generator")
    assert section["epochs"] == 10100 and section["hold_epochs"] == 100 and section["schedule"] == "linear"
    assert section["learning_rate"] == 2e-4 and section["batch_size"] == 16 and section["betas"] == [0.9, 0.999]


def test_the_authors_options_of_training_still_work():
    typed = {"lambda_B": "9", "lambda_CE": "2", "lambda_CE_inv": "5", "L2margin": "0.5", "batchSize": "3", "niter": "7"}
    section = Config.load("DAVS", flags=list(typed.items())).section("generator")
    weights = section["loss_weights"]
    assert (weights["mouth"], weights["word_from_person"], weights["forget_word"]) == (9, 2, 5)
    assert (section["l2_margin"], section["batch_size"], section["hold_epochs"]) == (0.5, 3, 7)


# --- recipes ----------------------------------------------------------------------------------------------------------


def names(stage, group):
    attributes = {id(module): name for name, module in stage.named_modules()}
    return {attributes[id(network)] for network in stage.trainable()[group]}


@pytest.mark.parametrize("recipe", ["released", "paper"])
def test_recipes_differ_in_stages_critics_and_losses(recipe, clips):
    model, paper = make_model(recipe=recipe), recipe == "paper"
    built = {name: stage(model) for name, stage in model.stages.items()}
    assert list(built) == ["word", "person", "disentangle", "generator", "painter"]
    left_out = [] if paper else ["person", "disentangle"]
    assert [name for name, stage in built.items() if stage.left_out] == [*left_out, "painter"]
    persons, critic = ({"persons"}, {"person_from_word"}) if paper else (set(), set())
    generator = stages.GeneratorStage(model, settings("generator"))
    assert names(generator, "generator") == {"speech", "lips", "words", "identity", "decoder"} | persons
    assert names(generator, "critics") == {"modality", "word_from_person", "discriminators.sequence"} | critic
    losses = {name for _, part in generator.losses(batch_of(generator.samples(clips, "train"))) for name in part}
    left_out = {"single", "single_combine", "real_single", "real_single_combine"}
    left_out |= set() if paper else {"person", "person_from_word", "forget_person"}
    assert losses == set(settings("generator")) - left_out and set(generator.loss_weights) == losses


def test_the_painter_moves_nothing_but_the_decoder_and_paints_single_frames_by_both_drivers(clips):
    model = make_model(sequence_length=3)
    stage = stages.PainterStage(model, samples_per_clip=1)
    batch = batch_of(stage.samples(clips, "train"), 3)
    assert set(stage.trainable()["decoder"][0].parameters()) == set(model.decoder.parameters()) and not stage.left_out
    stage.train()
    assert model.decoder.training and not any(part.training for part in (model.speech, model.lips, model.identity))
    stage.eval()
    painted = stage.painted(batch)
    assert painted.by_audio.shape == painted.by_video.shape == painted.truth.shape == (3, 1, 3, SIDE, SIDE)
    which, when = torch.arange(3), batch["painted"]
    assert torch.equal(painted.truth[:, 0], unit(batch["heard"][which, when]))
    with torch.no_grad():
        person = model.identity(unit(batch["reference"]))
        heard = model.speech(batch["mfcc"][:, :, None])[which, when]
        seen = model.lips(unit(batch["heard"]))[which, when]
        assert torch.allclose(painted.by_audio[:, 0], model.decoder(person, heard), atol=1e-5)
        assert torch.allclose(painted.by_video[:, 0], model.decoder(person, seen), atol=1e-5)
    ((group, losses),) = stage.losses(batch)
    assert (group, set(losses)) == ("decoder", {"l1", "mouth"})
    sum(losses.values()).backward()
    assert all(p.grad is None for part in (model.speech, model.lips, model.identity) for p in part.parameters())
    assert any(p.grad.abs().sum() > 0 for p in model.decoder.parameters())
    assert "samples_per_clip" in stages.PainterStage(model).left_out


def test_both_adversaries_can_be_used():
    stage = stages.GeneratorStage(make_model(), single_gan=True, sequence_gan=True)
    assert list(stage.discriminators) == ["single", "sequence"]
    assert not stages.GeneratorStage(make_model(), sequence_gan=False).discriminators


def test_evenness_is_of_squares_or_of_logarithms():
    stage = stages.DisentangleStage(make_model(recipe="paper"), evenness="logarithms")
    assert stage.evenness is stages.uniform_cross_entropy
    with pytest.raises(ConfigError, match=r"evenness.*squares, logarithms.*'cubes'"):
        stages.GeneratorStage(make_model(), evenness="cubes")


def test_pieces_of_an_embedding_are_equal():
    with pytest.raises(ConfigError, match=r"chunks: 6 frames.*4 equal"):
        stages.WordStage(make_model(), chunks=4)


def test_critics_go_first_and_the_generator_sees_them_as_they_are_then(clips):
    stage = stages.GeneratorStage(make_model(recipe="paper"))
    stage.eval()
    steps = stage.losses(batch_of(stage.samples(clips, "train")))
    group, _ = next(steps)
    assert group == "critics"
    with torch.no_grad():
        stage.modality.fc2.bias.fill_(40.0)  # now everything was heard
    group, losses = next(steps)
    assert group == "generator" and losses["video_modality"].item() < 1e-6 and losses["audio_modality"].item() > 20


@pytest.mark.parametrize("recipe", ["released", "paper"])
def test_a_generator_in_training_goes_on_bit_for_bit(recipe, clips, tmp_path):
    def trained(folder, steps, seed=0, resume=False):
        model = make_model(recipe=recipe)
        torch.manual_seed(seed)
        stage = stages.GeneratorStage(model, {"forget_word": 10.0, "forget_person": 10.0}, single_gan=True)
        plan = TrainingSettings(epochs=0, steps=steps, batch_size=2, log_every=1, learning_rate=2e-4)
        Trainer(plan, tmp_path / folder, seed=1, device="cpu").fit(stage, stage.samples(clips, "train"), None, resume=resume)
        return {name: tensor.clone() for name, tensor in stage.state_dict().items()}

    whole = trained("whole", 2)
    trained("cut", 1)
    resumed = trained("cut", 2, seed=9, resume=True)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


# --- samples ----------------------------------------------------------------------------------------------------------


def test_choices_reach_all_frames_and_none_beyond():
    drawn = [Choices.draw(np.random.default_rng(seed), Lengths()) for seed in range(400)]
    assert {choices.reference for choices in drawn} == set(range(25))
    assert {choices.spoken for choices in drawn} == set(range(5))
    assert {choices.heard for choices in drawn} == {0, 1} and {choices.painted for choices in drawn} == set(range(7))


def test_a_sample_is_cut_as_the_authors_cut_it():
    faces = {t: np.full((2, 2, 3), t, np.uint8) for t in range(25)}
    mfcc = {t: np.full((20, 12), t, float) for t in range(25)}
    sample = data.cut(faces, mfcc, Choices(reference=3, spoken=1, heard=1, painted=2), Lengths())
    assert sample["reference"][0, 0, 0] == 3 and sample["spoken"][:, 0, 0, 0].tolist() == list(range(1, 21))
    assert sample["heard"][:, 0, 0, 0].tolist() == list(range(1, 25, 2)) == sample["mfcc"][:, 0, 0].tolist()
    assert sample["mfcc"].dtype == np.float32 and sample["painted"] == 2


def test_only_what_a_stage_needs_is_read(clips, monkeypatch):
    asked = []
    monkeypatch.setattr(Features, "face", lambda self, number: asked.append(number) or face(number))
    monkeypatch.setattr(Features, "window", lambda self, number: asked.append("speech"))
    sample = SpokenWords(clips, None, {"a": 0, "b": 1}, SIDE, SHORT, ("reference",)).sample(0, np.random.default_rng(0))
    assert len(asked) == 1 and sample.keys() == {"reference", "painted", "person"}


def test_all_frames_of_a_sample_are_moved_and_mirrored_alike(monkeypatch):
    drawn = []
    monkeypatch.setattr(data, "placed", lambda face, side, corner, mirrored: drawn.append((corner, mirrored)) or face)
    monkeypatch.setattr(Features, "open", lambda folder: Features(folder, folder, (2,)))
    monkeypatch.setattr(Features, "face", lambda self, number: face(number))
    monkeypatch.setattr(Features, "window", lambda self, number: np.zeros((20, 12)))
    clip = Clip("c", data.Path("c"), data.Path("c"), prepared=data.Path("c"))
    for augment, alike in ((True, 40), (False, 1)):
        samples = SpokenWords([clip], None, None, SIDE, SHORT, augment=augment)
        draws = []
        for seed in range(40):
            drawn.clear()
            samples.sample(0, np.random.default_rng(seed))
            assert len(set(drawn)) == 1
            draws += drawn[:1]
        assert len(set(draws)) == alike
        assert {mirrored for _, mirrored in draws} == ({True, False} if augment else {False})


@pytest.mark.parametrize(("jitter", "corners"), [(0.0, {2}), (2.0, {1, 2, 3}), (4.0, {0, 1, 2, 3, 4})])
def test_pictures_move_by_the_jitter_about_the_middle(clips, jitter, corners):
    samples = SpokenWords(clips, None, None, 256, SHORT, augment=True, jitter=jitter)
    places = [samples.place(np.random.default_rng(seed)) for seed in range(200)]
    assert {int(5 * share) for place, _ in places for share in place} == corners
    assert {mirrored for _, mirrored in places} == {True, False}


def test_jitter_ends_at_the_border():
    with pytest.raises(ConfigError, match="jitter: expected 0 to 4 pixels, got 5"):
        stages.PersonStage(make_model(), jitter=5)


def test_a_picture_is_cut_out_of_its_border():
    published = face(0, 260)
    corners = {tuple(data.placed(published, 256, (x, y))[0, 0]) for x in np.arange(5) / 5 for y in np.arange(5) / 5}
    assert corners == {tuple(published[y, x]) for x in range(5) for y in range(5)}  # 0 to 4, as the authors
    middle = data.placed(published, 256)
    assert np.array_equal(middle, published[2:258, 2:258]) and np.array_equal(
        data.placed(published, 256, mirrored=True), middle[:, ::-1]
    )


def test_classes_are_those_of_the_training_clips_and_unknown_words_are_left_out(clips):
    stage = stages.WordStage(make_model())
    train = stage.samples(clips, "train")
    strange = Clip("c/0", clips[0].face, clips[0].audio, speaker="c", word="sofa", prepared=clips[0].prepared)
    val = stage.samples([strange, clips[0]], "val")
    assert len(train) == 6 and len(val.folders) == 1 and set(val.labels["word"]) == {0}


def test_persons_are_judged_on_clips_that_were_kept_back(clips):
    stage = stages.PersonStage(make_model(recipe="paper"))
    train, val = stage.samples(clips, "train"), stage.samples(clips[:1], "val")
    assert len(train.folders) == 6 and len(val.folders) == 2 and not set(train.folders) & set(val.folders)
    assert sorted(val.labels["person"]) == [0, 1]


def test_too_few_classes_and_unknown_ones_are_named(clips):
    with pytest.raises(ConfigError, match=r"DAVS\.label_size: it is 1.*set it to 2"):
        stages.WordStage(make_model(label_size=1)).samples(clips, "train")
    nobody = [Clip("x", clip.face, clip.audio, word=clip.word, prepared=clip.prepared) for clip in clips]
    with pytest.raises(DatasetError, match="who speaks"):
        stages.PersonStage(make_model(recipe="paper")).samples(nobody, "train")
    assert len(stages.GeneratorStage(make_model()).samples(nobody, "train"))  # recipe released asks for no persons


@pytest.mark.parametrize(("name", "lengths"), [("disfc", (26, 12, 6)), ("pred", (20, 14, 6)), ("sequence", (20, 5, 6))])
def test_lengths_fit_into_a_sample(name, lengths):
    with pytest.raises(ConfigError, match=rf"DAVS\.{name}_length: expected 1 to"):
        Lengths(*lengths).check()


# --- features ---------------------------------------------------------------------------------------------------------


def test_a_raw_clip_becomes_aligned_faces_and_windows_of_speech(tmp_path):
    video, audio = tmp_path / "v.mkv", tmp_path / "a.wav"
    write_video(video, (face(t, 260) for t in range(31)), 25, lossless=True)
    write_audio(audio, np.random.default_rng(0).uniform(-0.3, 0.3, 31 * 640).astype(np.float32))
    (tmp_path / "features").mkdir()
    data.prepare(Clip("c", video, audio), tmp_path / "features", FaceFinder(), Alignment(), 256)
    features = Features.open(tmp_path / "features")
    assert features.starts == (2, 3, 4)  # speech is known about frames 2 to 28
    assert features.face(7).shape == (260, 260, 3) and features.window(2).shape == (20, 12)


def test_folders_of_the_authors_are_used_where_they_are(tmp_path):
    clip = make_clip(tmp_path / "0")
    (tmp_path / "features").mkdir()
    data.prepare(Clip("c", clip / data.FACES, clip / data.SPEECH), tmp_path / "features", FaceFinder(), Alignment(), 256)
    features = Features.open(tmp_path / "features")
    assert features.faces == clip / data.FACES and features.starts == (2, 3, 4)
    places = json.loads((tmp_path / "features" / data.ELSEWHERE).read_text())
    assert places == [str(clip / data.FACES), str(clip / data.SPEECH)] and len(list(clip.rglob("*.jpg"))) == 27


def test_gaps_and_damaged_files_are_found_when_clips_are_prepared(tmp_path):
    gap = make_clip(tmp_path / "gap", faces=[number for number in range(2, 29) if number != 14])
    with pytest.raises(MediaError, match=r"gap has 26 faces and 27 windows of speech; DAVS needs 25 frames in a row"):
        Features.open(gap)
    short = make_clip(tmp_path / "short")
    path = short / data.SPEECH / "9.bin"
    path.write_bytes(path.read_bytes()[:-8])
    (tmp_path / "features").mkdir()
    with pytest.raises(MediaError, match=r"9\.bin"):
        data.prepare(Clip("c", short / data.FACES, short / data.SPEECH), tmp_path / "features", FaceFinder(), Alignment(), 256)
    assert len(list(short.rglob("*.jpg"))) == 27  # nothing is ever deleted


# --- spaces -----------------------------------------------------------------------------------------------------------


def test_both_spaces_see_the_same_frames_about_the_middle_of_a_clip(clips):
    model = make_model(recipe="paper").eval()
    found = model.spaces(clips)
    assert {name: values.shape for name, values in found.items()} == {
        "audio": (8, 6 * 256), "video": (8, 6 * 256), "person": (8, 6 * 256),
        "audio words": (8, 2), "video words": (8, 2), "persons": (8, 3),
    }  # fmt: skip
    features = Features.open(clips[3].prepared)
    numbers = [3 + 7 + 2 * t for t in range(6)]  # the middle one of three starts, and the middle of its 25 frames
    frames = np.stack([data.placed(features.face(number), SIDE) for number in numbers])
    person = model.identity(unit(torch.from_numpy(frames)))[0]
    assert np.allclose(found["person"][3], person.detach().flatten(), atol=1e-5)
    speech = torch.from_numpy(np.stack([features.window(number) for number in numbers]).astype(np.float32))
    assert np.allclose(found["audio"][3], model.speech(speech[None, :, None]).detach().flatten(), atol=1e-4)


def test_clips_do_not_depend_on_their_neighbours(clips):
    model = make_model().eval()
    together, alone = model.spaces(clips), model.spaces(clips[2:3])
    assert all(np.allclose(together[name][2], alone[name][0], atol=1e-5) for name in together)


# --- real clips -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_real_clips_are_prepared_and_train_the_full_networks(real_data, tmp_path):
    videos = sorted((real_data / "voxceleb2").rglob("*.mp4"))[:2]
    model = DAVS(label_size=2, id_label_size=2, recipe="paper")
    clips = []
    for number, video in enumerate(videos):
        folder = tmp_path / str(number)
        folder.mkdir()
        clip = Clip(video.stem, video, video, speaker=str(number), word=f"word {number}")
        model.prepare(clip, folder)
        clips.append(clip.with_prepared(folder))
    assert Features.open(folder).face(5).shape == (260, 260, 3)
    for cls in model.stages.values():
        stage = cls(model)
        plan = TrainingSettings(epochs=0, steps=1, batch_size=2, log_every=1)
        result = Trainer(plan, tmp_path / cls.__name__, device="cpu").fit(stage, stage.samples(clips, "train"))
        assert all(np.isfinite(loss) for loss in result.losses.values())
