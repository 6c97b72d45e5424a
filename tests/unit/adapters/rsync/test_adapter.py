"""The rsync adapter: a source that lies writes nothing outside, and each failure says what to do."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.support.fetching import Heard, failures, landed_keys, outcomes_of
from tests.support.hostile_rsync import Entry, hostile_rsync
from tests.support.programs import needs
from tests.support.rsyncd import rsync_daemon, sshd
from tests.support.source import STORE, SUMMIT, Collection, Destination, noise
from tests.support.stores import posix

from librarian_adapters.contract import Batch, Context, Item, Outcome
from librarian_adapters.rsync import adapter
from librarian_adapters.rsync.run import arguments, failure
from librarian_adapters.rsync.settings import RsyncSettings, dialled, place_of
from librarian_adapters.wrappers.verifying import VerifyingAdapter
from librarian_daemon.stores.posix.store import PosixStore
from librarian_protocol.entries import AdapterOffer, Dial
from librarian_protocol.errors import (
    ConfigInvalid,
    LibrarianError,
    SizeMismatch,
    SourceIdentity,
    SourceInvalid,
    SourceMissing,
    SourceRefused,
    SourceUnreachable,
    StoreFull,
    TransferError,
    TransferTimeout,
)
from librarian_protocol.names import SiteName


def made(labels: dict[str, str] | None = None, **settings: Any) -> adapter.Rsync:
    return adapter.factory(
        Context(
            site=SUMMIT, sign=Destination().sign, settings=settings, roots={}, loopback_peers=True, labels=labels or {}
        )
    )


def batch(url: str, items: Sequence[Item]) -> Batch:
    offer = AdapterOffer(name="rsync", version=1, address="", dial=Dial.DESTINATION, params={"stores": {STORE: url}})
    return Batch(id="1", source=SUMMIT, store=STORE, offer=offer, items=items)


async def opened(root: Path) -> PosixStore:
    store = posix(root)
    await store.open()
    return store


async def brought(
    store: PosixStore, url: str, items: Sequence[Item], **settings: Any
) -> list[Outcome] | LibrarianError:
    """The outcomes, or why the whole run failed."""
    try:
        return await outcomes_of(VerifyingAdapter(made(**settings)), batch(url, items), store.staging)
    except LibrarianError as exc:
        return exc


def everything_below(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


# ---- a source that lies --------------------------------------------------------------------------------

ITEM = Collection.item("asked.dat", b"1234")
#: What a lying source may put into its list.
LIES = {
    "a path that leads out": Entry(name=b"../escaped.dat"),
    "a path that leads out later": Entry(name=b"sub/../../../escaped.dat"),
    "an absolute path": Entry(name=b"/tmp/librarian-escaped.dat"),
    "a name that was not asked for": Entry(name=b"unasked.dat"),
    "a directory above": Entry(name=b"..", mode=stat.S_IFDIR | 0o777),
    "a link in its place": Entry(name=b"asked.dat", mode=stat.S_IFLNK | 0o777),
    "a device in its place": Entry(name=b"asked.dat", mode=stat.S_IFBLK | 0o666),
    "a fifo in its place": Entry(name=b"asked.dat", mode=stat.S_IFIFO | 0o666),
    "a directory in its place": Entry(name=b"asked.dat", mode=stat.S_IFDIR | 0o777),
    "a directory that is a link": Entry(name=b"sub", mode=stat.S_IFLNK | 0o777),
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_lying_source_writes_nothing_outside(tmp_path: Path, lie: str) -> None:
    needs("rsync")
    (tmp_path / "outer").mkdir()
    store = await opened(tmp_path / "outer" / "store")
    before = everything_below(tmp_path)
    with hostile_rsync(LIES[lie]) as server:
        found = await brought(store, f"rsync://127.0.0.1:{server.port}/main", [ITEM])
        assert server.asked == [b"asked.dat"]
    if isinstance(found, LibrarianError):
        assert isinstance(found, TransferError), found
    else:
        assert landed_keys(found) == set()
        assert len(found) == 1
    assert everything_below(tmp_path) - before == set()
    assert not Path("/tmp/librarian-escaped.dat").exists()
    store.close()


async def test_more_bytes_than_announced_are_not_taken(tmp_path: Path) -> None:
    needs("rsync")
    store = await opened(tmp_path / "store")
    endless = Entry(name=b"asked.dat", size_bytes=4, piece=b"x" * 60_000, pieces=50_000)
    with hostile_rsync(endless) as server:
        found = await brought(store, f"rsync://127.0.0.1:{server.port}/main", [ITEM])
    if isinstance(found, LibrarianError):
        assert isinstance(found, SourceInvalid)
        assert "more bytes" in found.message
    else:
        assert landed_keys(found) == set()
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 100_000
    store.close()


async def test_many_files_that_are_each_too_large_are_stopped(tmp_path: Path) -> None:
    needs("rsync")
    store = await opened(tmp_path / "store")
    large = Collection.item("large.dat", noise(20 << 20))
    small = [Collection.item(f"small{number}.dat", b"1") for number in range(400)]
    lies = [
        Entry(name=item.name.encode(), size_bytes=1, piece=b"x" * 60_000, pieces=300) for item in small
    ]  # 18 MB each, where one file may have 20
    with hostile_rsync(*lies) as server:
        found = await brought(store, f"rsync://127.0.0.1:{server.port}/main", [large, *small])
    assert isinstance(found, SourceInvalid), found
    assert "more bytes than were announced" in found.message
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 100_000
    store.close()


async def test_wrong_bytes_of_the_right_size_are_not_taken(tmp_path: Path) -> None:
    needs("rsync")
    store = await opened(tmp_path / "store")
    with hostile_rsync(Entry(name=b"asked.dat")) as server:
        found = await brought(store, f"rsync://127.0.0.1:{server.port}/main", [ITEM])
    assert isinstance(found, LibrarianError) or landed_keys(found) == set()
    store.close()


async def test_silence_ends(tmp_path: Path) -> None:
    """A server that accepts the connection and never answers: the run is ended after ``timeout_s``."""
    needs("rsync")
    store = await opened(tmp_path / "store")
    with hostile_rsync(silent=True) as server:
        async with asyncio.timeout(30):
            found = await brought(store, f"rsync://127.0.0.1:{server.port}/main", [ITEM], timeout_s=1)
    assert isinstance(found, TransferTimeout | SourceUnreachable), found
    store.close()


@pytest.mark.parametrize(
    "url",
    [
        "rsync://-oProxyCommand=x/main",
        "ssh://-oProxyCommand=x/data",
        "ssh://a@-x/data",
        "ssh://host/da ta",
        "ssh://host/$(touch x)",
        "ssh://host/a;b",
        "ssh://host:0/data",
        "ssh://host:99999/data",
        "rsync://host/",
        "rsync://host:873:9/x",
        "ssh://host",
        "ssh://host/data\n",
        "host:/data",
        "/etc",
        "file:///etc",
        "",
        7,
        None,
    ],
)
def test_an_offer_that_names_no_plain_place_is_refused(url: object) -> None:
    with pytest.raises(SourceInvalid):
        place_of({"stores": {STORE: url}}, STORE)


@pytest.mark.parametrize("params", [{}, {"stores": []}, {"stores": "x"}, {"stores": {"other": "rsync://host/x"}}])
def test_an_offer_without_the_store_is_refused(params: dict[str, Any]) -> None:
    with pytest.raises(SourceInvalid):
        place_of(params, STORE)


@pytest.mark.parametrize(
    ("url", "argument"),
    [
        ("rsync://host.example/main", "rsync://lb@host.example:873/main/"),
        ("rsync://[::1]:8873/main/deep/", "rsync://lb@[::1]:8873/main/deep/"),
        ("ssh://host.example/data/lb", "host.example:/data/lb/"),
        ("ssh://reader@host:2222/data", "reader@host:/data/"),
    ],
)
def test_places_become_arguments(url: str, argument: str) -> None:
    """The URL of an offer becomes the source argument of rsync; the port of ssh is no part of it."""
    assert place_of({"stores": {STORE: url}}, STORE).argument("lb") == argument


# ---- failures ------------------------------------------------------------------------------------------


async def test_refusals_say_so(tmp_path: Path) -> None:
    """A wrong password and an unknown module: the server's own words reach the operator."""
    store = await opened(tmp_path / "store")
    collection = Collection(tmp_path / "source")
    item = collection.add("a.dat", b"a")
    (tmp_path / "password").write_text("wrong\n")
    (tmp_path / "password").chmod(0o600)
    with rsync_daemon(tmp_path / "rsyncd", {"main": collection.root}, secret="right") as port:
        url = f"rsync://127.0.0.1:{port}"
        found = await brought(store, f"{url}/main", [item], user="lb", password_file=str(tmp_path / "password"))
        assert isinstance(found, SourceRefused)
        assert "auth failed" in found.message
        assert "docs/adapters/rsync.md" in found.hint
        found = await brought(store, f"{url}/none", [item])
        assert isinstance(found, SourceRefused)
        assert "Unknown module" in found.message
    found = await brought(store, f"{url}/main", [item])
    assert isinstance(found, SourceUnreachable)
    store.close()


