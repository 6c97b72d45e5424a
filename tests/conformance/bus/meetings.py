"""Two sites on a bus of each kind: where the suite's scenarios are played."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

from tests.integration.bus.plain import plain_server
from tests.integration.bus.sites import Site, eventually, shared, users
from tests.simulation.loop import Process, new_loop
from tests.simulation.network import SimBus, Stream
from tests.simulation.world import World

from librarian_daemon.config.settings import BusSettings
from librarian_daemon.ports.bus import BusAccess, HeadsChannel, OwnStream, Questions, Streams
from librarian_protocol.names import SiteName

A, B = SiteName("a"), SiteName("b-1")
#: Virtual seconds; a scenario that waits longer waits for ever.
_SIMULATED_S = 1000.0


class SiteBus(OwnStream, Streams, HeadsChannel, Questions, BusAccess, Protocol):
    """What services use of a bus once its site is of a mesh."""


Scenario = Callable[[SiteBus, SiteBus], Awaitable[None]]
Meeting = Callable[[Scenario], None]


def embedded(root: Path) -> Meeting:
    """Site ``a`` has a nats-server, which ``b-1`` uses too."""

    def meet(scenario: Scenario) -> None:
        async def play() -> None:
            async with shared(root, B) as (a, b):
                for site in (a, b):
                    await site.bus.set_roster(users(a, b), [])
                await scenario(a.bus, b.bus)

        asyncio.run(play())

    return meet


def external(root: Path) -> Meeting:
    """Both use an operator's nats-server."""

    def meet(scenario: Scenario) -> None:
        async def play() -> None:
            async with plain_server(root / "plain", "max_payload: 1MB") as where:
                settings = BusSettings(mode="external", url=f"nats://{where}")
                a, b = (Site(name, root / name, settings) for name in (A, B))
                try:
                    for site in (a, b):
                        site.start()
                        await site.bus.set_roster(users(a, b), [])
                    for site in (a, b):
                        await eventually(lambda site=site: site.bus.state().connected)  # type: ignore[misc]
                        await site.bus.ensure_stream()
                        await site.bus.ensure_readers({A: "full", B: "full"})
                    await scenario(a.bus, b.bus)
                finally:
                    for site in (a, b):
                        await site.stop()

        asyncio.run(play())

    return meet


def simulated(_root: Path) -> Meeting:
    """The stand-in of the simulator, in its loop, without faults."""

    def meet(scenario: Scenario) -> None:
        loop = new_loop(1)
        world = World(loop, [A, B])
        world.faults = False
        world.streams = {name: Stream(world) for name in (A, B)}

        async def play() -> None:
            await scenario(SimBus(world, A), SimBus(world, B))

        task = loop.spawn(play(), Process("both"))
        assert loop.run_until(task.done, _SIMULATED_S), f"the scenario does not end: {loop.trouble}"
        task.result()

    return meet


MEETINGS = {"embedded": embedded, "external": external, "simulated": simulated}
