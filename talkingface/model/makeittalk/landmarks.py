"""From speech features to moving landmarks: the two branches combined, mouths repaired, eyes blinking.

    speech = speech_features("speech.wav")                                          # makeittalk/speech.py
    mel = convert(model.converter, speech)                                          # (T, 80) in the one voice of the training
    rows = animate(landmarks, mel, speech.embedding, model.content, model.speaker)  # (T - 18, 68, 3) in pixels

A portrait goes through all of `animate`; a cartoon takes `move` with its own normalised face and draws the rows itself.

Points are x, y (down) and depth. Normalised, the jaw's ends (points 0 and 16) are 1.6 apart and their middle is the origin.
There are 62.5 rows per second; row i is the face at mel row i and is made from mel rows i to i + 17.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from talkingface.errors import MediaError
from talkingface.model.makeittalk.networks.content import WINDOW, ContentBranch
from talkingface.model.makeittalk.networks.speaker import SpeakerBranch
from talkingface.model.makeittalk.speech import LEAST_ROWS, check_length, normalised_mel
from talkingface.model.makeittalk.tables import STANDARD_FACE

CHUNK = 512  # rows that are made together: the attention, the smoothing and the calibration look no further
EMBEDDING_FACTOR = 3.0  # the speaker branch was trained with embeddings three times as long
DEPTH = 0.1  # of the standard face, that a portrait gets: portraits turn little
PUBLISHED_SIDE = 256  # of the face that a portrait's landmarks are in, pixels
CLOSED = 0.99  # how far the speaker branch's own mouth movement is taken away

OUTER_UPPER, OUTER_LOWER = [49, 50, 51, 52, 53], [59, 58, 57, 56, 55]  # lips, left to right
INNER_UPPER, INNER_LOWER = [61, 62, 63], [67, 66, 65]
UPPER_LIDS, LOWER_LIDS = [37, 38, 43, 44], [41, 40, 47, 46]
MOUTH = slice(48, 68)


@dataclass(frozen=True)
class Motion:
    """How much moves.

    Attributes:
        amp_lip_x, amp_lip_y: factors of the lips' movement across and up and down.
        amp_pos: factor of the movement of head, brows and style.
        close_input_face_mouth: close the portrait's mouth first.
        upper_lip, lower_lip: pixels by which the outer lips are moved down, before all else; slim lips look better.
        eye: pixels by which each lid is opened.
        lip_width: factor of the mouth's width.
        blink: let the eyes blink.
        seed: of the times at which they do.
    """

    amp_lip_x: float = 2.0
    amp_lip_y: float = 2.0
    amp_pos: float = 0.5
    close_input_face_mouth: bool = False
    upper_lip: float = 1.0
    lower_lip: float = -1.0
    eye: float = 2.0
    lip_width: float = 1.0
    blink: bool = True
    seed: int = 0

    def for_side(self, side: int) -> Motion:
        """The same in a face of `side` x `side` pixels, when this is for one of 256 x 256."""
        factor = side / PUBLISHED_SIDE
        return replace(self, upper_lip=factor * self.upper_lip, lower_lip=factor * self.lower_lip, eye=factor * self.eye)


@dataclass(frozen=True)
class Face:
    """A face in the units of the networks, and the way back to pixels.

    Attributes:
        points: (68, 3) float64, normalised.
        scale: normalised units per pixel; negative, as the authors have it.
        shift: (2,) pixels.
    """

    points: np.ndarray
    scale: float
    shift: np.ndarray


def animate(
    landmarks: np.ndarray,
    mel: np.ndarray,
    embedding: np.ndarray,
    content: ContentBranch,
    speaker: SpeakerBranch,
    motion: Motion = Motion(),  # noqa: B008 - frozen
) -> np.ndarray:
    """Let the landmarks of a portrait speak.

    Args:
        landmarks: (68, 3), or (68, 2): x and y in pixels; the depth is not used.
        mel: (T, 80) as `convert` gives it.
        embedding: (256,) of the recording.

    Returns:
        (N, 68, 3) float32, x and y in the portrait's pixels, 62.5 rows per second; N is T - 18, less up to 9 rows.

    Raises:
        MediaError: the speech is shorter than 28 mel rows.
    """
    face = normalise(prepare_face(landmarks, motion))
    rows = move(face.points, mel, embedding, content, speaker, motion)
    to_pixels(rows, face.scale, face.shift, out=rows)
    if motion.blink:
        blink(rows, blink_times(len(rows), motion.seed), out=rows)
    return smooth(rows, out=rows)


# --- the portrait -----------------------------------------------------------------------------------------------------


def prepare_face(landmarks: np.ndarray, motion: Motion = Motion()) -> np.ndarray:  # noqa: B008 - frozen
    """Landmarks as the networks like them: slimmer lips, wider eyes and, if told so, a closed mouth.

    Args:
        landmarks: (68, 2 or 3) in pixels.

    Returns:
        (68, 2 or 3) float64.
    """
    points = close_mouth(landmarks) if motion.close_input_face_mouth else np.array(landmarks, np.float64)
    centre = points[MOUTH, 0].mean()
    points[MOUTH, 0] = centre + motion.lip_width * (points[MOUTH, 0] - centre)
    points[OUTER_UPPER, 1] += motion.upper_lip
    points[OUTER_LOWER, 1] += motion.lower_lip
    points[UPPER_LIDS, 1] -= motion.eye
    points[LOWER_LIDS, 1] += motion.eye
    return points


def close_mouth(landmarks: np.ndarray, middle: float = 0.7, corner: float = 0.5) -> np.ndarray:
    """Bring the lips of a portrait together.

    Args:
        landmarks: (68, 2 or 3).
        middle: share of the way for the three middle pairs of points, inner and outer.
        corner: the same of the outer points next to the corners, which follow their inner neighbours.

    Returns:
        (68, 2 or 3) float64, a copy.
    """
    points = np.array(landmarks, np.float64)
    upper, lower = points[INNER_UPPER], points[INNER_LOWER]  # copies: all means are taken before any change
    mean = (upper + lower) / 2
    points[OUTER_UPPER[1:4]] -= middle * (upper - mean)
    points[OUTER_LOWER[1:4]] -= middle * (lower - mean)
    points[[49, 53]] -= corner * (upper - mean)[[0, 2]]
    points[[59, 55]] -= corner * (lower - mean)[[0, 2]]
    points[INNER_UPPER] -= middle * (upper - mean)
    points[INNER_LOWER] -= middle * (lower - mean)
    return points


def normalise(landmarks: np.ndarray, depth: float = DEPTH) -> Face:
    """Bring a face to the units of the networks: jaw 1.6 wide, its middle at the origin.

    Args:
        landmarks: (68, 2 or 3) in pixels.
        depth: of the standard face, that replaces the face's own.

    Raises:
        MediaError: the two ends of the jaw are at one place across the picture: no face that looks at the camera.
    """
    left, right = landmarks[0, :2].astype(np.float64), landmarks[16, :2].astype(np.float64)
    if not np.isfinite(landmarks[:, :2]).all() or abs(left[0] - right[0]) < 1:
        raise MediaError(
            f"the jaw of the face runs from x = {left[0]:.1f} to {right[0]:.1f} pixels; MakeItTalk needs a face that looks "
            "towards the camera."
        )
    scale, shift = 1.6 / (left[0] - right[0]), -(left + right) / 2
    flat = -(landmarks[:, :2] + shift) * scale
    return Face(np.column_stack((flat, depth * STANDARD_FACE[:, 2])), float(scale), shift)


def to_pixels(rows: np.ndarray, scale: float, shift: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Normalised rows (N, 68, 3) in the pixels of the picture whose `scale` and `shift` are given; the depth stays.

    Args:
        out: where the result goes, perhaps `rows` itself; by default a new array.
    """
    out = into(rows, out)
    out[..., :2] /= -scale
    out[..., :2] -= shift
    return out


