"""Catalogs with a running committer, and what most tests ask of one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from sqlalchemy import Connection, Table, func, select
from tests.conformance.catalog.peers import Peer, Sealed, admission, key_of

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.database import Database, open_database
from librarian_daemon.catalog.journal import segments
from librarian_daemon.catalog.journal.segments import Received
from librarian_daemon.catalog.mesh.roster import Anchor, put_anchor
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.catalog.transfers.planning import Page
from librarian_daemon.journal.incarnation import Incarnations
from librarian_daemon.runtime.clock import SystemClock
from librarian_protocol.entries import Entry
from librarian_protocol.errors import InputError
from librarian_protocol.names import SiteName

T = TypeVar("T")
SITE = SiteName.parse("archive")
INCARNATION = "a0" * 8
#: A mark of time that no test depends on.
NOW_S = 1000.0


@asynccontextmanager
async def opened(url: str) -> AsyncGenerator[Database]:
    """A database, open for as long as the block lasts."""
    database = open_database(url)
    try:
        yield database
    finally:
        await database.close()


async def begun(database: Database, site: SiteName, *, incarnation: str = INCARNATION, anchor: bool = True) -> Catalog:
    """A catalog with a new incarnation begun, its committer not running; ``anchor``: it is its mesh's first site."""
    epoch = 1 + await database.read(segments.greatest_epoch)
    if anchor:
        await database.write(lambda connection: anchor_at(connection, site))
    catalog = Catalog(database, SystemClock(), key_of(site))
    await catalog.begin(await database.read(segments.next_position, site, epoch, incarnation))
    return catalog


def anchor_at(connection: Connection, site: SiteName) -> None:
    """Believe the admissions of ``site``."""
    put_anchor(connection, Anchor(mesh="0" * 32, site=site, key=key_of(site).public))


@asynccontextmanager
async def running(service: Catalog | Incarnations) -> AsyncGenerator[None]:
    """Run the committer, or the witness, for as long as the block lasts."""
    task = asyncio.create_task(service.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def say(catalog: Catalog, *entries: Entry) -> None:
    """One unit of work for each entry."""
    for entry in entries:
        await catalog.write(Tx.append, entry)


async def admit(catalog: Catalog, *peers: Peer, may_admit: bool = False, grants: tuple[str, ...] = ("**",)) -> None:
    """Admit the peers, as the mesh's first site."""
    for peer in peers:
        await say(catalog, admission(peer.site, may_admit=may_admit, grants=grants))


async def receive(catalog: Catalog, *arriving: Sealed, stream_seq: int = 1) -> list[Received]:
    """Take the segments as the projection does."""
    return [
        await catalog.write(segments.receive, arrived.signed(), stream_seq + number)
        for number, arrived in enumerate(arriving)
    ]


class _TakenBackError(InputError):
    """Makes the catalog roll a unit of work back."""


async def tried(catalog: Catalog, work: Callable[[Tx], T]) -> T:
    """What a unit of work gives, without it having happened."""
    found: list[T] = []

    def unit(tx: Tx) -> None:
        found.append(work(tx))
        raise _TakenBackError("taken back")

    with suppress(_TakenBackError):
        await catalog.write(unit)
    return found[0]


def count(connection: Connection, table: Table, *conditions: Any) -> int:
    """Number of rows."""
    return connection.scalar(select(func.count()).select_from(table).where(*conditions)) or 0


def rows(connection: Connection, table: Table, *conditions: Any) -> list[Any]:
    """All rows, in the order of their keys."""
    query = select(table).where(*conditions).order_by(*table.primary_key.columns)
    return list(connection.execute(query).all())


def looked_at(page: Page) -> dict[int, tuple[str, int]]:
    """Names and change numbers of the files of a page that a decision is needed for, by their row."""
    plain = {file.file_id: (str(file.name), file.change) for file in page.plain}
    return plain | {state.file_id: (str(state.file.name), state.change) for state in page.known}
