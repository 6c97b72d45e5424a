"""What every bus does for the services of a site (:mod:`librarian_daemon.ports.bus`), also the simulator's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.bus.meetings import MEETINGS, A, B, Meeting, SiteBus

from librarian_daemon.ports.bus import Answerer, Message, OwnStream, Part, Streams
from librarian_protocol import subjects
from librarian_protocol.errors import BusUnavailable, NotPermitted, RequestRefused
from librarian_protocol.names import SiteName

WHAT = "journal"
#: No answer within so long is none.
SILENCE_S = 5.0


@pytest.fixture(params=sorted(MEETINGS))
def meet(request: pytest.FixtureRequest, tmp_path: Path) -> Meeting:
    meeting: Meeting = MEETINGS[request.param](tmp_path)
    return meeting


async def publish(bus: OwnStream, site: SiteName, number: int) -> tuple[int, bool]:
    """A message that carries a number: its place in the stream, and whether it was there before."""
    subject = subjects.journal(site, "file.ingested")
    stored = await bus.publish(subject, b'{"n":%d}' % number, {subjects.MESSAGE_ID_HEADER: f"{site}-{number}"})
    return stored.stream_seq, stored.again


async def read(bus: Streams, origin: SiteName, after: int, count: int) -> list[Message]:
    found: list[Message] = []
    async with aclosing(bus.read(origin, after)) as messages:
        async for message in messages:
            found.append(message)
            if len(found) == count:
                break
    return found


def payloads(*numbers: int) -> list[bytes]:
    return [b'{"n":%d}' % number for number in numbers]


@asynccontextmanager
async def meanwhile(work: Coroutine[Any, Any, None]) -> AsyncGenerator[None]:
    """Something goes on during the block."""
    task = asyncio.ensure_future(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def asked(bus: SiteBus, peer: SiteName, body: bytes) -> list[bytes]:
    """The parts of an answer; asked again until the other site has begun to answer."""
    while True:
        try:
            return [part.payload async for part in bus.ask(peer, WHAT, body, silence_s=SILENCE_S)]
        except BusUnavailable:
            await asyncio.sleep(0.05)


def test_what_is_published_is_read_by_others_in_order_with_its_subject_and_headers(meet: Meeting) -> None:
    async def scenario(a: SiteBus, b: SiteBus) -> None:
        assert [await publish(a, A, number) for number in (1, 2, 3)] == [(1, False), (2, False), (3, False)]
        found = await read(b, A, 0, 3)
        assert [message.payload for message in found] == payloads(1, 2, 3)
        assert [message.stream_seq for message in found] == [1, 2, 3]
        assert found[0].subject == subjects.journal(A, "file.ingested")
        assert found[0].headers[subjects.MESSAGE_ID_HEADER] == "a-1"

    meet(scenario)


def test_a_reader_goes_on_behind_its_cursor(meet: Meeting) -> None:
    async def scenario(a: SiteBus, b: SiteBus) -> None:
        for number in (1, 2, 3):
            await publish(a, A, number)
        assert [message.payload for message in await read(b, A, 2, 1)] == payloads(3)
        assert [message.payload for message in await read(b, A, 0, 1)] == payloads(1)

    meet(scenario)


def test_a_reader_that_is_at_the_end_waits_for_what_comes(meet: Meeting) -> None:
    async def scenario(a: SiteBus, b: SiteBus) -> None:
        await publish(a, A, 1)
        async with aclosing(b.read(A, 0)) as messages:
            assert (await anext(messages)).payload == payloads(1)[0]
            coming = asyncio.ensure_future(anext(messages))
            await publish(a, A, 2)
            assert (await coming).payload == payloads(2)[0]

    meet(scenario)


def test_each_site_has_a_stream_of_its_own(meet: Meeting) -> None:
    async def scenario(a: SiteBus, b: SiteBus) -> None:
        await publish(a, A, 1)
        await publish(b, B, 7)
        assert [message.payload for message in await read(b, A, 0, 1)] == payloads(1)
        assert [message.payload for message in await read(a, B, 0, 1)] == payloads(7)

    meet(scenario)


def test_a_message_that_is_published_again_is_stored_once_and_said_to_be_there(meet: Meeting) -> None:
    async def scenario(a: SiteBus, b: SiteBus) -> None:
        assert await publish(a, A, 1) == (1, False)
        assert await publish(a, A, 1) == (1, True)
        assert await publish(a, A, 2) == (2, False)
        assert [message.payload for message in await read(b, A, 0, 2)] == payloads(1, 2)

    meet(scenario)


def test_the_stream_is_the_same_one_when_it_is_asked_for_again(meet: Meeting) -> None:
    async def scenario(a: SiteBus, _b: SiteBus) -> None:
        before = await a.ensure_stream()
        assert before.last_seq == 0
        await publish(a, A, 1)
        after = await a.ensure_stream()
        assert (after.created, after.last_seq) == (before.created, 1)

    meet(scenario)


def test_it_says_that_it_is_connected(meet: Meeting) -> None:
    async def scenario(a: SiteBus, _b: SiteBus) -> None:
        state = a.state()
        assert (state.connected, state.detail) == (True, "")
        assert state.url
        assert state.server_version

    meet(scenario)


def test_how_reading_a_site_stands_is_known_once_it_was_read(meet: Meeting) -> None:
    async def scenario(a: SiteBus, b: SiteBus) -> None:
        assert A not in b.links() or not b.links()[A].up
        await publish(a, A, 1)
        async with aclosing(b.read(A, 0)) as messages:
            await anext(messages)
            assert b.links()[A].up

    meet(scenario)


def test_heads_are_heard_by_the_others_and_by_a_twin(meet: Meeting) -> None:
    async def scenario(a: SiteBus, b: SiteBus) -> None:
        async def says() -> None:
            while True:
                await a.announce(b"heads")
                await asyncio.sleep(0.05)

        async with meanwhile(says()):
            for bus in (a, b):
                async with aclosing(bus.heads()) as heads:
                    assert await anext(heads) == (A, b"heads")

    meet(scenario)


def answering(site: SiteBus, answerer: Answerer) -> Any:
    return meanwhile(site.answer(answerer))


def test_the_parts_of_an_answer_come_whole_and_in_order(meet: Meeting) -> None:
    async def parts(asker: SiteName, what: str, body: bytes) -> AsyncGenerator[Part, None]:
        for number in range(20):
            yield Part(payload=b"%s %s %s %d" % (asker.encode(), what.encode(), body, number))

    async def scenario(a: SiteBus, b: SiteBus) -> None:
        async with answering(a, parts):
            assert await asked(b, A, b"1-20") == [b"b-1 journal 1-20 %d" % number for number in range(20)]

    meet(scenario)


def test_an_answer_of_no_parts_is_one(meet: Meeting) -> None:
    async def nothing(asker: SiteName, what: str, body: bytes) -> AsyncGenerator[Part, None]:
        nobody: tuple[Part, ...] = ()
        for part in nobody:
            yield part

    async def scenario(a: SiteBus, b: SiteBus) -> None:
        async with answering(a, nothing):
            assert await asked(b, A, b"") == []

    meet(scenario)


def test_who_is_refused_is_told_why_and_the_next_question_is_answered(meet: Meeting) -> None:
    async def refuses(asker: SiteName, what: str, body: bytes) -> AsyncGenerator[Part, None]:
        yield Part(payload=b"first")
        if body == b"forbidden":
            raise NotPermitted("not for you")

    async def scenario(a: SiteBus, b: SiteBus) -> None:
        async with answering(a, refuses):
            assert await asked(b, A, b"allowed") == [b"first"]
            with pytest.raises(RequestRefused, match=r"a refused to answer journal: .*not for you"):
                await asked(b, A, b"forbidden")
            assert await asked(b, A, b"allowed") == [b"first"]

    meet(scenario)


def test_a_site_that_does_not_answer_is_unavailable(meet: Meeting) -> None:
    async def scenario(_a: SiteBus, b: SiteBus) -> None:
        with pytest.raises(BusUnavailable):
            async for _ in b.ask(A, WHAT, b"", silence_s=0.3):
                pass

    meet(scenario)
