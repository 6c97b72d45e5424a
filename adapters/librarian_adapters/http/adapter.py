"""The http adapter: large items by GET with Range, small ones in bundles, every request signed (docs/architecture.md).

Wire format, limits and errors: ``docs/adapters/http.md``.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any
from urllib.parse import quote

import msgspec

from librarian_adapters import tasks
from librarian_adapters.contract import (
    Batch,
    Buffer,
    Capabilities,
    Context,
    Failed,
    Item,
    Landed,
    Outcome,
    Outcomes,
    Progress,
    Pushes,
    Signer,
    Sink,
    Staging,
)
from librarian_adapters.http.address import Identities
from librarian_adapters.http.awaited_push import Expected, expected
from librarian_adapters.http.body import received
from librarian_adapters.http.bundle import BUNDLE_TARGET, BUNDLE_TYPE, BYTES_TARGET, BYTES_TYPE
from librarian_adapters.http.bundle_receiver import BundleReceiver, asked
from librarian_adapters.http.client import HttpClient, HttpSettings
from librarian_adapters.http.push_letters import MAX_LETTER_BYTES
from librarian_protocol import wire
from librarian_protocol.entries import AdapterOffer, Dial
from librarian_protocol.errors import (
    ConfigInvalid,
    LibrarianError,
    SizeMismatch,
    SourceIdentity,
    SourceInvalid,
    SourceRefused,
    SourceUnreachable,
    StoreError,
    TransferError,
    TransferTimeout,
)
from librarian_protocol.names import SiteName

#: After this many requests in a row that failed because of the source, the rest of the batch is not tried.
_PATIENCE = 3
_SOURCE_AT_FAULT = (SourceUnreachable, SourceRefused, SourceInvalid, SourceIdentity, TransferTimeout)


def factory(context: Context) -> Http:
    """Entry point.

    Raises:
        ConfigInvalid: ``[adapters.http]`` is wrong.
    """
    settings = _settings(context.settings)
    sends = client(
        context.sign, context.settings, context.certificate, context.ca_file, loopback=context.loopback_peers
    )
    return Http(sends, settings, context.pushes)


def client(
    sign: Signer,
    settings: Mapping[str, Any],
    certificate: Callable[[SiteName], str | None],
    ca_file: str,
    *,
    loopback: bool,
) -> HttpClient:
    """What sends signed requests to other sites, with the adapter's settings.

    ``loopback``: whether the other sites stand on this machine.

    Raises:
        ConfigInvalid: ``[adapters.settings.http]`` is wrong, or the authority's file cannot be read.
    """
    return HttpClient(sign, _settings(settings), Identities(certificate, ca_file), loopback=loopback)


def _settings(settings: Mapping[str, Any]) -> HttpSettings:
    try:
        return msgspec.convert(dict(settings), HttpSettings)
    except msgspec.ValidationError as exc:
        raise ConfigInvalid(f"adapters.settings.http: {exc}") from exc


class Http:
    """Pulls from the data plane of another site; or has the site push, where it cannot be dialled."""

    name = "http"
    version = 1
    capabilities = Capabilities(
        max_files=10_000, max_bytes=1 << 40, resumable=True, verifies_inline=False, dial=Dial.EITHER
    )

    def __init__(self, client: HttpClient, settings: HttpSettings, pushes: Pushes | None = None) -> None:
        self._client = client
        self._settings = settings
        self._pushes = pushes

    async def fetch(self, batch: Batch, staging: Staging, progress: Progress) -> AsyncGenerator[Outcome | Outcomes]:
        """As :meth:`Adapter.fetch`.

        Raises:
            TransferError: three requests in a row failed for the source's sake; the rest was not tried.
        """
        pushes = self._pushes if batch.offer.dial is Dial.SOURCE else None
        if pushes is None and batch.offer.dial is Dial.SOURCE:
            raise SourceUnreachable(f"site {batch.source} cannot be dialled, and cannot push to this site either")
        run = _Run(self._client, self._settings, batch, staging, progress, pushes)
        working = asyncio.create_task(run.work(), name=f"http batch {batch.id}")
        working.add_done_callback(lambda _: run.outcomes.put_nowait(None))
        try:
            while (told := await run.outcomes.get()) is not None:
                yield told
            await working
            if run.gave_up is not None:
                raise run.gave_up
        finally:
            await tasks.stop(working)

    def offer(self) -> AdapterOffer | None:
        """The daemon itself offers its data plane."""
        return None

    async def abandon(self, ticket: bytes) -> None:
        """It has no tickets."""

    async def close(self) -> None:
        """As :meth:`Adapter.close`."""
        await self._client.close()


class _Run:
    """One batch on its way."""

    def __init__(
        self,
        client: HttpClient,
        settings: HttpSettings,
        batch: Batch,
        staging: Staging,
        progress: Progress,
        pushes: Pushes | None,
    ) -> None:
        self._client = client
        self._settings = settings
        self._batch = batch
        self._staging = staging
        self._progress = progress
        #: None where this site dials.
        self._pushes = pushes
        self._jobs = deque(_jobs(batch.items, settings, pushed=pushes is not None))
        self._failures = 0
        #: Why the rest of the batch was not tried.
        self.gave_up: TransferError | None = None
        #: At most one for each item, and None at the end: it can never be full.
        self.outcomes: asyncio.Queue[Outcome | Outcomes | None] = asyncio.Queue(len(batch.items) + 1)

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
                if not item.exact or sink.offset < item.size_bytes:
                    if self._pushes is None:
                        await self._download(item, sink)
                    else:
                        await self._await_push(self._pushes, item, sink)
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
        sink = await self._staging.create(item, resume=item.exact)
        if sink.offset <= item.size_bytes:
            return sink
        await sink.close()
        return await self._staging.create(item)

    async def _download(self, item: Item, sink: Sink) -> None:
        begin, end = sink.offset, item.size_bytes
        wanted = asked(item)
        target = f"{BYTES_TARGET}{wanted.digest}?part={wanted.part}"
        if wanted.member is not None:
            target += f"&member={quote(wanted.member, safe='')}"
        byte_range = f"bytes={begin}-" if begin else ""
        async with self._client.request(
            self._batch.source,
            self._batch.offer.address,
            "GET",
            target,
            content_type=BYTES_TYPE,
            byte_range=byte_range,
        ) as response:
            length = self._check_length(item, begin, response.content_length)
            answered = (response.status, response.headers.get("Content-Range", ""))
            if answered != ((206, f"bytes {begin}-{end - 1}/{end}") if begin else (200, "")):
                raise SourceInvalid(
                    f"{self._batch.source}: asked for {byte_range!r}, answered {response.status} with another range"
                )
            async with aclosing(received(response, begin, length)) as pieces:
                async for piece in pieces:
                    await sink.write(piece)
                    self._progress.moved(item, len(piece))

    def _check_length(self, item: Item, begin: int, length: int | None) -> int:
        end = item.size_bytes
        if length is None:
            raise SourceInvalid(f"{self._batch.source}: an answer without Content-Length")
        if length > end - begin or (item.exact and length < end - begin):
            raise SizeMismatch(
                f"{item.part} of {item.name!a}: the source sends {length} bytes from {begin}, "
                f"not up to {end} as announced"
            )
        return length

    async def _await_push(self, pushes: Pushes, item: Item, sink: Sink) -> None:
        begin = sink.offset
        async with expected(pushes, self._expected(BYTES_TYPE), [asked(item)], bundle=False, begin=begin) as push:
            async with aclosing(push.chunks()) as chunks:
                left: int | None = None
                async for chunk in chunks:
                    if left is None:
                        left = self._pushed_length(push, item, begin)
                    if len(chunk) > left:
                        raise SizeMismatch(f"{item.part} of {item.name!a}: more is pushed than was said")
                    left -= len(chunk)
                    await sink.write(chunk)
                    self._progress.moved(item, len(chunk))
            if left is None:
                left = self._pushed_length(push, item, begin)
            if left:
                raise SourceUnreachable(f"{self._batch.source}: the push ended {left} bytes early")

    def _pushed_length(self, push: Expected, item: Item, begin: int) -> int:
        if push.begin != begin:
            raise SourceInvalid(f"{self._batch.source}: pushes from {push.begin}, asked for from {begin}")
        return self._check_length(item, begin, push.length)

    def _expected(self, content_type: str) -> Expected:
        settings = self._settings
        return Expected(self._batch.source, content_type, begin_s=settings.push_s, idle_s=settings.idle_s)

    # ---- many small ones ---------------------------------------------------------------------------------

    async def _bundle(self, items: Sequence[Item]) -> None:
        receiving = BundleReceiver(self, items)
        try:
            if self._pushes is None:
                await self._ask_bundle(receiving)
            else:
                everything = [asked(item) for item in items]
                async with expected(self._pushes, self._expected(BUNDLE_TYPE), everything, bundle=True) as push:
                    async with aclosing(push.chunks()) as chunks:
                        async for chunk in chunks:
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

    async def _ask_bundle(self, receiving: BundleReceiver) -> None:
        async with self._client.request(
            self._batch.source,
            self._batch.offer.address,
            "POST",
            BUNDLE_TARGET,
            content_type=BUNDLE_TYPE,
            body=receiving.request(),
        ) as response:
            async for chunk in response.content.iter_any():
                await receiving.feed(chunk)
            receiving.frames.finish()

    async def stage(self, group: Sequence[tuple[Item, Buffer]]) -> None:
        """Put whole small items into staging."""
        try:
            await self._staging.put(group)
        except StoreError as exc:
            for item, _ in group:
                self._failed(item, exc)
        else:
            self._failures = 0
            self.outcomes.put_nowait(Outcomes([Landed(item) for item, _ in group]))

    def arrived(self, item: Item, size_bytes: int) -> None:
        """So many more bytes of the item are here."""
        self._progress.moved(item, size_bytes)

    def refused(self, item: Item, error: TransferError) -> None:
        """The source answered for this item, and does not give it."""
        self._failures = 0
        self._failed(item, error)


def _jobs(items: Sequence[Item], settings: HttpSettings, *, pushed: bool) -> Iterator[Item | list[Item]]:
    """Requests to send. Small items come first: a few huge ones must not keep a thousand waiting.

    What is to be pushed is asked for in a letter, which holds less than a request.
    """
    bundle: list[Item] = []
    large: list[Item] = []
    size_bytes = letter_bytes = 0
    for item in items:
        if item.size_bytes >= settings.large_from_bytes:
            large.append(item)
            continue
        full = len(bundle) >= settings.bundle_files or size_bytes + item.size_bytes > settings.bundle_bytes
        item_bytes = len(wire.encode(asked(item))) if pushed else 0
        full = full or letter_bytes + item_bytes > MAX_LETTER_BYTES
        if bundle and full:
            yield bundle
            bundle, size_bytes, letter_bytes = [], 0, 0
        bundle.append(item)
        size_bytes += item.size_bytes
        letter_bytes += item_bytes
    if bundle:
        yield bundle
    yield from large
