"""Gives up instances by the protocol: intent, round 1, decision, trash, round 2, end (docs/adr/0038, 0041).

The machine decides (:mod:`librarian_protocol.eviction`); this service loads, asks, commits, renames. What it has asked
is in memory: a start puts everything back, and it begins anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence, Set

import msgspec
import structlog

from librarian_daemon.catalog import eviction_rows as rows
from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.eviction_rows import Giving
from librarian_daemon.catalog.evictions import attempts, facts
from librarian_daemon.catalog.evictions.attempts import Looked, Wish
from librarian_daemon.catalog.evictions.facts import FileFacts, Surroundings
from librarian_daemon.eviction import proofs
from librarian_daemon.eviction.asker import Asker, words
from librarian_daemon.eviction.evidence import Evidence, EvidenceKeeper
from librarian_daemon.eviction.inquiry import Inquiry
from librarian_daemon.eviction.proofs import ToRead
from librarian_daemon.eviction.trash import TrashKeeper, in_trash
from librarian_daemon.ports.store import Store
from librarian_daemon.ports.store_capabilities import trash_of, trash_place
from librarian_daemon.ports.time import Clock, Rng
from librarian_daemon.runtime.metrics import Metrics
from librarian_daemon.runtime.signals import Signal
from librarian_protocol.errors import LibrarianError, SourceMissing
from librarian_protocol.eviction.count import Place
from librarian_protocol.eviction.letters import MOST_BYTES, MOST_FILES
from librarian_protocol.eviction.refusal import BINDING, Refusal
from librarian_protocol.eviction.voucher import Round, Vouch, prover
from librarian_protocol.names import SiteName
from librarian_protocol.requirement import Requirement

#: Sites that are silent in round 2 are asked again, so often; then the bytes are put back.
TRY_AGAIN_S = 60.0
MOST_TRIES = 480
LOOK_EVERY_S = 5.0
#: Attempts in round 2 at once, of one store.
_ROUND_2 = 4


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one file."""

    file: FileFacts
    refusal: Refusal | None
    #: It is no instance that could be given up: not there, bad, or on its way already.
    unfit: bool = False
    #: Who said what, and who did not answer, in words.
    said: Sequence[str] = ()


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What the site's file says."""

    keep: Requirement | None = None
    #: Seconds that bytes stand in trash before round 2.
    grace_s: float = 7 * 86400.0


class _Waiting(msgspec.Struct, frozen=True):
    """An attempt in round 2 that sites are silent about."""

    inquiry: Inquiry | None
    tries: int
    #: When they are asked again.
    at_s: float


