"""The catalog, as intake uses it."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

from librarian_daemon.ports.store import Landing
from librarian_protocol.digests import Digest
from librarian_protocol.names import Name


class NameStatus(StrEnum):
    """State of a name in the catalog before ingesting."""

    FREE = "free"
    #: The same bytes are here already.
    PRESENT = "present"
    #: The same file is known, but this store has no instance of it.
    KNOWN = "known"
    #: Other bytes have the name.
    TAKEN = "taken"
    #: A name that differs only in letter case is taken.
    TWIN = "twin"
    #: The name lies below another file: a book, or a single file.
    BELOW = "below"
    #: An administrator withdrew exactly this file.
    WITHDRAWN = "withdrawn"
    #: This site may not ingest a file of that name; the other text has its grants.
    NOT_GRANTED = "not-granted"


class Ledger(Protocol):
    """Intake's record of its work. Each call is one durable commit."""

    async def standing(self, store: str, files: Sequence[tuple[Name, Digest]]) -> Sequence[tuple[NameStatus, str]]:
        """For each file: the state of its name, and the other digest or name for the message."""
        ...

    async def size_of(self, name: Name, digest: str) -> int | None:
        """Size of a known file in bytes; None for an unknown one."""
        ...

    async def begin(self, landings: Sequence[Landing]) -> Sequence[Landing]:
        """Write the landing rows. No byte may be moved to its name before this. Returns the landings to place."""
        ...

    async def accept(self, landings: Sequence[Landing]) -> None:
        """Write catalog rows, journal entries and outbox, and delete the landing rows, in one commit. Then the file is
        accepted.
        """
        ...

    async def abandon(self, landings: Sequence[Landing]) -> None:
        """Delete the landing rows and nothing else."""
        ...

    async def choose(self, stores: Sequence[str], size_bytes: int) -> str:
        """Which of the stores is to take so much; the first of them where none can now."""
        ...

    def doubt(self, store: str) -> None:
        """Something failed there: it is examined before it is chosen again."""
        ...

    async def promise(self, id_: str, store: str, size_bytes: int) -> None:
        """Promise room in a store to what is about to be copied into it.

        Raises:
            StoreFull: there is not so much room, beside its reserve and what is promised to others.
        """
        ...

    def release(self, id_: str) -> None:
        """It is copied, or given up. Idempotent."""
        ...

    async def unfinished(self, store: str) -> Sequence[Landing]:
        """Landing rows that a crash left."""
        ...
