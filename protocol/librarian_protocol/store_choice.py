"""Which store takes a file. Pure (docs/architecture.md).

A store takes it if it is active, ingestable, usable now, and has room: its free bytes, less its reserve, less what
others are about to write. Of those that take it the one with the least priority is chosen, then the one with the most
room. Work that was begun in a store goes on there as long as no store of a lower priority takes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import msgspec


class Passed(StrEnum):
    """Why a store does not take a file."""

    #: A person set it inactive, or not ingestable.
    CLOSED = "closed"
    #: It is not mounted, does not answer, is read-only or fails.
    UNUSABLE = "unusable"
    #: It has too little room now.
    FULL = "full"
    #: It could not hold the file if it were empty.
    TOO_SMALL = "too-small"


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A store that may be chosen."""

    id: str
    label: str
    active: bool
    ingestable: bool
    priority: int
    #: Why nothing can be written into it now; "" where something can.
    problem: str = ""
    #: The problem is that it has no space or no inodes.
    exhausted: bool = False
    total_bytes: int = 0
    free_bytes: int = 0
    reserve_bytes: int = 0
    #: What transfers, claims and uploads are about to write.
    promised_bytes: int = 0

    @property
    def room_bytes(self) -> int:
        """What may still be promised; below 0 where it is beyond its reserve."""
        return self.free_bytes - self.reserve_bytes - self.promised_bytes

    @property
    def holds_bytes(self) -> int:
        """The largest file that it could hold if it were empty; 0 if it takes none, or its size is not known."""
        return max(self.total_bytes - self.reserve_bytes, 0) if self.active and self.ingestable else 0

    def passed(self, size_bytes: int) -> Passed | None:
        """Why it does not take a file of that size; None where it takes it."""
        if not (self.active and self.ingestable):
            return Passed.CLOSED
        if self.problem and not self.exhausted:
            return Passed.UNUSABLE
        if self.total_bytes and size_bytes > self.total_bytes - self.reserve_bytes:
            return Passed.TOO_SMALL
        if self.problem or size_bytes > self.room_bytes:
            return Passed.FULL
        return None


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """The store that takes the file."""

    store: str
    #: Stores of a lower priority that would take it if nothing were wrong with them, and what is.
    instead_of: tuple[tuple[str, Passed], ...] = ()


class Nowhere(msgspec.Struct, frozen=True, kw_only=True):
    """No store takes it. The reason is the one, of all stores, that most likely ends by itself."""

    why: Passed
    #: The store that it is about.
    store: str


#: What ends by itself, first.
_HOPE = (Passed.FULL, Passed.UNUSABLE, Passed.CLOSED, Passed.TOO_SMALL)
#: What nobody has decided, and what says nothing about the file.
_FAULTS = frozenset({Passed.FULL, Passed.UNUSABLE})


def choose(
    size_bytes: int, candidates: Sequence[Candidate], *, begun: str = "", staged: bool = False
) -> Chosen | Nowhere:
    """The store that takes a file of that size.

    ``candidates``: at least one. ``begun``: the store in which it was begun; "" if there is none. ``staged``: bytes of
    it stand there, so that it needs less room than its size: if no store has that much, it goes on there.
    """
    taking: list[Candidate] = []
    passed: list[tuple[Candidate, Passed]] = []
    for candidate in candidates:
        why = candidate.passed(size_bytes)
        if why is None:
            taking.append(candidate)
        else:
            passed.append((candidate, why))
    if not taking:
        if staged and any(
            candidate.id == begun and candidate.passed(0) is None for candidate, why in passed if why is Passed.FULL
        ):
            return Chosen(store=begun)
        candidate, why = min(passed, key=lambda seen: _HOPE.index(seen[1]))
        return Nowhere(why=why, store=candidate.id)
    best = min(taking, key=lambda candidate: (candidate.priority, candidate.id != begun, -candidate.room_bytes))
    return Chosen(
        store=best.id,
        instead_of=tuple(
            (candidate.id, why) for candidate, why in passed if why in _FAULTS and candidate.priority < best.priority
        ),
    )
