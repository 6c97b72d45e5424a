"""Incidents, kept in the catalog."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from librarian_daemon.catalog import incidents
from librarian_daemon.catalog.writer import Catalog
from librarian_protocol.api import Problem
from librarian_protocol.errors import CatalogFault

#: Incidents held in memory while the catalog cannot be written.
MAX_UNKEPT = 100


class CatalogIncidents:
    """Implements the ``Incidents`` port. A catalog that cannot be written is logged, never raised from here:
    whoever tells of an incident has a failure of its own to deal with."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        #: What could not be written; it is shown all the same, and forgotten when the catalog takes something again.
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

    def not_kept(self) -> list[Problem]:
        """Open incidents that the catalog did not take."""
        return list(self._unkept.values())

    async def subjects(self, code: str) -> Sequence[str]:
        """See the port."""
        return await self._catalog.read(incidents.open_subjects, code, 1000)
