"""How many members a book has is what the site said that ingested it, and its manifest must have as many."""

from __future__ import annotations

import pytest
from tests.conformance.catalog.peers import Peer, facts, ingested
from tests.conformance.catalog.running import admit, receive, rows

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.journal import record
from librarian_daemon.catalog.transfers import transfers
from librarian_daemon.transfers.fetcher import not_as_announced
from librarian_protocol.entries import FileIngested, Unit


async def test_the_number_of_members_is_that_of_the_ingest(catalog: Catalog) -> None:
    peer = Peer("summit")
    await admit(catalog, peer)
    book = FileIngested(**facts("night", unit=Unit.BOOK), store=peer.store, mtime_ns=0, members=3)
    await receive(catalog, *peer.say(ingested(peer.store, "raw/0"), book))
    ids = {row.name: row.id for row in await catalog.read(rows, schema.file)}
    assert await catalog.read(record.announced_members, ids["night"]) == 3
    assert await catalog.read(record.announced_members, ids["raw/0"]) is None
    assert await catalog.read(record.announced_members, 10_000) is None


@pytest.mark.parametrize(
    ("size_bytes", "files", "announced", "problem"),
    [
        (11, 3, 3, ""),
        (11, 3, None, ""),
        (11, 2, 3, "book 'night' has 2 members; 3 were announced"),
        (10, 3, 3, "the members of book 'night' have 10 bytes together; 11 were announced"),
    ],
)
async def test_a_manifest_that_is_not_as_announced_is_none_of_that_book(
    catalog: Catalog, size_bytes: int, files: int, announced: int | None, problem: str
) -> None:
    peer = Peer("summit")
    await admit(catalog, peer)
    book = FileIngested(**facts("night", unit=Unit.BOOK), store=peer.store, mtime_ns=0, members=3)
    await receive(catalog, *peer.say(book))
    (row,) = await catalog.read(rows, schema.file)
    await catalog.write(transfers.create, [transfers.NewTransfer(file_id=row.id, store="a store", subscription="")])
    (owed,) = await catalog.read(transfers.of_file, row.id)
    assert not_as_announced(owed, size_bytes, files, announced) == problem
