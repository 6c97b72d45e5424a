"""Which local instances are given to other sites: found by one statement, in both databases."""

from __future__ import annotations

import itertools

from sqlalchemy import insert
from tests.conformance.catalog.peers import Peer, ingested, registered, store_of
from tests.conformance.catalog.running import SITE, admit, receive, say

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.integrity import instances
from librarian_daemon.catalog.mesh import offers
from librarian_daemon.catalog.transaction import Tx
from librarian_protocol.digests import Digest
from librarian_protocol.entries import Unit
from librarian_protocol.names import SiteName

OWN = Peer(SITE)
#: Everything that may be so of an instance: its site, its state, a doubt about it, whether it is set aside, and which
#: digest was kept of its name.
CASES = list(
    itertools.product(
        [SITE, "summit"],
        ["available", "suspected", "removed"],
        ["", "answered", "unanswered"],
        [False, True],
        ["", "this", "another"],
    )
)


def digest_of(number: int) -> Digest:
    return Digest.blake3(b"%d" % number)


def _put(tx: Tx) -> None:
    """A file for each case, its row the number of the case."""
    version = {"epoch": 1, "incarnation": "a", "seq": 5}
    nothing = {"origin_last": False, "withdrawn": False, "change": 0}
    for number, (site, state, doubt, aside, kept) in enumerate(CASES, 1):
        name, digest = f"raw/{number}", str(digest_of(number))
        rows = {
            schema.file: {"id": number, "name": name, "folded": name, "digest": digest, "size_bytes": number}
            | {"unit": Unit.FILE.value}
            | nothing,
            schema.instance: {"file_id": number, "site": str(site), "store": OWN.store, "state": state}
            | {"how": "ingested", "detail": "", "at": "", "size_bytes": number}
            | version,
        }
        if doubt:
            of_seq = 5 if doubt == "unanswered" else 4
            rows[schema.doubt] = {"doubter": "campus", "file_id": number, "site": str(site), "store": OWN.store} | {
                "reason": "checksum-mismatch",
                "of_epoch": 1,
                "of_incarnation": "a",
                "of_seq": of_seq,
                **version,
            }
        if aside:
            rows[schema.aside] = {"file_id": number, "store": OWN.store}
        if kept:
            rows[schema.naming] = {"name": name, "kept": digest if kept == "this" else str(digest_of(0))}
        for table, values in rows.items():
            tx.connection.execute(insert(table), values)


async def test_what_is_good_undoubted_and_at_its_name_is_given_and_nothing_else(catalog: Catalog) -> None:
    await catalog.write(_put)
    good = [
        number
        for number, (site, state, doubt, aside, kept) in enumerate(CASES, 1)
        if (site, state, aside) == (SITE, "available", False) and doubt != "unanswered" and kept != "another"
    ]
    assert len(good) == 4
    asked = [digest_of(number) for number in range(2000)]
    found = await catalog.read(instances.find, SITE, asked)
    assert {digest: (held.name, held.size_bytes, held.store) for digest, held in found.items()} == {
        digest_of(number): (f"raw/{number}", number, OWN.store) for number in good
    }
    assert all(held.unit is Unit.FILE and not held.doubted for held in found.values())


async def test_bytes_with_many_names_are_found_under_one_that_stands_here(catalog: Catalog) -> None:
    """Most of the names stand elsewhere only; and they keep no other file from being found."""
    summit = Peer("summit")
    await admit(catalog, summit)
    names = [f"empty/{number:03}" for number in range(300)]
    await receive(catalog, *summit.say(*(ingested(summit.store, name, "same") for name in names)))
    await say(catalog, *(registered(store, names[-1], "same") for store in (OWN.store, store_of(SITE, 1))))
    await say(catalog, ingested(OWN.store, "raw/other"))
    same, other = Digest.blake3(b"same"), Digest.blake3(b"raw/other")
    found = await catalog.read(instances.find, SITE, [same, other, Digest.blake3(b"unknown")])
    assert {digest: held.name for digest, held in found.items()} == {same: names[-1], other: "raw/other"}
    assert await catalog.read(instances.find, SITE, []) == {}


async def test_what_is_offered_to_the_asker_comes_with_it(catalog: Catalog) -> None:
    await say(catalog, ingested(OWN.store, "raw/a"))
    peer, digest = SiteName.parse("campus"), Digest.blake3(b"raw/a")
    await catalog.write(offers.put, peer, ["raw/**", "cooked/*"])
    found, globs = await catalog.read(instances.find_for, SITE, peer, [digest])
    assert (list(found), globs) == ([digest], ["cooked/*", "raw/**"])
