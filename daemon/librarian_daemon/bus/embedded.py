"""A site's own nats-server: its configuration from the roster, its leaf links, its invitations (nats/README.md)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import structlog

from librarian_daemon.bus import keys, server_config
from librarian_daemon.bus.connection import Connection, Target
from librarian_daemon.bus.keys import BusKeys
from librarian_daemon.bus.routing import SYSTEM_INBOX
from librarian_daemon.bus.server import EmbeddedServer, kept_port
from librarian_daemon.bus.streams import STREAMS
from librarian_daemon.config.settings import BusSettings
from librarian_daemon.ports.bus import BusMember, Credential
from librarian_daemon.ports.time import Clock, Rng
from librarian_daemon.runtime import certificates
from librarian_daemon.runtime.certificates import Certificate
from librarian_protocol.errors import BusUnavailable, ConfigInvalid, NotPossible
from librarian_protocol.host_port import WILDCARDS, joined, parse
from librarian_protocol.names import SiteName

_log = structlog.get_logger(__name__)

#: If a leaf link is down for this time, although the other server can be reached, the server is restarted.
_STUCK_S = 300.0
_LOOK_EVERY_S = 30.0
_CONNECT_S = 5.0
#: With less free space the server is not restarted: the disk would be full again.
_ROOM_BYTES = 4 << 20


class _Leaf(msgspec.Struct, frozen=True):
    id: int = 0


class _Leafs(msgspec.Struct, frozen=True):
    leafs: Sequence[_Leaf] | None = None


class _Answer(msgspec.Struct, frozen=True):
    data: _Leafs = _Leafs()


class Hosting:
    """The embedded server of one site. ``directory`` holds its files.

    Raises:
        ConfigInvalid: an address is wrong.
    """

    def __init__(
        self,
        *,
        site: SiteName,
        settings: BusSettings,
        directory: Path,
        own: BusKeys,
        certificate: Certificate | None,
        clock: Clock,
        rng: Rng,
    ) -> None:
        self._site = site
        self._settings = settings
        self._directory = directory
        self._keys = own
        self._certificate = certificate
        self._clock = clock
        self._rng = rng
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._host, port = parse(settings.listen)
        self._port = port or kept_port(directory, self._host)
        self.server = EmbeddedServer(directory, clock)
        #: Where this site's own daemon connects.
        self.url = f"nats://{joined(WILDCARDS.get(self._host, self._host), self._port)}"
        self._system = Connection(
            clock,
            Target(url=self.url, name=f"{site} system", seed=own.system.seed, inbox_prefix=SYSTEM_INBOX),
        )
        self._hub: SiteName | None = None
        self._invitation: Credential | None = None
        self._members: Mapping[SiteName, BusMember] = {}
        self._invited: Sequence[str] = ()
        self._leaves: frozenset[str] = frozenset()
        self._rendering = asyncio.Lock()
        self._remote: server_config.Remote | None = None
        #: Sites that are left out, and why.
        self.left_out: list[str] = []

    async def run(self) -> None:
        """Keep the server alive, and its leaf link, until cancelled.

        Raises:
            BusUnsafe: there is no nats-server, or only one too old.
        """
        await self.server.check()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.server.run())
            group.create_task(self._system.run())
            group.create_task(self._watch_link())

    # ---- the roster ------------------------------------------------------------------------------------

    async def set_roster(self, members: Mapping[SiteName, BusMember], invited: Sequence[str]) -> None:
        """See the port.

        Raises:
            BusUnsafe: there is no usable nats-server.
        """
        self._members, self._invited = members, invited
        await self._configure()

    async def dial(self, hub: SiteName, credential: Credential | None) -> None:
        """See the port."""
        self._hub, self._invitation = hub, credential
        await self._configure()

    def config(self) -> server_config.ServerConfig:
        """The present input of the server's configuration."""
        members, me = self._members, self._site
        hosted = {
            site: server_config.SiteUsers(journal=member.keys[0], link=member.keys[1])
            for site, member in members.items()
            if len(member.keys) == 2 and site != me and not member.leaf
        }
        hosted[me] = server_config.SiteUsers(journal=self._keys.journal.public, link=self._keys.link.public)
        return server_config.ServerConfig(
            host=me,
            listen=joined(self._host, self._port),
            directory=str(self._directory.absolute()),
            sites=hosted,
            leaves={
                site: server_config.LeafUser(key=member.leaf)
                for site, member in members.items()
                if member.leaf and site != me and self._settings.leaf_listen
            },
            access={site: member.access for site, member in members.items()},
            invited=[server_config.Invited(key=key, inviter=me) for key in self._invited],
            system=self._keys.system.public,
            leaf_listen=self._leaf_listen(),
            remote=self._far(),
        )

    async def _configure(self) -> None:
        async with self._rendering:
            config, left_out = server_config.usable(self.config())
            if left_out != self.left_out:
                _log.warning("bus_users_left_out", left_out=left_out)
            self.left_out = left_out
            await self.server.configure(server_config.render(config))
            if config.remote != self._remote:
                # A reload does not apply a new address, key or certificate of a leaf link.
                self._remote = config.remote
                self.server.restart()
            leaves = frozenset(leaf.key for leaf in config.leaves.values()) | {
                invited.key for invited in config.invited
            }
            gone, self._leaves = self._leaves - leaves, leaves
            if gone:
                await self._cut_links()

    # ---- leaf links ------------------------------------------------------------------------------------

    def _leaf_listen(self) -> server_config.LeafListen | None:
        if not self._settings.leaf_listen or self._certificate is None:
            return None
        return server_config.LeafListen(
            listen=self._settings.leaf_listen,
            certificate=str(self._certificate.path),
            key=str(self._certificate.key_path),
        )

    def leaf_address(self) -> str:
        """``HOST:PORT`` by which other sites' servers dial in; "" if they cannot.

        Raises:
            ConfigInvalid: nobody could reach it.
        """
        if not self._settings.leaf_listen:
            return ""
        if self._settings.leaf_advertise:
            return self._settings.leaf_advertise
        if parse(self._settings.leaf_listen)[0] in WILDCARDS:
            raise ConfigInvalid(
                f"bus.leaf_listen is {self._settings.leaf_listen}, by which no other site can reach this one",
                hint="set bus.leaf_advertise to the HOST:PORT by which other sites' servers reach it",
            )
        return self._settings.leaf_listen

    def _far(self) -> server_config.Remote | None:
        """Whom this server dials, with which key and pin."""
        if self._hub is None:
            return None
        hub = self._members.get(self._hub)
        address = hub.leaf_address if hub and hub.leaf_address else ""
        certificate = hub.certificate if hub and hub.certificate else ""
        if self._invitation is not None:
            address, certificate = self._invitation.leaf_address, self._invitation.certificate
        if not address:
            return self._remote  # the roster has not arrived yet: go on as before
        seed = self._invitation.seed if self._invitation and self._invitation.seed else self._keys.leaf.seed
        return server_config.Remote(address=address, seed=seed, ca_file=self._pin(certificate))

    def _pin(self, certificate: str) -> str:
        """The file of the certificate that the dialled server must have."""
        path = self._directory / "hub.crt"
        text = certificates.pem_of(certificate)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
        return str(path.absolute())

    async def _links(self) -> Sequence[_Leaf]:
        """The server's leaf links, both ways.

        Raises:
            BusUnavailable: it does not say.
        """
        session = await self._system.session(_CONNECT_S)
        raw = await session.request(f"$SYS.REQ.SERVER.{session.server_id}.LEAFZ", b"{}", timeout_s=_CONNECT_S)
        try:
            return msgspec.json.decode(raw, type=_Answer).data.leafs or ()
        except msgspec.DecodeError as exc:
            raise BusUnavailable(f"the server does not report its leaf links: {exc}") from exc

    async def _cut_links(self) -> None:
        """Cut all leaf links: allowed sites reconnect within a second or two; removed sites cannot.

        A reload does not cut them, and a link itself claims its site: so no single link can be selected.
        """
        try:
            for link in await self._links():
                session = await self._system.session(_CONNECT_S)
                body = msgspec.json.encode({"cid": link.id})
                await session.request(f"$SYS.REQ.SERVER.{session.server_id}.KICK", body, timeout_s=_CONNECT_S)
                _log.info("leaf_link_cut", link=link.id)
        except BusUnavailable as exc:
            # Removed sites must not stay connected: a restarted server accepts only the allowed ones.
            _log.warning("leaf_links_not_cut", error=exc.message)
            self.server.restart()

    async def _watch_link(self) -> None:
        """Restart the server if its link stays down although the other end can be reached."""
        down_since_s: float | None = None
        while True:
            await self._clock.sleep(_LOOK_EVERY_S)
            remote = self._remote
            try:
                if remote is None or await self._links() or not await _reachable(remote.address):
                    down_since_s = None
                    continue
            except BusUnavailable:
                down_since_s = None
                continue
            now_s = self._clock.boottime_s()
            down_since_s = down_since_s if down_since_s is not None else now_s
            if now_s - down_since_s > _STUCK_S:
                _log.warning("leaf_link_stuck", address=remote.address, down_s=now_s - down_since_s)
                self.server.restart()
                down_since_s = None

    def gone(self) -> str:
        """The problem if the directory of the running server's streams was removed; "" if it exists.

        The server continues with its open files, and acknowledges messages that are lost.
        """
        streams = self._directory / STREAMS
        if self.server.pid is None or streams.is_dir():
            return ""
        return f"{streams} is gone: restart lbd, and all is published again from the journal"

    def revive(self) -> str:
        """The server answers and stores nothing: restart it once its disk has room. Returns the cause.

        After a full disk a nats-server stores nothing more, whatever space there is, until it is restarted (measured:
        2.15.1; tests/integration/faults/test_disks.py).
        """
        try:
            state = os.statvfs(self._directory)
        except OSError as exc:
            return f"{self._directory}: {exc.strerror}"
        if state.f_bavail * state.f_frsize < _ROOM_BYTES:
            return f"the disk of {self._directory} is full"
        if state.f_files and state.f_favail == 0:
            return f"the disk of {self._directory} has no inodes left"
        _log.warning("bus_server_stores_nothing", directory=str(self._directory))
        self.server.restart()
        return "its server stores nothing: it is restarted"

    # ---- invitations -----------------------------------------------------------------------------------

    def invitation(self) -> Credential:
        """The bus part of a token, with a new user.

        Raises:
            NotPossible: this site dials another's server itself: newcomers must be invited there.
            ConfigInvalid: invited sites could not reach the address.
        """
        if self._hub is not None:
            raise NotPossible(
                "this site's bus dials another site's: nobody can dial this one",
                hint=f"invite at {self._hub}, where the links of all sites meet",
            )
        user = keys.new_user(self._rng)
        leaf = self.leaf_address()
        return Credential(
            url=self._advertised(leaf),
            leaf_address=leaf,
            certificate=self._certificate.announced if leaf and self._certificate else "",
            seed=user.seed,
            public=user.public,
        )

    def _advertised(self, leaf: str) -> str:
        if self._settings.advertise:
            return f"nats://{self._settings.advertise}"
        if self._host in WILDCARDS:
            if leaf:
                return ""
            raise ConfigInvalid(
                f"bus.listen is {self._settings.listen}, by which no other site can reach this one",
                hint="set bus.advertise to the HOST:PORT by which invited sites reach it",
            )
        return f"nats://{joined(self._host, self._port)}"


async def _reachable(address: str) -> bool:
    """Whether something answers there; an address that another site announced may be invalid."""
    try:
        host, port = parse(address)
        async with asyncio.timeout(_CONNECT_S):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError, ValueError):
        return False
    writer.close()
    return True
