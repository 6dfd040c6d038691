"""Video: frames from a file, streamed and timed; `write_video`: frames and sound to a file."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from functools import cached_property, lru_cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from talkingface.errors import MediaError
from talkingface.media import audio as sound
from talkingface.media.container import Packets, moving_stream, open_media
from talkingface.media.files import atomic, content_hash, existing_file
from talkingface.media.image import decode_image, is_image, read_image, resize

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.frame import VideoFrame

STILL_FPS = 25.0
CLOCK_SLACK = 6e-4  # seconds: Matroska and others round timestamps to milliseconds
SEEK_FROM = 1.0  # seconds: decoding less is faster than seeking
AAC_RATES = (8000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
BT601, BT601_PRIMARIES = 6, 6  # FFmpeg's numbers for SMPTE 170M
JPEG_BIT_RATE = 200_000
EMPTY = np.zeros((1, 0), np.float32)

logger = logging.getLogger(__name__)


class Source(NamedTuple):
    """What the head of a video tells; times in seconds of the container's clock."""

    width: int
    height: int
    fps: float
    begin: float
    slack: float
    duration: float
    has_audio: bool


class Video:
    """A video file, a still picture, or a folder of numbered pictures; a handle: nothing is decoded before it is asked for.

    Frame i is what the file shows at `start + i / fps` seconds after its first frame: the last frame whose timestamp is
    not later. So a file of variable frame rate keeps in time with its sound, and `fps` repeats or drops frames but never
    changes the speed. Every loop over a Video decodes it anew, one frame in memory at a time.

    A rotation flag is applied. Packets that cannot be decoded are passed over (the frame before stays on) and counted in
    a warning; a file that ends early gives the frames up to there.

    Args:
        path: a file that FFmpeg can read, or a folder whose pictures are ordered by the numbers in their names. A still
            is recognized by its content, whatever its name, and is a video of one frame.
        fps: frames per second wanted; by default the source's average (25 for pictures).
        start: skip this many seconds.
        stop: end before this second of the source.

    Raises:
        MediaError: nothing lies at `path`, or `fps`, `start` or `stop` make no sense. Loops and properties also raise it,
            for a file that holds no frame that can be decoded.
    """

    def __init__(self, path: Path | str, fps: float | None = None, start: float = 0.0, stop: float | None = None):
        self.path = Path(path).expanduser()
        if not self.path.is_dir():
            existing_file(self.path)
        if fps is not None and not (math.isfinite(fps) and fps > 0):
            raise MediaError(f"{self.path}: a video has more than 0 frames per second, not {fps}.")
        self.start, self.stop = float(start), math.inf if stop is None else float(stop)
        if not 0 <= self.start < self.stop:
            raise MediaError(f"{self.path}: nothing lies from {start} s to {stop} s; start must be 0 or more, and before stop.")
        self._fps = fps
        self._count: int | None = None

    def __repr__(self) -> str:
        return f"Video({str(self.path)!r})"

    @cached_property
    def is_still(self) -> bool:
        """Whether this is one picture."""
        return not self.path.is_dir() and is_image(self.path)

    @cached_property
    def _source(self) -> Source:
        pictures = self._pictures
        if pictures:
            height, width = read_image(pictures[0]).shape[:2]
            fps = self._fps or STILL_FPS
            return Source(width, height, fps, 0.0, 0.0, len(pictures) / fps, False)
        return _probe(self.path)

    @cached_property
    def _pictures(self) -> list[Path]:
        if self.path.is_dir():
            return _numbered_pictures(self.path)
        return [self.path] if self.is_still else []

    @property
    def has_pictures(self) -> bool:
        """Whether the frames are picture files: a still, or a folder."""
        return bool(self._pictures)

    @property
    def source_fps(self) -> float:
        """Average frames per second of the file."""
        return self._source.fps

    @property
    def fps(self) -> float:
        """Frames per second of what this yields."""
        return self._fps or self._source.fps

    @property
    def width(self) -> int:
        """In pixels, after rotation."""
        return self._source.width

    @property
    def height(self) -> int:
        """In pixels, after rotation."""
        return self._source.height

    @property
    def duration(self) -> float:
        """Seconds from start to stop, as the file's head tells."""
        if not self._source.duration:
            return len(self) / self.fps
        return max(0.0, min(self.stop, self._source.duration) - self.start)

    @property
    def has_audio(self) -> bool:
        """Whether there is a sound track."""
        return self._source.has_audio

    def __iter__(self) -> Iterator[np.ndarray]:
        """(H, W, 3) uint8 RGB, each frame an array of its own."""
        if self._pictures:
            yield from self._read_pictures()
            return
        for frame in self.decoded():
            yield self._to_rgb(frame)

    def __len__(self) -> int:
        """Number of frames; the first call decodes the file, because its head cannot be trusted."""
        if self._count is None:
            self._count = len(self._part_of(self._pictures)) if self._pictures else sum(1 for _ in self.decoded())
        return self._count

    def read(self) -> np.ndarray:
        """All frames at once: (T, H, W, 3) uint8 RGB."""
        return np.stack(list(self))

    def content_hash(self) -> str:
        """Fingerprint of the file's bytes: 32 hexadecimal digits. Neither fps nor start and stop change it."""
        if self.path.is_dir():
            hashes = "\n".join(content_hash(picture) for picture in self._pictures)
            return hashlib.blake2b(hashes.encode(), digest_size=16).hexdigest()
        return content_hash(self.path)

    def decoded(self) -> Iterator[VideoFrame]:
        """The frames as PyAV decodes them, timed but neither rotated nor converted; a repeated frame is the same object."""
        count = 0
        for frame in self._in_time(self._timed_frames()):
            count += 1
            yield frame
        if not count:
            lasts = f"the video lasts {self._source.duration:.2f} s"
            raise MediaError(f"{self.path}: no frame lies between {self.start} s and {self.stop} s; {lasts}.")
        self._count = count

    def _in_time(self, timed: Iterator[tuple[float, VideoFrame]]) -> Iterator[VideoFrame]:
        """Pick, for each instant, the last frame that is not later."""
        same_rate = abs(self.fps - self.source_fps) < 1e-3 * self.source_fps
        slack = 0.5 / self.source_fps if same_rate else self._source.slack
        index, shown, time = 0, None, 0.0

        def instant() -> float:
            return self.start + index / self.fps

        for time, frame in timed:
            while shown is not None and instant() + slack < time:
                if instant() > self.stop - 1e-6:
                    return
                yield shown
                index += 1
            shown = frame
        end = time + 1 / self.source_fps
        while shown is not None and instant() + CLOCK_SLACK < end and instant() <= self.stop - 1e-6:
            yield shown
            index += 1

    def _timed_frames(self) -> Iterator[tuple[float, VideoFrame]]:
        """(seconds since the first frame of the file, frame), in order of time, the first not later than `start`."""
        if self.start > SEEK_FROM:
            found = self._decode(self.start)
            first = next(found, None)
            if first is not None and first[0] <= self.start:
                yield first
                yield from found
                return
            logger.debug("%s cannot be searched; decoding from its beginning", self.path)
        yield from self._decode(0.0)

    def _decode(self, seconds: float) -> Iterator[tuple[float, VideoFrame]]:
        """Decode from the last key frame before `seconds`, where the container knows it, to the end."""
        source = self._source
        with open_media(self.path) as container:
            stream = moving_stream(container)
            packets = Packets(container, stream)
            if seconds:
                _seek(container, stream, source.begin + seconds)
            time, count = -1 / source.fps, 0
            for frame in packets:
                count += 1
                guess = time + 1 / source.fps
                time = max(time, guess if frame.time is None else frame.time - source.begin)
                yield time, frame
        if packets.damage:
            logger.warning("%s is damaged: %s; %d frames could be read.", self.path, packets.damage, count)

    def _to_rgb(self, frame: VideoFrame) -> np.ndarray:
        turns = _quarter_turns(frame)
        size = (self.height, self.width) if turns % 2 else (self.width, self.height)
        image = frame.to_ndarray(format="rgb24", width=size[0], height=size[1])
        return np.ascontiguousarray(np.rot90(image, turns))

    def _part_of(self, pictures: list[Path]) -> list[Path]:
        if self.is_still:
            return pictures
        first = math.ceil(self.start * self.fps - 1e-6)
        last = len(pictures) if math.isinf(self.stop) else math.ceil(self.stop * self.fps - 1e-6)
        return pictures[first:last]

    def _read_pictures(self) -> Iterator[np.ndarray]:
        for picture in self._part_of(self._pictures):
            yield resize(read_image(picture), (self.width, self.height))


