"""Membership: who is in the roster, told to the bus and the projection; and what an operator says about other sites."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
import structlog

from librarian_daemon.catalog import invites, record
from librarian_daemon.catalog.refolding import say_of_roster
from librarian_daemon.catalog.roster import Anchor, Member, get_anchor, known_members, put_anchor, roster
from librarian_daemon.catalog.writer import Catalog, Tx
from librarian_daemon.ports import Bus, BusMember, Clock, Rng
from librarian_daemon.signals import Signal
from librarian_daemon.tls import AUTHORITY
from librarian_protocol import globs
from librarian_protocol.api import SiteChange
from librarian_protocol.entries import (
    Access,
    AdapterOffer,
    Cutoff,
    SiteAdmitted,
    SiteAnnounced,
    SiteRekeyed,
    SiteRevoked,
)
from librarian_protocol.errors import ArgumentInvalid, BusUnavailable, BusUnsafe, NotFound, NotPossible
from librarian_protocol.keys import SiteKey
from librarian_protocol.names import SiteName
from librarian_protocol.roster import is_stated

#: How often the roster is looked at even when nothing seems to have changed.
LOOK_EVERY_S = 30.0
AGAIN_S = 1.0


class Membership:
    """Service :meth:`run`, and what a person says about sites."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        bus: Bus,
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
        return {site: one.key for site, one in self.members.items() if site != self._site}

    def certificate(self, site: SiteName) -> str | None:
        """What a site announced for its data address, DER in base64; None where nothing is to be pinned."""
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
                tx.say(
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
        """Service: whoever is in the roster may use the bus, and is read."""
        while True:
            try:
                await self.admit_to_bus()
                self._follow(self.members)
                await self._bus.ensure_readers(
                    {site: one.access for site, one in sorted(self.members.items()) if site != self._site}
                )
                wait_s = LOOK_EVERY_S
            except (BusUnavailable, BusUnsafe) as exc:
                self._log.debug("bus_not_told", error=exc.message)
                wait_s = AGAIN_S
            await self.changed.wait(wait_s)

    async def admit_to_bus(self) -> None:
        """Tell the bus who may use it. Called once before the bus runs, and whenever the roster changed."""
        self.members = await self._catalog.read(roster)
        members = {
            site: BusMember(
                keys=list(one.bus),
                leaf=one.leaf,
                access=one.access,
                leaf_address=one.leaf_address,
                certificate=one.certificate,
            )
            for site, one in self.members.items()
        }
        invited = await self._catalog.read(invites.open_bus_keys, self._clock.unix_s())
        await self._bus.set_roster(members, invited)

    # ---- what a person says ----------------------------------------------------------------------------

    async def change(self, site: SiteName, change: SiteChange) -> None:
        """State a site's admission anew, with what is given changed.

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
            say_of_roster(tx, msgspec.structs.replace(admission_of(known), **changes))

        await self._catalog.write(work)
        self._log.info("site_changed", peer=site)

    async def revoke(self, site: SiteName, reason: str, cutoff: tuple[str, int] | None) -> None:
        """Take a site out of the mesh. ``cutoff`` is incarnation and number of its last entry that is believed.

        Raises:
            NotFound: no such site, or no such entry of it is held here.
            NotPossible: it was admitted by another site, it is this one, or this one may not admit.
        """
        if site == self._site:
            raise NotPossible("a site does not revoke itself", hint="stop its daemon, and revoke it elsewhere")

        def work(tx: Tx) -> None:
            known = self._mine_to_say(tx, site)
            say_of_roster(
                tx,
                SiteRevoked(
                    site=site,
                    key=known.keys[0][1],
                    former=list(known.former),
                    domain=known.domain,
                    grants=known.grants,
                    reason=reason,
                    cutoff=None if cutoff is None else self._cutoff(tx, site, cutoff),
                ),
            )

        await self._catalog.write(work)
        self._log.warning("site_revoked", peer=site, reason=reason)

    async def readmit(self, site: SiteName, key: str | None, cutoff: tuple[str, int] | None) -> None:
        """Take a site in again: one that was revoked, or one whose key is lost, with another key behind a cut-off.

        Raises:
            NotFound: no such site, or no such entry of it is held here.
            NotPossible: it was admitted by another site, or this one may not admit.
        """

        def work(tx: Tx) -> None:
            known = self._mine_to_say(tx, site)
            entry = admission_of(known)
            if cutoff is not None or key is not None:
                if cutoff is None:
                    raise ArgumentInvalid("another key needs a cut-off: up to where the former one is believed")
                entry = msgspec.structs.replace(
                    entry,
                    key=key or known.key,
                    former=known.every_key,
                    cutoff=self._cutoff(tx, site, cutoff),
                )
            say_of_roster(tx, entry)

        await self._catalog.write(work)
        self._log.warning("site_readmitted", peer=site)

    async def publish(self, entry: SiteAdmitted | SiteRevoked) -> None:
        """Say a statement that the administrator signed.

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

    def _cutoff(self, tx: Tx, site: SiteName, at: tuple[str, int]) -> Cutoff:
        incarnation, seq = at
        found = record.hash_at(tx.connection, site, incarnation, seq)
        if found is None:
            raise NotFound(
                f"no segment of {site!r} that ends with entry {seq} of incarnation {incarnation} is held here",
                hint=f"`lbctl events tail --site {site} --after 0 --no-follow` lists them",
            )
        return Cutoff(incarnation=incarnation, seq=seq, hash=found)


def admission_of(member: Member) -> SiteAdmitted:
    """The admission that would make a site what it is."""
    return SiteAdmitted(
        site=member.site,
        key=member.keys[0][1],
        access=Access(member.access),
        domain=member.domain,
        grants=member.grants,
        bus=member.bus,
        leaf=member.leaf,
        may_admit=member.may_admit,
        cutoff=None if member.revoked else member.cutoff,
        former=list(member.former),
    )


def rfc3339(unix_s: int) -> str:
    """Seconds since 1970 as people read them."""
    return datetime.fromtimestamp(unix_s, UTC).isoformat().replace("+00:00", "Z")
