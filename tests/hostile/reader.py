"""Reads hostile files in a process of its own whose memory is limited, and prints what came of each as JSON.

python -m tests.hostile.reader KIND FOLDER MEGABYTES
"""

import json
import resource
import sys
import time
from pathlib import Path

from talkingface.errors import TalkingFaceError


def read_weights(path):
    """As `talkingface inspect`, the loading of a model and `talkingface convert` do."""
    from talkingface.convert import convert
    from talkingface.nn.weights import read_weights as read
    from talkingface.passport import passport

    problem = passport(path).problem
    try:
        read(path)
        if problem:
            raise AssertionError(f"it was read, and its passport says: {problem}")
        convert(path, path.parent / "out")
    except TalkingFaceError as error:
        return problem or str(error)
    return problem


def read_settings(path):
    from talkingface.config import Config

    Config.load(files=[path])


def read_video(path):
    from talkingface.media.audio import load_audio
    from talkingface.media.video import Video

    video = Video(path)
    shapes = {frame.shape for frame, _ in zip(video, range(50), strict=False)}
    assert len(shapes) <= 1
    if video.has_audio:
        load_audio(path)


def read_sound(path):
    from talkingface.media.audio import load_audio

    assert len(load_audio(path)) < 2e7


def read_picture(path):
    from talkingface.media.image import read_image

    read_image(path)


READERS = {
    "weights": read_weights,
    "settings": read_settings,
    "videos": read_video,
    "sounds": read_sound,
    "pictures": read_picture,
}


def warm_up():
    """Import what readers import, so that the limit holds for what files do."""
    import torch

    import talkingface.convert  # noqa: F401
    from talkingface.nn.weights import closest
    from talkingface.passport import load_all_networks

    load_all_networks()
    closest({"x": torch.ones(1)})


def limit_memory(megabytes):
    """Let this process take so much more than it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + megabytes * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def main(kind, folder, megabytes):
    if kind == "weights":
        warm_up()
    else:
        import talkingface.media.audio
        import talkingface.media.image
        import talkingface.media.video  # noqa: F401
    limit_memory(int(megabytes))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for path in sorted(Path(folder).glob("*/file.*")):
        start = time.monotonic()
        try:
            outcome = READERS[kind](path) or ""
            kind_of_error = "TalkingFaceError" if outcome else ""
        except TalkingFaceError as error:
            outcome, kind_of_error = str(error), "TalkingFaceError"
        except BaseException as error:  # the test says what is wrong with it
            outcome, kind_of_error = repr(error)[:300], type(error).__name__
        seconds = round(time.monotonic() - start, 2)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
        print(
            json.dumps({"name": path.parent.name, "outcome": outcome, "error": kind_of_error, "s": seconds, "MB": grown}),
            flush=True,
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
