"""An audit while the daemon goes on: it speaks of one moment, and finds what is not as the journals make it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Concatenate, ParamSpec, TypeVar

import pytest
from sqlalchemy import Connection, delete
from tests.conformance.catalog.peers import Peer, Sealed, ingested
from tests.conformance.catalog.running import SITE, admit, receive

from librarian_daemon import rebuilding
from librarian_daemon.catalog import schema
from librarian_daemon.catalog.database import Database
from librarian_daemon.catalog.writer import Catalog

P = ParamSpec("P")
T = TypeVar("T")


class BusyDatabase:
    """The database of a daemon that takes another segment behind each read."""

    def __init__(self, database: Database, catalog: Catalog, arriving: Iterator[Sealed]) -> None:
        self._database = database
        self._catalog = catalog
        self._arriving = arriving
        self.taken = 0
        self.write = database.write
        self.close = database.close

    async def read(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """See the protocol."""
        result = await self._database.read(work, *args, **kwargs)
        await receive(self._catalog, next(self._arriving))
        self.taken += 1
        return result


def silent(_: str) -> None:
    """Nobody watches."""


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuilding, "PAGE", 2)


@pytest.mark.usefixtures("small_pages")
async def test_what_comes_during_an_audit_is_no_difference(
    catalog: Catalog, database: Database, other_url: str
) -> None:
    early, late = Peer("summit"), Peer("vault", epoch=0)
    await admit(catalog, early, late)
    await receive(catalog, *early.each(*(ingested(early.store, f"early/{n}") for n in range(6))))
    busy = BusyDatabase(database, catalog, iter(late.each(*(ingested(late.store, f"late/{n}") for n in range(40)))))
    report = await rebuilding.audit(busy, SITE, other_url, silent)
    assert busy.taken > 6
    assert [one.table for one in report.tables if one.differences] == []
    assert (report.ok, report.segments) == (True, 8)


@pytest.mark.usefixtures("small_pages")
async def test_a_row_that_the_journals_do_not_make_is_named(
    catalog: Catalog, database: Database, other_url: str
) -> None:
    peer = Peer("summit")
    await admit(catalog, peer)
    await receive(catalog, *peer.each(*(ingested(peer.store, f"raw/{n}") for n in range(3))))
    await database.write(lambda connection: connection.execute(delete(schema.instance)))
    report = await rebuilding.audit(database, SITE, other_url, silent)
    assert not report.ok
    (instance,) = [one for one in report.tables if one.table == "instance"]
    assert [one[0] for one in instance.differences] == ["+"] * 3
