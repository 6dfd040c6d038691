"""The fundamental frequency of speech: RAPT, in numpy alone.

The algorithm is that of D. Talkin, "A robust algorithm for pitch tracking (RAPT)", in Speech Coding and Synthesis (Kleijn and
Paliwal, Elsevier 1995), in the form of `get_f0` in the Speech Signal Processing Toolkit (SPTK 3, and pysptk, which wraps it;
modified BSD licence). Sums are made in the order and the precision of that program, and the same noise is added, so that
networks that were trained with its pitch hear the same one here.

For each frame: normalised cross-correlation of the speech with itself, first at 2 kHz for all lags, then around its peaks at
the full rate; the peaks are candidates. Then the cheapest path through the candidates, voiced or not, is found.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

CAND_THRESH = np.float32(0.3)  # peaks below this share of the highest are no candidates
LAG_WEIGHT = np.float32(0.3)  # how much the longest lag is disfavoured
FREQ_WEIGHT = np.float32(0.02)  # cost of a changing frequency
TRANS_COST = np.float32(0.005)  # cost of a change between voiced and unvoiced: always,
TRANS_AMP = np.float32(0.5)  # with the change of loudness,
TRANS_SPEC = np.float32(0.5)  # and with the likeness of the spectra before and after
DOUBLE_COST = np.float32(0.35)  # cost of a jump by an octave
WINDOW = 0.0075  # seconds that are correlated
CANDIDATES = 20  # per frame, the unvoiced one included

COARSE_RATE = 2000.0  # samples per second of the first pass
PATCH = 7  # lags around a coarse peak that are tried in the second
READ = 0.2  # seconds that get_f0 reads at once
HISTORY = 0.5  # seconds after which it looks whether all paths have met, and settles what lies before
PATIENCE = 1.0  # seconds after which it settles on the cheapest path even if they have not
NOISE = 50.0  # deviation of the noise that is added, in steps of 16 bits

STATIONARITY_WINDOW, STATIONARITY_GAP = 0.030, 0.020  # seconds: spectra of this length are compared with those so much before
ORDER_PER_KHZ, ORDER_BASE = 1, 2  # of their linear prediction
PREEMPHASIS = np.float32(0.4)
STABILITY = 30.0  # dB of white noise below the signal, for the prediction

BLOCK, LEAD = 1024, 2  # frames that are worked on at once, and those before them that they are compared with
STAND_INS = np.array([0.01, 0.1], np.float32) * np.float32(0.2)  # likeness of the first two frames: nothing before


@dataclass(frozen=True)
class Sizes:
    """Lengths in samples, as get_f0 derives them.

    Attributes:
        step: from one frame to the next.
        size: of what is correlated.
        start, stop: the shortest and the longest lag.
        decimate: samples per sample of the first pass.
    """

    rate: int
    step: int
    size: int
    start: int
    stop: int
    decimate: int

    @classmethod
    def of(cls, low: float, high: float, rate: int, hop: int) -> Sizes:
        wind = float(np.float32(WINDOW))
        start, stop = (int(0.5 + rate / float(np.float32(hertz))) for hertz in (high, low))
        return cls(rate, hop, int(0.5 + wind * rate), start, stop, max(1, int(rate / COARSE_RATE)))

    @property
    def lags(self) -> int:
        """How many lags there are."""
        return self.stop - self.start + 1

    @property
    def reach(self) -> int:
        """Samples of which a frame's correlations are made."""
        return self.size + self.stop + 1

    @property
    def block(self) -> int:
        """Frames of what is read at once."""
        read = int(READ * self.rate)
        return (read - self.reach) // self.step + 1 if self.reach >= self.step else read // self.step

    @property
    def pad(self) -> int:
        """Samples after the last frame of what is read at once."""
        window, gap = int(STATIONARITY_WINDOW * self.rate), int(STATIONARITY_GAP * self.rate)
        return (int(self.rate * 0.005) + 1) // 2 + max(window + int((gap - window) / 2), self.reach)

    @property
    def frame_interval(self) -> np.float32:
        """Seconds from one frame to the next."""
        return np.float32(np.float32(self.step) / self.rate)

    def blocks(self, samples: int) -> list[int]:
        """Frames in each of the pieces that get_f0 reads; the last may have none."""
        counts, full = [], self.block * self.step + self.pad
        while samples > full:
            counts.append(self.block)
            samples -= self.block * self.step
        return [*counts, max(0, samples - self.pad) // self.step]


class Frames(NamedTuple):
    """What is known of each frame before a path is chosen; T frames with up to C voiced candidates.

    Attributes:
        lags: (T, C) int, in the order in which get_f0 has them; 0 where there is none.
        costs: (T, C) of each candidate itself; infinite where there is none.
        hertz: (T, C).
        unvoiced: (T,) cost of being unvoiced.
        onset, offset: (T,) cost of becoming voiced or unvoiced.
    """

    lags: np.ndarray
    costs: np.ndarray
    hertz: np.ndarray
    unvoiced: np.ndarray
    onset: np.ndarray
    offset: np.ndarray


def rapt(wav: np.ndarray, low: float, high: float, sample_rate: int = 16_000, hop: int = 256) -> np.ndarray:
    """The fundamental frequency of speech.

    Args:
        wav: (N,) mono in [-1, 1].
        low, high: hertz between which it is looked for.
        hop: samples from one frame to the next, a multiple of `sample_rate` // 2000.

    Returns:
        (ceil(N / hop),) float32 in hertz, 0 where the speech is unvoiced. The last frames always are: a frame needs about
        0.03 s of speech after it.

    Raises:
        ValueError: the range or the hop is impossible.
    """
    sizes = Sizes.of(low, high, sample_rate, hop)
    if not sample_rate / 10_000 <= low < high < sample_rate / 2 or hop % sizes.decimate or hop > 0.1 * sample_rate:
        raise ValueError(f"RAPT cannot look for {low} to {high} Hz every {hop} samples at {sample_rate} samples per second.")
    found = np.zeros(math.ceil(len(wav) / hop), np.float32)
    blocks = sizes.blocks(len(wav))
    if sum(blocks):
        path = cheapest_path(candidates(wav, sizes, blocks), sizes, blocks)
        found[: len(path)] = path
    return found


# --- noise ------------------------------------------------------------------------------------------------------------


def with_noise(wav: np.ndarray) -> Iterator[np.ndarray]:
    """(N,) piece by piece, float32 on the scale of 16 bits, with SPTK's noise: so no correlation is perfect, and silence is
    not voiced."""
    position = 0
    for noise in gaussian_noise():
        speech = wav[position : position + len(noise)].astype(np.float32) * np.float32(32768)
        yield speech + (noise[: len(speech)] * NOISE).astype(np.float32)
        position += len(speech)
        if position >= len(wav):
            return


def stretches(pieces: Iterator[np.ndarray], spans: Iterable[tuple[int, int]]) -> Iterator[np.ndarray]:
    """The samples of spans (start, stop), both of which grow, of what comes in pieces; zeros where there are none."""
    held, first = np.empty(0, np.float32), 0  # held[0] is sample `first`
    for start, stop in spans:
        held, first = held[max(0, start - first) :], max(start, first)
        while first + len(held) < stop and (piece := next(pieces, None)) is not None:
            held = np.concatenate((held, piece))
        inside = held[: stop - first]
        yield np.pad(inside, (max(0, -start), stop - first - len(inside)))


def gaussian_noise(trials: int = 1 << 16) -> Iterator[np.ndarray]:
    """SPTK's normal numbers, always the same: the polar method on a linear congruential generator that starts at 1."""
    factors, offsets = lcg_powers(2 * trials)
    state = np.uint64(1)
    while True:
        states = factors * state + offsets  # modulo 2^64
        state = states[-1]
        uniform = ((states >> np.uint64(16)) & np.uint64(32767)).astype(np.float64) / 32767
        pairs = (2 * uniform - 1).reshape(-1, 2)
        squares = (pairs * pairs).sum(axis=1)
        inside = (squares <= 1) & (squares != 0)
        pairs, squares = pairs[inside], squares[inside]
        yield (pairs * np.sqrt(-2 * np.log(squares) / squares)[:, None]).ravel()


@lru_cache(maxsize=1)
def lcg_powers(count: int) -> tuple[np.ndarray, np.ndarray]:
    """(count,) uint64 a^k and c (1 + a + ... + a^(k - 1)), k from 1 on: state k is the first times the seed plus the second."""
    factors = np.cumprod(np.full(count, 1103515245, np.uint64), dtype=np.uint64)
    sums = np.cumsum(np.concatenate((np.ones(1, np.uint64), factors[:-1])), dtype=np.uint64)
    return factors, sums * np.uint64(12345)


# --- candidates -------------------------------------------------------------------------------------------------------


def candidates(wav: np.ndarray, sizes: Sizes, blocks: list[int]) -> Frames:
    """The candidates of every frame, and what they cost. No more than a block of frames is worked on at once."""
    total = sum(blocks)
    ends = np.cumsum(blocks) - 1  # last frames of what is read at once
    is_cut = np.zeros(total, bool)
    is_cut[ends[: -1 if len(blocks) > 1 else None]] = True
    firsts, found = range(0, total, BLOCK), []
    reach = sizes.reach + sizes.pad  # samples that the last frame of a block looks at, or more
    spans = ((sizes.step * (first - LEAD), sizes.step * min(first + BLOCK, total) + reach) for first in firsts)
    for first, noisy in zip(firsts, stretches(with_noise(wav), spans), strict=True):
        frames = LEAD + np.arange(min(BLOCK, total - first))  # counted from where `noisy` begins
        likeness, loudness = stationarity(noisy, sizes, frames)
        untold = slice(max(0, 2 - first))  # frames with nothing before them to be like: they get get_f0's stand-ins
        likeness[untold], loudness[untold] = STAND_INS[: len(likeness[untold])], 1
        change = TRANS_COST + TRANS_SPEC * likeness
        own = block_candidates(noisy, decimated(noisy, sizes, frames[-1] + 1), sizes, frames, is_cut[first : first + BLOCK])
        found.append((*own, change + TRANS_AMP / loudness, change + TRANS_AMP * loudness))
    return Frames(*(np.concatenate(part) for part in zip(*found, strict=True)))


def decimated(noisy: np.ndarray, sizes: Sizes, frames: int) -> np.ndarray:
    """The speech at about 2 kHz, filtered by 5 ms of a Hann-windowed sinc; as in get_f0, 0.5 away from zero."""
    taps = int(sizes.rate * 0.005) | 1
    half = taps // 2
    distance = np.arange(1, half + 1)
    edge = 0.5 / sizes.decimate
    slope = np.concatenate(([2 * edge], np.sin(2 * np.pi * edge * distance) / (np.pi * distance))).astype(np.float32)
    slope *= (0.5 - 0.5 * np.cos(2 * np.pi / taps * (np.arange(half, -1, -1) + 0.5))).astype(np.float32)
    count = ((frames - 1) * sizes.step + sizes.reach) // sizes.decimate + 2
    padded = np.zeros(count * sizes.decimate + 2 * half, np.float32)
    kept = min(len(noisy), len(padded) - half)
    padded[half : half + kept] = noisy[:kept]
    sums = np.zeros(count, np.float32)
    for tap, weight in enumerate(np.concatenate((slope[:0:-1], slope))):
        sums += weight * padded[tap : tap + count * sizes.decimate : sizes.decimate]
    return sums + np.where(sums < 0, np.float32(-0.5), np.float32(0.5))


def block_candidates(noisy: np.ndarray, coarse: np.ndarray, sizes: Sizes, frames: np.ndarray, cut: np.ndarray):
    """The candidates of some frames.

    Args:
        frames: (F,) numbers of the frames.
        cut: (F,) where get_f0 has not yet read the last coarse sample and takes it for 0.

    Returns:
        Lags, costs and hertz (F, 19), and the cost of being unvoiced (F,), as in `Frames`.
    """
    peaks = coarse_peaks(coarse, sizes, frames, cut)
    correlation, highest = fine_correlation(noisy, sizes, frames, peaks)
    rows, columns = peaks_of(correlation, highest)
    lags, values = ranked(rows, columns, correlation[rows, columns], len(frames))
    found = lags > 0
    rows = np.arange(len(frames))[:, None]
    # get_f0 cannot tell a first or last lag from a peak; the bounds only keep these reads inside
    around = [correlation[rows, np.clip(lags + shift, 0, correlation.shape[1] - 1)] for shift in (-1, 0, 1)]
    lags = np.where(found, lags + sizes.start, 0).astype(np.int32)
    weight = np.float32(1) - lags.astype(np.float32) * np.float32(LAG_WEIGHT / np.float32(sizes.stop))
    costs = np.where(found, np.float32(1) - values * weight, np.float32(np.inf))
    period = lags.astype(np.float32) + vertex(*around)
    hertz = (sizes.rate / np.where(found, period, np.float32(1)).astype(np.float64)).astype(np.float32)
    return lags, costs, hertz, highest


def vertex(before: np.ndarray, peak: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Where between its neighbours a peak lies, in [-1, 1], float32, with get_f0's formula."""
    five, three, eight = np.float32(5), np.float32(3), np.float32(8)
    bend = (2.0 * ((after + before).astype(np.float64) - 2.0 * peak.astype(np.float64))).astype(np.float32)
    curved = np.abs(bend) > 0.000001
    rise = (five * after) + (three * before) - (eight * peak)
    return np.where(curved, np.float32(2) - rise / np.where(curved, bend, np.float32(1)), np.float32(0))


def coarse_peaks(coarse: np.ndarray, sizes: Sizes, frames: np.ndarray, cut: np.ndarray) -> np.ndarray:
    """(F, C) lags at the full rate near which the correlation at 2 kHz has its peaks; 0 where there is none."""
    dec = sizes.decimate
    size, start, lags = 1 + sizes.size // dec, max(1, sizes.start // dec), 1 + sizes.lags // dec
    total = size + start + lags
    wanted = (frames * sizes.step // dec)[:, None] + np.arange(total)
    speech = coarse[np.minimum(wanted, len(coarse) - 1)]
    unread = np.arange(total) >= sizes.reach // dec
    speech[cut[:, None] & unread] = 0
    speech -= mean_of(speech, size)[:, None]
    correlation = np.empty((len(frames), lags), np.float32)
    reference, energy = squares_of(speech, size), squares_of(speech[:, start:], size).astype(np.float64)
    for lag in range(lags):
        product = sum_of(speech[:, k] * speech[:, start + lag + k] for k in range(size))
        correlation[:, lag] = product / np.sqrt(energy * reference)
        first, after = speech[:, start + lag], speech[:, min(start + lag + size, total - 1)]
        energy = np.maximum(energy - (first * first) + (after * after), 1.0)
    rows, columns = peaks_of(correlation, np.maximum(correlation.max(axis=1), 0))
    shift, height = parabola(*(correlation[rows, columns + k] for k in (-1, 0, 1)))
    found = (columns + start) * dec + (0.5 + (shift * np.float32(dec)).astype(np.float64)).astype(np.int64)
    height *= np.float32(1) - np.float32(LAG_WEIGHT / np.float32(sizes.lags)) * found.astype(np.float32)
    return ranked(rows, found, height, len(frames))[0]


def parabola(before: np.ndarray, middle: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Place (in [-1/2, 1/2] of the middle) and height of the top of the parabola through three values; float32."""
    slope = before - after
    bend = ((after - middle) + 0.5 * slope.astype(np.float64)).astype(np.float32)
    curved = np.abs(bend) > 0.000001
    place = np.where(curved, slope / (4.0 * np.where(curved, bend, 1).astype(np.float64)), 0).astype(np.float32)
    return place, np.where(curved, middle - bend * place * place, middle)


def fine_correlation(noisy: np.ndarray, sizes: Sizes, frames: np.ndarray, peaks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The correlation at the full rate around the peaks: (F, lags), 0 elsewhere; and its highest value (F,)."""
    starts = frames * sizes.step
    windows = sliding_window_view(noisy, sizes.size)[starts]
    mean = mean_of(windows, sizes.size)
    windows = windows - mean[:, None]
    reference = squares_of(windows, sizes.size)
    rows, columns = np.nonzero(peaks)
    first = np.maximum(peaks[rows, columns] - PATCH // 2, sizes.start)
    begin, mean, windows = (starts[rows] + first)[:, None] + np.arange(PATCH), mean[rows, None], windows[rows]
    values = np.zeros((len(rows), PATCH), np.float32)
    energy = np.zeros((len(rows), 1), np.float32)
    for k in range(sizes.size):
        later = noisy[begin + k] - mean
        values += windows[:, k : k + 1] * later
        energy += later[:, :1] * later[:, :1]
    leaving, entering = noisy[begin] - mean, noisy[begin + sizes.size] - mean
    power = energy[:, 0].astype(np.float64)
    for lag in range(PATCH):
        power = np.maximum(power, 1.0)
        values[:, lag] = values[:, lag] / np.sqrt(10000.0 + power * reference[rows])
        power = power - leaving[:, lag] * leaving[:, lag] + entering[:, lag] * entering[:, lag]
    correlation = np.zeros((len(frames), sizes.lags + PATCH), np.float32)
    for column in range(peaks.shape[1]):  # where patches overlap, the later one counts
        those = columns == column
        correlation[rows[those, None], first[those, None] - sizes.start + np.arange(PATCH)] = values[those]
    highest = np.zeros(len(frames), np.float32)
    np.maximum.at(highest, rows, values.max(axis=1))
    return correlation[:, : sizes.lags], highest


def peaks_of(correlation: np.ndarray, highest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(P,) rows and columns of the peaks, shoulders and plateaus of (F, lags) that are high enough."""
    middle = correlation[:, 1:-2]
    high = middle > (CAND_THRESH * highest)[:, None]
    rows, columns = np.nonzero(high & (middle >= correlation[:, 2:-1]) & (middle >= correlation[:, :-3]))
    return rows, columns + 1


def ranked(rows: np.ndarray, lags: np.ndarray, values: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Peaks (P,) by frame: lags and values (count, 19), as they come, or the highest first where there are 20 or more.

    Args:
        rows: the frame of each peak, ascending.
    """
    most = CANDIDATES - 1
    numbers = np.bincount(rows, minlength=count)
    crowded = (numbers >= CANDIDATES)[rows]
    order = np.lexsort((np.arange(len(rows)), np.where(crowded, -values, 0), rows))
    place = np.arange(len(rows)) - (np.cumsum(numbers) - numbers)[rows]
    kept = place < most
    lag_table, value_table = np.zeros((count, most), np.int64), np.zeros((count, most), np.float32)
    lag_table[rows[kept], place[kept]] = lags[order][kept]
    value_table[rows[kept], place[kept]] = values[order][kept]
    return lag_table, value_table


def sum_of(terms: Iterator[np.ndarray]) -> np.ndarray:
    """The sum of arrays, one after the other: numpy's own sums are made in another order, and round otherwise."""
    total = next(terms)
    for term in terms:
        total = total + term
    return total


def mean_of(speech: np.ndarray, size: int) -> np.ndarray:
    """(F,) mean of the first samples of (F, n)."""
    return sum_of(speech[:, k] for k in range(size)) / np.float32(size)


def squares_of(speech: np.ndarray, size: int) -> np.ndarray:
    """(F,) sum of the squares of the first samples of (F, n)."""
    return sum_of(speech[:, k] * speech[:, k] for k in range(size))


# --- stationarity -----------------------------------------------------------------------------------------------------


def stationarity(noisy: np.ndarray, sizes: Sizes, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How much each frame is like the one before: of the spectra 0.2 / (Itakura's distance - 0.8); the ratio of loudness.

    Args:
        frames: (F,) consecutive numbers of the frames, 2 or more.

    Returns:
        (F,) and (F,) float32.
    """
    window, gap = int(STATIONARITY_WINDOW * sizes.rate), int(STATIONARITY_GAP * sizes.rate)
    places = np.append(frames[0] - 1, frames) * sizes.step + int((gap - window) / 2)
    both = prediction(sliding_window_view(noisy, window)[places], sizes.rate)
    old, new = Prediction(*(x[:-1] for x in both)), Prediction(*(x[1:] for x in both))
    likeness = (0.2 / (itakura(new, old) - np.float32(0.8)).astype(np.float64)).astype(np.float32)
    silent = old.loudness <= 0
    ratio = (np.float32(0.001) + new.loudness) / np.where(silent, np.float32(1), old.loudness)
    return likeness, np.where(silent, np.where(new.loudness > 0, np.float32(2), np.float32(1)), ratio)


class Prediction(NamedTuple):
    """Linear prediction of F windows.

    Attributes:
        rho: (F, order + 1) autocorrelation, 1 at lag 0.
        coefficients: (F, order), for the predictor's inverse filter that begins with 1.
        error: (F,) what it leaves, as a share of the energy.
        loudness: (F,) root mean square under the window.
    """

    rho: np.ndarray
    coefficients: np.ndarray
    error: np.ndarray
    loudness: np.ndarray


def prediction(windows: np.ndarray, rate: int) -> Prediction:
    """Linear prediction of (F, n) samples, Hann-windowed, by autocorrelation."""
    size, order = windows.shape[1], ORDER_BASE + ORDER_PER_KHZ * rate // 1000
    shape = hann(size - 1)
    shaped = np.ascontiguousarray((shape * (windows[:, 1:] - PREEMPHASIS * windows[:, :-1])).T)
    energy = sum_of(x * x for x in shaped)
    sums = np.zeros((order, len(windows)), np.float32)
    for k in range(size - 1):
        most = min(order, size - 2 - k)
        sums[:most] += shaped[k] * shaped[k + 1 : k + 1 + most]
    silent = energy == 0
    rho = np.where(silent, 0, sums * (np.float64(1) / np.where(silent, 1, energy)).astype(np.float32)).astype(np.float32)
    rho *= np.float32(1 / (1 + math.exp(-STABILITY / 20 * math.log(10))))
    rho = np.concatenate((np.ones((1, len(windows)), np.float32), rho))
    coefficients, error = durbin(rho)
    weighted = (hann(size) * windows).T
    loudness = np.sqrt((sum_of(x * x for x in weighted) / np.float32(size)).astype(np.float64)).astype(np.float32)
    return Prediction(rho.T, coefficients.T, error, loudness)


@lru_cache(maxsize=4)
def hann(size: int) -> np.ndarray:
    """(size,) float32, symmetric between the samples."""
    return (0.5 - 0.5 * np.cos((0.5 + np.arange(size)) * (3.1415927 * 2.0 / size))).astype(np.float32)


def durbin(rho: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Durbin's recursion on (order + 1, F): coefficients (order, F) and errors (F,), in float32 throughout."""
    order, count = len(rho) - 1, rho.shape[1]
    one = np.float32(1)
    coefficients = np.zeros((order, count), np.float32)
    coefficients[0] = -rho[1] / rho[0]
    error = rho[0] * (one - coefficients[0] * coefficients[0])
    for i in range(1, order):
        s = np.zeros(count, np.float32)
        for j in range(i):
            s -= coefficients[j] * rho[i - j]
        reflection = (s - rho[i + 1]) / error
        coefficients[:i] += reflection * coefficients[i - 1 :: -1][:i].copy()
        coefficients[i] = reflection
        error = error * (one - reflection * reflection)
    return coefficients, error


def itakura(new: Prediction, old: Prediction) -> np.ndarray:
    """(F,) Itakura's distance, 1 or more: how badly the new predictors do on the old windows."""
    a, rho = new.coefficients.T, old.rho.T
    order = len(a)
    distance = np.float32(1) + a[0] * a[0]
    for i in range(1, order):
        distance = distance + a[i] * a[i]
    for i in range(1, order + 1):
        s = a[i - 1]
        for j in range(order - i):
            s = s + a[j] * a[i + j]
        distance = distance + rho[i] * (np.float32(2) * s)
    return distance / old.error


# --- the path ---------------------------------------------------------------------------------------------------------


def cheapest_path(frames: Frames, sizes: Sizes, blocks: list[int]) -> np.ndarray:
    """Choose between the candidates of each frame: (T,) hertz, 0 where unvoiced.

    As get_f0 does, paths are followed piece by piece: what lies before the frame in which all of them meet is settled; when
    they do not meet within a second, all is settled along the cheapest.
    """
    history, patience = (int(seconds / float(sizes.frame_interval)) for seconds in (HISTORY, PATIENCE))
    skip = frequency_skips(sizes)
    chosen = np.zeros(len(frames.lags), np.float32)
    came_from: list[np.ndarray] = []  # per frame: candidate (the last: unvoiced) -> the best of the frame before
    totals: np.ndarray = np.empty(0, np.float32)
    settled = done = 0
    for number, count in enumerate(blocks):
        for t in range(done, done + count):
            totals, best = follow(frames, t, totals, skip, sizes.start)
            came_from.append(best)
        done += count
        last = number == len(blocks) - 1
        if done - settled < history and not last or not done:
            continue
        end, candidate = done - 1, int(np.argmin(totals))
        if not last:
            end, candidate = meeting(came_from, settled, done - 1, candidate, forced=done - settled >= patience)
        for t in range(end, settled - 1, -1):
            voiced = candidate < len(came_from[t]) - 1
            chosen[t] = frames.hertz[t, candidate] if voiced else 0
            candidate = int(came_from[t][candidate])
        settled = max(settled, end + 1)
    return chosen


def frequency_skips(sizes: Sizes) -> np.ndarray:
    """(lags, lags) cost of going from one lag (column) to another (row); an octave is forgiven in part."""
    lags = np.arange(sizes.start, sizes.stop + 1, dtype=np.float64)
    octaves = np.log(lags[:, None] / lags).astype(np.float32)
    two = np.float32(math.log(2.0))
    up, down = ((DOUBLE_COST + np.abs(octaves + sign * two).astype(np.float64)).astype(np.float32) for sign in (1, -1))
    return np.minimum(np.abs(octaves), np.minimum(up, down)) * (FREQ_WEIGHT / sizes.frame_interval)


def follow(frames: Frames, t: int, totals: np.ndarray, skip: np.ndarray, start: int) -> tuple[np.ndarray, np.ndarray]:
    """One frame further.

    Args:
        totals: (P + 1,) cost of the cheapest path to each candidate of the frame before; empty in the first frame.

    Returns:
        (C + 1,) the same for this frame, and the candidates of the frame before from which those paths come.
    """
    count = int(np.count_nonzero(frames.lags[t]))
    own = np.append(frames.costs[t, :count], frames.unvoiced[t])
    if not len(totals):
        return own, np.zeros(count + 1, np.int8)
    before = len(totals) - 1
    steps = np.zeros((count + 1, before + 1), np.float32)
    steps[:count, :before] = skip[frames.lags[t, :count, None] - start, frames.lags[t - 1, :before] - start]
    steps[:count, before] = frames.onset[t]
    steps[count, :before] = frames.offset[t]
    steps += totals
    best = steps.argmin(axis=1)
    return steps[np.arange(count + 1), best] + own, best.astype(np.int8)


def meeting(came_from: list[np.ndarray], settled: int, now: int, cheapest: int, forced: bool) -> tuple[int, int]:
    """The frame in which all paths to frame `now` meet, and the candidate in it.

    Returns:
        (frame, candidate); where they do not meet: `now` and the cheapest if `forced`, else (settled - 1, 0).
    """
    heads = came_from[now]
    for t in range(now - 1, settled - 1, -1):
        if (heads == heads[0]).all():
            return t, int(heads[0])
        heads = came_from[t][heads]
    return (now, cheapest) if forced else (settled - 1, 0)
