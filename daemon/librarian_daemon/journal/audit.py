"""Replays journals into an empty catalog, and audits a live catalog against its own journals.

A program of its own, ``python -m librarian_daemon.journal.audit``, which ``lbctl events replay|audit`` runs: it needs
the catalog's database and nothing of the running daemon.
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

from librarian_daemon.catalog.database import Database, open_database
from librarian_daemon.catalog.journal import record, replay, state_digest
from librarian_daemon.catalog.journal.letters import Sealed
from librarian_daemon.catalog.journal.replay import Moment, Record
from librarian_daemon.catalog.mesh.roster import Anchor
from librarian_daemon.catalog.upgrade import upgrade
from librarian_daemon.config import loader
from librarian_daemon.journal import audit_result
from librarian_daemon.runtime.clock import SystemClock
from librarian_daemon.runtime.machine import catalog_url
from librarian_protocol import exports, keys
from librarian_protocol.errors import LibrarianError, NotPossible
from librarian_protocol.names import SiteName

PAGE = 200
MAX_PROBLEMS = 20
INTEGRITY = 6
#: Examples of what differs, for each table.
EXAMPLES = 5
#: An audit compares the record too: the columns that repeat a segment's fields, and which segments count.
COMPARED = (*state_digest.TABLES, state_digest.RECORD)


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
    #: What of the journals does not count, although nothing is wrong with them.
    left_out: list[str] = []
    schema: str = "lb.audit/1"


class Source(Protocol):
    """Where journals come from. It is iterated more than once."""

    async def anchor(self) -> Anchor:
        """Where belief begins."""
        ...

    def pages(self) -> AsyncIterator[Sequence[Record]]:
        """All segments."""
        ...

    async def letters(self) -> list[tuple[SiteName, Sealed]]:
        """The letters that the site :attr:`site` received."""
        ...

    @property
    def site(self) -> SiteName:
        """The site whose journals these are."""
        ...

    @property
    def begun(self) -> exports.Begin | None:
        """The first line of the file, available after the anchor was asked for; None if the source is not a file."""
        ...


class CatalogSource:
    """The journals that a catalog held at one moment."""

    def __init__(self, database: Database, site: SiteName, moment: Moment) -> None:
        self.begun = None
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

    async def pages(self) -> AsyncIterator[Sequence[Record]]:
        """See the protocol."""
        after: record.Place | None = record.BEGINNING
        while after is not None:
            page, after = await self._database.read(replay.records, after, self._moment.last, PAGE)
            yield page


class FileSource:
    """An exported file. Its anchor must have this fingerprint, and so must its administrator if one is given."""

    def __init__(self, path: Path, fingerprint: str, administrator: str | None) -> None:
        self._path = path
        self._fingerprint = fingerprint
        self._administrator = administrator
        self.begun: exports.Begin | None = None
        #: No site has this name, so no journal in the file counts as the reader's own, which would be believed without
        #: a roster.
        self.site = SiteName("")

    async def letters(self) -> list[tuple[SiteName, Sealed]]:
        """They are not exported."""
        return []

    async def anchor(self) -> Anchor:
        """See the protocol. The file is first read to its end, so that nothing is rebuilt from a truncated file.

        Raises:
            SegmentInvalid, SignatureInvalid: the file is not whole.
            NotPossible: the file's anchor or administrator has another key.
        """
        reading = exports.ExportReader()
        with self._path.open("rb") as raw:
            for _ in exports.records(raw, reading):
                pass
        begun = reading.finish()
        if keys.fingerprint(begun.anchor_key) != self._fingerprint:
            raise NotPossible(
                f"the file begins at {begun.anchor}, whose key is {keys.fingerprint(begun.anchor_key)}",
                hint="ask for the fingerprint by another way than by which the file came",
            )
        named = begun.administrator and keys.fingerprint(begun.administrator)
        if self._administrator not in {None, named}:
            raise NotPossible(
                f"the administrator that the file names is {named or 'nobody'}, not {self._administrator}",
                hint="ask for the fingerprint by another way than by which the file came",
            )
        self.begun = begun
        administrator = begun.administrator if self._administrator else None
        return Anchor(mesh=begun.mesh, site=begun.anchor, key=begun.anchor_key, administrator=administrator)

    async def pages(self) -> AsyncIterator[Sequence[Record]]:
        """See the protocol."""
        page: list[Record] = []
        with self._path.open("rb") as raw:
            for exported in exports.records(raw, exports.ExportReader()):
                page.append(Record(site=None, payload=exported.payload.encode(), signature=exported.signature))
                if len(page) == PAGE:
                    yield page
                    page = []
        yield page


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a source."""

    segments: int
    #: What is wrong with its journals. The sound part of them is in the target all the same.
    problems: list[str]
    #: What does not count, although nothing is wrong with it.
    left_out: list[str]


