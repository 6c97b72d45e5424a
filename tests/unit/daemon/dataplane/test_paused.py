"""A site that a person has paused is given nothing: what is asked for waits, and what is under way stops."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path

import pytest
from tests.support.fetching import WatchedStaging, batch_of, outcomes_of
from tests.support.pushing import Certified, PushPair, certified
from tests.support.source import ARCHIVE, Collection, Destination, Source, noise

from librarian_adapters.contract import Context, Failed
from librarian_adapters.http import adapter as http
from librarian_adapters.wrappers.verifying import VerifyingAdapter
from librarian_protocol.entries import Dial
from librarian_protocol.errors import LibrarianError, SourceUnreachable
from librarian_protocol.names import SiteName

LARGE = noise(3 << 20)
How = Callable[[Path, int], Awaitable[tuple[LibrarianError, int]]]


def after(asked: int) -> Callable[[SiteName], str]:
    """Paused from when it was asked so often."""
    times = count()
    return lambda _: "" if next(times) < asked else "paused until tomorrow by anna: new disks"


async def pulled(root: Path, asked: int, tls: Certified | None = None) -> tuple[LibrarianError, int]:
    """Why a file that is pulled does not come, and how much of it came."""
    collection = Collection(root / "store")
    destination = Destination()
    collection.keys[ARCHIVE] = destination.key.public
    source = Source(collection, paused=after(asked), tls=tls.context if tls else None)
    settings = {"idle_s": 2.0, "connect_s": 2.0}
    adapter = http.factory(
        Context(
            site=ARCHIVE,
            sign=destination.sign,
            settings=settings,
            roots={},
            loopback_peers=True,
            certificate=lambda _: tls.certificate if tls else None,
        )
    )
    await source.start()
    item, staging = collection.add("large", LARGE), WatchedStaging()
    try:
        [outcome] = await outcomes_of(VerifyingAdapter(adapter), batch_of([item], source.address), staging)
    finally:
        await adapter.close()
        await source.stop()
    assert isinstance(outcome, Failed)
    return outcome.error, len(staging.held.get(item.key, b""))


async def pulled_over_tls(root: Path, asked: int) -> tuple[LibrarianError, int]:
    """The same, where no kernel sends."""
    return await pulled(root, asked, certified(root / "tls"))


async def pushed(root: Path, asked: int) -> tuple[LibrarianError, int]:
    """The same of one that is pushed."""
    pair = PushPair(Collection(root / "store"), paused=after(asked))
    await pair.start()
    item, staging = pair.collection.add("large", LARGE), WatchedStaging()
    try:
        [outcome] = await outcomes_of(VerifyingAdapter(pair.adapter), batch_of([item], dial=Dial.SOURCE), staging)
    finally:
        await pair.stop()
    assert isinstance(outcome, Failed)
    return outcome.error, len(staging.held.get(item.key, b""))


@pytest.mark.parametrize("how", [pulled, pulled_over_tls, pushed])
async def test_a_paused_site_is_told_so_and_gets_nothing(tmp_path: Path, how: How) -> None:
    error, came = await how(tmp_path, 0)
    assert isinstance(error, SourceUnreachable), "which waits for ever, and parks nothing"
    assert "new disks" in error.message
    assert came == 0


@pytest.mark.parametrize("how", [pulled, pulled_over_tls, pushed])
async def test_what_is_under_way_stops_and_what_came_is_kept(tmp_path: Path, how: How) -> None:
    error, came = await how(tmp_path, 6)
    assert isinstance(error, SourceUnreachable)
    assert 0 < came < len(LARGE)
