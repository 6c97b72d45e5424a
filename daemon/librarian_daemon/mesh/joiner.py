"""Joining: asking the inviter until it has answered (docs/adr/0008).

Requests are repeated and idempotent, so neither side needs the other to be up. The token is kept in a file until this
site is admitted, so nothing is lost when a process ends.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import aiofiles
import msgspec
import structlog

from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.journal.record import has_journal
from librarian_daemon.catalog.mesh.roster import Anchor, get_anchor, put_anchor, roster
from librarian_daemon.catalog.meta import get_meta, put_meta
from librarian_daemon.catalog.transaction import Tx
from librarian_daemon.fs import private_file
from librarian_daemon.mesh.membership import Membership
from librarian_daemon.ports.bus import Credential, JoiningBus
from librarian_daemon.ports.incidents import Incidents
from librarian_daemon.ports.time import Clock
from librarian_daemon.runtime.signals import Signal
from librarian_protocol import tokens, wire
from librarian_protocol.api import JoinState
from librarian_protocol.entries import SiteAdmitted
from librarian_protocol.errors import BusUnavailable, BusUnsafe, LibrarianError, NotPossible, TokenInvalid
from librarian_protocol.keys import SiteKey, fingerprint
from librarian_protocol.names import SiteName
from librarian_protocol.tokens import JoinRequest, Token

#: How often a newcomer asks, and how often it looks even when nothing seems to have changed.
ASK_EVERY_S = 1.0
LOOK_EVERY_S = 30.0
TOKEN_FILE = "join.token"


class BusAddress(msgspec.Struct, frozen=True, kw_only=True):
    """The bus that a token brought: kept, so that a restart finds it without the token."""

    url: str
    external: bool
    #: For a site with its own server: which site it dials, and the first address and certificate.
    hub: SiteName | None = None
    leaf_address: str = ""
    certificate: str = ""
    #: While the inviter has not admitted this site: the seed of the invited user.
    seed: str | None = None


_ADDRESS = wire.decoder(BusAddress)


class Joiner:
    """Service, and what a person asks of it."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        bus: JoiningBus,
        incidents: Incidents,
        clock: Clock,
        site: SiteName,
        key: SiteKey,
        state: Path,
        membership: Membership,
        own_server: bool,
    ) -> None:
        self._catalog = catalog
        self._bus = bus
        self._incidents = incidents
        self._clock = clock
        self._site = site
        self._key = key
        self._token_path = state / TOKEN_FILE
        self._membership = membership
        self._own_server = own_server
        self._ask = Signal()
        catalog.watch(self._ask, SiteAdmitted)
        self._asking: Token | None = None
        self._latest: Token | None = None
        self._refused = ""
        self._waiting = ""
        self._log = structlog.get_logger("joiner")

    async def join(self, text: str) -> JoinState:
        """Start to join the mesh of a token. Repeatable.

        Raises:
            TokenInvalid: malformed or expired.
            NotPossible: this site is of another mesh already, with other sites in it; or it is the inviter; or its own
                bus server has nobody to dial.
        """
        token = tokens.decode(text)
        if token.expires < self._clock.unix_s():
            raise TokenInvalid("the token has expired", hint=f"ask {token.inviter} for a new one")
        if token.inviter == self._site:
            raise NotPossible("a site cannot join by its own token")
        if self._own_server and token.bus_seed is not None and not token.leaf_address:
            raise NotPossible(
                f"{token.inviter} does not listen for leaf links, and this site has a bus server of its own",
                hint=f'set bus.leaf_listen at {token.inviter} and invite again, or [bus] mode = "join" here',
            )
        if not self._own_server and not token.bus_url:
            raise NotPossible(
                f"only bus servers can connect to {token.inviter}, and this site has none",
                hint='set [bus] mode = "embedded" here',
            )
        await asyncio.to_thread(private_file.write, self._token_path, tokens.encode(token).encode())
        await self._accept(token)
        return await self.join_state(token)

    async def _accept(self, token: Token) -> None:
        anchor = Anchor(mesh=token.mesh, site=token.inviter, key=token.key, administrator=token.administrator)
        leaf = self._own_server and bool(token.leaf_address)
        address = BusAddress(
            url=token.bus_url,
            external=token.bus_seed is None,
            hub=token.inviter if leaf else None,
            leaf_address=token.leaf_address,
            certificate=token.certificate or "",
            seed=token.bus_seed if leaf else None,
        )

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
                # Nothing signed by that key was ever read. The key may be wrong, so it is not kept.
                put_anchor(tx.connection, anchor)
            if known is None or known.mesh != token.mesh:
                put_anchor(tx.connection, anchor)
            put_meta(tx.connection, "bus", wire.encode(address).decode())

        await self._catalog.write(work)
        await self._connect(address)
        self._asking = self._latest = token
        self._refused = self._waiting = ""
        self._membership.changed.set()
        self._ask.set()

    async def _connect(self, address: BusAddress) -> None:
        if address.hub is None:
            await self._bus.use(address.url, external=address.external)
            return
        credential = Credential(
            url="", leaf_address=address.leaf_address, certificate=address.certificate, seed=address.seed
        )
        await self._bus.dial(address.hub, credential)

    async def _admitted(self) -> None:
        """The inviter admitted this site: use its own keys from now on."""
        text = await self._catalog.read(get_meta, "bus")
        if not text:
            return
        address = msgspec.structs.replace(_ADDRESS.decode(text), seed=None)

        def work(tx: Tx) -> None:
            put_meta(tx.connection, "bus", wire.encode(address).decode())

        await self._catalog.write(work)
        await self._connect(address)

    async def join_state(self, token: Token) -> JoinState:
        """The state of joining by this token."""
        mine = (await self._catalog.read(roster)).get(self._site)
        anchor = await self._catalog.read(get_anchor)
        joined = mine is not None and mine.key == self._key.public and anchor is not None and anchor.mesh == token.mesh
        bus = self._bus.state()
        waiting = "" if bus.connected else f"{bus.detail}; if this lasts, the token may be spent: ask for another"
        return JoinState(
            state="joined" if joined else "refused" if self._refused else "asking",
            inviter=token.inviter,
            fingerprint=fingerprint(anchor.key if anchor else token.key),
            own_fingerprint=fingerprint(self._key.public),
            detail=""
            if joined
            else self._refused or self._waiting or waiting or f"waiting for {token.inviter} to admit this site",
        )

    async def current_join(self) -> JoinState | None:
        """The state of the latest join since the start; None if there was none."""
        return await self.join_state(self._latest) if self._latest is not None else None

    async def resume(self) -> None:
        """At a start: the bus that was joined before, and a token that waits in the state directory."""
        text = await self._catalog.read(get_meta, "bus")
        if text:
            await self._connect(_ADDRESS.decode(text))
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

    async def run(self) -> None:
        """Ask until admitted or refused."""
        while True:
            await self._ask.wait(LOOK_EVERY_S)
            admitted = False
            while self._asking is not None:
                state = await self.join_state(self._asking)
                if state.state == "joined":
                    self._log.info("joined", inviter=self._asking.inviter)
                    self._token_path.unlink(missing_ok=True)
                    await self._incidents.resolve("join-token", str(self._token_path))
                    self._asking = None
                    break
                if not admitted:
                    admitted = await self._ask_once(self._asking)
                await self._ask.wait(ASK_EVERY_S)

    async def _ask_once(self, token: Token) -> bool:
        """Ask, and receive the answer if there is one. Returns True if this site is admitted."""
        if token.expires < self._clock.unix_s():
            self._refused = f"the token has expired; ask {token.inviter} for a new one"
            return False
        leaf = self._own_server and bool(token.leaf_address)
        request = JoinRequest(
            mesh=token.mesh,
            token=token.id,
            site=self._site,
            key=self._key.public,
            bus=[] if leaf else list(self._bus.public_keys()),
            leaf=self._bus.leaf_key() if leaf else None,
        )
        message = tokens.seal(request, key=self._key, secret=token.secret)
        credential = Credential(
            url=token.bus_url,
            leaf_address=token.leaf_address if leaf else "",
            certificate=token.certificate or "",
            seed=token.bus_seed,
        )
        try:
            raw = await self._bus.ask_to_join(credential, token.inviter, message)
            if raw is None:
                return False
            answer = tokens.read_answer(raw, token, self._key.public)
        except (BusUnavailable, BusUnsafe, TokenInvalid) as exc:
            self._log.debug("join_not_answered", error=exc.message)
            return False
        self._refused = answer.detail if answer.state == "refused" else ""
        self._waiting = answer.detail if answer.state == "waiting" else ""
        if answer.state == "admitted":
            self._log.info("join_admitted", inviter=token.inviter)
            await self._admitted()
            return True
        return False
