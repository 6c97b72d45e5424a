"""The http adapter: large items by GET with Range, small ones in bundles, every request signed (docs/architecture.md).

Wire format, limits and errors: ``docs/adapters/http.md``.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from urllib.parse import quote

import msgspec

from librarian_adapters.bundle import (
    BUNDLE_TARGET,
    BUNDLE_TYPE,
    BYTES_TARGET,
    BYTES_TYPE,
    Asked,
    Frame,
    FrameReader,
)
from librarian_adapters.contract import (
    Batch,
    Buffer,
    Capabilities,
    Context,
    Failed,
    Item,
    Landed,
    Outcome,
    Part,
    Progress,
    Sink,
    Staging,
)
from librarian_adapters.http_client import HttpClient, HttpSettings, spoken
from librarian_protocol import wire
from librarian_protocol.entries import Dial
from librarian_protocol.errors import (
    ConfigInvalid,
    LibrarianError,
    SizeMismatch,
    SourceInvalid,
    SourceRefused,
    SourceUnreachable,
    StoreError,
    TransferError,
    TransferTimeout,
)

#: Small items are staged in groups of about this much: few calls, little memory.
_GROUP_BYTES = 2 << 20
_GROUP_ITEMS = 256
#: After so many requests in a row that failed for the source's sake, the rest of the batch is not tried.
_PATIENCE = 3
_SOURCE_AT_FAULT = (SourceUnreachable, SourceRefused, SourceInvalid, TransferTimeout)


def factory(context: Context) -> Http:
    """Entry point.

    Raises:
        ConfigInvalid: ``[adapters.http]`` is wrong.
    """
    try:
        settings = msgspec.convert(dict(context.settings), HttpSettings)
    except msgspec.ValidationError as exc:
        raise ConfigInvalid(f"adapters.settings.http: {exc}") from exc
    return Http(HttpClient(context.sign, settings), settings)


class Http:
    """Pulls from the data plane of another site. The destination dials."""

    name = "http"
    version = 1
    capabilities = Capabilities(
        max_files=10_000, max_bytes=1 << 40, resumable=True, verifies_inline=False, dial=Dial.DESTINATION
    )

    def __init__(self, client: HttpClient, settings: HttpSettings) -> None:
        self._client = client
        self._settings = settings

    async def fetch(self, batch: Batch, staging: Staging, progress: Progress) -> AsyncGenerator[Outcome, None]:
        """As :meth:`Adapter.fetch`.

        Raises:
            TransferError: three requests in a row failed for the source's sake; the rest was not tried.
        """
        run = _Run(self._client, self._settings, batch, staging, progress)
        working = asyncio.create_task(run.work(), name=f"http batch {batch.id}")
        working.add_done_callback(lambda _: run.outcomes.put_nowait(None))
        try:
            while (outcome := await run.outcomes.get()) is not None:
                yield outcome
            await working
            if run.gave_up is not None:
                raise run.gave_up
        finally:
            working.cancel()
            await asyncio.wait([working])

    async def close(self) -> None:
        """As :meth:`Adapter.close`."""
        await self._client.close()


class _Run:
    """One batch on its way."""

    def __init__(
        self, client: HttpClient, settings: HttpSettings, batch: Batch, staging: Staging, progress: Progress
    ) -> None:
        self._client = client
        self._settings = settings
        self._batch = batch
        self._staging = staging
        self._progress = progress
        self._jobs = deque(_jobs(batch.items, settings))
        self._failures = 0
        #: Why the rest of the batch was not tried.
        self.gave_up: TransferError | None = None
        #: One for each item, and None at the end: it can never be full.
        self.outcomes: asyncio.Queue[Outcome | None] = asyncio.Queue(len(batch.items) + 1)

    async def work(self) -> None:
        """Send all requests, a few at a time."""
        async with asyncio.TaskGroup() as group:
            for _ in range(min(self._settings.requests, len(self._jobs))):
                group.create_task(self._worker())

    async def _worker(self) -> None:
        while self._jobs:
            job = self._jobs.popleft()
            if isinstance(job, Item):
                await self._single(job)
            else:
                await self._bundle(job)

    def _landed(self, item: Item) -> None:
        self._failures = 0
        self.outcomes.put_nowait(Landed(item))

    def _failed(self, item: Item, error: LibrarianError) -> None:
        self.outcomes.put_nowait(Failed(item, error))

    def _broke(self, error: TransferError) -> None:
        """Count a request that failed as a whole."""
        if not isinstance(error, _SOURCE_AT_FAULT):
            self._failures = 0
            return
        self._failures += 1
        if self._failures >= _PATIENCE and self._jobs:
            self._jobs.clear()
            self.gave_up = error

    # ---- one large item --------------------------------------------------------------------------------

    async def _single(self, item: Item) -> None:
        try:
            sink = await self._opened(item)
            try:
                # What is there already may be all: the daemon stopped between the last byte and the commit.
                if item.part is Part.MANIFEST or sink.offset < item.size_bytes:
                    await self._download(item, sink)
            finally:
                await sink.close()
        except TransferError as exc:
            self._failed(item, exc)
            self._broke(exc)
        except StoreError as exc:
            self._failed(item, exc)
        else:
            self._landed(item)

    async def _opened(self, item: Item) -> Sink:
        # A manifest's size is not known, so what is there cannot be told from a whole one.
        sink = await self._staging.create(item, resume=item.part is not Part.MANIFEST)
        if sink.offset <= item.size_bytes:
            return sink
        await sink.close()
        return await self._staging.create(item)

    async def _download(self, item: Item, sink: Sink) -> None:
        begin, end = sink.offset, item.size_bytes
        target = f"{BYTES_TARGET}{item.file_digest}?part={item.part}"
        if item.member is not None:
            target += f"&member={quote(item.member, safe='')}"
        byte_range = f"bytes={begin}-" if begin else ""
        async with self._client.request(
            self._batch, "GET", target, content_type=BYTES_TYPE, byte_range=byte_range
        ) as response:
            length = response.content_length
            if length is None:
                raise SourceInvalid(f"{self._batch.source}: an answer without Content-Length")
            if length > end - begin or (item.part is not Part.MANIFEST and length < end - begin):
                raise SizeMismatch(
                    f"{item.part} of {item.name!a}: the source sends {length} bytes from {begin}, "
                    f"not up to {end} as announced"
                )
            answered = (response.status, response.headers.get("Content-Range", ""))
            if answered != ((206, f"bytes {begin}-{end - 1}/{end}") if begin else (200, "")):
                raise SourceInvalid(f"{self._batch.source}: asked for {byte_range!r}, answered {answered!a}")
            async for chunk in response.content.iter_any():
                await sink.write(chunk)
                self._progress.moved(item, len(chunk))

    # ---- many small ones ---------------------------------------------------------------------------------

    async def _bundle(self, items: Sequence[Item]) -> None:
        receiving = _Receiving(self, items)
        try:
            async with self._client.request(
                self._batch, "POST", BUNDLE_TARGET, content_type=BUNDLE_TYPE, body=receiving.request()
            ) as response:
                async for chunk in response.content.iter_any():
                    await receiving.feed(chunk)
                receiving.frames.finish()
            if receiving.waiting:
                raise SourceInvalid(f"{self._batch.source}: {len(receiving.waiting)} items have no answer")
        except TransferError as exc:
            await receiving.stage()
            for item in receiving.waiting.values():
                self._failed(item, exc)
            self._broke(exc)
        else:
            await receiving.stage()

    async def stage(self, group: Sequence[tuple[Item, Buffer]]) -> None:
        """Put whole small items into staging."""
        try:
            await self._staging.put(group)
        except StoreError as exc:
            for item, _ in group:
                self._failed(item, exc)
        else:
            for item, _ in group:
                self._landed(item)

    def arrived(self, item: Item, size_bytes: int) -> None:
        """So many more bytes of the item are here."""
        self._progress.moved(item, size_bytes)

    def refused(self, item: Item, error: TransferError) -> None:
        """The source answered for this item, and does not give it."""
        self._failures = 0
        self._failed(item, error)


class _Receiving:
    """The answer to one bundle request."""

    def __init__(self, run: _Run, items: Sequence[Item]) -> None:
        self._run = run
        self._items = items
        #: Items that have had no frame yet, by their index in the request.
        self.waiting = dict(enumerate(items))
        self.frames = FrameReader(max((item.size_bytes for item in items), default=0))
        self._group: list[tuple[Item, Buffer]] = []
        self._group_bytes = 0
        #: Bytes of the incomplete frame that were told of already.
        self._told = 0

    def request(self) -> bytes:
        """What is asked for."""
        return wire.encode(
            [
                Asked(digest=item.file_digest, part=item.part, member=item.member, size_bytes=item.size_bytes)
                for item in self._items
            ]
        )

    async def feed(self, chunk: bytes) -> None:
        """Take in what came.

        Raises:
            SourceInvalid: it is not what was asked for.
        """
        for frame in self.frames.feed(chunk):
            self._take(frame)
            if len(self._group) >= _GROUP_ITEMS or self._group_bytes >= _GROUP_BYTES:
                await self.stage()
        partial = self.frames.partial
        if partial is not None and partial[0] in self.waiting:
            self._run.arrived(self.waiting[partial[0]], partial[1] - self._told)
            self._told = partial[1]

    def _take(self, frame: Frame) -> None:
        item = self.waiting.pop(frame.head.item, None)
        if item is None:
            raise SourceInvalid(f"bundle: a frame for item {frame.head.item}, which nobody waits for")
        told, self._told = self._told, 0
        if frame.head.code:
            self._run.refused(item, spoken(frame.head.code, frame.head.message))
            return
        size_bytes = len(frame.body)
        self._run.arrived(item, size_bytes - told)
        if size_bytes > item.size_bytes or (item.part is not Part.MANIFEST and size_bytes < item.size_bytes):
            message = f"{item.part} of {item.name!a}: the source sends {size_bytes} bytes, not {item.size_bytes}"
            self._run.refused(item, SizeMismatch(f"{message} as announced"))
            return
        self._group.append((item, frame.body))
        self._group_bytes += size_bytes

    async def stage(self) -> None:
        """Put the whole items received so far into staging."""
        group, self._group, self._group_bytes = self._group, [], 0
        if group:
            await self._run.stage(group)


def _jobs(items: Sequence[Item], settings: HttpSettings) -> Iterator[Item | list[Item]]:
    """Requests to send. Small items come first: a few huge ones must not keep a thousand waiting."""
    bundle: list[Item] = []
    large: list[Item] = []
    size_bytes = 0
    for item in items:
        if item.size_bytes > settings.large_from_bytes:
            large.append(item)
            continue
        full = len(bundle) >= settings.bundle_files or size_bytes + item.size_bytes > settings.bundle_bytes
        if bundle and full:
            yield bundle
            bundle, size_bytes = [], 0
        bundle.append(item)
        size_bytes += item.size_bytes
    if bundle:
        yield bundle
    yield from large
