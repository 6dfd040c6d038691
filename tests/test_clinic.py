"""Each check of the clinic fires on a planted fault and stays quiet on healthy data."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from talkingface import clinic
from talkingface.clinic import Diagnosis, Finding, Patient
from talkingface.dataset.base import Clip, Samples
from talkingface.errors import MissingWeightsError
from talkingface.face.finder import FaceTrack
from talkingface.face.landmarks import LandmarkTrack
from talkingface.media.audio import write_audio
from talkingface.media.video import write_video
from talkingface.metric.sync import LSE
from talkingface.model.stage import Stage
from talkingface.trainer import parallel
from talkingface.trainer.settings import TrainingSettings

parallel.processes(cpu=True)


class Windows(Samples):
    """Two numbers each; their product's sign says whether they belong together."""

    def __init__(self, mode="good"):
        self.mode = mode

    def __len__(self):
        return 50

    def sample(self, index, rng):
        label = float(rng.random() < (0.9 if self.mode == "unbalanced" else 0.5))
        x = rng.normal(size=4).astype(np.float32)
        x[0] = 3 * label - 1.5
        if self.mode == "empty":
            x[:] = 0
            label = float(index % 2)
        if self.mode == "places":
            return {"x": x, "places": np.array([7, 7])}
        return {"x": x, "in_sync": np.float32(label)}


class Expert(Stage):
    """A logistic regression."""

    monitor = "sync"

    def __init__(self, mode="good"):
        super().__init__({"sync": 1.0})
        torch.manual_seed(0)
        self.network, self.mode = nn.Linear(4, 1), mode

    def trainable(self):
        return {"expert": [self.network]}

    def samples(self, clips, split):
        return Windows(self.mode)

    def losses(self, batch):
        value = self.network(batch["x"])[:, 0]
        yield "expert", {"sync": nn.functional.binary_cross_entropy_with_logits(value, batch["in_sync"])}


class Faces:
    """A face of 60 pixels in the middle of 80, its mouth at a known height."""

    def __init__(self, mouth=55, side=60, shown=1.0):
        self.mouth, self.side, self.shown = mouth, side, shown

    def boxes(self, video):
        count = len(video)
        boxes = np.tile(np.float32([10, 10, 10 + self.side, 10 + self.side]), (count, 1))
        boxes[round(self.shown * count) :] = np.nan
        return FaceTrack(boxes, [""] * count)

    def landmarks(self, video, track):
        points = np.full((len(video), 68, 2), 40.0, np.float32)
        points[:, 48:, 1] = self.mouth
        points[np.isnan(track.boxes[:, 0])] = np.nan
        return LandmarkTrack(points, ~np.isnan(points[:, 0, 0]))


class Model:
    faces = Faces()


class Judge(LSE):
    """Offsets that are known."""

    def __init__(self, offsets):
        super().__init__()
        self.offsets = iter(offsets)

    def score(self, video, truth=None, audio=None):
        offset = next(self.offsets)
        if offset is None:
            raise MissingWeightsError("syncnet_v2.model does not exist.")
        return {"LSE-C": 5.0, "LSE-D": 7.0, "offset": float(offset)}


@pytest.fixture
def patient(tmp_path):
    """A healthy one; arguments plant faults."""

    def make(mode="good", fps=25, longer=0.0, loud=1.0, offsets=(0, 0, 1, 0, 0), faces=None, **settings):
        clips = []
        for number in range(5):
            folder = tmp_path / str(number)
            folder.mkdir(exist_ok=True)
            write_video(folder / "face.mp4", np.zeros((2 * fps, 80, 80, 3), np.uint8), fps)
            rng = np.random.default_rng(number)
            wav = rng.normal(0, 0.2, round(16_000 * (2 + longer)))
            wav[round(len(wav) * loud) :] = 0
            write_audio(folder / "said.wav", wav.clip(-1, 1).astype(np.float32))
            clips.append(Clip(str(number), folder / "face.mp4", folder / "said.wav"))
        model = Model()
        model.faces = faces or Faces()
        training = replace(TrainingSettings(batch_size=32, learning_rate=1e-2, steps=10), **settings)
        return Patient(model, "expert", Expert(mode), training, clips, 5, Judge(offsets), steps=60)

    return make


def states(findings):
    return {finding.check: finding.state for finding in findings}


def test_the_healthy_one_is_well(patient):
    found = clinic.diagnose(patient())
    assert set(states(found.findings).values()) == {"ok"} and found.faults == []
    assert "train longer" in found.verdict and "next:" not in found.text()


FAULTS = [
    (clinic.frame_rate, "frame rate", {"fps": 12}),
    (clinic.frame_rate, "frame rate", {"longer": 0.3}),
    (clinic.silence, "silence", {"loud": 0.3}),
    (clinic.silence, "silence", {"loud": 0.0}),
    (clinic.crop, "crop", {"faces": Faces(mouth=25)}),
    (clinic.crop, "crop", {"faces": Faces(side=36, mouth=38)}),
    (clinic.crop, "crop", {"faces": Faces(shown=0.5)}),
    (clinic.offsets, "offsets", {"offsets": (4, 4, 4, 5, 3)}),
    (clinic.offsets, "offsets", {"offsets": (-9, 4, 0, 12, 3)}),
    (clinic.labels, "labels", {"mode": "unbalanced"}),
    (clinic.labels, "labels", {"mode": "places"}),
    (clinic.batch_size, "batch size", {"batch_size": 2}),
    (clinic.learning, "one batch", {"mode": "empty"}),
    (clinic.learning, "learning rate", {"learning_rate": 1e-6}),
]


@pytest.mark.parametrize(
    ("check", "name", "fault"), FAULTS, ids=[f"{n}-{next(iter(f))}-{i}" for i, (_, n, f) in enumerate(FAULTS)]
)
def test_a_planted_fault_is_found_and_has_a_remedy(patient, check, name, fault):
    found = [finding for finding in check(patient(**fault)) if finding.state == "fault"]
    assert [finding.check for finding in found] == [name] and found[0].remedy


def test_the_remedy_of_a_learning_rate_is_one_that_learns(patient):
    (_, finding) = clinic.learning(patient(learning_rate=1e-6))
    assert finding.remedy == "--expert.learning_rate=0.01" and "too small" in finding.text


def test_without_a_judge_the_offset_is_unknown_and_nothing_stops(patient):
    (finding,) = clinic.offsets(patient(offsets=(None,)))
    assert finding.state == "unknown" and "syncnet_v2.model" in finding.text


def test_the_verdict_names_all_causes_and_the_first_step():
    found = Diagnosis([Finding("crop", "fault", "no mouth.", "do this"), Finding("labels", "fault", "all one.", "do that")])
    assert found.verdict.startswith("2 likely causes: crop, labels") and found.to_json()["next"] == "do this"
    assert found.text().endswith("next: do this")
