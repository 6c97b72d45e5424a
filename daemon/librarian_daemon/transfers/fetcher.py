"""Fetching: one batch of single files, or one book, by one adapter, from one source.

A book comes in two steps: its manifest, whose blake3 is the book's digest, then its members. Bytes staged by an earlier
attempt are read again and kept if they are right, so an interrupted book continues.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing

import msgspec
import structlog

from librarian_adapters.contract import Adapter, Batch, Failed, Item, Landed, Part
from librarian_adapters.streams import closing
from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.transfers import batch_rows
from librarian_daemon.catalog.transfers.transfers import TransferView
from librarian_daemon.ports.staging_keys import list_key, manifest_key, transfer_key
from librarian_daemon.ports.store import Store
from librarian_daemon.ports.time import Clock
from librarian_protocol.attributes import Attributes, max_bytes
from librarian_protocol.digests import Digest
from librarian_protocol.entries import AdapterOffer, Unit
from librarian_protocol.errors import LibrarianError, ManifestInvalid, StoreError
from librarian_protocol.manifest import Member, MemberFile
from librarian_protocol.names import MemberPath, SiteName

#: A manifest line is at most about 1.1 kB: room for two million members with long paths.
MAX_MANIFEST_BYTES = 2 << 30
#: How many staged members are read back at once when a book goes on.
CHECKED_TOGETHER = 16


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """The work of one call of an adapter."""

    id: str
    source: SiteName
    #: Id of the source's store.
    source_store: str
    offer: AdapterOffer
    owed: list[TransferView]
    #: Transfers for which another source could be tried.
    has_other: set[int]
    #: Why this adapter, by transfer.
    why: dict[int, str] = {}
    #: Ticket of work that goes on elsewhere since before a restart.
    ticket: bytes | None = None
    #: Transfers that have an outcome; grows while the job runs.
    ended: set[int] = msgspec.field(default_factory=set[int])
    #: Those that failed: the adapter has released them, and another batch can have them.
    failed: set[int] = msgspec.field(default_factory=set[int])

    @property
    def adapter(self) -> str:
        """The adapter's name."""
        return self.offer.name


#: Over how many seconds a rate is taken.
_RATE_S = 60


class TransferProgress:
    """Bytes received, by transfer: what ``transfer list`` shows. Also keeps tickets."""

    def __init__(self, catalog: Catalog, clock: Clock) -> None:
        self._catalog = catalog
        self._clock = clock
        self.bytes: dict[int, int] = {}
        #: Bytes of each peer in each second of the last minute: (second, bytes), the newest last.
        self._seconds: dict[SiteName, deque[tuple[int, int]]] = {}
        #: Jobs that have received anything.
        self.jobs: set[str] = set()

    def of(self, job: Job) -> JobProgress:
        """The progress of one job."""
        return JobProgress(self._catalog, self, job)

    def came(self, peer: SiteName, size_bytes: int) -> None:
        """Count bytes that came from a peer just now."""
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
        """Whether the job has received anything: its link works, or worked a moment ago."""
        return job.id in self.jobs

    def forget(self, job: Job) -> None:
        """Forget a job that is over."""
        self.jobs.discard(job.id)
        for owed in job.owed:
            self.bytes.pop(owed.id, None)


class JobProgress:
    """Implements the adapters' ``Progress`` for one job."""

    def __init__(self, catalog: Catalog, progress: TransferProgress, job: Job) -> None:
        self._catalog = catalog
        self._progress = progress
        self._job = job
        self._sizes = {view.id: view.size_bytes for view in job.owed}

    def moved(self, item: Item, size_bytes: int) -> None:
        """See the contract."""
        transfer = transfer_of(item)
        if item.exact:
            # Bytes that came twice must not exceed the size.
            so_far = self._progress.bytes.get(transfer, 0) + size_bytes
            self._progress.bytes[transfer] = min(so_far, self._sizes.get(transfer, so_far))
        self._progress.jobs.add(self._job.id)
        self._progress.came(self._job.source, size_bytes)

    async def save_ticket(self, ticket: bytes) -> None:
        """See the contract."""
        await self._catalog.write(batch_rows.save_ticket, self._job.id, ticket)


