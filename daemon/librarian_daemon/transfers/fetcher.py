"""Fetching: one batch of single files, or one book, by one adapter, from one source.

A book comes in two steps: its manifest, whose blake3 is the book's digest, then its members. What was staged by an
earlier attempt is read again and kept where it is right, so an interrupted book goes on where it stopped.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import msgspec
import structlog

from librarian_adapters.contract import Adapter, Batch, Failed, Item, Landed, Part
from librarian_adapters.outcomes import closing
from librarian_daemon.catalog import transfers
from librarian_daemon.catalog.transfers import Owed, manifest_key, staging_key
from librarian_daemon.catalog.writer import Catalog
from librarian_daemon.ports import Clock, Store
from librarian_protocol.entries import AdapterOffer, Unit
from librarian_protocol.errors import LibrarianError, ManifestInvalid, StoreError
from librarian_protocol.manifest import Member, MemberFile
from librarian_protocol.names import SiteName

#: A manifest line is at most about 1.1 kB: room for two million members with long paths.
MAX_MANIFEST_BYTES = 2 << 30
#: How many staged members are read back at once when a book goes on.
CHECKED_TOGETHER = 16


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What one call of an adapter is to bring."""

    id: str
    source: SiteName
    #: Id of the source's store.
    source_store: str
    offer: AdapterOffer
    owed: list[Owed]
    #: Transfers for which another source could be tried.
    has_other: set[int]
    #: Why this adapter, by transfer.
    why: dict[int, str] = {}
    #: Of work that goes on elsewhere since before a restart.
    ticket: bytes | None = None

    @property
    def adapter(self) -> str:
        """The adapter's name."""
        return self.offer.name


#: Over how many seconds a rate is taken.
_RATE_S = 60


class Moved:
    """Bytes that have come, by transfer: what ``transfer list`` shows. Also keeps tickets."""

    def __init__(self, catalog: Catalog, clock: Clock) -> None:
        self._catalog = catalog
        self._clock = clock
        self.bytes: dict[int, int] = {}
        #: Bytes of each peer in the seconds of the last minute: (second, bytes), the newest last.
        self._seconds: dict[SiteName, deque[tuple[int, int]]] = {}
        #: Jobs for which anything came.
        self.jobs: set[str] = set()

    def of(self, job: Job) -> JobProgress:
        """The progress of one job."""
        return JobProgress(self._catalog, self, job)

    def came(self, peer: SiteName, size_bytes: int) -> None:
        """So many bytes came from a peer just now."""
        second = int(self._clock.boottime_s())
        seconds = self._seconds.setdefault(peer, deque(maxlen=_RATE_S))
        if seconds and seconds[-1][0] == second:
            seconds[-1] = second, seconds[-1][1] + size_bytes
        else:
            seconds.append((second, size_bytes))

    def rate(self, peer: SiteName) -> float:
        """Bytes a second from a peer over the last minute."""
        since = self._clock.boottime_s() - _RATE_S
        return sum(size_bytes for second, size_bytes in self._seconds.get(peer, ()) if second >= since) / _RATE_S

    def any(self, job: Job) -> bool:
        """Whether anything has come for the job: its link works, or did a moment ago."""
        return job.id in self.jobs

    def forget(self, job: Job) -> None:
        """The job is over."""
        self.jobs.discard(job.id)
        for owed in job.owed:
            self.bytes.pop(owed.id, None)


class JobProgress:
    """Implements the adapters' ``Progress`` for one job."""

    def __init__(self, catalog: Catalog, moved: Moved, job: Job) -> None:
        self._catalog = catalog
        self._moved = moved
        self._job = job

    def moved(self, item: Item, size_bytes: int) -> None:
        """See the contract."""
        transfer = transfer_of(item)
        self._moved.bytes[transfer] = self._moved.bytes.get(transfer, 0) + size_bytes
        self._moved.jobs.add(self._job.id)
        self._moved.came(self._job.source, size_bytes)

    async def save_ticket(self, ticket: bytes) -> None:
        """See the contract."""
        await self._catalog.write(transfers.save_ticket, self._job.id, ticket)


def transfer_of(item: Item) -> int:
    """The transfer that an item belongs to, from its staging key."""
    return int(item.key.partition("/")[0].partition("-")[0].removeprefix("t"))


