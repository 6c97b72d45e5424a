"""Builds the transfer services: planning, fetching in order, and landing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import msgspec

from librarian_adapters.contract import Adapter
from librarian_adapters.wrappers.least_rate import Paces
from librarian_daemon.assembly.ports import Ports, Services
from librarian_daemon.catalog.transfers import transfers as transfer_rows
from librarian_daemon.catalog.transfers import transitions
from librarian_daemon.config.settings import SiteSettings
from librarian_daemon.landing.failovers import Failovers
from librarian_daemon.landing.rooms import Rooms
from librarian_daemon.runtime.signals import Signal
from librarian_daemon.transfers.adapters import between_stores, slots_of
from librarian_daemon.transfers.batches import Batches
from librarian_daemon.transfers.destinations import Destinations
from librarian_daemon.transfers.fetcher import TransferProgress
from librarian_daemon.transfers.lander import Lander
from librarian_daemon.transfers.pauses import Pauses
from librarian_daemon.transfers.planner import Planner
from librarian_daemon.transfers.replicator import Replicator
from librarian_daemon.transfers.turns import Turns
from librarian_protocol.wanted import LOCAL


class Transfers(msgspec.Struct, frozen=True, kw_only=True):
    """The transfer services, from planning to landing."""

    adapters: Mapping[str, Adapter]
    planner: Planner
    replicator: Replicator
    lander: Lander
    progress: TransferProgress
    pauses: Pauses
    turns: Turns
    #: Wakes the replicator.
    changed: Signal
    failovers: Failovers
    #: To be called when a person has changed stores.
    stores_changed: Callable[[], Awaitable[None]]

    def services(self) -> Services:
        """What runs."""
        return {
            "planner": self.planner.run,
            "replicator": self.replicator.run,
            "failovers": self.failovers.run,
            "pauses": self.pauses.run,
        }


def build_transfers(
    ports: Ports, settings: SiteSettings, adapters: Mapping[str, Adapter], paces: Paces, pauses: Pauses, rooms: Rooms
) -> Transfers:
    """``adapters`` by name, in order of preference; ``paces`` is what they learn of sites."""
    catalog, clock, site, by_id = ports.catalog, ports.clock, ports.site, ports.by_id
    every = {**adapters, LOCAL.name: between_stores(by_id, settings.replicator.stall_s)}
    slots = slots_of(settings, every, paces)
    batches = Batches(
        adapters=every,
        stores=by_id,
        settings=settings.replicator,
        limits=settings.adapters.limits,
        slots=slots,
        slow=paces.slow,
        paused=pauses.peers,
        rng=ports.rng,
    )
    progress = TransferProgress(catalog, clock)
    lander = Lander(catalog, clock, ports.metrics, ports.incidents)
    changed = Signal()

    async def more_room() -> None:
        await catalog.write(transfer_rows.hasten_for_stores, clock.boottime_s())
        changed.set()

    failovers = Failovers(catalog, rooms, ports.incidents, clock, more_room)
    replicator = Replicator(
        catalog=catalog,
        stores=by_id,
        lander=lander,
        progress=progress,
        clock=clock,
        batches=batches,
        metrics=ports.metrics,
        pauses=pauses,
        wake=changed,
        destinations=Destinations(catalog, site, by_id, rooms, failovers),
    )
    pauses.watch(changed.set)
    planner = Planner(catalog, clock, site, list(adapters), changed)
    catalog.plan_with(planner)

    async def stores_changed() -> None:
        await rooms.reload()
        look = await rooms.look()
        most_bytes = max((candidate.holds_bytes for candidate in look.candidates.values()), default=0)
        await catalog.write(transitions.retry_too_large, most_bytes, clock.boottime_s())
        await more_room()

    return Transfers(
        adapters=adapters,
        planner=planner,
        replicator=replicator,
        lander=lander,
        progress=progress,
        pauses=pauses,
        turns=Turns(catalog, site, list(adapters), batches, slots, pauses),
        changed=changed,
        failovers=failovers,
        stores_changed=stores_changed,
    )
