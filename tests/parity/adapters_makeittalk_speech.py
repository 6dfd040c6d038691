"""Golden cases of makeittalk: from speech to landmarks."""

import numpy as np
import torch

from talkingface.media.f0 import rapt
from talkingface.model.makeittalk import landmarks as lm
from talkingface.model.makeittalk import registration as reg
from talkingface.model.makeittalk import speech, tables, voice
from talkingface.model.makeittalk.networks.awing import POINTS, AwingFan, boundary, places
from talkingface.model.makeittalk.networks.content import ContentBranch
from talkingface.model.makeittalk.networks.conversion import VoiceConverter
from talkingface.model.makeittalk.networks.discriminators import FrameDiscriminator, RecurrentDiscriminator, TemporalDiscriminator
from talkingface.model.makeittalk.networks.speaker import SpeakerBranch
from talkingface.model.makeittalk.networks.voice import VoiceEncoder
from talkingface.nn.weights import load_weights

ADAPTERS: dict = {}


def adapter(name):
    """Register the function as the adapter of a case."""
    return lambda function: ADAPTERS.setdefault(f"makeittalk/{name}", function)


def network(case, built, prefix=""):
    """A network in evaluation mode with the made-up weights of a case; what the case fixes, the constructor sets."""
    state = {name.removeprefix(prefix): tensor for name, tensor in case.weights().items() if name.startswith(prefix)}
    load_weights(built, state, case.name, optional=("num_batches_tracked", "pe.pe", "target_voice"))
    return built.eval()


@adapter("constants")
def constants(case):
    return {"standard_face": tables.STANDARD_FACE, "anchor": tables.ANCHOR, "target_voice": tables.TARGET_VOICE}


@adapter("audio_features")
def audio_features(case):
    loud = speech.normalised_loudness(case.recorded["in_wav"])
    highpassed = speech.highpassed(loud)
    wav = speech.dithered(highpassed)
    outputs = {"normalised": loud, "highpassed": highpassed, "mel": speech.mel_rows(wav)}
    for name, hertz in (("F", speech.FEMALE), ("M", speech.MALE)):
        pitch = rapt(wav, *hertz)
        voiced = pitch > 0
        relative = np.zeros(len(pitch))
        relative[voiced] = speech.relative_pitch(pitch[voiced])
        outputs |= {
            f"voiced_{name}": voiced,
            f"logf0_{name}": np.log(np.where(voiced, pitch, 1)),
            f"f0_norm_{name}": relative,
            f"f0_bin_{name}": speech.pitch_classes(pitch),
        }
    return outputs


@adapter("speaker_embedding")
def speaker_embedding(case):
    wav = (case.recorded["in_wav"] / 32768).astype(np.float32)
    (heard,) = voice.spoken_minutes(wav)
    encoder = voice.voice_encoder()
    with torch.no_grad():
        partials = encoder(torch.from_numpy(voice.parts_of(heard)))
        mirrored = encoder.whole(torch.from_numpy(voice.parts_of(heard, reflect=True)))
    mel = voice.mel_power(heard)
    return {
        "preprocessed": heard, "mel": mel, "partials": partials, "embed": voice.speaker_embedding(wav), "embed_reflect": mirrored,
    }  # fmt: skip


@adapter("voice_encoder")
@torch.no_grad()
def voice_encoder(case):
    encoder, mels = network(case, VoiceEncoder()), case.inputs()["mels"]
    return {"partials": encoder(mels), "embed": encoder.whole(mels)}


@adapter("autovc")
@torch.no_grad()
def autovc(case):
    converter, x = network(case, VoiceConverter()), case.inputs()
    pitch = speech.one_hot(x["f0_bin"][0].numpy())[None]
    rough, mel, codes = converter(x["mel"], x["emb_org"], pitch, x["emb_trg"])
    return {"mel": rough, "mel_postnet": mel, "codes": codes, "codes_enc_on": converter.codes(x["mel"], x["emb_org"]).flatten(1)}


@adapter("content")
@torch.no_grad()
def content(case):
    x = case.inputs()
    return {"fl": network(case, ContentBranch())(x["au"], x["face_id"])}


@adapter("speaker")
@torch.no_grad()
def speaker(case):
    x = case.inputs()
    displacement, code = network(case, SpeakerBranch())(x["au"], x["emb"])
    return {"fl": displacement, "spk_encode": code}


@adapter("speaker_discriminator")
@torch.no_grad()
def speaker_discriminator(case):
    x = case.inputs()
    dense = network(case, TemporalDiscriminator(step=1))
    return {
        "d": dense(x["fls"], x["spk_emb"]),
        "d_step16": network(case, TemporalDiscriminator(step=16))(x["fls"], x["spk_emb"]),
        "d_short": dense(x["fls"][:20], x["spk_emb"][:20]),
    }


@adapter("landmark_discriminator")
@torch.no_grad()
def landmark_discriminator(case):
    return {"d": network(case, FrameDiscriminator())(case.inputs()["fls"])}


