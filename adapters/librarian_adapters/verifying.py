"""A wrapper that believes no adapter: it reads back what landed, and holds the adapter to the contract."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager

from librarian_adapters.contract import Adapter, Batch, Failed, Item, Landed, Outcome, Part, Progress, Staging
from librarian_adapters.outcomes import closing
from librarian_protocol.errors import (
    ChecksumMismatch,
    LibrarianError,
    SizeMismatch,
    SourceInvalid,
    StoreError,
    TransferError,
)


class Verifying:
    """Only what was read back from staging, with the right size and digest, leaves as ``Landed``.

    * Wrong bytes are discarded from staging, or the next attempt would resume behind them.
    * Every item of the batch gets exactly one outcome; what the adapter is silent about failed. Outcomes of foreign
      items, and second ones, are ignored and counted in :attr:`ignored`.
    * Whatever an adapter raises becomes a :class:`TransferError`, the original as its cause; ``StoreError`` and
      cancellation pass as they are.

    An adapter with ``verifies_inline`` is not read back.
    """

    def __init__(self, inner: Adapter) -> None:
        self.name = inner.name
        self.version = inner.version
        self.capabilities = inner.capabilities
        #: Outcomes that no item was waiting for, since the start.
        self.ignored = 0
        self._inner = inner

    async def fetch(self, batch: Batch, staging: Staging, progress: Progress) -> AsyncGenerator[Outcome, None]:
        """As :meth:`Adapter.fetch`."""
        waiting = {item.key: item for item in batch.items}
        with explained(self.name, batch):
            async with closing(self._inner.fetch(batch, staging, progress)) as outcomes:
                async for outcome in outcomes:
                    item = waiting.pop(outcome.item.key, None)
                    if item is None:
                        self.ignored += 1
                    elif isinstance(outcome, Failed):
                        yield Failed(item, _named(self.name, item, outcome.error))
                    else:
                        yield await self._verified(item, staging)
        for item in waiting.values():
            yield Failed(item, SourceInvalid(f"adapter {self.name} ended without a word on {_shown(item)}"))

    async def _verified(self, item: Item, staging: Staging) -> Outcome:
        if self.capabilities.verifies_inline:
            return Landed(item)
        try:
            size_bytes, digest = await staging.read_back(item)
            # Nobody announces a manifest's size: the item's is a limit.
            exact = item.part is not Part.MANIFEST
            if size_bytes > item.size_bytes or (exact and size_bytes < item.size_bytes):
                await staging.discard(item)
                expected = f"{'' if exact else 'at most '}{item.size_bytes} bytes"
                return Failed(
                    item, SizeMismatch(f"{_shown(item)}: {size_bytes} bytes arrived, not {expected} as announced")
                )
            if digest != item.digest:
                await staging.discard(item)
                return Failed(
                    item, ChecksumMismatch(f"{_shown(item)}: {digest} arrived, not {item.digest} as announced")
                )
        except StoreError as exc:
            return Failed(item, exc)
        return Landed(item)

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
