"""What a site says of its stores, and which of them count: after an admission anew, and when one is retired."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from sqlalchemy import select, update
from tests.conformance.catalog.peers import Peer, Sealed, admission, ingested, key_of, registered, store_declared
from tests.conformance.catalog.running import SITE, admit, receive, rows, say

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.journal.refold import say_of_roster
from librarian_daemon.catalog.mesh.declarations import Declared, LeftOut, declare, left_out, retire
from librarian_daemon.catalog.status import queries, totals
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.catalog.transfers import planning
from librarian_protocol.entries import Cutoff, SiteAdmitted, SiteAnnounced, StoreRole, SubscriptionDeclared
from librarian_protocol.errors import NotFound, NotPossible
from librarian_protocol.names import Name

OWN = Peer(SITE)
ANNOUNCED = SiteAnnounced(software="tests", adapters=[])


def configured(*stores: str, label: str = "disk") -> list[Declared]:
    return [Declared(id=id_, label=label, role=StoreRole.ARCHIVE, ingestable=True) for id_ in stores]


async def declared(catalog: Catalog, *stores: str) -> list[str]:
    """Kinds of what the site said of itself."""
    before = await catalog.read(lambda connection: len(rows(connection, schema.journal)))
    await catalog.write(declare, SITE, configured(*stores), ANNOUNCED)
    return [row.kind for row in await catalog.read(lambda connection: rows(connection, schema.journal))][before:]


async def standing(catalog: Catalog, name: str) -> dict[str, str]:
    """By store: what is shown of the only file's instances."""
    found = await catalog.read(queries.detail, Name(name))
    assert found is not None
    ((file, _),) = found.files
    return {instance.store: instance.state for instance in file.instances}


def anew(peer: Peer, last: Sealed) -> SiteAdmitted:
    """The site lost everything and goes on with another key; its admission under that."""
    admitted = msgspec.structs.replace(
        admission(str(peer.site), key=key_of("its new key")),
        former=[peer.key.public],
        tips=[Cutoff(incarnation=last.segment.incarnation, seq=last.segment.last_seq, hash=last.hash)],
    )
    peer.restart()
    peer.position = msgspec.structs.replace(peer.position, seq=last.segment.last_seq, hash=last.hash)
    peer.key = key_of("its new key")
    return admitted


async def test_stores_of_a_site_with_another_key_count_as_soon_as_it_declares_them_again(catalog: Catalog) -> None:
    summit = Peer("summit")
    await admit(catalog, summit)
    sent = summit.each(store_declared(summit.store), ingested(summit.store, "raw/0"))
    await receive(catalog, *sent)
    assert await standing(catalog, "raw/0") == {summit.store: "verified"}
    await catalog.write(say_of_roster, anew(summit, sent[-1]))
    assert await standing(catalog, "raw/0") == {summit.store: "undeclared"}
    assert (await catalog.read(totals.count, SITE)).totals.instances_elsewhere == 0
    (known,) = await catalog.read(planning.named, Name("raw/0"))
    assert known.instances == [], "nobody asks there"
    await receive(catalog, *summit.say(store_declared("0" * 32)))
    assert await standing(catalog, "raw/0") == {summit.store: "undeclared"}
    await receive(catalog, *summit.say(store_declared(summit.store)))
    assert await standing(catalog, "raw/0") == {summit.store: "verified"}


async def test_a_site_declares_its_stores_again_after_it_was_admitted_anew(catalog: Catalog) -> None:
    """Those that it has; a lost one is not declared again, and its subscriptions go into what there is."""
    lost, kept = "0" * 32, "1" * 32
    assert await declared(catalog, lost, kept) == ["store.declared", "site.announced"]
    into = {"5" * 16: [lost], "6" * 16: [lost, kept], "7" * 16: [kept]}
    limits: dict[str, Any] = {"max_bytes": 7, "newest_s": 8, "priority": 9, "via": "drive", "spread": True}
    for subscription, stores in into.items():
        rule = SubscriptionDeclared(subscription=subscription, from_site=None, match="**", into=stores, **limits)
        await say(catalog, rule)
    await say(catalog, ingested(lost, "raw/0"), ingested(kept, "raw/1"))
    assert await declared(catalog, lost, kept) == []
    await catalog.write(_admitted_anew)
    assert await standing(catalog, "raw/1") == {kept: "undeclared"}
    assert await declared(catalog, kept) == ["store.declared", "subscription.declared"]
    assert await standing(catalog, "raw/1") == {kept: "verified"}
    assert await standing(catalog, "raw/0") == {lost: "undeclared"}
    assert await catalog.read(left_out, SITE, [kept]) == [LeftOut(id=lost, label="disk", instances=0)]
    subscriptions = await catalog.read(planning.subscriptions, SITE)
    assert {subscription.id: subscription.into for subscription in subscriptions} == {
        "5" * 16: [kept],
        "6" * 16: [kept],
        "7" * 16: [kept],
    }
    for row in await catalog.read(rows, schema.subscription):
        assert {field: getattr(row, field) for field in limits} == limits, "they stay what they were"
    assert await declared(catalog, kept) == []


