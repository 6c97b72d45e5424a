"""The bus as services see it: :class:`NatsBus` is ``ports.Bus`` on a nats-server, embedded or external."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from pathlib import Path

import structlog

from librarian_daemon.bus import addressing, jetstream, keys, server_config
from librarian_daemon.bus.connection import Connection, Session, Target, checked, open_session, shown
from librarian_daemon.bus.reading import Reader
from librarian_daemon.bus.server import EmbeddedServer, kept_port
from librarian_daemon.ports import BusState, Clock, Message, Rng, StreamPosition
from librarian_daemon.settings import BusSettings
from librarian_protocol import subjects
from librarian_protocol.errors import BusUnavailable, ConfigInvalid, NotPossible
from librarian_protocol.names import SiteName

_log = structlog.get_logger(__name__)

#: What our own configuration sets, too: where it differs between servers, reading stalls for ever.
_MAX_PAYLOAD_BYTES = 1 << 20
#: Enough to bridge the restart of an embedded server, so that its callers need not try again.
_WAIT_S = 2.0
#: Join requests that nobody took yet; a newcomer asks again.
_JOINS_LIMIT = 64
_WILDCARD_HOSTS = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class NatsBus:
    """This site's server (if it is embedded here) and its two connections.

    ``directory`` holds the embedded server's files, ``keys_directory`` the two NKEYs, made at first use. Construct it,
    call :meth:`set_roster` (and :meth:`use`, for a site that joined), then keep :meth:`run` running.

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
    ) -> None:
        self._site = site
        self._settings = settings
        self._clock = clock
        self._rng = rng
        self._keys = keys.load(keys_directory, rng)
        self._addressing: addressing.Addressing = addressing.Shared()
        self._url = ""
        self._unsafe_stream = ""
        self._left_out: list[str] = []
        self._server: EmbeddedServer | None = None
        self._directory = directory
        self._journal = Connection(clock, None)
        self._link = Connection(clock, None)
        #: One for each origin that is read: what an origin sends can break only the connection by which it comes.
        self._readers: set[Connection] = set()
        self._tasks: asyncio.TaskGroup | None = None
        self._started = asyncio.Event()
        if settings.mode == "embedded":
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._host, port = _host_port(settings.listen, "listen")
            self._port = port or kept_port(directory, self._host)
            self._server = EmbeddedServer(directory, clock)
            self._connect(f"nats://{_joined(_WILDCARD_HOSTS.get(self._host, self._host), self._port)}")
        elif settings.mode == "external":
            self._addressing = addressing.External()
            self._connect(settings.url)

    # ---- life ----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep server and connections alive until cancelled.

        Raises:
            BusUnsafe: the bus is embedded, and there is no nats-server, or only one too old.
        """
        if self._server is not None:
            await self._server.check()
        try:
            async with asyncio.TaskGroup() as tasks:
                if self._server is not None:
                    tasks.create_task(self._server.run())
                tasks.create_task(self._journal.run())
                tasks.create_task(self._link.run())
                self._tasks = tasks
                self._started.set()
        finally:
            self._started.clear()

    async def use(self, url: str, *, external: bool) -> None:
        """For mode ``join``: the bus that a token named, now or at an earlier start. ``external``: it gave no seed.

        The caller keeps both. Idempotent.

        Raises:
            ConfigInvalid: the URL is none.
        """
        self._addressing = addressing.External() if external else addressing.Shared()
        self._connect(url)

    def state(self) -> BusState:
        """How it is now."""
        journal, link = self._journal.current, self._link.current
        details = [self._server.detail if self._server else "", self._journal.detail, self._link.detail]
        return BusState(
            connected=journal is not None and link is not None,
            url=shown(self._url) if self._url else "",
            server_version=journal.version if journal else "",
            detail=next((detail for detail in details if detail), ""),
            unsafe=self._unsafe(journal),
        )

    # ---- our own stream ------------------------------------------------------------------------------

    async def ensure_stream(self) -> StreamPosition:
        """Make this site's stream if it is missing, with the settings of docs/events.md; say where it ends.

        Raises:
            BusUnavailable: the server does not answer.
            BusUnsafe: it is too old, or refuses the settings.
        """
        session = await self._journal.session(_WAIT_S)
        position, self._unsafe_stream = await jetstream.ensure_stream(session, self._site)
        return position

    async def ensure_readers(self, readers: Sequence[SiteName]) -> None:
        """Have one durable consumer on this site's stream for each reader. Idempotent.

        Raises:
            BusUnavailable: the server does not answer, or there is no stream yet.
            BusUnsafe: it is too old.
        """
        session = await self._journal.session(_WAIT_S)
        for reader in readers:
            if reader != self._site:
                await jetstream.ensure_consumer(session, self._site, reader)

    async def publish(self, subject: str, payload: bytes, headers: Mapping[str, str]) -> int:
        """Publish into this site's stream and wait for the acknowledgement; the number in the stream.

        Raises:
            BusUnavailable: no acknowledgement came. It may have been stored all the same: publish it again.
            BusUnsafe: the server is too old.
        """
        session = await self._journal.session(_WAIT_S)
        return await jetstream.publish(session, self._site, subject, payload, headers)

    # ---- others' streams -----------------------------------------------------------------------------

    async def read(self, origin: SiteName, after: int) -> AsyncGenerator[Message, None]:
        """Messages of ``origin``'s stream behind the cursor ``after``, in order, for ever.

        It survives outages by itself, beginning again behind the last message it yielded. A message is asked for
        only when those before it were taken. Where the stream turns out to end before the cursor (the origin's
        server lost it), it is read again from its start, and numbers then begin anew. Close it when done with it.
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
        )
        try:
            async with aclosing(reader.messages()) as messages:
                async for message in messages:
                    yield message
        finally:
            self._readers.discard(connection)
            running.cancel()
            await asyncio.wait({running})  # cancelled once more while it closes, it would leave the socket open

    # ---- admission -----------------------------------------------------------------------------------

    async def join(self, url: str, seed: str | None, inviter: SiteName, message: bytes) -> None:
        """Send a join request over the invited user's own connection. It says nothing of the outcome.

        Raises:
            BusUnavailable: the bus is away, or no longer knows the invitation.
            ConfigInvalid: the URL is none.
        """
        name = f"{self._site} asks to join"
        session = await open_session(Target(url=checked(url), name=name, seed=seed, password=self._password(seed)))
        try:
            await session.publish(subjects.join(inviter), message)
            await session.flush()
        finally:
            await session.close()

    async def joins(self) -> AsyncGenerator[bytes, None]:
        """Join requests addressed to this site, for ever. None come where another site hosts the bus."""
        while True:
            session = await self._link.session(None)
            if self._server is None and isinstance(self._addressing, addressing.Shared):
                await session.wait_ended()
            else:
                with suppress(BusUnavailable):
                    async with session.inbox(subjects.join(self._site), _JOINS_LIMIT) as inbox:
                        while True:
                            yield (await inbox.get(None)).data
            # It is made again meanwhile. An ended one may still be offered for a moment: never ask in a tight loop.
            await self._clock.sleep(0.1)

    async def set_roster(self, users: Mapping[SiteName, Sequence[str]], invited: Sequence[str]) -> None:
        """Whom the embedded server lets in: each site's two NKEYs, and those of open invitations.

        Regenerates the server's configuration and reloads it. Idempotent; does nothing for an external server. This
        site need not be among them; a site without two keys (it uses another bus) is passed over. One whose keys are
        none, or are in use by the host or a site earlier in ``users``, is left out, which :meth:`state` says.

        Raises:
            BusUnsafe: there is no usable nats-server.
        """
        if self._server is None:
            return
        sites = {
            site: server_config.SiteUsers(journal=both[0], link=both[1])
            for site, both in users.items()
            if len(both) == 2
        }
        journal, link = self.public_keys()
        sites[self._site] = server_config.SiteUsers(journal=journal, link=link)
        config = server_config.ServerConfig(
            host=self._site,
            listen=_joined(self._host, self._port),
            directory=str(self._directory.absolute()),
            sites=sites,
            invited=[server_config.Invited(key=key, inviter=self._site) for key in invited],
        )
        config, left_out = server_config.usable(config)
        if left_out != self._left_out:
            _log.warning("bus_users_left_out", left_out=left_out)
        self._left_out = left_out
        await self._server.configure(server_config.render(config))

    async def invite_credential(self) -> tuple[str, str | None, str | None]:
        """What a token carries of the bus: url, seed of a new invited user, and its public NKEY.

        The last two are None for an external server, whose URL carries its own credential. The new user can do
        something only once :meth:`set_roster` names it.

        Raises:
            NotPossible: another site hosts the bus, and only there users can be made.
            ConfigInvalid: invited sites could not reach the address.
        """
        if self._server is not None:
            user = keys.new_user(self._rng)
            return self._advertised(), user.seed, user.public
        if isinstance(self._addressing, addressing.External):
            return self._url, None, None
        raise NotPossible("this site does not host the bus", hint="invite at the site that does")

    def public_keys(self) -> Sequence[str]:
        """This site's two public NKEYs: journal, link."""
        return [self._keys.journal.public, self._keys.link.public]

    # ---- inside --------------------------------------------------------------------------------------

    def _connect(self, url: str) -> None:
        self._url = checked(url)
        shared = isinstance(self._addressing, addressing.Shared)
        for connections, key, role in (
            ([self._journal], self._keys.journal, "journal"),
            ([self._link, *self._readers], self._keys.link, "link"),
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

    def _advertised(self) -> str:
        if self._settings.advertise:
            host, port = _host_port(self._settings.advertise, "advertise")
            return f"nats://{_joined(host, port)}"
        if self._host in _WILDCARD_HOSTS:
            raise ConfigInvalid(
                f"bus.listen is {self._settings.listen}, by which no other site finds this one",
                hint="set bus.advertise to the HOST:PORT by which invited sites reach it",
            )
        return f"nats://{_joined(self._host, self._port)}"

    def _unsafe(self, session: Session | None) -> list[str]:
        found = [*self._left_out, *([self._unsafe_stream] if self._unsafe_stream else [])]
        if isinstance(self._addressing, addressing.External):
            found.append("external server: sync_interval cannot be verified")
            found.append("external server: sites in one account can purge one another's streams")
            if session is not None and session.max_payload != _MAX_PAYLOAD_BYTES:
                found.append(f"external server: max_payload is {session.max_payload}, not {_MAX_PAYLOAD_BYTES}")
        return found


def _host_port(text: str, key: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise ConfigInvalid(f"bus.{key} is {text!r}, not HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
