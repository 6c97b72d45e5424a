"""Says to sites that ask by letter how this site's instances stand."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

import msgspec
import structlog

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.integrity import inquiries, instances
from librarian_daemon.catalog.integrity.instances import Holding
from librarian_daemon.catalog.journal.letters import Sealed
from librarian_daemon.integrity.custodian import Custodian
from librarian_daemon.ports.store import Store
from librarian_daemon.ports.store_capabilities import Expected
from librarian_daemon.ports.time import Clock
from librarian_protocol import wire
from librarian_protocol.entries import Access
from librarian_protocol.errors import CatalogFault, SegmentInvalid, StoreError
from librarian_protocol.inquiries import (
    MOST_RESULTS,
    VERIFIED,
    Answer,
    AskedFile,
    Outcome,
    Question,
    Result,
    question_of,
)
from librarian_protocol.mail import Mail
from librarian_protocol.names import SiteName
from librarian_protocol.roster import Member

#: Questions that may wait, of one site; further ones are dropped, and asked again.
MAX_WAITING_PER_SITE = 512
#: What is found is sent at least so often, seconds.
_SEND_EVERY_S = 2.0

#: Sends a letter: to whom, its verb, its body.
Send = Callable[[SiteName, str, bytes], Awaitable[None]]


class Answering:
    """Service, and the handler of the letters ``verify``. One question after the other."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        stores: Mapping[str, Store],
        custodian: Custodian,
        members: Callable[[], Mapping[SiteName, Member]],
        clock: Clock,
        site: SiteName,
        send: Send,
        mine: Callable[[SiteName, Answer], None],
    ) -> None:
        """``mine`` gets the answers to this site's own questions."""
        self._catalog = catalog
        self._stores = stores
        self._custodian = custodian
        self._members = members
        self._clock = clock
        self._site = site
        self._send = send
        self._mine = mine
        self._waiting: asyncio.Queue[tuple[SiteName, Question]] = asyncio.Queue()
        #: Questions that wait or are being answered, and how many of each site.
        self._known: set[tuple[SiteName, str, int]] = set()
        self._by_site: Counter[SiteName] = Counter()
        self._log = structlog.get_logger("answering")

    async def verify(self, letter: Mail, _sealed: Sealed) -> None:
        """Mail handler. Never waits. Repeatable: a question that waits already is not answered twice."""
        member = self._members().get(letter.sender)
        if member is None or member.revoked or member.access != Access.FULL:
            self._log.warning("letter_ignored", sparingly=True, peer=letter.sender, verb=letter.verb)
            return
        try:
            question = question_of(letter.body)
        except SegmentInvalid as exc:
            self._log.warning("letter_ignored", sparingly=True, peer=letter.sender, error=exc.message)
            return
        self.ask(letter.sender, question)

    def ask(self, asker: SiteName, question: Question) -> None:
        """Have it answered, unless that site has very many questions waiting."""
        key = asker, question.inquiry, question.part
        if key in self._known or self._by_site[asker] >= MAX_WAITING_PER_SITE:
            return
        self._known.add(key)
        self._by_site[asker] += 1
        self._waiting.put_nowait((asker, question))

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            asker, question = await self._waiting.get()
            try:
                await self._answer(asker, question)
            except CatalogFault as exc:
                self._log.warning("not_answered", peer=asker, error=exc.message)
            finally:
                self._known.discard((asker, question.inquiry, question.part))
                self._by_site[asker] -= 1

    async def _answer(self, asker: SiteName, question: Question) -> None:
        found: list[Result] = []
        sent_s = self._clock.boottime_s()
        for file in question.files:
            async for result in self._results(file, question.fresh):
                found.append(result)
            now_s = self._clock.boottime_s()
            if len(found) >= MOST_RESULTS // 2 or now_s - sent_s >= _SEND_EVERY_S:
                await self._say(asker, question, found, done=False)
                found, sent_s = [], now_s
        await self._say(asker, question, found, done=True)

    async def _say(self, asker: SiteName, question: Question, found: list[Result], *, done: bool) -> None:
        for begin in range(0, max(len(found), 1), MOST_RESULTS):
            some = found[begin : begin + MOST_RESULTS]
            last = done and begin + MOST_RESULTS >= len(found)
            answer = Answer(inquiry=question.inquiry, part=question.part, done=last, results=some)
            if asker == self._site:
                self._mine(self._site, answer)
            else:
                await self._send(asker, VERIFIED, wire.encode(answer))

    async def _results(self, file: AskedFile, fresh: bool) -> AsyncGenerator[Result, None]:
        held = [
            holding
            for holding in await self._catalog.read(instances.of_name, self._site, file.name)
            if holding.digest == file.digest
        ]
        for holding in held:
            yield await self._result(holding, fresh)
        if not held:
            yield Result(
                name=file.name,
                digest=file.digest,
                store=None,
                label=None,
                outcome=Outcome.ABSENT,
                size_bytes=None,
                found=None,
                at="",
                fresh=fresh,
                message="this site does not hold it",
            )

    async def _result(self, holding: Holding, fresh: bool) -> Result:
        store = self._stores.get(holding.store)
        if store is None:
            return _said(holding, None, Outcome.UNREAD, message="its store is not configured there")
        if fresh:
            return await self._read(store, holding)
        at = await self._catalog.read(inquiries.verified_at, holding.file_id, holding.store)
        if holding.state == "suspected":
            return _said(holding, store.label, Outcome.BAD, at=at, message="it was found bad, and is not mended yet")
        expected = Expected(name=holding.name, digest=holding.digest, unit=holding.unit, size_bytes=holding.size_bytes)
        try:
            (looked,) = await store.look([expected])
        except StoreError as exc:
            return _said(holding, store.label, Outcome.UNREAD, at=at, message=exc.message)
        if looked.error is not None:
            return await self._read(store, holding)
        return _said(
            holding,
            store.label,
            Outcome.RIGHT,
            at=at,
            size_bytes=holding.size_bytes,
            message="names and sizes are right",
        )

    async def _read(self, store: Store, holding: Holding) -> Result:
        check = await self._custodian.examine(holding)
        if check is None:
            return _said(
                holding, store.label, Outcome.UNREAD, message="its store is away, or another file has the name"
            )
        if isinstance(check.error, StoreError):
            return _said(holding, store.label, Outcome.UNREAD, message=check.error.message)
        result = _said(
            holding,
            store.label,
            Outcome.RIGHT if check.error is None else Outcome.BAD,
            at=self._clock.utc(),
            size_bytes=check.size_bytes,
            message=check.error.message if check.error is not None else "every byte is right",
        )
        return msgspec.structs.replace(result, found=check.digest, fresh=True)


def _said(
    holding: Holding, label: str | None, outcome: Outcome, *, message: str, at: str = "", size_bytes: int | None = None
) -> Result:
    return Result(
        name=holding.name,
        digest=holding.digest,
        store=holding.store,
        label=label,
        outcome=outcome,
        size_bytes=size_bytes,
        found=None,
        at=at,
        fresh=False,
        message=message[:1024],
    )
