"""A conflict is decided: the loser is set aside and kept, the winner arrives; and the other way round."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from pathlib import Path

import pytest
from tests.support.nats import nats_server
from tests.support.oracle import digest_of
from tests.support.sites import Pair, Site, free_port, pair

SOON = {"# heads_every_s = 30.0": "heads_every_s = 1.0"}
OF_SUMMIT, OF_ARCHIVE = b"the summit's", b"the archive's"


@pytest.fixture
def both(tmp_path: Path) -> Generator[Pair]:
    """Two sites that each ingested ``same.dat`` while the bus was away."""
    with nats_server(tmp_path / "nats", free_port()) as server, pair(tmp_path, bus=server.url, changed=SOON) as made:
        made.source.lbctl("subscription", "add", "--from", "archive")
        made.wait_for("both know it", lambda: len(made.destination.client.subscriptions()) == 2)
        server.kill()
        made.source.drop_file("same.dat", OF_SUMMIT)
        made.destination.drop_file("same.dat", OF_ARCHIVE)
        made.at_both("ingested", lambda site: site.told("file.ingested")["same.dat"])
        server.start()
        made.at_both("the conflict shows", lambda site: site.problems().get("conflict") == ["same.dat"])
        yield made


def stands(site: Site, name: bytes, aside: bytes) -> bool:
    """Whether these bytes have the name, and those stand aside and nowhere else."""
    place = site.store / ".librarian" / "conflict"
    here = site.store / "same.dat"
    return (
        here.exists()
        and here.read_bytes() == name
        and [path.read_bytes() for path in place.iterdir()] == ([aside] if aside else [])
    )


@pytest.mark.fault(38)
def test_the_loser_is_set_aside_and_the_winner_arrives_and_the_other_way_round(both: Pair) -> None:
    source, destination = both.sites
    assert "may not decide" in destination.lbctl("file", "resolve", "same.dat", "--keep-from", "archive", exit_code=11)
    assert "files of that name fit" in source.lbctl("file", "resolve", "same.dat", "--keep", "", exit_code=2)

    said = source.lbctl("file", "resolve", "same.dat", "--keep-from", "summit")
    assert f"{digest_of(OF_SUMMIT)}: has the name" in said
    assert f"{digest_of(OF_ARCHIVE)}: set aside" in said
    both.wait_for("the winner has the name at the archive", partial(stands, destination, OF_SUMMIT, OF_ARCHIVE))
    both.at_both("nothing is in conflict", lambda site: "conflict" not in site.problems())
    assert stands(source, OF_SUMMIT, b"")
    assert "set aside" in destination.lbctl("explain", "same.dat")

    destination.kill()  # in the midst of nothing: what was moved is found again
    destination.start()
    source.lbctl("file", "resolve", "same.dat", "--keep", digest_of(OF_ARCHIVE))
    both.wait_for("the other one has it at the archive", partial(stands, destination, OF_ARCHIVE, OF_SUMMIT))
    both.wait_for("and arrives at the summit", partial(stands, source, OF_ARCHIVE, OF_SUMMIT))
    both.assert_whole()


def test_nothing_is_served_that_is_set_aside_and_nothing_of_it_is_lost_by_kill(both: Pair) -> None:
    source, destination = both.sites
    source.lbctl("file", "resolve", "same.dat", "--keep-from", "archive")
    source.kill()
    source.start()
    both.wait_for("the winner has the name at the summit", partial(stands, source, OF_ARCHIVE, OF_SUMMIT))
    assert not [transfer for transfer in destination.transfers() if transfer.state != "stored"], (
        "nobody wants what was set aside"
    )
    assert "set aside" in source.lbctl("explain", "same.dat")
    both.assert_whole()
