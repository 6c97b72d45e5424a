"""``lbctl explain`` and what status shows of a peer, with real daemons."""

from __future__ import annotations

from pathlib import Path

from tests.support.flipping_proxy import FlippingProxy
from tests.support.sites import pair


def test_explain_says_why_a_file_is_not_here_and_status_how_long_it_is_owed(tmp_path: Path) -> None:
    soon = {"# heads_every_s = 30.0": "heads_every_s = 1.0"}
    with FlippingProxy() as proxy, pair(tmp_path, advertise=proxy.address, subscribe=False, changed=soon) as both:
        source, destination = both.sites
        source.drop_file("a/b.dat", b"bytes")
        both.wait_for("it is announced", lambda: destination.told("file.ingested")["a/b.dat"])
        said = destination.lbctl("explain", "a/b.dat")
        assert "archive has no subscription" in said
        assert "lbctl subscription add --from summit" in said
        assert "it is at summit" in source.lbctl("explain", "a/b.dat")

        destination.lbctl("subscription", "add", "--from", "summit")  # its data address leads nowhere yet
        both.wait_for("it was tried", lambda: [transfer for transfer in destination.transfers() if transfer.attempts])
        said = destination.lbctl("explain", "a/b.dat")
        assert "source-unreachable" in said
        assert "tried" in said
        (peer,) = destination.client.status().peers
        assert (peer.link, peer.owed_files, peer.owed_bytes) == ("up", 1, 5)
        assert peer.lag_s > 0
        both.wait_for(
            "the source knows that the other one wants it",
            lambda: "wanted there" in source.lbctl("explain", "a/b.dat", "--at", "archive"),
        )

        proxy.target = source.data_port
        destination.try_now(1)
        both.acknowledged(1)
        assert "it is at archive" in destination.lbctl("explain", "a/b.dat")
        (peer,) = destination.client.status().peers
        assert (peer.owed_files, peer.lag_s) == (0, 0)
        both.wait_for(
            "the source knows how far the other one is",
            lambda: source.client.status().peers[0].holds_ours == source.client.status().journal.seq,
        )
        assert "did you mean" in destination.lbctl("explain", "a/c.dat", exit_code=4)
        assert "is not in the roster" in destination.lbctl("explain", "a/b.dat", "--at", "moon", exit_code=4)
