"""The http adapter before sources that break, lie or stay silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.support.fetching import Heard, WatchedStaging, batch_of, but, failures, landed_keys, outcomes_of
from tests.support.hostile import Proxy, answering, read_request, saying, serving
from tests.support.source import Collection, Destination, Source, noise

from librarian_adapters.contract import Context, Failed, Item, Landed, Outcome
from librarian_adapters.http import adapter as http
from librarian_adapters.http.bundle import BUNDLE_TYPE, BYTES_TYPE, encode_error, encode_frame
from librarian_adapters.streams import closing
from librarian_adapters.wrappers.stalling import StallingAdapter
from librarian_adapters.wrappers.verifying import VerifyingAdapter
from librarian_protocol.errors import (
    ConfigInvalid,
    LibrarianError,
    SizeMismatch,
    SourceInvalid,
    SourceMissing,
    SourceRefused,
    SourceUnreachable,
    StoreFault,
    TransferTimeout,
)

BUNDLE = f"Content-Type: {BUNDLE_TYPE}"
BYTES = f"Content-Type: {BYTES_TYPE}"
LARGE = noise(3 << 20)


def adapter_of(destination: Destination, settings: Mapping[str, Any] | None = None) -> http.Http:
    return http.factory(
        Context(site=destination.name, sign=destination.sign, settings=settings or {}, roots={}, loopback_peers=True)
    )


@pytest.fixture
async def adapter() -> AsyncGenerator[http.Http]:
    adapter = adapter_of(Destination(), {"idle_s": 2.0, "connect_s": 2.0})
    yield adapter
    await adapter.close()


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    return Collection(tmp_path / "store")


@pytest.fixture
async def source(collection: Collection) -> AsyncGenerator[Source]:
    destination = Destination()
    collection.keys[destination.name] = destination.key.public
    source = Source(collection)
    await source.start()
    yield source
    await source.stop()


async def fetched(adapter: http.Http, item: Item, address: str) -> tuple[Outcome, WatchedStaging]:
    """The outcome of a batch of one."""
    staging = WatchedStaging()
    [outcome] = await outcomes_of(adapter, batch_of([item], address), staging)
    return outcome, staging


async def error_of(adapter: http.Http, item: Item, address: str) -> LibrarianError:
    """Why a batch of one failed; nothing is left in staging but a part of it."""
    outcome, staging = await fetched(adapter, item, address)
    assert isinstance(outcome, Failed)
    assert len(staging.held.get(item.key, b"")) <= item.size_bytes
    return outcome.error


# ---- connections that break ----------------------------------------------------------------------------


@pytest.mark.parametrize("cut_after", [1, 300, 1 << 20, (3 << 20) - 1])
async def test_a_cut_download_goes_on_where_it_stopped(
    adapter: http.Http, collection: Collection, source: Source, cut_after: int
) -> None:
    item = collection.add("large", LARGE)
    proxy = Proxy(source.port)
    proxy.cut_after = cut_after
    async with serving(proxy) as address:
        staging = WatchedStaging()
        [outcome] = await outcomes_of(adapter, batch_of([item], address), staging)
        assert isinstance(outcome, Failed)
        assert isinstance(outcome.error, SourceUnreachable)
        assert LARGE.startswith(staging.held[item.key])
        assert staging.held[item.key] or cut_after <= 300
        proxy.cut_after = None
        assert await outcomes_of(VerifyingAdapter(adapter), batch_of([item], address), staging) == [Landed(item)]


async def test_items_that_came_before_a_bundle_was_cut_are_kept(
    adapter: http.Http, collection: Collection, source: Source
) -> None:
    items = [collection.add(f"f{number}", noise(50_000, number)) for number in range(60)]
    proxy = Proxy(source.port)
    proxy.cut_after = 1 << 20
    async with serving(proxy) as address:
        outcomes = await outcomes_of(VerifyingAdapter(adapter), batch_of(items, address), WatchedStaging())
    assert len(outcomes) == 60
    assert len(landed_keys(outcomes)) >= 15
    assert {type(error) for error in failures(outcomes).values()} == {SourceUnreachable}


async def test_where_nobody_listens_the_rest_of_the_batch_is_not_tried(adapter: http.Http) -> None:
    async with serving(saying()) as address:
        pass
    items = [but_large(number) for number in range(50)]
    outcomes: list[Outcome] = []

    async def gather() -> None:
        async with closing(adapter.fetch(batch_of(items, address), WatchedStaging(), Heard())) as stream:
            async for outcome in stream:
                outcomes.append(outcome)

    with pytest.raises(SourceUnreachable, match=address):
        await gather()
    assert 3 <= len(outcomes) < 10


async def test_a_name_that_does_not_resolve_is_unreachable(adapter: http.Http) -> None:
    error = await error_of(adapter, small(), "no-such-host.invalid:7400")
    assert isinstance(error, SourceUnreachable)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "host",
        "host:",
        "user@host:1",
        "host:1/path",
        "[::1",
        "host:1 ",
        "host\r\n:1",
        "host:99999",
        "host:999999",
    ],
)
async def test_an_address_that_is_not_host_and_port_is_refused(adapter: http.Http, address: str) -> None:
    assert isinstance(await error_of(adapter, small(), address), SourceInvalid)


async def test_an_ipv6_address_works(adapter: http.Http, collection: Collection) -> None:
    destination = Destination()
    collection.keys[destination.name] = destination.key.public
    source = Source(collection)
    await source.start("::1")
    item = collection.add("f", b"over six")
    outcome, staging = await fetched(adapter, item, f"[::1]:{source.port}")
    await source.stop()
    assert outcome == Landed(item)
    assert staging.held == {item.key: b"over six"}


# ---- refusals ------------------------------------------------------------------------------------------


async def test_a_refusal_says_what_the_source_said(collection: Collection, source: Source) -> None:
    stranger = adapter_of(Destination(seed=9))
    error = await error_of(stranger, collection.add("f", b"1"), source.address)
    await stranger.close()
    assert isinstance(error, SourceRefused)
    assert "is not signed by a site that is admitted here" in error.message
    assert collection.lookups == 0


async def test_a_busy_source_is_unreachable_for_now(adapter: http.Http) -> None:
    async with serving(saying(answering(b"", "Retry-After: 5", status="503 Service Unavailable"))) as address:
        assert isinstance(await error_of(adapter, small(), address), SourceUnreachable)


async def test_words_of_the_source_cannot_spoil_a_terminal(adapter: http.Http) -> None:
    body = b'{"code":"E301","kind":"k","message":"\\u001b[2J\\n\\u0007 gone' + b"!" * 5000 + b'"}'
    async with serving(saying(answering(body, status="404 Not Found"))) as address:
        error = await error_of(adapter, small(), address)
    assert isinstance(error, SourceMissing)
    assert error.message.isprintable()
    assert len(error.message) < 700


# ---- lies ----------------------------------------------------------------------------------------------


def small() -> Item:
    return Collection.item("small", b"0123456789")


def large() -> Item:
    return Collection.item("large", LARGE)


def but_large(number: int) -> Item:
    return but(large(), key=f"large-{number}")


LIES: dict[str, tuple[bytes, type[LibrarianError]]] = {
    "a redirect": (
        answering(b"", "Location: http://127.0.0.1:1/elsewhere", status="302 Found"),
        SourceInvalid,
    ),
    "a wrong content type": (answering(LARGE, "Content-Type: text/html"), SourceInvalid),
    "a content encoding": (answering(LARGE, BYTES, "Content-Encoding: gzip"), SourceInvalid),
    "not HTTP": (b"SSH-2.0-OpenSSH_9.2\r\n", SourceInvalid),
    "endless headers": (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000, SourceInvalid),
    "an endless header": (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 1_000_000, SourceInvalid),
    "a server error": (answering(b"oops", status="500 Internal Server Error"), SourceInvalid),
    "a hang-up": (b"", SourceUnreachable),
}
LARGE_LIES: dict[str, tuple[bytes, type[LibrarianError]]] = {
    "more bytes than announced": (answering(LARGE + b"x", BYTES), SizeMismatch),
    "fewer bytes than announced": (answering(LARGE[1:], BYTES), SizeMismatch),
    "an endless length": (answering(b"", BYTES, length=1 << 60), SizeMismatch),
    "no length": (
        f"HTTP/1.1 200 OK\r\n{BYTES}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n".encode(),
        SourceInvalid,
    ),
    "another range": (
        answering(LARGE, BYTES, f"Content-Range: bytes 0-{len(LARGE) - 1}/{len(LARGE)}", status="206 Partial"),
        SourceInvalid,
    ),
}
SMALL_LIES: dict[str, tuple[bytes, type[LibrarianError]]] = {
    "garbage frames": (answering(noise(5000), BUNDLE), SourceInvalid),
    "a huge frame header": (answering(b"\x7f\xff\xff\xff" + b"x" * 10_000, BUNDLE), SourceInvalid),
    "an empty frame header": (answering(b"\0\0\0\0" * 10, BUNDLE), SourceInvalid),
    "a frame too large": (answering(encode_frame(0, b"0" * 11), BUNDLE), SourceInvalid),
    "a frame too small": (answering(encode_frame(0, b"0" * 9), BUNDLE), SizeMismatch),
    "a frame for another item": (answering(encode_frame(1, b"0123456789"), BUNDLE), SourceInvalid),
    "a frame cut short": (answering(encode_frame(0, b"0123456789")[:-1], BUNDLE), SourceInvalid),
    "no frame": (answering(b"", BUNDLE), SourceInvalid),
    "an error of its own making": (answering(encode_error(0, "E999", "?"), BUNDLE), SourceInvalid),
    "an error": (answering(encode_error(0, "E301", "gone"), BUNDLE), SourceMissing),
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("item", [small(), large()], ids=["small", "large"])
async def test_a_lie_about_any_item_is_seen_through(adapter: http.Http, lie: str, item: Item) -> None:
    said, expected = LIES[lie]
    async with serving(saying(said)) as address:
        assert type(await error_of(adapter, item, address)) is expected


@pytest.mark.parametrize("lie", LARGE_LIES)
async def test_a_lie_about_a_large_item_is_seen_through(adapter: http.Http, lie: str) -> None:
    said, expected = LARGE_LIES[lie]
    async with serving(saying(said)) as address:
        assert type(await error_of(adapter, large(), address)) is expected


@pytest.mark.parametrize("lie", SMALL_LIES)
async def test_a_lie_in_a_bundle_is_seen_through(adapter: http.Http, lie: str) -> None:
    said, expected = SMALL_LIES[lie]
    async with serving(saying(said)) as address:
        assert type(await error_of(adapter, small(), address)) is expected


async def test_bytes_behind_the_announced_length_are_not_written(adapter: http.Http) -> None:
    item = large()
    async with serving(saying(answering(LARGE + b"more", BYTES, length=len(LARGE)))) as address:
        outcome, staging = await fetched(adapter, item, address)
    assert outcome == Landed(item)
    assert staging.held[item.key] == LARGE


async def test_an_item_framed_twice_has_one_outcome(adapter: http.Http) -> None:
    first, second = small(), but(small(), key="second")
    body = encode_frame(0, b"0123456789") * 2
    async with serving(saying(answering(body, BUNDLE))) as address:
        outcomes = await outcomes_of(adapter, batch_of([first, second], address), WatchedStaging())
    assert landed_keys(outcomes) == {first.key}
    assert set(failures(outcomes)) == {"second"}


async def test_a_source_that_ignores_the_range_is_seen_through(adapter: http.Http) -> None:
    item = large()
    staging = WatchedStaging()
    staging.held[item.key] = bytearray(LARGE[:1000])
    async with serving(saying(answering(LARGE[1000:], BYTES))) as address:
        [outcome] = await outcomes_of(adapter, batch_of([item], address), staging)
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, SourceInvalid)
    assert staging.held[item.key] == LARGE[:1000]


# ---- silence -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("item", [small(), large()], ids=["small", "large"])
@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\n", answering(b"123", BYTES, length=len(LARGE))])
async def test_silence_ends_the_item(item: Item, said: bytes) -> None:
    """A source that accepts the connection and stops before, within or after the headers ends by the idle time."""
    adapter = adapter_of(Destination(), {"idle_s": 0.2})
    async with serving(saying(said, linger=True)) as address:
        error = await error_of(adapter, item, address)
        await adapter.close()
    assert type(error) is TransferTimeout or (item.key == "small" and said.endswith(b"123"))


async def test_continues_without_end_are_silence() -> None:
    adapter = adapter_of(Destination(), {"idle_s": 0.2, "connect_s": 0.2})

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        while True:
            writer.write(b"HTTP/1.1 102 Processing\r\n\r\n")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with serving(answer) as address:
        error = await error_of(adapter, large(), address)
        await adapter.close()
    assert isinstance(error, TransferTimeout)


async def test_stalling_gives_up_on_a_source_that_hangs(adapter: http.Http) -> None:
    said = answering(LARGE[:1000], BYTES, length=len(LARGE))
    async with serving(saying(said, linger=True)) as address:
        with pytest.raises(TransferTimeout, match="nothing moved for"):
            await outcomes_of(StallingAdapter(adapter, stall_s=0.2), batch_of([large()], address), WatchedStaging())


# ---- our own side --------------------------------------------------------------------------------------


async def test_a_store_that_fails_fails_the_item_and_not_the_source(
    adapter: http.Http, collection: Collection, source: Source
) -> None:
    items = [collection.add("small", b"1"), collection.add("large", LARGE)]

    class Broken(WatchedStaging):
        async def create(self, item: Item, *, resume: bool = False) -> Any:
            raise StoreFault("input/output error")

        async def put(self, items: Any) -> None:
            raise StoreFault("input/output error")

    outcomes = await outcomes_of(adapter, batch_of(items, source.address), Broken())
    assert {type(error) for error in failures(outcomes).values()} == {StoreFault}
    assert len(outcomes) == 2


async def test_small_items_are_staged_in_groups(adapter: http.Http, collection: Collection, source: Source) -> None:
    items = [collection.add(f"f{number}", b"x" * number) for number in range(600)]
    staging = WatchedStaging()
    await outcomes_of(adapter, batch_of(items, source.address), staging)
    assert sum(staging.puts) == 600
    assert max(staging.puts) <= 256
    assert len(staging.puts) <= 10


@pytest.mark.parametrize("settings", [{"idle": 3}, {"idle_s": 0}, {"requests": 100}, {"bundle_files": "many"}])
def test_wrong_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigInvalid, match=r"adapters\.settings\.http"):
        adapter_of(Destination(), settings)
