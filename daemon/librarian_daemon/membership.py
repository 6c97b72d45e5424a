"""Membership: inviting, joining, admitting; and telling the bus and the projection who is in the roster.

A newcomer asks over the bus until it finds itself admitted in the inviter's journal. Asking is repeated and means the
same each time, so neither side needs the other to be up.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import aiofiles
import msgspec
import structlog

from librarian_daemon.catalog import invites
from librarian_daemon.catalog.invites import Invitation
from librarian_daemon.catalog.journal import has_journal
from librarian_daemon.catalog.roster import Anchor, Member, get_anchor, put_anchor, roster
from librarian_daemon.catalog.writer import Catalog, Tx, get_meta, put_meta
from librarian_daemon.ports import Bus, Clock, Incidents, Rng
from librarian_daemon.signals import Signal
from librarian_protocol import tokens, wire
from librarian_protocol.api import Invite, JoinState
from librarian_protocol.entries import Access, AdapterOffer, SiteAdmitted, SiteAnnounced
from librarian_protocol.errors import BusUnavailable, BusUnsafe, LibrarianError, NotPossible, TokenInvalid
from librarian_protocol.keys import SiteKey, fingerprint
from librarian_protocol.names import SiteName
from librarian_protocol.tokens import JoinRequest, Token

#: How often a newcomer asks, and how often the roster is looked at even when nothing seems to have changed.
ASK_EVERY_S = 1.0
LOOK_EVERY_S = 30.0
TOKEN_FILE = "join.token"


class BusAddress(msgspec.Struct, frozen=True, kw_only=True):
    """The bus that a token brought: kept, so that a restart finds it without the token."""

    url: str
    external: bool


_ADDRESS = wire.decoder(BusAddress)


class JoinRefused(NotPossible):
    """A newcomer that holds a token is not admitted all the same."""

    def __init__(self, site: SiteName, why: str) -> None:
        super().__init__(f"site {site!r} was not admitted: {why}", hint="invite it anew: `lbctl site invite`")
        self.site = site


class Membership:
    """Services :meth:`run_roster`, :meth:`run_inviter` and :meth:`run_joiner`; :meth:`invite` and :meth:`join`."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        bus: Bus,
        incidents: Incidents,
        clock: Clock,
        rng: Rng,
        site: SiteName,
        domain: str,
        key: SiteKey,
        state: Path,
        follow: Callable[[dict[SiteName, Member]], None],
    ) -> None:
        self._catalog = catalog
        self._bus = bus
        self._incidents = incidents
        self._clock = clock
        self._rng = rng
        self._site = site
        self._domain = domain
        self._key = key
        self._token_path = state / TOKEN_FILE
        self._follow = follow
        #: The roster may have changed: one signal for each of the two services that wait for it.
        self._changed = Signal()
        self._ask = Signal()
        catalog.watch(self._changed, SiteAdmitted, SiteAnnounced)
        catalog.watch(self._ask, SiteAdmitted)
        self._asking: Token | None = None
        self._latest: Token | None = None
        self._refused = ""
        self.members: dict[SiteName, Member] = {}
        self._log = structlog.get_logger("membership")

    def keys(self) -> dict[SiteName, str]:
        """The key of each other admitted site: whose signed requests are answered."""
        return {site: one.key for site, one in self.members.items() if site != self._site}

    def certificate(self, site: SiteName) -> str | None:
        """What a site announced for its data address, DER in base64; None where nothing is to be pinned."""
        member = self.members.get(site)
        return None if member is None else member.certificate

    def offers(self, site: SiteName) -> list[AdapterOffer]:
        """What a site offers; nothing where it is not admitted."""
        member = self.members.get(site)
        return [] if member is None else member.offers

    # ---- start -----------------------------------------------------------------------------------------

    async def found(self) -> None:
        """Become the first site of a mesh, if this site is of none yet."""

        def work(tx: Tx) -> None:
            if get_anchor(tx.connection) is None:
                put_anchor(tx.connection, Anchor(mesh=self._rng.hex(32), site=self._site, key=self._key.public))
            anchor = get_anchor(tx.connection)
            mine = roster(tx.connection).get(self._site)
            if (
                anchor is not None
                and anchor.site == self._site
                and (mine is None or mine.key != self._key.public or list(mine.bus) != list(self._bus.public_keys()))
            ):
                tx.say(self._admission(self._site, self._key.public, list(self._bus.public_keys()), may_admit=True))

        await self._catalog.write(work)

    def _admission(self, site: SiteName, key: str, bus: list[str], *, may_admit: bool) -> SiteAdmitted:
        return SiteAdmitted(
            site=site,
            key=key,
            access=Access.FULL,
            domain=self._domain if site == self._site else str(site),
            grants=["**"],
            bus=bus,
            may_admit=may_admit,
        )

    # ---- the roster ------------------------------------------------------------------------------------

    async def run_roster(self) -> None:
        """Service: whoever is in the roster may use the bus, and is read."""
        while True:
            try:
                await self.admit_to_bus()
                self._follow(self.members)
                await self._bus.ensure_readers(sorted(site for site in self.members if site != self._site))
                wait_s = LOOK_EVERY_S
            except (BusUnavailable, BusUnsafe) as exc:
                self._log.debug("bus_not_told", error=exc.message)
                wait_s = ASK_EVERY_S
            await self._changed.wait(wait_s)

    async def admit_to_bus(self) -> None:
        """Tell the bus who may use it. Called once before the bus runs, and whenever the roster changed."""
        self.members = await self._catalog.read(roster)
        users = {site: list(one.bus) for site, one in self.members.items() if one.bus}
        users.setdefault(self._site, list(self._bus.public_keys()))
        invited = await self._catalog.read(invites.open_bus_keys, self._clock.unix_s())
        await self._bus.set_roster(users, invited)

    # ---- inviting --------------------------------------------------------------------------------------

    async def invite(self, expires_s: int) -> Invite:
        """Make a token for one new site.

        Raises:
            NotPossible: this site may not admit others, or is of no mesh yet.
        """
        anchor = await self._catalog.read(get_anchor)
        mine = (await self._catalog.read(roster)).get(self._site)
        if anchor is None or mine is None or not mine.may_admit:
            raise NotPossible(
                f"site {self._site!r} has no right to admit others",
                hint="invite from the first site of the mesh: it is listed by `lbctl site list`",
            )
        url, seed, bus_key = await self._bus.invite_credential()
        token = Token(
            mesh=anchor.mesh,
            id=self._rng.hex(16),
            inviter=self._site,
            key=self._key.public,
            bus_url=url,
            bus_seed=seed,
            secret=self._rng.hex(64),
            expires=self._clock.unix_s() + expires_s,
        )
        invitation = Invitation(id=token.id, secret=token.secret, bus_key=bus_key, expires=token.expires, used_by=None)

        def work(tx: Tx) -> None:
            invites.forget_expired(tx, self._clock.unix_s() - 30 * 86400)
            invites.add(tx, invitation)

        await self._catalog.write(work)
        # The token is good from the moment it is shown: the server must let its bearer in.
        await self.admit_to_bus()
        self._log.info("invited", token=token.id)
        return Invite(
            token=tokens.encode(token),
            expires_at=rfc3339(token.expires),
            inviter=self._site,
            fingerprint=fingerprint(self._key.public),
        )

    async def run_inviter(self) -> None:
        """Service: admits whoever proves to hold an open token."""
        told = ""
        async for message in self._bus.joins():
            try:
                request, sealed = tokens.read(message)
                if await self._catalog.write(self._admit, request, sealed):
                    self._log.info("admitted", peer=request.site, fingerprint=fingerprint(request.key))
                    told = ""
                    await self._incidents.resolve("join-refused", request.site)
                    self._changed.set()
            except TokenInvalid as exc:
                self._log.warning("join_not_valid", error=exc.message)
            except JoinRefused as exc:
                if exc.message == told:  # it asks again every second
                    continue
                told = exc.message
                self._log.warning("join_refused", peer=exc.site, error=exc.message)
                await self._incidents.open("join-refused", exc.site, exc.message, exc.hint)

    def _admit(self, tx: Tx, request: JoinRequest, sealed: tokens.SignedJoin) -> bool:
        """Admit the site, once. False where it was admitted before.

        Raises:
            TokenInvalid: no such token, or no proof of its secret.
            JoinRefused: the token is spent or expired, or the name is another's.
        """
        invitation = invites.find(tx.connection, request.token)
        if invitation is None or not tokens.is_proved(sealed, invitation.secret):
            raise TokenInvalid(f"join request of {request.site!r} proves no open token")
        known = roster(tx.connection).get(request.site)
        if invitation.used_by is not None:
            if invitation.used_by == request.site and known is not None and known.key == request.key:
                return False
            raise JoinRefused(request.site, "it came with a token that is spent")
        if invitation.expires < self._clock.unix_s():
            raise JoinRefused(request.site, "it came with a token that has expired")
        if known is not None and known.key != request.key:
            raise JoinRefused(request.site, "the name belongs to a site with another key")
        taken = {key for one in roster(tx.connection).values() if one.site != request.site for key in one.bus}
        if len(set(request.bus)) != 2 or taken & set(request.bus):
            raise JoinRefused(request.site, "its bus keys are not two keys of its own")
        invites.used(tx, invitation.id, request.site)
        tx.say(self._admission(request.site, request.key, list(request.bus), may_admit=False))
        return True

    # ---- joining ---------------------------------------------------------------------------------------

    async def join(self, text: str) -> JoinState:
        """Begin to join the mesh of a token. Repeatable.

        Raises:
            TokenInvalid: malformed or expired.
            NotPossible: this site is of another mesh already, with other sites in it; or it is the inviter.
        """
        token = tokens.decode(text)
        if token.expires < self._clock.unix_s():
            raise TokenInvalid("the token has expired", hint=f"ask {token.inviter} for a new one")
        if token.inviter == self._site:
            raise NotPossible("a site cannot join by its own token")
        await asyncio.to_thread(write_private, self._token_path, tokens.encode(token))
        await self._accept(token)
        return await self.join_state(token)

    async def _accept(self, token: Token) -> None:
        anchor = Anchor(mesh=token.mesh, site=token.inviter, key=token.key)
        address = BusAddress(url=token.bus_url, external=token.bus_seed is None)

        def work(tx: Tx) -> None:
            known = get_anchor(tx.connection)
            others = set(roster(tx.connection)) - {self._site}
            if known is not None and known.mesh != token.mesh and others:
                raise NotPossible(
                    f"this site is of another mesh already, with {', '.join(sorted(others))}",
                    hint="a site is of one mesh; make a new site with `lbctl init`",
                )
            if known is not None and known.mesh == token.mesh and (known.site, known.key) != (anchor.site, anchor.key):
                if others - {known.site} or has_journal(tx.connection, known.site):
                    raise NotPossible(
                        f"this site joined the mesh through {known.site}, key {fingerprint(known.key)}; the token is of"
                        f" {token.inviter}, key {fingerprint(token.key)}",
                        hint="compare the fingerprint with the inviter's `lbctl site list`; was the token altered?",
                    )
                # Nothing signed by that key was ever read: it may have been a wrong one, and is not held on to.
                put_anchor(tx.connection, anchor)
            if known is None or known.mesh != token.mesh:
                put_anchor(tx.connection, anchor)
            put_meta(tx.connection, "bus", wire.encode(address).decode())

        await self._catalog.write(work)
        await self._bus.use(address.url, external=address.external)
        self._asking = self._latest = token
        self._changed.set()
        self._ask.set()

    async def join_state(self, token: Token) -> JoinState:
        """How joining by this token stands."""
        mine = (await self._catalog.read(roster)).get(self._site)
        anchor = await self._catalog.read(get_anchor)
        joined = mine is not None and mine.key == self._key.public
        bus = self._bus.state()
        waiting = "" if bus.connected else f"{bus.detail}; if this lasts, the token may be spent: ask for another"
        return JoinState(
            state="joined" if joined else "refused" if self._refused else "asking",
            inviter=token.inviter,
            fingerprint=fingerprint(anchor.key if anchor else token.key),
            detail="" if joined else self._refused or waiting or f"waiting for {token.inviter} to admit this site",
        )

    async def current_join(self) -> JoinState | None:
        """How the latest join since the start stands; None where there was none."""
        return await self.join_state(self._latest) if self._latest is not None else None

    async def resume(self) -> None:
        """At a start: the bus that was joined before, and a token that waits in the state directory."""
        text = await self._catalog.read(get_meta, "bus")
        if text:
            address = _ADDRESS.decode(text)
            await self._bus.use(address.url, external=address.external)
        with suppress(FileNotFoundError):
            try:
                async with aiofiles.open(self._token_path) as file:
                    text = await file.read()
                await self.join(text)
            except LibrarianError as exc:
                self._log.error("join_token_not_used", error=exc.message)
                await self._incidents.open(
                    "join-token", str(self._token_path), exc.message, exc.hint or "`lbctl site join` a new token"
                )

    async def run_joiner(self) -> None:
        """Service: asks until admitted."""
        while True:
            await self._ask.wait(LOOK_EVERY_S)
            while self._asking is not None:
                state = await self.join_state(self._asking)
                if state.state == "joined":
                    self._log.info("joined", inviter=self._asking.inviter)
                    self._token_path.unlink(missing_ok=True)
                    await self._incidents.resolve("join-token", str(self._token_path))
                    self._asking = None
                    break
                # On the inviter's own server, being let in with our own keys is the answer; its journal follows.
                if self._asking.bus_seed is None or not self._bus.state().connected:
                    await self._ask_once(self._asking)
                await self._ask.wait(ASK_EVERY_S)

    async def _ask_once(self, token: Token) -> None:
        if token.expires < self._clock.unix_s():
            self._refused = f"the token has expired; ask {token.inviter} for a new one"
            return
        self._refused = ""
        request = JoinRequest(
            mesh=token.mesh,
            token=token.id,
            site=self._site,
            key=self._key.public,
            bus=list(self._bus.public_keys()),
        )
        message = tokens.seal(request, key=self._key, secret=token.secret)
        try:
            await self._bus.join(token.bus_url, token.bus_seed, token.inviter, message)
        except (BusUnavailable, BusUnsafe) as exc:
            self._log.debug("join_not_sent", error=exc.message)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    temporary = path.with_name(f".{path.name}.new")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def rfc3339(unix_s: int) -> str:
    """Seconds since 1970 as people read them."""
    return datetime.fromtimestamp(unix_s, UTC).isoformat().replace("+00:00", "Z")
