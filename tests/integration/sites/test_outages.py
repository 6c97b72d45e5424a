"""An outage costs nothing but time: of the bus, of the destination, of the source's data plane."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.flipping_proxy import FlippingProxy
from tests.support.nats import NatsServer, nats_server
from tests.support.oracle import digest_of, some_bytes, standing
from tests.support.sites import Pair, free_port, pair


@contextmanager
def pair_on(root: Path) -> Generator[tuple[Pair, NatsServer]]:
    """A pair on a nats-server of its own, which can be stopped."""
    with nats_server(root / "nats", free_port()) as server, pair(root, bus=server.url) as both:
        yield both, server


def drop_some(both: Pair, prefix: str, number: int = 20) -> dict[str, str]:
    """Drop files at the source; what must arrive."""
    data = {f"{prefix}-{n}.dat": some_bytes(5000, (prefix, n)) for n in range(number)}
    for name, content in data.items():
        both.source.drop_file(name, content)
    return {name: digest_of(content) for name, content in data.items()}


def test_while_the_bus_is_down_files_are_taken_in_and_they_arrive_after(tmp_path: Path) -> None:
    with pair_on(tmp_path) as (both, server):
        wanted = drop_some(both, "before")
        both.acknowledged(20)
        server.kill()
        both.at_both("status shows it", lambda site: "bus-disconnected" in site.problems())
        wanted |= drop_some(both, "during")
        both.wait_for("all are ingested", lambda: len(both.source.told("file.ingested")) == 40)
        status = both.source.client.status()
        assert status.journal.outbox > 0
        assert status.counts.instances_elsewhere == 20

        server.start()
        both.acknowledged(40)
        assert standing(both.destination.store) == wanted
        for site in both.sites:
            assert site.told("instance.registered", "archive") == Counter(list(wanted))
        both.at_both("all is well", lambda site: "bus-disconnected" not in site.problems())
        assert both.source.client.status().journal.outbox == 0
        both.assert_whole()


@pytest.mark.fault(38)
def test_a_name_ingested_at_both_while_the_bus_was_down_is_a_conflict_at_both(tmp_path: Path) -> None:
    """Both had the right to: nobody could know. So neither wins by itself, and no byte of either moves."""
    with pair_on(tmp_path) as (both, server):
        both.source.lbctl("subscription", "add", "--from", "archive")
        both.wait_for("both know it", lambda: len(both.destination.client.subscriptions()) == 2)
        server.kill()
        for site in both.sites:
            site.drop_file("same.dat", b"of " + site.name.encode())
            site.drop_file(f"only-{site.name}.dat", b"no conflict")
        both.at_both("both are ingested", lambda site: len(site.told("file.ingested")) == 2)
        server.start()
        both.at_both("the conflict shows", lambda site: site.problems().get("conflict") == ["same.dat"])
        both.at_both("what else there was arrives", lambda site: len(standing(site.store)) == 3)
        for site in both.sites:
            assert (site.store / "same.dat").read_bytes() == b"of " + site.name.encode()
            assert site.client.file("same.dat").conflict
            assert "same.dat" not in site.told("instance.registered")
        both.assert_whole()


@pytest.mark.fault(15)
def test_while_the_destination_is_down_the_source_works_on_and_they_arrive_after(tmp_path: Path) -> None:
    with pair(tmp_path) as both:
        both.destination.stop()
        wanted = drop_some(both, "while-down")
        both.wait_for(
            "all are ingested and sent",
            lambda: both.source.client.status().journal.outbox == 0 and len(both.source.told("file.ingested")) == 20,
        )
        assert both.source.client.status().healthy
        both.destination.start()
        both.acknowledged(20)
        assert standing(both.destination.store) == wanted
        both.assert_whole()


def test_while_the_source_cannot_be_reached_transfers_wait_and_nobody_is_doubted(tmp_path: Path) -> None:
    """The bus works, the data plane does not: tried again ever more seldom, never parked, never an accusation."""
    with FlippingProxy() as proxy, pair(tmp_path, advertise=proxy.address) as both:
        wanted = drop_some(both, "unreachable", 3)  # the proxy leads nowhere yet
        waiting = both.wait_for(
            "all have been tried four times",
            lambda: [
                transfer
                for transfer in both.destination.transfers()
                if transfer.attempts >= 4 and transfer.state == "waiting"
            ],
        )
        assert {transfer.reason for transfer in waiting} == {"source-unreachable"}
        assert both.destination.client.status().transfers.keys() <= {"waiting", "fetching", "wanted", "reserved"}
        proxy.target = both.source.data_port
        for transfer in waiting:
            both.destination.try_now(transfer.id)
        both.acknowledged(3)
        assert standing(both.destination.store) == wanted
        assert both.source.entries("instance.doubted") == both.source.entries("transfer.parked") == []


def kill_bus_and_have_it_noticed(both: Pair) -> None:
    """``kill -9`` nats-server, and wait until the destination has lost it."""
    before = len(both.destination.logged("bus_reading_again"))
    both.wait_for("the bus server is killed", both.source.kill_bus)
    both.wait_for("archive notices", lambda: len(both.destination.logged("bus_reading_again")) > before)


@pytest.mark.fault(17)
def test_a_bus_server_that_dies_is_started_again_and_no_daemon_is_disturbed(tmp_path: Path) -> None:
    """Again and again, with both daemons alive: neither stops answering, and nothing is lost or comes twice."""
    with pair(tmp_path) as both:
        wanted: dict[str, str] = {}
        for number in range(3):
            wanted |= drop_some(both, f"round-{number}", 5)
            kill_bus_and_have_it_noticed(both)
            both.acknowledged(len(wanted))
        for site in both.sites:
            assert standing(site.store) == wanted
            assert site.told("instance.registered", "archive") == Counter(list(wanted))
        both.assert_whole()
