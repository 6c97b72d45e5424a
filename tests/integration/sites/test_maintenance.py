"""Maintenance: intake, transfers or a peer are paused for a while, everybody is told, and nothing is lost."""

from __future__ import annotations

import urllib.request
from pathlib import Path

from tests.support.dripping import DrippingProxy
from tests.support.oracle import some_bytes
from tests.support.sites import Pair, Site, pair

SIZE = 2 << 20
ONE_SLOT = {"# concurrency = 5": "concurrency = 1"}
HELD_UP = {("night", "paused"), ("waits", "paused")}


def paused(site: Site) -> dict[str, str]:
    """What ``status`` says is paused, and why."""
    return {pause.what: pause.reason for pause in site.client.status().pauses}


def states(both: Pair) -> set[str]:
    return {transfer.state for transfer in both.destination.client.transfers().transfers}


def metrics(site: Site) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{site.metrics_port}/metrics", timeout=30) as answer:
        return str(answer.read().decode())


def pause(site: Site, what: str, length: str = "1h", reason: str = "new disks") -> None:
    site.lbctl("pause", what, "--for", length, "--reason", reason)


def transfers_are_paused(both: Pair, proxy: DrippingProxy) -> None:
    archive = both.destination
    both.source.drop_file("slow", some_bytes(SIZE, 1))
    both.wait_for("it comes", lambda: proxy.open >= 1 and states(both) == {"fetching"})
    (moving,) = archive.transfers()
    both.wait_for("its arrival is told", lambda: (archive.client.transfer(moving.id).eta_s or 0) > 60)
    pause(archive, "transfers", reason="the disks are changed")
    both.wait_for("nothing is on the wire", lambda: proxy.open == 0 and states(both) == {"wanted"})
    assert "expected in: unknown" in archive.lbctl("transfer", "show", str(moving.id))
    assert f"t{moving.id}" in {path.name for path in archive.left_in_staging()}

    # Everybody is told, by name, reason and end.
    said = archive.status()
    assert "PAUSED: transfers until" in said
    assert "the disks are changed" in said
    assert "the disks are changed" in archive.client.transfer(moving.id).waits_for
    explained = archive.lbctl("explain", "slow")
    assert "it waits for: paused: transfers are paused until" in explained
    assert "lbctl resume" in explained
    assert "maintenance of transfers" in archive.lbctl("doctor")
    assert 'librarian_paused{peer="",site="archive",what="transfers"} 1.0' in metrics(archive)
    assert archive.is_healthy(), "a pause is no fault"

    # A restart keeps it; what was staged is kept too.
    archive.stop()
    archive.start()
    assert paused(archive) == {"intake": "the store moves", "transfers": "the disks are changed"}
    both.wait_for("it still waits", lambda: states(both) == {"wanted"} and waiting(archive) == HELD_UP)
    both.source.drop_file("later", b"1")
    both.source.drop_file("sooner", b"1")
    both.wait_for("all are known", lambda: len(archive.transfers()) == 3)
    numbers = {transfer.name: str(transfer.id) for transfer in archive.transfers()}
    archive.lbctl("transfer", "priority", numbers["sooner"], "--to", "50")
    archive.lbctl("transfer", "priority", numbers["later"], "--to", "-5")
    assert {transfer.name: transfer.priority for transfer in archive.transfers()} == {
        "sooner": 50,
        "slow": 0,
        "later": -5,
    }
    assert proxy.open == 0
    assert archive.left_in_staging()


def a_peer_is_paused(both: Pair, proxy: DrippingProxy) -> None:
    archive, summit = both.destination, both.source
    pause(archive, "peer:summit", reason="their link is full")
    archive.lbctl("resume", "transfers")
    moving = next(transfer for transfer in archive.transfers() if transfer.name == "slow")
    assert "paused: summit is paused until" in archive.client.transfer(moving.id).waits_for
    assert "not paused" in archive.lbctl("resume", "transfers", exit_code=4)
    assert "no other site" in archive.lbctl("pause", "peer:nowhere", "--for", "1h", "--reason", "x", exit_code=4)
    assert "too long" in archive.lbctl("pause", "intake", "--for", "31d", "--reason", "x", exit_code=2)
    assert proxy.open == 0

    # The other side refuses as well, and that parks nothing.
    pause(summit, "peer:archive", reason="backup runs")
    archive.lbctl("resume", "peer:summit")
    both.wait_for(
        "all is refused for now", lambda: all("backup runs" in transfer.message for transfer in archive.transfers())
    )
    assert {transfer.reason for transfer in archive.transfers()} == {"source-unreachable"}
    proxy.hold = False
    pause(archive, "transfers")
    summit.lbctl("resume", "peer:archive")
    for transfer in archive.transfers():
        archive.try_now(transfer.id)
    both.wait_for("all are wanted", lambda: states(both) == {"wanted"})
    archive.lbctl("resume", "transfers")
    both.acknowledged(3)
    names = [entry["name"] for entry in archive.entries("instance.registered", "archive")]
    assert names == ["sooner", "slow", "later"], "the most urgent first"


def waiting(site: Site) -> set[tuple[str, str]]:
    """What stands in the drop directories, and why."""
    return {(item.name, item.reason) for drop in site.client.status().intake for item in drop.waiting_items}


def intake_is_paused(both: Pair) -> None:
    archive = both.destination
    pause(archive, "intake", reason="the store moves")
    archive.drop_file("waits", b"patiently")
    archive.drop_book("night", {"a": b"1"})
    both.wait_for("both wait by name", lambda: waiting(archive) == HELD_UP)
    for drop in archive.client.status().intake:
        assert drop.state == "maintenance"
        assert "the store moves" in drop.detail


def intake_goes_on(both: Pair) -> None:
    """Set again, a pause is replaced, and ends by itself."""
    archive = both.destination
    assert paused(archive) == {"intake": "the store moves"}
    assert (archive.drop / "waits").exists()
    pause(archive, "intake", "1s", "a moment more")
    both.wait_for("all is taken in", lambda: archive.client.status().counts.instances_here == 5)
    both.wait_for("the pause is over", lambda: not paused(archive))


def test_what_is_paused_for_maintenance_waits_by_name_and_goes_on(tmp_path: Path) -> None:
    with DrippingProxy(every_s=0.2) as proxy, pair(tmp_path, advertise=proxy.address, changed=ONE_SLOT) as both:
        proxy.target = both.source.data_port
        intake_is_paused(both)
        transfers_are_paused(both, proxy)
        a_peer_is_paused(both, proxy)
        intake_goes_on(both)
