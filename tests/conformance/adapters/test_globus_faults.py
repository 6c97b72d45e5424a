"""What the service can do to us: each ends in the right error, with its own words, and nothing is submitted twice."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.conformance.adapters.conftest import GlobusRig
from tests.support.fetching import Heard, failures, landed_keys, outcomes_of
from tests.support.globus_standin import CLIENT, DESTINATION, SOURCE, Fault, StandIn, standin
from tests.support.gridftp import GridFtp
from tests.support.source import STORE, Collection, Destination, noise
from tests.support.stores import posix

from librarian_adapters.contract import Context, Item, Outcome, Part
from librarian_adapters.globus import adapter
from librarian_adapters.globus.settings import place_of
from librarian_adapters.wrappers.verifying import VerifyingAdapter
from librarian_daemon.stores.posix.store import PosixStore
from librarian_protocol.errors import (
    AdapterCredentials,
    ConfigInvalid,
    LibrarianError,
    SourceInvalid,
    SourceMissing,
    SourceRefused,
    SourceUnreachable,
    StoreFull,
    TransferError,
    TransferTimeout,
)


class World:
    """A source, the service, a store to bring to."""

    def __init__(self, rig: GlobusRig, service: StandIn, store: PosixStore) -> None:
        self.rig = rig
        self.service = service
        self.store = store
        self.heard = Heard()

    async def fetch(self, items: Sequence[Item], ticket: bytes | None = None) -> list[Outcome]:
        batch = self.rig.batch(items)
        if ticket is not None:
            batch = msgspec.structs.replace(batch, ticket=ticket, id="b1")
        return await outcomes_of(VerifyingAdapter(self.rig.adapter), batch, self.store.staging, self.heard)

    async def failure(self, items: Sequence[Item]) -> LibrarianError:
        with pytest.raises(LibrarianError) as caught:
            await self.fetch(items)
        return caught.value


@pytest.fixture
async def world(grid: GridFtp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[World]:
    store = posix(tmp_path / "destination")
    await store.open()
    with standin(grid) as service:
        for name, value in service.environ.items():
            monkeypatch.setenv(name, value)
        yield World(GlobusRig(Collection(tmp_path / "source"), service, tmp_path / "globus"), service, store)
    store.close()


def files(world: World, count: int = 3) -> list[Item]:
    return [world.rig.collection.add(f"f{number}.dat", noise(1000 + number, number)) for number in range(count)]


# ---- the service stumbles --------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["submission_id", "transfer", "task", "skipped_errors"])
@pytest.mark.parametrize("fault", [429, 500, 503, "lost"])
async def test_what_passes_by_itself_is_waited_out(world: World, operation: str, fault: Fault) -> None:
    items = files(world)
    world.service.faults[operation] = deque([fault, fault])
    assert landed_keys(await world.fetch(items)) == {item.key for item in items}
    assert len(world.service.documents) == 1, "submitted once"


async def test_a_service_that_stays_away_is_an_error_that_is_tried_again(world: World) -> None:
    world.service.faults["transfer"] = deque([503] * 50)
    error = await world.failure(files(world))
    assert isinstance(error, SourceUnreachable)
    assert "503" in error.message
    assert world.service.documents == []


@pytest.mark.parametrize("operation", ["submission_id", "transfer", "task"])
async def test_a_refused_token_asks_for_a_login(world: World, operation: str) -> None:
    world.service.faults[operation] = deque([401] * 5)
    error = await world.failure(files(world))
    assert isinstance(error, AdapterCredentials)
    assert "401" in error.message
    assert error.hint == "lbctl adapter login globus"


async def test_a_missing_consent_names_the_scope_and_the_command(world: World) -> None:
    world.service.faults["transfer"] = deque(["consent"])
    error = await world.failure(files(world))
    assert isinstance(error, AdapterCredentials)
    assert "ConsentRequired" in error.message
    assert "a-scope" in error.message
    assert error.hint == "lbctl adapter login globus"


async def test_no_secret_is_told(world: World, tmp_path: Path) -> None:
    """The file with the client's secret is missing: the error names the setting."""
    (tmp_path / "globus" / "secret").unlink()
    error = await world.failure(files(world))
    assert isinstance(error, AdapterCredentials)
    assert "client_secret_file" in error.message


# ---- tasks that do not succeed ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fate", "kind"),
    [
        ("fail:PERMISSION_DENIED", SourceRefused),
        ("fail:CANCELED", SourceRefused),
        ("fail:QUOTA_EXCEEDED", StoreFull),
        ("fail:TIMEOUT", TransferTimeout),
        ("fail:ENDPOINT_ERROR", TransferError),
    ],
)
async def test_a_failed_task_fails_its_files_with_the_services_words(
    world: World, fate: str, kind: type[LibrarianError]
) -> None:
    world.service.fates.append(fate)
    items = files(world)
    failed = failures(await world.fetch(items))
    assert set(failed) == {item.key for item in items}
    for error in failed.values():
        assert isinstance(error, kind)
        assert fate.removeprefix("fail:") in str(error)
        assert "the event's own words" in str(error)
    assert landed_keys(await world.fetch(items)) == {item.key for item in items}, "the next attempt is a new task"


