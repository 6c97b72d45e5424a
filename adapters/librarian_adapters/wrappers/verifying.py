"""A wrapper that believes no adapter: it asks staging what landed, and holds the adapter to the contract."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager

from librarian_adapters import tasks
from librarian_adapters.contract import (
    Adapter,
    Batch,
    Failed,
    Item,
    Landed,
    Outcome,
    Outcomes,
    Part,
    Progress,
    Staging,
)
from librarian_adapters.streams import closing_together, each_of
from librarian_protocol.digests import Digest
from librarian_protocol.entries import AdapterOffer
from librarian_protocol.errors import (
    ChecksumMismatch,
    LibrarianError,
    SizeMismatch,
    SourceInvalid,
    StoreError,
    TransferError,
)

#: What has landed is read back in one hop to a thread, up to so many items or bytes, but for those that came last
#: together: a cancellation waits for a hop.
_TOGETHER = 256
_TOGETHER_BYTES = 8 << 20


class VerifyingAdapter:
    """Only what stands in staging with the right size and digest, as staging says, leaves as ``Landed``.

    * Wrong bytes are discarded from staging, or the next attempt would resume behind them.
    * Every item of the batch gets exactly one outcome; what the adapter is silent about failed. Outcomes of foreign
      items, and second ones, are ignored and counted in :attr:`ignored`.
    * Whatever an adapter raises becomes a :class:`TransferError`, the original as its cause; ``StoreError`` and
      cancellation pass as they are.

    An adapter with ``verifies_inline`` is not read back; nor are trees here, whose members the daemon reads back.
    """

    def __init__(self, inner: Adapter) -> None:
        self.name = inner.name
        self.version = inner.version
        self.capabilities = inner.capabilities
        #: Outcomes that no item was waiting for, since the start.
        self.ignored = 0
        self._inner = inner

    async def fetch(self, batch: Batch, staging: Staging, progress: Progress) -> AsyncGenerator[Outcome | Outcomes]:
        """As :meth:`Adapter.fetch`."""
        waiting = {item.key: item for item in batch.items}
        arrived: asyncio.Queue[Outcome | Outcomes | None] = asyncio.Queue(_TOGETHER)

        async def drive() -> None:
            async with closing_together(self._inner.fetch(batch, staging, progress)) as outcomes:
                async for told in outcomes:
                    await arrived.put(told)

        with explained(self.name, batch):
            driving = asyncio.create_task(drive(), name=f"{self.name} batch {batch.id}")
            # Who waits for an outcome hears of the end; while the queue is full, nobody waits.
            driving.add_done_callback(lambda _: None if arrived.full() else arrived.put_nowait(None))
            try:
                while not (driving.done() and arrived.empty()):
                    landed: list[Item] = []
                    size_bytes = 0
                    told = await arrived.get()
                    while told is not None:
                        for outcome in each_of(told):
                            item = waiting.pop(outcome.item.key, None)
                            if item is None:
                                self.ignored += 1
                            elif isinstance(outcome, Failed):
                                yield Failed(item, _named(self.name, item, outcome.error))
                            else:
                                landed.append(item)
                                size_bytes += item.size_bytes
                        full = len(landed) >= _TOGETHER or size_bytes >= _TOGETHER_BYTES
                        told = None if full or arrived.empty() else arrived.get_nowait()
                    verified = await self._verified(landed, staging)
                    if len(verified) > 1:
                        yield Outcomes(verified)
                    elif verified:
                        yield verified[0]
                await driving
            finally:
                await tasks.stop(driving)
        for item in waiting.values():
            yield Failed(item, SourceInvalid(f"adapter {self.name} ended without a word on {_shown(item)}"))

    async def _verified(self, items: list[Item], staging: Staging) -> list[Outcome]:
        if self.capabilities.verifies_inline:
            return [Landed(item) for item in items]
        trees = [item for item in items if item.part is Part.TREE]
        others = [item for item in items if item.part is not Part.TREE]
        found = await staging.read_back_many(others) if others else ()
        judged = [await _judged(item, read, staging) for item, read in zip(others, found, strict=True)]
        return [*judged, *map(Landed, trees)]

    def offer(self) -> AdapterOffer | None:
        """As :meth:`Adapter.offer`."""
        return self._inner.offer()

    async def abandon(self, ticket: bytes) -> None:
        """As :meth:`Adapter.abandon`."""
        await self._inner.abandon(ticket)

    async def close(self) -> None:
        """As :meth:`Adapter.close`."""
        await self._inner.close()


@contextmanager
def explained(adapter: str, batch: Batch) -> Generator[None]:
    """Turn an adapter's unexpected exception into a TransferError that says where it came from."""
    try:
        yield
    except (TransferError, StoreError):
        raise
    # Adapters are plug-ins: any defect of one fails its batch, not the daemon.
    except Exception as exc:
        raise TransferError(
            f"adapter {adapter} failed on batch {batch.id} from site {batch.source}: {type(exc).__name__}: {exc}",
            hint="this is a defect of the adapter; the daemon's log has the traceback",
        ) from exc


def _named(adapter: str, item: Item, error: LibrarianError) -> LibrarianError:
    if isinstance(error, TransferError | StoreError):
        return error
    return TransferError(f"adapter {adapter}: {_shown(item)}: {error.message}", hint=error.hint)


def _shown(item: Item) -> str:
    member = "" if item.member is None else f" member {item.member!a}"
    return f"{item.part} of {item.name!a}{member}"


async def _judged(item: Item, found: tuple[int, Digest] | StoreError, staging: Staging) -> Outcome:
    if isinstance(found, StoreError):
        return Failed(item, found)
    size_bytes, digest = found
    # Nobody announces a manifest's size: the item's is a limit.
    exact = item.exact
    error: TransferError
    if size_bytes > item.size_bytes or (exact and size_bytes < item.size_bytes):
        expected = f"{'' if exact else 'at most '}{item.size_bytes} bytes"
        error = SizeMismatch(f"{_shown(item)}: {size_bytes} bytes arrived, not {expected} as announced")
    elif digest != item.digest:
        error = ChecksumMismatch(f"{_shown(item)}: {digest} arrived, not {item.digest} as announced")
    else:
        return Landed(item)
    try:
        await staging.discard(item)
    except StoreError as exc:
        return Failed(item, exc)
    return Failed(item, error)
