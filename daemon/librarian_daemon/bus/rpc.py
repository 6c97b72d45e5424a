"""Heads, questions and answers: messages between sites without a stream (docs/events.md).

They use a separate connection, so a flood does not stop the reading of journals. The server stores nothing: a lost
question is asked again. A question's answer comes in numbered parts to an inbox that names asker and answerer, so that
the servers on the way let nobody else answer; a question whose reply subject is not such an inbox of its asker is not
answered, or we would publish wherever somebody likes, with our authority.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

import structlog
from nats.aio.msg import Msg

from librarian_daemon.bus.connection import Connection, Inbox, Session
from librarian_daemon.bus.routing import Addressing
from librarian_daemon.ports.bus import Answerer, Part
from librarian_daemon.ports.time import Clock, Rng
from librarian_daemon.runtime.signals import Broadcast
from librarian_protocol import subjects
from librarian_protocol.errors import BusUnavailable, LibrarianError, RequestRefused
from librarian_protocol.names import SiteName

_log = structlog.get_logger(__name__)

_PART_HEADER = "Lb-N"
_END_HEADER = "Lb-End"
_ERROR_HEADER = "Lb-Error"
#: Waiting questions of one asker; further questions get no answer, and are asked again.
_QUESTIONS_LIMIT = 8
#: Heads that wait; others come again.
_HEADS_LIMIT = 256
#: Parts of one answer on their way: 100 segments and the end, twice.
_PARTS_LIMIT = 256
_LOOK_EVERY_S = 5.0


class Talking:
    """One site's side of it."""

    def __init__(
        self,
        connection: Connection,
        addressing: Callable[[], Addressing],
        clock: Clock,
        rng: Rng,
        site: SiteName,
    ) -> None:
        self._connection = connection
        self._addressing = addressing
        self._clock = clock
        self._rng = rng
        self._site = site
        self._peers: tuple[SiteName, ...] = ()
        self._changed = Broadcast()

    def listen_to(self, peers: Sequence[SiteName]) -> None:
        """Whose heads and questions are heard: the roster without this site."""
        wanted = tuple(sorted(set(peers) - {self._site}))
        if wanted != self._peers:
            self._peers = wanted
            self._changed.set()

    # ---- heads -----------------------------------------------------------------------------------------

    async def announce(self, heads: bytes) -> None:
        """See the port."""
        session = await self._connection.session()
        await session.publish(subjects.head(self._site), heads)

    async def heads(self) -> AsyncGenerator[tuple[SiteName, bytes], None]:
        """See the port."""
        while True:
            peers, session = self._peers, await self._connection.session(None)
            # Includes this site's own heads: another daemon with its key is a twin.
            by_subject = {subjects.head(peer): peer for peer in (*peers, self._site)}
            try:
                async with session.listening(sorted(by_subject), _HEADS_LIMIT) as inbox:
                    while self._peers == peers and not session.ended:
                        message = await _next(inbox)
                        peer = by_subject.get(message.subject) if message else None
                        if message is not None and peer is not None:
                            yield peer, message.data
            except BusUnavailable:
                await self._clock.sleep(0.1)

    # ---- asking ----------------------------------------------------------------------------------------

    async def ask(self, peer: SiteName, what: str, body: bytes, *, silence_s: float) -> AsyncGenerator[Part, None]:
        """See the port."""
        session = await self._connection.session(0)
        base = self._addressing().inbox(self._site, peer, self._rng.hex(32))
        async with session.inbox(base, _PARTS_LIMIT) as inbox:
            await session.publish(subjects.rpc(peer, self._site, what), body, reply=base)
            arrived = 0
            while True:
                message = await inbox.get(silence_s)
                headers = message.headers or {}
                if headers.get("Status"):
                    raise BusUnavailable(f"{peer} does not answer now ({headers['Status']})")
                if _ERROR_HEADER in headers:
                    text = message.data[:1000].decode(errors="replace")
                    raise RequestRefused(f"{peer} refused to answer {what}: {text}")
                if inbox.overflowed or headers.get(_END_HEADER, headers.get(_PART_HEADER)) != str(arrived):
                    raise BusUnavailable(f"a part of {peer}'s answer was lost on the way")
                if _END_HEADER in headers:
                    return
                arrived += 1
                yield Part(payload=message.data, headers=headers)

    # ---- answering -------------------------------------------------------------------------------------

    async def answer(self, answerer: Answerer) -> None:
        """See the port."""
        while True:
            peers, session = self._peers, await self._connection.session(None)
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._answer_one(session, peer, answerer)) for peer in peers]
                while self._peers == peers and self._connection.current is session:
                    await self._changed.wait(_LOOK_EVERY_S)
                for task in tasks:
                    task.cancel()

    async def _answer_one(self, session: Session, asker: SiteName, answerer: Answerer) -> None:
        """Answer one site's questions in sequence."""
        prefix = self._addressing().inbox(asker, self._site, "")
        try:
            async with session.inbox(subjects.rpc(self._site, asker, ">"), _QUESTIONS_LIMIT) as inbox:
                while True:
                    question = await inbox.get(None)
                    token = question.reply.removeprefix(prefix)
                    if not question.reply.startswith(prefix) or not token.isalnum():
                        _log.warning("question_without_inbox", sparingly=True, peer=asker, reply=question.reply[:200])
                        continue
                    await self._reply(session, asker, question, answerer)
        except BusUnavailable:
            return  # the connection is gone, and the asker with it

    async def _reply(self, session: Session, asker: SiteName, question: Msg, answerer: Answerer) -> None:
        what = question.subject.removeprefix(subjects.rpc(self._site, asker, ""))
        sent = 0
        try:
            async with aclosing(answerer(asker, what, question.data)) as parts:
                async for part in parts:
                    headers = {**part.headers, _PART_HEADER: str(sent)}
                    await session.publish(question.reply, part.payload, headers=headers)
                    sent += 1
            await session.publish(question.reply, b"", headers={_END_HEADER: str(sent)})
        except BusUnavailable:
            raise
        except LibrarianError as exc:
            _log.info("question_refused", sparingly=True, peer=asker, what=what, error=exc.message)
            await session.publish(question.reply, exc.message.encode(), headers={_ERROR_HEADER: exc.code})


async def _next(inbox: Inbox) -> Msg | None:
    """The next message; None at intervals, so that a changed roster is noticed, and where the connection is gone."""
    try:
        return await inbox.get(_LOOK_EVERY_S)
    except BusUnavailable:
        return None
