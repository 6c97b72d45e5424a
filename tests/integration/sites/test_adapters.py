"""Two thousand files and three books between two sites by adapters that are programs, the daemon killed meanwhile."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from tests.support.oracle import digest_of as blake3_of
from tests.support.oracle import in_book, some_bytes, standing
from tests.support.rsyncd import needs, rsync_daemon, sshd
from tests.support.sites import Pair, Site, free_port, sites

FILES = 2000
KILLS = 5
pytestmark = pytest.mark.timeout(240)


def toml(value: Any) -> str:
    """An inline table."""
    if isinstance(value, dict):
        table = cast("dict[str, Any]", value)
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(one)}" for key, one in table.items()) + "}"
    return json.dumps(value)


def with_adapter(order: list[str], **settings: object) -> dict[str, str]:
    """Variables of a daemon's environment."""
    return {"LIBRARIAN_ADAPTERS__ORDER": json.dumps(order), "LIBRARIAN_ADAPTERS__SETTINGS": toml(settings)}


@contextmanager
def by_rsync(root: Path, *, ssh: bool) -> Generator[Pair]:
    """Two sites, of which the second fetches by rsync alone."""
    needs("rsync")
    store = root / "summit" / "store"
    source = Site(root / "summit", "summit", bus=f"embedded:{free_port()}")
    destination = Site(root / "archive", "archive")
    with sites(source, destination):
        if ssh:
            with sshd(root / "sshd") as server:
                source.overlay |= with_adapter(
                    ["http", "rsync"], rsync={"serve": {"main": f"ssh://127.0.0.1:{server.port}{store}"}}
                )
                known = {"identity_file": str(server.identity), "known_hosts_file": str(server.known_hosts)}
                destination.overlay |= with_adapter(["rsync"], rsync=known)
                yield joined(source, destination)
            return
        (root / "password").write_text("s3cret\n")
        (root / "password").chmod(0o600)
        with rsync_daemon(root / "rsyncd", {"main": store}, secret="s3cret") as port:
            source.overlay |= with_adapter(
                ["http", "rsync"], rsync={"serve": {"main": f"rsync://127.0.0.1:{port}/main"}}
            )
            destination.overlay |= with_adapter(
                ["rsync"], rsync={"user": "lb", "password_file": str(root / "password")}
            )
            yield joined(source, destination)


def joined(source: Site, destination: Site) -> Pair:
    both = Pair(source, destination)
    both.join()
    return both


def drop_all(site: Site) -> dict[str, str]:
    """2,000 files, some of them large, and three books; what stands in a store that has them."""
    expected: dict[str, str] = {}
    files: dict[str, bytes] = {}
    for number in range(FILES):
        data = some_bytes(20 << 20 if number % 1000 == 7 else 100 + number, number)
        files[f"f{number:04}.dat"] = data
        expected[f"obs/f{number:04}.dat"] = blake3_of(data)
    site.drop_tree("obs", files)
    for number in range(3):
        members: dict[str, bytes | None] = {
            f"m {index}/é{index}": some_bytes(3000 + index, (number, index)) for index in range(50)
        }
        site.drop_book(f"night-{number}", {**members, "empty": None})
        expected |= in_book(f"night-{number}", {**members, "empty": None})
    return expected


def assert_arrived(both: Pair, expected: dict[str, str], adapter: str) -> None:
    both.acknowledged(FILES + 3, deadline_s=120)
    assert standing(both.destination.store) == expected
    assert {one.adapter for one in both.destination.client.transfers(limit=500).transfers} == {adapter}
    assert both.destination.client.status().healthy
    staged = {path.name for path in both.destination.left_in_staging()}
    assert staged == set()
    both.assert_whole()


@pytest.mark.parametrize("ssh", [False, True], ids=["daemon", "ssh"])
def test_everything_arrives_by_rsync_also_when_the_daemon_is_killed(tmp_path: Path, ssh: bool) -> None:
    with by_rsync(tmp_path, ssh=ssh) as both:
        expected = drop_all(both.source)
        both.wait_for("all is ingested", lambda: both.source.client.status().counts.files == FILES + 3, 60)
        both.destination.lbctl("subscription", "add", "--from", "summit")
        for number in range(KILLS if not ssh else 1):
            enough = (FILES // 8) * (number + 1)
            both.wait_for(
                "some have come",
                lambda enough=enough: both.destination.client.status().counts.instances_here >= enough,  # type: ignore[misc]
                90,
            )
            both.destination.kill()
            both.destination.start()
        assert_arrived(both, expected, "rsync")
        shown = both.destination.lbctl("transfer", "show", "1")
        assert "by rsync: the only adapter that both sites have" in shown
