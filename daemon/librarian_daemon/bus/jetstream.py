"""The part of JetStream's API that we use: one stream, one durable consumer for each reader, publishing.

Requests and answers are JSON over plain request and reply, so that we see the server's own answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from librarian_daemon.bus import routing
from librarian_daemon.bus.connection import Session
from librarian_daemon.bus.streams import consumer_config, stream_config
from librarian_daemon.ports.bus import Stored, StreamPosition
from librarian_protocol import subjects
from librarian_protocol.errors import BusUnavailable, BusUnsafe
from librarian_protocol.names import SiteName

_NOT_FOUND = 404
_UNAVAILABLE = 503
_TIMEOUT_S = 5.0
_T = TypeVar("_T")


class ApiError(msgspec.Struct, frozen=True):
    """The server's error."""

    code: int
    description: str = ""


class _State(msgspec.Struct, frozen=True):
    last_seq: int


class _StreamAnswer(msgspec.Struct, frozen=True):
    error: ApiError | None = None
    config: dict[str, Any] = {}
    created: str = ""
    state: _State = _State(0)


class _PublishAnswer(msgspec.Struct, frozen=True):
    error: ApiError | None = None
    stream: str = ""
    seq: int = 0
    duplicate: bool = False


async def ensure_stream(session: Session, site: SiteName) -> tuple[StreamPosition, str]:
    """Make the stream, or give it the settings above as far as the server lets us.

    Returns:
        Its end, and what is unsafe about it ("" if nothing is).

    Raises:
        BusUnavailable: no answer.
        BusUnsafe: the server refuses to make it.
    """
    wanted = stream_config(site)
    found = await _stream(session, "INFO", site, {})
    if found.error is not None and found.error.code == _NOT_FOUND:
        found = await _stream(session, "CREATE", site, wanted)
        if found.error is not None:
            raise BusUnsafe(
                f"the bus refuses to make stream {subjects.stream(site)}: {found.error.description}",
                hint="nats/README.md lists what a server must allow, such as jetstream.max_file",
            )
    if found.error is not None:
        raise BusUnavailable(f"no stream {subjects.stream(site)}: {found.error.description}")
    position = StreamPosition(created=found.created, last_seq=found.state.last_seq)
    if all(found.config.get(key) == value for key, value in wanted.items()):
        return position, ""
    # Settings that we do not need (replicas, placement) stay as the operator set them.
    updated = await _stream(session, "UPDATE", site, {**found.config, **wanted})
    if updated.error is None:
        return position, ""
    different = ", ".join(sorted(key for key, value in wanted.items() if found.config.get(key) != value))
    return position, f"stream {wanted['name']} has other settings ({different}): {updated.error.description}"


async def ensure_consumer(session: Session, origin: SiteName, reader: SiteName, access: str) -> None:
    """Make the reader's consumer, or give it the settings above. Idempotent.

    Raises:
        BusUnavailable: no answer, or the server refuses.
    """
    body = {
        "stream_name": subjects.stream(origin),
        "config": consumer_config(origin, reader, access),
        "action": "",
    }
    raw = await session.request(routing.create_consumer(origin, reader), _encode(body), timeout_s=_TIMEOUT_S)
    answer = _decode(raw, _StreamAnswer)
    if answer.error is not None:
        raise BusUnavailable(f"no consumer {subjects.consumer(origin, reader)}: {answer.error.description}")


async def publish(session: Session, site: SiteName, subject: str, payload: bytes, headers: Mapping[str, str]) -> Stored:
    """Publish and wait until the stream has it.

    Raises:
        BusUnavailable: no acknowledgement.
    """
    raw = await session.request(subject, payload, headers=headers, timeout_s=_TIMEOUT_S)
    answer = _decode(raw, _PublishAnswer)
    if answer.error is not None:
        raise BusUnavailable(f"the bus did not store {subject}: {answer.error.description}")
    if answer.stream != subjects.stream(site) or answer.seq < 1:
        raise BusUnavailable(f"stream {answer.stream!r} took {subject}, not {subjects.stream(site)}")
    return Stored(stream_seq=answer.seq, again=answer.duplicate)


async def _stream(session: Session, verb: str, site: SiteName, body: Mapping[str, Any]) -> _StreamAnswer:
    raw = await session.request(routing.stream_api(verb, site), _encode(body), timeout_s=_TIMEOUT_S)
    answer = _decode(raw, _StreamAnswer)
    if answer.error is not None and answer.error.code == _UNAVAILABLE:
        raise BusUnavailable(f"JetStream is not available: {answer.error.description}")
    return answer


def _encode(body: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode(body)


def _decode(raw: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.DecodeError as exc:
        raise BusUnavailable(f"the bus answered something that is not its API: {exc}") from exc