def _admitted_anew(tx: Tx) -> None:
    """As if all of its journal had been signed with a key of before."""
    former = key_of("its former key").public
    tx.connection.execute(update(schema.journal).where(schema.journal.c.site == str(SITE)).values(key=former))
    end = tx.connection.execute(select(schema.journal).order_by(schema.journal.c.position.desc())).first()
    assert end is not None
    tips = [Cutoff(incarnation=end.incarnation, seq=end.last_seq, hash=end.hash)]
    tx.append(msgspec.structs.replace(admission(str(SITE), may_admit=True), former=[former], tips=tips))


@pytest.mark.parametrize("wanted", ["0" * 32, "disk"])
async def test_a_lost_store_is_retired_once_and_counts_nowhere(catalog: Catalog, wanted: str) -> None:
    summit = Peer("summit")
    await admit(catalog, summit)
    lost, kept = "0" * 32, "1" * 32
    await declared(catalog, lost, kept)
    await say(catalog, ingested(lost, "raw/0"), ingested(lost, "raw/1"), ingested(kept, "raw/2"))
    await receive(catalog, *summit.say(registered(summit.store, "raw/1")))
    (store,) = await catalog.read(left_out, SITE, [kept])
    assert (store.id, store.label, store.instances) == (lost, "disk", 2)
    changes = await changes_of(catalog)
    with pytest.raises(NotPossible, match=r"holds 2 good instances.* 1 of their files have none elsewhere"):
        await catalog.write(retire, SITE, wanted, in_use=[kept], lost=False)
    assert await changes_of(catalog) == changes
    for _ in range(2):
        done = await catalog.write(retire, SITE, lost, in_use=[kept], lost=True)
        assert (done.id, done.instances, done.nowhere_else) == (lost, 2, 1)
    assert await standing(catalog, "raw/0") == {lost: "retired"}
    assert await standing(catalog, "raw/1") == {lost: "retired", summit.store: "verified"}
    assert await catalog.read(left_out, SITE, [kept]) == []
    assert (await catalog.read(totals.count, SITE)).only_here == (1, 11)
    planned_again = [name for name, change in (await changes_of(catalog)).items() if change != changes[name]]
    assert planned_again == ["raw/0", "raw/1"]
    kinds = [row.kind for row in await catalog.read(lambda connection: rows(connection, schema.journal))]
    assert kinds.count("store.retired") == 1


async def changes_of(catalog: Catalog) -> dict[str, int]:
    return {row.name: row.change for row in await catalog.read(lambda connection: rows(connection, schema.file))}


@pytest.mark.parametrize(
    ("wanted", "in_use", "error", "says"),
    [
        ("nosuch", [], NotFound, "no store 'nosuch'"),
        ("0" * 32, ["0" * 32], NotPossible, "is configured, and it is there"),
        ("disk", [], NotPossible, "2 stores are called 'disk'"),
        ("disk", ["0" * 32, "1" * 32], NotPossible, "2 stores are called 'disk'"),
    ],
)
async def test_what_is_not_to_be_retired_is_refused(
    catalog: Catalog, wanted: str, in_use: Sequence[str], error: type[Exception], says: str
) -> None:
    await declared(catalog, "0" * 32, "1" * 32)
    with pytest.raises(error, match=says):
        await catalog.write(retire, SITE, wanted, in_use=in_use, lost=True)
