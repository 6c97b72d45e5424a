"""The body of a large answer: every size and offset, over plain connections and TLS, whole or not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from tests.support.fetching import Heard, WatchedStaging, batch_of, landed_keys, outcomes_of
from tests.support.hostile import Proxy, answering, read_request, saying, serving
from tests.support.pushing import Certified, certified
from tests.support.source import Collection, Destination, Source, noise

from librarian_adapters.contract import Buffer, Context, Failed, Item, Landed
from librarian_adapters.http import adapter as http
from librarian_adapters.http.body import BUFFER_BYTES, BUFFERS
from librarian_adapters.http.bundle import BYTES_TYPE
from librarian_adapters.testing.memory import MemorySink
from librarian_adapters.wrappers.verifying import VerifyingAdapter
from librarian_protocol.errors import SourceUnreachable, StoreFull, TransferTimeout

RING_BYTES = BUFFERS * BUFFER_BYTES
SIZES = [
    *(0, 1, 4095, 4096, 4097),
    *(BUFFER_BYTES - 1, BUFFER_BYTES, BUFFER_BYTES + 1),
    *(RING_BYTES - 1, RING_BYTES, RING_BYTES + 1, 2 * RING_BYTES + 5000),
]
DATA = noise(2 * RING_BYTES + 5000)
BYTES = f"Content-Type: {BYTES_TYPE}"


class Rig:
    """A source, and an adapter that asks for everything one by one."""

    def __init__(self, root: Path, tls: Certified) -> None:
        self.collection = Collection(root / "store")
        self.tls = tls
        destination = Destination()
        self.collection.keys[destination.name] = destination.key.public
        self.source = Source(self.collection, tls=tls.context)
        self.adapter = http.factory(
            Context(
                site=destination.name,
                sign=destination.sign,
                settings={"large_from_bytes": 0, "requests": 1, "idle_s": 5.0},
                roots={},
                loopback_peers=True,
                certificate=lambda _: tls.certificate,
            )
        )


@pytest.fixture(params=["plain", "tls"])
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Rig]:
    rig = Rig(tmp_path, certified(tmp_path / "tls") if request.param == "tls" else Certified())
    await rig.source.start()
    yield rig
    await rig.adapter.close()
    await rig.source.stop()


class WatchedSinks(WatchedStaging):
    """Remembers where each write began and ended; ``fail_at``: how many writes go well."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[tuple[int, int]] = []
        self.fail_at: int | None = None
        self.wait: asyncio.Event | None = None

    async def create(self, item: Item, *, resume: bool = False) -> MemorySink:
        staging = self
        await super().create(item, resume=resume)
        held = self.held[item.key]

        class Sink(MemorySink):
            async def write(self, data: Buffer) -> None:
                if staging.fail_at == len(staging.writes):
                    raise StoreFull("no space left")
                if staging.wait is not None:
                    await staging.wait.wait()
                staging.late += staging.over
                staging.writes.append((len(held), len(held) + len(data)))
                await super().write(data)

        return Sink(held)


@pytest.mark.parametrize("size_bytes", SIZES)
async def test_every_size_arrives(rig: Rig, size_bytes: int) -> None:
    item = rig.collection.add("f", DATA[:size_bytes])
    staging, heard = WatchedSinks(), Heard()
    assert await outcomes_of(rig.adapter, batch_of([item], rig.source.address), staging, heard) == [Landed(item)]
    assert staging.held[item.key] == DATA[:size_bytes]
    assert heard.moved_bytes[item.key] == size_bytes
    assert max((end - begin for begin, end in staging.writes), default=0) <= BUFFER_BYTES


@pytest.mark.parametrize("begun_bytes", [1, 4096, BUFFER_BYTES - 1, BUFFER_BYTES, BUFFER_BYTES + 1, len(DATA) - 1])
async def test_from_every_offset_the_rest_arrives_and_what_follows_begins_at_a_buffers_size(
    rig: Rig, begun_bytes: int
) -> None:
    item = rig.collection.add("f", DATA)
    staging = WatchedSinks()
    staging.held[item.key] = bytearray(DATA[:begun_bytes])
    assert await outcomes_of(rig.adapter, batch_of([item], rig.source.address), staging) == [Landed(item)]
    assert staging.held[item.key] == DATA
    assert {begin % BUFFER_BYTES for begin, _ in staging.writes[1:]} <= {0}


async def test_one_connection_serves_one_large_item_after_another(rig: Rig) -> None:
    items = [rig.collection.add(f"f{number}", DATA[number:]) for number in range(3)]
    proxy = Proxy(rig.source.port)
    async with serving(proxy) as address:
        staging = WatchedSinks()
        outcomes = await outcomes_of(rig.adapter, batch_of(items, rig.tls.url(address)), staging)
    assert landed_keys(outcomes) == {item.key for item in items}
    assert all(staging.held[item.key] == DATA[number:] for number, item in enumerate(items))
    assert proxy.connections == 1


