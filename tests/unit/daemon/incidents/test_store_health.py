"""How stores are looked at: one that hangs holds up no other, and each trouble ends by itself."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence

from librarian_daemon.incidents.store_health import (
    FAULT,
    FULL,
    NOT_ANSWERING,
    NOT_MOUNTED,
    READ_ONLY,
    StoreHealth,
    health_of,
)
from librarian_daemon.ports.store import Space
from librarian_daemon.runtime.clock import SystemClock
from librarian_protocol.errors import NoInodes, StoreError, StoreFault, StoreFull, StoreNotMounted

SPACE = Space(total_bytes=10, free_bytes=5, total_inodes=10, free_inodes=5)


class Place:
    """A store that does as it is told."""

    def __init__(self, label: str) -> None:
        self.id = self.label = label
        self.location = f"/stores/{label}"
        self.error: StoreError | None = None
        self.answers = threading.Event()
        self.answers.set()
        self.looks = 0

    def probe(self) -> Space:
        self.looks += 1
        assert self.answers.wait(60)
        if self.error is not None:
            raise self.error
        return SPACE

    def measure(self) -> Space:
        return SPACE


class Told:
    """Incidents that are open."""

    def __init__(self) -> None:
        self.now: set[tuple[str, str]] = {("store-full", "main"), ("store-full", "/drop")}

    async def open(self, code: str, subject: str, message: str, hint: str) -> None:
        self.now.add((code, subject))

    async def resolve(self, code: str, subject: str) -> None:
        self.now.discard((code, subject))

    async def count(self, code: str, subject: str, number: int, message: str, hint: str) -> None:
        self.now.add((code, subject))

    async def resolve_all(self, code: str, over: Callable[[str], bool]) -> None:
        self.now = {(known, subject) for known, subject in self.now if known != code or not over(subject)}

    async def subjects(self, code: str) -> Sequence[str]:
        return [subject for known, subject in self.now if known == code]


async def until(told: Told, wanted: set[tuple[str, str]]) -> None:
    """Wait until these incidents are open, and no other of a store."""
    async with asyncio.timeout(60):
        while {(code, subject) for code, subject in told.now if "/" not in subject} != wanted:
            await asyncio.sleep(0.01)


async def test_each_trouble_is_an_incident_that_ends_by_itself_and_one_that_hangs_holds_up_no_other() -> None:
    main, other, told = Place("main"), Place("other"), Told()
    health = StoreHealth(
        {"main": main, "other": other}, told, SystemClock(), patience_s=0.2, every_s=0.02, again_s=0.02
    )
    service = asyncio.create_task(health.run())
    try:
        await until(told, set())  # what an earlier run left open is over
        main.error = StoreFull("full")
        await until(told, {(FULL, "main")})
        main.error = StoreFault("broken")
        await until(told, {(FAULT, "main")})
        main.answers.clear()
        await until(told, {(NOT_ANSWERING, "main")})
        looks = main.looks
        other.error = StoreNotMounted("away")
        await until(told, {(NOT_ANSWERING, "main"), (NOT_MOUNTED, "other")})
        assert main.looks == looks  # nobody waits for the next one in vain
        main.error = other.error = None
        main.answers.set()
        await until(told, set())
        assert (await health.look("main")).code == ""
        assert ("store-full", "/drop") in told.now  # that is intake's to end
    finally:
        main.answers.set()
        service.cancel()


async def test_whoever_asks_about_a_store_that_hangs_waits_once() -> None:
    main = Place("main")
    main.answers.clear()
    health = StoreHealth({"main": main}, Told(), SystemClock(), patience_s=0.05)
    try:
        assert (await health.look("main")).code == NOT_ANSWERING
        found = await asyncio.gather(*(health.look("main") for _ in range(50)))
        assert {look.code for look in found} == {NOT_ANSWERING}
        assert not found[0].serves
        assert main.looks == 1
    finally:
        main.answers.set()


def test_what_a_full_or_read_only_store_holds_is_served() -> None:
    main = Place("main")
    read_only = StoreFault("read-only")
    read_only.__cause__ = OSError(30, "Read-only file system")
    for error, code, serves in [
        (StoreFull("full"), FULL, True),
        (NoInodes("none"), FULL, True),
        (read_only, READ_ONLY, True),
        (StoreFault("broken"), FAULT, False),
        (StoreNotMounted("away"), NOT_MOUNTED, False),
    ]:
        main.error = error
        found = health_of(main)
        assert (found.code, found.serves) == (code, serves)
        assert (found.space is not None) is serves