def _probe(path: Path) -> Source:
    """Read the head of a video and decode its first frame, which alone knows rotation and start."""
    with open_media(path) as container:
        stream = moving_stream(container)
        if stream is None:
            raise MediaError(f"{path} holds no video, only {_other_streams(container)}. Give a video or a picture.")
        packets = Packets(container, stream)
        frame = next(iter(packets), None)
        if frame is None:
            cause = packets.damage or "there is none"
            raise MediaError(f"{path} holds no frame that can be decoded ({cause}): is it cut short? Copy or convert it again.")
        size = (frame.height, frame.width) if _quarter_turns(frame) % 2 else (frame.width, frame.height)
        begin = float(frame.time or 0.0)
        fps = _average_fps(stream)
        has_audio = bool(container.streams.audio)
        return Source(*size, float(fps), begin, _slack(fps, stream), _duration(container, stream, begin), has_audio)


def _slack(fps: Fraction, stream: Any) -> float:
    """How much later than meant a frame's timestamp may be, in seconds, because the container rounds it."""
    is_exact = (1 / (fps * stream.time_base)).denominator == 1
    return 1e-6 if is_exact else min(CLOCK_SLACK, 0.5 * float(stream.time_base) + 1e-6)


def _duration(container: Any, stream: Any, begin: float) -> float:
    """Seconds that the pictures last, as the head tells; 0 when it does not."""
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    if tag := stream.metadata.get("DURATION"):  # Matroska: the end, as 00:01:02.345
        hours, minutes, seconds = tag.split(":")
        return 3600 * int(hours) + 60 * int(minutes) + float(seconds) - begin
    return max(0.0, (container.duration or 0) / 1e6 - begin)