async def test_ssh_says_who_it_does_not_know(tmp_path: Path) -> None:
    store = await opened(tmp_path / "store")
    collection = Collection(tmp_path / "source")
    item = collection.add("a.dat", b"a")
    with sshd(tmp_path / "sshd") as server:
        url = f"ssh://127.0.0.1:{server.port}{collection.root}"
        (tmp_path / "nobody").write_text("")
        found = await brought(
            store, url, [item], identity_file=str(server.identity), known_hosts_file=str(tmp_path / "nobody")
        )
        assert isinstance(found, SourceIdentity)
        assert "known_hosts" in found.hint
        (server.identity.parent / "authorized_keys").write_text("")
        found = await brought(
            store, url, [item], identity_file=str(server.identity), known_hosts_file=str(server.known_hosts)
        )
        assert isinstance(found, SourceRefused)
    found = await brought(store, url, [item], known_hosts_file=str(server.known_hosts))
    assert isinstance(found, SourceUnreachable)
    store.close()


async def test_a_file_that_may_not_be_read_fails_alone(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    store = await opened(tmp_path / "store")
    collection = Collection(tmp_path / "source")
    good, bad = collection.add("good.dat", b"a"), collection.add("bad.dat", b"b")
    collection.path(bad).chmod(0)
    with rsync_daemon(tmp_path / "rsyncd", {"main": collection.root}) as port:
        found = await brought(store, f"rsync://127.0.0.1:{port}/main", [good, bad])
    assert not isinstance(found, LibrarianError)
    assert landed_keys(found) == {good.key}
    assert isinstance(failures(found)[bad.key], SourceRefused)
    store.close()


@pytest.mark.parametrize(
    ("code", "said", "kind"),
    [
        (5, "", SourceRefused),
        (10, "", SourceUnreachable),
        (12, "connection unexpectedly closed", SourceUnreachable),
        (30, "", TransferTimeout),
        (35, "", TransferTimeout),
        (2, "", SourceInvalid),
        (4, "", SourceInvalid),
        (11, "write failed: No space left on device (28)", StoreFull),
        (11, "write failed: File too large (27)", SourceInvalid),
        (255, "Host key verification failed.", SourceIdentity),
        (255, "Permission denied (publickey).", SourceRefused),
        (255, "Connection refused", SourceUnreachable),
        (99, "", TransferError),
    ],
)
def test_each_exit_code_has_a_meaning(code: int, said: str, kind: type[LibrarianError]) -> None:
    error = failure(code, said, SUMMIT)
    assert error is not None
    assert type(error) is kind
    assert error.message


@pytest.mark.parametrize("code", [0, 23, 24])
def test_after_a_partial_run_each_file_says_for_itself(code: int) -> None:
    assert failure(code, "", SUMMIT) is None


# ---- the program ---------------------------------------------------------------------------------------


def a_program(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


async def test_an_old_rsync_is_not_run(tmp_path: Path) -> None:
    store = await opened(tmp_path / "store")
    old = a_program(tmp_path / "rsync", f"touch {tmp_path}/ran; echo 'rsync  version 3.2.7  protocol version 31'")
    found = await brought(store, "rsync://127.0.0.1:1/main", [ITEM], program=old)
    assert isinstance(found, TransferError)
    assert "rsync 3.2.7 is too old" in found.message
    found = await brought(store, "rsync://127.0.0.1:1/main", [ITEM], program=old, least_version="3.2.7")
    assert not isinstance(found, LibrarianError)
    assert isinstance(failures(found)[ITEM.key], SizeMismatch | SourceMissing), "it was run, and brought nothing"
    store.close()


async def test_a_missing_rsync_is_named(tmp_path: Path) -> None:
    store = await opened(tmp_path / "store")
    found = await brought(store, "rsync://127.0.0.1:1/main", [ITEM], program="/nowhere/rsync")
    assert isinstance(found, TransferError)
    assert "adapters.order" in found.hint
    store.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "0x7f000001", "2130706433"])
