"""Statements over sets of rows: what is given to them arrives as it is, in both databases."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection
from tests.conformance.catalog.peers import Peer, ingested, registered
from tests.conformance.catalog.running import SITE, admit, receive, rows

from librarian_daemon.catalog import schema, statements
from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.database import Database
from librarian_daemon.catalog.sets import INTEGER, TEXT, UTF8, SetStatement
from librarian_daemon.catalog.transfers import order, transfers
from librarian_daemon.catalog.transfers.transfers import NewTransfer
from librarian_protocol.digests import Digest
from librarian_protocol.entries import MAX_INTEGER, Unit
from librarian_protocol.names import Name

OWN = Peer(SITE)
ECHO = SetStatement(
    "SELECT r.said, r.number, r.raw, {beside} AS beside FROM {rows} AS r ORDER BY r.number",
    columns={"said": TEXT, "number": INTEGER, "raw": UTF8},
    values={"beside": TEXT},
)
ONE_COLUMN = SetStatement("SELECT r.said FROM {rows} AS r ORDER BY r.said", columns={"said": TEXT})


async def test_texts_numbers_and_what_is_missing_come_as_they_were_given(database: Database) -> None:
    texts = ["", "plain", 'it\'s "quoted" \\ with {braces} and $1 ?1', "line\nline\ttab", "ü 𝄞 \u2028", None]
    given = [(text, MAX_INTEGER - number, text) for number, text in enumerate(texts)]

    def work(connection: Connection) -> list[tuple[object, ...]]:
        return [tuple(row) for row in ECHO.rows(connection, given, beside="{rows} 'x'")]

    expected = [(text, number, text if text is None else text.encode(), "{rows} 'x'") for text, number, _ in given]
    assert await database.read(work) == expected[::-1]
    found = await database.read(lambda connection: [row[0] for row in ONE_COLUMN.rows(connection, ["b", "[1]", "a"])])
    assert sorted(found) == ["[1]", "a", "b"]


@pytest.mark.parametrize("amount", [1, 2, 16, 17, 256, 257, 700])
async def test_a_set_of_any_size_arrives_whole(database: Database, amount: int) -> None:
    given = [(str(number), number, None) for number in range(amount)]
    found = await database.read(lambda connection: ECHO.rows(connection, given, beside="x"))
    assert [tuple(row) for row in found] == [(*row, "x") for row in given]


@pytest.mark.parametrize("amount", [1, 64, 257, 700])
async def test_a_set_of_any_size_is_written_whole(database: Database, amount: int) -> None:
    given = [(Name(f"Ü{n}"), f"ü{n}", Digest(f"digest {n}"), n, Unit.FILE) for n in range(amount)]

    def work(connection: Connection) -> int:
        return statements.MENTIONED.run(connection, given, withdrawn=True, change=7)

    assert await database.write(work) == amount
    found = await database.read(rows, schema.file)
    of_a_file = [(row.name, row.folded, row.digest, row.size_bytes, row.unit) for row in found]
    assert sorted(of_a_file) == sorted(
        (str(name), folded, str(digest), n, "file") for name, folded, digest, n, _ in given
    )
    assert {(row.withdrawn, row.change) for row in found} == {(True, 7)}


async def test_a_segment_that_speaks_of_one_file_several_times_is_applied_in_its_order(catalog: Catalog) -> None:
    peer = Peer("summit")
    await admit(catalog, peer)
    twice = [registered(peer.store, "raw/a"), registered(peer.store, "raw/b"), registered(peer.store, "raw/a")]
    await receive(catalog, *peer.say(*twice, registered(peer.store, "raw/a", size_bytes=3)))
    assert {row.name: row.size_bytes for row in await catalog.read(rows, schema.file)} == {"raw/a": 3, "raw/b": 11}
    (a, b) = await catalog.read(rows, schema.instance)
    assert (a.seq, b.seq) == (4, 2)


async def test_of_what_is_wanted_first_so_many_of_each_origin_are_read(catalog: Catalog) -> None:
    peers = Peer("dome"), Peer("summit")
    for peer in peers:
        await admit(catalog, peer)
        await receive(catalog, *peer.say(*(ingested(peer.store, f"{peer.site}/{n}") for n in range(4))))
    # What nobody has ingested is of no origin.
    await receive(catalog, *peers[0].say(registered(peers[0].store, "found/0"), registered(peers[0].store, "found/1")))
    files = await catalog.read(rows, schema.file)
    wishes = [NewTransfer(file_id=file.id, store=OWN.store, subscription="s") for file in files]
    await catalog.write(transfers.create, wishes)
    await catalog.write(order.prioritise, wishes[7].file_id, OWN.store, 5)

    async def first(limit: int, each: int, *full: Peer) -> list[str]:
        sites = frozenset(peer.site for peer in full)
        return [str(view.name) for view in await catalog.read(order.first_wanted, limit, each, sites)]

    assert await first(100, 2) == ["summit/3", "dome/0", "dome/1", "summit/0", "found/0", "found/1"]
    assert await first(3, 2) == ["summit/3", "dome/0", "dome/1"]
    assert await first(100, 1, peers[0]) == ["summit/3"]
    assert len(await first(100, 100)) == 10