def _other_streams(container: Any) -> str:
    return "sound with a cover picture" if container.streams.video else "sound"


def _average_fps(stream: Any) -> Fraction:
    """The average rate, or the nominal one where they agree: a last frame of odd length shifts the average a little."""
    average, nominal = stream.average_rate, stream.guessed_rate
    if not average:
        return Fraction(nominal or STILL_FPS)
    return nominal if nominal and abs(nominal / average - 1) < 0.01 else average


def _quarter_turns(frame: VideoFrame) -> int:
    return round((frame.rotation or 0) / 90) % 4


def _seek(container: Any, stream: Any, seconds: float) -> None:
    """Go to the last key frame before `seconds`; stay at the beginning where the file cannot be searched."""
    import av

    with suppress(av.FFmpegError):
        container.seek(int(seconds / stream.time_base), stream=stream, backward=True)


def _numbered_pictures(folder: Path) -> list[Path]:
    """The pictures of a folder whose names end in a number, in the order of these numbers."""
    numbered = []
    for path in folder.iterdir():
        digits = path.stem[len(path.stem.rstrip("0123456789")) :]
        if digits and not path.name.startswith(".") and path.is_file() and is_image(path):
            numbered.append((int(digits), path.name, path))
    if not numbered:
        raise MediaError(f"{folder} is a folder without numbered pictures (such as 000001.jpg). Give a video, or a picture.")
    return [path for _, _, path in sorted(numbered)]


