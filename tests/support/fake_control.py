"""A control server on a unix socket that answers what a test tells it to, and remembers what it was asked."""

from __future__ import annotations

import os
import socketserver
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import NamedTuple, Self
from urllib.parse import parse_qsl, urlsplit

from librarian_protocol import api, wire
from librarian_protocol.errors import LibrarianError, NotFound


class Request(NamedTuple):
    """What was asked: ``GET /file``, its query, its body."""

    route: str
    query: dict[str, str]
    body: bytes


class Raw(NamedTuple):
    """An answer that is sent as it stands. ``cut``: the connection ends before the promised end."""

    body: bytes
    status: int = 200
    cut: bool = False


Answer = object | Callable[[Request], object]


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    control: FakeControl

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up early is no error of the test."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]  # typeshed wants a socket


class _Handler(BaseHTTPRequestHandler):
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride] - made by that server alone

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        route = f"{self.command} {parts.path.removeprefix(api.PREFIX)}"
        request = Request(route, dict(parse_qsl(parts.query, strict_parsing=bool(parts.query))), body)
        raw = self.server.control.answered(request)
        self.send_response(raw.status)
        self.send_header("Content-Length", str(len(raw.body) + raw.cut))
        self.end_headers()
        self.wfile.write(raw.body)

    do_GET = do_POST = do_DELETE = _answer  # noqa: N815 - the names that http.server looks for

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in http.server
        """Tests read stderr."""

    def address_string(self) -> str:
        """A unix peer has no address."""
        return "unix"


class FakeControl:
    """Serves as a context manager; routes without an answer are 404 with E104."""

    def __init__(self, socket: Path) -> None:
        self.requests: list[Request] = []
        self._answers: dict[str, Answer] = {}
        # The directory's descriptor, because a test's path may be longer than sun_path.
        directory = os.open(socket.parent, os.O_PATH | os.O_DIRECTORY)
        try:
            self._server = _Server(f"/proc/self/fd/{directory}/{socket.name}", _Handler)
        finally:
            os.close(directory)
        self._server.control = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def answer(self, route: str, answer: Answer) -> None:
        """``route`` is ``GET /file``; the answer a value for JSON, a Raw, an error, or what makes one of a request."""
        self._answers[route] = answer

    def answered(self, request: Request) -> Raw:
        """Remember the request and give its answer."""
        self.requests.append(request)
        answer = self._answers.get(request.route, NotFound(f"nothing at {request.route}"))
        if callable(answer):
            answer = answer(request)
        if isinstance(answer, Raw):
            return answer
        if isinstance(answer, LibrarianError):
            body = api.ErrorBody(code=answer.code, kind=answer.kind, message=answer.message, hint=answer.hint)
            return Raw(wire.encode(body), 404 if answer.code == NotFound.code else 400)
        return Raw(wire.encode(answer))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
