"""How what is wanted is made into batches: in its order, one priority each, each source in its turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from librarian_adapters.contract import Capabilities
from librarian_daemon.catalog.transfers.transfers import Row, TransferView
from librarian_daemon.config.settings import ReplicatorSettings
from librarian_daemon.runtime.clock import SystemRng
from librarian_daemon.transfers.batches import Batches
from librarian_daemon.transfers.slots import Slots
from librarian_protocol.digests import Digest
from librarian_protocol.entries import AdapterOffer, Dial, Unit
from librarian_protocol.names import Name, SiteName
from librarian_protocol.transfer import Transfer
from librarian_protocol.wanted import Source

SUMMIT, DOME = SiteName.parse("summit"), SiteName.parse("dome")
HTTP = AdapterOffer(name="http", version=1, address="127.0.0.1:1", dial=Dial.DESTINATION)


class FakeAdapter:
    """Says only what it can."""

    capabilities = Capabilities(
        max_files=100, max_bytes=1 << 40, resumable=True, verifies_inline=False, dial=Dial.DESTINATION
    )


def owed(number: int, priority: int = 0, unit: Unit = Unit.FILE) -> TransferView:
    row = Row(
        transfer=Transfer(id=number),
        file_id=number,
        store="s",
        message="",
        adapter=None,
        batch=None,
        subscription="x",
        created_at="",
        changed_at="",
        priority=priority,
    )
    return TransferView(row=row, name=Name(f"f{number}"), digest=Digest.blake3(b""), size_bytes=1, unit=unit)


def batches(slots: int = 8, paused: Sequence[SiteName] = ()) -> Batches:
    adapter: Any = FakeAdapter()
    return Batches(
        adapters={"http": adapter},
        stores=frozenset({"s"}),
        settings=ReplicatorSettings(batch_files=3),
        limits={},
        slots={"http": Slots(slots, frozenset)},
        slow=frozenset,
        paused=lambda: frozenset(paused),
        rng=SystemRng(),
    )


def chosen(
    wanted: Sequence[TransferView], sites: dict[int, list[SiteName]] | None = None, **changed: Any
) -> list[list[int]]:
    """The transfers of each batch, in the order in which batches begin."""
    ways = {
        transfer.id: [Source(site=site, store="t", offer=HTTP) for site in (sites or {}).get(transfer.id, [SUMMIT])]
        for transfer in wanted
    }
    jobs, hopeless = batches(**changed).choose(sorted(wanted, key=lambda transfer: transfer.place), ways)
    assert not hopeless
    return [[transfer.id for transfer in job.owed] for job in jobs]


def test_a_batch_is_of_one_priority_and_the_most_urgent_is_first() -> None:
    wanted = [owed(1), owed(2), owed(3, 5), owed(4), owed(5, -1), owed(6), owed(7, 5)]
    assert chosen(wanted) == [[3, 7], [1, 2, 4], [6], [5]]


def test_of_books_and_files_the_most_urgent_is_first_and_equals_as_they_were_wanted() -> None:
    wanted = [owed(1), owed(2, unit=Unit.BOOK), owed(3, 9, Unit.BOOK), owed(4), owed(5), owed(6)]
    assert chosen(wanted) == [[3], [1, 4, 5], [2], [6]]


def test_a_priority_takes_no_other_source_its_share() -> None:
    wanted = [owed(number, 100) for number in range(1, 13)] + [owed(20), owed(21)]
    sites = {20: [DOME], 21: [DOME]}
    assert chosen(wanted, sites, slots=3) == [[1, 2, 3], [20, 21]]


def test_a_site_that_is_paused_is_passed_by_and_what_only_it_has_stays_wanted() -> None:
    wanted = [owed(1), owed(2), owed(3)]
    sites = {1: [SUMMIT], 2: [SUMMIT, DOME], 3: [DOME]}
    assert chosen(wanted, sites, paused=[SUMMIT]) == [[2, 3]]
    assert chosen(wanted, sites, paused=[SUMMIT, DOME]) == []
