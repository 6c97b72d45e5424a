"""An adapter that breaks what a plan says."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import msgspec

from librarian_adapters.contract import Item, Progress, Staging
from librarian_adapters.testing.memory import Memory, Sources, bytes_of
from librarian_protocol.digests import Digest
from librarian_protocol.errors import SourceMissing, SourceUnreachable


class Cut(msgspec.Struct, frozen=True):
    """The connection breaks after so many bytes."""

    at: int


class Flip(msgspec.Struct, frozen=True):
    """One bit of this byte is wrong."""

    at: int


class Resize(msgspec.Struct, frozen=True):
    """So many bytes too many, or, below 0, too few; the adapter does not notice."""

    by: int


class Hang(msgspec.Struct, frozen=True):
    """Silence for ever, after so many bytes."""

    at: int


class Missing(msgspec.Struct, frozen=True):
    """The source does not hold it."""


class Raise(msgspec.Struct, frozen=True):
    """The adapter itself fails."""

    error: Exception


Fault = Cut | Flip | Resize | Hang | Missing | Raise


class Faulty(Memory):
    """Breaks what the plan says: for each item's key the faults of its next attempts, in order; then it is sound."""

    def __init__(self, sources: Sources, plan: Mapping[str, Sequence[Fault]]) -> None:
        super().__init__(sources)
        self._plan = {key: list(faults) for key, faults in plan.items()}

    async def bring(self, item: Item, held: Mapping[Digest, bytes], staging: Staging, progress: Progress) -> None:
        """Bring one item, or break it."""
        faults = self._plan.get(item.key)
        data = bytes_of(item, held)
        fault = faults.pop(0) if faults else None
        match fault:
            case Cut(at):
                await self.write(item, data[:at], staging, progress)
                raise SourceUnreachable(f"connection to the source broke after {at} bytes")
            case Hang(at):
                await self.write(item, data[:at], staging, progress)
                await asyncio.get_running_loop().create_future()
            case Flip(at):
                data = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
            case Resize(by):
                data = data + bytes(by) if by > 0 else data[:by]
            case Missing():
                raise SourceMissing(f"{item.part} of {item.name!a} is not held")
            case Raise(error):
                raise error
            case None:
                pass
        await self.write(item, data, staging, progress)