async def test_while_the_store_is_busy_no_more_is_read_than_the_buffers_hold(rig: Rig) -> None:
    data = noise(40 << 20)
    item = rig.collection.add("f", data)
    staging = WatchedSinks()
    staging.wait = asyncio.Event()
    proxy = Proxy(rig.source.port)
    passed: list[int] = []
    async with serving(proxy) as address:
        bringing = asyncio.create_task(outcomes_of(rig.adapter, batch_of([item], rig.tls.url(address)), staging))
        while len(passed) < 5 or passed[-1] != passed[-5]:  # until nothing moves any more
            await asyncio.sleep(0.1)
            passed.append(proxy.passed)
        assert 0 < passed[-1] < len(data)
        staging.wait.set()
        assert await bringing == [Landed(item)]
    assert staging.held[item.key] == data


async def test_a_full_store_fails_the_item_and_the_next_one_is_asked_for(rig: Rig) -> None:
    items = [rig.collection.add(f"f{number}", DATA[number:]) for number in range(2)]
    staging = WatchedSinks()
    staging.fail_at = 2
    first, second = await outcomes_of(rig.adapter, batch_of(items, rig.source.address), staging)
    assert isinstance(first, Failed)
    assert isinstance(first.error, StoreFull)
    assert isinstance(second, Failed)
    staging.fail_at = None
    assert len(staging.held["f0"]) == 2 * BUFFER_BYTES
    outcomes = await outcomes_of(rig.adapter, batch_of(items, rig.source.address), staging)
    assert landed_keys(outcomes) == {"f0", "f1"}
    assert staging.held["f0"] == DATA


async def test_cancelled_in_a_write_nothing_more_is_written(rig: Rig) -> None:
    item = rig.collection.add("f", DATA)
    staging = WatchedSinks()
    staging.wait = asyncio.Event()
    bringing = asyncio.create_task(outcomes_of(rig.adapter, batch_of([item], rig.source.address), staging))
    await asyncio.sleep(0.1)
    bringing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await bringing
    staging.over = True
    staging.wait.set()
    await rig.adapter.close()
    assert staging.late == 0


# ---- other sources ---------------------------------------------------------------------------------------


@pytest.fixture
async def adapter() -> AsyncGenerator[http.Http]:
    destination = Destination()
    context = Context(
        site=destination.name,
        sign=destination.sign,
        settings={"idle_s": 3.0, "requests": 1},
        roots={},
        loopback_peers=True,
    )
    adapter = http.factory(context)
    yield adapter
    await adapter.close()


@pytest.mark.parametrize("came", [1, 4097, BUFFER_BYTES - 1, BUFFER_BYTES + 1])
@pytest.mark.parametrize(("silent", "error"), [(True, TransferTimeout), (False, SourceUnreachable)])
async def test_what_came_before_the_end_is_kept(
    adapter: http.Http, came: int, silent: bool, error: type[Exception]
) -> None:
    item = Collection.item("f", DATA)
    said = answering(DATA[:came], BYTES, length=len(DATA))
    staging = WatchedSinks()
    async with serving(saying(said, linger=silent)) as address:
        [outcome] = await outcomes_of(adapter, batch_of([item], address), staging)
    assert isinstance(outcome, Failed)
    assert type(outcome.error) is error
    assert staging.held[item.key] == DATA[:came]


async def test_a_little_that_came_is_written_before_the_silence_has_an_end(adapter: http.Http) -> None:
    """It is progress, and is kept in a kill."""
    item = Collection.item("f", DATA)
    heard = Heard()
    async with serving(saying(answering(DATA[:100], BYTES, length=len(DATA)), linger=True)) as address:
        bringing = asyncio.create_task(outcomes_of(adapter, batch_of([item], address), WatchedSinks(), heard))
        await heard.first.wait()
        assert not bringing.done()
        assert heard.moved_bytes[item.key] == 100
        bringing.cancel()
        await asyncio.wait([bringing])


async def test_what_comes_behind_the_last_byte_lands_nowhere(adapter: http.Http) -> None:
    """Not even a whole answer to what was not asked yet."""
    first, second = Collection.item("first", DATA), Collection.item("second", DATA[1:])
    forged = answering(b"?" * second.size_bytes, BYTES)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request, _ = await read_request(reader)
            data = DATA if str(first.digest) in request else DATA[1:]
            writer.write(answering(data, BYTES) + forged)
            await writer.drain()

    staging = WatchedSinks()
    async with serving(answer) as address:
        outcomes = await outcomes_of(VerifyingAdapter(adapter), batch_of([first, second], address), staging)
    landed = landed_keys(outcomes)
    assert first.key in landed
    assert {key: staging.held[key] for key in landed} == {key: DATA[key == "second" :] for key in landed}