def write_video(
    path: Path | str,
    frames: Iterable[np.ndarray],
    fps: float,
    audio: Path | str | np.ndarray | None = None,
    sample_rate: int = 16_000,
    crf: int = 18,
    lossless: bool = False,
) -> int:
    """Write frames, and sound if given, as they come: only a few frames are in memory at a time.

    The file lasts as long as its frames: longer sound is cut there (AAC rounds up to 1024 samples), shorter sound just
    ends. Sound of a file keeps its channels (at most two) and its sample rate (at most 48 kHz), and its time 0 is that of
    `load_audio`. Nothing is left at `path` unless everything was written.

    Args:
        path: .mp4, .mov or .mkv (H.264 and AAC); with `lossless` .avi or .mkv (FFV1 and 16-bit PCM).
        frames: (H, W, 3) uint8 RGB, all of one size. For H.264 an odd width or height grows by one, repeating the edge.
        fps: frames per second.
        audio: a sound or video file, or a wav (N,) of floats in [-1, 1] or of int16.
        sample_rate: of `audio` if that is an array.
        crf: quality of H.264, from 0 (best) to 51; 18 looks like the original.
        lossless: keep every pixel and sample.

    Returns:
        The number of frames written.

    Raises:
        MediaError: there are no frames or they differ in size, the suffix is unknown, the sound cannot be read, or the file
            cannot be written. What `frames` itself raises passes through.
    """
    path = Path(path)
    layout = _layout(path, lossless)
    if not 0.01 <= fps <= 1000:
        raise MediaError(f"{path}: a video has 0.01 to 1000 frames per second, not {fps}.")
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise MediaError(f"{path}: there are no frames to write; the source of the frames gave none.")
    rate = Fraction(fps).limit_denominator(1001)
    with atomic(path) as temporary, _create(temporary, path) as container:
        pictures = _PictureTrack(container, layout, rate, _checked(first, first, 0, path).shape, crf)
        track = None if audio is None else _SoundTrack(container, layout, audio, sample_rate)
        for count, frame in enumerate(chain([first], frames), 1):
            pictures.write(_checked(frame, first, count - 1, path))
            if track:
                track.write_until(count / rate)
        pictures.finish()
        if track:
            track.finish()
    return count


class _Layout(NamedTuple):
    """How pictures and sound are stored."""

    video: str
    pixels: str
    audio: str


_LOSSY, _LOSSLESS = (".mp4", ".mov", ".mkv"), (".avi", ".mkv")


def _layout(path: Path, lossless: bool) -> _Layout:
    suffix, allowed = path.suffix.lower(), _LOSSLESS if lossless else _LOSSY
    if suffix not in allowed:
        kind = "lossless videos" if lossless else "videos"
        raise MediaError(f"{path}: {kind} are written as {', '.join(allowed)}, not as {path.suffix!r}.")
    return _Layout("ffv1", "bgr0", "pcm_s16le") if lossless else _Layout("libx264", "yuv420p", "aac")


@contextmanager
def _create(temporary: Path, path: Path) -> Iterator[OutputContainer]:
    """A container to write into. A failure of FFmpeg's becomes an error that names `path`."""
    import av

    try:
        with av.open(f"file:{temporary}", "w") as container:
            yield container
    except av.FFmpegError as error:
        if isinstance(error, OSError):  # a full disk and the like: `atomic` says so
            raise
        cause = error.strerror or error
        raise MediaError(f"{path} cannot be encoded: {cause}. Try another size, fps or suffix.") from error


