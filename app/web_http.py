"""The live page's web server: standard library, loopback only, one token in the path.

Adversary: other programs' pages in the same browser, and DNS rebinding. Every request needs the token (128 bits, in
the address the demo prints), a Host that is loopback with our port, and, where it changes something, our own Origin.
The page may load nothing from elsewhere (Content-Security-Policy), bodies have exactly the size of a picture of the
model, and pixels stay in this process and the device's. A local user who can read this process has all of it anyway.
"""

from __future__ import annotations

import json
import secrets
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np

from blindsight.app import web_answers
from blindsight.app.cli import is_users
from blindsight.app.web_run import Runs
from blindsight.app.web_stage import Stage
from blindsight.errors import OneLine, quoted

STATIC = Path(__file__).parent / "web_page"
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "media-src 'self' blob:; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}
MAX_QUERY = 2048
HEARTBEAT_S = 10.0


class Refuse(Exception):
    """A request that gets no answer but a status and a line."""

    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.status = status


class PageServer(ThreadingHTTPServer):
    """The server; `address` is what the person opens. Port 0 takes a free one."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, stage: Stage, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.stage, self.runs = stage, Runs(stage)
        self.token = secrets.token_urlsafe(16)
        self.closing = threading.Event()

    @property
    def address(self) -> str:
        """The page's address, token included."""
        return f"http://127.0.0.1:{self.server_address[1]}/{self.token}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away in the middle of an answer is no event; anything else keeps its traceback."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: PageServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "blindsight", ""
    timeout = 60

    def do_GET(self) -> None:
        """Files of the page, its questions, and the events of a picture's way."""
        self._guarded(self._get)

    def do_POST(self) -> None:
        """A picture."""
        self._guarded(self._post)

    def _guarded(self, answer: Any) -> None:
        try:
            self._check()
            answer(*self._path())
        except Refuse as refusal:
            self.close_connection = True  # a body may be left unread
            self._send(refusal.status, "application/json", json.dumps({"error": str(refusal)}).encode())

    def _check(self) -> None:
        port = self.server.server_address[1]
        if self.headers.get("Host") not in (f"127.0.0.1:{port}", f"localhost:{port}"):
            raise Refuse(HTTPStatus.MISDIRECTED_REQUEST, "this page answers on 127.0.0.1 and localhost alone")
        if self.command != "GET" and self.headers.get("Origin") != f"http://{self.headers['Host']}":
            raise Refuse(HTTPStatus.FORBIDDEN, "a request of another page")

    def _path(self) -> tuple[str, dict[str, str]]:
        """What follows the token, and the query."""
        parts = urlsplit(self.path)
        token, _, rest = parts.path.removeprefix("/").partition("/")
        if len(self.path) > MAX_QUERY or not secrets.compare_digest(
            token.encode(), self.server.token.encode()
        ):
            raise Refuse(HTTPStatus.NOT_FOUND, "open the whole address that the demo printed")
        return rest, {k: v[0] for k, v in parse_qs(parts.query).items()}

    def _get(self, path: str, query: dict[str, str]) -> None:
        stage = self.server.stage
        if path.startswith("api/runs/"):
            self._stream(path.removeprefix("api/runs/"))
        elif path == "api/state":
            self._json(web_answers.state(stage))
        elif path == "api/pictures":
            self._json(self._asked(web_answers.pictures, stage, query))
        elif path == "api/cost":
            self._json(self._asked(web_answers.board_cost, stage, query))
        else:
            file = STATIC / (path or "index.html")
            if file.parent != STATIC or file.suffix not in TYPES or not file.is_file():
                raise Refuse(HTTPStatus.NOT_FOUND, "no such page")
            self._send(HTTPStatus.OK, TYPES[file.suffix] + "; charset=utf-8", file.read_bytes())

    def _post(self, path: str, query: dict[str, str]) -> None:
        if path != "api/runs":
            raise Refuse(HTTPStatus.NOT_FOUND, "nothing takes this")
        served = self.server.stage.served.get(query.get("model", ""))
        if served is None:
            raise Refuse(HTTPStatus.BAD_REQUEST, "no such model here")
        size = int(np.prod(served.shape))
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit():
            raise Refuse(HTTPStatus.LENGTH_REQUIRED, "a picture needs its length")
        # twelve digits are above any picture, so thousands of them are never read as a number
        announced = int(length.lstrip("0")[:12] or "0")
        if announced > size:
            raise Refuse(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a picture of this model is {size} bytes, not more"
            )
        if announced < size:
            raise Refuse(HTTPStatus.BAD_REQUEST, f"a picture of this model is {size} bytes, not {announced}")
        pixels = np.frombuffer(self.rfile.read(size), np.uint8)
        if pixels.size != size:
            raise Refuse(HTTPStatus.BAD_REQUEST, "the picture is cut off")
        try:
            number = self.server.runs.begin(
                query["model"], query.get("ingest", ""), pixels.reshape(served.shape)
            )
        except ValueError as error:
            raise Refuse(HTTPStatus.BAD_REQUEST, str(error)) from None
        if number is None:
            raise Refuse(HTTPStatus.CONFLICT, "a picture is on its way already: one at a time")
        self._json({"run": number})

    @staticmethod
    def _asked(answer: Any, stage: Stage, query: dict[str, str]) -> dict[str, Any]:
        try:
            found: dict[str, Any] = answer(stage, query)
            return found
        except KeyError:
            raise Refuse(HTTPStatus.BAD_REQUEST, "no such model here") from None
        except Exception as error:
            if not (isinstance(error, ValueError) or is_users(error)):
                raise
            raise Refuse(HTTPStatus.BAD_REQUEST, quoted(error, OneLine.LIMIT)) from None

    def _stream(self, number: str) -> None:
        """Server-sent events from the first on, or after `Last-Event-ID`, to the end of the picture's way."""
        run = self.server.runs.get(number)
        if run is None:
            raise Refuse(HTTPStatus.NOT_FOUND, "no such picture")
        last = self.headers.get("Last-Event-ID", "")
        at = int(last) + 1 if last.isascii() and last.isdigit() and len(last) < 9 else 0
        self.close_connection = True
        self.send_response(HTTPStatus.OK)
        self._headers("text/event-stream; charset=utf-8")
        self.end_headers()
        while not self.server.closing.is_set():
            new, ended = run.after(at, HEARTBEAT_S)
            for event in new:
                self.wfile.write(f"id: {at}\ndata: {json.dumps(event)}\n\n".encode())
                at += 1
            if not new:
                self.wfile.write(b": waiting\n\n")
            self.wfile.flush()
            if ended and not new:
                return

    def _json(self, body: dict[str, Any]) -> None:
        self._send(HTTPStatus.OK, "application/json", json.dumps(body).encode())

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        self._headers(kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _headers(self, kind: str) -> None:
        self.send_header("Content-Type", kind)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the address holds the token."""
