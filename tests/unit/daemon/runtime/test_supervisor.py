"""What ends a daemon, and what does not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from tests.support.intake import FakeIncidents

from librarian_daemon.runtime.supervisor import supervise
from librarian_protocol.errors import BusUnsafe, CatalogFault, LibrarianError, StoreFault


class Patience:
    """A clock on which waiting takes no time; remembers how long it was asked to wait."""

    def __init__(self) -> None:
        self.waited: list[float] = []
        self.now_s = 0.0

    def utc(self) -> str:
        """Never asked."""
        raise NotImplementedError

    def unix_s(self) -> int:
        """Never asked."""
        raise NotImplementedError

    def boottime_s(self) -> float:
        """Stands still between waits."""
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        """At once."""
        self.waited.append(seconds)
        self.now_s += seconds


def failing(times: int, error: LibrarianError, begun: list[int], *, grouped: bool) -> Callable[[], Awaitable[None]]:
    """A service that fails so often, then ends well."""

    async def service() -> None:
        begun.append(1)
        if len(begun) <= times:
            if grouped:
                raise ExceptionGroup("from a task", [error])
            raise error

    return service


@pytest.mark.parametrize("error", [CatalogFault("the disk is full"), StoreFault("it does not answer")])
@pytest.mark.parametrize("grouped", [False, True])
async def test_a_service_is_begun_again_when_catalog_or_store_failed_under_it(
    error: LibrarianError, grouped: bool
) -> None:
    """Ever more seldom; the incident is over when it goes on."""
    clock, incidents, begun = Patience(), FakeIncidents(), list[int]()
    await supervise("planner", failing(3, error, begun, grouped=grouped), incidents, clock)
    assert len(begun) == 4
    assert clock.waited == sorted(clock.waited)
    assert len(clock.waited) == 3
    assert incidents.ever == [("service-failed", "planner")] * 3
    assert incidents.now == {}


async def test_anything_else_ends_it_in_the_open() -> None:
    """A bus that cannot be made safe, or our own mistake, is not to be hidden by trying again."""
    begun = list[int]()
    with pytest.raises((BusUnsafe, ExceptionGroup)):
        await supervise("bus", failing(1, BusUnsafe("too old"), begun, grouped=False), FakeIncidents(), Patience())
    assert len(begun) == 1


async def test_a_cancelled_service_is_not_begun_again() -> None:
    """Stopping is not failing."""
    started = asyncio.Event()

    async def service() -> None:
        started.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(supervise("reader", service, FakeIncidents(), Patience()))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
