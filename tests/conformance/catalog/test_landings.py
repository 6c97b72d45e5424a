"""What intake and the replicator write down around a rename, and what they are told of a name."""

from __future__ import annotations

from typing import Any

import pytest
from tests.conformance.catalog.peers import Peer, facts, ingested, registered, removed, suspected, withdrawn
from tests.conformance.catalog.running import SITE, admit, count, receive, rows, say

from librarian_daemon.catalog import landings, schema
from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.journal import record
from librarian_daemon.ports.ledger import NameStatus
from librarian_daemon.ports.store import Landing
from librarian_protocol.digests import Digest
from librarian_protocol.entries import Entry, FileEntry
from librarian_protocol.names import Name

OWN = Peer(SITE)


def _landing(number: int, entry: FileEntry, **others: Any) -> Landing:
    return Landing(
        id=f"l{number}",
        store=OWN.store,
        root="/store/.librarian/staging",
        rel=f"l{number}",
        name=entry.name,
        digest=entry.digest,
        size_bytes=entry.size_bytes,
        unit=entry.unit,
        entry=entry,
        **others,
    )


ONE = _landing(1, ingested(OWN.store, "raw/1"))
TWO = _landing(2, registered(OWN.store, "raw/2"), transfer=17, manifest_rel="m2")
THREE = _landing(3, ingested(OWN.store, "raw/3"))


async def test_what_was_begun_is_found_again_whole(catalog: Catalog) -> None:
    """After a crash, exactly as it was written down, in its own store only."""
    for _ in range(2):
        await catalog.write(landings.begin, [ONE, TWO])
    assert await catalog.read(landings.unfinished, OWN.store) == [ONE, TWO]
    assert await catalog.read(landings.unfinished, "f" * 32) == []
    assert await catalog.read(count, schema.file) == 0


async def test_finishing_says_it_once(catalog: Catalog) -> None:
    """A commit whose reply was lost is repeated; the journal tells of the file once."""
    await catalog.write(landings.begin, [ONE, TWO, THREE])
    assert await catalog.write(landings.finish, [ONE, TWO]) == [ONE, TWO]
    said = catalog.position.seq
    assert await catalog.write(landings.finish, [ONE, TWO]) == []
    assert catalog.position.seq == said == 2
    assert await catalog.read(landings.unfinished, OWN.store) == [THREE]
    assert await catalog.write(landings.finish, [ONE, TWO, THREE]) == [THREE]
    held = await catalog.read(record.chain, SITE, (0, 0))
    assert [row.kind for row in held] == ["file.ingested", "instance.registered", "file.ingested"]
    assert [row.state for row in await catalog.read(rows, schema.instance)] == ["available"] * 3
    assert await catalog.read(count, schema.verified) == 3


async def test_what_never_began_is_not_said(catalog: Catalog) -> None:
    assert await catalog.write(landings.finish, [ONE]) == []
    assert await catalog.read(count, schema.file) == 0


async def test_what_was_abandoned_leaves_nothing_and_is_not_finished_later(catalog: Catalog) -> None:
    await catalog.write(landings.begin, [ONE, TWO])
    for _ in range(2):
        await catalog.write(landings.abandon, [ONE])
    assert await catalog.write(landings.finish, [ONE]) == []
    assert await catalog.read(landings.unfinished, OWN.store) == [TWO]
    assert catalog.position.seq == 0


async def test_a_large_batch_lands_in_one_commit(catalog: Catalog) -> None:
    many = [_landing(n, ingested(OWN.store, f"raw/{n}")) for n in range(1200)]
    await catalog.write(landings.begin, many)
    assert len(await catalog.write(landings.finish, many)) == 1200
    assert await catalog.read(landings.unfinished, OWN.store) == []
    assert await catalog.read(count, schema.verified) == 1200
    # 512 entries a segment.
    assert len(await catalog.read(record.chain, SITE, (0, 0))) == 3


# ---- what stands under a name ------------------------------------------------------------------------------


async def _standing(catalog: Catalog, name: str, content: str) -> tuple[NameStatus, str]:
    file = facts(name, content)
    (found,) = await catalog.read(landings.standing, OWN.store, [(file["name"], file["digest"])])
    return found


A, B = (str(Digest.blake3(content.encode())) for content in ("a", "b"))


@pytest.mark.parametrize(
    ("before", "name", "content", "standing"),
    [
        ([], "raw/x", "a", (NameStatus.FREE, "")),
        ([ingested(OWN.store, "raw/y", "a")], "raw/x", "a", (NameStatus.FREE, "")),
        ([ingested(OWN.store, "raw/x", "a")], "raw/x", "a", (NameStatus.PRESENT, A)),
        ([ingested(OWN.store, "raw/x", "a")], "raw/x", "b", (NameStatus.TAKEN, A)),
        ([ingested(OWN.store, "raw/x", "a")], "raw/X", "a", (NameStatus.TWIN, "raw/x")),
        ([ingested("f" * 32, "raw/x", "a")], "raw/x", "a", (NameStatus.KNOWN, A)),
        ([suspected(OWN.store, "raw/x", "a")], "raw/x", "a", (NameStatus.KNOWN, A)),
        ([ingested(OWN.store, "raw/x", "a"), removed(OWN.store, "raw/x", "a")], "raw/x", "a", (NameStatus.KNOWN, A)),
        ([withdrawn("raw/x", "a")], "raw/x", "a", (NameStatus.WITHDRAWN, A)),
        ([ingested(OWN.store, "raw/x", "a"), withdrawn("raw/x", "a")], "raw/x", "a", (NameStatus.WITHDRAWN, A)),
        ([withdrawn("raw/x", "a")], "raw/x", "b", (NameStatus.FREE, "")),
        ([withdrawn("raw/x", "a")], "raw/X", "a", (NameStatus.FREE, "")),
        ([withdrawn("raw/x", "a"), ingested(OWN.store, "raw/x", "b")], "raw/x", "c", (NameStatus.TAKEN, B)),
        ([ingested(OWN.store, "raw/x", "a"), ingested(OWN.store, "raw/X", "a")], "raw/x", "a", (NameStatus.PRESENT, A)),
    ],
)
async def test_what_stands_under_a_name(
    catalog: Catalog, before: list[Entry], name: str, content: str, standing: tuple[NameStatus, str]
) -> None:
    """What is withdrawn occupies no name; but exactly that file is never taken again."""
    await say(catalog, *before)
    assert await _standing(catalog, name, content) == standing


async def test_a_name_that_another_site_took_is_taken_here(catalog: Catalog) -> None:
    """Intake refuses it while it can, though only the conflict would be visible otherwise."""
    peer = Peer("summit")
    await admit(catalog, peer)
    await receive(catalog, *peer.say(ingested(peer.store, "raw/x", "a")))
    assert await _standing(catalog, "raw/x", "b") == (NameStatus.TAKEN, A)
    assert await _standing(catalog, "raw/x", "a") == (NameStatus.KNOWN, A)


async def test_many_names_are_answered_in_the_order_of_asking(catalog: Catalog) -> None:
    await catalog.write(lambda tx: tx.append(*(ingested(OWN.store, f"raw/{n}") for n in range(0, 1200, 2))))
    asked = [(Name.parse(f"raw/{n}"), Digest.blake3(f"raw/{n}".encode())) for n in range(1199, -1, -1)]
    found = await catalog.read(landings.standing, OWN.store, asked)
    assert [status for status, _ in found] == [NameStatus.FREE, NameStatus.PRESENT] * 600
