"""What was claimed while others landed: what of it lands together."""

from __future__ import annotations

import asyncio

import pytest

from librarian_daemon.intake.directory.claimed import Claimed
from librarian_daemon.intake.directory.examination import Examined
from librarian_daemon.intake.directory.scanner import Kind
from librarian_daemon.intake.examined import Ready
from librarian_daemon.intake.ingest import Batch
from librarian_daemon.intake.landing_queue import LandingQueue
from librarian_protocol.digests import Digest
from librarian_protocol.names import Name


def batch(name: str, *rels: str, kind: Kind = Kind.FILE, may_rename: bool | None = True, store: str = "a") -> Batch:
    claimed = [Claimed(name.encode(), rel.encode(), kind) for rel in rels]
    return Batch(store=store, claimed=claimed, may_rename=may_rename)


def ready(of: Batch, size_bytes: int = 1) -> list[Ready]:
    found = Examined(size_bytes=size_bytes, digest=Digest.blake3(b""), mtime_ns=1, uploader="", ours=True)
    names = [Name.parse(each.rel) for each in of.claimed]
    return [
        Ready(id="i", claimed=each, name=name, folded=name.folded, found=found)
        for each, name in zip(of.claimed, names, strict=True)
    ]


async def is_put(queue: LandingQueue, one: Batch, size_bytes: int = 1) -> bool:
    """Whether it is put at once; it is given up where it has to wait."""
    putting = asyncio.create_task(queue.put(one.claimed[0].batch, one, ready(one, size_bytes)))
    for _ in range(3):
        await asyncio.sleep(0)
    done = putting.done()
    putting.cancel()
    await asyncio.wait([putting])
    return done


async def test_files_that_wait_land_together_in_their_order() -> None:
    queue = LandingQueue(10, 100)
    assert await is_put(queue, batch("b1", "x"))
    assert await is_put(queue, batch("b2", "y", "z"))
    queued = queue.take()
    assert (queued.names, [file.name for file in queued.ready]) == ([b"b1", b"b2"], ["x", "y", "z"])
    assert [claimed.rel for claimed in queued.batch.claimed] == [b"x", b"y", b"z"]
    assert not queue


@pytest.mark.parametrize(
    ("other", "size_bytes"),
    [
        (batch("b2", "x"), 1),  # the same path: what it means depends on the first
        (batch("b2", *"abcdefghij"), 1),
        (batch("b2", "elsewhere", store="b"), 1),
        (batch("b2", "large"), 100),
        (batch("b2", "book", kind=Kind.BOOK), 1),
    ],
)
async def test_what_may_not_land_with_those_that_wait_waits_for_their_turn(other: Batch, size_bytes: int) -> None:
    queue = LandingQueue(10, 100)
    assert await is_put(queue, batch("b1", "x"))
    assert not await is_put(queue, other, size_bytes)
    queue.take()
    assert await is_put(queue, other, size_bytes)


async def test_nothing_lands_with_a_book() -> None:
    queue = LandingQueue(10, 100)
    assert await is_put(queue, batch("b1", "book", kind=Kind.BOOK))
    assert not await is_put(queue, batch("b2", "x"))


async def test_whether_they_can_be_renamed_is_asked_again_where_they_differ() -> None:
    queue = LandingQueue(10, 100)
    assert await is_put(queue, batch("b1", "x", may_rename=True))
    assert await is_put(queue, batch("b2", "y", may_rename=True))
    assert queue.take().batch.may_rename is True
    assert await is_put(queue, batch("b1", "x", may_rename=True))
    assert await is_put(queue, batch("b2", "y", may_rename=False))
    assert queue.take().batch.may_rename is None


async def test_who_waits_for_room_goes_on_when_all_is_given_up() -> None:
    queue = LandingQueue(10, 100)
    assert await is_put(queue, batch("b1", "x"))
    other = batch("b2", "x")
    putting = asyncio.create_task(queue.put(b"b2", other, ready(other)))
    await asyncio.sleep(0)
    queue.clear()
    async with asyncio.timeout(10.0):
        await putting
    assert queue.take().names == [b"b2"]
