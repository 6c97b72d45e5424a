"""Messages are read ahead of who takes them: in their order, a few at once, and not more than a few."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from librarian_daemon.journal.ahead import TOGETHER, read_ahead
from librarian_daemon.ports.bus import Message


class Stream:
    """Numbered messages for ever, or until it breaks in place of one."""

    def __init__(self, breaks_at: int = 0) -> None:
        self._breaks_at = breaks_at
        self.read = 0
        self.closed = False

    async def messages(self) -> AsyncGenerator[Message]:
        try:
            while True:
                await asyncio.sleep(0)
                self.read += 1
                if self.read == self._breaks_at:
                    raise ValueError
                yield Message(subject="s", payload=b"", headers={}, stream_seq=self.read)
        finally:
            self.closed = True


def no_segment(_: Message) -> None:
    return None


async def settled() -> None:
    """All that can go on has gone on."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_messages_come_in_their_order_and_a_few_at_once() -> None:
    stream = Stream()
    async with read_ahead(stream.messages(), no_segment) as waiting:
        taken = [[arrived.message.stream_seq for arrived in await waiting.some()]]
        while len(taken) < 5:
            await settled()
            taken.append([arrived.message.stream_seq for arrived in await waiting.some()])
    numbers = [number for some in taken for number in some]
    assert numbers == list(range(1, len(numbers) + 1))
    assert {len(some) for some in taken[1:]} == {TOGETHER}


async def test_no_more_is_read_than_can_wait() -> None:
    stream = Stream()
    async with read_ahead(stream.messages(), no_segment):
        await settled()
        assert stream.read == TOGETHER + 1


async def test_the_stream_is_closed_when_its_reader_ends() -> None:
    stream = Stream()
    async with read_ahead(stream.messages(), no_segment) as waiting:
        await waiting.some()
    assert stream.closed


async def test_the_stream_is_closed_when_its_reader_fails() -> None:
    stream = Stream()

    async def read() -> None:
        async with read_ahead(stream.messages(), no_segment) as waiting:
            await waiting.some()
            raise ValueError

    with pytest.raises(ExceptionGroup):
        await read()
    assert stream.closed


async def test_what_fails_to_be_read_ends_its_reader() -> None:
    async def read() -> None:
        async with read_ahead(Stream(breaks_at=2).messages(), no_segment) as waiting:
            while True:
                await waiting.some()

    with pytest.raises(ExceptionGroup):
        await read()
