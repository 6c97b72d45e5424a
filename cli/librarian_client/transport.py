"""HTTP over a unix socket, with the daemon's errors made exceptions again."""

from __future__ import annotations

import http.client
import os
import socket
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, urlencode

import msgspec

from librarian_protocol import api, errors, wire
from librarian_protocol.errors import DaemonUnreachable, LibrarianError, NotPermitted, SiteError

T = TypeVar("T")
#: ``sun_path`` holds 108 bytes on Linux, with a NUL at its end; some room is left.
MAX_SOCKET_PATH_BYTES = 100
CHUNK_BYTES = 1 << 16

Query = Mapping[str, str | int | None]


class UnixConnection(http.client.HTTPConnection):
    """An HTTP connection to a unix socket."""

    def __init__(self, path: Path, timeout_s: float | None) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Connect, by way of the directory's descriptor where the path is too long for ``sun_path``."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        if len(os.fsencode(self._path)) <= MAX_SOCKET_PATH_BYTES:
            self.sock.connect(os.fspath(self._path))
            return
        directory = os.open(self._path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.sock.connect(f"/proc/self/fd/{directory}/{self._path.name}")
        finally:
            os.close(directory)


class Transport:
    """One request a connection: there is nothing to keep alive, and nothing that goes stale."""

    def __init__(
        self,
        path: Path,
        *,
        hint: str,
        read_path: Path | None = None,
        reads_only: Callable[[Path], None] = lambda _: None,
    ) -> None:
        """Where this user may not open ``path``, ``read_path`` is used, and ``reads_only`` is told of it once."""
        self.path = path
        self._hint = hint
        self._read_path = read_path
        self._reads_only = reads_only

    def call(
        self,
        method: str,
        route: str,
        wanted: type[T],
        *,
        query: Query | None = None,
        body: object = None,
        timeout_s: float | None,
    ) -> T:
        """Make a request and decode its answer.

        Raises:
            DaemonUnreachable: no daemon answers, or it went away.
            NotPermitted: this user may not open its socket.
            LibrarianError: what the daemon answered.
        """
        with self._response(method, route, query, body, timeout_s) as response:
            return self._decoded(wire.decoder(wanted), response.read())

    def lines(self, route: str, wanted: type[T], *, query: Query | None = None, timeout_s: float | None) -> Iterator[T]:
        """Items of a ``application/jsonl`` stream as they come. Raises as :meth:`call`."""
        decoder = wire.decoder(wanted)
        rest = b""
        for chunk in self.chunks(route, query=query, timeout_s=timeout_s):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if line.strip():
                    yield self._decoded(decoder, line)
        if rest.strip():
            yield self._decoded(decoder, rest)

    def chunks(self, route: str, *, query: Query | None = None, timeout_s: float | None) -> Iterator[bytes]:
        """A body by pieces as they come. Raises as :meth:`call`, also where the body ends too early."""
        with self._response("GET", route, query, None, timeout_s) as response:
            # Of the ways to read a response only read1() neither waits for a full buffer nor takes a broken
            # connection for the end; with a Content-Length it is for us to compare.
            while chunk := response.read1(CHUNK_BYTES):
                yield chunk
            if response.length:
                raise http.client.IncompleteRead(b"", response.length)

    @contextmanager
    def _response(
        self, method: str, route: str, query: Query | None, body: object, timeout_s: float | None
    ) -> Generator[http.client.HTTPResponse]:
        pairs = {key: value for key, value in (query or {}).items() if value is not None}
        target = api.PREFIX + route + (f"?{urlencode(pairs, quote_via=quote)}" if pairs else "")
        with self._reached(timeout_s):
            connection = self._connection(timeout_s)
        try:
            with self._reached(timeout_s):
                headers = {"Content-Type": "application/json"} if body is not None else {}
                connection.request(method, target, wire.encode(body) if body is not None else None, headers)
                response = connection.getresponse()
                if response.status >= 400:
                    raise _error(response.status, response.reason, f"{method} {route}", response.read())
                yield response
        finally:
            connection.close()

    def _connection(self, timeout_s: float | None) -> UnixConnection:
        """One that is open."""
        connection = UnixConnection(self.path, timeout_s)
        try:
            connection.connect()
        except PermissionError:
            connection.close()
            if self._read_path is None:
                raise
            connection = UnixConnection(self._read_path, timeout_s)
            self.path, self._read_path = self._read_path, None
            connection.connect()
            self._reads_only(self.path)
        except OSError:
            connection.close()
            raise
        return connection

    @contextmanager
    def _reached(self, timeout_s: float | None) -> Generator[None]:
        try:
            yield
        except (FileNotFoundError, ConnectionRefusedError) as exc:
            raise DaemonUnreachable(f"no daemon answers on {self.path}", hint=self._hint) from exc
        except PermissionError as exc:
            raise NotPermitted(
                f"not allowed to speak to the daemon on {self.path}",
                hint="run it as the daemon's user; or be of the group that may read, `[control] readers`",
            ) from exc
        except TimeoutError as exc:
            raise DaemonUnreachable(
                f"the daemon on {self.path} did not answer within {timeout_s:g} s",
                hint="its log says what it is doing",
            ) from exc
        except (OSError, http.client.HTTPException) as exc:
            why = str(exc) or type(exc).__name__
            raise DaemonUnreachable(f"the daemon on {self.path} went away: {why}", hint=self._hint) from exc

    def _decoded(self, decoder: msgspec.json.Decoder[T], raw: bytes) -> T:
        try:
            return decoder.decode(raw)
        except wire.NOT_DECODABLE as exc:
            raise SiteError(
                f"the daemon's answer is not understood: {exc}", hint="are lbctl and lbd of one version?"
            ) from exc


_ERROR = msgspec.json.Decoder(api.ErrorBody)


def _error(status: int, reason: str, what: str, raw: bytes) -> LibrarianError:
    """The exception that the daemon's answer stands for."""
    try:
        body = _ERROR.decode(raw)
    except wire.NOT_DECODABLE:
        return SiteError(f"the daemon answered {status} {reason} to {what}", hint="are lbctl and lbd of one version?")
    known = errors.by_code()
    kind = known.get(body.code)
    if kind is None:
        # Of a newer daemon: its family still says whose fault it is.
        kind = known.get(f"{body.code[:2]}00", LibrarianError)
        return kind(f"{body.code}: {body.message}", hint=body.hint)
    return kind(body.message, hint=body.hint)
