"""Reading the record in order: by pages, which cost the same wherever they are, and in one pass."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

import pytest_asyncio
from sqlalchemy import ColumnElement, Connection, insert
from tests.conformance.catalog.conftest import NewUrl
from tests.conformance.catalog.running import opened

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.database import Database
from librarian_daemon.catalog.journal import record

SITES = ("archive", "summit", "vault")
PAGE = 50


def put(connection: Connection, first: int, number: int) -> None:
    """Rows of three sites by turns, of which every seventh had another journal before."""
    connection.execute(
        insert(schema.journal),
        [
            {
                "site": SITES[n % 3],
                "epoch": 0 if n % 7 else 1,
                "incarnation": "a" * 16,
                "first_seq": number - n,
                "last_seq": number - n,
                "kind": "file.withdrawn" if n % 5 else "file.ingested",
                "prev": f"{n}-prev",
                "hash": str(n),
                "signature": "",
                "payload": b"x" * 300,
                "state": "applied",
                "received_at": "",
            }
            for n in range(first, first + number)
        ],
    )


def pages(connection: Connection, upto: int) -> list[int]:
    """The positions of all pages."""
    found: list[int] = []
    after: record.Place | None = record.BEGINNING
    while after is not None:
        rows, after = record.page(connection, after, upto, PAGE)
        found += [row.position for row in rows]
    return found


async def test_pages_and_one_pass_give_all_rows_in_one_order(database: Database) -> None:
    await database.write(lambda connection: put(connection, 0, 3 * PAGE))
    one_pass = await database.read(lambda connection: list(record.in_order(connection)))
    places = [(row.epoch, row.first_seq, row.position) for row in one_pass]
    assert places == sorted(places)
    assert len(places) == 3 * PAGE
    assert await database.read(pages, 3 * PAGE) == [row.position for row in one_pass]


async def test_what_comes_behind_a_position_is_on_no_page(database: Database) -> None:
    await database.write(lambda connection: put(connection, 0, 2 * PAGE))
    before = await database.read(pages, 2 * PAGE)
    await database.write(lambda connection: put(connection, 2 * PAGE, 2 * PAGE))
    assert await database.read(pages, 2 * PAGE) == before


async def test_rows_of_one_pass_may_be_changed_meanwhile(database: Database) -> None:
    def voided(connection: Connection) -> list[str]:
        journal = schema.journal
        found: list[str] = []
        for row in record.in_order(connection, journal.c.state == "applied"):
            found.append(row.hash)
            connection.execute(journal.update().where(journal.c.hash == row.hash).values(state="void"))
        return found

    await database.write(lambda connection: put(connection, 0, 3 * PAGE))
    assert len(set(await database.write(voided))) == 3 * PAGE
    assert await database.write(voided) == []


@pytest_asyncio.fixture
async def sqlite(new_url: NewUrl) -> AsyncGenerator[Database]:
    async with opened(new_url("sqlite")) as database:
        yield database


def steps(connection: Connection, work: Callable[[], object]) -> int:
    """Of SQLite's machine, the same in every run."""
    driver, count = connection.connection.driver_connection, 0
    assert driver is not None

    def step() -> int:
        nonlocal count
        count += 1
        return 0

    driver.set_progress_handler(step, 1)
    work()
    driver.set_progress_handler(None, 0)
    return count


async def test_a_page_costs_the_same_wherever_it_is(sqlite: Database) -> None:
    def cost(connection: Connection, first: int, *conditions: ColumnElement[bool]) -> int:
        return steps(connection, lambda: record.page(connection, (0, first, 0), 1 << 40, PAGE, *conditions))

    await sqlite.write(lambda connection: put(connection, 0, 40 * PAGE))
    of_kind = schema.journal.c.kind.in_(["file.withdrawn"])
    for first in (PAGE, 30 * PAGE):
        assert await sqlite.read(cost, first) < 60 * PAGE
        assert await sqlite.read(cost, first, of_kind) < 60 * PAGE


async def test_a_pass_costs_each_row_the_same(sqlite: Database) -> None:
    def cost(connection: Connection) -> int:
        of_one = schema.journal.c.site == "summit"
        return steps(connection, lambda: list(record.in_order(connection, of_one)))

    await sqlite.write(lambda connection: put(connection, 0, 20 * PAGE))
    few = await sqlite.read(cost)
    await sqlite.write(lambda connection: put(connection, 20 * PAGE, 60 * PAGE))
    assert 3 * few < await sqlite.read(cost) < 5 * few
