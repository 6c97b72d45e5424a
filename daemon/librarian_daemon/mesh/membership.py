"""Membership: passes the roster to the bus and the projection, and appends what an operator says about other sites."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import msgspec
import structlog

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.journal import endings
from librarian_daemon.catalog.journal.refold import say_of_roster
from librarian_daemon.catalog.mesh import invites
from librarian_daemon.catalog.mesh.roster import Anchor, Member, get_anchor, known_members, put_anchor, roster
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.ports.bus import BusAccess, BusMember
from librarian_daemon.ports.time import Clock, Rng
from librarian_daemon.runtime.data_tls import AUTHORITY
from librarian_daemon.runtime.signals import Signal
from librarian_protocol import globs
from librarian_protocol.api import SiteChange
from librarian_protocol.entries import (
    Access,
    AdapterOffer,
    SiteAdmitted,
    SiteAnnounced,
    SiteRekeyed,
    SiteRevoked,
)
from librarian_protocol.errors import ArgumentInvalid, BusUnavailable, BusUnsafe, NotFound, NotPossible
from librarian_protocol.keys import SiteKey
from librarian_protocol.names import SiteName
from librarian_protocol.roster import begun_anew, is_stated

#: How often the roster is read even if nothing seems to have changed.
LOOK_EVERY_S = 30.0
AGAIN_S = 1.0


class Membership:
    """Service :meth:`run`, and operations on sites for people."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        bus: BusAccess,
        clock: Clock,
        rng: Rng,
        site: SiteName,
        domain: str,
        administrator: str | None,
        key: SiteKey,
        follow: Callable[[dict[SiteName, Member]], None],
    ) -> None:
        self._catalog = catalog
        self._bus = bus
        self._clock = clock
        self._rng = rng
        self._site = site
        self._domain = domain
        self._administrator = administrator
        self._key = key
        self._follow = follow
        #: The roster may have changed.
        self.changed = Signal()
        catalog.watch(self.changed, SiteAdmitted, SiteAnnounced, SiteRekeyed, SiteRevoked)
        self.members: dict[SiteName, Member] = {}
        self._log = structlog.get_logger("membership")

    def keys(self) -> dict[SiteName, str]:
        """The key of each other admitted site: whose signed requests are answered."""
        return {site: member.key for site, member in self.members.items() if site != self._site}

    def certificate(self, site: SiteName) -> str | None:
        """The certificate that a site announced for its data address, DER in base64; None if there is nothing to
        pin.
        """
        member = self.members.get(site)
        if member is None or any(AUTHORITY in offer.params for offer in member.offers if offer.name == "http"):
            return None
        return member.certificate

    def offers(self, site: SiteName) -> list[AdapterOffer]:
        """What a site offers; nothing where it is not admitted."""
        member = self.members.get(site)
        return [] if member is None else member.offers

    # ---- start -----------------------------------------------------------------------------------------

    async def found(self) -> None:
        """Become the first site of a mesh, if this site is of none yet."""

        def work(tx: Tx) -> None:
            anchor = get_anchor(tx.connection)
            if anchor is None:
                anchor = Anchor(mesh=self._rng.hex(32), site=self._site, key=self._key.public)
            if self._administrator is not None:
                anchor = msgspec.structs.replace(anchor, administrator=self._administrator)
            put_anchor(tx.connection, anchor)
            if anchor.site != self._site:
                return
            mine = roster(tx.connection).get(self._site)
            if mine is None or mine.admitter is not None or not mine.domain or mine.domain == "unknown":
                tx.append(
                    SiteAdmitted(
                        site=self._site,
                        key=anchor.key,
                        access=Access.FULL,
                        domain=self._domain,
                        grants=["**"],
                        may_admit=True,
                    )
                )

        await self._catalog.write(work)

    # ---- the roster ------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Service: sites of the roster may use the bus, and their journals are read."""
        while True:
            try:
                await self.admit_to_bus()
                self._follow(self.members)
                await self._bus.ensure_readers(
                    {site: member.access for site, member in sorted(self.members.items()) if site != self._site}
                )
                wait_s = LOOK_EVERY_S
            except (BusUnavailable, BusUnsafe) as exc:
                self._log.debug("bus_not_told", error=exc.message)
                wait_s = AGAIN_S
            await self.changed.wait(wait_s)

    async def admit_to_bus(self) -> None:
        """Set which sites may use the bus. Called once before the bus runs, and whenever the roster changed."""
        self.members = await self._catalog.read(roster)
        members = {
            site: BusMember(
                keys=list(member.bus),
                leaf=member.leaf,
                access=member.access,
                leaf_address=member.leaf_address,
                certificate=member.certificate,
            )
            for site, member in self.members.items()
        }
        invited = await self._catalog.read(invites.open_bus_keys, self._clock.unix_s())
        await self._bus.set_roster(members, invited)

    # ---- what a person says ----------------------------------------------------------------------------

    async def change(self, site: SiteName, change: SiteChange) -> None:
        """Admit a site again, with the given changes.

        Raises:
            NotFound: no such site is of the mesh.
            NotPossible: it was admitted by another site, or this one may not admit.
            ArgumentInvalid: a grant is no glob, or the access is none.
        """
        for grant in change.grants or ():
            globs.check(grant)
        if change.access is not None and change.access not in list(Access):
            raise ArgumentInvalid(f"access {change.access!r} is not one of {', '.join(Access)}")

        def work(tx: Tx) -> None:
            known = self._mine_to_say(tx, site)
            changes: dict[str, object] = {}
            if change.access is not None:
                changes["access"] = Access(change.access)
            for field in ("domain", "grants", "may_admit"):
                if getattr(change, field) is not None:
                    changes[field] = getattr(change, field)
            say_of_roster(tx, msgspec.structs.replace(begun_anew(known), **changes))

        await self._catalog.write(work)
        self._log.info("site_changed", peer=site)

    async def revoke(self, site: SiteName, reason: str, cutoffs: Sequence[tuple[str, int]]) -> None:
        """Take a site out of the mesh. ``cutoffs``: incarnation and number of the last entries that are believed.

        Without any, the ends of its journal are named that count here now.

        Raises:
            NotFound: no such site, or no such entry of it is held here.
            NotPossible: it was admitted by another site, it is this one, or this one may not admit.
        """
        if site == self._site:
            raise NotPossible("a site does not revoke itself", hint="stop its daemon, and revoke it elsewhere")

        def work(tx: Tx) -> None:
            say_of_roster(tx, endings.revoked(tx, self._mine_to_say(tx, site), reason, cutoffs))

        await self._catalog.write(work)
        self._log.warning("site_revoked", peer=site, reason=reason)

    async def readmit(self, site: SiteName, key: str | None, cutoffs: Sequence[tuple[str, int]]) -> None:
        """Readmit a site that was revoked, or one whose key is lost: then with another key, from cut-offs on.

        Another key voids its bus and leaf keys too: anyone who has the old key may have these. New ones come by token.

        Raises:
            NotFound: no such site, or no such entry of it is held here.
            NotPossible: it was admitted by another site, or this one may not admit.
            ArgumentInvalid: see :func:`endings.readmitted`.
        """

        def work(tx: Tx) -> None:
            say_of_roster(tx, endings.readmitted(tx, self._mine_to_say(tx, site), key, cutoffs))

        await self._catalog.write(work)
        self._log.warning("site_readmitted", peer=site)

    async def publish(self, entry: SiteAdmitted | SiteRevoked) -> None:
        """Append a statement that the administrator signed.

        Raises:
            NotPossible: it is not signed by the administrator of this mesh.
        """

        def work(tx: Tx) -> None:
            anchor = get_anchor(tx.connection)
            if anchor is None or not is_stated(anchor, entry):
                raise NotPossible(
                    "the statement is not signed by this mesh's administrator",
                    hint="compare its key with [mesh] administrator in site.toml, and the mesh with `lbctl status`",
                )
            say_of_roster(tx, entry)

        await self._catalog.write(work)
        self._log.warning("statement_published", peer=entry.site, statement=entry.statement)

    def _mine_to_say(self, tx: Tx, site: SiteName) -> Member:
        known = known_members(tx.connection)
        mine, member = known.get(self._site), known.get(site)
        if mine is None or mine.revoked or not mine.may_admit:
            raise NotPossible(f"site {self._site!r} has no right to admit others", hint="say it at a site that may")
        if member is None:
            raise NotFound(f"no site {site!r} is of the mesh", hint="`lbctl site list`")
        if member.admitter not in {None, self._site}:
            raise NotPossible(
                f"{site!r} was admitted by {member.admitter}",
                hint="say it there, or by the administrator's key: `lbctl admin statement`",
            )
        return member


def rfc3339(unix_s: int) -> str:
    """Seconds since 1970 as people read them."""
    return datetime.fromtimestamp(unix_s, UTC).isoformat().replace("+00:00", "Z")
