"""Publishing at one site and reading at another, on one shared server, through outages."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from contextlib import aclosing
from pathlib import Path

import pytest
from tests.integration.bus.sites import A, B, Site, eventually, insist, number, numbers, readers, shared, take

from librarian_protocol.errors import BusUnavailable


async def publish_all(site: Site, first: int, last: int) -> None:
    """As the publisher does it: one at a time, each again until it is acknowledged."""
    for n in range(first, last + 1):
        await insist(lambda n=n: site.publish(n), BusUnavailable)  # type: ignore[misc]


async def test_what_one_site_publishes_the_other_reads(tmp_path: Path) -> None:
    async with shared(tmp_path, B) as (a, b):
        assert await a.publish(1) == 1
        assert await b.publish(2) == 1
        (from_a,) = await take(b.bus, A, 0, 1)
        (from_b,) = await take(a.bus, B, 0, 1)
        assert (from_a.subject, from_a.payload, from_a.stream_seq) == ("lb.a.file.ingested", b'{"n":1}', 1)
        assert from_a.headers["Nats-Msg-Id"] == "a-1"
        assert numbers([from_b]) == [2]


async def test_five_thousand_messages_arrive_all_and_in_order(tmp_path: Path) -> None:
    async with shared(tmp_path, B) as (a, b):
        reading = asyncio.create_task(take(b.bus, A, 0, 5000, timeout_s=60))
        for start in range(1, 5001, 500):  # not one at a time: the server keeps the order of one connection
            await asyncio.gather(*(a.publish(number) for number in range(start, start + 500)))
        found = await reading
        assert numbers(found) == list(range(1, 5001))
        assert [message.stream_seq for message in found] == list(range(1, 5001))


async def test_large_messages_arrive_in_order_though_few_fit_into_one_request(tmp_path: Path) -> None:
    async with shared(tmp_path, B) as (a, b):
        for number in range(20):
            await a.bus.publish("lb.a.file.ingested", bytes([number]) * 192 * 1024, {})
        found = await take(b.bus, A, 0, 20)
        assert [message.payload[0] for message in found] == list(range(20))
        assert all(len(message.payload) == 192 * 1024 for message in found)


async def test_a_message_published_again_is_stored_once(tmp_path: Path) -> None:
    async with shared(tmp_path, B) as (a, b):
        assert [await a.publish(1), await a.publish(1), await a.publish(2)] == [1, 1, 2]
        assert numbers(await take(b.bus, A, 0, 2)) == [1, 2]


@pytest.mark.fault(17)
async def test_a_killed_server_loses_nothing_and_repeats_nothing(tmp_path: Path) -> None:
    async with shared(tmp_path, B) as (a, b):
        publishing = asyncio.create_task(publish_all(a, 1, 1200))
        found: list[int] = []
        async with asyncio.timeout(40), aclosing(b.bus.read(A, 0)) as messages:
            async for message in messages:
                found.append(number(message))
                if len(found) in {100, 700}:
                    os.kill(a.server_pid(), signal.SIGKILL)
                if len(found) == 1200:
                    break
        await publishing
        assert found == list(range(1, 1201))


@pytest.mark.fault(17)
async def test_a_stopped_server_is_waited_for(tmp_path: Path) -> None:
    async with shared(tmp_path, B) as (a, b):
        await publish_all(a, 1, 10)
        reading = asyncio.create_task(take(b.bus, A, 0, 20))
        await a.stop()
        await eventually(lambda: not b.bus.state().connected)
        with pytest.raises(BusUnavailable):
            await b.publish(1)
        a.start()
        await publish_all(a, 11, 20)
        assert numbers(await reading) == list(range(1, 21))


async def test_a_reader_that_starts_again_goes_on_behind_its_cursor(tmp_path: Path) -> None:
    async with shared(tmp_path, B) as (a, b):
        await publish_all(a, 1, 600)
        first = await take(b.bus, A, 0, 300)  # in the middle of a request
        await b.restart()
        await b.bus.use(a.bus.state().url, external=False)
        b.start()
        second = await take(b.bus, A, first[-1].stream_seq, 300)
        assert numbers([*first, *second]) == list(range(1, 601))
        assert numbers(await take(b.bus, A, 599, 1)) == [600]


async def test_messages_published_while_nobody_reads_are_kept(tmp_path: Path) -> None:
    async with shared(tmp_path, B) as (a, b):
        await b.stop()
        await publish_all(a, 1, 50)
        b.start()
        assert numbers(await take(b.bus, A, 0, 50)) == list(range(1, 51))


async def test_a_stream_that_was_lost_is_read_again_from_its_start(tmp_path: Path) -> None:
    async with shared(tmp_path, B) as (a, b):
        await publish_all(a, 1, 30)
        before = await a.bus.ensure_stream()
        assert before.last_seq == 30
        reading = asyncio.create_task(take(b.bus, A, 30, 5))
        await a.stop()
        shutil.rmtree(a.root / "bus" / "jetstream")
        a.start()
        after = await insist(a.bus.ensure_stream, BusUnavailable)
        assert (after.last_seq, after.created == before.created) == (0, False)  # by which the publisher notices
        await a.bus.ensure_readers(readers(B))
        await publish_all(a, 31, 35)
        assert numbers(await reading) == list(range(31, 36))


async def test_ensuring_stream_and_readers_twice_changes_nothing(tmp_path: Path) -> None:
    async with shared(tmp_path, B) as (a, b):
        await publish_all(a, 1, 3)
        first = await a.bus.ensure_stream()
        await a.bus.ensure_readers(readers(A, B))
        assert await a.bus.ensure_stream() == first
        assert a.bus.state().unsafe == []
        assert numbers(await take(b.bus, A, 0, 3)) == [1, 2, 3]
