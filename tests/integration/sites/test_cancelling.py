"""What is cancelled or paused leaves the wire: its slot is free, its bytes are gone or kept, the others go on."""

from __future__ import annotations

from pathlib import Path

from tests.support.dripping import DrippingProxy
from tests.support.oracle import some_bytes
from tests.support.sites import Pair, pair

SIZE = 2 << 20


def states(both: Pair) -> dict[str, str]:
    """State of each transfer, by name; ``cancelled (by-person)``."""
    return {
        transfer.name: transfer.state + (f" ({transfer.reason})" if transfer.reason else "")
        for transfer in both.destination.client.transfers(limit=100).transfers
    }


def staged(both: Pair) -> set[str]:
    return {path.name for path in both.destination.left_in_staging()}


def test_what_is_cancelled_or_paused_leaves_the_wire(tmp_path: Path) -> None:
    with DrippingProxy(every_s=0.2) as proxy, pair(tmp_path, advertise=proxy.address) as both:
        proxy.target = both.source.data_port
        archive = both.destination
        for number in range(3):
            both.source.drop_file(f"f{number}", some_bytes(SIZE, number))
        both.wait_for("all come", lambda: proxy.open >= 3 and set(states(both).values()) == {"fetching"})
        numbers = {transfer.name: transfer.id for transfer in archive.client.transfers(limit=100).transfers}

        # Paused: the batch ends, and begins anew with the others; what came is kept.
        archive.lbctl("transfer", "pause", str(numbers["f0"]))
        expected = {"f0": "paused", "f1": "fetching", "f2": "fetching"}
        both.wait_for("the others go on", lambda: archive.logged("batch_ended") and states(both) == expected)
        assert f"t{numbers['f0']}" in staged(both)
        for transfer in archive.client.transfers(limit=100).transfers:
            assert transfer.moved_bytes <= SIZE

        # Cancelled by a person: it leaves staging, and no subscription wants it again.
        archive.lbctl("transfer", "cancel", str(numbers["f1"]))
        both.wait_for("it is off the wire", lambda: f"t{numbers['f1']}" not in staged(both))
        archive.lbctl("subscription", "add", "--from", "any")
        archive.lbctl("transfer", "resume", str(numbers["f0"]))
        expected = {"f0": "fetching", "f1": "cancelled (by-person)", "f2": "fetching"}
        both.wait_for("the paused one goes on", lambda: states(both) == expected)

        # Nobody wants anything any longer: nothing comes any more, and no slot is held.
        for rule in archive.client.subscriptions():
            archive.lbctl("subscription", "rm", rule.id)
        both.wait_for("nothing comes", lambda: proxy.open == 0 and not staged(both))
        assert set(states(both).values()) == {"cancelled", "cancelled (by-person)"}
        assert "nothing to pause" in archive.lbctl("transfer", "pause", str(numbers["f2"]), exit_code=2)
