"""What is not offered to a site it does not get, whatever it asks for; the others do, and the reason is shown."""

from __future__ import annotations

from pathlib import Path

from tests.support.oracle import digest_of, standing
from tests.support.sites import pair


def test_what_is_not_offered_does_not_arrive_until_it_is(tmp_path: Path) -> None:
    with pair(tmp_path) as both:
        both.source.lbctl("offer", "set", "archive", "public/**")
        both.source.drop_tree("secret", {"plan.dat": b"not for you"})
        both.source.drop_tree("public", {"sky.dat": b"for all"})
        both.wait_for("the other arrives", lambda: both.source.client.status().counts.instances_elsewhere == 1)
        both.wait_for(
            "the reason is shown",
            lambda: "not-offered" in both.destination.lbctl("transfer", "list"),
        )
        assert standing(both.destination.store) == {"public/sky.dat": digest_of(b"for all")}
        assert "(not-offered)" in both.destination.lbctl("explain", "secret/plan.dat")
        both.source.lbctl("offer", "clear", "archive")
        (waiting,) = [one for one in both.destination.client.transfers().transfers if one.name == "secret/plan.dat"]
        both.destination.lbctl("transfer", "retry", str(waiting.id))
        both.acknowledged(2)
        both.assert_whole()