def into(rows: np.ndarray, out: np.ndarray | None) -> np.ndarray:
    """Rows in the array `out`, or in a new one: ten minutes of speech are 30 MB of rows, which are copied no more than needed."""
    if out is None:
        return rows.copy()
    if out is not rows:
        out[...] = rows
    return out


# --- the movement -----------------------------------------------------------------------------------------------------


@torch.inference_mode()
def move(
    face: np.ndarray,
    mel: np.ndarray,
    embedding: np.ndarray,
    content: ContentBranch,
    speaker: SpeakerBranch,
    motion: Motion = Motion(),  # noqa: B008 - frozen
) -> np.ndarray:
    """Let a normalised face speak.

    Args:
        face: (68, 3) normalised, its mouth closed.
        mel: (T, 80) as `convert` gives it.
        embedding: (256,) of the recording.

    Returns:
        (N, 68, 3) float32, normalised, smooth, rounded to six decimals as in the authors' files.

    Raises:
        MediaError: the speech is shorter than 28 mel rows.
    """
    check_length(len(mel))
    rows, count = np.empty((len(mel) - WINDOW, *face.shape), np.float32), 0
    for part in chunks(face, mel, embedding, content, speaker, motion):
        rows[count : count + len(part)] = part
        count += len(part)
    return finish(rows[:count], out=rows[:count])


