"""The health of the stores, examined every minute, also while nothing is written, and whenever somebody asks.

Each examination has a time limit: a filesystem that hangs blocks only its own thread. A store that was absent at the
start is opened when it appears; what a crash left in it is finished before anything else writes there.
"""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress

import msgspec
import structlog

from librarian_daemon.ports.incidents import Incidents
from librarian_daemon.ports.store import Probed, SiteStore, Space
from librarian_daemon.ports.time import Clock
from librarian_protocol.errors import ConfigInvalid, NoInodes, StoreError, StoreFull, StoreNotMounted

#: Seconds between two examinations of a healthy store, and of an unhealthy one.
EVERY_S = 60.0
AGAIN_S = 5.0
#: How long a caller waits for a filesystem.
PATIENCE_S = 5.0

NOT_MOUNTED = "store-not-mounted"
NOT_ANSWERING = "store-not-answering"
READ_ONLY = "store-read-only"
FULL = "store-full"
FAULT = "store-fault"
_CODES = (NOT_MOUNTED, NOT_ANSWERING, READ_ONLY, FULL, FAULT)


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """How one store is."""

    #: The code of its incident; "" where it is well.
    code: str = ""
    message: str = ""
    hint: str = ""
    space: Space | None = None

    @property
    def serves(self) -> bool:
        """Whether what is in it can be read, as far as was seen: a full one can."""
        return self.code in {"", FULL, READ_ONLY}


class StoreHealth:
    """Service, and the one answer to how a store is."""

    def __init__(
        self,
        stores: Mapping[str, Probed],
        incidents: Incidents,
        clock: Clock,
        patience_s: float = PATIENCE_S,
        every_s: float = EVERY_S,
        again_s: float = AGAIN_S,
    ) -> None:
        self._stores = stores
        self._incidents = incidents
        self._clock = clock
        self._patience_s = patience_s
        self._every_s = every_s
        self._again_s = again_s
        self._looks: dict[tuple[str, Callable[[Probed], Health]], asyncio.Future[Health]] = {}
        #: Stores whose examination has not returned in time, until it returns.
        self._hanging: set[str] = set()
        self._told: dict[str, str] = {}
        #: Stores of which the last examination found nothing wrong.
        self._well: set[str] = set()
        self._group: asyncio.TaskGroup | None = None
        self._log = structlog.get_logger("stores")

    async def look(self, store_id: str) -> Health:
        """The health of a store now. It returns within seconds, and at once if an earlier examination hangs."""
        health = await self._examine(store_id, health_of)
        if health.code:
            self._well.discard(store_id)
        else:
            self._well.add(store_id)
        return health

    async def _examine(self, store_id: str, how: Callable[[Probed], Health]) -> Health:
        store = self._stores.get(store_id)
        if store is None:
            return Health(code=NOT_MOUNTED, message="the store is not attached", hint="`lbctl store list`")
        key, loop = (store.id, how), asyncio.get_running_loop()
        looking = self._looks.get(key)
        if looking is None:
            looking = self._looks[key] = loop.create_future()
            # A separate thread, which nothing waits for at shutdown: a thread that hangs cannot be ended.
            arguments = store, how, loop, looking
            threading.Thread(target=_look, args=arguments, name=f"look-{store.label}", daemon=True).start()
        elif store.id in self._hanging and not looking.done():
            return self._not_answering(store)
        try:
            async with asyncio.timeout(self._patience_s):
                health = await asyncio.shield(looking)
        except TimeoutError:
            self._hanging.add(store.id)
            return self._not_answering(store)
        if self._looks.get(key) is looking:
            del self._looks[key]
        self._hanging.discard(store.id)
        return health

    async def room(self, store_id: str) -> Health:
        """As :meth:`look`, of the last examination where that found nothing wrong, and nobody doubted it since: then
        only the space is measured now.
        """
        if store_id not in self._well:
            return await self.look(store_id)
        health = await self._examine(store_id, _measured)
        if health.code:
            self._well.discard(store_id)
        return health

    def doubt(self, store_id: str) -> None:
        """Something failed in the store: the next :meth:`room` examines it."""
        self._well.discard(store_id)

    def _not_answering(self, store: Probed) -> Health:
        return Health(
            code=NOT_ANSWERING,
            message=f"store {store.label!r} does not answer at {store.location}",
            hint="look at its disk or file server, and at the kernel's log; work goes on by itself",
        )

    async def run(self) -> None:
        """Examine the stores until cancelled. Each problem is an incident that ends by itself."""
        for code in _CODES:
            for label in await self._incidents.subjects(code):
                if "/" not in label:  # that would be a drop directory
                    await self._incidents.resolve(code, label)
        async with asyncio.TaskGroup() as self._group:
            for store in self._stores.values():
                self.add(store)
            await asyncio.get_running_loop().create_future()  # others may be added

    def add(self, store: Probed) -> None:
        """Examine a store that was added while the service runs; until it is none of the stores any more."""
        if self._group is not None:
            self._group.create_task(self._follow(store), name=f"health-{store.label}")

    async def _follow(self, store: Probed) -> None:
        while store.id in self._stores:
            health = await self.look(store.id)
            before = self._told.get(store.label, "")
            if before not in {"", health.code}:
                await self._incidents.resolve(before, store.label)
            if health.code not in {"", before}:
                self._log.error("store_unwell", store=store.label, code=health.code, error=health.message)
                await self._incidents.open(health.code, store.label, health.message, health.hint)
            self._told[store.label] = health.code
            await self._clock.sleep(self._again_s if health.code else self._every_s)
        told = self._told.pop(store.label, "")
        if told:
            await self._incidents.resolve(told, store.label)


