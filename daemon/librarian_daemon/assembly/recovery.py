"""Builds recovery: what a site does after its catalog was restored from a backup, or lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from librarian_daemon.assembly.mesh import Mesh
from librarian_daemon.assembly.ports import Ports, Services
from librarian_daemon.journal.incarnation import Incarnations
from librarian_daemon.recovery.recovery import Recoverer
from librarian_daemon.recovery.restatement import Restater


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """One service."""

    recoverer: Recoverer

    def services(self) -> Services:
        """What runs."""
        return {"recovery": self.recoverer.run}


def build_recovery(
    ports: Ports, mesh: Mesh, incarnations: Incarnations, redeclare: Callable[[], Awaitable[None]]
) -> Recovery:
    """``redeclare`` declares the configuration again."""
    return Recovery(
        recoverer=Recoverer(
            catalog=ports.catalog,
            incidents=ports.incidents,
            clock=ports.clock,
            site=ports.site,
            restater=Restater(ports.catalog, ports.stores, ports.site),
            presences=mesh.presences,
            found=mesh.membership.found,
            renew=incarnations.renew,
            redeclare=redeclare,
        )
    )
