"""A source that is never silent and never done: others' files arrive all the same, and it is said why its own wait."""

from __future__ import annotations

from pathlib import Path

from tests.support.dripping import DrippingProxy
from tests.support.oracle import some_bytes
from tests.support.sites import Site, free_port, join, sites, wait_for

OVERLAY = {
    "LIBRARIAN_REPLICATOR__CONCURRENCY": "4",
    "LIBRARIAN_REPLICATOR__BATCH_FILES": "1",
    "LIBRARIAN_REPLICATOR__MIN_RATE": "0",
}


def states(site: Site) -> dict[str, list[str]]:
    """Names by state."""
    found: dict[str, list[str]] = {}
    for transfer in site.client.transfers(limit=100).transfers:
        found.setdefault(
            transfer.state if transfer.reason is None else f"{transfer.state} ({transfer.reason})", []
        ).append(transfer.name)
    return found


def test_one_slow_source_starves_nobody(tmp_path: Path) -> None:
    """More files than there are slots at one byte every half second; and it is said what the others wait for."""
    with DrippingProxy() as proxy:
        slow = Site(tmp_path / "slow", "summit", bus=f"embedded:{free_port()}", advertise=proxy.address)
        proxy.target = slow.data_port
        quick = Site(tmp_path / "quick", "dome")
        archive = Site(tmp_path / "archive", "archive", overlay=OVERLAY)
        with sites(slow, quick, archive):
            slow.start()
            join(slow, archive)
            archive.lbctl("subscription", "add", "--from", "any")
            for number in range(6):
                slow.drop_file(f"slow-{number}", some_bytes(2 << 20, number))
            wait_for("the slow ones are fetched", lambda: len(states(archive).get("fetching", [])) >= 3, slow, archive)
            join(slow, quick)
            quick.drop_file("quick", some_bytes(1 << 20))
            wait_for("the quick one arrives", lambda: states(archive).get("stored") == ["quick"], archive)
            assert len(states(archive)["fetching"]) == 3
            waiting = states(archive)["wanted"][0]
            assert "site-has-its-share" in archive.lbctl("explain", waiting)
            (transfer,) = [known for known in archive.client.transfers(limit=100).transfers if known.name == waiting]
            assert "held: summit 3" in archive.lbctl("transfer", "show", str(transfer.id))
