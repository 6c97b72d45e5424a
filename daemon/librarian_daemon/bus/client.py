"""The bus as services see it: :class:`NatsBus` is ``ports.Bus`` on a nats-server, embedded or external."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from pathlib import Path

from librarian_adapters import tasks
from librarian_daemon.bus import jetstream, keys, routing, server_config, sync_check
from librarian_daemon.bus.connection import Connection, Session, Target, checked, open_session, shown
from librarian_daemon.bus.embedded import Hosting
from librarian_daemon.bus.rpc import Talking
from librarian_daemon.bus.stream_reader import Reader
from librarian_daemon.config.settings import BusSettings
from librarian_daemon.ports.bus import (
    Answerer,
    BusMember,
    BusState,
    Credential,
    Link,
    Message,
    Part,
    Stored,
    StreamPosition,
)
from librarian_daemon.ports.time import Clock, Rng
from librarian_daemon.runtime.certificates import Certificate
from librarian_protocol import subjects
from librarian_protocol.errors import BusUnavailable, ConfigInvalid, NotPossible
from librarian_protocol.names import SiteName

#: Our own configuration sets this too: if it differs between servers, reading stalls for ever.
_MAX_PAYLOAD_BYTES = 1 << 20
#: Long enough for the restart of an embedded server, so that callers need not try again.
_WAIT_S = 2.0
#: Join requests that wait; a newcomer asks again.
_JOINS_LIMIT = 64
_JOIN_ANSWER_S = 3.0
_DURABILITY_EVERY_S = 60.0


class NatsBus:
    """This site's server (if it has one of its own) and its connections.

    ``directory`` holds the embedded server's files, ``keys_directory`` the NKEYs, made at first use. Construct it, call
    :meth:`set_roster` (and :meth:`use` or :meth:`dial`, for a site that joined), then keep :meth:`run` running.

    Raises:
        ConfigInvalid: an address or a key file is wrong.
        OSError: a directory cannot be used.
    """

    def __init__(
        self,
        *,
        site: SiteName,
        settings: BusSettings,
        directory: Path,
        keys_directory: Path,
        clock: Clock,
        rng: Rng,
        certificate: Certificate | None = None,
    ) -> None:
        self._site = site
        self._settings = settings
        self._clock = clock
        self._rng = rng
        self._keys = keys.load(keys_directory, rng)
        self._addressing: routing.Addressing = routing.Shared()
        self._url = ""
        self._unsafe_stream = ""
        self._undurable = sync_check.UNVERIFIED
        self._journal = Connection(clock, None)
        self._link = Connection(clock, None)
        self._talk = Connection(clock, None)
        self._talking = Talking(self._talk, lambda: self._addressing, clock, rng, site)
        #: One connection for each origin that is read: an origin's messages can break only their own connection.
        self._readers: set[Connection] = set()
        self._links: dict[SiteName, Link] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._started = asyncio.Event()
        self._hosting: Hosting | None = None
        if settings.mode == "embedded":
            self._hosting = Hosting(
                site=site,
                settings=settings,
                directory=directory,
                own=self._keys,
                certificate=certificate,
                clock=clock,
                rng=rng,
            )
            self._connect(self._hosting.url)
        elif settings.mode == "external":
            self._addressing = routing.External()
            self._connect(settings.url)

    # ---- life ----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep the server and the connections alive until cancelled.

        Raises:
            BusUnsafe: the bus is embedded, and there is no nats-server, or only one too old.
        """
        if self._hosting is not None:
            await self._hosting.server.check()
        try:
            async with asyncio.TaskGroup() as group:
                if self._hosting is not None:
                    group.create_task(self._hosting.run())
                if self._settings.monitor_url and self._settings.mode != "embedded":
                    group.create_task(self._watch_durability())
                for connection in (self._journal, self._link, self._talk):
                    group.create_task(connection.run())
                self._tasks = group
                self._started.set()
        finally:
            self._started.clear()

    async def use(self, url: str, *, external: bool) -> None:
        """For mode ``join``: the bus that a token named, now or at an earlier start. ``external``: it gave no seed.

        The caller keeps both. Idempotent.

        Raises:
            ConfigInvalid: the URL is none.
        """
        self._addressing = routing.External() if external else routing.Shared()
        self._connect(url)

    async def dial(self, hub: SiteName, credential: Credential | None) -> None:
        """See the port.

        Raises:
            NotPossible: this site has no server of its own, or it is one that others dial.
            ConfigInvalid: the invitation's certificate is none.
        """
        if self._hosting is None:
            raise NotPossible("this site has no bus server of its own", hint='set [bus] mode = "embedded"')
        if self._settings.leaf_listen:
            raise NotPossible(
                "this site's bus is dialled by others, so it cannot dial another's",
                hint="links of all sites meet at one: remove bus.leaf_listen here",
            )
        await self._hosting.dial(hub, credential)

    def state(self) -> BusState:
        """The present state."""
        journal, link = self._journal.current, self._link.current
        server = self._hosting.server.detail if self._hosting else ""
        details = [server, self._journal.detail, self._link.detail]
        return BusState(
            connected=journal is not None and link is not None,
            url=shown(self._url) if self._url else "",
            server_version=journal.version if journal else "",
            detail=next((detail for detail in details if detail), ""),
            unsafe=self._unsafe(journal),
            notes=self._notes(),
        )

    # ---- our own stream ------------------------------------------------------------------------------

    async def ensure_stream(self) -> StreamPosition:
        """Make this site's stream if it is missing, with the settings of docs/events.md; returns where it ends.

        Raises:
            BusUnavailable: the server does not answer.
            BusUnsafe: it is too old, or refuses the settings.
        """
        session = await self._journal.session(_WAIT_S)
        position, self._unsafe_stream = await jetstream.ensure_stream(session, self._site)
        return position

    async def ensure_readers(self, readers: Mapping[SiteName, str]) -> None:
        """Have one durable consumer on this site's stream for each reader, by its access. Idempotent.

        Raises:
            BusUnavailable: the server does not answer, or there is no stream yet.
            BusUnsafe: it is too old.
        """
        session = await self._journal.session(_WAIT_S)
        for reader, access in readers.items():
            if reader != self._site:
                await jetstream.ensure_consumer(session, self._site, reader, access)

    async def publish(self, subject: str, payload: bytes, headers: Mapping[str, str]) -> Stored:
        """Publish into this site's stream and wait for the acknowledgement.

        Raises:
            BusUnavailable: no acknowledgement came. It may have been stored all the same: publish it again.
            BusUnsafe: the server is too old.
        """
        session = await self._journal.session(_WAIT_S)
        return await jetstream.publish(session, self._site, subject, payload, headers)

    async def revive(self) -> str:
        """See the port."""
        if self._hosting is None or not self.state().connected:
            return ""
        return self._hosting.revive()

    # ---- others' streams -----------------------------------------------------------------------------

    async def read(self, origin: SiteName, after: int) -> AsyncGenerator[Message, None]:
        """Messages of ``origin``'s stream behind the cursor ``after``, in order, for ever.

        It survives outages by itself, beginning again behind the last message it yielded. A message is asked for
        only when those before it were taken. If the stream ends before the cursor (the origin's server lost it), it is
        read again from its start, with new numbers. Close it when done with it.
        """
        await self._started.wait()
        assert self._tasks is not None
        connection = Connection(self._clock, self._link.target)
        self._readers.add(connection)
        running = self._tasks.create_task(connection.run())
        reader = Reader(
            connection,
            lambda: self._addressing,
            self._clock,
            self._rng,
            site=self._site,
            origin=origin,
            after=after,
            note=self._note_link,
        )
        try:
            async with aclosing(reader.messages()) as messages:
                async for message in messages:
                    yield message
        finally:
            self._readers.discard(connection)
            await tasks.stop(running)

    def links(self) -> Mapping[SiteName, Link]:
        """State of reading each other site."""
        return dict(self._links)

    def _note_link(self, origin: SiteName, up: bool, detail: str) -> None:
        known = self._links.get(origin)
        since = known.since if known is not None and known.up == up else self._clock.utc()
        self._links[origin] = Link(up=up, since=since, detail=detail)

    # ---- heads, questions ----------------------------------------------------------------------------

    async def announce(self, heads: bytes) -> None:
        """See the port."""
        await self._talking.announce(heads)

    def heads(self) -> AsyncGenerator[tuple[SiteName, bytes], None]:
        """See the port."""
        return self._talking.heads()

    def ask(self, peer: SiteName, what: str, body: bytes, *, silence_s: float) -> AsyncGenerator[Part, None]:
        """See the port."""
        return self._talking.ask(peer, what, body, silence_s=silence_s)

    async def answer(self, answerer: Answerer) -> None:
        """See the port."""
        await self._talking.answer(answerer)

    # ---- admission -----------------------------------------------------------------------------------

    async def ask_to_join(self, credential: Credential, inviter: SiteName, message: bytes) -> bytes | None:
        """Send a join request as the invited user. Returns the inviter's answer, unchecked; None without an answer.

        A site with a server of its own sends it over the leaf link that it dials as the invited user; else over the
        invited user's own connection.

        Raises:
            BusUnavailable: the bus is away, or does not know the invitation.
            ConfigInvalid: the URL is none.
        """
        public = keys.public_of(credential.seed) if credential.seed else self._keys.link.public
        if self._hosting is not None and credential.leaf_address:
            session = await self._talk.session(0)
            return await _ask_to_join(session, inviter, public, message)
        seed = credential.seed
        name = f"{self._site} asks to join"
        target = Target(url=checked(credential.url), name=name, seed=seed, password=self._password(seed))
        session = await open_session(target)
        try:
            return await _ask_to_join(session, inviter, public, message)
        finally:
            await session.close()

    async def joins(self) -> AsyncGenerator[bytes, None]:
        """Join requests addressed to this site, for ever. None come if another site hosts the bus."""
        while True:
            session = await self._talk.session(None)
            if self._hosting is None and isinstance(self._addressing, routing.Shared):
                await session.wait_ended()
            else:
                with suppress(BusUnavailable):
                    async with session.inbox(subjects.join(self._site), _JOINS_LIMIT) as inbox:
                        while True:
                            yield (await inbox.get(None)).data
            # It is being replaced. An ended session may still be offered for a moment: never ask in a tight loop.
            await self._clock.sleep(0.1)

    async def answer_join(self, key: str, message: bytes) -> None:
        """See the port."""
        session = await self._talk.session(0)
        await session.publish(subjects.joined(self._site, key), message)

    async def set_roster(self, members: Mapping[SiteName, BusMember], invited: Sequence[str]) -> None:
        """Who may use the bus, and whom this site listens to; ``invited`` are public NKEYs of open invitations.

        Regenerates an own server's configuration and reloads it; links of sites that are gone are cut. Idempotent. This
        site need not be among them. A site whose keys are none, or are in use by the host or a site earlier in
        ``members``, is left out, which :meth:`state` says.

        Raises:
            BusUnsafe: there is no usable nats-server.
        """
        self._talking.listen_to(list(members))
        for gone in self._links.keys() - members.keys():
            del self._links[gone]
        if self._hosting is not None:
            await self._hosting.set_roster(members, invited)

    async def invite_credential(self) -> Credential:
        """The bus part of a token, with a new invited user. Valid once :meth:`set_roster` names it.

        Raises:
            NotPossible: another site hosts the bus, and only there users can be made.
            ConfigInvalid: invited sites could not reach the address.
        """
        if self._hosting is not None:
            return self._hosting.invitation()
        if isinstance(self._addressing, routing.External):
            return Credential(url=self._url)
        raise NotPossible("this site does not host the bus", hint="invite at the site that does")

    def leaf_address(self) -> str:
        """The address at which other sites' servers dial this one's; "" if they cannot.

        Raises:
            ConfigInvalid: nobody could reach it.
        """
        return self._hosting.leaf_address() if self._hosting is not None else ""

    def leaf_key(self) -> str | None:
        """Public NKEY with which this site's own server dials out; None if it has no server."""
        return self._keys.leaf.public if self._hosting is not None else None

    def server_configuration(self) -> str:
        """The own server's present configuration without secrets; "" if this site has no server."""
        if self._hosting is None:
            return ""
        config = self._hosting.config()
        return server_config.render(server_config.without_secrets(config))

    def public_keys(self) -> Sequence[str]:
        """This site's two public NKEYs, journal and link."""
        return [self._keys.journal.public, self._keys.link.public]

    # ---- inside --------------------------------------------------------------------------------------

    def _connect(self, url: str) -> None:
        self._url = checked(url)
        shared = isinstance(self._addressing, routing.Shared)
        for connections, key, role in (
            ([self._journal], self._keys.journal, "journal"),
            ([self._link, *self._readers], self._keys.link, "link"),
            ([self._talk], self._keys.link, "talk"),
        ):
            target = Target(
                url=url,
                name=f"{self._site} {role}",
                seed=key.seed if shared else None,
                password=self._password(key.seed if shared else None),
                inbox_prefix=self._addressing.request_inbox(self._site),
            )
            for connection in connections:
                connection.use(target)

    def _password(self, seed: str | None) -> str | None:
        """The external server's; an NKEY needs none.

        Raises:
            ConfigInvalid: the file cannot be read.
        """
        if seed is not None or not self._settings.password_file:
            return None
        try:
            return Path(self._settings.password_file).read_text().strip()
        except (OSError, ValueError) as exc:
            raise ConfigInvalid(f"bus.password_file cannot be read: {exc}") from exc

    def _unsafe(self, session: Session | None) -> list[str]:
        found = [self._unsafe_stream] if self._unsafe_stream else []
        if isinstance(self._addressing, routing.External):
            found += [self._undurable] if self._undurable else []
            if session is not None and session.max_payload != _MAX_PAYLOAD_BYTES:
                found.append(f"external server: max_payload is {session.max_payload}, not {_MAX_PAYLOAD_BYTES}")
        if session is not None and self._hosting is not None and (gone := self._hosting.gone()):
            found.append(gone)
        return found

    def _notes(self) -> list[str]:
        if isinstance(self._addressing, routing.External):
            return ["external server: sites in one account can purge one another's streams"]
        return list(self._hosting.left_out) if self._hosting else []

    async def _watch_durability(self) -> None:
        """Ask the external server's monitoring at intervals: its settings can change with its restarts."""
        while True:
            session = await self._journal.session(None)
            self._undurable = await sync_check.examine(self._settings.monitor_url, session.server_id)
            await self._clock.sleep(_DURABILITY_EVERY_S)


async def _ask_to_join(session: Session, inviter: SiteName, key: str, message: bytes) -> bytes | None:
    async with session.inbox(subjects.joined(inviter, key), 1) as inbox:
        await session.publish(subjects.join(inviter), message)
        await session.flush()
        with suppress(BusUnavailable):
            return (await inbox.get(_JOIN_ANSWER_S)).data
    return None
