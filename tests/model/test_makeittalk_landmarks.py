"""MakeItTalk from speech to landmarks: features, voices, movement, and the files that the networks come from."""

import inspect
import pickle
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from talkingface.errors import CheckpointError, ConfigError, MediaError, MissingWeightsError
from talkingface.media.audio import write_audio
from talkingface.model.makeittalk import MakeItTalk, speech, voice
from talkingface.model.makeittalk import landmarks as lm
from talkingface.model.makeittalk import registration as reg
from talkingface.model.makeittalk.networks.awing import AwingFan, places
from talkingface.model.makeittalk.networks.content import ContentBranch, sliding
from talkingface.model.makeittalk.networks.conversion import VoiceConverter
from talkingface.model.makeittalk.networks.discriminators import RecurrentDiscriminator, TemporalDiscriminator
from talkingface.model.makeittalk.networks.speaker import SpeakerBranch
from talkingface.model.makeittalk.tables import STANDARD_FACE

RATE = 16_000
PUBLISHED = {VoiceConverter: 14_320_960, ContentBranch: 1_965_677, SpeakerBranch: 3_000_908, AwingFan: 24_148_492}


def babble(seconds, hertz=180.0, seed=0):
    """A voice with syllables: (N,) float32."""
    time = np.arange(int(seconds * RATE)) / RATE
    chance = np.random.default_rng(seed)
    tones = sum(np.sin(2 * np.pi * k * hertz * time + k * k) / k for k in range(1, 15))
    syllables = np.clip(np.sin(2 * np.pi * 3 * time), 0, 1)
    return (0.1 * tones * syllables + 0.002 * chance.standard_normal(len(time))).astype(np.float32)


def heard(seconds, **kwargs):
    samples = (32767 * np.clip(babble(seconds, **kwargs), -1, 1)).astype(np.int16)
    return speech.features(samples, voice.spectral_embedding)


@pytest.fixture(scope="module")
def small():
    """Small networks with lively outputs: converter, content, speaker."""
    torch.manual_seed(0)
    networks = [built(width=0.1).eval() for built in (VoiceConverter, ContentBranch, SpeakerBranch)]
    for network in networks[1:]:
        for parameter in network.parameters():
            parameter.data *= 1.5
    return networks


@pytest.fixture
def portrait():
    """Landmarks (68, 2) of a portrait, pixels."""
    return STANDARD_FACE[:, :2] * 90 + [128, 120]


# --- what is heard ----------------------------------------------------------------------------------------------------


def test_all_features_have_a_row_for_each_256_samples():
    for samples in (7000, 256 * 30, 256 * 30 + 1):
        features = speech.features(np.full(samples, 100, np.int16), voice.spectral_embedding)
        rows = 1 + samples // 256
        assert features.mel.shape == (rows, 80) and features.pitch.shape == (rows,)


def test_loudness_is_brought_to_minus_20_db():
    for factor in (0.02, 0.3, 3.0):
        samples = (32767 * np.clip(factor * babble(1.0), -1, 1)).astype(np.int16)
        loud = speech.normalised_loudness(samples) / 32768
        assert 20 * np.log10(np.sqrt(np.mean(loud**2))) == pytest.approx(-20, abs=0.4)


def test_loudness_does_not_change_what_is_heard():
    samples = (16000 * babble(1.0)).astype(np.int16)
    soft, loud = (speech.features(s, voice.spectral_embedding) for s in (samples, 2 * samples))
    assert soft.mel == pytest.approx(loud.mel, abs=0.02)
    assert np.mean(soft.pitch == loud.pitch) > 0.9


def test_silence_has_features_without_nan():
    features = speech.features(np.zeros(RATE, np.int16), voice.spectral_embedding)
    assert features.mel == pytest.approx(-0.16, abs=1e-3)
    assert not features.pitch.any()
    assert np.isfinite(features.embedding).all()


def test_pitch_is_relative_to_the_speaker():
    low, high = (speech.pitch_classes(hertz * np.array([0, 1.0, 1.1, 0.9, 0])) for hertz in (120, 240))
    assert np.array_equal(low, high)
    assert low[0] == low[4] == 0 and low[3] < low[1] < low[2] <= 256


def test_one_pitch_alone_is_the_middle():
    assert speech.pitch_classes(np.array([0, 200.0]))[1] in (128, 129)


