"""Incidents, kept in the catalog."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from librarian_daemon.catalog import incidents
from librarian_daemon.catalog.writer import Catalog
from librarian_protocol.errors import CatalogFault


class CatalogIncidents:
    """Implements the ``Incidents`` port. A catalog that cannot be written is logged, never raised from here:
    whoever tells of an incident has a failure of its own to deal with."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._log = structlog.get_logger("incidents")

    async def open(self, code: str, subject: str, message: str, hint: str) -> None:
        """See the port."""
        try:
            if await self._catalog.write(incidents.open_incident, code, subject, message, hint):
                self._log.warning("incident_opened", code=code, subject=subject, message=message, hint=hint)
        except CatalogFault as exc:
            self._log.error("incident_not_kept", code=code, subject=subject, message=message, error=exc.message)

    async def resolve(self, code: str, subject: str) -> None:
        """See the port."""
        try:
            if await self._catalog.write(incidents.resolve_incident, code, subject):
                self._log.info("incident_resolved", code=code, subject=subject)
        except CatalogFault as exc:
            self._log.error("incident_not_resolved", code=code, subject=subject, error=exc.message)

    async def subjects(self, code: str) -> Sequence[str]:
        """See the port."""
        return await self._catalog.read(incidents.open_subjects, code, 1000)
