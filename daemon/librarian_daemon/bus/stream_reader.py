"""Reads one origin's stream through our own durable consumer there, in order, without acks.

At every start, and after every irregularity, the consumer is set back to our cursor and reading starts again with a new
inbox, so that answers to older requests are dropped. The consumer counts what it sends from 1 after a reset: a hole in
that count is a message lost on the way. One request is outstanding at a time, and it bounds what can be in flight.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import msgspec
import structlog
from nats.aio.msg import Msg

from librarian_daemon.bus.connection import Connection, Inbox, Session
from librarian_daemon.bus.jetstream import ApiError
from librarian_daemon.bus.routing import Addressing
from librarian_daemon.ports.bus import Message
from librarian_daemon.ports.time import Clock, Rng
from librarian_protocol.errors import BusUnavailable
from librarian_protocol.names import SiteName

_log = structlog.get_logger(__name__)

_BATCH = 256
#: More would put other traffic on a slow link behind it for seconds.
_MAX_BYTES = 1 << 20
#: Short: an abandoned request consumes messages for this time if somebody keeps its inbox alive (below).
_EXPIRES_S = 5
_HEARTBEAT_S = 2
#: Two and a half heartbeats: longer silence means that the request is lost.
_SILENCE_S = 5.0
#: A server that was just started or reloaded can lose a question: it is repeated soon, then with growing delays.
_FIRST_SILENCE_S = 0.5
#: Twice a batch and its statuses; nobody may send us more than we asked for.
_INBOX_LIMIT = 1024
_FIRST_PAUSE_S = 0.1
#: Also limits the cost of a message that breaks the connection each time.
_LONGEST_PAUSE_S = 2.0
#: Nobody listens at the origin: our own server knows that its link is down. When the link is back, the first file waits
#: for the delays of both ends.
_AWAY_PAUSE_S = 0.5
_NANOSECONDS = 1_000_000_000

_PULL = msgspec.json.encode(
    {
        "batch": _BATCH,
        "max_bytes": _MAX_BYTES,
        "expires": _EXPIRES_S * _NANOSECONDS,
        "idle_heartbeat": _HEARTBEAT_S * _NANOSECONDS,
    }
)
_HEARTBEAT = "100"


class _Lost(BusUnavailable):
    """A message that the consumer sent did not arrive.

    A request of an earlier reading may have taken it. The server forgets a request when nobody listens on its inbox any
    more; but a member can announce that it listens everywhere. It is given nothing, yet the old request stays until it
    runs out, and is served first. Shown by running: tests/integration/bus/test_leaves.py.
    """


class _Away(BusUnavailable):
    """Nobody listens at the origin's consumer."""


class _ResetAnswer(msgspec.Struct, frozen=True):
    error: ApiError | None = None
    #: How many messages the consumer has before it.
    num_pending: int = 0
    #: When the consumer was made.
    created: str = ""


