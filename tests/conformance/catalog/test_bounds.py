"""What one entry may claim: sizes, of which no sum overflows; epochs, behind which another can always begin."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.conformance.catalog.peers import NAME, Peer, doubted, ingested, registered, store_of, withdrawn
from tests.conformance.catalog.running import SITE, admit, count, receive, rows, tried

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.apply import Said
from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.journal import bounds, quarantine, segments
from librarian_daemon.catalog.status import totals
from librarian_daemon.catalog.transaction import Tx
from librarian_protocol import wire
from librarian_protocol.entries import MAX_INTEGER, MAX_SIZE_BYTES, Entry
from librarian_protocol.segment_verdict import MAX_EPOCH_STEP, Verdict

STORE = store_of(SITE)


def _plain(entry: Entry) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.json.decode(wire.encode(entry))
    return {key: value for key, value in plain.items() if key not in {"seq", "at"}}


async def test_sums_of_sizes_do_not_overflow(catalog: Catalog) -> None:
    """Two thousand files of the largest size that a file may have: more than 2^63 bytes together."""
    files = [ingested(STORE, f"raw/{n}", size_bytes=MAX_SIZE_BYTES) for n in range(2000)]

    def work(tx: Tx) -> totals.Counted:
        tx.append(*files)
        return totals.count(tx.connection, SITE)

    counted = await tried(catalog, work)
    assert counted.stores[STORE] == (2000, 2000 * MAX_SIZE_BYTES)
    assert wire.encode(counted)


@pytest.mark.fault(28)
async def test_a_file_that_claims_more_bytes_than_any_may_is_kept_and_never_applied(catalog: Catalog) -> None:
    """The entry beside it is applied, and what comes behind both."""
    peer = Peer("summit")
    await admit(catalog, peer)
    good, bad = _plain(ingested(peer.store, "good")), _plain(ingested(peer.store, "bad"))
    sent = [
        peer.say_raw("file.ingested", bad | {"size_bytes": MAX_INTEGER}, good),
        peer.say_raw("instance.registered", _plain(registered(peer.store, "bad")) | {"size_bytes": MAX_SIZE_BYTES + 1}),
        *peer.say(ingested(peer.store, "later")),
    ]
    received = await receive(catalog, *sent)
    assert [result.verdict for result in received] == [Verdict.APPLY] * 3
    assert [len(result.refused) for result in received] == [1, 1, 0]
    assert sorted(row.name for row in await catalog.read(rows, schema.file)) == ["good", "later"]
    assert await catalog.read(count, schema.journal, schema.journal.c.site == peer.site) == 3


@pytest.mark.parametrize("kind", ["ingested", "withdrawn", "doubted"])
async def test_a_catalog_that_believed_such_sizes_is_folded_anew_once(catalog: Catalog, kind: str) -> None:
    """As it stands where an earlier version applied them: then all sites have the same rows again."""
    peer = Peer("summit")
    await admit(catalog, peer, may_admit=True)
    entry: Entry = {"ingested": ingested(peer.store), "withdrawn": withdrawn(), "doubted": doubted(peer, 1)}[kind]
    large = msgspec.structs.replace(entry, seq=1, at="", size_bytes=MAX_INTEGER)
    await receive(catalog, peer.say_raw(f"{'instance' if kind == 'doubted' else 'file'}.{kind}", _plain(large)))
    await receive(catalog, *peer.say(ingested(peer.store, "good")))
    said = Said(site=peer.site, epoch=1, incarnation=peer.position.incarnation, change=0)
    await catalog.write(lambda tx: tx.apply_foreign([large], said))
    assert NAME in {row.name for row in await catalog.read(rows, schema.file)}
    assert await catalog.write(bounds.refold_once) == [SITE if kind == "withdrawn" else peer.site]
    assert [row.name for row in await catalog.read(rows, schema.file)] == ["good"]
    assert await catalog.write(bounds.refold_once) == []


@pytest.mark.fault(28)
async def test_no_epoch_that_is_claimed_keeps_a_site_from_beginning_another(catalog: Catalog) -> None:
    """Neither the thief of its key nor a member, whose epochs count as well; nor by what is held back."""
    for peer in (Peer("summit"), Peer(SITE)):
        await admit(catalog, peer)
        own = peer.site == SITE
        if not own:
            await receive(catalog, *peer.say(ingested(peer.store)))
        peer.position = msgspec.structs.replace(peer.position, epoch=MAX_INTEGER, incarnation="f" * 16)
        beyond = peer.say(ingested(peer.store, "beyond"))
        gap = peer.say(ingested(peer.store, "gap"))
        held = peer.say(ingested(peer.store, "held"))
        verdicts = [result.verdict for result in await receive(catalog, *beyond, *held)]
        assert verdicts == [Verdict.BROKEN, Verdict.HOLD]
        assert gap
        assert await catalog.read(segments.greatest_epoch_begun) < MAX_EPOCH_STEP
        assert await catalog.read(quarantine.greatest_returned_epoch, SITE) == 0
