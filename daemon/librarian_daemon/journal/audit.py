"""Replaying journals into an empty catalog, and auditing a live one against its own journals.

A program of its own, ``python -m librarian_daemon.rebuilding``, which ``lbctl events replay|audit`` runs: it needs the
catalog's database and nothing of the running daemon.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import msgspec

from librarian_daemon import audited, config
from librarian_daemon.catalog import rebuilding, record, shared
from librarian_daemon.catalog.database import Database, open_database
from librarian_daemon.catalog.rebuilding import Moment, Record
from librarian_daemon.catalog.roster import Anchor
from librarian_daemon.catalog.telling import Sealed
from librarian_daemon.catalog.upgrade import upgrade
from librarian_daemon.clock import SystemClock
from librarian_daemon.host import catalog_url
from librarian_protocol import exports, keys, segments
from librarian_protocol.errors import LibrarianError, NotPossible
from librarian_protocol.names import SiteName

PAGE = 200
MAX_PROBLEMS = 20
INTEGRITY = 6
#: Examples of what differs, for each table.
EXAMPLES = 5


class TableReport(msgspec.Struct, kw_only=True):
    """A shared table: as it stands, and as the journals make it."""

    table: str
    rows: int
    digest: str
    #: None where it was not rebuilt.
    rebuilt: str | None = None
    differences: list[str] = []


class Report(msgspec.Struct, kw_only=True):
    """What an audit found."""

    segments: int
    problems: list[str]
    tables: list[TableReport]
    ok: bool
    schema: str = "lb.audit/1"


class Source(Protocol):
    """Where journals are had from; iterated more than once."""

    async def anchor(self) -> Anchor:
        """Where belief begins."""
        ...

    def pages(self, kinds: Sequence[str] | None = None) -> AsyncIterator[Sequence[Record]]:
        """All segments, or those of these kinds; none before its predecessor."""
        ...

    async def letters(self) -> list[tuple[SiteName, Sealed]]:
        """What was told by letter, to the site :attr:`site`."""
        ...

    @property
    def site(self) -> SiteName:
        """Whose journals they are."""
        ...


class CatalogSource:
    """The journals that stood in a catalog at one moment."""

    def __init__(self, database: Database, site: SiteName, moment: Moment) -> None:
        self._database = database
        self.site = site
        self._moment = moment

    async def letters(self) -> list[tuple[SiteName, Sealed]]:
        """See the protocol."""
        return self._moment.letters

    async def anchor(self) -> Anchor:
        """See the protocol.

        Raises:
            NotPossible: the catalog is of no mesh.
        """
        if self._moment.anchor is None:
            raise NotPossible("the catalog is of no mesh: there is nothing to begin from")
        return self._moment.anchor

    async def pages(self, kinds: Sequence[str] | None = None) -> AsyncIterator[Sequence[Record]]:
        """See the protocol."""
        after: record.Place | None = record.BEGINNING
        while after is not None:
            page, after = await self._database.read(rebuilding.records, after, self._moment.last, PAGE, kinds)
            yield page


class FileSource:
    """An exported file, whose anchor has this fingerprint."""

    def __init__(self, path: Path, fingerprint: str) -> None:
        self._path = path
        self._fingerprint = fingerprint
        self.site = SiteName("nobody")

    async def letters(self) -> list[tuple[SiteName, Sealed]]:
        """They are not exported."""
        return []

    async def anchor(self) -> Anchor:
        """See the protocol; the file is read to its end, so that nothing is made of one that is cut off.

        Raises:
            SegmentInvalid, SignatureInvalid: the file is not whole.
            NotPossible: belief would begin at another key.
        """
        reading = exports.Reading()
        with self._path.open("rb") as raw:
            for _ in exports.records(raw, reading):
                pass
        begun = reading.finish()
        if keys.fingerprint(begun.anchor_key) != self._fingerprint:
            raise NotPossible(
                f"the file begins at {begun.anchor}, whose key is {keys.fingerprint(begun.anchor_key)}",
                hint="ask for the fingerprint by another way than by which the file came",
            )
        return Anchor(mesh=begun.mesh, site=begun.anchor, key=begun.anchor_key, administrator=begun.administrator)

    async def pages(self, kinds: Sequence[str] | None = None) -> AsyncIterator[Sequence[Record]]:
        """See the protocol."""
        page: list[Record] = []
        with self._path.open("rb") as raw:
            for one in exports.records(raw, exports.Reading()):
                payload = one.payload.encode()
                segment = segments.decode(payload)
                if kinds is None or segment.kind in kinds:
                    page.append(Record(site=segment.site, payload=payload, signature=one.signature))
                if len(page) == PAGE:
                    yield page
                    page = []
        yield page


async def replay(source: Source, target: Database, say: Callable[[str], None]) -> tuple[int, list[str]]:
    """Rebuild the target from the source's journals: how many segments, and which were not believed.

    Raises:
        NotPossible: the source is of no mesh, or something stands in the target already.
    """
    at = SystemClock().utc()
    anchor = await source.anchor()
    await target.write(upgrade)
    if await target.read(record.last_position):
        raise NotPossible("the target is not empty", hint="give the URL of an empty database")
    await target.write(lambda connection: rebuilding.begin(connection, anchor))
    # Sites are admitted by sites: again until no more turn out to be.
    taken, before = 0, -1
    letters, refused = await source.letters(), list[str]()
    while taken != before:
        before, taken = taken, 0
        refused = await target.write(partial(rebuilding.take_letters, found=letters, to=source.site, at=at))
        taken -= len(refused)
        async for page in source.pages(rebuilding.ROSTER_KINDS):
            taken += await target.write(partial(rebuilding.apply_roster, page=page, at=at))
    count, problems = 0, refused
    async for page in source.pages():
        problems += await target.write(partial(rebuilding.take, page=page, change=count // PAGE + 1, at=at))
        count += len(page)
        if count % (50 * PAGE) < PAGE:
            say(f"{count:,} segments")
    return count, problems[:MAX_PROBLEMS]


async def audit(source: Database, site: SiteName, aside: str, say: Callable[[str], None]) -> Report:
    """Rebuild aside and compare, table by table, with the catalog as it was when this began.

    Its daemon may go on meanwhile. ``differences`` are examples, by the rows as they are at the end.
    """
    target = open_database(aside)
    try:
        begun, digests = await source.read(
            lambda connection: (rebuilding.moment(connection), shared.digests(connection))
        )
        count, problems = await replay(CatalogSource(source, site, begun), target, say)
        tables: list[TableReport] = []
        for live, made in zip(digests, await target.read(shared.digests), strict=True):
            differences: list[str] = []
            if live != made:
                differences = await _differences(source, target, live.table)
            tables.append(
                TableReport(
                    table=live.table,
                    rows=live.rows,
                    digest=live.digest,
                    rebuilt=made.digest,
                    differences=differences,
                )
            )
        same = all(one.digest == one.rebuilt for one in tables)
        return Report(segments=count, problems=problems, tables=tables, ok=same and not problems)
    finally:
        await target.close()


async def _differences(source: Database, target: Database, table: str) -> list[str]:
    """``- `` stands only in the live catalog, ``+ `` only in the rebuilt one. Rows of the latter are few enough."""
    made = set(await target.read(lambda connection: list(shared.rows(connection, table))))
    live = set(await source.read(lambda connection: list(shared.rows(connection, table))))
    found = [f"- {row.decode()}" for row in sorted(live - made)[:EXAMPLES]]
    return found + [f"+ {row.decode()}" for row in sorted(made - live)[:EXAMPLES]]


async def _audit(path: Path, *, only_digest: bool, say: Callable[[str], None]) -> Report:
    settings = config.load(path)
    source = open_database(catalog_url(settings.catalog))
    aside = Path(settings.state) / f"audit-{os.getpid()}.sqlite"
    try:
        if only_digest:
            found = await source.read(shared.digests)
            tables = [TableReport(table=one.table, rows=one.rows, digest=one.digest) for one in found]
            return Report(segments=0, problems=[], tables=tables, ok=True)
        report = await audit(source, settings.site, f"sqlite:///{aside}", say)
        audited.note(Path(settings.state), audited.Audited(at=SystemClock().utc(), ok=report.ok))
        return report
    finally:
        await source.close()
        for left in Path(settings.state).glob(f"{aside.name}*"):
            left.unlink()


async def _replay(source: Source, into: str, say: Callable[[str], None]) -> Report:
    target = open_database(into)
    try:
        count, problems = await replay(source, target, say)
        found = await target.read(shared.digests)
        tables = [TableReport(table=one.table, rows=one.rows, digest=one.digest) for one in found]
        return Report(segments=count, problems=problems, tables=tables, ok=not problems)
    finally:
        await target.close()


async def _replay_catalog(path: Path, into: str, say: Callable[[str], None]) -> Report:
    settings = config.load(path)
    source = open_database(catalog_url(settings.catalog))
    try:
        begun = await source.read(rebuilding.moment)
        return await _replay(CatalogSource(source, settings.site, begun), into, say)
    finally:
        await source.close()


def main() -> int:
    """Parse, run, print the report as JSON on stdout; progress goes to stderr."""
    parser = argparse.ArgumentParser(prog="python -m librarian_daemon.rebuilding", description=__doc__)
    parser.add_argument("--config", required=True, type=Path, metavar="FILE")
    parser.add_argument("--digest", action="store_true", help="print the digests of the live tables, rebuild nothing")
    parser.add_argument("--into", metavar="URL", help="rebuild into this empty database instead of comparing")
    parser.add_argument("--from", dest="source", type=Path, metavar="FILE", help="with --into: an exported file")
    parser.add_argument("--anchor", metavar="FINGERPRINT", help="of the site at which the file's belief begins")
    asked = parser.parse_args()

    def say(what: str) -> None:
        sys.stderr.write(f"{what}\n")

    try:
        if asked.source:
            report = asyncio.run(_replay(FileSource(asked.source, asked.anchor), asked.into, say))
        elif asked.into:
            report = asyncio.run(_replay_catalog(asked.config, asked.into, say))
        else:
            report = asyncio.run(_audit(asked.config, only_digest=asked.digest, say=say))
    except OSError as exc:
        sys.stderr.write(f"error: {exc}\n")
        return 1
    except LibrarianError as exc:
        sys.stderr.write(f"error[{exc.code}]: {exc.message}\n")
        if exc.hint:
            sys.stderr.write(f"hint: {exc.hint}\n")
        return exc.exit_code
    sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    return 0 if report.ok else INTEGRITY


if __name__ == "__main__":
    sys.exit(main())
