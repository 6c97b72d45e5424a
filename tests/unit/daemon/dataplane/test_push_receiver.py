"""Pushes: what a source may bring, and what a hostile one, or a stranger, may not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from tests.support.fetching import WatchedStaging, batch_of, failures, landed_keys, outcomes_of
from tests.support.pushing import PushPair, SourceClock
from tests.support.source import ARCHIVE, SUMMIT, Collection, Destination, noise

from librarian_adapters.contract import Item, Outcome
from librarian_adapters.http.bundle import BYTES_TYPE
from librarian_adapters.http.bundle_receiver import asked
from librarian_adapters.http.push_letters import PUSH_ME, PUSH_TARGET, PushMe, decode_push_me
from librarian_adapters.wrappers.verifying import VerifyingAdapter
from librarian_daemon.dataplane.push_sender import WORKERS, Pusher
from librarian_daemon.dataplane.sender import Sender
from librarian_protocol import wire
from librarian_protocol.entries import AdapterOffer, Dial
from librarian_protocol.errors import (
    ArgumentInvalid,
    NotOffered,
    SizeMismatch,
    SourceInvalid,
    SourceRefused,
    SourceUnreachable,
    TransferTimeout,
)
from librarian_protocol.mail import Mail
from librarian_protocol.names import SiteName

LARGE = noise(3 << 20)


class Pushed(PushPair):
    """A pair whose source is played by the test: letters do not reach the pusher."""

    def __init__(self, collection: Collection) -> None:
        super().__init__(collection)
        self.delivering = False
        self.staging = WatchedStaging()

    def fetch(self, *items: Item) -> asyncio.Task[list[Outcome]]:
        """A batch that waits."""
        batch = batch_of(items, dial=Dial.SOURCE)
        return asyncio.create_task(outcomes_of(VerifyingAdapter(self.adapter), batch, self.staging))

    async def asked(self) -> PushMe:
        """The newest letter, when it is there."""
        async with asyncio.timeout(5):
            while not self.letters:
                await asyncio.sleep(0)
        return decode_push_me(self.letters[-1][2])

    async def push(
        self, ticket: str, body: bytes, *, by: Destination | None = None, begin: int = 0, content_type: str = BYTES_TYPE
    ) -> int:
        """Push as a site; the status."""
        target = PUSH_TARGET + ticket
        byte_range = f"bytes={begin}-" if begin else ""
        headers = (by or self.source).sign(source=ARCHIVE, method="POST", target=target, range=byte_range, body=b"")
        headers["Content-Type"] = content_type
        if begin:
            headers["Range"] = byte_range
        url = f"http://127.0.0.1:{self.port}{target}"
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, headers=headers, data=BytesIO(body), allow_redirects=False) as response,
        ):
            return response.status


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncGenerator[Pushed]:
    made = Pushed(Collection(tmp_path / "store"))
    await made.start()
    yield made
    await made.stop()


async def test_what_was_asked_for_lands(pair: Pushed) -> None:
    item = pair.collection.add("large", LARGE)
    fetching = pair.fetch(item)
    asked = await pair.asked()
    assert (asked.bundle, asked.begin, [part.digest for part in asked.items]) == (False, 0, [item.digest])
    assert await pair.push(asked.ticket, LARGE) == 200
    assert landed_keys(await fetching) == {item.key}


async def test_a_push_goes_on_from_what_is_staged(pair: Pushed) -> None:
    item = pair.collection.add("large", LARGE)
    pair.staging.held[item.key] = bytearray(LARGE[:1000])
    fetching = pair.fetch(item)
    asked = await pair.asked()
    assert asked.begin == 1000
    assert await pair.push(asked.ticket, LARGE[1000:], begin=1000) == 200
    assert landed_keys(await fetching) == {item.key}


async def test_a_ticket_is_good_once(pair: Pushed) -> None:
    item = pair.collection.add("large", LARGE)
    fetching = pair.fetch(item)
    asked = await pair.asked()
    assert await pair.push(asked.ticket, LARGE) == 200
    await fetching
    assert await pair.push(asked.ticket, LARGE) == 404


async def test_a_ticket_of_another_site_or_a_guessed_one_is_unknown(pair: Pushed) -> None:
    """And stays good for the site that it was made for."""
    campus = Destination(SiteName.parse("campus"), 9)
    pair.receivers.keys[campus.name] = campus.key.public
    item = pair.collection.add("large", LARGE)
    fetching = pair.fetch(item)
    asked = await pair.asked()
    assert await pair.push(asked.ticket, LARGE, by=campus) == 404
    assert await pair.push("0" * 32, LARGE) == 404
    assert pair.staging.held.get(item.key, b"") == b""
    assert await pair.push(asked.ticket, LARGE) == 200
    assert landed_keys(await fetching) == {item.key}


async def test_a_push_that_is_not_signed_by_an_admitted_site_is_refused(pair: Pushed) -> None:
    item = pair.collection.add("large", LARGE)
    fetching = pair.fetch(item)
    asked = await pair.asked()
    assert await pair.push(asked.ticket, LARGE, by=Destination(SUMMIT, 99)) == 401
    assert await pair.push(asked.ticket, LARGE, by=Destination(SiteName.parse("stranger"), 9)) == 401
    assert await pair.push(asked.ticket, LARGE) == 200
    await fetching


@pytest.mark.parametrize(
    ("body", "begin", "content_type", "error"),
    [
        (LARGE + b"x", 0, BYTES_TYPE, SizeMismatch),
        (LARGE[:-1], 0, BYTES_TYPE, SizeMismatch),
        (LARGE[5:], 5, BYTES_TYPE, SourceInvalid),
        (LARGE, 0, "text/html", Exception),
    ],
)
async def test_what_was_not_asked_for_is_not_written(
    pair: Pushed, body: bytes, begin: int, content_type: str, error: type[Exception]
) -> None:
    item = pair.collection.add("large", LARGE)
    fetching = pair.fetch(item)
    asked = await pair.asked()
    with suppress(aiohttp.ClientError):  # cut off while it was still sending
        assert await pair.push(asked.ticket, body, begin=begin, content_type=content_type) in {400, 409}
    assert isinstance(failures(await fetching)[item.key], error)
    assert pair.staging.held.get(item.key, b"") == b""


async def test_wrong_bytes_are_found_by_their_digest(pair: Pushed) -> None:
    item = pair.collection.add("large", LARGE)
    fetching = pair.fetch(item)
    asked = await pair.asked()
    assert await pair.push(asked.ticket, noise(len(LARGE), 5)) == 200
    assert set(failures(await fetching)) == {item.key}
    assert item.key not in pair.staging.held


async def test_after_the_batch_is_given_up_nothing_is_written(pair: Pushed) -> None:
    item = pair.collection.add("large", LARGE)
    fetching = pair.fetch(item)
    asked = await pair.asked()
    fetching.cancel()
    await asyncio.wait([fetching])
    pair.staging.over = True
    assert await pair.push(asked.ticket, LARGE) == 404
    assert pair.staging.late == 0


async def test_silence_is_a_timeout(pair: Pushed) -> None:
    """The source was asked by letter to push, and never connects."""
    item = pair.collection.add("large", LARGE)
    (error,) = failures(await pair.fetch(item)).values()
    assert isinstance(error, TransferTimeout)
    assert "was asked by letter" in error.message


async def test_a_site_that_never_answers_is_written_to_ever_more_seldom(pair: Pushed) -> None:
    for _ in range(8):
        await pair.tickets.ask(SUMMIT, "push-me", b"{}")
    with pytest.raises(SourceUnreachable, match="did not answer the last 8 letters"):
        await pair.tickets.ask(SUMMIT, "push-me", b"{}")


# ---- the source's side -------------------------------------------------------------------------------------


async def test_what_is_not_offered_is_refused_by_letter_or_by_frame(pair: Pushed) -> None:
    pair.delivering = True
    small, large = pair.collection.add("small", b"x"), pair.collection.add("large", LARGE)
    pair.collection.kept_from = {(ARCHIVE, small.digest), (ARCHIVE, large.digest)}
    failed = failures(await pair.fetch(small, large))
    assert {key: type(error) for key, error in failed.items()} == {"small": NotOffered, "large": NotOffered}


async def test_a_witness_gets_nothing(pair: Pushed) -> None:
    """A witness holds the journal only: the source refuses to give it bytes, and says why."""
    pair.delivering = True
    item = pair.collection.add("small", b"x")
    pair.collection.may_not[ARCHIVE] = "it is a witness"
    (error,) = failures(await pair.fetch(item)).values()
    assert isinstance(error, SourceRefused)
    assert "it is a witness" in error.message


@pytest.mark.parametrize(
    "address", ["169.254.169.254:80", "http://0.0.0.0:80", "[::ffff:169.254.1.1]:80", "[ff02::1]:1"]
)
async def test_an_address_that_no_site_can_have_is_not_dialled(pair: Pushed, address: str) -> None:
    pair.delivering = True
    pair.address = address
    item = pair.collection.add("small", b"x")
    (error,) = failures(await pair.fetch(item)).values()
    assert isinstance(error, TransferTimeout)  # the destination waits in vain; the source's log says why


@pytest.mark.parametrize("body", [b"", b"[]", b'{"ticket": "x"}', b"nonsense"])
def test_a_letter_that_makes_no_sense_is_refused(body: bytes) -> None:
    with pytest.raises(ArgumentInvalid):
        decode_push_me(body)


class SlowReaders:
    """Stands for the client: whoever is slow takes a request and never answers; the others do at once."""

    def __init__(self, *slow: SiteName) -> None:
        self.slow = slow
        self.held: list[SiteName] = []
        self.served: asyncio.Queue[SiteName] = asyncio.Queue()

    @asynccontextmanager
    async def request(self, site: SiteName, *_: object, **__: object) -> AsyncGenerator[None]:
        if site in self.slow:
            self.held.append(site)
            await asyncio.Event().wait()
        self.served.put_nowait(site)
        yield


async def test_a_destination_that_reads_slowly_does_not_hold_all_workers(tmp_path: Path) -> None:
    """Every letter of one site is held up; another one's push goes out all the same."""
    collection = Collection(tmp_path / "store")
    item = collection.add("f", b"bytes")
    dome = SiteName("dome")
    client: Any = SlowReaders(ARCHIVE)
    for site in (ARCHIVE, dome):
        collection.keys[site] = Destination().key.public

    async def send(*_: object) -> None:
        raise AssertionError("nothing is refused")

    offer = AdapterOffer(name="http", version=1, address="192.0.2.1:7400", dial=Dial.DESTINATION)
    pusher = Pusher(
        client=client,
        sender=Sender(SUMMIT, collection, collection),
        holdings=collection,
        offers=lambda _: [offer],
        send=send,
        clock=SourceClock(),
    )
    sealed: Any = None

    async def ask(site: SiteName, ticket: int) -> None:
        body = wire.encode(PushMe(ticket=f"{ticket:032x}", expires=1 << 40, items=[asked(item)], bundle=True))
        letter = Mail(v=1, id="0" * 32, at="", sender=site, to=SUMMIT, verb=PUSH_ME, body=msgspec.Raw(body))
        await pusher.push_me(letter, sealed)

    running = asyncio.create_task(pusher.run())
    for number in range(20):
        await ask(ARCHIVE, number)
    async with asyncio.timeout(10):
        while len(client.held) < WORKERS - 1:
            await asyncio.sleep(0)
        await ask(dome, 99)
        assert await client.served.get() == dome
    assert client.held == [ARCHIVE] * (WORKERS - 1)
    running.cancel()
    await asyncio.wait([running])