def _checked(frame: np.ndarray, first: np.ndarray, index: int, path: Path) -> np.ndarray:
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or not frame.size:
        raise MediaError(f"{path}: frame {index} is {frame.shape} {frame.dtype}; frames are (H, W, 3) uint8 RGB.")
    if frame.shape != first.shape:
        raise MediaError(f"{path}: frame {index} is {_size(frame)} but the first was {_size(first)}; bring all to one size.")
    return frame


def _size(frame: np.ndarray) -> str:
    return f"{frame.shape[1]} x {frame.shape[0]}"


class _PictureTrack:
    """Encodes frames. H.264 is tagged BT.601, which is also what readers that ignore the tag assume: no shift of color."""

    def __init__(self, container: OutputContainer, layout: _Layout, rate: Fraction, shape: tuple[int, ...], crf: int):
        self.container, self.pixels = container, layout.pixels
        self.lossy = layout.pixels == "yuv420p"
        self.padding = ((0, shape[0] % 2), (0, shape[1] % 2), (0, 0)) if self.lossy else ((0, 0),) * 3
        stream: Any = container.add_stream(layout.video, rate=rate, options={"crf": str(crf)} if self.lossy else {"g": "1"})
        stream.height, stream.width = shape[0] + self.padding[0][1], shape[1] + self.padding[1][1]
        stream.pix_fmt, stream.codec_context.time_base = layout.pixels, 1 / rate
        if self.lossy:
            context = stream.codec_context
            context.color_range, context.colorspace = 1, BT601  # 16..235
            context.color_primaries, context.color_trc = BT601_PRIMARIES, BT601_PRIMARIES
        self.stream = stream
        self.count = 0

    def write(self, image: np.ndarray) -> None:
        from av.video.frame import VideoFrame

        frame = VideoFrame.from_ndarray(np.ascontiguousarray(np.pad(image, self.padding, mode="edge")), format="rgb24")
        if self.lossy:
            frame = frame.reformat(format=self.pixels, dst_colorspace="ITU601", dst_color_range="MPEG")
        frame.pts, frame.time_base = self.count, self.stream.codec_context.time_base
        self.count += 1
        self.container.mux(self.stream.encode(frame))

    def finish(self) -> None:
        self.container.mux(self.stream.encode(None))


class _SoundTrack:
    """Encodes sound, never further than the frames have come: so it is interleaved, and cut where they end."""

    def __init__(self, container: OutputContainer, layout: _Layout, audio: Path | str | np.ndarray, sample_rate: int):
        blocks, source_rate = _sound(audio, sample_rate, layout.audio)
        self.blocks, self.rate = iter(blocks), source_rate
        self.pending = next(self.blocks, EMPTY)
        if not self.pending.size:
            name = "the sound" if isinstance(audio, np.ndarray) else audio
            raise MediaError(f"{name} holds no samples; leave the sound out, or give another.")
        self.container, self.written = container, 0
        self.layout = "mono" if len(self.pending) == 1 else "stereo"
        self.stream: Any = container.add_stream(layout.audio, rate=self.rate, layout=self.layout)

    def write_until(self, seconds: Fraction) -> None:
        missing = round(seconds * self.rate) - self.written
        while missing > 0 and self.pending.shape[1]:
            piece, self.pending = self.pending[:, :missing], self.pending[:, missing:]
            self._encode(piece)
            missing -= piece.shape[1]
            if not self.pending.shape[1]:
                self.pending = next(self.blocks, EMPTY)

    def _encode(self, piece: np.ndarray) -> None:
        from av.audio.frame import AudioFrame

        frame = AudioFrame.from_ndarray(np.ascontiguousarray(piece), format="fltp", layout=self.layout)
        frame.sample_rate, frame.pts, frame.time_base = self.rate, self.written, Fraction(1, self.rate)
        self.written += piece.shape[1]
        self.container.mux(self.stream.encode(frame))

    def finish(self) -> None:
        self.container.mux(self.stream.encode(None))