async def test_a_task_that_waits_for_a_person_is_cancelled_and_says_so(world: World) -> None:
    world.service.fates.append("inactive")
    error = await world.failure(files(world))
    assert isinstance(error, AdapterCredentials)
    assert "credentials have expired" in error.message
    (task,) = world.service.tasks.values()
    assert task["fatal_error"]["code"] == "CANCELED"


async def test_a_task_that_hangs_is_cancelled(world: World, tmp_path: Path) -> None:
    settings: dict[str, Any] = world.service.settings(DESTINATION, tmp_path / "secret")
    world.rig.adapter = adapter.factory(
        Context(
            site=Destination().name,
            sign=Destination().sign,
            settings={**settings, "stall_s": 0.5},
            roots={},
            state=str(tmp_path / "other"),
        )
    )
    world.service.fates.append("stuck")
    error = await world.failure(files(world))
    assert isinstance(error, TransferTimeout)
    assert "nothing moved for 0.5 s; it was cancelled" in error.message
    (task,) = world.service.tasks.values()
    assert task["status"] == "FAILED"


async def test_one_bad_file_does_not_fail_the_others(world: World) -> None:
    good, gone = files(world, 2)
    world.rig.collection.path(gone).unlink()
    outcomes = await world.fetch([good, gone])
    assert landed_keys(outcomes) == {good.key}
    error = failures(outcomes)[gone.key]
    assert isinstance(error, SourceMissing)
    assert "FILE_NOT_FOUND" in str(error)


# ---- going on after a restart ----------------------------------------------------------------------------


async def cut_off(world: World, items: Sequence[Item], tickets: int) -> None:
    """Begin, and be killed when so many tickets were kept."""
    fetching = asyncio.create_task(world.fetch(items))
    while len(world.heard.tickets) < tickets:
        await asyncio.sleep(0.01)
    fetching.cancel()
    await asyncio.wait([fetching])


async def test_a_task_is_found_again_and_not_submitted_twice(world: World) -> None:
    items = files(world)
    world.service.pause_s = 1.0
    await cut_off(world, items, 2)
    assert landed_keys(await world.fetch(items, world.heard.tickets[-1])) == {item.key for item in items}
    assert len(world.service.documents) == 1
    assert world.service.asked["submission_id"] == 1


async def test_a_submission_whose_answer_nobody_heard_is_found_again(world: World) -> None:
    items = files(world)
    world.service.faults["transfer"] = deque(["lost"])
    await cut_off(world, items, 1)
    assert landed_keys(await world.fetch(items, world.heard.tickets[0])) == {item.key for item in items}
    assert len(world.service.tasks) == 1


async def test_what_was_taken_over_before_the_restart_is_not_brought_again(world: World) -> None:
    items = files(world)
    outcomes = await world.fetch(items)
    assert landed_keys(outcomes) == {item.key for item in items}
    again = await world.fetch(items[:2], world.heard.tickets[-1])
    assert landed_keys(again) == {item.key for item in items[:2]}
    assert len(world.service.documents) == 1


async def test_a_ticket_for_other_files_begins_a_new_task(world: World) -> None:
    items = files(world, 2)
    await world.fetch(items[:1])
    assert landed_keys(await world.fetch(items[1:], world.heard.tickets[-1])) == {items[1].key}
    assert len(world.service.documents) == 2


@pytest.mark.parametrize("known", [True, False])
async def test_work_that_nobody_wants_any_longer_is_cancelled(world: World, known: bool) -> None:
    world.service.fates.append("stuck")
    await cut_off(world, files(world), 2)
    await world.rig.adapter.abandon(world.heard.tickets[1 if known else 0])
    (task,) = world.service.tasks.values()
    assert task["fatal_error"]["code"] == "CANCELED"


async def test_a_service_that_cannot_cancel_now_is_asked_again_later(world: World) -> None:
    world.service.fates.append("stuck")
    await cut_off(world, files(world), 2)
    world.service.faults["cancel"] = deque([503])
    with pytest.raises(TransferError):
        await world.rig.adapter.abandon(world.heard.tickets[1])
    await world.rig.adapter.abandon(world.heard.tickets[1])


# ---- what is asked for -----------------------------------------------------------------------------------


