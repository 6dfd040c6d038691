"""quality: how large, sharp, turned, loud and clean a clip is."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from talkingface.curate.base import SAMPLE_RATE, Candidate, Footage, Limit, Step
from talkingface.errors import ConfigError
from talkingface.registry import STEPS

FULL_SCALE, SILENCE = 32768.0, -96.0  # of 16-bit samples; dB: what 16 bits cannot tell from silence
BLOCK = SAMPLE_RATE // 50  # samples of a power: 20 ms
NOISE, SPEECH = 0.1, 0.95  # shares of the blocks that are quieter than the noise, and than the speech
CUT_OFF = 32_700  # samples beyond this are taken for cut off
FACE_MARGIN, FACE_SIDES = 1.2, (64, 256)  # of the picture whose sharpness is measured: sides of the box; least and most pixels


@STEPS.register("quality")
class Quality(Step):
    """Quality: clips whose face or sound is not good enough are left out. 0 (for loudness: -96) switches a threshold off.

    Measured are, of the face in the raw video, and of the sound that the clip gets:

    * face: the median over frames of its box's shorter side, pixels.
    * found: the share of frames in which the detector found it; the others are bridged.
    * sharpness: CPBD (Narvekar and Karam, 2011), the share of edges whose blur nobody sees, of the face
      as it is, or reduced to 256 pixels.
    * yaw, pitch: the angles, degrees, that 90 % of the frames do not exceed; of 6 of the 68 landmarks and a generic head.
    * loudness: root mean square, dBFS: decibels below a constant full scale.
    * snr: of the powers of blocks of 20 ms, 10 log10 of the 95th percentile (speech with noise) less the 10th (noise), by the
      10th; at most 60. Speech pauses often enough in two seconds for this; music below the speech counts as noise.
    * clipped: the share of samples at full scale.

    Args:
        min_face, min_found, min_sharpness, max_yaw, max_pitch, min_loudness, min_snr, max_clipped: thresholds of these.
        every: sharpness is measured in each n-th frame.
    """

    def __init__(
        self,
        min_face: float = 80.0,
        min_found: float = 0.8,
        min_sharpness: float = 0.05,
        max_yaw: float = 45.0,
        max_pitch: float = 35.0,
        min_loudness: float = -45.0,
        min_snr: float = 10.0,
        max_clipped: float = 0.01,
        every: int = 5,
    ):
        if every < 1:
            raise ConfigError(f"curate.quality.every: expected 1 or more, got {every}.")
        self.every = every
        self.rules = (  # figure, least, most, reason, unit
            ("face", min_face, math.inf, "small face", "pixels"),
            ("found", min_found, math.inf, "face lost", "of the frames"),
            ("sharpness", min_sharpness, math.inf, "blurred", "CPBD"),
            ("yaw", 0.0, max_yaw or math.inf, "turned away", "degrees"),
            ("pitch", 0.0, max_pitch or math.inf, "looks up or down", "degrees"),
            ("loudness", min_loudness, math.inf, "too quiet", "dBFS"),
            ("snr", min_snr, math.inf, "noisy", "dB"),
            ("clipped", 0.0, max_clipped or math.inf, "sound cut off", "of the samples"),
        )

    def fingerprint(self) -> dict[str, Any]:
        return self.kit.faces.back_end_fingerprint()

    def limits(self) -> dict[str, Limit]:
        return {
            name: Limit(least if least > 0 or name == "loudness" else None, most if math.isfinite(most) else None, unit)
            for name, least, most, _, unit in self.rules
        }

    def run(self, footage: Footage) -> None:
        for candidate in footage.remaining:
            seen, heard = self.seen(footage, candidate), sound_figures(self.kit.heard(footage, candidate))
            candidate.figures |= {name: round(value, 4) for name, value in {**seen, **heard}.items()}
            bad = list(self.faults(candidate.figures))
            if bad:
                candidate.leave_out(self, bad[0][0], f"{'; '.join(text for _, text in bad)}.")

    def faults(self, figures: dict[str, float]) -> Iterator[tuple[str, str]]:
        """(reason, sentence) of each figure that is beyond its threshold."""
        for name, least, most, reason, unit in self.rules:
            if figures[name] < least:
                yield reason, f"{name} {figures[name]:.4g} {unit}, of {least:g} that are needed"
            elif figures[name] > most:
                yield reason, f"{name} {figures[name]:.4g} {unit}, of {most:g} that are allowed"

    def seen(self, footage: Footage, candidate: Candidate) -> dict[str, float]:
        """The figures of the face, from one decoding."""
        from talkingface.metric.landmark import head_angles
        from talkingface.metric.quality import cpbd, luma
        from talkingface.metric.screening import cut, square_around

        track = footage.face_track(candidate)
        video = footage.video(candidate)
        reading = self.kit.faces.reading(video, track)
        sharpness = []
        for t, frame in enumerate(video):
            if reading.sees:
                reading.see(frame)
            square = square_around(track.boxes[t], FACE_MARGIN)
            if t % self.every == 0 and square is not None:
                side = round(min(max(square.side, FACE_SIDES[0]), FACE_SIDES[1]))
                sharpness.append(cpbd(luma(cut(frame, square, side))))
        angles = np.abs(head_angles(reading.landmarks().landmarks, footage.size))
        yaw, pitch, _ = np.quantile(angles, 0.9, axis=0)
        return {
            "face": float(np.median((track.boxes[:, 2:] - track.boxes[:, :2]).min(axis=1))),
            "found": track.notes.count("") / len(track.notes),
            "sharpness": float(np.mean(sharpness)),
            "yaw": float(yaw),
            "pitch": float(pitch),
        }


def sound_figures(samples: np.ndarray) -> dict[str, float]:
    """loudness, snr and clipped of (N,) int16 samples, as the docstring of `Quality` says."""
    wav = samples.astype(np.float64) / FULL_SCALE
    blocks = np.square(wav[: len(wav) // BLOCK * BLOCK]).reshape(-1, BLOCK).mean(axis=1)
    noise, speech = np.quantile(blocks, (NOISE, SPEECH))
    ratio = (speech - noise) / max(noise, 1e-12)
    return {
        "loudness": max(SILENCE, decibels(float(np.square(wav).mean()))),
        "snr": min(60.0, max(0.0, decibels(float(ratio)))),
        "clipped": float((np.abs(samples.astype(np.int32)) >= CUT_OFF).mean()),
    }


def decibels(power: float) -> float:
    """Of a power or a ratio of powers; -200 of nothing."""
    return 10 * math.log10(max(power, 1e-20))
