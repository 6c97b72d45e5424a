"""Inviting: tokens that are good once, and the admission of a newcomer that proves to hold one (docs/adr/0008)."""

from __future__ import annotations

import structlog

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.journal import endings
from librarian_daemon.catalog.journal.refold import say_of_roster
from librarian_daemon.catalog.mesh import invites
from librarian_daemon.catalog.mesh.invites import Invitation, Terms
from librarian_daemon.catalog.mesh.roster import get_anchor, known_members, roster
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.mesh.membership import Membership, rfc3339
from librarian_daemon.ports.bus import JoinRequests
from librarian_daemon.ports.incidents import Incidents
from librarian_daemon.ports.time import Clock, Rng
from librarian_protocol import globs, tokens
from librarian_protocol.api import Invite, PendingJoin
from librarian_protocol.entries import SiteAdmitted
from librarian_protocol.errors import BusUnavailable, NotFound, NotPossible, TokenInvalid
from librarian_protocol.keys import SiteKey, fingerprint
from librarian_protocol.names import SiteName
from librarian_protocol.roster import carried_on
from librarian_protocol.tokens import JoinAnswer, JoinRequest, Token

#: Newcomers that wait for a person, at once.
MAX_PENDING = 100


class JoinRefused(NotPossible):
    """A newcomer that holds a token is refused."""

    def __init__(self, site: SiteName, why: str, hint: str = "invite it again: `lbctl site invite`") -> None:
        super().__init__(f"site {site!r} was not admitted: {why}", hint=hint)
        self.site = site


class Waits(NotPossible):
    """A newcomer that holds a token waits until a person has compared its fingerprint."""


