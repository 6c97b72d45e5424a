"""Answers for this site's stores: whether they vouch for their instances (protocol/eviction/voucher.py).

Rows and rules are read in one transaction after the question came; then names are looked at, or bytes are read. Both
were so at one moment after the evictor's intent, which is all that is needed (docs/adr/0038).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

import msgspec
import structlog

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.evictions import facts
from librarian_daemon.catalog.evictions.facts import FileFacts
from librarian_daemon.catalog.journal import mail
from librarian_daemon.catalog.journal.letters import Sealed
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.eviction import proofs
from librarian_daemon.eviction.proofs import ToRead
from librarian_daemon.ports.store import Store
from librarian_daemon.ports.store_capabilities import Expected
from librarian_daemon.ports.time import Clock
from librarian_protocol.digests import Digest
from librarian_protocol.errors import LibrarianError, StoreError
from librarian_protocol.eviction.letters import ANSWER, Ask, AskedFile, No, answers, ask_of, goes_on
from librarian_protocol.eviction.refusal import Declined
from librarian_protocol.eviction.voucher import Looked, Question, Round, Vouch, answer, declined, prover
from librarian_protocol.mail import Mail
from librarian_protocol.names import Name, SiteName
from librarian_protocol.requirement import Requirement
from librarian_protocol.wanted import InstanceState

#: Questions that wait, of each round. More are not kept: whoever asks asks again.
MOST_WAITING = 64
#: While a question waits, or bytes are read, the evictor is told so often that it goes on.
GOES_ON_EVERY_S = 30.0
#: Files of round 2 that are read before they are answered.
_READ_FILES = 64
_READ_BYTES = 256 << 20


class _Asked(msgspec.Struct, frozen=True):
    """A question as it came: the same one again is no other."""

    by: SiteName
    body: bytes


class _Instance(msgspec.Struct, frozen=True, kw_only=True):
    """One own instance that is asked about."""

    question: Question
    file: FileFacts
    store: str


class VoucherService:
    """Services for each round, so that names are answered for while bytes are read; and the handler of questions."""

    def __init__(
        self,
        catalog: Catalog,
        stores: Mapping[str, Store],
        clock: Clock,
        site: SiteName,
        keep: Requirement | None,
        new_id: Callable[[], str],
        complain: Callable[[Digest, str], Awaitable[None]],
    ) -> None:
        """``keep``: the site's own ``[retention] keep``; ``complain``: an own instance is to be read again."""
        self._catalog = catalog
        self._stores = stores
        self._clock = clock
        self._site = site
        self._keep = keep
        self._new_id = new_id
        self._complain = complain
        self._waiting = {round_: asyncio.Queue[_Asked](MOST_WAITING) for round_ in Round}
        #: Questions that wait or are worked on.
        self._taken: dict[_Asked, Ask] = {}
        self._log = structlog.get_logger("voucher")

    async def ask(self, letter: Mail, _sealed: Sealed) -> None:
        """Handle a question. Repeatable: one that waits or is worked on is not taken again.

        Raises:
            SegmentInvalid: the letter makes no sense.
        """
        asked = _Asked(letter.sender, bytes(letter.body))
        ask = ask_of(asked.body)
        if asked in self._taken:
            return
        try:
            self._waiting[ask.round].put_nowait(asked)
        except asyncio.QueueFull:
            self._log.warning("question_not_kept", sparingly=True, peer=letter.sender, round=int(ask.round))
        else:
            self._taken[asked] = ask

    async def answer_rows(self) -> None:
        """Service: answer questions of round 1, until cancelled."""
        await self._run(Round.ROWS)

    async def answer_bytes(self) -> None:
        """Service: answer questions of round 2, until cancelled."""
        await self._run(Round.BYTES)

    async def tell(self) -> None:
        """Service: tell those whose questions wait or are worked on that they are, until cancelled."""
        while True:
            await self._clock.sleep(GOES_ON_EVERY_S)
            for asked, ask in list(self._taken.items()):
                body = goes_on(ask.nonce, ask.round)
                try:
                    await self._catalog.write(mail.send, self._new_id(), asked.by, ANSWER, body)
                except LibrarianError as exc:
                    self._log.warning("not_told_that_it_goes_on", peer=asked.by, error=exc.message)

    async def _run(self, round_: Round) -> None:
        while True:
            asked = await self._waiting[round_].get()
            try:
                ask = self._taken[asked]
                async for said in self.said(asked.by, ask):
                    await self._send(asked.by, ask, said)
            except LibrarianError as exc:
                # Whoever asks asks again.
                self._log.warning("question_not_answered", peer=asked.by, error=exc.message)
            finally:
                del self._taken[asked]

    async def _send(self, to: SiteName, ask: Ask, said: Sequence[Vouch | No]) -> None:
        bodies = list(answers(ask.nonce, ask.round, said))

        def work(tx: Tx) -> None:
            for body in bodies:
                mail.send(tx, self._new_id(), to, ANSWER, body)

        await self._catalog.write(work)

    async def said(self, by: SiteName, ask: Ask) -> AsyncIterator[Sequence[Vouch | No]]:
        """The answers of this site's stores, some at a time. The evictor's own store is among them, and declines."""
        if ask.round is Round.ROWS:
            yield await self._answers(by, ask, ask.files)
            return
        part: list[AskedFile] = []
        sizes = await self._catalog.read(facts.sizes, _files(ask.files))
        size_bytes = 0
        for file, size in zip(ask.files, sizes, strict=True):
            if part and (len(part) == _READ_FILES or size_bytes + size > _READ_BYTES):
                yield await self._answers(by, ask, part)
                part, size_bytes = [], 0
            part.append(file)
            size_bytes += size
        yield await self._answers(by, ask, part)

    async def _answers(self, by: SiteName, ask: Ask, files: Sequence[AskedFile]) -> list[Vouch | No]:
        now_s = self._clock.unix_s()
        around, known = await self._catalog.read(facts.load, self._site, self._keep, _files(files))
        said: list[Vouch | No] = []
        fit: list[_Instance] = []
        for asked in files:
            file = known.get((asked.name, asked.digest))
            held = [] if file is None else self._held(file)
            if file is None or not held:
                said.append(No(name=asked.name, digest=asked.digest, store="", why=Declined.NOT_HELD))
                continue
            question = Question(
                nonce=ask.nonce, round=ask.round, name=asked.name, digest=asked.digest, site=by, store=ask.store
            )
            for store in held:
                why = declined(file.row(self._site, store), around.here(store, file, now_s))
                if why is not None:
                    said.append(No(name=asked.name, digest=asked.digest, store=store, why=why))
                else:
                    fit.append(_Instance(question=question, file=file, store=store))
        for one, looked in await self._look(fit, ask.round):
            row, here = one.file.row(self._site, one.store), around.here(one.store, one.file, now_s)
            found = answer(one.question, row, here, looked, around.carried(one.file.name))
            if isinstance(found, Vouch):
                said.append(found)
            else:
                said.append(No(name=one.file.name, digest=one.file.digest, store=one.store, why=found))
        return said

    def _held(self, file: FileFacts) -> list[str]:
        return [
            one.store for one in file.instances if one.site == self._site and one.state is not InstanceState.REMOVED
        ]

    async def _look(self, fit: Sequence[_Instance], round_: Round) -> list[tuple[_Instance, Looked]]:
        """What stands at the names, after the rows were read."""
        found: list[tuple[_Instance, Looked]] = []
        for id_ in dict.fromkeys(one.store for one in fit):
            mine = [one for one in fit if one.store == id_]
            store = self._stores.get(id_)
            if store is None:
                found += [(one, Looked(opens=False)) for one in mine]
            elif round_ is Round.ROWS:
                found += zip(mine, await self._names(store, mine), strict=True)
            else:
                found += zip(mine, await self._bytes(store, mine), strict=True)
        return found

    async def _names(self, store: Store, mine: Sequence[_Instance]) -> list[Looked]:
        expected = [
            Expected(name=one.file.name, digest=one.file.digest, unit=one.file.unit, size_bytes=one.file.size_bytes)
            for one in mine
        ]
        try:
            return [Looked(opens=seen.error is None) for seen in await store.look(expected)]
        except StoreError as exc:
            self._log.warning("names_not_looked_at", store=store.label, error=exc.message)
            return [Looked(opens=False)] * len(mine)

    async def _bytes(self, store: Store, mine: Sequence[_Instance]) -> list[Looked]:
        proved = [prover(one.question.nonce, self._site, store.id) for one in mine]
        wanted = [
            ToRead(
                place=one.file.name,
                digest=one.file.digest,
                unit=one.file.unit,
                size_bytes=one.file.size_bytes,
                proofs=[proof],
            )
            for one, proof in zip(mine, proved, strict=True)
        ]
        right = await proofs.read(store, wanted)
        for one, intact in zip(mine, right, strict=True):
            if not intact:
                await self._complain(one.file.digest, "it was read to vouch for it, and is not right")
        return [
            Looked(opens=True, intact=intact, proof=proof.hexdigest() if intact else "")
            for intact, proof in zip(right, proved, strict=True)
        ]


def _files(asked: Sequence[AskedFile]) -> list[tuple[Name, Digest]]:
    return [(file.name, file.digest) for file in asked]
