"""The port to report incidents to the operator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol


class Incidents(Protocol):
    """Incidents for the operator. One open incident for each (code, subject)."""

    async def open(self, code: str, subject: str, message: str, hint: str) -> None:
        """Open it, or count it again. Idempotent except for the count."""
        ...

    async def resolve(self, code: str, subject: str) -> None:
        """Resolve it. Idempotent."""
        ...

    async def count(self, code: str, subject: str, number: int, message: str, hint: str) -> None:
        """Open or update it: it concerns ``number`` things now. Idempotent.

        If it was acknowledged and the number has grown since, this is a new incident.
        """
        ...

    async def resolve_all(self, code: str, over: Callable[[str], bool]) -> None:
        """Resolve the incidents of this code for whose subjects ``over`` is true. Idempotent."""
        ...

    async def subjects(self, code: str) -> Sequence[str]:
        """Subjects of the open incidents of this code; at most a thousand."""
        ...


#: An own instance is bad; and no site has a good one. Their subject is the name.
SUSPECTED = "instance-suspected"
LAST = "last-instance-bad"


async def mended(incidents: Incidents, name: str) -> None:
    """The own instance of that name is good: what was told of it is over. Idempotent."""
    await incidents.resolve(SUSPECTED, name)
    await incidents.resolve(LAST, name)