@pytest.mark.parametrize("form", ["rsync://{}/main", "ssh://{}/data"])
async def test_a_peer_that_names_this_machine_is_not_dialled(host: str, form: str) -> None:
    place = place_of({"stores": {STORE: form.format(host)}}, STORE)
    with pytest.raises(SourceInvalid, match="not dialled"):
        await dialled(place, "summit", loopback=False)


async def test_the_address_that_was_looked_at_is_the_one_that_is_dialled() -> None:
    """The program would resolve the name once more; ssh knows the host's key by the name all the same."""
    place = await dialled(place_of({"stores": {STORE: "rsync://localhost/main"}}, STORE), "summit", loopback=True)
    assert place.argument("") in {"rsync://127.0.0.1:873/main/", "rsync://[::1]:873/main/"}
    for port, known_as in [("", "localhost"), (":2222", "[localhost]:2222")]:
        far = place_of({"stores": {STORE: f"ssh://localhost{port}/data"}}, STORE)
        place = await dialled(far, "summit", loopback=True)
        assert place.ssh_options() == ["-o", f"HostName={place.address}", "-o", f"HostKeyAlias={known_as}"]
    with pytest.raises(SourceUnreachable, match="not resolved"):
        await dialled(place_of({"stores": {STORE: "rsync://nowhere.invalid/main"}}, STORE), "summit", loopback=True)


