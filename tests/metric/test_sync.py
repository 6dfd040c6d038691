"""LSE: planted delays are found, long clips are scored as short ones, and what cannot be scored says why."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from talkingface.errors import CheckpointError, ConfigError, MissingWeightsError, ScoreError
from talkingface.face.finder import Detections
from talkingface.media.audio import mfcc, write_audio
from talkingface.media.video import Video, write_video
from talkingface.metric import embeddings, sync
from talkingface.metric.screening import Screening
from talkingface.metric.sync import LSE, DemoLSE
from talkingface.model.syncnet.networks import SyncNet
from talkingface.nn.weights import save_weights
from talkingface.registry import METRICS

FRAMES = 60


class LoudnessNet(nn.Module):
    """A judge in closed form: lips are as bright as speech is loud. Counts the frames that it was shown."""

    image_size, embedding, crop = 16, 2, (0, 1, 0, 1)
    picture = SyncNet.picture

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))
        self.frames_seen = 0

    def lip_sequence(self, frames, chunk, starts):
        self.frames_seen += frames.shape[2]
        light = frames.float().mean(dim=(0, 1, 3, 4)).unfold(0, 5, 1).mean(1) / 255
        return self.code(light[starts])

    def audio_sequence(self, features, chunk):
        return self.code((features[0].unfold(0, 20, 4).mean(1) - features[0].min()) / 8)

    @staticmethod
    def code(value):
        return torch.stack([torch.sin(3 * value), torch.cos(3 * value)], dim=1)


class Planted(LSE):
    """LSE with the judge in closed form."""

    def load_network(self, path):
        return LoudnessNet()


@pytest.fixture
def judge(tmp_path):
    """A metric whose weights file exists; its judge does not read it."""
    (tmp_path / "judge").write_bytes(b"judge")
    return Planted(weights=tmp_path / "judge")


@pytest.fixture
def levels():
    """Loudness of each frame, and how open the mouth is."""
    return np.random.default_rng(3).random(FRAMES)


def speech(levels, delay=0.0):
    """A tone as loud as the levels, 40 ms each, `delay` frames late."""
    loud = np.repeat(1e-3 * np.exp(4 * levels), 640)
    tone = loud * np.sin(np.arange(len(loud)) * 0.9)
    return np.roll(tone, round(640 * delay)).astype(np.float32)


def faces(levels):
    return np.broadcast_to((levels * 255).astype(np.uint8)[:, None, None, None], (len(levels), 32, 48, 3))


@pytest.fixture
def clip(tmp_path, levels):
    path = tmp_path / "clip.avi"
    write_video(path, faces(levels), 25, audio=speech(levels), lossless=True)
    return path


@pytest.mark.parametrize("delay", [-10, -1, 0, 3, 10])
def test_a_planted_delay_is_found_with_its_sign(judge, levels, clip, tmp_path, delay):
    write_audio(tmp_path / "late.wav", speech(levels, delay))
    scores = judge.score(Video(clip), None, tmp_path / "late.wav")
    assert scores["offset"] == -delay
    assert scores["LSE-C"] > 0


def test_the_muxed_sound_is_the_default(judge, clip):
    assert judge.score(Video(clip))["offset"] == 0


def test_a_part_of_a_video_has_its_own_sound(judge, clip):
    assert judge.score(Video(clip, start=0.8))["offset"] == 0


def test_50_fps_are_read_at_25(judge, levels, tmp_path):
    write_video(tmp_path / "fast.avi", np.repeat(faces(levels), 2, axis=0), 50, audio=speech(levels, 4), lossless=True)
    assert judge.score(Video(tmp_path / "fast.avi"))["offset"] == -4


def test_lips_are_not_looked_at_again_for_other_speech(judge, levels, clip, tmp_path):
    write_audio(tmp_path / "other.wav", speech(levels[::-1]))
    own, other = judge.score(Video(clip)), judge.score(Video(clip), None, tmp_path / "other.wav")
    assert judge.network.frames_seen == FRAMES
    assert own["LSE-C"] > other["LSE-C"] and own["LSE-D"] < other["LSE-D"]


def test_a_second_scoring_computes_nothing(judge, clip):
    first = judge.score(Video(clip))
    again = Planted(weights=judge.weights)
    assert again.score(Video(clip)) == first
    assert "network" not in vars(again)


def test_other_settings_are_computed_anew(judge, clip):
    judge.score(Video(clip))
    other = Planted(weights=judge.weights, vshift=10)
    other.score(Video(clip))
    assert "network" in vars(other)


@pytest.mark.parametrize(("frames", "sound_frames"), [(5, 5), (5, 60), (60, 5)])
def test_a_clip_of_five_frames_is_too_short(judge, tmp_path, levels, frames, sound_frames):
    write_video(tmp_path / "short.avi", faces(levels[:frames]), 25, lossless=True)
    write_audio(tmp_path / "short.wav", speech(levels[:sound_frames]))
    with pytest.raises(ScoreError, match="too short.*6 frames"):
        judge.score(Video(tmp_path / "short.avi"), None, tmp_path / "short.wav")


def test_six_frames_are_scored(judge, tmp_path, levels):
    write_video(tmp_path / "short.avi", faces(levels[:6]), 25, audio=speech(levels[:6]), lossless=True)
    assert np.isfinite(list(judge.score(Video(tmp_path / "short.avi")).values())).all()


def test_a_silent_file_cannot_be_scored(judge, tmp_path, levels):
    write_video(tmp_path / "mute.avi", faces(levels), 25, lossless=True)
    with pytest.raises(ScoreError, match="no sound"):
        judge.score(Video(tmp_path / "mute.avi"))


def test_absent_weights_are_named_with_their_place(clip, tmp_path):
    metric = LSE()
    metric.checkpoints_dir = tmp_path / "weights"
    with pytest.raises(MissingWeightsError, match="syncnet_python") as error:
        metric.score(Video(clip))
    assert str(tmp_path / "weights" / "LSE" / "syncnet_v2.model") in str(error.value)
    assert metric.protocol()["weights_hash"] is None


@pytest.mark.parametrize("setting", [{"protocol": "tracks"}, {"decode": "png"}, {"vshift": 0}, {"batch_size": 0}])
def test_a_setting_out_of_range_is_refused(setting):
    with pytest.raises(ConfigError, match=next(iter(setting))):
        LSE(**setting)


def test_the_protocol_tells_judges_apart(tmp_path):
    for name in "ab":
        (tmp_path / name).write_bytes(name.encode())
    first, second = (LSE(weights=tmp_path / name).protocol() for name in "ab")
    assert first["weights_hash"] != second["weights_hash"] and json.dumps(first)


# --- the maths -------------------------------------------------------------------------------------------------------


def test_distances_equal_torch_on_padded_speech():
    rng = np.random.default_rng(0)
    lips, heard = rng.normal(size=(2, 24, 16)).astype(np.float32)
    padded = np.pad(heard, ((15, 15), (0, 0)))
    found = sync.distances(lips, padded)
    for k in (0, 7, 15, 30):
        expected = torch.nn.functional.pairwise_distance(torch.from_numpy(lips), torch.from_numpy(padded[k : k + 24]))
        np.testing.assert_allclose(found[:, k], expected, rtol=1e-5)


def test_distances_block_by_block_are_the_same(judge, tmp_path):
    rng = np.random.default_rng(1)
    lips, heard = rng.normal(size=(2, 50, 8)).astype(np.float32)
    stored = [sync.Embeddings(tmp_path / name, 8) for name in ("lips", "speech")]
    for rows, values in zip(stored, (lips, heard), strict=True):
        rows.append(values[:13])
        rows.append(values[13:])
    padded = np.pad(heard[:40], ((15, 15), (0, 0)))  # the clip ends before the stored speech does: zeros from there on
    np.testing.assert_array_equal(judge.distances(*stored, count=40, block=7), sync.distances(lips[:40], padded))


def test_the_first_of_equal_shifts_wins():
    score = sync.sync_score(np.ones((8, 31), np.float32))
    assert (score.offset, score.confidence, score.distance) == (15, 0.0, 1.0)


def test_confidence_is_the_median_minus_the_minimum():
    dists = np.tile(np.arange(31, dtype=np.float32), (20, 1))
    dists[:, 12] = -4
    score = sync.sync_score(dists)
    assert (score.offset, score.distance, score.confidence) == (3, -4.0, 19.0)
    assert score.curve.shape == (20,) and score.curve[10] == 19.0


@pytest.fixture
def small():
    torch.manual_seed(0)
    return SyncNet(width=0.05, image_size=96, embedding=12).eval()


def rows_of(network, folder, *clips):
    """Embeddings of clips that share the batches of one reader."""
    reader, found = embeddings.LipReader(network, batch_size=2), []
    open_clips = []
    for number, frames in enumerate(clips):
        open_clips.append(reader.clip(embeddings.Embeddings(folder / f"{number}.lips", network.embedding)))
        for frame in frames:
            open_clips[-1].see(frame)
    for clip in open_clips:
        rows = clip.close()
        found.append(rows.rows(0, len(rows), len(rows)))
    return found


def test_clips_share_batches_and_no_window_reaches_over_an_end(small, tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (29, 96, 96, 3), np.uint8)
    together = rows_of(small, tmp_path, frames[:7], frames[7:11], frames[11:])
    alone = [rows_of(small, tmp_path, part)[0] for part in (frames[:7], frames[11:])]
    assert [len(rows) for rows in together] == [3, 0, 14]
    for rows, single in zip((together[0], together[2]), alone, strict=True):
        np.testing.assert_allclose(rows, single, rtol=1e-3, atol=1e-4 * np.abs(single).max())


def test_clips_whose_frames_come_in_turns_are_not_mixed(small, tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (3, 19, 96, 96, 3), np.uint8)
    reader = embeddings.LipReader(small, batch_size=2)
    clips = [reader.clip(embeddings.Embeddings(tmp_path / f"turn{number}.lips", small.embedding)) for number in range(3)]
    for index in range(19):
        for number, clip in enumerate(clips[: 3 if index < 15 else 2]):
            clip.see(frames[number, index])
    for number, clip in enumerate(clips):
        found = clip.close()
        rows = found.rows(0, len(found), len(found))
        (alone,) = rows_of(small, tmp_path, frames[number, : 19 if number < 2 else 15])
        assert rows.shape == alone.shape
        np.testing.assert_allclose(rows, alone, rtol=1e-3, atol=1e-4 * np.abs(alone).max())


@pytest.mark.parametrize("still", [6, 25, 60])
@pytest.mark.parametrize("after", [0, 7])
def test_a_picture_that_stands_still_is_looked_at_once(small, tmp_path, still, after):
    frames = list(np.random.default_rng(0).integers(0, 256, (12 + after, 96, 96, 3), np.uint8))
    held = [*frames[:12], *[frames[11]] * still, *frames[12:]]
    (rows,) = rows_of(small, tmp_path, held)
    copies = [frame.copy() for frame in held]  # the same pictures, not known to be the same
    (each,) = rows_of(small, tmp_path, copies)
    assert len(rows) == len(held) - 4
    np.testing.assert_allclose(rows, each, rtol=1e-3, atol=1e-4 * np.abs(each).max())


@pytest.mark.parametrize("count", [5, 8, 24, 31])
def test_blocks_of_frames_equal_single_windows(small, tmp_path, count):
    frames = np.random.default_rng(0).integers(0, 256, (count, 96, 96, 3), np.uint8)
    (blocks,) = rows_of(small, tmp_path, frames)
    bgr = torch.from_numpy(frames[..., ::-1].copy()).float().permute(3, 0, 1, 2)
    with torch.no_grad():
        windows = small.lip(torch.stack([bgr[:, v : v + 5] for v in range(count - 4)]))
    np.testing.assert_allclose(blocks, windows, rtol=1e-3, atol=1e-4 * windows.abs().max())


def test_blocks_of_speech_equal_single_windows(small):
    features = mfcc((3000 * np.random.default_rng(0).normal(size=32_000)).astype(np.int16))
    blocks = np.concatenate(list(embeddings.speech_embeddings(small, features, batch_size=1)))  # 50 windows a block
    count = 1 + (features.shape[1] - 20) // 4
    with torch.no_grad():
        windows = small.audio(torch.stack([torch.tensor(features[None, :, 4 * v : 4 * v + 20]).float() for v in range(count)]))
    np.testing.assert_allclose(blocks, windows, rtol=1e-3, atol=1e-4 * windows.abs().max())


def test_frames_are_resized_whole():
    wide = np.zeros((6, 40, 90, 3), np.uint8)
    wide[:, :, 45:, 0] = 255  # red on the right
    block = np.stack([SyncNet(0.05, 96, 4).picture(frame) for frame in wide])
    assert block.shape == (6, 96, 96, 3)
    assert block[:, :, 50:, 2].min() == 255 and block[..., :2].max() == 0  # BGR


def test_a_judge_may_look_at_a_part_of_the_frame():
    frame = np.zeros((40, 80, 3), np.uint8)
    frame[20:40, 20:60] = 200
    assert SyncNet(0.05, 96, 4, crop=(0.5, 1, 0.25, 0.75)).picture(frame).min() == 200


def test_jpeg_frames_give_other_scores_under_another_protocol(judge, clip):
    jpeg = Planted(weights=judge.weights, decode="jpeg")
    assert jpeg.protocol() != judge.protocol()
    assert jpeg.score(Video(clip))["offset"] == judge.score(Video(clip))["offset"]


# --- the demo judge --------------------------------------------------------------------------------------------------


@pytest.fixture
def demo_weights(tmp_path, small):
    path = tmp_path / "demo.safetensors"
    save_weights(path, small.state_dict(), {"width": 0.05, "image_size": 96, "embedding": 12})
    return path


def test_the_demo_judge_is_built_as_its_file_says_and_labelled(demo_weights, clip, small):
    metric = METRICS["DemoLSE"](weights=demo_weights)
    scores = metric.score(Video(clip))
    assert list(scores) == ["LSE-C (demo judge)", "LSE-D (demo judge)", "offset (demo judge)"]
    assert not set(scores) & set(LSE.columns)
    assert (metric.network.image_size, metric.network.embedding) == (96, 12)
    assert torch.equal(metric.network.netfclip[3].weight, small.netfclip[3].weight)
    assert metric.protocol()["judge"] == "demo"


def test_weights_without_sizes_are_no_demo_judge(tmp_path, small, clip):
    save_weights(tmp_path / "bare.safetensors", small.state_dict())
    with pytest.raises(CheckpointError, match="metadata"):
        DemoLSE(weights=tmp_path / "bare.safetensors").score(Video(clip))


@pytest.mark.slow
def test_published_names_load_and_a_real_clip_is_scored(real_data, tmp_path):
    torch.manual_seed(0)
    torch.save({k: v for k, v in SyncNet().state_dict().items() if "num_batches" not in k}, tmp_path / "syncnet_v2.model")
    path = next(path for path in sorted(real_data.glob("voxceleb2/**/*.mp4")) if Video(path).has_audio)
    scores = LSE(weights=tmp_path / "syncnet_v2.model").score(Video(path))
    assert scores["LSE-D"] > 0 and -15 <= scores["offset"] <= 15


class Found:
    """A detector's answer: a face of 40 pixels in the left half of each frame until the cut, in the right half after it."""

    def detections(self, video):
        boxes = [[20 + 80 * (frame >= CUT), 20, 60 + 80 * (frame >= CUT), 60, 1.0] for frame in range(2 * CUT)]
        return Detections([np.array([box], np.float32) for box in boxes], [CUT])

    def back_end_fingerprint(self):
        return {"back_end": "planted"}


