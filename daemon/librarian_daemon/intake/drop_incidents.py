"""What a person must handle in one drop directory: one incident for each cause, with an exact count."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping
from itertools import islice

import msgspec

from librarian_daemon.fs.threads import Threads
from librarian_daemon.intake.directory import rejected
from librarian_daemon.intake.directory.drop import Drop
from librarian_daemon.intake.directory.rejected import Refused
from librarian_daemon.ports.incidents import Incidents
from librarian_protocol import dropped
from librarian_protocol.dropped import Outstanding
from librarian_protocol.errors import SiteError, StoreError, by_code

REFUSED = "intake-refused"
STUCK = "intake-stuck"


class DropIncidents:
    """Keeps the incidents of one code about one drop directory up to date."""

    def __init__(self, code: str, place: str, incidents: Incidents) -> None:
        self._code = code
        self._place = place
        self._incidents = incidents
        self._last: dict[str, Outstanding] = {}
        #: False until everything was looked at: the catalog may hold incidents from before the start.
        self._settled = False

    async def tell(self, found: Mapping[str, Outstanding], *, settled: bool = True) -> None:
        """Report what is there now, by cause. If ``settled`` (everything was looked at), other causes are over."""
        for cause, outstanding in found.items():
            if self._last.get(cause) != outstanding:
                await self._incidents.count(
                    self._code, self._subject(cause), outstanding.number, outstanding.message, outstanding.hint
                )
        if not settled:
            self._last |= found
            return
        if not self._settled:
            now = {self._subject(cause) for cause in found}
            await self._incidents.resolve_all(
                self._code, lambda subject: _is_of(subject, self._place) and subject not in now
            )
            self._settled = True
        for cause in self._last.keys() - found.keys():
            await self._incidents.resolve(self._code, self._subject(cause))
        self._last = dict(found)

    def _subject(self, cause: str) -> str:
        return f"{self._place}: {cause}"


def _is_of(subject: str, place: str) -> bool:
    """Whether an incident is about that drop directory, or something in it (as before there was one a cause)."""
    return subject == place or subject.startswith((f"{place}: ", f"{place}/"))


async def end_of_others(incidents: Incidents, places: Collection[str], stores: Collection[str]) -> None:
    """End the incidents about drop directories that are no longer configured. Called at the start.

    ``stores`` are their paths: incidents about them have nothing to do with drop directories.
    """

    def over(subject: str) -> bool:
        return not any(_is_of(subject, place) for place in places)

    for code in (REFUSED, STUCK):
        await incidents.resolve_all(code, over)
    for error in by_code().values():
        if issubclass(error, (StoreError, SiteError)):
            # A pause's incident is about the drop directory's path; others are about labels, sites or stores.
            await incidents.resolve_all(
                pause_code(error), lambda subject: subject.startswith("/") and over(subject) and subject not in stores
            )


def pause_code(error: type[StoreError | SiteError]) -> str:
    """Code of the incident for an error that pauses intake."""
    return error.kind.replace("_", "-")


class _Cause(msgspec.Struct):
    number: int
    last: Refused
    before: list[str]

    def outstanding(self, cause: str) -> Outstanding:
        return dropped.refused(
            cause, self.number, self.last.what, self.last.why, self.last.hint, self.before[-dropped.NAMED :]
        )


class Refusals:
    """Counts the entries of one drop directory's ``.rejected``, by cause."""

    def __init__(self, drop: Drop, incidents: Incidents, threads: Threads) -> None:
        self._drop = drop
        self._threads = threads
        self._told = DropIncidents(REFUSED, drop.path, incidents)
        self._causes: dict[str, _Cause] = {}
        #: What lands tells of them, and each round.
        self._telling = asyncio.Lock()

    def add(self, refused: Refused) -> None:
        """Count an entry that was refused just now."""
        _add(self._causes, refused)

    async def count(self) -> None:
        """Count the entries again.

        Raises:
            StoreError: the drop directory cannot be read.
        """
        causes: dict[str, _Cause] = {}
        found = rejected.refused(self._drop)
        while portion := await self._threads.run(_some, found):
            for refused in portion:
                _add(causes, refused)
        self._causes = causes

    async def tell(self) -> None:
        """Bring the incidents up to date."""
        async with self._telling:
            await self._told.tell({cause: counted.outstanding(cause) for cause, counted in self._causes.items()})

    @property
    def number(self) -> int:
        """Number of refused entries."""
        return sum(counted.number for counted in self._causes.values())


def _add(causes: dict[str, _Cause], refused: Refused) -> None:
    known = causes.get(refused.cause)
    if known is None:
        causes[refused.cause] = _Cause(1, refused, [])
    else:
        known.before = [*known.before[-dropped.NAMED :], known.last.what]
        known.last = refused
        known.number += 1


def _some(found: Iterator[Refused]) -> list[Refused]:
    return list(islice(found, 500))