def _look(
    store: Probed, how: Callable[[Probed], Health], loop: asyncio.AbstractEventLoop, looking: asyncio.Future[Health]
) -> None:
    health = how(store)
    with suppress(RuntimeError):  # the loop has ended meanwhile
        loop.call_soon_threadsafe(_say, looking, health)


def _say(looking: asyncio.Future[Health], health: Health) -> None:
    if not looking.done():
        looking.set_result(health)


def health_of(store: Probed) -> Health:
    """Examines a store by writing a little into it. Blocks as long as its filesystem does."""
    return _found(store, store.probe)


def _measured(store: Probed) -> Health:
    """Asks for its space only."""
    return _found(store, store.measure)


def _found(store: Probed, examine: Callable[[], Space]) -> Health:
    try:
        return Health(space=examine())
    except StoreError as exc:
        if isinstance(exc, StoreNotMounted):
            code = NOT_MOUNTED
        elif isinstance(exc, StoreFull | NoInodes):
            code = FULL
        elif isinstance(exc.__cause__, OSError) and exc.__cause__.errno == errno.EROFS:
            code = READ_ONLY
        else:
            code = FAULT
        return Health(code=code, message=exc.message, hint=exc.hint, space=_space(store, code))


def _space(store: Probed, code: str) -> Space | None:
    """A full or read-only filesystem still tells how large it is."""
    if code not in {FULL, READ_ONLY}:
        return None
    try:
        return store.measure()
    except StoreError:
        return None


class StoreAdmission:
    """Service: opens the stores that were absent at the start."""

    def __init__(
        self,
        stores: Sequence[SiteStore],
        finish: Callable[[SiteStore], Awaitable[None]],
        clock: Clock,
        again_s: float = AGAIN_S,
    ) -> None:
        """``finish`` is what the daemon does in a store at the start, before anything else."""
        self._stores = stores
        self._finish = finish
        self._clock = clock
        self._again_s = again_s
        self._log = structlog.get_logger("stores")

    async def run(self) -> None:
        """Until all are there."""
        while waiting := [store for store in self._stores if store.withheld]:
            for store in waiting:
                await self.take_up(store)
            await self._clock.sleep(self._again_s)

    async def take_up(self, store: SiteStore) -> bool:
        """Whether it is there now, and works. Idempotent."""
        twin = store.twin()
        try:
            await twin.open()
            await self._finish(twin)
            await store.admit()
        except (StoreError, ConfigInvalid) as exc:
            if not isinstance(exc, StoreNotMounted):  # that is found out anew each time
                store.withhold(exc.message)
            self._log.debug("store_not_taken_up", store=store.label, error=exc.message)
            return False
        finally:
            twin.close()
        self._log.info("store_taken_up", store=store.label, path=store.location)
        return True