async def rebuild(source: Source, target: Database, say: Callable[[str], None]) -> Replayed:
    """Rebuild the target from the source's journals.

    Raises:
        NotPossible: the source is of no mesh, or something stands in the target already.
    """
    at = SystemClock().utc()
    anchor = await source.anchor()
    await target.write(upgrade)
    if await target.read(record.last_position):
        raise NotPossible("the target is not empty", hint="give the URL of an empty database")
    await target.write(partial(replay.begin, anchor=anchor, told=await source.letters()))
    count, problems = 0, list[str]()
    async for page in source.pages():
        problems += await target.write(partial(replay.take, page=page, at=at))
        count += len(page)
        if count % (50 * PAGE) < PAGE:
            say(f"{count:,} segments")
    say(f"{count:,} segments; applying what counts")
    problems += await target.write(partial(replay.fold, site=source.site, at=at))
    if source.begun is not None:
        problems += filter(None, [await target.read(replay.exporter_problem, source.begun)])
    left_out = await target.read(replay.left_out)
    if source.begun is not None and source.begun.administrator and not anchor.administrator:
        left_out.append(
            "statements of the administrator that the file names: his key was not confirmed (--administrator)"
        )
    return Replayed(segments=count, problems=problems[:MAX_PROBLEMS], left_out=left_out)


async def audit(source: Database, site: SiteName, aside: str, say: Callable[[str], None]) -> Report:
    """Rebuild aside and compare, table by table, with the catalog as it was when this began.

    Its daemon may go on meanwhile. ``differences`` are examples, by the rows as they are at the end.
    """
    target = open_database(aside)
    try:
        begun, digests = await source.read(
            lambda connection: (replay.moment(connection), state_digest.digests(connection, COMPARED))
        )
        replayed = await rebuild(CatalogSource(source, site, begun), target, say)
        tables: list[TableReport] = []
        for live, made in zip(digests, await target.read(state_digest.digests, COMPARED), strict=True):
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
        same = all(table.digest == table.rebuilt for table in tables)
        return Report(
            segments=replayed.segments,
            problems=replayed.problems,
            tables=tables,
            ok=same and not replayed.problems,
            left_out=replayed.left_out,
        )
    finally:
        await target.close()


async def _differences(source: Database, target: Database, table: str) -> list[str]:
    """``- `` stands only in the live catalog, ``+ `` only in the rebuilt one. Rows of the latter are few enough."""
    made = set(await target.read(lambda connection: list(state_digest.rows(connection, table))))
    live = set(await source.read(lambda connection: list(state_digest.rows(connection, table))))
    found = [f"- {row.decode()}" for row in sorted(live - made)[:EXAMPLES]]
    return found + [f"+ {row.decode()}" for row in sorted(made - live)[:EXAMPLES]]


async def _audit(path: Path, *, only_digest: bool, say: Callable[[str], None]) -> Report:
    settings = loader.load(path)
    source = open_database(catalog_url(settings.catalog))
    aside = Path(settings.state) / f"audit-{os.getpid()}.sqlite"
    try:
        if only_digest:
            found = await source.read(state_digest.digests)
            tables = [TableReport(table=table.table, rows=table.rows, digest=table.digest) for table in found]
            return Report(segments=0, problems=[], tables=tables, ok=True)
        report = await audit(source, settings.site, f"sqlite:///{aside}", say)
        audit_result.note(Path(settings.state), audit_result.Audited(at=SystemClock().utc(), ok=report.ok))
        return report
    finally:
        await source.close()
        for left in Path(settings.state).glob(f"{aside.name}*"):
            left.unlink()


async def _replay(source: Source, into: str, say: Callable[[str], None]) -> Report:
    target = open_database(into)
    try:
        replayed = await rebuild(source, target, say)
        found = await target.read(state_digest.digests)
        return Report(
            segments=replayed.segments,
            problems=replayed.problems,
            tables=[TableReport(table=table.table, rows=table.rows, digest=table.digest) for table in found],
            ok=not replayed.problems,
            left_out=replayed.left_out,
        )
    finally:
        await target.close()


async def _replay_catalog(path: Path, into: str, say: Callable[[str], None]) -> Report:
    settings = loader.load(path)
    source = open_database(catalog_url(settings.catalog))
    try:
        begun = await source.read(replay.moment)
        return await _replay(CatalogSource(source, settings.site, begun), into, say)
    finally:
        await source.close()


def main() -> int:
    """Parse, run, print the report as JSON on stdout; progress goes to stderr."""
    parser = argparse.ArgumentParser(prog="python -m librarian_daemon.journal.audit", description=__doc__)
    parser.add_argument("--config", required=True, type=Path, metavar="FILE")
    parser.add_argument("--digest", action="store_true", help="print the digests of the live tables, rebuild nothing")
    parser.add_argument("--into", metavar="URL", help="rebuild into this empty database instead of comparing")
    parser.add_argument("--from", dest="source", type=Path, metavar="FILE", help="with --into: an exported file")
    parser.add_argument("--anchor", metavar="FINGERPRINT", help="of the site at which the file's belief begins")
    parser.add_argument("--administrator", metavar="FINGERPRINT", help="whose statements in the file are believed")
    asked = parser.parse_args()

    def say(what: str) -> None:
        sys.stderr.write(f"{what}\n")

    try:
        if asked.source:
            report = asyncio.run(_replay(FileSource(asked.source, asked.anchor, asked.administrator), asked.into, say))
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
