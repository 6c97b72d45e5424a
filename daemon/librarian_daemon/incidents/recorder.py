"""Incidents, kept in the catalog."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import structlog

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.incidents import incidents
from librarian_protocol.api import Problem
from librarian_protocol.errors import CatalogFault
from librarian_protocol.incidents import about

#: Incidents held in memory while the catalog cannot be written.
MAX_UNKEPT = 100
CATALOG_FAULT = "catalog-fault"
_HINT = "nothing is accepted meanwhile, and nothing is lost: see `lbctl doctor`, the disk, and who else has it open"


class CatalogIncidents:
    """Implements the ``Incidents`` port. It logs, and never raises, when the catalog cannot be written: the caller is
    already handling a failure of its own."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        #: Incidents that could not be written. They are shown too, and forgotten when the catalog can be written again.
        self._unkept: dict[tuple[str, str], Problem] = {}
        self._log = structlog.get_logger("incidents")

    async def open(self, code: str, subject: str, message: str, hint: str) -> None:
        """See the port."""
        try:
            if await self._catalog.write(incidents.open_incident, code, subject, message, hint):
                self._log.warning("incident_opened", code=code, subject=subject, message=message, hint=hint)
            self._unkept.pop((code, subject), None)
        except CatalogFault as exc:
            if len(self._unkept) < MAX_UNKEPT:
                self._unkept[code, subject] = Problem(code=code, subject=subject, message=message, hint=hint)
            self._log.error("incident_not_kept", code=code, subject=subject, message=message, error=exc.message)

    async def resolve(self, code: str, subject: str) -> None:
        """See the port."""
        self._unkept.pop((code, subject), None)
        try:
            if await self._catalog.write(incidents.resolve_incident, code, subject):
                self._log.info("incident_resolved", code=code, subject=subject)
        except CatalogFault as exc:
            self._log.error("incident_not_resolved", code=code, subject=subject, error=exc.message)

    async def count(self, code: str, subject: str, number: int, message: str, hint: str) -> None:
        """See the port."""
        try:
            if await self._catalog.write(incidents.count_incident, code, subject, number, message, hint):
                self._log.warning("incident_opened", code=code, subject=subject, message=message, hint=hint)
            self._unkept.pop((code, subject), None)
        except CatalogFault as exc:
            if len(self._unkept) < MAX_UNKEPT:
                problem = Problem(code=code, subject=subject, message=message, hint=hint, count=number)
                self._unkept[code, subject] = problem
            self._log.error("incident_not_kept", code=code, subject=subject, message=message, error=exc.message)

    async def resolve_all(self, code: str, over: Callable[[str], bool]) -> None:
        """See the port."""
        try:
            for subject in await self._catalog.write(incidents.resolve_all, code, over):
                self._log.info("incident_resolved", code=code, subject=subject)
        except CatalogFault as exc:
            self._log.error("incident_not_resolved", code=code, subject="", error=exc.message)

    def not_kept(self) -> list[Problem]:
        """Open incidents that the catalog did not take, the catalog's own trouble first."""
        trouble = self._catalog.trouble
        own = [Problem(code=CATALOG_FAULT, subject="catalog", message=trouble, hint=_HINT)] if trouble else []
        return [
            msgspec.structs.replace(incident, severity=about(incident.code).severity.value)
            for incident in (*own, *self._unkept.values())
        ]

    async def subjects(self, code: str) -> Sequence[str]:
        """See the port."""
        return await self._catalog.read(incidents.open_subjects, code, 1000)
