"""The mesh: who is in it, who is heard, and how sites join it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from librarian_daemon.assembly.ports import Ports, Services
from librarian_daemon.assembly.stores import StoreOpener
from librarian_daemon.catalog.mesh.roster import Member
from librarian_daemon.config.settings import SiteSettings
from librarian_daemon.mesh.attachments import Attachments
from librarian_daemon.mesh.declarations import Declarations
from librarian_daemon.mesh.inviter import Inviter
from librarian_daemon.mesh.joiner import Joiner
from librarian_daemon.mesh.membership import Membership
from librarian_daemon.mesh.presences import Presences
from librarian_daemon.ports.store import SiteStore
from librarian_protocol.entries import SiteAnnounced
from librarian_protocol.names import SiteName


class Mesh(msgspec.Struct, frozen=True, kw_only=True):
    """Who is who."""

    membership: Membership
    presences: Presences
    inviter: Inviter
    joiner: Joiner

    def services(self) -> Services:
        """What runs."""
        return {"roster": self.membership.run, "inviter": self.inviter.run, "joiner": self.joiner.run}


def build_mesh(ports: Ports, settings: SiteSettings, follow: Callable[[dict[SiteName, Member]], None]) -> Mesh:
    """``follow`` is called with the sites whose journals must be read."""
    membership = Membership(
        catalog=ports.catalog,
        bus=ports.bus,
        clock=ports.clock,
        rng=ports.rng,
        site=ports.site,
        domain=settings.domain,
        administrator=settings.mesh.administrator or None,
        key=ports.key,
        follow=follow,
    )
    return Mesh(
        membership=membership,
        presences=Presences(ports.catalog, ports.bus, membership, ports.clock, ports.site),
        inviter=Inviter(
            catalog=ports.catalog,
            bus=ports.bus,
            incidents=ports.incidents,
            clock=ports.clock,
            rng=ports.rng,
            site=ports.site,
            key=ports.key,
            membership=membership,
        ),
        joiner=Joiner(
            catalog=ports.catalog,
            bus=ports.bus,
            incidents=ports.incidents,
            clock=ports.clock,
            site=ports.site,
            key=ports.key,
            state=Path(settings.state),
            membership=membership,
            own_server=settings.bus.mode == "embedded",
        ),
    )


def build_declarations(ports: Ports, announced: SiteAnnounced) -> Declarations:
    """What the site says of its stores, and how it is reached."""
    return Declarations(
        catalog=ports.catalog,
        incidents=ports.incidents,
        site=ports.site,
        stores=ports.stores,
        announced=announced,
    )


def build_attachments(
    ports: Ports,
    settings: SiteSettings,
    declarations: Declarations,
    take_up: Callable[[SiteStore], Awaitable[None]],
    watch: Callable[[SiteStore], None],
    changed: Callable[[], Awaitable[None]],
) -> Attachments:
    """The stores, as a person changes them while the daemon runs. The callables are those of ``Attachments``."""
    return Attachments(
        catalog=ports.catalog,
        site=ports.site,
        stores=ports.stores,
        declarations=declarations,
        opener=StoreOpener(settings, ports.rng),
        take_up=take_up,
        watch=watch,
        changed=changed,
        incidents=ports.incidents,
    )
