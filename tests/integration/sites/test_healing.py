"""A file that is withdrawn leaves its name everywhere and another one has it; bad bytes are fetched again."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.sites import Pair, Site, free_port, pair

from librarian_protocol.digests import Digest


def spoil(site: Site, name: str, data: bytes) -> None:
    path = site.store / name
    path.chmod(0o644)
    path.write_bytes(data)


def holders(site: Site, name: str) -> list[str]:
    """Sites with a good instance, as a site lists them."""
    return [holder for file in site.client.files().files if file.name == name for holder in file.sites]


def at_both(both: Pair, name: str) -> None:
    both.wait_for(f"both hold {name}", lambda: all(holders(site, name) == ["archive", "summit"] for site in both.sites))


@pytest.mark.fault(19)
def test_bad_bytes_are_fetched_again_and_a_withdrawn_file_gives_its_name_to_another(tmp_path: Path) -> None:
    with pair(tmp_path) as both:
        summit, archive = both.sites
        summit.drop_file("a.dat", b"short")
        summit.drop_file("b.dat", b"b")
        at_both(both, "a.dat")
        at_both(both, "b.dat")

        # The origin's own instance goes bad; nobody subscribes there.
        spoil(summit, "b.dat", b"B")
        summit.lbctl("file", "verify", "b.dat", exit_code=6)
        both.wait_for("it is fetched again by itself", lambda: (summit.store / "b.dat").read_bytes() == b"b")
        at_both(both, "b.dat")
        assert [file.origin for file in summit.client.file("b.dat").files] == ["summit"]
        assert [path.read_bytes() for path in (summit.store / ".librarian" / "bad").iterdir()] == [b"B"]
        both.wait_for("the incident is over", lambda: "instance-suspected" not in summit.problems())
        spoil(archive, "b.dat", b"B")
        assert "fetched again from summit" in archive.lbctl("file", "heal", "b.dat")
        both.wait_for("it is right", lambda: (archive.store / "b.dat").read_bytes() == b"b")

        # The first was taken before it was whole.
        archive.lbctl("file", "withdraw", "a.dat", "--reason", "x", "--yes", exit_code=11)
        summit.lbctl("file", "withdraw", "a.dat", "--reason", "it was not whole", exit_code=11)
        summit.lbctl("file", "withdraw", "a.dat", "--reason", "it was not whole", "--yes")
        kept = f".librarian/withdrawn/{Digest.blake3(b'short').hex}"
        assert (summit.store / kept).read_bytes() == b"short"
        both.wait_for("the other one moves it, too", (archive.store / kept).exists)
        both.wait_for("it is nowhere", lambda: holders(summit, "a.dat") == [])
        summit.drop_file("a.dat", b"longer than that")
        both.wait_for("the other file arrives", (archive.store / "a.dat").exists)
        assert (archive.store / "a.dat").read_bytes() == b"longer than that"
        summit.drop_file("a.dat", b"short")
        both.wait_for("the first one is refused for ever", summit.rejected)
        both.assert_whole()
        the_bus_moves(both)


def the_bus_moves(both: Pair) -> None:
    """The site that runs the bus gives it another port: the others are told what to do, and that works."""
    summit, archive = both.sites
    old = archive.client.status().bus.url
    summit.stop()
    text = summit.config.read_text()
    port, new = old.rpartition(":")[2], free_port()
    assert f":{port}" in text
    summit.config.write_text(text.replace(f":{port}", f":{new}"))
    summit.start()
    both.wait_for("it is missed", lambda: not archive.client.status().bus.connected)
    (hint,) = [check.hint for check in archive.client.doctor() if check.check == "bus"]
    assert old in hint
    assert "`lbctl site invite`" in hint
    archive.lbctl("site", "join", summit.lbctl("site", "invite").strip())
    summit.drop_file("after.dat", b"the move")
    both.wait_for("they go on", (archive.store / "after.dat").exists)
    assert archive.client.status().bus.url.endswith(f":{new}")