def test_speech_is_read_from_a_file_and_the_file_stays_as_it_was(tmp_path):
    path = tmp_path / "speech.wav"
    write_audio(path, babble(1.0))
    before = path.read_bytes()
    from_file = speech.speech_features(path, voice.spectral_embedding)
    assert from_file.mel.shape == (63, 80)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_stereo_at_another_rate_is_read(tmp_path):
    path = tmp_path / "speech.wav"
    wav = (20_000 * babble(1.0)).astype("<i2").repeat(2)  # at 32 kHz
    with wave.open(str(path), "wb") as file:
        file.setparams((2, 2, 32_000, 0, "NONE", ""))
        file.writeframes(np.stack((wav, wav), axis=1).tobytes())
    assert speech.speech_features(path, voice.spectral_embedding).mel.shape == (63, 80)


def test_speech_that_is_too_short_is_named(tmp_path):
    path = tmp_path / "yes.wav"
    write_audio(path, babble(0.3))
    with pytest.raises(MediaError, match=r"yes.wav is 0.\d+ s long; MakeItTalk needs at least 0.44 s"):
        speech.speech_features(path, voice.spectral_embedding)


# --- who speaks -------------------------------------------------------------------------------------------------------


def resemblyzer():
    if voice.published_weights() is None:
        pytest.skip("Resemblyzer's weights are not installed (pip install --no-deps resemblyzer)")


def test_resemblyzer_is_not_imported():
    resemblyzer()
    assert voice.speaker_embedding(babble(1.0)).shape == (256,)
    assert "resemblyzer" not in sys.modules


@pytest.mark.parametrize(
    "wav", [babble(0.5), np.zeros(RATE, np.float32), babble(3.0), babble(1.0) * 1e-3], ids=["short", "silent", "long", "soft"]
)
def test_an_embedding_has_length_1(wav):
    resemblyzer()
    embedding = voice.speaker_embedding(wav)
    assert embedding.min() >= 0
    assert np.linalg.norm(embedding) == pytest.approx(1, abs=1e-5)


def test_speakers_differ(real_data):
    from talkingface.media.audio import load_audio

    voices = [load_audio(path) for path in sorted((real_data / "audio").glob("*.wav"))]
    halves = [np.array_split(wav, 2) for wav in voices]
    for embed in (voice.spectral_embedding, *([voice.speaker_embedding] if voice.published_weights() else [])):
        first, second = (np.array([embed(pair[k]) for pair in halves]) for k in (0, 1))
        assert np.array_equal((first @ second.T).argmax(axis=1), np.arange(len(voices)))


def test_a_loud_pause_is_cut_and_a_soft_voice_is_raised():
    resemblyzer()
    pause = np.concatenate((babble(1.0), np.zeros(2 * RATE, np.float32), babble(1.0)))
    assert sum(map(len, voice.spoken_minutes(pause))) < 3.2 * RATE
    assert voice.raising_factor(babble(1.0)) == 1 and voice.raising_factor(np.zeros(RATE, np.float32)) == 1
    soft = 1e-3 * babble(1.0)
    assert np.sqrt(np.mean((voice.raising_factor(soft) * soft) ** 2)) == pytest.approx(10**-1.5, rel=1e-3)


def test_minutes_are_embedded_one_by_one(monkeypatch):
    resemblyzer()
    monkeypatch.setattr(voice, "MINUTE", 50)  # windows: 1.5 s
    samples = (32767 * np.clip(np.concatenate((babble(2.0), babble(2.0, hertz=120.0))), -1, 1)).astype(np.int16)
    minutes = list(voice.spoken_minutes(samples))
    assert [len(minute) for minute in minutes] == [24_000] * (len(minutes)) and len(minutes) >= 2
    means = np.mean([voice.speaker_embedding(minute) for minute in minutes], axis=0)
    assert voice.speaker_embedding(samples) == pytest.approx(means, abs=0.05)
    whole = voice.spectral_embedding(samples)
    monkeypatch.setattr(voice, "MINUTE", 2000)
    assert whole == pytest.approx(voice.spectral_embedding(samples), abs=0.02)