class Evictor:
    """Service :meth:`run`, which ends what is in trash; and :meth:`give_up`, by which everything begins."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        stores: Mapping[str, Store],
        clock: Clock,
        rng: Rng,
        site: SiteName,
        metrics: Metrics,
        asker: Asker,
        trash: TrashKeeper,
        evidence: EvidenceKeeper,
        limits: Limits,
    ) -> None:
        self._catalog = catalog
        self._stores = stores
        self._clock = clock
        self._rng = rng
        self._site = site
        self._metrics = metrics
        self._asker = asker
        self._trash = trash
        self._evidence = evidence
        self._limits = limits
        #: Seconds that the bytes of a store stand in trash; a full store cuts it.
        self.grace_s: dict[str, float] = {}
        self.wake = Signal()
        self._log = structlog.get_logger("evictor")
        #: Attempts in round 2 that go on now; those that wait for silent sites, with what was heard so far.
        self._asking: set[str] = set()
        self._waiting: dict[str, _Waiting] = {}

    def wish(self, store: str, why: str, *, allow_archive: bool = False, needs_archive: bool = False) -> Wish:
        """What this site wants to give up."""
        return Wish(
            store=store, why=why, allow_archive=allow_archive, needs_archive=needs_archive, own=self._limits.keep
        )

    def grace_of(self, store: str) -> float:
        """Seconds that the bytes of a store stand in trash now."""
        return self.grace_s.get(store, self._limits.grace_s)

    # ---- round 1 -----------------------------------------------------------------------------------------

    async def look(self, wish: Wish, ids: Sequence[int]) -> list[Looked]:
        """How files stand, by rows alone."""
        return await self._catalog.read(attempts.look, self._site, wish, ids, self._clock.unix_s())

    async def give_up(self, wish: Wish, ids: Sequence[int]) -> list[Outcome]:
        """Ask, decide, and bring to trash what may go: at most a batch. Returns how each file ended; in trash without
        a refusal.

        Raises:
            NotPossible: the store has no trash.
            StoreError: the store does not do it.
            CatalogFault: it was not committed.
        """
        store = self._stores[wish.store]
        trash_of(store)
        nonce = self._rng.hex(32)
        looked = await self._catalog.write(attempts.intend, wish, ids[:MOST_FILES], nonce, self._clock.unix_s())
        going = [one for one in looked if not one.unfit and one.refusal is None]
        outcomes = {one.file.file_id: Outcome(file=one.file, refusal=one.refusal, unfit=one.unfit) for one in looked}
        if going:
            try:
                outcomes |= await self._round_1(wish, store, nonce, going)
            finally:
                # What was not decided is available again, also where this is cancelled.
                ids = [one.file.file_id for one in going]
                await asyncio.shield(self._catalog.write(attempts.abort, wish.store, nonce, ids))
        for one in outcomes.values():
            word = one.refusal or ("unfit" if one.unfit else "trashed")
            self._metrics.evictions.labels(outcome=str(word)).inc()
        return [outcomes[one.file.file_id] for one in looked]

    async def _round_1(self, wish: Wish, store: Store, nonce: str, going: Sequence[Looked]) -> dict[int, Outcome]:
        files = [one.file for one in going]
        inquiry, around = await self._asker.ask(wish, nonce, Round.ROWS, files)
        verdicts = {file.file_id: self._asker.verdict(around, wish, inquiry, file) for file in files}
        outcomes = {
            file.file_id: Outcome(file=file, refusal=verdicts[file.file_id], said=words(inquiry, file, around))
            for file in files
        }
        enough = [file.file_id for file in files if verdicts[file.file_id] is None]

        def judge(now: Surroundings, file: FileFacts) -> Refusal | None:
            """By the rules, roles and sites of the transaction that decides."""
            return self._asker.verdict(now, wish, inquiry, file)

        decided = await self._catalog.write(attempts.decide, wish, nonce, enough, self._clock.unix_s(), judge)
        for id_ in enough:
            if id_ not in decided:
                outcomes[id_] = msgspec.structs.replace(outcomes[id_], unfit=True)  # it landed, or was found bad
            elif (refusal := decided[id_]) is not None:
                outcomes[id_] = msgspec.structs.replace(outcomes[id_], refusal=refusal)
        going_ids = [id_ for id_, refusal in decided.items() if refusal is None]
        if going_ids:
            there = await self._to_trash(store, wish, nonce, going_ids)
            for id_ in set(going_ids) - there:
                outcomes[id_] = msgspec.structs.replace(outcomes[id_], unfit=True)
        return outcomes

    async def _to_trash(self, store: Store, wish: Wish, nonce: str, ids: Sequence[int]) -> set[int]:
        """Rename what was decided. Returns what is in trash; what is not there is put back or suspected."""
        async with store.names.alone():
            mine = await self._catalog.write(attempts.still_decided, wish.store, nonce, ids)
            outcomes = await trash_of(store).put(nonce, [in_trash(one) for one in mine])
            there = [one for one, wrong in zip(mine, outcomes, strict=True) if wrong is None]
            await self._catalog.write(
                attempts.trashed,
                wish.store,
                nonce,
                [one.file_id for one in there],
                self._rng.hex(32),
                self._clock.unix_s(),
            )
        failed = [one for one, wrong in zip(mine, outcomes, strict=True) if wrong is not None]
        for one, wrong in zip(mine, outcomes, strict=True):
            if wrong is not None and not isinstance(wrong, SourceMissing):
                self._log.error("not_moved_to_trash", name=one.name, error=wrong.message)
        if failed:
            await self._trash.put_back(store, failed)
        self._log.info("in_trash", store=store.label, files=len(there), why=wish.why, nonce=nonce)
        return {one.file_id for one in there}

    # ---- what is in trash --------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                for store in self._stores.values():
                    if store.can.trash is not None:
                        try:
                            await self._tend(store, group)
                        except LibrarianError as exc:
                            self._log.error("trash_not_tended", store=store.label, error=exc.message)
                await self.wake.wait(LOOK_EVERY_S)

    async def _tend(self, store: Store, group: asyncio.TaskGroup) -> None:
        await self._trash.tend(store)
        grace_s = self.grace_of(store.id)
        for _ in range(_ROUND_2):
            if len(self._asking) >= _ROUND_2:
                return
            until_s = self._clock.unix_s() - grace_s
            now_s = self._clock.boottime_s()
            waiting = [nonce for nonce, one in self._waiting.items() if one.at_s > now_s]
            due = await self._catalog.read(rows.due, store.id, until_s, MOST_FILES, [*self._asking, *waiting])
            if not due:
                return
            nonce = due[0].nonce
            self._asking.add(nonce)
            group.create_task(self._end(store, nonce, _batch(due)))

    async def _end(self, store: Store, nonce: str, some: Sequence[Giving]) -> None:
        try:
            for why, needs in sorted({(one.why, one.needs_archive) for one in some}):
                # What allowed to decide about an archive was asked when it was decided.
                wish = self.wish(store.id, why, allow_archive=True, needs_archive=needs)
                alike = [one for one in some if (one.why, one.needs_archive) == (why, needs)]
                await self._round_2(store, nonce, alike, wish)
        except LibrarianError as exc:
            self._log.error("round_2_failed", store=store.label, nonce=nonce, error=exc.message)
            self._wait(nonce, None)
        finally:
            self._asking.discard(nonce)
            self.wake.set()

    async def _round_2(self, store: Store, nonce: str, some: Sequence[Giving], wish: Wish) -> None:
        files = await self._catalog.read(facts.files, [one.file_id for one in some])
        before = self._waiting.get(nonce)
        inquiry, around = await self._asker.ask(
            wish, nonce, Round.BYTES, files, None if before is None else before.inquiry
        )
        enough = [file for file in files if self._asker.verdict(around, wish, inquiry, file) is None]
        by_file = {one.file_id: one for one in some}
        proved, bad = await self._prove(store, inquiry, around, wish, [(by_file[f.file_id], f) for f in enough])
        ended = {
            file.file_id: _reason(wish.why, self._asker.counted(around, wish, inquiry, file, proved))
            for file in enough
            if file.file_id in proved and self._asker.verdict(around, wish, inquiry, file, proved[file.file_id]) is None
        }
        gone: dict[int, Refusal | None] = {}
        if ended:
            gone = await self._close(store, wish, inquiry, ended, proved)
        left = [file for file in files if gone.get(file.file_id, Refusal.NOT_ENOUGH_INSTANCES) is not None]
        back, later = self._left(inquiry, left, around, wish, bad | gone.keys())
        if back:
            self._log.warning("not_given_up", store=store.label, files=len(back), nonce=nonce)
            await self._trash.put_back(store, [by_file[id_] for id_ in back])
        if later:
            self._wait(nonce, inquiry)
        else:
            self._waiting.pop(nonce, None)

    def _wait(self, nonce: str, inquiry: Inquiry | None) -> None:
        before = self._waiting.get(nonce)
        tries = 1 if before is None else before.tries + 1
        self._waiting[nonce] = _Waiting(inquiry, tries, self._clock.boottime_s() + TRY_AGAIN_S)

    def _left(
        self, inquiry: Inquiry, files: Iterable[FileFacts], around: Surroundings, wish: Wish, ended: Set[int]
    ) -> tuple[list[int], list[int]]:
        """Those that are put back, and those that are asked for again since sites are silent and nothing forbids it."""
        before = self._waiting.get(inquiry.nonce)
        patient = before is None or before.tries < MOST_TRIES
        back: list[int] = []
        later: list[int] = []
        for file in files:
            waits = (
                patient
                and file.file_id not in ended
                and inquiry.silent((file.name, file.digest))
                and self._asker.verdict(around, wish, inquiry, file) not in BINDING.values()
            )
            (later if waits else back).append(file.file_id)
        return back, later

    async def _close(
        self,
        store: Store,
        wish: Wish,
        inquiry: Inquiry,
        ended: Mapping[int, str],
        proved: Mapping[int, Mapping[Place, str]],
    ) -> dict[int, Refusal | None]:
        def judge(now: Surroundings, file: FileFacts) -> Refusal | None:
            return self._asker.verdict(now, wish, inquiry, file, proved[file.file_id])

        own = [vouch for some in inquiry.vouches.values() for vouch in some if vouch.site == self._site]
        evidence = await self._evidence.keep(
            Evidence(site=self._site, store=store.id, nonce=inquiry.nonce, letters=inquiry.letters, own=own)
        )
        gone = await self._catalog.write(
            attempts.close, wish, inquiry.nonce, evidence, ended, self._clock.unix_s(), judge
        )
        files = [id_ for id_, refusal in gone.items() if refusal is None]
        left = await self._catalog.read(rows.of_files, files)
        await self._trash.empty(store, [one for one in left.values() if one.store == store.id])
        self._metrics.evicted_files.inc(len(files))
        self._metrics.evicted_bytes.inc(sum(one.size_bytes for one in left.values()))
        self._log.info("given_up", store=store.label, files=len(files), why=wish.why, evidence=str(evidence))
        return gone

    async def _prove(
        self,
        store: Store,
        inquiry: Inquiry,
        around: Surroundings,
        wish: Wish,
        some: Sequence[tuple[Giving, FileFacts]],
    ) -> tuple[dict[int, dict[Place, str]], set[int]]:
        """Of each file, what its vouchers' proofs must be, by its bytes in trash; and those whose bytes are bad."""
        hashes = [
            {
                (vouch.site, vouch.store): prover(inquiry.nonce, vouch.site, vouch.store)
                for vouch in inquiry.vouches.get((file.name, file.digest), ())
            }
            for _, file in some
        ]
        right = await proofs.read(
            store,
            [
                ToRead(
                    place=trash_place(one.trash, one.number),
                    digest=file.digest,
                    unit=file.unit,
                    size_bytes=file.size_bytes,
                    proofs=list(mine.values()),
                )
                for (one, file), mine in zip(some, hashes, strict=True)
            ],
        )
        proved = {
            file.file_id: {place: hash_.hexdigest() for place, hash_ in mine.items()}
            for (_, file), mine, intact in zip(some, hashes, right, strict=True)
            if intact
        }
        return proved, {file.file_id for (_, file), intact in zip(some, right, strict=True) if not intact}


def _batch(some: Sequence[Giving]) -> Sequence[Giving]:
    """As many as one batch may have: each voucher reads them all."""
    size_bytes = 0
    for at, one in enumerate(some):
        size_bytes += one.size_bytes
        if size_bytes > MOST_BYTES and at:
            return some[:at]
    return some


def _reason(why: str, counted: Sequence[Vouch]) -> str:
    """The reason that is said of an instance that was given up."""
    left = sorted({str(vouch.site) for vouch in counted})
    return f"{why}: {len(counted)} good instances are left, at {', '.join(left)}"[:1024]