def transfer_of(item: Item) -> int:
    """The transfer that an item belongs to, from its staging key."""
    return int(item.key.partition("/")[0].partition("-")[0].removeprefix("t"))


class Fetcher:
    """Runs jobs. Yields, for each transfer, None when its bytes are verified in staging, or its error."""

    def __init__(
        self,
        adapter: Adapter,
        store: Store,
        progress: TransferProgress,
        announced: Callable[[int], Awaitable[int | None]],
        kept: Callable[[int], Awaitable[Attributes]],
    ) -> None:
        """``announced`` gives the announced number of members of the book with that row; None if there is none.
        ``kept`` gives its attributes.
        """
        self._adapter = adapter
        self._store = store
        self._progress = progress
        self._announced = announced
        self._kept = kept
        self._log = structlog.get_logger("fetching")

    async def fetch(self, job: Job) -> AsyncGenerator[tuple[TransferView, LibrarianError | None], None]:
        """Every transfer of the job has exactly one outcome."""
        progress = self._progress.of(job)
        if self._adapter.capabilities.trees:
            async with aclosing(self._together(job, progress)) as found:
                async for result in found:
                    yield result
            return
        books = [view for view in job.owed if view.unit is Unit.BOOK]
        files = {transfer_key(view.id): view for view in job.owed if view.unit is Unit.FILE}
        if files:
            items = [_whole_item(view) for view in files.values()]
            async with aclosing(self._outcomes(job, items, progress)) as outcomes:
                async for outcome in outcomes:
                    error = outcome.error if isinstance(outcome, Failed) else None
                    owed = files.pop(outcome.item.key, None)
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
    ) -> AsyncGenerator[tuple[TransferView, LibrarianError | None], None]:
        """Files and whole books in one call of the adapter; then each book is compared with its manifest."""
        by_id = {view.id: view for view in job.owed}
        items = [item for view in job.owed for item in await self._wanted_of(view, job)]
        left = Counter(transfer_of(item) for item in items)
        failed: dict[int, LibrarianError] = {}
        ready = [view for view in job.owed if not left[view.id]]
        async with aclosing(self._outcomes(job, items, progress, job.ticket)) as outcomes:
            async for outcome in outcomes:
                owed = by_id[transfer_of(outcome.item)]
                left[owed.id] -= 1
                if isinstance(outcome, Failed) and outcome.item.part is Part.ATTRIBUTES:
                    self._without(owed, outcome.error)
                elif isinstance(outcome, Failed):
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

    async def _wanted_of(self, owed: TransferView, job: Job) -> list[Item]:
        """The items to ask for: of a book that an earlier attempt began, only the missing ones."""
        if owed.unit is Unit.FILE:
            return [_whole_item(owed)]
        manifest, tree = _manifest_item(owed), _whole_item(owed)
        members = await self._list_of(owed, await self._announced(owed.row.file_id) or 0)
        if job.ticket is not None:
            return [manifest, *members, tree]
        missing = await self._not_staged([manifest])
        return [*missing, *members, tree] if missing or not await self._store.has_staged(tree.key) else []

    async def _outcomes(
        self, job: Job, items: Sequence[Item], progress: JobProgress, ticket: bytes | None = None
    ) -> AsyncGenerator[Landed | Failed, None]:
        """The adapter's outcomes. An error of the whole batch becomes the error of each remaining item."""
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

    async def _book(self, job: Job, book: TransferView, progress: JobProgress) -> None:
        await self._bring(job, [_manifest_item(book)], progress)
        await self._members(job, book, progress)

    async def _members(self, job: Job, book: TransferView, progress: JobProgress) -> None:
        """Bring every member of the staged manifest that is not yet staged correctly.

        Raises:
            LibrarianError: not all came, or the manifest is not that of the book that was announced.
        """
        size_bytes = files = 0
        limits = self._adapter.capabilities
        page: list[Item] = []
        page_bytes = 0
        async for members in self._store.staged_manifest(manifest_key(transfer_key(book.id)), book.digest):
            here = await self._good_here(book, members)
            for item in _member_items(book, members):
                if item.member in here:
                    size_bytes += item.size_bytes
                    files += 1
                    continue
                size_bytes += item.size_bytes
                files += 1
                if page and (len(page) >= limits.max_files or page_bytes + item.size_bytes > limits.max_bytes):
                    await self._bring(job, page, progress)
                    page, page_bytes = [], 0
                page.append(item)
                page_bytes += item.size_bytes
        if page:
            await self._bring(job, page, progress)
        if problem := not_as_announced(book, size_bytes, files, await self._announced(book.row.file_id)):
            raise ManifestInvalid(problem)
        if not limits.trees:
            await self._attributes(job, book, files, progress)

    async def _good_here(self, book: TransferView, members: Sequence[Member]) -> frozenset[MemberPath]:
        """Of a book that is mended, the members that are right at its name: they stand in staging now, too."""
        keeping = self._store.can.keeping
        if keeping is None:
            return frozenset()
        files = [member for member in members if isinstance(member, MemberFile)]
        right = await keeping.stage_good(book.name, files, transfer_key(book.id))
        return frozenset(member.path for member, good in zip(files, right, strict=True) if good)

    async def _attributes(self, job: Job, book: TransferView, files: int, progress: JobProgress) -> None:
        """Bring the list of the members' attributes. The book is valid without it; its absence is reported."""
        try:
            await self._bring(job, await self._list_of(book, files), progress)
        except LibrarianError as exc:
            self._without(book, exc)

    async def _list_of(self, book: TransferView, files: int) -> list[Item]:
        """The item for the list of a book with this number of members, if a list was announced."""
        kept = await self._kept(book.row.file_id)
        return [] if kept.list is None else [_list_item(book, kept.list, files)]

    def _without(self, book: TransferView, why: LibrarianError) -> None:
        self._log.warning("attributes_missing", transfer=book.id, name=book.name, reason=why.message)

    async def _bring(self, job: Job, items: Sequence[Item], progress: JobProgress) -> None:
        """Bring all of these parts of a book.

        Raises:
            LibrarianError: the first that failed, after all were tried.
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
        """The items that an earlier attempt did not stage correctly."""
        missing: list[Item] = []
        for start in range(0, len(items), CHECKED_TOGETHER):
            some = items[start : start + CHECKED_TOGETHER]
            found = await self._store.staging.read_back_many(some)
            for item, there in zip(some, found, strict=True):
                if not isinstance(there, StoreError) and there[1] == item.digest:
                    continue
                if not isinstance(there, StoreError) and there[0] >= item.size_bytes:
                    # Nothing can be added to it; and it may have another link, at a name.
                    await self._store.staging.discard(item)
                missing.append(item)
        return missing


def _whole_item(owed: TransferView) -> Item:
    """All of it: a single file's bytes, or a book's members as a directory."""
    return Item(
        key=transfer_key(owed.id),
        part=Part.FILE if owed.unit is Unit.FILE else Part.TREE,
        name=owed.name,
        file_digest=owed.digest,
        digest=owed.digest,
        size_bytes=owed.size_bytes,
    )


def _manifest_item(book: TransferView) -> Item:
    return Item(
        key=manifest_key(transfer_key(book.id)),
        part=Part.MANIFEST,
        name=book.name,
        file_digest=book.digest,
        digest=book.digest,
        size_bytes=MAX_MANIFEST_BYTES,
    )


def _list_item(book: TransferView, digest: Digest, files: int) -> Item:
    return msgspec.structs.replace(
        _manifest_item(book),
        key=list_key(transfer_key(book.id)),
        part=Part.ATTRIBUTES,
        digest=digest,
        size_bytes=max_bytes(files),
    )


def not_as_announced(book: TransferView, size_bytes: int, files: int, announced: int | None) -> str:
    """How a book's manifest differs from the announcement of the book; "" if it does not.

    ``announced`` is the announced number of members; None if there is none.
    """
    if size_bytes != book.size_bytes:
        return f"the members of book {book.name!a} have {size_bytes} bytes together; {book.size_bytes} were announced"
    if announced is not None and files != announced:
        return f"book {book.name!a} has {files} members; {announced} were announced"
    return ""


def _member_items(book: TransferView, members: Sequence[Member]) -> list[Item]:
    return [
        Item(
            key=f"{transfer_key(book.id)}/{member.path}",
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