def test_blocks_are_heard_as_a_whole(monkeypatch):
    samples = (32767 * np.clip(babble(3.0), -1, 1)).astype(np.int16)
    whole = speech.features(samples, voice.spectral_embedding)
    monkeypatch.setattr(speech, "BLOCK", 7)
    blocks = speech.features(samples, voice.spectral_embedding)
    assert blocks.mel == pytest.approx(whole.mel, abs=1e-5)
    assert np.array_equal(blocks.pitch, whole.pitch)


@pytest.mark.parametrize(("samples", "starts"), [(100, 1), (25_600, 1), (44_799, 4), (65_280, 6), (960_000, 118)])
def test_a_recording_is_embedded_in_parts(samples, starts):
    assert voice.part_starts(samples) == list(range(0, 50 * starts, 50))
    assert voice.parts_of(np.zeros(samples, np.float32)).shape == (starts, 160, 40)


def test_missing_weights_say_where_they_come_from(monkeypatch):
    voice.voice_encoder.cache_clear()
    monkeypatch.setattr(voice, "published_weights", lambda: None)
    with pytest.raises(MissingWeightsError, match="pip install --no-deps resemblyzer"):
        voice.speaker_embedding(babble(1.0))
    with pytest.raises(MissingWeightsError, match="nowhere.pt does not exist"):
        voice.speaker_embedding(babble(1.0), "nowhere.pt")


def test_an_unknown_kind_of_embedding_is_refused():
    with pytest.raises(ConfigError, match="'xvector'"):
        voice.embedder("xvector")


def emb_file(folder, embeddings):
    path = folder / "emb.pickle"
    path.write_bytes(pickle.dumps(embeddings))  # as the authors' own
    return path


def test_a_known_speaker_takes_the_place_of_the_recordings(tmp_path):
    whole = torch.rand(2, 256)
    path = emb_file(tmp_path, {"irx71tYyI-Q": whole[0], "E_kmpT-EfOg": whole[1]})
    model = MakeItTalk(width=0.1, speaker_embedding="spectrum", reuse_train_emb_list=["E_kmpT-EfOg"], emb_file=str(path))
    write_audio(tmp_path / "speech.wav", babble(1.0))
    said = model.hear(tmp_path / "speech.wav")
    assert np.array_equal(said.embedding, whole[1].numpy())
    assert not np.array_equal(said.source, said.embedding)


def test_an_unknown_speaker_is_named(tmp_path):
    path = emb_file(tmp_path, {"irx71tYyI-Q": torch.rand(256)})
    with pytest.raises(ConfigError, match="did you mean 'irx71tYyI-Q'"):
        voice.known_embedding(path, "irx71tYyI")
    with pytest.raises(CheckpointError, match="256 numbers"):
        voice.known_embedding(emb_file(tmp_path, {"a": 1}), "a")
    with pytest.raises(MissingWeightsError, match="no.pickle"):
        voice.known_embedding(tmp_path / "no.pickle", "a")
    with pytest.raises(ConfigError, match="one speaker makes one video"):
        MakeItTalk(width=0.1, reuse_train_emb_list=["a", "b"])


# --- networks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", PUBLISHED)
def test_a_network_is_as_large_as_the_published_one(network):
    with torch.device("meta"):
        assert sum(p.numel() for p in network().parameters()) == pytest.approx(PUBLISHED[network], rel=1e-3)


@torch.no_grad()
def test_looking_at_each_mel_row_once_is_the_same_as_at_windows(small):
    _, content, speaker = small
    mel, face, embedding = torch.randn(60, 80), torch.randn(1, 204), torch.rand(256)
    assert torch.allclose(content.follow(mel, face), content(sliding(mel), face), atol=1e-6)
    assert torch.allclose(speaker.follow(mel, embedding), speaker(sliding(mel), embedding.expand(43, -1))[0], atol=1e-6)


def test_the_speaker_branch_answers_to_who_speaks(small):
    speaker, mel = small[2], torch.randn(40, 80)
    one, other = (speaker.follow(mel, torch.rand(256)) for _ in range(2))
    assert not torch.allclose(one, other, atol=1e-3)


