"""Stores are witnesses of how far the journal has got: what they are told, and when."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.conformance.catalog.peers import ingested, store_of
from tests.conformance.catalog.running import SITE, running, say
from tests.support.stepping import SteppedClock
from tests.support.stores import posix

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.journal.incarnation import Incarnations
from librarian_daemon.runtime import machine
from librarian_daemon.runtime.clock import SystemRng
from librarian_daemon.stores.posix.store import PosixStore


@asynccontextmanager
async def _witnessed(catalog: Catalog, store: PosixStore) -> AsyncGenerator[SteppedClock]:
    """A start, and the service after its first round."""
    clock = SteppedClock()
    incarnations = Incarnations(catalog, [store], SystemRng(), clock, SITE)
    await incarnations.begin()
    async with running(incarnations):
        await clock.sleeping.wait()
        yield clock


def _head(store: PosixStore) -> Path:
    return Path(store.root, ".librarian", "head")


def _seq(store: PosixStore) -> int:
    return machine.read_head(_head(store).read_text()).seq


async def test_a_store_is_told_when_the_journal_grew_and_not_otherwise(catalog: Catalog, tmp_path: Path) -> None:
    store = posix(tmp_path / "store")
    async with _witnessed(catalog, store) as clock:
        at_start = _head(store).stat().st_ino
        await clock.look_again()
        assert _head(store).stat().st_ino == at_start
        await say(catalog, ingested(store_of(SITE)))
        await clock.look_again()
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
        await clock.look_again()
        assert _head(store).is_dir()
        _head(store).rmdir()
        await clock.look_again()
        assert _seq(store) == catalog.position.seq == 1
