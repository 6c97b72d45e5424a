"""The problems of a site, each with what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.incidents import incidents
from librarian_daemon.catalog.mesh import unknown_rules
from librarian_daemon.catalog.status import queries
from librarian_daemon.catalog.transfers import transfers
from librarian_daemon.incidents import bus_safety
from librarian_daemon.incidents.recorder import CatalogIncidents
from librarian_daemon.ports.bus import BusHealth
from librarian_daemon.status.sections import Sections
from librarian_protocol import api
from librarian_protocol.incidents import about
from librarian_protocol.names import SiteName
from librarian_protocol.transfer import State

#: How many problems of one kind status lists individually.
LISTED = 20


class Problems:
    """Open incidents, and problems that the catalog and the services show."""

    def __init__(self, catalog: Catalog, incidents: CatalogIncidents, bus: BusHealth, site: SiteName) -> None:
        self._catalog = catalog
        self._incidents = incidents
        self._bus = bus
        self._site = site
        #: The sections of status, and which of them failed.
        self.sections = Sections()

    async def found(self, stores: Sequence[api.StoreStatus], intakes: Sequence[api.IntakeStatus]) -> list[api.Problem]:
        """Open incidents, and problems that the catalog shows; each with what to do."""
        read, made = self._catalog.read, self.sections.made
        found = list(await made("incidents", read(incidents.open_incidents, 100), []))
        found += self._incidents.not_kept()
        known = {(problem.code, problem.subject) for problem in found}
        bus = self._bus.state()
        if not bus.connected:
            hint = "files are taken and kept; they are announced when it is back. See `lbctl doctor`"
            found.append(_problem("bus-disconnected", self._site, bus.detail, hint))
        if ("bus-unsafe", self._site) not in known:
            found += [_problem("bus-unsafe", self._site, text, bus_safety.HINT) for text in bus.unsafe]
        for trouble in await made("suspected instances", read(queries.suspected, LISTED), []):
            if ("instance-suspected", trouble.name) not in known:
                message = f"site {trouble.site} no longer vouches for its instance: {trouble.detail}"
                found.append(
                    _problem("instance-suspected", trouble.name, message, "`lbctl file show` lists the others")
                )
        for trouble in await made("doubts", read(queries.open_doubts, LISTED), []):
            message = f"the instance at {trouble.site} is doubted: {trouble.detail}"
            found.append(_problem("instance-doubted", trouble.name, message, "its owner reads it again by itself"))
        for trouble in await made("conflicts", read(queries.conflicts, LISTED), []):
            message = f"two digests stand under this name: {trouble.detail}"
            hint = "both stay where they are and neither is transferred, until an administrator decides between them"
            found.append(_problem("conflict", trouble.name, message, hint))
        parked = read(transfers.page_of, state=State.PARKED.value, before=None, limit=LISTED)
        for view in await made("parked transfers", parked, []):
            message = f"transfer {view.id} is parked ({view.row.transfer.reason}): {view.row.message}"
            hint = f"{transfers.hint_for(view.row)}; then `lbctl transfer retry {view.id}`"
            found.append(_problem("transfer-parked", view.name, message, hint))
        for intake in intakes:
            if intake.state == "paused":
                hint = "what is dropped stays where it is; intake continues by itself when the cause is gone"
                found.append(_problem("intake-paused", intake.path, intake.detail, hint))
        for site, (_, stalled) in (await made("readings", read(queries.readings), {})).items():
            if stalled:
                found.append(_problem("journal-stalled", site, stalled, "`lbctl events verify` tells more"))
        for unknown in await made("unknown kinds", read(unknown_rules.unknown_kinds), []):
            found.append(_problem(unknown_rules.CODE, unknown.site, unknown.message, unknown_rules.HINT))
        for store in stores:
            if store.problem and (store.problem, store.label) not in known:
                found.append(_problem(store.problem, store.label, store.state, "`lbctl doctor` says more"))
        return found + self._failing()

    def _failing(self) -> list[api.Problem]:
        """Sections that could not be shown: one problem for each cause."""
        causes: dict[str, list[str]] = {}
        for section, why in self.sections.failing.items():
            causes.setdefault(why, []).append(section)
        hint = "sections that are not shown may have problems; `lbctl doctor` checks the catalog"
        return [_problem("view-failed", ", ".join(of), why, hint) for why, of in causes.items()]


def is_cut_off(problems: Sequence[api.Problem]) -> bool:
    """Whether there may be more problems of one kind than were read; incidents are counted separately."""
    found = Counter(problem.code for problem in problems if problem.id is None)
    return any(number >= LISTED for number in found.values())


def _problem(code: str, subject: str, message: str, hint: str) -> api.Problem:
    return api.Problem(code=code, subject=subject, message=message, hint=hint, severity=about(code).severity.value)