def test_discriminators_take_sequences_of_any_length():
    code = torch.rand(128)
    for length in (2, 17, 64, 65, 200):
        assert len(TemporalDiscriminator(step=16, width=0.1)(torch.rand(length, 204), code)) == max(1, -(-(length - 64) // 16))
    assert RecurrentDiscriminator()(torch.rand(40, 204), torch.rand(40, 128)).shape == (5, 1)


def test_a_map_with_one_peak_is_one_place():
    maps = torch.zeros(1, 2, 64, 64)
    maps[0, 0, 20, 30], maps[0, 0, 20, 31], maps[0, 0, 19, 30] = 1, 0.5, 0.5
    maps[0, 1, 0, 63] = 1
    assert places(maps).tolist() == [[[4 * 30.75, 4 * 20.25], [4 * 63.5, 4 * 0.5]]]


def test_conversion_keeps_the_rows_in_pieces_of_any_length(small, monkeypatch):
    monkeypatch.setattr(speech, "CONVERTED", 64)
    said = heard(2.1)
    mel = speech.convert(small[0], said)
    assert mel.shape == said.mel.shape and np.isfinite(mel).all()
    first = said._replace(mel=said.mel[:64], pitch=said.pitch[:64])
    assert speech.convert(small[0], first) == pytest.approx(mel[:64], abs=1e-5)


# --- movement ---------------------------------------------------------------------------------------------------------


def test_a_face_goes_to_normalised_units_and_back(portrait):
    face = lm.normalise(portrait)
    assert face.points[0, :2] == pytest.approx(-face.points[16, :2])
    assert face.points[16, 0] - face.points[0, 0] == pytest.approx(1.6)
    assert face.points[8, 1] > 0  # the chin is below
    assert lm.to_pixels(face.points, face.scale, face.shift)[:, :2] == pytest.approx(portrait)


def test_a_profile_is_refused(portrait):
    portrait[16, 0] = portrait[0, 0]
    with pytest.raises(MediaError, match="looks towards the camera"):
        lm.normalise(portrait)


def test_preparing_leaves_the_given_landmarks_alone(portrait):
    before = portrait.copy()
    prepared = lm.prepare_face(portrait, lm.Motion(close_input_face_mouth=True, lip_width=1.05))
    assert np.array_equal(portrait, before)
    assert np.ptp(prepared[48:, 0]) == pytest.approx(1.05 * np.ptp(portrait[48:, 0]))


def test_a_mouth_is_closed(portrait):
    portrait[[65, 66, 67, 55, 56, 57, 58, 59], 1] += 20
    gap = lambda face: float((face[lm.INNER_LOWER, 1] - face[lm.INNER_UPPER, 1]).mean())  # noqa: E731
    assert gap(lm.close_mouth(portrait)) == pytest.approx(0.3 * gap(portrait))


@pytest.mark.parametrize("seconds", [0.46, 0.8, 3.0])
def test_speech_moves_a_portrait(small, portrait, seconds):
    said = heard(seconds)
    rows = lm.animate(portrait, speech.convert(small[0], said), said.embedding, *small[1:])
    assert len(said.mel) - 18 - 9 <= len(rows) <= len(said.mel) - 18
    assert np.isfinite(rows).all()
    assert rows[:, lm.MOUTH].std(axis=0).max() > 0.1


def test_silence_moves_nothing_wildly(small, portrait):
    said = speech.features(np.zeros(2 * RATE, np.int16), voice.spectral_embedding)
    rows = lm.animate(portrait, speech.convert(small[0], said), said.embedding, *small[1:], lm.Motion(blink=False))
    assert np.isfinite(rows).all()
    assert np.diff(rows, axis=0).max() < 5


def test_too_little_mel_is_refused(small, portrait):
    with pytest.raises(MediaError, match="at least 0.44 s"):
        lm.animate(portrait, np.zeros((27, 80)), np.zeros(256), *small[1:])


def test_a_chunk_with_few_rows_is_dropped(small):
    mel, face = np.random.default_rng(0).random((18 + 512 + 9, 80)), np.zeros((68, 3))
    assert len(lm.move(face, mel, np.ones(256), *small[1:])) == 512
    longer = np.concatenate((mel, mel[:1]))
    assert len(lm.move(face, longer, np.ones(256), *small[1:])) == 522


def test_chunks_do_not_look_at_one_another(small):
    mel, face = np.random.default_rng(0).random((18 + 600, 80)), np.zeros((68, 3))
    changed = mel.copy()
    changed[560:] += 1
    one, other = (next(lm.chunks(face, m, np.ones(256), *small[1:], lm.Motion())) for m in (mel, changed))
    assert np.array_equal(one, other)


def test_amplification_scales_lips_and_head_apart():
    chance = np.random.default_rng(0)
    head, lips = chance.standard_normal((2, 60, 68, 3))
    still = np.zeros_like(head)
    wide = lm.combine(still, lips, lm.Motion(amp_lip_x=3, amp_lip_y=1))
    plain = lm.combine(still, lips, lm.Motion(amp_lip_x=1, amp_lip_y=1))
    assert wide[:, 48:, 0] == pytest.approx(3 * plain[:, 48:, 0]) and np.array_equal(wide[..., 1:], plain[..., 1:])
    assert lm.combine(head, still, lm.Motion(amp_pos=1)) == pytest.approx(2 * lm.combine(head, still, lm.Motion(amp_pos=0.5)))


def repaired_row_by_row(rows):
    """The authors' loop."""
    rows = rows.copy()
    for j, row in enumerate(rows):
        before = rows[max(j - 1, 0)]
        if lm.inner_lip_area(row[None])[0] < 0:
            for upper, lower in ((63, 65), (62, 66), (61, 67)):
                row[upper] = row[lower] = (row[upper] + row[lower]) / 2
            for outer, inner in zip([*range(49, 54), *range(55, 60)], [*range(60, 65), *range(64, 68), 60], strict=True):
                row[outer, 1] = row[inner, 1] + before[outer, 1] - before[inner, 1]
    return rows


@pytest.mark.parametrize("seed", range(3))
def test_crossed_lips_are_repaired_as_row_by_row(seed):
    rows = np.random.default_rng(seed).standard_normal((50, 68, 3)) * 0.05 + STANDARD_FACE
    crossed = lm.inner_lip_area(rows) < 0
    assert 5 < crossed.sum() < 45
    mended = lm.repair_lips(rows)
    assert mended == pytest.approx(repaired_row_by_row(rows))
    assert np.array_equal(mended[~crossed], rows[~crossed])
    assert mended[crossed][:, lm.INNER_UPPER] == pytest.approx(mended[crossed][:, lm.INNER_LOWER])


def test_eyes_blink_now_and_then():
    times = lm.blink_times(3000)
    gaps = np.diff(times)
    assert times[0] == 30 and gaps.min() >= 90 and gaps.max() < 150 and times[-1] < 3000 - 16
    assert lm.blink_times(3000) == times != lm.blink_times(3000, seed=1)
    assert lm.blink_times(45) == [] and lm.blink_times(46) == [30]


def test_a_blink_closes_both_eyes_and_moves_nothing_else():
    rows = np.tile(STANDARD_FACE, (60, 1, 1))
    blinking = lm.blink(rows, [30])
    opening = blinking[:, lm.LOWER_LIDS, 1] - blinking[:, lm.UPPER_LIDS, 1]
    assert opening[30] == pytest.approx(0) and opening[[20, 45]].min() > 0.04
    assert (np.diff(opening[20:31], axis=0) < 1e-12).all() and (np.diff(opening[30:46], axis=0) > -1e-12).all()
    others = [p for p in range(68) if p not in lm.UPPER_LIDS + lm.LOWER_LIDS]
    assert np.array_equal(blinking[:, others], rows[:, others])


def test_smoothing_keeps_what_is_smooth_and_the_length():
    line = np.linspace(0, 1, 40)[:, None, None] * np.ones((1, 68, 3))
    assert lm.smooth(line) == pytest.approx(line)
    for length in (10, 11, 14, 15, 16):
        assert lm.smooth(line[:length]).shape == (length, 68, 3)


def test_rows_at_another_rate_lie_between():
    rows = np.arange(10.0)[:, None]
    assert lm.resample(rows, 62.5, 25)[:, 0] == pytest.approx([0, 2.5, 5, 7.5])
    assert len(lm.resample(rows, 25, 62.5)) == 25
    assert np.array_equal(lm.resample(rows, 25, 25), rows)


# --- registration -----------------------------------------------------------------------------------------------------


def test_a_turned_and_shifted_face_is_brought_back():
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_euler("xyz", [10, -20, 30], degrees=True).as_matrix()
    moved = STANDARD_FACE @ turn.T + [1, 2, 3]
    assert reg.registered(moved) == pytest.approx(STANDARD_FACE)
    rows = np.stack((moved, moved @ turn.T))
    fixed, moves, quaternions = reg.anchored(rows)
    assert fixed[0] == pytest.approx(fixed[1])
    assert np.einsum("nij,npj->npi", moves[..., :3], rows) + moves[:, None, :, 3] == pytest.approx(fixed)
    assert np.linalg.norm(quaternions, axis=1) == pytest.approx(1)


def test_a_mirrored_face_is_not_mirrored_back():
    turn, _ = reg.rigid_fit(STANDARD_FACE * [-1, 1, 1], STANDARD_FACE)
    assert np.linalg.det(turn) == pytest.approx(1)


# --- files and settings -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [True, False])
def test_the_authors_files_load(tmp_path, zipped):
    torch.manual_seed(0)
    theirs, ours = (MakeItTalk(width=0.1, speaker_embedding="spectrum") for _ in range(2))
    optimizer = torch.optim.Adam(theirs.translator.parameters(), 1e-4)
    optimizer.state = {p: {"step": 1, "exp_avg": p.detach().clone()} for p in theirs.translator.parameters()}
    state = {network: getattr(theirs, network).state_dict() for network in theirs.files}
    speaker = {name: tensor for name, tensor in state["speaker"].items() if not name.endswith("pe.pe")}
    files = {
        "ckpt_autovc.pth": {"model": state["converter"], "optimizer": optimizer.state_dict()},
        "ckpt_content_branch.pth": {"model_g_face_id": state["content"], "epoch": 300},
        "ckpt_speaker_branch.pth": {
            "G": {**speaker, "comb_mlp.0.weight": torch.rand(2, 2)},
            "D_T": TemporalDiscriminator(width=0.1).state_dict(),
            "epoch": 1000,
        },
        "ckpt_116_i2i_comb.pth": {
            "G": {f"module.{name}": tensor for name, tensor in state["translator"].items()}, "opt": optimizer, "epoch": 116,
        },
    }  # fmt: skip
    for name, content in files.items():
        torch.save(content, tmp_path / name, _use_new_zipfile_serialization=zipped)
    assert set(ours.load(tmp_path, needed=ours.generates_with)) == set(theirs.files)
    for network in theirs.files:
        for name, tensor in state[network].items():
            assert torch.equal(getattr(ours, network).state_dict()[name], tensor), (network, name)


def test_a_file_may_be_named_with_its_path(tmp_path, monkeypatch):
    model = MakeItTalk(width=0.1, speaker_embedding="spectrum")
    folder = tmp_path / "examples" / "ckpt"
    folder.mkdir(parents=True)
    torch.save({"model_g_face_id": model.content.state_dict()}, folder / "mine.pth")
    monkeypatch.chdir(tmp_path)
    named = MakeItTalk(width=0.1, speaker_embedding="spectrum", content_file="examples/ckpt/mine.pth")
    assert named.load(tmp_path) == ["content"]


def test_a_file_of_any_name_is_known_by_its_content(tmp_path):
    model = MakeItTalk(width=0.1, speaker_embedding="spectrum")
    for network in ("speaker", "translator"):
        torch.save({"G": getattr(model, network).state_dict(), "epoch": 1}, tmp_path / "mine.pth")
        assert model.load(tmp_path / "mine.pth") == [network]


def test_a_file_of_another_network_is_named(tmp_path):
    model = MakeItTalk(width=0.1, speaker_embedding="spectrum")
    torch.save({"G": model.speaker.state_dict()}, tmp_path / "ckpt_content_branch.pth")
    with pytest.raises(CheckpointError, match="ckpt_content_branch.pth does not fit ContentBranch"):
        model.load(tmp_path)


def test_every_setting_has_a_default_in_the_yaml():
    path = Path(__file__).parents[2] / "talkingface" / "properties" / "model" / "MakeItTalk.yaml"
    section = yaml.safe_load(path.read_text(encoding="utf-8"))["MakeItTalk"]
    arguments = {name: p.default for name, p in inspect.signature(MakeItTalk).parameters.items()}
    assert set(section) == set(arguments)
    for name, default in arguments.items():
        assert section[name] == (list(default) if isinstance(default, tuple) else default), name


@pytest.mark.parametrize("bad", [{"width": 0}, {"pitch_range": [600, 100]}, {"pitch_range": [100]}, {"speaker_embedding": "x"}])
def test_impossible_settings_are_refused(bad):
    with pytest.raises(ConfigError, match=f"MakeItTalk.{next(iter(bad))}"):
        MakeItTalk(**bad)
