"""Hundreds of files and three books between two sites by adapters that are programs, the daemon killed meanwhile.

``LIBRARIAN_FILES=2000`` and ``LIBRARIAN_KILLS=5`` set how many of each.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from tests.support.example import EXAMPLE, installed
from tests.support.globus_standin import DESTINATION, SOURCE, StandIn, standin
from tests.support.gridftp import gridftp
from tests.support.oracle import digest_of as blake3_of
from tests.support.oracle import in_book, kept, some_bytes, standing
from tests.support.programs import needs
from tests.support.rsyncd import rsync_daemon, sshd
from tests.support.sites import Pair, Site, free_port, pair, sites

FILES = int(os.environ.get("LIBRARIAN_FILES", "800"))
KILLS = int(os.environ.get("LIBRARIAN_KILLS", "3"))
pytestmark = pytest.mark.timeout(240)


def toml(value: Any) -> str:
    """An inline table."""
    if isinstance(value, dict):
        table = cast("dict[str, Any]", value)
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(inner)}" for key, inner in table.items()) + "}"
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


@contextmanager
def by_globus(root: Path) -> Generator[tuple[Pair, StandIn]]:
    """Two sites, of which the second fetches by Globus alone."""
    source = Site(root / "summit", "summit", bus=f"embedded:{free_port()}")
    destination = Site(root / "archive", "archive")
    with gridftp(root / "grid") as data, standin(data) as service, sites(source, destination):
        theirs = service.settings(SOURCE, root / "secret") | {"serve": ["main"]}
        source.overlay |= service.environ | with_adapter(["http", "globus"], globus=theirs)
        ours = service.settings(DESTINATION, root / "secret")
        destination.overlay |= service.environ | with_adapter(["globus"], globus=ours)
        yield joined(source, destination), service


def joined(source: Site, destination: Site) -> Pair:
    both = Pair(source, destination)
    both.join()
    return both


def drop_all(site: Site) -> dict[str, str]:
    """All files, some of them large, and three books; what stands in a store that has them."""
    expected: dict[str, str] = {}
    files: dict[str, bytes] = {}
    for number in range(FILES):
        data = some_bytes(20 << 20 if number % 400 == 7 else 100 + number, number)
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
    assert kept(both.destination.store) == kept(both.source.store)
    assert {transfer.adapter for transfer in both.destination.client.transfers(limit=500).transfers} == {adapter}
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


def test_everything_arrives_by_http_also_when_the_daemon_is_killed(tmp_path: Path) -> None:
    with pair(tmp_path, subscribe=False) as both:
        expected = drop_all(both.source)
        both.wait_for("all is ingested", lambda: both.source.client.status().counts.files == FILES + 3, 60)
        both.destination.lbctl("subscription", "add", "--from", "summit")
        for _ in range(KILLS):
            both.destination.kill()
            both.destination.start()
        assert_arrived(both, expected, "http")


def test_everything_arrives_by_globus_and_nothing_is_submitted_twice(tmp_path: Path) -> None:
    with by_globus(tmp_path) as (both, service):
        expected = drop_all(both.source)
        both.wait_for("all is ingested", lambda: both.source.client.status().counts.files == FILES + 3, 60)
        service.pause_s = 1.0
        both.destination.lbctl("subscription", "add", "--from", "summit")
        for _ in range(KILLS):
            asked = service.asked["task"]
            both.wait_for("the service was asked for more", lambda n=asked: service.asked["task"] > n + 2, 90)  # type: ignore[misc]
            both.destination.kill()
            both.destination.start()
        assert_arrived(both, expected, "globus")
        asked_for = [item["source_path"] for document in service.documents for item in document["DATA"]]
        assert len(asked_for) == len(set(asked_for)), "no path was asked for by two submissions"
        assert len(service.tasks) == len(service.documents)
        assert any(item.get("recursive") for document in service.documents for item in document["DATA"])
        assert max(len(document["DATA"]) for document in service.documents) > FILES // 4, "many files go together"


def test_no_more_tasks_are_in_flight_than_configured(tmp_path: Path) -> None:
    """Of one source one less: the last slot is left to other sites."""
    with by_globus(tmp_path) as (both, service):
        both.destination.stop()
        both.destination.overlay["LIBRARIAN_ADAPTERS__LIMITS"] = "{globus = {jobs = 3}}"
        both.destination.overlay["LIBRARIAN_REPLICATOR__BATCH_FILES"] = "10"
        both.destination.start()
        service.pause_s = 0.3
        both.source.drop_tree("many", {f"{number}.dat": some_bytes(10, number) for number in range(80)})
        both.wait_for("all is ingested", lambda: both.source.client.status().counts.files == 80, 60)
        both.destination.lbctl("subscription", "add", "--from", "summit")
        both.acknowledged(80)
        assert len(service.tasks) >= 8
        assert service.most_active == 2


def test_what_is_not_wanted_any_longer_is_cancelled_at_the_service(tmp_path: Path) -> None:
    with by_globus(tmp_path) as (both, service):
        service.fates.append("stuck")
        both.source.drop_file("unwanted.dat", some_bytes(1000))
        both.destination.lbctl("subscription", "add", "--from", "summit")
        both.wait_for("the task goes on", lambda: service.tasks, 60)
        (rule,) = both.destination.client.subscriptions()
        both.destination.lbctl("subscription", "rm", rule.id)
        both.wait_for(
            "it was cancelled", lambda: [task for task in service.tasks.values() if task["status"] == "FAILED"], 60
        )
        assert "unwanted.dat" not in standing(both.destination.store)


def test_where_one_adapter_fails_the_next_has_its_turn_and_the_reason_is_kept(tmp_path: Path) -> None:
    with by_globus(tmp_path) as (both, service):
        both.destination.stop()
        both.destination.overlay["LIBRARIAN_ADAPTERS__ORDER"] = '["globus", "http"]'
        both.destination.overlay["LIBRARIAN_ADAPTERS__LIMITS"] = "{globus = {min_bytes = 5000}}"
        both.destination.start()
        service.fates.extend(["fail:ENDPOINT_ERROR"] * 2)
        both.source.drop_file("large.dat", some_bytes(9000))
        both.destination.lbctl("subscription", "add", "--from", "summit")
        both.acknowledged(1)
        (large,) = both.destination.transfers()
        assert large.adapter == "http"
        assert large.chosen.startswith("http: its turn after 2 failures in a row; the last one: Globus task")
        assert "by http: its turn" in both.destination.lbctl("transfer", "show", str(large.id))

        both.source.drop_file("small.dat", some_bytes(100))
        both.acknowledged(2)
        small = next(transfer for transfer in both.destination.transfers() if transfer.name == "small.dat")
        assert small.chosen == "http: globus is for files of 5,000 bytes or more (adapters.limits)"


def test_a_missing_consent_parks_and_goes_on_after_the_login(tmp_path: Path) -> None:
    with by_globus(tmp_path) as (both, service):
        service.faults["transfer"] = deque(["consent"] * 3)
        both.source.drop_file("asked.dat", some_bytes(1000))
        both.destination.lbctl("subscription", "add", "--from", "summit")
        both.wait_for(
            "it parks",
            lambda: [transfer for transfer in both.destination.transfers() if transfer.state == "parked"],
            60,
        )
        (parked,) = both.destination.transfers()
        assert parked.reason == "adapter-credentials"
        assert "consent is missing for a-scope" in parked.message
        assert "lbctl adapter login" in parked.hint
        both.destination.lbctl("transfer", "retry", "--all", "--reason", "adapter-credentials")
        both.acknowledged(1)


def test_an_adapter_in_a_package_of_its_own_is_used_without_changing_anything(tmp_path: Path) -> None:
    path = f"{installed(tmp_path / 'package')}:{os.environ.get('PYTHONPATH', '')}"
    store = tmp_path / "summit" / "store"
    source = Site(tmp_path / "summit", "summit", bus=f"embedded:{free_port()}", overlay={"PYTHONPATH": path})
    destination = Site(tmp_path / "archive", "archive", overlay={"PYTHONPATH": path})
    port = free_port()
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(store)]
    with sites(source, destination):
        source.overlay |= with_adapter(["http", "webdir"], webdir={"serve": {"main": f"http://127.0.0.1:{port}/"}})
        destination.overlay |= with_adapter(["webdir"])
        both = joined(source, destination)
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
            both.source.drop_file("one.dat", some_bytes(100_000))
            both.source.drop_book("night", {"a": b"1", "sub/b": b"22"})
            both.destination.lbctl("subscription", "add", "--from", "summit")
            both.acknowledged(2)
            server.terminate()
        assert {transfer.adapter for transfer in both.destination.transfers()} == {"webdir"}
        both.assert_whole()


def test_the_example_is_short() -> None:
    """Whoever writes an adapter of his own copies it: it stays below 150 lines."""
    assert len((EXAMPLE / "librarian_webdir.py").read_text().splitlines()) < 150
