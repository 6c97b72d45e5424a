"""Re-checking journals: a whole one is found whole, and no single damage goes unseen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, delete, update
from tests.conformance.catalog.peers import Peer, admission, ingested, key_of, store_declared
from tests.conformance.catalog.running import SITE, admit, receive, rows, say

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.database import Database
from librarian_daemon.catalog.journal import record
from librarian_daemon.journal.verify import MAX_PROBLEMS, verify_journal
from librarian_protocol.names import SiteName
from librarian_protocol.segments import NO_HASH

SUMMIT = SiteName.parse("summit")
#: The segment that is damaged: one in the middle.
VICTIM = 4
Damage = Callable[[Connection, list[Any]], None]


@pytest.fixture
async def peer(catalog: Catalog) -> Peer:
    """A peer whose journal is held here: eight segments, two incarnations."""
    peer = Peer(SUMMIT)
    await admit(catalog, peer)
    sent = peer.each(*(ingested(peer.store, f"raw/{n}") for n in range(3)), store_declared(peer.store))
    peer.restart()
    sent += peer.each(*(ingested(peer.store, f"raw/{n}") for n in range(3, 7)))
    await receive(catalog, *sent)
    return peer


async def _damage(database: Database, damage: Damage) -> None:
    await database.write(lambda c: damage(c, rows(c, schema.journal, schema.journal.c.site == SUMMIT)))


async def test_a_whole_journal_has_no_problems(catalog: Catalog, peer: Peer) -> None:
    report = await verify_journal(catalog, SUMMIT, None)
    assert report.problems == []
    assert (report.segments, report.entries, report.last_seq) == (8, 8, 8)
    assert report.hash == peer.position.hash


async def test_our_own_journal_is_checked_with_our_own_key(catalog: Catalog) -> None:
    """Before this site is in any roster, too; by pages."""
    assert (await verify_journal(catalog, SITE, key_of(SITE).public)).hash == NO_HASH
    for number in range(2):
        await say(catalog, *(store_declared(f"{number}{n:031}") for n in range(105)))
    report = await verify_journal(catalog, SITE, key_of(SITE).public)
    assert report.problems == []
    assert (report.segments, report.last_seq, report.hash) == (210, 210, catalog.position.hash)


async def test_a_journal_that_grows_while_it_is_checked_is_no_problem(
    catalog: Catalog, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What arrives behind the last page is not missed, and not missing."""
    read = catalog.read

    async def reading(query: Callable[..., Any], *arguments: Any) -> Any:
        found = await read(query, *arguments)
        if query is record.chain and not found:
            await receive(catalog, *peer.each(ingested(peer.store, "raw/late")))
        return found

    monkeypatch.setattr(catalog, "read", reading)
    report = await verify_journal(catalog, SUMMIT, None)
    assert (report.last_seq, report.problems) == (8, [])


def _set(**values: Any) -> Damage:
    def damage(connection: Connection, held: list[Any]) -> None:
        where = schema.journal.c.position == held[VICTIM].position
        connection.execute(update(schema.journal).where(where).values(**values))

    return damage


def _flip(field: str, at: int) -> Damage:
    def damage(connection: Connection, held: list[Any]) -> None:
        old = getattr(held[VICTIM], field)
        if isinstance(old, bytes):
            at_once = at % len(old)
            new: Any = old[:at_once] + bytes([old[at_once] ^ 1]) + old[at_once + 1 :]
        else:
            new = old[:at] + ("0" if old[at] != "0" else "1") + old[at + 1 :]
        _set(**{field: new})(connection, held)

    return damage


def _missing(connection: Connection, held: list[Any]) -> None:
    connection.execute(delete(schema.journal).where(schema.journal.c.position == held[VICTIM].position))


def _swapped(*fields: str) -> Damage:
    def damage(connection: Connection, held: list[Any]) -> None:
        first, second = held[VICTIM], held[VICTIM + 1]
        for to in (first, second):
            # A hash stands once: both are put aside first.
            where = schema.journal.c.position == to.position
            connection.execute(update(schema.journal).where(where).values(hash=f"aside {to.position}"))
        for to, source in ((first, second), (second, first)):
            values = {"hash": to.hash} | {field: getattr(source, field) for field in fields}
            where = schema.journal.c.position == to.position
            connection.execute(update(schema.journal).where(where).values(**values))

    return damage


DAMAGES: dict[str, Damage] = {
    **{f"payload byte {at}": _flip("payload", at) for at in (0, 4, 5, 6, 7, 20, 60, 100, 150, -1)},
    "signature": _flip("signature", 7),
    "prev": _flip("prev", 7),
    "hash": _flip("hash", 7),
    "missing": _missing,
    "first seq": _set(first_seq=50),
    "last seq": _set(last_seq=50),
    "epoch": _set(epoch=50),
    "incarnation": _set(incarnation="f" * 16),
    "kind": _set(kind="file.withdrawn"),
    "held": _set(state="held"),
    "void": _set(state="void"),
    "payloads swapped": _swapped("payload"),
    "payloads and hashes swapped": _swapped("payload", "hash"),
    "all but numbers swapped": _swapped("payload", "hash", "signature", "prev"),
}


@pytest.mark.parametrize("what", DAMAGES)
async def test_each_single_damage_is_reported(catalog: Catalog, database: Database, peer: Peer, what: str) -> None:
    assert (await verify_journal(catalog, peer.site, None)).problems == []
    await _damage(database, DAMAGES[what])
    problems = (await verify_journal(catalog, peer.site, None)).problems
    assert problems
    assert all(problem.startswith("entries ") for problem in problems)


async def test_a_journal_of_which_the_end_is_gone_is_reported(catalog: Catalog, database: Database, peer: Peer) -> None:
    """Nothing names it as its predecessor; the cursor tells that it was there."""

    def damage(connection: Connection, held: list[Any]) -> None:
        connection.execute(delete(schema.journal).where(schema.journal.c.position == held[-1].position))

    await _damage(database, damage)
    (problem,) = (await verify_journal(catalog, peer.site, None)).problems
    assert "entry 8" in problem


async def test_a_site_that_is_in_no_roster_has_no_believable_journal(catalog: Catalog, peer: Peer) -> None:
    stranger = Peer("stranger")
    await admit(catalog, peer, may_admit=True)
    await receive(catalog, *peer.say(admission("stranger")), *stranger.say(store_declared(stranger.store)))
    assert (await verify_journal(catalog, stranger.site, None)).problems == []
    await admit(catalog, peer)
    assert len((await verify_journal(catalog, stranger.site, None)).problems) == 1


async def test_a_long_journal_of_damage_lists_only_the_first_problems(
    catalog: Catalog, database: Database, peer: Peer
) -> None:
    await receive(catalog, *peer.each(*(store_declared(f"{n:032}") for n in range(MAX_PROBLEMS + 5))))

    def damage(connection: Connection, held: list[Any]) -> None:
        connection.execute(update(schema.journal).values(signature="0" * 128))

    await _damage(database, damage)
    report = await verify_journal(catalog, peer.site, None)
    assert len(report.problems) == MAX_PROBLEMS
    assert report.segments == 8 + MAX_PROBLEMS + 5
