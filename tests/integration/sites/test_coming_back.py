"""A site comes back in an empty directory, under its name: after a theft with another key, after a loss with its own.

What it said before stays believed, what a thief said is not, and journals are whole everywhere.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support.oracle import digest_of
from tests.support.rogue import rogue
from tests.support.sites import Pair, Site, join, pair, sites

from librarian_protocol.digests import Digest
from librarian_protocol.entries import Access, FileIngested, InstanceRemoved, SiteAdmitted, Unit
from librarian_protocol.keys import SiteKey
from librarian_protocol.names import Name, SiteName
from librarian_protocol.segments import NO_HASH, Position

SOON = {"# heads_every_s = 30.0": "heads_every_s = 1.0"}
STORE = "ab" * 16


@pytest.fixture
def both(tmp_path: Path) -> Generator[Pair]:
    """A file of each stands at both."""
    with pair(tmp_path, changed=SOON) as made:
        made.source.lbctl("subscription", "add", "--from", "archive")
        made.source.drop_file("of summit.dat", b"of summit")
        made.destination.drop_file("of archive.dat", b"of archive")
        made.at_both("holds both", lambda site: {"of summit.dat", "of archive.dat"} <= arrived(site))
        made.wait_for("it is acknowledged", lambda: made.source.told("instance.registered", "archive"))
        yield made


def arrived(site: Site) -> set[str]:
    return {path.name for path in site.store.glob("*.dat")}


def names(site: Site) -> set[str]:
    return {file.name for file in site.client.files().files}


@contextmanager
def emptied(old: Site, root: Path) -> Generator[Site]:
    """The site in a directory of its own that knows nothing yet, its daemon not started."""
    made = Site(root, old.name, changed=SOON)
    with sites(made):
        yield made


def key_shown(site: Site) -> str:
    """As `lbctl site list -o json` shows it."""
    (mine,) = [known for known in json.loads(site.lbctl("site", "list", "-o", "json")) if known["here"]]
    key: str = mine["key"]
    return key


def facts(name: str, data: bytes) -> dict[str, Any]:
    """What an entry says of a file."""
    return {"name": Name.parse(name), "digest": Digest.blake3(data), "size_bytes": len(data), "unit": Unit.FILE}


def is_whole(*all_of_them: Site) -> None:
    """Journals verify and audit clean."""
    for site in all_of_them:
        site.lbctl("events", "verify")
        site.lbctl("events", "audit")


def has_come_back(both: Pair, again: Site) -> None:
    """It is recovered, knows what it said before, its subscription too, and data goes both ways."""
    both.wait_for("it knows what it said", lambda: {"of summit.dat", "of archive.dat"} <= names(again), 200.0)
    both.wait_for("it has recovered", lambda: "catalog-behind" not in again.problems(), 200.0)
    both.wait_for("it fetches again what it held", lambda: "of summit.dat" in arrived(again), 200.0)
    again.drop_file("new of archive.dat", b"new")
    both.wait_for("summit gets it", lambda: "new of archive.dat" in arrived(both.source))


async def test_a_site_that_was_broken_into_comes_back_with_another_key_and_the_thief_is_believed_nowhere(
    both: Pair, tmp_path: Path
) -> None:
    """He has its keys and its place on the bus, begins its journal anew with low numbers and a great epoch, and is
    believed until the site is revoked with the end that was its own.
    """
    summit, archive = both.sites
    (tip,) = json.loads(summit.lbctl("site", "tips", "archive", "-o", "json"))
    held, lie = facts("of archive.dat", b"of archive"), facts("lie.dat", b"lie")
    store = next(known.id for known in archive.client.status().stores)
    async with rogue(archive, summit.client.status().bus.url) as thief:
        beginning = Position(site=SiteName("archive"), epoch=1000, incarnation="f" * 16, seq=0, hash=NO_HASH)
        mallory = SiteAdmitted(
            site=SiteName("mallory"),
            key=SiteKey(bytes(32)).public,
            access=Access.FULL,
            domain="mallory",
            grants=["**"],
        )
        said = thief.cut(
            FileIngested(**lie, store=STORE, mtime_ns=0),
            InstanceRemoved(**held, store=store, reason="a lie"),
            mallory,
            position=beginning,
        )
        await thief.publish(said)
        both.wait_for("he is believed, as long as the key is the site's", lambda: "lie.dat" in names(summit))
    told = summit.lbctl(
        "site", "revoke", "archive", "--reason", "break-in", "--cutoff", f"{tip['incarnation']}:{tip['seq']}"
    )
    assert "REVOKED" in told
    assert names(summit) == {"of summit.dat", "of archive.dat"}
    (shown,) = [known for known in json.loads(summit.lbctl("site", "list", "-o", "json")) if known["site"] == "archive"]
    assert shown["tips"] == [f"{tip['incarnation']}:{tip['seq']}"]
    assert shown["entries_beyond"] >= 3
    is_whole(summit)
    with emptied(archive, tmp_path / "again") as again:
        again.start()
        summit.lbctl("site", "readmit", "archive", "--key", key_shown(again))
        token = summit.lbctl("site", "invite").strip()
        again.lbctl("site", "join", "--yes", token)
        has_come_back(both, again)
        assert "lie.dat" not in names(again)
        assert digest_of((again.store / "of summit.dat").read_bytes()) == digest_of(b"of summit")
        is_whole(summit, again)


def test_a_site_that_went_over_to_another_key_and_lost_its_catalog_comes_back_by_a_token(
    both: Pair, tmp_path: Path
) -> None:
    """Its key is kept, and all that it said before under the former one stays whole."""
    summit, archive = both.sites
    archive.lbctl("site", "rekey")
    archive.stop()
    archive.start()
    archive.drop_file("under the new key.dat", b"later")
    both.wait_for("summit gets it", lambda: "under the new key.dat" in arrived(summit))
    archive.stop()
    with emptied(archive, tmp_path / "again") as again:
        shutil.copy2(archive.root / "keys" / "site.key", again.root / "keys" / "site.key")
        join(summit, again)
        has_come_back(both, again)
        assert "under the new key.dat" in names(again)
        is_whole(summit, again)


def test_a_token_does_not_take_a_name_from_a_site_with_another_key(both: Pair, tmp_path: Path) -> None:
    """And says which command would, if it is that site; which goes on asking meanwhile."""
    summit, archive = both.sites
    archive.stop()
    with emptied(archive, tmp_path / "again") as again:
        token = summit.lbctl("site", "invite").strip()
        again.start()
        refusal = again.lbctl("site", "join", "--yes", token, exit_code=12)
        assert "another key" in refusal
        hint = msgspec.json.encode(summit.client.incidents().incidents).decode()
        assert f"lbctl site readmit archive --key {key_shown(again)}" in hint
        summit.lbctl("site", "readmit", "archive", "--key", key_shown(again))
        has_come_back(both, again)
        is_whole(summit, again)