def chunks(
    face: np.ndarray, mel: np.ndarray, embedding: np.ndarray, content: ContentBranch, speaker: SpeakerBranch, motion: Motion
) -> Iterator[np.ndarray]:
    """The rows of `move`, 512 at a time, as they come out of the networks, with the lips repaired: (n, 68, 3) float64."""
    device = next(content.parameters()).device
    identity = torch.from_numpy(face.reshape(1, -1)).float().to(device)
    voice = EMBEDDING_FACTOR * torch.from_numpy(np.asarray(embedding, np.float32)).to(device)
    for first in range(0, len(mel) - WINDOW, CHUNK):
        count = min(CHUNK, len(mel) - WINDOW - first)
        if count < LEAST_ROWS:  # dropped, as the authors do
            return
        part = torch.from_numpy(normalised_mel(mel[first : first + count + WINDOW - 1])).to(device)
        lips, head = content.follow(part, identity), speaker.follow(part, voice)
        yield repair_lips(combine(as_rows(head), as_rows(lips), motion) + face)


def as_rows(displacement: Tensor) -> np.ndarray:
    """(N, 204) from a network as (N, 68, 3) float64."""
    return displacement.detach().double().cpu().numpy().reshape(-1, 68, 3)


def combine(speaker: np.ndarray, content: np.ndarray, motion: Motion = Motion()) -> np.ndarray:  # noqa: B008 - frozen
    """What both branches say about one chunk: head and style from the one, lips from the other.

    Args:
        speaker: (N, 68, 3) displacement of the speaker branch.
        content: (N, 68, 3) displacement of the content branch.

    Returns:
        (N, 68, 3) displacement of the face.
    """
    head = without_speech(savitzky_golay(speaker, 31)) * motion.amp_pos
    lips = calibrated(content)
    lips[:, MOUTH, 0] *= motion.amp_lip_x
    lips[:, MOUTH, 1] *= motion.amp_lip_y
    return head + lips


def without_speech(rows: np.ndarray) -> np.ndarray:
    """Take 99 % of its own opening and closing away from the mouth of (N, 68, 3): what is said comes from elsewhere."""
    rows = rows.copy()
    for upper, lower in ((OUTER_UPPER, OUTER_LOWER), (INNER_UPPER, INNER_LOWER)):
        mean = (rows[:, upper] + rows[:, lower]) / 2
        rows[:, upper] = CLOSED * mean + (1 - CLOSED) * rows[:, upper]
        rows[:, lower] = CLOSED * mean + (1 - CLOSED) * rows[:, lower]
    return rows


def calibrated(rows: np.ndarray) -> np.ndarray:
    """Take from each coordinate of (N, 68, 3) the mean of its smaller half: the face at rest is where it should be."""
    half = len(rows) // 2
    return rows - np.partition(rows, half, axis=0)[:half].mean(axis=0)


def repair_lips(rows: np.ndarray) -> np.ndarray:
    """Where the lips of a chunk pass through one another, let them meet.

    The inner lips of such a row meet in their middle, and the outer ones keep the distance (in y) from the inner ones that
    they had in the last row that was in order.

    Args:
        rows: (N, 68, 3), y down.

    Returns:
        (N, 68, 3), a copy.
    """
    rows = rows.copy()
    crossed = inner_lip_area(rows) < 0
    middle = (rows[:, INNER_UPPER] + rows[:, INNER_LOWER])[crossed] / 2
    for lip in (INNER_UPPER, INNER_LOWER):
        rows[np.flatnonzero(crossed)[:, None], lip] = middle
    outer, inner = [*range(49, 54), *range(55, 60)], [*range(60, 65), *range(64, 68), 60]
    distance = rows[:, outer, 1] - rows[:, inner, 1]
    in_order = np.maximum.accumulate(np.where(crossed, 0, np.arange(len(rows))))
    rows[:, outer, 1] = np.where(crossed[:, None], rows[:, inner, 1] + distance[in_order], rows[:, outer, 1])
    return rows