class PlantedTracks(Planted):
    def finder(self, faces):
        return Found()


CUT = 60


@pytest.fixture
def two_shots(tmp_path):
    """Two scenes of a face each; the second one's sound is 3 frames late. The rest of the frame says something else."""
    levels = np.random.default_rng(5).random(2 * CUT)
    lips = np.concatenate((levels[:CUT], np.roll(levels, -3)[CUT:]))
    frames = np.empty((2 * CUT, 80, 160, 3), np.uint8)
    frames[:] = (np.random.default_rng(6).random(2 * CUT) * 255).astype(np.uint8)[:, None, None, None]
    for frame, level in enumerate(lips):
        left = 80 * (frame >= CUT)
        frames[frame, :, left : left + 80] = int(level * 255)
    write_video(tmp_path / "shots.avi", frames, 25, audio=speech(levels), lossless=True)
    return tmp_path / "shots.avi"


def test_each_track_is_cut_out_and_judged_with_its_own_sound(two_shots, judge):
    metric = PlantedTracks(weights=judge.weights, protocol="track", min_track=50, min_face=30)
    watch = metric.watch(Screening(Video(two_shots)))
    watch.screening.show([watch], metric.fps)
    numbers = watch.numbers()
    first, second = watch.details["tracks"]
    assert (first["frames"], second["frames"]) == ([0, CUT - 1], [CUT, 2 * CUT - 1])
    assert (first["offset"], second["offset"]) == (0, -3)
    assert numbers["offset (track)"] == -1.5
    assert numbers["LSE-C (track)"] == pytest.approx((first["LSE-C"] + second["LSE-C"]) / 2)


def test_tracks_that_are_too_short_are_no_score(two_shots, judge):
    metric = PlantedTracks(weights=judge.weights, protocol="track", min_track=CUT, min_face=30)
    with pytest.raises(ScoreError, match="more than 60 frames"):
        metric.score(Video(two_shots))


def test_the_detector_is_part_of_the_protocol(judge):
    tracks = {name: LSE(weights=judge.weights, protocol="track", detector=name).protocol() for name in ("dlib", "sfd")}
    assert tracks["dlib"]["faces"] != tracks["sfd"]["faces"]
    assert "faces" not in judge.protocol()


@pytest.mark.slow
def test_the_face_of_a_real_clip_is_tracked_and_scored(real_data, judge):
    metric = Planted(weights=judge.weights, protocol="track", detector="dlib", min_track=50)
    watch = metric.watch(Screening(Video(real_data / "wild" / "vrt_2.mp4", stop=3.0)))
    watch.screening.show([watch], metric.fps)
    assert watch.numbers()["LSE-D (track)"] > 0
    (track,) = watch.details["tracks"]
    assert track["frames"] == [0, 74]
