"""The views of the running site for the control API and the metrics, from the catalog and the services."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.incidents import incidents
from librarian_daemon.catalog.journal import record
from librarian_daemon.catalog.mesh.roster import get_anchor
from librarian_daemon.incidents.recorder import CATALOG_FAULT
from librarian_daemon.intake.candidates import BEING_TAKEN
from librarian_daemon.ports.bus import BusHealth
from librarian_daemon.runtime.version import VERSION
from librarian_daemon.status.census import Census, Figures
from librarian_daemon.status.page_address import PageAddress
from librarian_daemon.status.peers import PeerViews
from librarian_daemon.status.problems import Problems, is_cut_off
from librarian_daemon.status.stores import StoreViews
from librarian_daemon.status.transfers import TransferViews
from librarian_protocol import api
from librarian_protocol.names import SiteName


class IntakeView(Protocol):
    """A drop directory's service, as the views need it."""

    def snapshot(self) -> api.IntakeStatus:
        """The present state."""
        ...


class Daemon(msgspec.Struct, frozen=True, kw_only=True):
    """Version and identity of this daemon."""

    site: SiteName
    bus_mode: str
    started_at: str


class Views:
    """Read-only answers."""

    def __init__(
        self,
        *,
        daemon: Daemon,
        catalog: Catalog,
        bus: BusHealth,
        intakes: Sequence[IntakeView],
        census: Census,
        page: PageAddress,
        problems: Problems,
        peers: PeerViews,
        stores: StoreViews,
        transfers: TransferViews,
    ) -> None:
        self._daemon = daemon
        self._catalog = catalog
        self._bus = bus
        self._intakes = intakes
        self._census = census
        self._page = page
        self._problems = problems
        self.sections = problems.sections
        self.peers = peers
        self.transfers = transfers
        self._stores = stores

    async def status(self) -> api.Status:
        """What an operator looks at first."""
        bus = self._bus.state()
        position = self._catalog.position
        figures = await self.figures()
        counted = figures.counted
        stores = await self._stores.stores(figures)
        intakes = self._intake()
        mesh = await self.sections.made("mesh", self.mesh(), "")
        peers = await self.sections.made("peers", self.peers.peers(figures), [])
        problems = await self._problems.found(stores, intakes)
        none: dict[tuple[str, bool], int] = {}
        open_counts = await self.sections.made("incident numbers", self._catalog.read(incidents.count_open), none)
        unseen = any(not seen for _, seen in open_counts)
        return api.Status(
            site=self._daemon.site,
            mesh=mesh,
            software=VERSION,
            started_at=self._daemon.started_at,
            healthy=not unseen and all(problem.acknowledged for problem in problems),
            problems=problems,
            problems_total=sum(open_counts.values()) + sum(problem.id is None for problem in problems),
            problems_more=is_cut_off(problems),
            bus=api.BusStatus(
                mode=self._daemon.bus_mode,
                connected=bus.connected,
                url=bus.url,
                server_version=bus.server_version,
                detail=bus.detail,
            ),
            journal=api.JournalStatus(
                epoch=position.epoch,
                incarnation=position.incarnation,
                seq=position.seq,
                hash=position.hash,
                outbox=counted.outbox,
            ),
            peers=peers,
            stores=stores,
            intake=intakes,
            transfers=counted.transfers,
            counts=counted.totals,
            counted_at=figures.at,
            page=self._page.url,
            pauses=self.transfers.pauses(),
            scrubs=await self.sections.made("scrub", self._stores.scrubs.scrubs(figures), []),
        )

    def _intake(self) -> list[api.IntakeStatus]:
        """The drop directories. While the catalog cannot commit, files being taken wait for the catalog."""
        found = [intake.snapshot() for intake in self._intakes]
        if self._catalog.trouble:
            for item in (item for snapshot in found for item in snapshot.waiting_items):
                if item.reason == BEING_TAKEN:
                    item.reason = CATALOG_FAULT
        return found

    async def figures(self) -> Figures:
        """The census; the last one that was made, or one of zeros, if it fails."""
        return await self.sections.made("counts", self._census.figures(), self._census.last)

    async def mesh(self) -> str:
        """The mesh's id; "" before this site is of one."""
        anchor = await self._catalog.read(get_anchor)
        return anchor.mesh if anchor else ""

    async def stores(self) -> list[api.StoreStatus]:
        """This site's stores."""
        return await self._stores.stores(await self.figures())

    async def scrubs(self) -> list[api.ScrubStatus]:
        """How reading this site's stores again stands."""
        return await self._stores.scrubs.scrubs(await self.figures())

    async def readiness(self) -> dict[str, str]:
        """What stops this site from working, by part; empty when it is ready."""
        missing: dict[str, str] = {}
        bus = self._bus.state()
        if not bus.connected:
            missing["bus"] = bus.detail
        missing |= await self._stores.missing()
        if self._catalog.trouble:
            missing["catalog"] = self._catalog.trouble
        await self.sections.made("journal", self._catalog.read(record.last_position), 0)
        await self.figures()
        if self.sections.failing:  # of the incidents that no other service repeats
            await self.status()
        return missing | {f"view {section}": why for section, why in self.sections.failing.items()}