class Inviter:
    """Service, and its operations for people."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        bus: JoinRequests,
        incidents: Incidents,
        clock: Clock,
        rng: Rng,
        site: SiteName,
        key: SiteKey,
        membership: Membership,
    ) -> None:
        self._catalog = catalog
        self._bus = bus
        self._incidents = incidents
        self._clock = clock
        self._rng = rng
        self._site = site
        self._key = key
        self._membership = membership
        #: Newcomers that wait for a person; they ask again, so nothing is lost with this process.
        self._pending: dict[SiteName, PendingJoin] = {}
        self._confirmed: dict[SiteName, str] = {}
        self._told = ""
        self._log = structlog.get_logger("inviter")

    # ---- for people ------------------------------------------------------------------------------------

    async def invite(self, expires_s: int, terms: Terms) -> Invite:
        """Make a token for one new site.

        Raises:
            NotPossible: this site may not admit others, or is of no mesh yet.
            ArgumentInvalid: a grant is no glob.
        """
        for grant in terms.grants:
            globs.check(grant)
        anchor = await self._catalog.read(get_anchor)
        mine = (await self._catalog.read(roster)).get(self._site)
        if anchor is None or mine is None or not mine.may_admit:
            raise NotPossible(
                f"site {self._site!r} has no right to admit others",
                hint="invite from the first site of the mesh: it is listed by `lbctl site list`",
            )
        credential = await self._bus.invite_credential()
        token = Token(
            mesh=anchor.mesh,
            id=self._rng.hex(16),
            inviter=self._site,
            key=self._key.public,
            bus_url=credential.url,
            bus_seed=credential.seed,
            secret=self._rng.hex(64),
            expires=self._clock.unix_s() + expires_s,
            leaf_address=credential.leaf_address,
            certificate=credential.certificate or None,
            administrator=anchor.administrator,
        )
        invitation = Invitation(
            id=token.id,
            secret=token.secret,
            bus_key=credential.public,
            expires=token.expires,
            used_by=None,
            terms=terms,
        )

        def work(tx: Tx) -> None:
            invites.forget_expired(tx, self._clock.unix_s() - 30 * 86400)
            invites.add(tx, invitation)

        await self._catalog.write(work)
        # The token is good from the moment that it is shown: the server must admit its bearer.
        await self._membership.admit_to_bus()
        self._log.info("invited", token=token.id)
        return Invite(
            token=tokens.encode(token),
            expires_at=rfc3339(token.expires),
            inviter=self._site,
            fingerprint=fingerprint(self._key.public),
        )

    def pending(self) -> list[PendingJoin]:
        """Newcomers that wait for a person."""
        return [self._pending[site] for site in sorted(self._pending)]

    def confirm(self, site: SiteName, shown: str) -> PendingJoin:
        """Confirm that a person has compared the newcomer's fingerprint. It is admitted when it asks again, within
        about a second.

        Raises:
            NotFound: no such site waits.
            NotPossible: its fingerprint is another.
        """
        found = self._pending.get(site)
        if found is None:
            raise NotFound(f"no site {site!r} waits to be admitted", hint="`lbctl site pending` lists who waits")
        if found.fingerprint != shown:
            raise NotPossible(
                f"the site that asks as {site!r} has fingerprint {found.fingerprint}, not {shown}",
                hint="compare with what `lbctl site list` shows at the newcomer; was the token stolen?",
            )
        self._confirmed[site] = found.key
        return found

    # ---- the service -----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Admit newcomers that prove to hold an open token."""
        async for message in self._bus.joins():
            try:
                request, sealed = tokens.read(message)
            except TokenInvalid as exc:
                self._log.warning("join_not_valid", sparingly=True, error=exc.message)
                continue
            await self._hear(request, sealed)

    async def _hear(self, request: JoinRequest, sealed: tokens.SignedJoin) -> None:
        state, detail = "admitted", ""
        try:
            if await self._catalog.write(self._admit, request, sealed):
                self._log.info("admitted", peer=request.site, fingerprint=fingerprint(request.key))
                self._told = ""
                await self._incidents.resolve("join-refused", request.site)
                await self._membership.admit_to_bus()
                self._membership.changed.set()
            self._pending.pop(request.site, None)
            self._confirmed.pop(request.site, None)
        except TokenInvalid as exc:
            self._log.warning("join_not_valid", sparingly=True, error=exc.message)
            return  # a request without proof gets no answer
        except Waits as exc:
            state, detail = "waiting", exc.message
            if request.site not in self._pending and len(self._pending) < MAX_PENDING:
                self._log.info("join_waits", sparingly=True, peer=request.site, fingerprint=fingerprint(request.key))
                await self._incidents.open(
                    "join-waits",
                    request.site,
                    f"site {request.site!r}, fingerprint {fingerprint(request.key)}, waits to be admitted",
                    "compare the fingerprint with its people, then `lbctl site confirm`",
                )
                self._pending[request.site] = PendingJoin(
                    site=request.site, key=request.key, fingerprint=fingerprint(request.key)
                )
        except JoinRefused as exc:
            state, detail = "refused", exc.message
            if exc.message != self._told:  # it asks again every second
                self._told = exc.message
                self._log.warning("join_refused", sparingly=True, peer=exc.site, error=exc.message)
                await self._incidents.open("join-refused", exc.site, exc.message, exc.hint)
        invitation = await self._catalog.read(invites.find, request.token)
        if invitation is None:
            return
        if state == "admitted":
            await self._incidents.resolve("join-waits", request.site)
        answer = JoinAnswer(token=request.token, key=request.key, state=state, detail=detail[:1024])
        bus_key = invitation.bus_key or request.bus[-1]
        try:
            await self._bus.answer_join(bus_key, tokens.seal_answer(answer, self._key))
        except BusUnavailable as exc:
            self._log.debug("join_not_answered", error=exc.message)

    def _admit(self, tx: Tx, request: JoinRequest, sealed: tokens.SignedJoin) -> bool:
        """Admit the site, once. False where it was admitted before.

        Raises:
            TokenInvalid: no such token, or no proof of its secret.
            JoinRefused: the token is spent or expired, or the name is another's.
            Waits: a person must confirm it first.
        """
        invitation = invites.find(tx.connection, request.token)
        if invitation is None or not tokens.is_proved(sealed, invitation.secret):
            raise TokenInvalid(f"join request of {request.site!r} proves no open token")
        known = known_members(tx.connection)
        same = known.get(request.site)
        if invitation.used_by is not None:
            if invitation.used_by == request.site and same is not None and same.key == request.key:
                return False
            raise JoinRefused(request.site, "it came with a token that is spent")
        if invitation.expires < self._clock.unix_s():
            raise JoinRefused(request.site, "it came with a token that has expired")
        if same is not None and same.key != request.key:
            raise JoinRefused(
                request.site,
                "the name belongs to a site with another key",
                f"if it is that site, `lbctl site readmit {request.site} --key {request.key}`; it goes on asking",
            )
        if same is not None and same.revoked:
            raise JoinRefused(
                request.site,
                "it was revoked",
                f"`lbctl site readmit {request.site}` takes it in again; it goes on asking",
            )
        if same is not None and endings.forgotten(tx, same).keys:
            raise JoinRefused(
                request.site,
                "it had keys that its admission does not name",
                f"`lbctl site readmit {request.site}` names them again; it goes on asking",
            )
        taken = {
            key for member in known.values() if member.site != request.site for key in [*member.bus, member.leaf] if key
        }
        mine = {*request.bus, request.leaf} - {None}
        if len(mine) != (1 if request.leaf else 2) or (request.leaf and request.bus) or taken & mine:
            raise JoinRefused(request.site, "its bus keys are not keys of its own")
        terms = invitation.terms
        if terms.confirm and self._confirmed.get(request.site) != request.key:
            raise Waits(f"a person at {self._site} must confirm fingerprint {fingerprint(request.key)}")
        invites.used(tx, invitation.id, request.site)
        entry = SiteAdmitted(
            site=request.site,
            key=request.key,
            access=terms.access,
            domain=terms.domain or (same.domain if same is not None else str(request.site)),
            grants=terms.grants,
            bus=list(request.bus),
            leaf=request.leaf,
            may_admit=terms.may_admit,
        )
        entry = carried_on(same, entry)
        say_of_roster(tx, entry)
        now = known_members(tx.connection)[request.site]
        if (now.bus, now.leaf) != (entry.bus, entry.leaf):
            raise JoinRefused(
                request.site,
                f"it was admitted by {now.admitter}, whose word counts more",
                f"invite it there: `lbctl site invite` at {now.admitter}",
            )
        return True
