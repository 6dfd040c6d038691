"""Opening containers (mp4, avi, wav, ...) with PyAV: what video.py and audio.py share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from talkingface.errors import MediaError
from talkingface.media.files import existing_file

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

# text that FFmpeg would draw, and lists that make it open other files
NOT_MEDIA = {"tty", "hls", "concat", "dash", "image2", "ffmetadata", "sdp", "lrc", "srt", "webvtt", "ass"}


@contextmanager
def open_media(path: Path | str) -> Iterator[InputContainer]:
    """The container of a video or sound file.

    Raises:
        MediaError: there is no such file, or it is neither video nor sound.
    """
    import av

    path = existing_file(path)
    try:
        container = av.open(f"file:{path}", metadata_errors="ignore", options={"protocol_whitelist": "file"})
    except (av.FFmpegError, ValueError) as error:
        raise unreadable(path, error) from error
    with container:
        if container.format.name in NOT_MEDIA or not container.streams:
            raise MediaError(f"{path} is neither a video nor a sound file. Use a file such as .mp4, .avi, .mkv, .webm or .wav.")
        yield container


def unreadable(path: Path, error: Exception) -> MediaError:
    """What to tell when FFmpeg cannot read a file."""
    reason = getattr(error, "strerror", None) or str(error)
    cause = "it is cut short, damaged, or no video or sound file"
    return MediaError(f"{path} cannot be read ({reason}): {cause}. Play it to see, then convert or copy it again.")


def moving_stream(container: InputContainer) -> VideoStream | None:
    """The first video stream that can be decoded and is no cover picture."""
    for stream in container.streams.video:
        is_cover = bool(stream.disposition & type(stream.disposition).attached_pic)
        if not is_cover and stream.codec_context is not None:
            return stream
    return None


class Packets:
    """Decodes one stream packet by packet, passes over packets that cannot be decoded, and counts them.

    Args:
        container: an open container.
        stream: the stream of it to decode.
    """

    def __init__(self, container: InputContainer, stream: Any):
        self.container, self.stream = container, stream
        self.bad, self.broken = 0, ""
        stream.thread_type = "AUTO"

    def __iter__(self) -> Iterator[Any]:
        import av

        packets = self.container.demux(self.stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.FFmpegError as error:
                self.broken = str(error)
                return
            try:
                frames = packet.decode()
            except av.FFmpegError:
                self.bad += 1
                continue
            yield from frames

    @property
    def damage(self) -> str:
        """What was lost, in words; empty when nothing was."""
        lost = [f"{self.bad} packets could not be decoded"] if self.bad else []
        return ", ".join(lost + ([f"reading stopped at: {self.broken}"] if self.broken else []))


def first_frame_time(path: Path) -> float:
    """When the first frame of a video is shown, in seconds of the container's clock; nan for a file without video."""
    with open_media(path) as container:
        stream = moving_stream(container)
        if stream is None:
            return float("nan")
        for frame in Packets(container, stream):
            return 0.0 if frame.time is None else float(frame.time)
    return float("nan")
