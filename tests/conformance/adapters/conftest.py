"""Every adapter of ours, before the same source."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import pytest
from tests.support.fetching import batch_of
from tests.support.pushing import PushPair, certified
from tests.support.source import STORE, SUMMIT, Collection, Destination, Source

from librarian_adapters import http, local
from librarian_adapters.contract import Adapter, Batch, Context, Item
from librarian_adapters.memory import Memory
from librarian_protocol.digests import Digest
from librarian_protocol.entries import Dial


class Rig:
    """An adapter, and a source that it can reach."""

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


@pytest.fixture(params=["local", "http", "https", "push", "push over TLS", "memory"])
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Rig]:
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
    )
    if request.param == "memory":
        yield MemoryRig(collection)
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
