"""I4: the shared tables are a fold of the journals: replaying the record rebuilds them, in the other database too."""

from __future__ import annotations

import random

from tests.conformance.catalog.peers import (
    Peer,
    Sealed,
    admission,
    doubted,
    healed,
    ingested,
    key_of,
    registered,
    removed,
    store_declared,
    suspected,
    withdrawn,
)
from tests.conformance.catalog.running import SITE, admit, anchor_at, begun, receive, running, say
from tests.conformance.catalog.shared import Shared, shared

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.database import Database
from librarian_daemon.catalog.journal import record
from librarian_daemon.journal.verify import verify_journal
from librarian_protocol import segments
from librarian_protocol.entries import Entry, SiteAnnounced, SubscriptionDeclared
from librarian_protocol.names import SiteName

OTHER = SiteName.parse("rebuilt")


async def _lived(catalog: Catalog) -> None:
    """Some days at three sites: refused entries, gaps, an equivocation, restarts."""
    own, summit, campus = Peer(SITE), Peer("summit"), Peer("campus")
    await say(catalog, admission(SITE, may_admit=True))
    await admit(catalog, summit)
    await admit(catalog, campus, grants=("calib/**",))
    subscription = SubscriptionDeclared(subscription="0" * 16, from_site=None, match="**", into=[own.store])
    await say(catalog, store_declared(own.store), SiteAnnounced(software="x", adapters=[]), subscription)
    sent = summit.each(*(ingested(summit.store, f"raw/{n}", content=str(n % 7)) for n in range(40)))
    await receive(catalog, *sent[:10], *sent[20:], *sent[10:20])
    await say(catalog, *(registered(own.store, f"raw/{n}", content=str(n % 7)) for n in range(0, 40, 2)))
    campus_says: list[Entry] = [
        registered(campus.store, "raw/1", content="other"),
        ingested(campus.store, "raw/not-granted"),
        ingested(campus.store, "calib/flat"),
        doubted(summit, 1, "raw/0", content="0"),
    ]
    await receive(catalog, *campus.say(*campus_says), campus.say_raw("file.ingested", {"name": "../x"}))
    summit.restart()
    later: list[Entry] = [healed(summit.store, "raw/0", content="0"), suspected(summit.store, "raw/2", content="2")]
    later += [removed(summit.store, "raw/4", content="4"), ingested(summit.store, "raw/3", content="new")]
    await receive(catalog, *summit.say(*later))
    await say(catalog, withdrawn("raw/3", content="new"), removed(own.store, "raw/6", content="6"))
    lying = Peer("campus")
    lying.position = campus.position
    await receive(catalog, *campus.say(ingested(campus.store, "calib/true")))
    await receive(catalog, *lying.say(ingested(campus.store, "calib/lie")))
    await receive(catalog, *campus.say(ingested(campus.store, "calib/void")))


async def _record(database: Database) -> list[Sealed]:
    """Everything that the catalog holds of all journals, in the order of its arrival."""
    found: list[Sealed] = []
    position = 0
    while page := await database.read(record.segments_after, position, site=None, limit=7):
        position = page[-1][0]
        for _, _, segment_hash, signature, payload in page:
            segment = segments.decode(payload)
            key = key_of(segment.site).public
            found.append(Sealed(segment=segment, payload=payload, signature=signature, hash=segment_hash, key=key))
    return found


async def _rebuilt(database: Database, record: list[Sealed]) -> Shared:
    """The shared tables of a site that knows only whom the first site of the mesh is, once it has the record."""
    catalog = await begun(database, OTHER, anchor=False)
    await database.write(lambda connection: anchor_at(connection, SITE))
    async with running(catalog):
        await receive(catalog, *record)
        for site in {sealed.segment.site for sealed in record}:
            report = await verify_journal(catalog, site, key_of(site).public)
            assert all("void" in problem or "held" in problem for problem in report.problems)
    return await database.read(shared)


async def test_replaying_the_record_rebuilds_the_shared_tables(
    database: Database, catalog: Catalog, elsewhere: Database
) -> None:
    """In the order of arrival; nothing of the tables is lost, nothing is added, whatever database they are in."""
    await _lived(catalog)
    tables = await database.read(shared)
    assert all(tables[name] for name in ("file", "instance", "conflict", "doubt", "admission", "store"))
    assert await _rebuilt(elsewhere, await _record(database)) == tables


async def test_replaying_it_in_another_order_and_twice_gives_the_same(
    database: Database, catalog: Catalog, elsewhere: Database
) -> None:
    """After the roster, the journals may come in any order. The branch of an equivocation that came first counts."""
    await _lived(catalog)
    record = await _record(database)
    roster = [sealed for sealed in record if sealed.segment.kind == "site.admitted"]
    honest = [sealed for sealed in record if sealed.segment.site != "campus"]
    campus = [sealed for sealed in record if sealed.segment.site == "campus"]
    random.Random(5).shuffle(honest)
    rebuilt = await _rebuilt(elsewhere, [*roster, *honest, *campus, *honest])
    assert rebuilt == await database.read(shared)
