"""Messages: colours on a terminal, plain lines in the run's log.txt."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = "talkingface"


def log_to_console(quiet: bool = False) -> None:
    """Send messages to standard error: warnings only if quiet; with colours where that is a terminal."""
    import colorlog
    from tqdm import tqdm

    class Handler(logging.Handler):
        """Writes above a running progress bar."""

        def emit(self, record: logging.LogRecord) -> None:
            tqdm.write(self.format(record), file=sys.stderr)

    handler = Handler()
    if sys.stderr.isatty():
        handler.setFormatter(
            colorlog.ColoredFormatter("%(log_color)s%(message)s", log_colors={"WARNING": "yellow", "ERROR": "red"})
        )
    logger = logging.getLogger(ROOT)
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    handler.setLevel(logging.WARNING if quiet else logging.INFO)
    logger.propagate = False


@contextmanager
def log_to_file(path: Path) -> Iterator[None]:
    """Also write messages, with their time, to a file that is appended to."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger(ROOT)
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()