class Fetcher:
    """Runs jobs. Yields, for each transfer, None when its bytes are verified in staging, or its error."""

    def __init__(self, adapter: Adapter, store: Store, moved: Moved) -> None:
        self._adapter = adapter
        self._store = store
        self._moved = moved
        self._log = structlog.get_logger("fetching")

    async def fetch(self, job: Job) -> AsyncGenerator[tuple[Owed, LibrarianError | None], None]:
        """Every transfer of the job has exactly one outcome."""
        progress = self._moved.of(job)
        if self._adapter.capabilities.trees:
            async with aclosing(self._together(job, progress)) as found:
                async for one in found:
                    yield one
            return
        books = [one for one in job.owed if one.unit is Unit.BOOK]
        files = {one.id: one for one in job.owed if one.unit is Unit.FILE}
        if files:
            items = [_whole_item(one) for one in files.values()]
            async with aclosing(self._outcomes(job, items, progress)) as outcomes:
                async for outcome in outcomes:
                    error = outcome.error if isinstance(outcome, Failed) else None
                    owed = files.pop(transfer_of(outcome.item), None)
                    if owed is not None:
                        yield owed, error
        for book in books:
            try:
                await self._book(job, book, progress)
            except LibrarianError as exc:
                yield book, exc
            else:
                yield book, None

    async def _together(
        self, job: Job, progress: JobProgress
    ) -> AsyncGenerator[tuple[Owed, LibrarianError | None], None]:
        """Files and whole books in one call of the adapter; then each book is compared with its manifest."""
        by_id = {one.id: one for one in job.owed}
        items = [item for one in job.owed for item in await self._wanted_of(one, job)]
        left = Counter(transfer_of(item) for item in items)
        failed: dict[int, LibrarianError] = {}
        ready = [one for one in job.owed if not left[one.id]]
        async with aclosing(self._outcomes(job, items, progress, job.ticket)) as outcomes:
            async for outcome in outcomes:
                owed = by_id[transfer_of(outcome.item)]
                left[owed.id] -= 1
                if isinstance(outcome, Failed):
                    failed.setdefault(owed.id, outcome.error)
                if left[owed.id]:
                    continue
                if owed.unit is Unit.BOOK and owed.id not in failed:
                    ready.append(owed)
                else:
                    yield owed, failed.get(owed.id)
        for book in ready:
            try:
                await self._members(job, book, progress)
            except LibrarianError as exc:
                yield book, exc
            else:
                yield book, None

    async def _wanted_of(self, owed: Owed, job: Job) -> list[Item]:
        """What to ask for: of a book that an earlier attempt brought, at least in part, only what is not there."""
        if owed.unit is Unit.FILE:
            return [_whole_item(owed)]
        manifest, tree = _manifest_item(owed), _whole_item(owed)
        if job.ticket is not None:
            return [manifest, tree]
        missing = await self._not_staged([manifest])
        return [*missing, tree] if missing or not await self._store.has_staged(tree.key) else []

    async def _outcomes(
        self, job: Job, items: Sequence[Item], progress: JobProgress, ticket: bytes | None = None
    ) -> AsyncGenerator[Landed | Failed, None]:
        """The adapter's outcomes; what it raises for the whole batch becomes each remaining item's own."""
        batch = Batch(id=job.id, source=job.source, store=job.source_store, offer=job.offer, items=items, ticket=ticket)
        left = {item.key: item for item in items}
        try:
            async with closing(self._adapter.fetch(batch, self._store.staging, progress)) as outcomes:
                async for outcome in outcomes:
                    if left.pop(outcome.item.key, None) is not None:
                        yield outcome
        except LibrarianError as exc:
            for item in left.values():
                yield Failed(item, exc)

    async def _book(self, job: Job, book: Owed, progress: JobProgress) -> None:
        await self._bring(job, [_manifest_item(book)], progress)
        await self._members(job, book, progress)

    async def _members(self, job: Job, book: Owed, progress: JobProgress) -> None:
        """Bring every member of the staged manifest that is not staged whole and right.

        Raises:
            LibrarianError: not all came, or the manifest is not that of the book that was announced.
        """
        size_bytes = 0
        limits = self._adapter.capabilities
        page: list[Item] = []
        page_bytes = 0
        async for members in self._store.staged_manifest(manifest_key(book.id), book.digest):
            for item in _member_items(book, members):
                size_bytes += item.size_bytes
                if page and (len(page) >= limits.max_files or page_bytes + item.size_bytes > limits.max_bytes):
                    await self._bring(job, page, progress)
                    page, page_bytes = [], 0
                page.append(item)
                page_bytes += item.size_bytes
        if page:
            await self._bring(job, page, progress)
        if size_bytes != book.size_bytes:
            raise ManifestInvalid(
                f"the members of book {book.name!a} have {size_bytes} bytes together; {book.size_bytes} were announced"
            )

    async def _bring(self, job: Job, items: Sequence[Item], progress: JobProgress) -> None:
        """Bring all of these parts of a book.

        Raises:
            LibrarianError: the first that failed, after all had their turn.
        """
        missing = await self._not_staged(items)
        failed: LibrarianError | None = None
        if missing:
            async with aclosing(self._outcomes(job, missing, progress)) as outcomes:
                async for outcome in outcomes:
                    if isinstance(outcome, Failed) and failed is None:
                        failed = outcome.error
        if failed is not None:
            raise failed

    async def _not_staged(self, items: Sequence[Item]) -> list[Item]:
        """Those that an earlier attempt did not stage whole and right."""
        missing: list[Item] = []
        for start in range(0, len(items), CHECKED_TOGETHER):
            some = items[start : start + CHECKED_TOGETHER]
            found = await self._store.staging.read_back_many(some)
            missing += [
                item
                for item, there in zip(some, found, strict=True)
                if isinstance(there, StoreError) or there[1] != item.digest
            ]
        return missing


def _whole_item(owed: Owed) -> Item:
    """All of it: a single file's bytes, or a book's members as a directory."""
    return Item(
        key=staging_key(owed.id),
        part=Part.FILE if owed.unit is Unit.FILE else Part.TREE,
        name=owed.name,
        file_digest=owed.digest,
        digest=owed.digest,
        size_bytes=owed.size_bytes,
    )


def _manifest_item(book: Owed) -> Item:
    return Item(
        key=manifest_key(book.id),
        part=Part.MANIFEST,
        name=book.name,
        file_digest=book.digest,
        digest=book.digest,
        size_bytes=MAX_MANIFEST_BYTES,
    )


def _member_items(book: Owed, members: Sequence[Member]) -> list[Item]:
    return [
        Item(
            key=f"{staging_key(book.id)}/{member.path}",
            part=Part.MEMBER,
            name=book.name,
            file_digest=book.digest,
            member=member.path,
            digest=member.digest,
            size_bytes=member.size_bytes,
        )
        for member in members
        if isinstance(member, MemberFile)
    ]
