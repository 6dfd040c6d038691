"""Embeddings of lips and of speech by a SyncNet: windows of several clips share batches, rows go to disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from talkingface.media.audio import audio_blocks, to_int16
from talkingface.model.syncnet.networks import COLUMNS, COLUMNS_PER_FRAME, FRAMES, SyncNet

SAMPLE_RATE = 16_000


class Embeddings:
    """Rows of embeddings in a file, so that a long clip needs no more memory than a short one.

    Attributes:
        units: of what was embedded: frames of the video, samples of the sound.
    """

    def __init__(self, path: Path, width: int):
        self.path, self.width, self.units = path, width, 0
        path.write_bytes(b"")

    def append(self, rows: np.ndarray) -> None:
        """Write (n, width) rows behind those that are there."""
        with self.path.open("ab") as file:
            rows.astype(np.float32, copy=False).tofile(file)

    def __len__(self) -> int:
        return self.path.stat().st_size // (4 * self.width)

    def rows(self, start: int, stop: int, end: int) -> np.ndarray:
        """Rows start to stop; zeros before row 0 and from row `end` on."""
        found = np.zeros((stop - start, self.width), np.float32)
        first, last = max(start, 0), min(stop, end)
        if first < last:
            flat = np.fromfile(self.path, np.float32, (last - first) * self.width, offset=4 * self.width * first)
            found[first - start : last - start] = flat.reshape(-1, self.width)
        return found


class LipReader:
    """Embeds the lips of clips in constant memory. The frames of several clips may come in turns.

    They wait together until there are enough for a batch: short clips are as fast as long ones. A window of five frames is
    always of one clip.

    Args:
        batch_size: windows that the network sees at once.
    """

    def __init__(self, network: SyncNet, batch_size: int = 20):
        self.network, self.batch_size = network, batch_size
        self.waiting: dict[ClipLips, list[np.ndarray]] = {}  # with the last frames seen, of which the next windows need four
        self.unseen = 0  # how many of them are in no window yet

    def clip(self, rows: Embeddings) -> ClipLips:
        """Begin a clip, whose embeddings go into `rows`."""
        return ClipLips(self, rows)

    def add(self, clip: ClipLips, picture: np.ndarray) -> None:
        """The next frame of a clip, as `SyncNet.picture` gives it."""
        self.waiting.setdefault(clip, []).append(picture)
        self.unseen += 1
        if self.unseen >= 5 * self.batch_size:
            self.run()

    def run(self) -> None:
        """Embed all windows that are complete; the frames of windows that are not wait on."""
        clips = [clip for clip, pictures in self.waiting.items() for _ in pictures]
        if len(clips) >= FRAMES:
            device = next(self.network.parameters()).device
            frames = torch.from_numpy(np.stack([picture for pictures in self.waiting.values() for picture in pictures]))
            planes = frames.permute(3, 0, 1, 2)[None].to(device)
            starts = [first for first, clip in enumerate(clips[: 1 - FRAMES]) if clips[first + FRAMES - 1] is clip]
            found = self.network.lip_sequence(planes, self.batch_size, torch.tensor(starts, dtype=torch.int64)).cpu().numpy()
            for first, row in zip(starts, found, strict=True):
                clips[first].found.append(row)
            for clip in self.waiting:
                clip.write()
        self.waiting = {clip: pictures[1 - FRAMES :] for clip, pictures in self.waiting.items() if not clip.closed}
        self.unseen = 0


class ClipLips:
    """The lips of one clip, for a LipReader. A picture that stands still is looked at once."""

    def __init__(self, reader: LipReader, rows: Embeddings):
        self.reader, self.rows = reader, rows
        self.found: list[np.ndarray] = []  # rows of windows that are not on disk yet
        self.closed = False
        self._last: np.ndarray | None = None
        self._still = 0  # how many times the last frame has come
        self._seen = 0  # frames that went to the reader
        self._written = 0  # windows on disk
        self._newest = np.empty((0, rows.width), np.float32)
        self._repeats: dict[int, int] = {}  # window -> how many more times its row counts

    def see(self, frame: np.ndarray) -> None:
        """The next (H, W, 3) uint8 RGB frame; the same array again is a picture that stands still."""
        self.rows.units += 1
        self._still = self._still + 1 if frame is self._last else 1
        self._last = frame
        if self._still > FRAMES:
            window = self._seen - FRAMES
            self._repeats[window] = self._repeats.get(window, 0) + 1
        else:
            self._seen += 1
            self.reader.add(self, self.reader.network.picture(frame))

    def close(self) -> Embeddings:
        """After the last frame. Returns the rows, one for each window of five frames."""
        if not self.closed:
            if self._written < self._seen - FRAMES + 1:
                self.reader.run()
            self.write()
            self.closed, self._last = True, None
        return self.rows

    def write(self) -> None:
        """Write what was found."""
        behind = np.repeat(self._newest, self._repeats.pop(self._written - 1, 0), axis=0)
        counts = [1 + self._repeats.pop(self._written + row, 0) for row in range(len(self.found))]
        if self.found:
            rows = np.stack(self.found)
            self._newest, self.found = rows[-1:], []
            self._written += len(rows)
            behind = np.concatenate((behind, np.repeat(rows, counts, axis=0)))
        if len(behind):
            self.rows.append(behind)


def speech_embeddings(network: SyncNet, features: np.ndarray, batch_size: int = 20) -> Iterator[np.ndarray]:
    """Embed the speech of a clip.

    Args:
        features: (13, S) MFCC, 100 columns per second.

    Yields:
        (n, E) float32: windows of 20 columns, one per video frame.
    """
    device = next(network.parameters()).device
    count = 1 + (features.shape[1] - COLUMNS) // COLUMNS_PER_FRAME
    for start in range(0, count, 50 * batch_size):
        stop = min(start + 50 * batch_size, count)
        part = features[:, COLUMNS_PER_FRAME * start : COLUMNS_PER_FRAME * (stop - 1) + COLUMNS]
        yield network.audio_sequence(torch.from_numpy(part.astype(np.float32)).to(device), batch_size).cpu().numpy()


def load_samples(path: Path) -> np.ndarray:
    """The sound of a file as the authors' 16-bit samples: (N,) int16, mono, 16 kHz."""
    blocks = [to_int16(block.mean(axis=0)) for block in audio_blocks(path, SAMPLE_RATE)]
    return np.concatenate(blocks) if blocks else np.empty(0, np.int16)