def _sound(audio: Path | str | np.ndarray, sample_rate: int, codec: str) -> tuple[Iterator[np.ndarray], int]:
    """Blocks (1 or 2, n) of float32, and their rate: one that the codec knows."""
    if isinstance(audio, np.ndarray):
        sound.check_wav(audio, "the sound")
        if codec != "aac" or sample_rate in AAC_RATES:
            return iter([np.clip(sound.to_float(audio), -1, 1)[None]]), sample_rate
        rate = _aac_rate(sample_rate)
        return sound.resample(audio, sample_rate, rate), rate
    rate = sound.source_rate(audio)
    rate = _aac_rate(rate) if codec == "aac" else min(rate, AAC_RATES[-1])
    return sound.audio_blocks(audio, rate), rate


def _aac_rate(rate: int) -> int:
    return next((known for known in AAC_RATES if known >= rate), AAC_RATES[-1])


def jpeg_degraded(frames: Iterable[np.ndarray] | Video) -> Iterator[np.ndarray]:
    """The frames as `ffmpeg -i video -threads 1 -f image2 %06d.jpg` (FFmpeg 5) stores them: (H, W, 3) uint8 RGB.

    Published scores were measured on such JPEG files: the encoder's default rate control (200 kb/s, whatever the size)
    leaves about 31 dB after the first dozen frames. A Video is passed on without a detour over RGB, as FFmpeg does, and
    gives the very pixels of those files; its rotation flag is not applied.
    """
    from av.codec.context import CodecContext

    encoder: Any = None
    for index, frame in enumerate(_decoded(frames)):
        if encoder is None:
            encoder = CodecContext.create("mjpeg", "w")
            encoder.width, encoder.height, encoder.pix_fmt = frame.width, frame.height, "yuvj420p"
            encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)
            # threads share the bits otherwise, and the header's 18 bytes count for the rate control too
            encoder.thread_count, encoder.sample_aspect_ratio, encoder.bit_rate = 1, Fraction(1), JPEG_BIT_RATE
        picture = _full_range(frame)
        picture.pts, picture.time_base = index, encoder.time_base
        for packet in encoder.encode(picture):
            image = decode_image(bytes(packet))
            if image is None:
                raise MediaError(f"frame {index} could not be read back from JPEG.")
            yield image


def _decoded(frames: Iterable[np.ndarray] | Video) -> Iterator[VideoFrame]:
    from av.video.frame import VideoFrame

    if isinstance(frames, Video) and not frames.has_pictures:
        yield from frames.decoded()
    else:
        yield from (VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24") for frame in frames)


def _full_range(frame: VideoFrame) -> VideoFrame:
    """16..235 stretched to 0..255 in the fixed-point arithmetic of FFmpeg 5; newer versions differ by one grey level."""
    from av.video.frame import VideoFrame

    source = frame if frame.format.name in ("yuv420p", "yuvj420p") else frame.reformat(format="yuv420p")
    full = VideoFrame(source.width, source.height, "yuvj420p")
    is_full = source.format.name == "yuvj420p" or source.color_range == 2
    for index, (old, new) in enumerate(zip(source.planes, full.planes, strict=True)):
        values = np.frombuffer(memoryview(old), np.uint8).reshape(old.height, old.line_size)[:, : old.width]
        padded = np.zeros((new.height, new.line_size), np.uint8)
        padded[:, : new.width] = values if is_full else _range_tables()[min(index, 1)][values]
        new.update(padded.tobytes())
    return full


@lru_cache(maxsize=1)
def _range_tables() -> np.ndarray:
    """(2, 256) uint8: full-range values of luma and chroma."""
    level = np.arange(256, dtype=np.int64) << 7
    luma = (np.minimum(level, 30189) * 19077 - 39057361) >> 14
    chroma = (np.minimum(level, 30775) * 4663 - 9289992) >> 12
    return np.clip((np.stack([luma, chroma]) + 64) >> 7, 0, 255).astype(np.uint8)
