"""What a site may be given, and what it may ingest: the rest does not arrive, and the reason is shown."""

from __future__ import annotations

from pathlib import Path

from tests.support.oracle import digest_of, standing
from tests.support.sites import Site, pair


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
        (waiting,) = [
            transfer for transfer in both.destination.client.transfers().transfers if transfer.name == "secret/plan.dat"
        ]
        both.destination.try_now(waiting.id)
        both.acknowledged(2)
        both.assert_whole()


def grants(site: Site) -> list[str]:
    """A site's own, as it knows them."""
    return next(known.grants for known in site.client.sites() if known.site == site.name)


def test_a_site_refuses_at_its_own_door_what_it_is_not_granted(tmp_path: Path) -> None:
    """Others would not believe it; so it is not accepted here either, and its bytes are kept beside the reason."""
    with pair(tmp_path) as both:
        archive = both.destination
        both.source.lbctl("site", "set", "archive", "--grant", "derived/**")
        both.wait_for(
            "the archive knows",
            lambda: [site.grants for site in archive.client.sites() if site.site == "archive"] == [["derived/**"]],
        )
        archive.drop_file("raw.dat", b"raw")
        archive.drop_tree("derived", {"a.dat": b"derived"})
        reason = both.wait_for("it is refused", lambda: archive.rejected().get("raw.dat"))
        assert "granted derived/**" in reason
        both.wait_for("the other is told", lambda: both.source.told("file.ingested", "archive")["derived/a.dat"])
        assert set(archive.told("file.ingested", "archive")) == {"derived/a.dat"}
        both.assert_whole()
