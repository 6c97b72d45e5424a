"""Ways are tried in order, given up for the next one after failures, and the reason is told."""

from __future__ import annotations

from collections.abc import Sequence

from librarian_protocol.entries import AdapterOffer, Dial
from librarian_protocol.names import SiteName
from librarian_protocol.source_choice import FALL_BACK_AFTER, choose
from librarian_protocol.transfer import POLICIES
from librarian_protocol.wanted import Source


def way(adapter: str, site: str = "summit") -> Source:
    return Source(SiteName(site), "s", AdapterOffer(name=adapter, version=1, address="", dial=Dial.EITHER))


def chosen(
    ways: Sequence[Source], attempts: int = 0, size_bytes: int = 1000, last: str = "", **min_bytes: int
) -> tuple[str, str, str]:
    found = choose(ways, size_bytes=size_bytes, attempts=attempts, last=last, min_bytes=min_bytes)
    return found.source.offer.name, found.source.site, found.why


def test_the_first_way_is_taken_and_said_why() -> None:
    assert chosen([way("http")]) == ("http", "summit", "http: the only adapter that both sites have")
    adapter, _, why = chosen([way("globus"), way("http")])
    assert (adapter, why) == ("globus", "globus: the first in adapters.order that both sites have")


def test_failures_go_round_among_the_sites_of_one_adapter() -> None:
    ways = [way("http"), way("http", "archive")]
    assert [chosen(ways, attempts)[1] for attempts in range(4)] == ["summit", "archive", "summit", "archive"]


def test_after_failures_in_a_row_the_next_adapter_has_its_turn_and_then_the_first_again() -> None:
    ways = [way("globus"), way("rsync"), way("http")]
    taken = [chosen(ways, attempts, last="it hung")[0] for attempts in range(7)]
    assert taken == ["globus", "globus", "rsync", "rsync", "http", "http", "globus"]
    assert chosen(ways, 2, last="it hung")[2] == "rsync: its turn after 2 failures in a row; the last one: it hung"


def test_an_adapter_that_spoils_bytes_is_given_up_before_the_source_is_doubted() -> None:
    assert min(policy.patience for policy in POLICIES.values() if policy.doubt and policy.patience) > FALL_BACK_AFTER


def test_small_files_go_by_the_adapter_that_is_for_them() -> None:
    ways = [way("globus"), way("http")]
    adapter, _, why = chosen(ways, size_bytes=999, globus=1000)
    assert (adapter, why) == ("http", "http: globus is for files of 1,000 bytes or more (adapters.limits)")
    assert chosen(ways, size_bytes=1000, globus=1000)[0] == "globus"


def test_where_no_other_adapter_is_there_a_small_file_goes_by_the_one_for_large_ones() -> None:
    assert chosen([way("globus")], size_bytes=1, globus=1000)[0] == "globus"


def test_small_files_are_not_tried_by_the_adapter_for_large_ones_even_after_failures() -> None:
    ways = [way("globus"), way("http")]
    assert {chosen(ways, attempts, size_bytes=1, globus=1000)[0] for attempts in range(8)} == {"http"}
