"""The local adapter: copies from a store whose root this machine can read itself."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncGenerator, Mapping

from librarian_adapters.contract import (
    Batch,
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
from librarian_adapters.source_file import open_root, open_source
from librarian_adapters.threads import in_thread
from librarian_protocol.entries import AdapterOffer, Dial
from librarian_protocol.errors import (
    ConfigInvalid,
    SizeMismatch,
    SourceUnreachable,
    StoreError,
    StoreFault,
    StoreFull,
    TransferError,
)

#: Bytes a thread moves before it looks up: a cancellation waits for one such step.
_READ_BYTES = 1 << 20
_COPY_BYTES = 8 << 20
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def factory(context: Context) -> Local:
    """Entry point.

    Raises:
        ConfigInvalid: ``[adapters.local]`` has settings; there are none.
    """
    if context.settings:
        raise ConfigInvalid(f"adapters.settings.local: unknown key {min(context.settings)!r}; it has no settings")
    return Local(context.roots)


class Local:
    """Copies one item after another. Nobody dials."""

    name = "local"
    version = 1
    capabilities = Capabilities(
        max_files=10_000, max_bytes=1 << 40, resumable=True, verifies_inline=False, dial=Dial.EITHER
    )

    def __init__(self, roots: Mapping[str, str]) -> None:
        self._roots = roots

    async def fetch(self, batch: Batch, staging: Staging, progress: Progress) -> AsyncGenerator[Outcome, None]:
        """As :meth:`Adapter.fetch`.

        Raises:
            SourceUnreachable: the store is not one that this machine can read, or it is not mounted.
        """
        path = self._roots.get(batch.store)
        if path is None:
            raise SourceUnreachable(
                f"store {batch.store} of site {batch.source} is not one that this machine can read",
                hint="take `local` out of adapters.order, or configure the store here",
            )
        root = await in_thread(open_root, path, batch.store)
        try:
            for item in batch.items:
                try:
                    await _copy(root, item, staging, progress)
                except (TransferError, StoreError) as exc:
                    yield Failed(item, exc)
                else:
                    yield Landed(item)
        finally:
            os.close(root)

    def offer(self) -> AdapterOffer | None:
        """It gives nothing away."""
        return None

    async def abandon(self, ticket: bytes) -> None:
        """It has no tickets."""

    async def close(self) -> None:
        """Nothing is kept open."""


def components(item: Item) -> list[str]:
    """Where the item stands below the root of a store (docs/architecture.md)."""
    if item.part is Part.MANIFEST:
        return [".librarian", "manifests", item.file_digest.hex]
    if item.part is Part.ATTRIBUTES:
        return [".librarian", "attributes", item.digest.hex]
    path = item.name.split("/")
    return path if item.member is None else path + item.member.split("/")


async def _copy(root: int, item: Item, staging: Staging, progress: Progress) -> None:
    source, size_bytes = await in_thread(open_source, root, components(item))
    try:
        if size_bytes > item.size_bytes or (item.exact and size_bytes < item.size_bytes):
            raise SizeMismatch(f"{item.part} of {item.name!a} has {size_bytes} bytes, not {item.size_bytes}")
        sink = await staging.create(item, resume=True)
        if sink.offset > size_bytes:
            await sink.close()
            sink = await staging.create(item)
        try:
            await _move(source, sink, size_bytes, item, progress)
        finally:
            await sink.close()
    finally:
        os.close(source)


async def _move(source: int, sink: Sink, end: int, item: Item, progress: Progress) -> None:
    """Bring the bytes from ``sink.offset`` to ``end``."""
    at = begin = sink.offset
    target = sink.fileno()
    while at < end:
        moved = None
        if target is not None:
            try:
                moved = await in_thread(_copied, source, target, min(_COPY_BYTES, end - at), at)
            except OSError as exc:
                if at > begin:
                    error = StoreFull if exc.errno in _FULL else StoreFault
                    raise error(f"copying {item.name!a}: {exc.strerror}") from exc
                # Not between these filesystems, not into such a file, or an error that reading will name.
                target = None
        if moved is None:
            chunk = await _read(source, min(_READ_BYTES, end - at), at, item)
            await sink.write(chunk)
            moved = len(chunk)
        if moved == 0:
            raise SizeMismatch(f"{item.part} of {item.name!a} ends at {at} bytes, not at {end}: somebody cut it")
        at += moved
        progress.moved(item, moved)


def _copied(source: int, target: int, size_bytes: int, begin: int) -> int:
    """Copy so many bytes, or fewer, passing over holes; the target's position moves behind them. Raises OSError."""
    at, end = begin, min(begin + size_bytes, os.fstat(source).st_size)
    while at < end:
        data = min(_next(source, at, os.SEEK_DATA, end), end)
        if data == at:
            upto = min(_next(source, at, os.SEEK_HOLE, end), end)
            moved = os.copy_file_range(source, target, upto - at, at, at)
            if not moved:
                break
            data = at + moved
        at = data
        os.lseek(target, at, os.SEEK_SET)
    return at - begin


def _next(fd: int, at: int, whence: int, end: int) -> int:
    """Where the next data, or the next hole, begins; ``end`` where there is none."""
    try:
        return os.lseek(fd, at, whence)
    except OSError as exc:
        if exc.errno != errno.ENXIO:
            raise
        return end


async def _read(source: int, size_bytes: int, at: int, item: Item) -> bytes:
    try:
        return await in_thread(os.pread, source, size_bytes, at)
    except OSError as exc:
        raise SourceUnreachable(f"{item.part} of {item.name!a} cannot be read at {at}: {exc.strerror}") from exc
