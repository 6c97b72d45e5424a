"""The lock of a store's names."""

from __future__ import annotations

import asyncio

import pytest

from librarian_daemon.ports.names_lock import NamesLock


async def test_landings_go_together_and_who_is_alone_goes_alone() -> None:
    lock, log = NamesLock(), list[str]()

    async def alone() -> None:
        async with lock.alone():
            log.append("alone")

    async def late() -> None:
        async with lock.landing():
            log.append("late")

    async with asyncio.TaskGroup() as group, lock.landing(), lock.landing():
        group.create_task(alone())
        await asyncio.sleep(0)
        group.create_task(late())
        await asyncio.sleep(0)
        assert log == []
    assert log == ["alone", "late"], "a landing that comes later does not go before who waits to be alone"


@pytest.mark.parametrize("holds", ["landing", "alone"])
async def test_who_is_cancelled_while_it_waits_keeps_nobody_waiting(holds: str) -> None:
    lock = NamesLock()

    async def alone() -> None:
        async with lock.alone():
            raise AssertionError("it was cancelled")

    held = lock.landing() if holds == "landing" else lock.alone()
    async with held:
        waits = asyncio.create_task(alone())
        await asyncio.sleep(0)
        waits.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waits
    async with asyncio.timeout(5), lock.landing(), lock.landing():
        pass
    async with asyncio.timeout(5), lock.alone():
        pass


async def test_an_error_under_the_lock_frees_it() -> None:
    lock = NamesLock()
    for hold in (lock.alone, lock.landing, lock.alone):
        with pytest.raises(ValueError, match="broken"):
            async with hold():
                raise ValueError("broken")
