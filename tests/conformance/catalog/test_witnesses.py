"""Stores are witnesses of how far the journal has got: what they are told, and when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from tests.conformance.catalog.peers import ingested, store_of
from tests.conformance.catalog.running import SITE, say
from tests.support.stores import posix

from librarian_daemon import host
from librarian_daemon.catalog.writer import Catalog
from librarian_daemon.clock import SystemClock, SystemRng
from librarian_daemon.incarnations import Incarnations
from librarian_daemon.store.posix import PosixStore


class _Stepping(SystemClock):
    """A clock on which sleepers wait until they are let on, and which tells when one lies down."""

    def __init__(self) -> None:
        self._asleep = asyncio.Event()
        self._on = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self._asleep.set()
        await self._on.wait()
        self._on.clear()

    async def look(self) -> None:
        """Let the sleeper do one more round."""
        self._asleep.clear()
        self._on.set()
        await self._asleep.wait()

    async def lies_down(self) -> None:
        await self._asleep.wait()


@asynccontextmanager
async def _witnessed(catalog: Catalog, store: PosixStore) -> AsyncGenerator[_Stepping]:
    """A start, and the service after its first round."""
    clock = _Stepping()
    incarnations = Incarnations(catalog, [store], SystemRng(), clock, SITE)
    await incarnations.begin()
    task = asyncio.create_task(incarnations.run())
    try:
        await clock.lies_down()
        yield clock
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _head(store: PosixStore) -> Path:
    return Path(store.root, ".librarian", "head")


def _seq(store: PosixStore) -> int:
    return host.read_head(_head(store).read_text()).seq


async def test_a_store_is_told_when_the_journal_grew_and_not_otherwise(catalog: Catalog, tmp_path: Path) -> None:
    store = posix(tmp_path / "store")
    async with _witnessed(catalog, store) as clock:
        at_start = _head(store).stat().st_ino
        await clock.look()
        assert _head(store).stat().st_ino == at_start
        await say(catalog, ingested(store_of(SITE)))
        await clock.look()
        assert _seq(store) == catalog.position.seq == 1


async def test_a_store_that_did_not_take_it_is_told_again_although_nothing_was_said_since(
    catalog: Catalog, tmp_path: Path
) -> None:
    """A store that was full at the last entry of a night bears witness of it as soon as there is room."""
    store = posix(tmp_path / "store")
    async with _witnessed(catalog, store) as clock:
        _head(store).unlink()
        _head(store).mkdir()  # nothing can be written at that name
        await say(catalog, ingested(store_of(SITE)))
        await clock.look()
        assert _head(store).is_dir()
        _head(store).rmdir()
        await clock.look()
        assert _seq(store) == catalog.position.seq == 1
