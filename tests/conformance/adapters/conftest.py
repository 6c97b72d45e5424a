"""Every adapter of ours, before the same source."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Generator, Sequence
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from tests.support.example import installed
from tests.support.fetching import batch_of
from tests.support.globus_standin import DESTINATION, SOURCE, StandIn, standin
from tests.support.gridftp import GridFtp, gridftp
from tests.support.pushing import PushPair, certified
from tests.support.rsyncd import rsync_daemon, sshd
from tests.support.source import STORE, SUMMIT, Collection, Destination, Source

from librarian_adapters import local, registry
from librarian_adapters.contract import Adapter, Batch, Context, Item
from librarian_adapters.globus import adapter as globus
from librarian_adapters.http import adapter as http
from librarian_adapters.rsync import adapter
from librarian_adapters.testing.memory import Memory
from librarian_protocol.digests import Digest
from librarian_protocol.entries import AdapterOffer, Dial


class Rig:
    """An adapter, and a source that it can reach."""

    #: Whether it mends a wrong beginning of a file that it goes on with, and counts what it finds there as moved.
    mends = False
    #: Whether it tells of bytes and outcomes only when the whole batch has come.
    whole = False

    def __init__(self, collection: Collection) -> None:
        self.collection = collection
        self.address = ""
        self.dial = Dial.DESTINATION
        self.adapter: Adapter

    def batch(self, items: Sequence[Item]) -> Batch:
        """The items, asked for at the source."""
        return batch_of(items, self.address, dial=self.dial)

    def sound(self, items: Sequence[Item]) -> None:
        """All items were added; nothing more to do for most."""

    def spoil(self, item: Item, data: bytes | None) -> None:
        """Let other bytes, or nothing, stand at the source."""
        if data is None:
            self.collection.path(item).unlink()
        else:
            self.collection.path(item).write_bytes(data)


class MemoryRig(Rig):
    """What stands in the collection, in a dict."""

    def __init__(self, collection: Collection) -> None:
        super().__init__(collection)
        self.held: dict[Digest, bytes] = {}
        self.adapter = Memory({SUMMIT: self.held})

    def sound(self, items: Sequence[Item]) -> None:
        for item in items:
            self.held[item.digest] = self.collection.path(item).read_bytes()

    def spoil(self, item: Item, data: bytes | None) -> None:
        del self.held[item.digest]
        if data is not None:
            self.held[item.digest] = data


class RsyncRig(Rig):
    """The collection behind a real rsync daemon, or sshd."""

    mends = True

    def __init__(self, collection: Collection, url: str, settings: dict[str, str]) -> None:
        super().__init__(collection)
        self.url = url
        self.adapter = adapter.factory(
            Context(site=SUMMIT, sign=Destination().sign, settings=settings, roots={}, loopback_peers=True, labels={})
        )

    def batch(self, items: Sequence[Item]) -> Batch:
        offer = AdapterOffer(
            name="rsync", version=1, address="", dial=Dial.DESTINATION, params={"stores": {STORE: self.url}}
        )
        return Batch(id="1", source=SUMMIT, store=STORE, offer=offer, items=items)


class GlobusRig(Rig):
    """The collection behind a real GridFTP server, moved to another by a stand-in for the service."""

    mends = True
    whole = True

    def __init__(self, collection: Collection, service: StandIn, state: Path) -> None:
        super().__init__(collection)
        state.mkdir()
        self.adapter = globus.factory(
            Context(
                site=SUMMIT,
                sign=Destination().sign,
                settings=service.settings(DESTINATION, state / "secret"),
                roots={},
                state=str(state),
            )
        )
        self._batches = 0

    def batch(self, items: Sequence[Item]) -> Batch:
        self._batches += 1
        offer = AdapterOffer(
            name="globus",
            version=1,
            address="",
            dial=Dial.EITHER,
            params={"collection": SOURCE, "stores": {STORE: str(self.collection.root)}},
        )
        return Batch(id=f"b{self._batches}", source=SUMMIT, store=STORE, offer=offer, items=items)


ADAPTERS = ["local", "http", "https", "push", "push over TLS", "rsync", "rsync over ssh", "globus", "memory", "webdir"]


@pytest.fixture(scope="session")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Generator[GridFtp]:
    """Two GridFTP servers for all tests of this process."""
    with gridftp(tmp_path_factory.mktemp("grid") / "ftp") as servers:
        yield servers


@pytest.fixture(scope="session")
def example(tmp_path_factory: pytest.TempPathFactory) -> Generator[None]:
    """The example adapter of the documentation, installed as a separate package."""
    place = str(installed(tmp_path_factory.mktemp("example")))
    sys.path.insert(0, place)
    yield
    sys.path.remove(place)


class WebdirRig(Rig):
    """The collection behind a plain web server, and the adapter that the registry finds by its entry point."""

    def __init__(self, collection: Collection, url: str) -> None:
        super().__init__(collection)
        self.url = url
        (self.adapter,) = registry.load(
            ["webdir"], site=SUMMIT, sign=Destination().sign, settings={}, roots={}, loopback_peers=True
        )

    def batch(self, items: Sequence[Item]) -> Batch:
        params = {"stores": {STORE: self.url}}
        offer = AdapterOffer(name="webdir", version=1, address="", dial=Dial.DESTINATION, params=params)
        return Batch(id="1", source=SUMMIT, store=STORE, offer=offer, items=items)


@pytest.fixture(params=ADAPTERS)
async def rig(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Rig]:
    """The adapter under test."""
    collection = Collection(tmp_path / "store")
    destination = Destination()
    tls = certified(tmp_path / "tls") if request.param in {"https", "push over TLS"} else None
    context = Context(
        site=destination.name,
        sign=destination.sign,
        settings={},
        roots={STORE: str(collection.root)},
        certificate=lambda _: tls.certificate if tls else None,
        loopback_peers=True,
    )
    if request.param == "memory":
        yield MemoryRig(collection)
        return
    if request.param == "globus":
        with standin(request.getfixturevalue("grid")) as service:
            for name, value in service.environ.items():
                monkeypatch.setenv(name, value)
            yield GlobusRig(collection, service, tmp_path / "globus")
        return
    if request.param == "webdir":
        request.getfixturevalue("example")
        app = web.Application()
        app.router.add_static("/", collection.root)
        async with TestServer(app) as server:
            yield WebdirRig(collection, str(server.make_url("/")))
        return
    if request.param == "rsync":
        (tmp_path / "password").write_text("s3cret\n")
        (tmp_path / "password").chmod(0o600)
        with rsync_daemon(tmp_path / "rsyncd", {"main": collection.root}, secret="s3cret") as port:
            settings = {"user": "lb", "password_file": str(tmp_path / "password")}
            yield RsyncRig(collection, f"rsync://127.0.0.1:{port}/main", settings)
        return
    if request.param == "rsync over ssh":
        with sshd(tmp_path / "sshd") as server:
            settings = {"identity_file": str(server.identity), "known_hosts_file": str(server.known_hosts)}
            yield RsyncRig(collection, f"ssh://127.0.0.1:{server.port}{collection.root}", settings)
        return
    rig = Rig(collection)
    if request.param == "local":
        rig.adapter = local.factory(context)
        yield rig
        return
    if request.param.startswith("push"):
        pair = PushPair(collection, tls)
        await pair.start()
        rig.adapter, rig.dial = pair.adapter, Dial.SOURCE
        yield rig
        await pair.stop()
        return
    collection.keys[destination.name] = destination.key.public
    source = Source(collection, tls=tls.context if tls else None)
    await source.start()
    rig.address = source.address
    rig.adapter = http.factory(context)
    yield rig
    await rig.adapter.close()
    await source.stop()