def test_names_never_stand_among_the_arguments() -> None:
    place = place_of({"stores": {STORE: "ssh://host:2222/data"}}, STORE)
    settings = RsyncSettings(bandwidth=2 << 20, identity_file="/keys/id")
    command = arguments(settings, SiteName("summit"), place, "/scratch", 1000)
    assert command[-3:] == ["--", "host:/data/", "/scratch/"]
    assert "--files-from=-" in command
    assert "--no-links" in command
    assert "--no-devices" in command
    assert "--max-size=1000" in command
    assert "--bwlimit=2048" in command
    (shell,) = [option for option in command if option.startswith("--rsh=")]
    assert "BatchMode=yes" in shell
    assert "StrictHostKeyChecking=yes" in shell
    assert "-i /keys/id" in shell


def test_a_site_may_be_known_elsewhere_by_another_name(tmp_path: Path) -> None:
    settings = made(user="all", sites={"summit": {"user": "there"}})._settings  # pyright: ignore[reportPrivateUsage]
    assert settings.at("summit").user == "there"
    assert settings.at("other").user == "all"


def test_the_stores_that_are_served_are_offered() -> None:
    assert made().offer() is None
    offer = made({STORE: "main"}, serve={"main": "rsync://here.example/main"}).offer()
    assert offer is not None
    assert offer.params == {"stores": {STORE: "rsync://here.example/main"}}


@pytest.mark.parametrize(
    "settings",
    [
        {"serve": {"none": "rsync://host/x"}},
        {"serve": {"main": "host:/x"}},
        {"usr": "x"},
        {"least_version": "3.4"},
        {"identity_file": "/a b"},
        {"bandwidth": -1},
        {"sites": {"summit": {"serve": {}}}},
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigInvalid, match=r"adapters\.settings\.rsync"):
        made({STORE: "main"}, **settings)


async def test_a_large_file_goes_on_where_it_stopped(tmp_path: Path) -> None:
    store = await opened(tmp_path / "store")
    collection = Collection(tmp_path / "source")
    item = collection.add("large.dat", noise(64 << 20))
    with rsync_daemon(tmp_path / "rsyncd", {"main": collection.root}) as port:
        url = f"rsync://127.0.0.1:{port}/main"
        heard = Heard()
        slow = asyncio.create_task(outcomes_of(made(bandwidth=20 << 20), batch(url, [item]), store.staging, heard))
        while heard.moved_bytes[item.key] < 8 << 20:
            await asyncio.sleep(0.01)
        slow.cancel()
        await asyncio.wait([slow])
        kept, _ = await store.staging.read_back(item)
        assert kept >= 4 << 20
        assert landed_keys(await outcomes_of(VerifyingAdapter(made()), batch(url, [item]), store.staging)) == {item.key}
    left = [path.name for path in (tmp_path / "store" / ".librarian" / "staging").iterdir()]
    assert left == [item.key], "nothing else stays"
    store.close()


async def test_holes_take_no_room_also_where_it_goes_on(tmp_path: Path) -> None:
    """In place and sparse at once."""
    store = await opened(tmp_path / "store")
    collection = Collection(tmp_path / "source")
    data = noise(2 << 20) + bytes(16 << 20) + noise(1 << 20) + bytes(16 << 20)
    fresh, begun = (collection.add(name, data) for name in ("fresh.dat", "begun.dat"))
    sink = await store.staging.create(begun)
    await sink.write(data[: 5 << 20])
    await sink.close()
    with rsync_daemon(tmp_path / "rsyncd", {"main": collection.root}) as port:
        outcomes = await brought(store, f"rsync://127.0.0.1:{port}/main", [fresh, begun])
    assert isinstance(outcomes, list)
    assert landed_keys(outcomes) == {fresh.key, begun.key}
    for item in (fresh, begun):
        assert (Path(store.staging_root) / item.key).stat().st_blocks * 512 <= 4 << 20
    store.close()