async def test_a_book_is_one_recursive_item(world: World) -> None:
    manifest, *members = world.rig.collection.add_book(
        "night", {f"m/{number}": noise(10, number) for number in range(40)}
    )
    tree = msgspec.structs.replace(manifest, part=Part.TREE, key="t1", size_bytes=400)
    assert landed_keys(await world.fetch([manifest, tree])) == {manifest.key, "t1"}
    (document,) = world.service.documents
    assert [bool(item.get("recursive")) for item in document["DATA"]] == [False, True]
    for member in members:
        there = msgspec.structs.replace(member, key=f"t1/{member.member}")
        assert (await world.store.staging.read_back(there))[1] == member.digest


async def test_the_request_asks_for_checksums_and_names_no_file_here(world: World) -> None:
    await world.fetch(files(world))
    (document,) = world.service.documents
    assert document["verify_checksum"] is True
    assert document["skip_source_errors"] is True
    assert document["source_endpoint"] == SOURCE
    assert document["destination_endpoint"] == DESTINATION
    assert document["label"].startswith("librarian ")
    for item in document["DATA"]:
        assert "/.librarian/staging/" in item["destination_path"]
        assert "f0" not in item["destination_path"].rpartition("/")[2]


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"collection": SOURCE},
        {"collection": "not-a-uuid", "stores": {STORE: "/x"}},
        {"collection": SOURCE, "stores": {STORE: "relative"}},
        {"collection": SOURCE, "stores": {STORE: "/a/../../etc"}},
        {"collection": SOURCE, "stores": {STORE: "/a\nb"}},
        {"collection": SOURCE, "stores": {"other": "/x"}},
    ],
)
def test_an_offer_that_names_no_plain_place_is_refused(params: dict[str, Any]) -> None:
    with pytest.raises(SourceInvalid):
        place_of(params, STORE)


# ---- settings and login ----------------------------------------------------------------------------------

GOOD = {"client_id": CLIENT, "collection": DESTINATION, "roots": {"/data": "/shared"}}


def made(tmp_path: Path, **settings: Any) -> adapter.Globus:
    return adapter.factory(
        Context(
            site=Destination().name,
            sign=Destination().sign,
            settings={**GOOD, **settings},
            roots={STORE: "/data/lb"},
            labels={STORE: "main"},
            state=str(tmp_path),
        )
    )


def test_the_stores_that_are_served_are_offered_as_they_stand_in_the_collection(tmp_path: Path) -> None:
    assert made(tmp_path).offer() is None
    offer = made(tmp_path, serve=["main"]).offer()
    assert offer is not None
    assert offer.params == {"collection": DESTINATION, "stores": {STORE: "/shared/lb"}}


@pytest.mark.parametrize(
    "settings",
    [
        {"client_id": "x"},
        {"collection": "x"},
        {"roots": {"/elsewhere": "/"}},
        {"roots": {"relative": "/"}},
        {"roots": {"/data": "x/.."}},
        {"serve": ["none"]},
        {"pol_s": 1},
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigInvalid, match=r"adapters\.settings\.globus"):
        made(tmp_path, **settings)


async def test_a_person_logs_in_once_and_tokens_are_private(world: World, tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "site.toml").write_text(
        f'site = "archive"\n[adapters.settings.globus]\nclient_id = "{CLIENT}"\ncollection = "{DESTINATION}"\n'
        'roots = { "/" = "/" }\n'
    )
    state = site / "adapters" / "globus"
    own = {"client_id": CLIENT, "collection": DESTINATION, "roots": {"/": "/"}, "poll_s": 0.1}
    world.rig.adapter = adapter.factory(
        Context(site=Destination().name, sign=Destination().sign, settings=own, roots={}, state=str(state))
    )
    items = files(world)
    error = await world.failure(items)
    assert isinstance(error, AdapterCredentials)
    assert "nobody has logged in" in error.message

    login = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "lbctl.main", "--config", str(site / "site.toml"), "adapter", "login", "globus"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await login.communicate(b"the-code\n")
    assert login.returncode == 0
    said = out.decode()
    assert "/v2/oauth2/authorize?" in said
    kept = json.loads((state / "tokens.json").read_text())
    assert kept["refresh_token"] == "good-refresh"
    assert (state / "tokens.json").stat().st_mode & 0o077 == 0
    assert "good-refresh" not in said
    assert landed_keys(await world.fetch(items)) == {item.key for item in items}


async def test_a_login_that_was_revoked_asks_for_a_new_one(world: World, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (state / "tokens.json").write_text('{"refresh_token": "revoked"}')
    own = {"client_id": CLIENT, "collection": DESTINATION, "roots": {"/": "/"}, "poll_s": 0.1}
    world.rig.adapter = adapter.factory(
        Context(site=Destination().name, sign=Destination().sign, settings=own, roots={}, state=str(state))
    )
    error = await world.failure(files(world))
    assert isinstance(error, AdapterCredentials)
    assert error.hint == "lbctl adapter login globus"
