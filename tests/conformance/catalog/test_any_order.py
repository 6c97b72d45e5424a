"""I5: whatever the order in which entries come, and however often, the shared tables end up the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conformance.catalog.peers import (
    Peer,
    Sealed,
    admission,
    facts,
    healed,
    incarnation_of,
    ingested,
    registered,
    removed,
    store_declared,
    store_of,
    suspected,
    withdrawn,
)
from tests.conformance.catalog.running import admit, tried
from tests.conformance.catalog.shared import Shared, shared

from librarian_daemon.catalog.apply import Said, apply
from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.journal import record, segments
from librarian_daemon.catalog.transaction import Tx
from librarian_protocol.digests import Digest
from librarian_protocol.entries import (
    AdapterOffer,
    Dial,
    DigestAdded,
    Entry,
    EntryId,
    FileAttributed,
    HoldDeclared,
    HoldWithdrawn,
    InstanceDoubted,
    KeepDeclared,
    KeepWithdrawn,
    SiteAnnounced,
    StoreRetired,
    SubscriptionDeclared,
    SubscriptionWithdrawn,
    Unit,
)
from librarian_protocol.names import SiteName
from librarian_protocol.segments import entries_of

SITES = ("campus", "summit", "valley")
# Every example runs in a unit of work that is taken back: the catalog of the test stays as it is.
SETTINGS = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
Written = tuple[str, bool, Entry]


@st.composite
def _entries(draw: st.DrawFn) -> Entry:
    """Few names, contents and stores, so that everything meets everything."""
    store = draw(st.sampled_from([store_of("x", 0), store_of("x", 1)]))
    name, content = draw(st.sampled_from(["a", "A", "b/c"])), draw(st.sampled_from("12"))
    size_bytes, unit = draw(st.sampled_from([1, 2])), draw(st.sampled_from(list(Unit)))
    site = SiteName.parse(draw(st.sampled_from(SITES)))
    flag, number = draw(st.booleans()), draw(st.integers(1, 9))
    offer = AdapterOffer(name="http", version=1, address="http://data.example", dial=Dial.DESTINATION)
    doubt = InstanceDoubted(
        **facts(name, content),
        store=store,
        owner=site,
        reason="checksum-mismatch",
        epoch=number % 3,
        incarnation="8" * 16,
        entry_seq=number,
    )
    subscription = "0" * 16 if flag else "1" * 16
    earlier = [EntryId(site=site, incarnation=incarnation_of(site, 1), seq=number)]
    return draw(
        st.sampled_from(
            [
                ingested(store, name, content, size_bytes=size_bytes, unit=unit),
                registered(store, name, content, size_bytes=size_bytes, unit=unit),
                removed(store, name, content),
                suspected(store, name, content),
                healed(store, name, content),
                withdrawn(name, content),
                doubt,
                FileAttributed(**facts(name, content), executable=flag),
                DigestAdded(**facts(name, content), other=Digest.parse("md5:" + str(number) * 32)),
                SubscriptionDeclared(
                    subscription=subscription, from_site=site, match="**", into=[store], priority=number
                ),
                SubscriptionWithdrawn(subscription=subscription),
                store_declared(store, active=flag),
                StoreRetired(store=store),
                SiteAnnounced(software=str(number), adapters=[offer] if flag else []),
                # From the first site; the others may not.
                KeepDeclared(match="b/**", instances=number, domains=1),
                KeepWithdrawn(supersedes=earlier, reason="x"),
                HoldDeclared(match="**", until=number if flag else None, reason="x"),
                HoldWithdrawn(supersedes=earlier, reason="x"),
                # Kept, and of no effect: the first site has admitted all three.
                admission(site, may_admit=flag),
            ]
        )
    )


def _histories() -> st.SearchStrategy[list[Written]]:
    """(which site, whether it restarts before, what it says)."""
    return st.lists(st.tuples(st.sampled_from(SITES), st.booleans(), _entries()), min_size=2, max_size=24)


def _write(history: Sequence[Written]) -> list[Sealed]:
    peers = {site: Peer(site) for site in SITES}
    found: list[Sealed] = []
    for site, restarts, entry in history:
        if restarts:
            peers[site].restart()
        found += peers[site].say(entry)
    return found


@pytest_asyncio.fixture
async def mesh(catalog: Catalog) -> Catalog:
    """A catalog that knows all sites; one of them may withdraw files, the others are refused."""
    await admit(catalog, *(Peer(site) for site in SITES[1:]))
    await admit(catalog, Peer(SITES[0]), may_admit=True)
    return catalog


@SETTINGS
@given(history=_histories(), data=st.data())
@pytest.mark.fault(27)
async def test_segments_in_any_order_and_repeated_give_the_same_tables(
    mesh: Catalog, history: list[Written], data: st.DataObject
) -> None:
    """Gaps are held and released; in the end every site has applied everything."""
    sent = _write(history)
    shuffled = data.draw(st.permutations(sent))
    repeated = data.draw(st.lists(st.sampled_from(sent), max_size=6))

    assert await tried(mesh, _replay(sent)) == await tried(mesh, _replay([*shuffled[:3], *repeated, *shuffled]))


async def test_a_change_of_the_roster_that_waited_behind_a_gap_counts_as_if_it_had_come_in_order(mesh: Catalog) -> None:
    """Whose entries count is folded anew, whichever segment it was that filled the gap."""
    admitter, newcomer = Peer(SITES[0]), Peer("newcomer")
    (admitted,) = admitter.say(admission(newcomer.site))
    (theirs,) = newcomer.say(ingested(newcomer.store, "raw/1"))
    (before,) = admitter.say(ingested(admitter.store, "raw/2"))
    (narrowed,) = admitter.say(admission(newcomer.site, grants=("other/**",)))
    in_order = await tried(mesh, _replay([admitted, theirs, before, narrowed]))
    assert in_order != await tried(mesh, _replay([admitted, theirs, before])), "it changes what counts"
    assert await tried(mesh, _replay([admitted, theirs, narrowed, before])) == in_order


def _replay(order: Sequence[Sealed]) -> Callable[[Tx], Shared]:
    def work(tx: Tx) -> Shared:
        for number, sealed in enumerate(order):
            segments.receive(tx, sealed.signed(), number)
        held = record.segments_after(tx.connection, 0, site=None, limit=1000)
        assert {state for _, state, *_ in held} == {"applied"}
        return shared(tx.connection)

    return work


def _said(sealed: Sealed) -> tuple[Said, list[Entry]]:
    segment = sealed.segment
    said = Said(site=segment.site, epoch=segment.epoch, incarnation=segment.incarnation, change=1)
    return said, [entry for entry in entries_of(segment) or () if isinstance(entry, Entry)]


def _applying(order: Sequence[tuple[Said, list[Entry]]]) -> Callable[[Tx], Shared]:
    def work(tx: Tx) -> Shared:
        for said, entries in order:
            apply(tx.connection, entries, msgspec.structs.replace(said, change=tx.next_change()))
        return shared(tx.connection)

    return work


@SETTINGS
@given(history=_histories(), data=st.data())
@pytest.mark.fault(27)
async def test_entries_in_any_order_and_repeated_give_the_same_tables(
    mesh: Catalog, history: list[Written], data: st.DataObject
) -> None:
    """Applying alone commutes, without the chain's help."""
    said = [_said(sealed) for sealed in _write(history)]
    shuffled = data.draw(st.permutations(said))
    repeated = data.draw(st.lists(st.sampled_from(said), max_size=6))
    assert await tried(mesh, _applying(said)) == await tried(mesh, _applying([*repeated, *shuffled]))
