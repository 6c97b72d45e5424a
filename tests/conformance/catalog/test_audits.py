"""An audit while the daemon goes on: it speaks of one moment, and finds what is not as the journals make it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Concatenate, ParamSpec, TypeVar

import pytest
from sqlalchemy import Connection, delete, update
from tests.conformance.catalog.peers import Peer, Sealed, ingested
from tests.conformance.catalog.running import SITE, admit, receive

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.database import Database
from librarian_daemon.journal import audit

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
    monkeypatch.setattr(audit, "PAGE", 2)


@pytest.mark.usefixtures("small_pages")
async def test_what_comes_during_an_audit_is_no_difference(
    catalog: Catalog, database: Database, other_url: str
) -> None:
    early, late = Peer("summit"), Peer("vault", epoch=0)
    await admit(catalog, early, late)
    await receive(catalog, *early.each(*(ingested(early.store, f"early/{n}") for n in range(12))))
    busy = BusyDatabase(database, catalog, iter(late.each(*(ingested(late.store, f"late/{n}") for n in range(40)))))
    report = await audit.audit(busy, SITE, other_url, silent)
    assert busy.taken > 6
    assert [table.table for table in report.tables if table.differences] == []
    assert (report.ok, report.segments) == (True, 14)


@pytest.mark.usefixtures("small_pages")
async def test_a_row_that_the_journals_do_not_make_is_named(
    catalog: Catalog, database: Database, other_url: str
) -> None:
    peer = Peer("summit")
    await admit(catalog, peer)
    await receive(catalog, *peer.each(*(ingested(peer.store, f"raw/{n}") for n in range(3))))
    await database.write(lambda connection: connection.execute(delete(schema.instance)))
    report = await audit.audit(database, SITE, other_url, silent)
    assert not report.ok
    (instance,) = [table for table in report.tables if table.table == "instance"]
    assert [difference[0] for difference in instance.differences] == ["+"] * 3


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize(
    "spoilt",
    [
        {"epoch": 7},
        {"incarnation": "f" * 16},
        {"first_seq": 90},
        {"last_seq": 90},
        {"kind": "file.withdrawn"},
        {"prev": "a" * 64},
        {"key": "ed25519:" + "0" * 64},
        {"hash": "a" * 64},
        {"state": "held"},
        {"state": "ended"},
    ],
    ids=lambda spoilt: "-".join(map(str, *spoilt.items()))[:20],
)
async def test_a_row_of_a_journal_that_is_not_as_its_segment_is_a_difference(
    catalog: Catalog, database: Database, other_url: str, spoilt: dict[str, object]
) -> None:
    peer = Peer("summit")
    await admit(catalog, peer)
    await receive(catalog, *peer.each(*(ingested(peer.store, f"raw/{n}") for n in range(3))))
    row = schema.journal
    await database.write(
        lambda connection: connection.execute(
            update(row).where(row.c.site == "summit", row.c.first_seq == 2).values(**spoilt)
        )
    )
    report = await audit.audit(database, SITE, other_url, silent)
    assert not report.ok
    assert [table.table for table in report.tables if table.differences] == ["journal"]