def inner_lip_area(rows: np.ndarray) -> np.ndarray:
    """(N,) signed area of the inner lips (points 60 to 67) of (N, 68, 3) in x and y; negative where they are crossed."""
    spokes = rows[:, 61:68, :2] - rows[:, 60:61, :2]
    first, second = spokes[:, :-1], spokes[:, 1:]
    return (first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]).sum(axis=1) / 2


# --- the finish -------------------------------------------------------------------------------------------------------


def finish(rows: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """All chunks (N, 68, 3) smoothed, the top of the nose in line with its bridge, six decimals: as in the authors' files.

    Args:
        out: as in `to_pixels`.
    """
    out = into(rows, out)
    out[:, 27] = 2 * out[:, 28] - out[:, 29]
    return np.round(smooth(out, 5, 5, out=out), 6, out=out)


def blink_times(count: int, seed: int = 0) -> list[int]:
    """The rows at which the eyes are closed: 30, then every 90 to 149 rows (1.4 to 2.4 s), none within 16 of the end.

    Args:
        count: rows.
        seed: of the times; the authors' are made anew in each run.
    """
    if count < 46:
        return []
    chance, time, times = np.random.RandomState(seed), 30, [30]
    while time < count - 16:
        time += 60 + int(chance.randint(30, 90))
        if time < count - 16:
            times.append(time)
    return times


def blink(rows: np.ndarray, times: Sequence[int], out: np.ndarray | None = None) -> np.ndarray:
    """Let the eyes of (N, 68, 3) blink: closing over 10 rows, opening over 15.

    Args:
        times: rows at which they are closed, at least 10 from the start and 16 from the end.
        out: as in `to_pixels`.
    """
    rows, lids = into(rows, out), UPPER_LIDS + LOWER_LIDS
    upper, lower = rows[:, UPPER_LIDS], rows[:, LOWER_LIDS]
    rows[:, UPPER_LIDS] = 0.95 * upper + 0.05 * lower
    rows[:, LOWER_LIDS] = 0.05 * upper + 0.95 * lower
    for time in times:
        closed = 0.25 * rows[time, UPPER_LIDS] + 0.75 * rows[time, LOWER_LIDS]
        shut = np.concatenate((closed, closed))
        before, after = rows[time - 10, lids], rows[time + 15, lids]
        share = np.arange(9, 0, -1)[:, None, None] / 10
        rows[time - 9 : time, lids] = share * before + (1 - share) * shut
        rows[time, lids] = shut
        share = np.arange(13, -1, -1)[:, None, None] / 15
        rows[time + 1 : time + 15, lids] = share * shut + (1 - share) * after
    return rows


def smooth(
    rows: np.ndarray, face: int = 15, mouth: int = 5, kept: Sequence[int] = range(68), out: np.ndarray | None = None
) -> np.ndarray:
    """Smooth (N, P, 2 or 3) along time.

    Args:
        face, mouth: rows over which the points 0 to 47, and those of the lips, are smoothed. Cartoons: 17 and 11.
        kept: which landmarks the P points are.
        out: as in `to_pixels`.
    """
    out = into(rows, out)
    for place, point in enumerate(kept):
        out[:, place] = savitzky_golay(out[:, place], face if point < MOUTH.start else mouth)
    return out


def savitzky_golay(rows: np.ndarray, window: int) -> np.ndarray:
    """Fit polynomials of order 3 over `window` rows (an odd number), fewer where there are not more; along the first axis."""
    from scipy.signal import savgol_filter

    window = min(len(rows) - 1, window) // 2 * 2 + 1
    return savgol_filter(rows, window, 3, axis=0) if window > 3 else rows.copy()


def resample(rows: np.ndarray, rate: float, new_rate: float) -> np.ndarray:
    """Rows at another rate, linear between the old ones, the last one held: (M, ...) float64, M = ceil(N new_rate / rate).

    The authors bring the landmarks of 25 frames per second to 62.5 rows in this way, for training.
    """
    times = np.arange(0, len(rows), rate / new_rate)
    resampled = np.empty((len(times), *rows.shape[1:]))
    for first in range(0, len(times), CHUNK):
        now = times[first : first + CHUNK]
        before = np.minimum(now.astype(np.int64), len(rows) - 1)
        share = (now - before).reshape(-1, *[1] * (rows.ndim - 1))
        resampled[first : first + CHUNK] = (1 - share) * rows[before] + share * rows[np.minimum(before + 1, len(rows) - 1)]
    return resampled