@adapter("temporal_discriminator_gru")
@torch.no_grad()
def temporal_discriminator_gru(case):
    x = case.inputs()
    return {"d": network(case, RecurrentDiscriminator())(x["fls"], x["comb"])}


@adapter("awing_fan")
@torch.no_grad()
def awing_fan(case):
    maps = network(case, AwingFan())(case.inputs()["image"])
    edges = torch.cat([boundary(stack) for stack in maps[:-1]], dim=1)
    return {"heatmaps": maps[-1], "heatmaps_first": maps[0], "boundary": edges, "points": places(maps[-1][:, :POINTS])}


@adapter("landmark_prepare")
def landmark_prepare(case):
    found = case.recorded["in_landmarks"]
    adjusted = lm.prepare_face(found)
    face = lm.normalise(adjusted)
    closed = lm.normalise(lm.prepare_face(found, lm.Motion(close_input_face_mouth=True)))
    return {
        "closed": lm.close_mouth(found), "adjusted": adjusted, "normalised": face.points, "scale": face.scale,
        "shift": face.shift, "normalised_closed": closed.points,
    }  # fmt: skip


@adapter("combine_branches")
def combine_branches(case):
    given, facts = case.recorded, case.spec["facts"]
    motion = lm.Motion(**{name: facts[name] for name in ("amp_lip_x", "amp_lip_y", "amp_pos")})
    face, outputs = given["in_face_id"].reshape(68, 3), {}
    for length in ("long", "short"):
        branches = (given[f"in_{branch}_{length}"].astype(float).reshape(-1, 68, 3) for branch in ("speaker", "content"))
        moved = lm.combine(*branches, motion)
        outputs[f"displacement_{length}"] = flat(moved)
        outputs[f"fixed_{length}"] = flat(lm.repair_lips(moved + face))
    return outputs


def flat(rows):
    """(N, 68, 3) as (N, 204)."""
    return rows.reshape(len(rows), -1)


@adapter("finish_sequence")
def finish_sequence(case):
    given = case.recorded
    written = lm.finish(given["in_sequence"].astype(float).reshape(-1, 68, 3))
    pixels = lm.to_pixels(written, float(given["in_scale"]), given["in_shift"])
    return {"written": flat(written), "pixels": flat(lm.smooth(pixels)), "pixels_cartoon": flat(lm.smooth(pixels, 17, 11))}


@adapter("naive_eye")
def naive_eye(case):
    facts, lids = case.spec["facts"], case.recorded["in_landmarks"]
    rows = np.zeros((len(lids), 68, 3))
    rows[:, facts["eye_points"]] = lids
    times = lm.blink_times(len(rows), facts["numpy_legacy_seed"])
    assert times == facts["blink_frames"]
    return {"eyes": lm.blink(rows, times)[:, facts["eye_points"]]}


@adapter("registration")
def registration(case):
    rows = case.recorded["in_sequence"].astype(float)
    turn, shift = reg.rigid_fit(rows[reg.closed_row(rows)][reg.STILL], tables.STANDARD_FACE[reg.STILL])
    fit = np.eye(4)
    fit[:3, :3], fit[:3, 3] = turn, shift
    anchored, moves, quaternions = reg.anchored(rows[:12])
    standard = reg.anchored(rows[:4], tables.STANDARD_FACE[reg.STILL])[1]
    return {
        "areas": reg.lip_areas(rows), "closed_index": reg.closed_row(rows), "T": fit, "registered": reg.face_at_rest(rows),
        "gaze_rot_trans": moves, "gaze_rot_quat": quaternions, "gaze_anchored": anchored, "gaze_std_rot_trans": standard,
    }  # fmt: skip


@adapter("resample_landmarks")
def resample_landmarks(case):
    facts = case.spec["facts"]
    return {"resampled": lm.resample(case.recorded["in_landmarks"].astype(float), facts["source_fps"], facts["target_fps"])}


@adapter("landmark_chain")
def landmark_chain(case):
    x = case.inputs()
    branches = network(case, ContentBranch(), "content."), network(case, SpeakerBranch(), "speaker.")
    face = case.recorded["in_face_id"].astype(float)
    rows = lm.move(face, x["au"].numpy(), x["emb"].numpy(), *branches)
    return {"landmarks": flat(rows)}


@adapter("e2e_landmarks")
def e2e_landmarks(case):
    given, facts = case.recorded, case.spec["facts"]
    known = iter((given["in_au_emb"], given["in_emb_org"]))
    heard = speech.features(given["in_wav"], lambda _: next(known))
    converted = speech.convert(network(case, VoiceConverter(), "autovc."), heard)
    branches = network(case, ContentBranch(), "content."), network(case, SpeakerBranch(), "speaker.")
    motion = lm.Motion(seed=facts["numpy_legacy_seed_before_blink"])
    face = lm.normalise(lm.prepare_face(given["in_landmarks"], motion))
    rows = lm.move(face.points, converted, heard.embedding, *branches, motion)
    pixels = lm.animate(given["in_landmarks"], converted, heard.embedding, *branches, motion)
    return {"converted": converted, "landmarks": flat(rows), "pixels": flat(pixels)}
