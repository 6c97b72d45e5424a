"""What the control API and the metrics show of the running site, put together from the catalog and the services."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from librarian_daemon import bus_watch
from librarian_daemon.catalog import incidents as kept
from librarian_daemon.catalog import queries, record, transfers
from librarian_daemon.catalog.roster import get_anchor
from librarian_daemon.catalog.transfers import Owed
from librarian_daemon.catalog.writer import Catalog
from librarian_daemon.census import Census, Figures
from librarian_daemon.fetching import Moved
from librarian_daemon.membership import Membership
from librarian_daemon.notices import CatalogIncidents
from librarian_daemon.page.address import PageAddress
from librarian_daemon.ports import Bus, Clock, Link, Store
from librarian_daemon.version import VERSION
from librarian_protocol import api
from librarian_protocol.errors import NotFound, StoreError
from librarian_protocol.incidents import about
from librarian_protocol.names import SiteName
from librarian_protocol.transfer import POLICIES, State

#: Troubles of one sort that status lists one by one.
LISTED = 20


class IntakeView(Protocol):
    """A drop directory's service, as status sees it."""

    def snapshot(self) -> api.IntakeStatus:
        """How it is now."""
        ...


class Views:
    """Read-only answers."""

    def __init__(
        self,
        *,
        site: SiteName,
        key: str,
        bus_mode: str,
        started_at: str,
        catalog: Catalog,
        bus: Bus,
        stores: Mapping[str, Store],
        intakes: Sequence[IntakeView],
        membership: Membership,
        moved: Moved,
        incidents: CatalogIncidents,
        census: Census,
        page: PageAddress,
        clock: Clock,
    ) -> None:
        self._site = site
        self._key = key
        self._bus_mode = bus_mode
        self._started_at = started_at
        self._catalog = catalog
        self._bus = bus
        self._stores = stores
        self._intakes = intakes
        self._membership = membership
        self._moved = moved
        self._incidents = incidents
        self._census = census
        self._page = page
        self._clock = clock

    async def status(self) -> api.Status:
        """Everything an operator looks at first."""
        bus = self._bus.state()
        position = self._catalog.position
        figures = await self._census.figures()
        counted = figures.counted
        stores = await self._stores_with(figures)
        problems = await self._problems(stores)
        return api.Status(
            site=self._site,
            mesh=await self.mesh(),
            software=VERSION,
            started_at=self._started_at,
            healthy=all(one.acknowledged for one in problems),
            problems=problems,
            bus=api.BusStatus(
                mode=self._bus_mode,
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
            peers=await self.peers(figures),
            stores=stores,
            intake=[one.snapshot() for one in self._intakes],
            transfers=counted.transfers,
            counts=counted.totals,
            counted_at=figures.at,
            page=self._page.url,
        )

    async def mesh(self) -> str:
        """The mesh's id; "" before this site is of one."""
        anchor = await self._catalog.read(get_anchor)
        return anchor.mesh if anchor else ""

    async def _problems(self, stores: Sequence[api.StoreStatus]) -> list[api.Problem]:
        """Open incidents, and what is wrong by what the catalog says; each with what to do."""
        read = self._catalog.read
        found = await read(kept.open_incidents, 100)
        found += self._incidents.not_kept()
        known = {(one.code, one.subject) for one in found}
        bus = self._bus.state()
        if not bus.connected:
            hint = "files are taken and kept; they are announced when it is back. See `lbctl doctor`"
            found.append(_problem("bus-disconnected", self._site, bus.detail, hint))
        if ("bus-unsafe", self._site) not in known:
            found += [_problem("bus-unsafe", self._site, text, bus_watch.HINT) for text in bus.unsafe]
        for trouble in await read(queries.suspected, LISTED):
            if ("instance-suspected", trouble.name) not in known:
                message = f"site {trouble.site} no longer vouches for its instance: {trouble.detail}"
                found.append(
                    _problem("instance-suspected", trouble.name, message, "`lbctl file show` lists the others")
                )
        for trouble in await read(queries.open_doubts, LISTED):
            message = f"the instance at {trouble.site} is doubted: {trouble.detail}"
            found.append(_problem("instance-doubted", trouble.name, message, "its owner reads it again by itself"))
        for trouble in await read(queries.conflicts, LISTED):
            message = f"two digests stand under this name: {trouble.detail}"
            hint = "both stay where they are and neither is transferred, until an administrator decides between them"
            found.append(_problem("conflict", trouble.name, message, hint))
        for one in await read(transfers.page_of, state=State.PARKED.value, before=None, limit=LISTED):
            message = f"transfer {one.id} is parked ({one.row.transfer.reason}): {one.row.message}"
            hint = f"{transfers.hint_for(one.row)}; then `lbctl transfer retry {one.id}`"
            found.append(_problem("transfer-parked", one.name, message, hint))
        for intake in (one.snapshot() for one in self._intakes):
            if intake.state == "paused":
                hint = "what is dropped stays where it is; taking it in goes on by itself when the cause is gone"
                found.append(_problem("intake-paused", intake.path, intake.detail, hint))
        for site, (_, stalled) in (await read(queries.readings)).items():
            if stalled:
                found.append(_problem("journal-stalled", site, stalled, "`lbctl events verify` tells more"))
        for store in stores:
            if store.state != "ok":
                found.append(_problem("store", store.label, store.state, "mount it, or look at its disk"))
        return found

    async def peers(self, figures: Figures) -> list[api.PeerStatus]:
        """The other sites, as seen from here."""
        read = self._catalog.read
        readings, heads = await read(queries.readings), await read(queries.heads)
        owed = figures.counted.owed
        links = self._bus.links()
        known = await read(queries.known_to_peers, self._site)
        return [
            api.PeerStatus(
                site=site,
                access=member.access,
                seq=heads.get(site, 0),
                last_heard=readings.get(site, (None, ""))[0],
                stalled=readings.get(site, (None, ""))[1],
                link=_up_or_down(links.get(site)),
                link_since=links[site].since if site in links else "",
                link_detail=links[site].detail if site in links else "",
                **self._owed(site, owed.get(site)),
                holds_ours=known.get(site, 0),
            )
            for site, member in sorted(self._membership.members.items())
            if site != self._site
        ]

    def _owed(self, site: SiteName, owed: tuple[int, int, str] | None) -> dict[str, Any]:
        """What is owed by a site, since when, how fast it comes, and how long it will take at that rate."""
        files, size_bytes, since = owed or (0, 0, "")
        rate = self._moved.rate(site)
        return {
            "owed_files": files,
            "owed_bytes": size_bytes,
            "lag_s": _age_s(since, self._clock.utc()) if since else 0.0,
            "rate_bytes_s": round(rate),
            "catch_up_s": round(size_bytes / rate, 1) if rate and size_bytes else None,
        }

    async def stores(self) -> list[api.StoreStatus]:
        """This site's stores."""
        return await self._stores_with(await self._census.figures())

    async def _stores_with(self, figures: Figures) -> list[api.StoreStatus]:
        totals = figures.counted.stores
        found: list[api.StoreStatus] = []
        for store in self._stores.values():
            instances, size_bytes = totals.get(store.id, (0, 0))
            state, total_bytes, free_bytes = "ok", 0, 0
            try:
                space = await store.space()
                total_bytes, free_bytes = space.total_bytes, space.free_bytes
            except StoreError as exc:
                state = exc.message
            found.append(
                api.StoreStatus(
                    id=store.id,
                    label=store.label,
                    role=store.role.value,
                    technology="posix",
                    path=store.root,
                    state=state,
                    instances=instances,
                    size_bytes=size_bytes,
                    total_bytes=total_bytes,
                    free_bytes=free_bytes,
                )
            )
        return found

    async def sites(self) -> list[api.Site]:
        """The roster."""
        return await self._catalog.read(queries.sites, self._site, self._key)

    async def name(self, name: str) -> api.NameDetail:
        """All that is known of a name.

        Raises:
            NotFound: nothing is.
        """
        found = await self._catalog.read(queries.detail, name)
        if found is None:
            raise NotFound(
                f"no file named {name!a} is known here", hint="`lbctl file list --match GLOB` looks for names"
            )
        for file, owed in found.files:
            file.transfers = [await self.transfer(one) for one in owed]
        return api.NameDetail(name=found.name, conflict=found.conflict, files=[file for file, _ in found.files])

    async def transfer(self, owed: Owed) -> api.FileTransfer:
        """A transfer as people see it."""
        row, transfer = owed.row, owed.row.transfer
        wait_s = None
        if transfer.next_try_s is not None:
            wait_s = round(max(transfer.next_try_s - self._clock.boottime_s(), 0.0), 1)
        store = self._stores.get(row.store)
        return api.FileTransfer(
            id=owed.id,
            name=owed.name,
            digest=owed.digest,
            size_bytes=owed.size_bytes,
            unit=owed.unit.value,
            store=row.store,
            label=store.label if store else "",
            state=transfer.state.value,
            reason=transfer.reason.value if transfer.reason else None,
            message=row.message,
            hint=POLICIES[transfer.reason].hint if transfer.reason else "",
            source_site=transfer.source,
            adapter=row.adapter,
            attempts=transfer.attempts,
            next_try_in_s=wait_s,
            created_at=row.created_at,
            changed_at=row.changed_at,
            chosen=row.chosen,
            moved_bytes=self._moved.bytes.get(owed.id, 0),
        )

    async def readiness(self) -> dict[str, str]:
        """What keeps this site from working, by part; empty when it is ready."""
        missing: dict[str, str] = {}
        bus = self._bus.state()
        if not bus.connected:
            missing["bus"] = bus.detail
        for store in self._stores.values():
            try:
                await store.space()
            except StoreError as exc:
                missing[f"store {store.label}"] = exc.message
        await self._catalog.read(record.last_position)
        return missing


def _age_s(since: str, now: str) -> float:
    """Seconds between two RFC 3339 times; never below 0, whatever the clock did."""
    return max(0.0, round((datetime.fromisoformat(now) - datetime.fromisoformat(since)).total_seconds(), 3))


def _up_or_down(link: Link | None) -> str:
    return "unknown" if link is None else "up" if link.up else "down"


def _problem(code: str, subject: str, message: str, hint: str) -> api.Problem:
    return api.Problem(code=code, subject=subject, message=message, hint=hint, severity=about(code).severity.value)