class Reader:
    """One reading of one origin's stream."""

    def __init__(
        self,
        connection: Connection,
        addressing: Callable[[], Addressing],
        clock: Clock,
        rng: Rng,
        *,
        site: SiteName,
        origin: SiteName,
        after: int,
        note: Callable[[SiteName, bool, str], None],
    ) -> None:
        self._connection = connection
        self._clock = clock
        self._rng = rng
        self._site = site
        self._origin = origin
        #: Evaluated each time: a site that joins learns its bus later.
        self._addressing = addressing
        #: Number of the last message that was yielded.
        self._cursor = after
        self._created = ""
        #: Called with whether our consumer at the origin answers, and why not.
        self._note = note
        self._patience_s = _FIRST_SILENCE_S

    async def messages(self) -> AsyncGenerator[Message, None]:
        """Messages behind the cursor, for ever."""
        trouble, pause_s = "", _FIRST_PAUSE_S
        while True:
            try:
                session = await self._connection.session(None)
                async with aclosing(self._epoch(session)) as epoch:
                    async for message in epoch:
                        trouble, pause_s, self._patience_s = "", _FIRST_PAUSE_S, _FIRST_SILENCE_S
                        yield message
                        self._cursor = message.stream_seq
            except BusUnavailable as exc:
                if exc.message != trouble:  # a peer may be away for weeks
                    _log.info("bus_reading_again", origin=self._origin, after=self._cursor, reason=exc.message)
                trouble = exc.message
                self._note(self._origin, False, exc.message)
                self._patience_s = min(2 * self._patience_s, _SILENCE_S)
                # After a lost message, wait until every earlier request has expired: otherwise they would consume
                # further messages.
                await self._clock.sleep(_EXPIRES_S + 1 if isinstance(exc, _Lost) else pause_s)
                pause_s = min(2 * pause_s, _AWAY_PAUSE_S if isinstance(exc, _Away) else _LONGEST_PAUSE_S)

    async def _epoch(self, session: Session) -> AsyncGenerator[Message, None]:
        addressing = self._addressing()
        base = addressing.inbox(self._site, self._origin, self._rng.hex(32))
        async with session.inbox(f"{base}.*", _INBOX_LIMIT) as inbox:
            await self._set_back(session, inbox, base)
            self._note(self._origin, True, "")
            sent = 0  # the consumer's count of messages since it was set back
            request = 0
            while True:
                request += 1
                here = f"{base}.{request}"
                await session.publish(addressing.pull(self._origin, self._site), _PULL, reply=here)
                arrived = 0
                end: Msg | None = None
                while arrived < _BATCH and end is None:
                    message = await inbox.get(_SILENCE_S)
                    if inbox.overflowed:
                        raise BusUnavailable("more messages came than were asked for")
                    numbers = _numbers(message)
                    if numbers is None:
                        if message.subject != here:
                            continue  # the end of an earlier request that got all its messages
                        if _status(message) != _HEARTBEAT:
                            end = message
                        elif _sent_before(message) > sent:
                            raise _Lost("the last message was lost on the way")
                        continue
                    stream_seq, consumer_seq = numbers
                    if consumer_seq != sent + 1:
                        raise _Lost(f"message {sent + 1} was lost on the way")
                    sent = consumer_seq
                    arrived += 1
                    if stream_seq > self._cursor:
                        yield Message(
                            subject=message.subject,
                            payload=message.data,
                            headers=dict(message.headers or {}),
                            stream_seq=stream_seq,
                        )
                if end is not None and not arrived:
                    _check_idle_end(end)

    async def _set_back(self, session: Session, inbox: Inbox, base: str) -> None:
        """Set the consumer to the cursor itself, not behind it: the message there shows that the stream has it.

        A stream that lost its end, or was created again, ends before the cursor. A consumer set behind its end would
        silently wait until the stream has grown that far again. So it is read from its start instead; messages
        then carry smaller numbers than the cursor, and what they bring twice the journal's own numbers tell.
        """
        answer = await self._reset(session, inbox, base, max(self._cursor, 1))
        anew = self._created not in {"", answer.created}
        self._created = answer.created
        if self._cursor and (anew or not answer.num_pending):
            _log.warning("bus_stream_lost_its_end", origin=self._origin, cursor=self._cursor)
            self._cursor = 0
            await self._reset(session, inbox, base, 1)

    async def _reset(self, session: Session, inbox: Inbox, base: str, seq: int) -> _ResetAnswer:
        subject = self._addressing().reset(self._origin, self._site)
        await session.publish(subject, msgspec.json.encode({"seq": seq}), reply=f"{base}.0")
        message = await inbox.get(self._patience_s)
        if _status(message):
            raise _Away(f"{self._origin} has no consumer for us, or is away ({_status(message)})")
        try:
            answer = msgspec.json.decode(message.data, type=_ResetAnswer)
        except msgspec.DecodeError as exc:
            raise BusUnavailable(f"resetting our consumer at {self._origin}: {exc}") from exc
        if answer.error is not None:
            raise BusUnavailable(f"resetting our consumer at {self._origin}: {answer.error.description}")
        return answer


def _check_idle_end(end: Msg) -> None:
    """An expired request (408) is repeated at once; after anything else wait, to avoid a busy loop."""
    status = _status(end)
    if status not in {"404", "408"}:
        description = (end.headers or {}).get("Description", "")
        raise BusUnavailable(f"the bus ended a request: {status} {description}")


def _status(message: Msg) -> str:
    """The server's status, "" for a message."""
    return "" if message.data or message.reply else (message.headers or {}).get("Status", "")


def _sent_before(heartbeat: Msg) -> int:
    text = (heartbeat.headers or {}).get("Nats-Last-Consumer", "")
    return int(text) if text.isdecimal() else 0


_ACK = re.compile(r"\$JS\.ACK\.(?:[^.]+\.[^.]+\.)?[^.]+\.[^.]+\.\d+\.(\d+)\.(\d+)\.\d+\.\d+(?:\.[^.]+)?")


def _numbers(message: Msg) -> tuple[int, int] | None:
    """Numbers in the stream and in the consumer's count; None for a status. Both forms of the server's are read."""
    found = _ACK.fullmatch(message.reply)
    return (int(found[1]), int(found[2])) if found else None
