"""Messages that no honest client makes: they harm nobody but, at worst, the site that sends them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.integration.bus.intruder import intruder, seed, url
from tests.integration.bus.sites import A, B, C, numbers, shared, take


@pytest.mark.parametrize(
    ("subject", "headers"),
    [
        (b"lb.b-1.file.ingested", b"N"),
        (b"lb.b-1.file.ingested", b"XXXXXXXXXX"),
        (b"lb.b-1.file.ingested", b"NATS/1.0\r\n\xff: \xff\r\n\r\n"),
        (b"lb.b-1.file.ingested", b"NATS/1.0 100\r\nNats-Last-Consumer: 99\r\n\r\n"),
        (b"lb.b-1.file.ingested", b"NATS/1.0\r\nStatus: 408\r\n\r\n"),
        (b"lb.b-1.\xff\xff.x", b"NATS/1.0\r\n\r\n"),
    ],
)
@pytest.mark.fault(29)
async def test_a_reader_gets_past_what_cannot_be_decoded(tmp_path: Path, subject: bytes, headers: bytes) -> None:
    async with shared(tmp_path, B) as (a, b):
        async with intruder(url(a), nkeys_seed_str=seed(b, "journal")) as peer:
            await peer.send_raw(subject, headers)
        assert await b.publish(1) == 2
        poison, message = await take(a.bus, B, 0, 2, timeout_s=5)
        assert poison.payload == b""
        assert numbers([message]) == [1]


@pytest.mark.parametrize(
    ("subject", "headers"),
    [
        (b"lb.b-1.x\x0by.z", b"NATS/1.0\r\n\r\n"),  # no form of a message that nats-py knows
        (b"lb.b-1.file.ingested", b"NATS/1.0 \xff\xff\xff\r\n\r\n"),
        (b"lb.b-1.file.ingested", b"NATS/1.0 503\r\n\r\n"),  # the server takes it for "nobody is there"
    ],
)
@pytest.mark.fault(29)
async def test_a_message_that_breaks_the_connection_stops_only_the_reading_of_its_origin(
    tmp_path: Path, subject: bytes, headers: bytes
) -> None:
    async with shared(tmp_path, B, C) as (a, b, c):
        stuck = asyncio.create_task(take(c.bus, B, 0, 2))
        reading = asyncio.create_task(take(c.bus, A, 0, 100, timeout_s=10))
        async with intruder(url(a), nkeys_seed_str=seed(b, "journal")) as peer:
            await peer.send_raw(subject, headers)
        await b.publish(1)
        for n in range(1, 101):
            await a.publish(n)
        assert numbers(await reading) == list(range(1, 101))
        assert c.bus.state().connected
        stuck.cancel()
