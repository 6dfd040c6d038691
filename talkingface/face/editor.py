"""Placing 68 points on a picture by hand: a page in the user's browser, served by this machine to itself alone."""

from __future__ import annotations

import hmac
import json
import logging
import secrets
import threading
from collections.abc import Callable
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from talkingface.errors import FaceError, TalkingFaceError
from talkingface.face.points import check_points
from talkingface.media.image import read_layer

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
PAGE = Path(__file__).with_name("editor.html")
CURVES = [  # first point, last point, closed
    (0, 16, False), (17, 21, False), (22, 26, False), (27, 30, False), (31, 35, False),
    (36, 41, True), (42, 47, True), (48, 59, True), (60, 67, True),
]  # fmt: skip
LARGEST = 1 << 16  # bytes of a request
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class PointEditor:
    """A page on which 68 points are dragged over a picture.

    It is served on 127.0.0.1 at a free port, under an address with a secret that only who is given `url` knows; the page asks
    for nothing else, from nowhere else. What is sent back must carry the secret and come from the page itself.

    Args:
        picture: the file.
        points: (68, 2) where the points are at first, pixels.
        save: called with (68, 2) when they are saved; an error of ours that it raises is shown on the page.
        port: 0 = any free one.
    """

    def __init__(self, picture: Path, points: np.ndarray, save: Callable[[np.ndarray], Any], port: int = 0):
        self.picture = read_layer(picture)
        self.name, self.points, self.save = picture.name, check_points(points, picture)[:, :2], save
        self.secret = secrets.token_urlsafe(24)
        self.saved = False
        self.done = threading.Event()
        try:
            self.server = ThreadingHTTPServer((HOST, port), self._handler())
        except OSError as error:
            raise FaceError(f"the page for placing points cannot be served on port {port}: {error.strerror}.") from error

    @property
    def host(self) -> str:
        """Address and port."""
        return f"{HOST}:{self.server.server_address[1]}"

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{self.host}/{self.secret}/"

    def run(self, opened: Callable[[str], Any] | None = None) -> bool:
        """Serve the page until the user saves or closes it with its buttons.

        Args:
            opened: called with the page's address when it can be opened.

        Returns:
            Whether points were saved.
        """
        thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        thread.start()
        try:
            if opened is not None:
                opened(self.url)
            self.done.wait()
        finally:
            self.server.shutdown()
            self.server.server_close()
            thread.join()
        return self.saved

    # --- what is served -----------------------------------------------------------------------------------------------

    @cached_property
    def files(self) -> dict[str, tuple[str, bytes]]:
        """Path below the secret -> type and content."""
        order = cv2.COLOR_RGB2BGR if self.picture.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
        png = cv2.imencode(".png", cv2.cvtColor(self.picture, order))[1].tobytes()
        height, width = self.picture.shape[:2]
        state = {"name": self.name, "width": width, "height": height, "points": self.points.round(2).tolist(), "curves": CURVES}
        return {
            "": ("text/html; charset=utf-8", PAGE.read_bytes().replace(b"{nonce}", self.nonce.encode())),
            "picture.png": ("image/png", png),
            "state.json": ("application/json", json.dumps(state).encode()),
        }

    @cached_property
    def nonce(self) -> str:
        """Says which script and style the browser may use: those of the page."""
        return secrets.token_urlsafe(16)

    @property
    def policy(self) -> str:
        """What the page may do: its own script and style, its own pictures and requests, nothing else."""
        own = f"script-src 'nonce-{self.nonce}'; style-src 'nonce-{self.nonce}'; img-src 'self'; connect-src 'self'"
        return f"default-src 'none'; {own}; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"

    def receive(self, action: str, content: bytes) -> None:
        """Take what the page sends: the points, or that it is closed without them.

        Raises:
            TalkingFaceError: the points are none, or cannot be saved.
        """
        if action == "save":
            self.save(self.read(content))
            self.saved = True
        self.done.set()

    def read(self, content: bytes) -> np.ndarray:
        """The points (68, 2) in a request, none outside of the picture.

        Raises:
            FaceError: they are not 68 pairs of numbers.
        """
        try:
            points = np.array(json.loads(content)["points"], np.float64).reshape(-1, 2)
        except (ValueError, KeyError, TypeError) as error:
            raise FaceError(f"what the page sent holds no points ({error}).") from error
        height, width = self.picture.shape[:2]
        return np.clip(check_points(points, "what the page sent"), 0, [width - 1, height - 1])

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        editor = self

        class Handler(BaseHTTPRequestHandler):
            """Answers the page, and nobody else."""

            server_version, sys_version = "talkingface", ""
            timeout = 30

            def do_GET(self) -> None:
                path = self.allowed_path()
                if path is None or path not in editor.files:
                    self.answer(404, "text/plain", b"not found")
                    return
                self.answer(200, *editor.files[path])

            def do_POST(self) -> None:
                path = self.allowed_path()
                size = self.headers.get("Content-Length", "")
                is_page = (
                    self.headers.get("Origin") == f"http://{editor.host}"
                    and self.headers.get("Sec-Fetch-Site", "same-origin") == "same-origin"
                )
                if path not in ("save", "close") or not is_page or self.headers.get_content_type() != "application/json":
                    self.answer(403, "text/plain", b"only the page itself may send points")
                elif not size.isdigit() or int(size) > LARGEST:
                    self.answer(413, "text/plain", b"too large")
                else:
                    self.take(path, self.rfile.read(int(size)))

            def take(self, action: str, content: bytes) -> None:
                try:
                    editor.receive(action, content)
                except TalkingFaceError as error:
                    self.answer(422, "text/plain; charset=utf-8", str(error).encode())
                else:
                    self.answer(200, "text/plain", b"ok")

            def allowed_path(self) -> str | None:
                """What is asked for below the secret; None where the secret is wrong or another host is named."""
                secret, _, path = self.path.removeprefix("/").partition("/")
                known = hmac.compare_digest(secret.encode(), editor.secret.encode())
                return path if known and self.headers.get("Host") == editor.host else None

            def answer(self, code: int, kind: str, content: bytes) -> None:
                self.send_response(code)
                headers = {
                    **HEADERS,
                    "Content-Security-Policy": editor.policy,
                    "Content-Type": kind,
                    "Content-Length": len(content),
                }
                for name, value in headers.items():
                    self.send_header(name, str(value))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:
                log.debug(format, *args)

        return Handler
