"""Of what a state is made."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, NamedTuple, TypeVar

from librarian_protocol.digests import Digest
from librarian_protocol.eviction.row import Row

#: What stands at a name, or in trash. ENDED: nothing, since a withdrawal ended it, as it may.
NOTHING, GOOD, BAD, ENDED = range(4)
CONTENT = {GOOD: b"good", BAD: b"spoilt"}
DIGEST = Digest.blake3(CONTENT[GOOD])

State = tuple[int, ...]
T = TypeVar("T", bound=Hashable)


class Instance(NamedTuple):
    """One file in one store."""

    row: Row
    name: int = GOOD
    #: The directory in trash that has its bytes, and these.
    trash: str = ""
    bytes: int = NOTHING
    #: What the evictor was about to do, and for which nonce. Lost with the process.
    task: tuple[str, str] = ("", "")


class Site(NamedTuple):
    """What one site knows; ``ever_held`` and ``voided`` are what it has heard, whatever its catalog says now."""

    quarantine: bool = False
    #: Its catalog is from before, and it does not know.
    astray: bool = False
    held: bool = False
    ever_held: bool = False
    conflict: bool = False
    withdrawn: bool = False
    #: It has heard that the withdrawal does not count.
    voided: bool = False
    backup: tuple[tuple[Row, ...], bool, bool, bool] | None = None
    down: bool = False


class Left(NamedTuple):
    """What can still go wrong."""

    rots: int
    rewinds: int


class Next(NamedTuple):
    """One thing that can happen."""

    what: str
    state: State
    #: The rule that is broken by it; "" where none is.
    broken: str = ""
    #: It happens by itself, sooner or later: neither a fault nor a wish.
    progress: bool = False


class Table(Generic[T]):
    """Numbers for values."""

    def __init__(self) -> None:
        self.values: list[T] = []
        self._numbers: dict[T, int] = {}

    def number(self, value: T) -> int:
        """The same for equal values."""
        found = self._numbers.get(value)
        if found is None:
            found = self._numbers[value] = len(self.values)
            self.values.append(value)
        return found
