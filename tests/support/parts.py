"""Small parts read whole, for stores of the tests that open each by itself."""

from __future__ import annotations

from collections.abc import Sequence

from librarian_daemon.dataplane.sender import Opening
from librarian_daemon.ports.store import PartRead, TooLarge, WantedPart
from librarian_protocol.errors import SourceMissing, StoreError


async def read_each(store: Opening, wanted: Sequence[WantedPart]) -> list[PartRead]:
    """As :meth:`librarian_daemon.ports.store.Store.read_parts`."""
    return [await _read(store, part) for part in wanted]


async def _read(store: Opening, wanted: WantedPart) -> PartRead:
    try:
        reader = await store.open_part(wanted.name, wanted.digest, wanted.part, wanted.member)
    except (SourceMissing, StoreError) as exc:
        return exc
    try:
        if reader.size_bytes > wanted.most_bytes:
            return TooLarge(reader.size_bytes)
        return await reader.read(0, reader.size_bytes)
    except StoreError as exc:
        return exc
    finally:
        reader.close()
