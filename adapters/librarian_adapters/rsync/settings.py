"""What the rsync adapter is told: by its own site's settings, and by other sites' offers, which are not trusted."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from librarian_adapters.contract import Context
from librarian_adapters.http.address import refuse
from librarian_adapters.peer_offers import place_of_store
from librarian_protocol.errors import ConfigInvalid, SourceInvalid, SourceUnreachable

#: Nothing here can be taken for an option, a remote shell's word or another address.
_HOST = r"(?P<host>[A-Za-z0-9][A-Za-z0-9.-]{0,252}|\[[0-9a-fA-F:.]{2,45}\])(?::(?P<port>[0-9]{1,5}))?"
_PATH = r"(?:/[A-Za-z0-9._+=@%-]{1,255}){1,32}/?"
_URL = re.compile(
    rf"(?:rsync://{_HOST}(?P<module>{_PATH})|ssh://(?:(?P<user>[A-Za-z_][A-Za-z0-9_.-]{{0,31}})@)?"
    rf"{_HOST.replace('host', 'ssh_host').replace('port', 'ssh_port')}(?P<path>{_PATH}))\Z"
)
SSH_PORT = 22
_PLAIN = r"^[^\s'\"\\]*$"

Seconds = Annotated[float, Meta(gt=0, le=86400)]


class SiteSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How this site is known at another one; what is empty is as for all."""

    #: Of an rsync daemon's `auth users`, with a file whose text is its password.
    user: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]*$")] = ""
    password_file: str = ""
    #: Of ssh: a private key, and the file of known hosts; no blanks or quotes in the paths.
    identity_file: Annotated[str, Meta(pattern=_PLAIN)] = ""
    known_hosts_file: Annotated[str, Meta(pattern=_PLAIN)] = ""


class RsyncSettings(SiteSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[adapters.settings.rsync]``."""

    #: What this site offers: the URL of each store, by label. Empty: nothing.
    serve: dict[str, str] = {}
    program: str = "rsync"
    ssh: Annotated[str, Meta(pattern=_PLAIN)] = "ssh"
    #: Older ones have known holes; a distribution that mended them in an older version says so here.
    least_version: Annotated[str, Meta(pattern=r"^\d+\.\d+\.\d+$")] = "3.4.3"
    #: Bytes a second for each batch; 0: as fast as it goes.
    bandwidth: Annotated[int, Meta(ge=0)] = 0
    #: Silence after which a connection is given up.
    timeout_s: Seconds = 60.0
    #: By site, where it differs.
    sites: dict[str, SiteSettings] = {}

    def at(self, site: str) -> SiteSettings:
        """How this site is known at that one."""
        own = self.sites.get(site, SiteSettings())
        return SiteSettings(
            user=own.user or self.user,
            password_file=own.password_file or self.password_file,
            identity_file=own.identity_file or self.identity_file,
            known_hosts_file=own.known_hosts_file or self.known_hosts_file,
        )


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A store's root as rsync names it: ``host::module/path`` forms are not used, URLs and ``host:path`` are."""

    ssh: bool
    host: str
    port: int
    #: Module and path, or absolute path; ends with ``/``.
    path: str
    #: For ssh; "" where the offer names none.
    user: str = ""
    #: The address that the host's name was resolved to, without brackets: what is dialled.
    address: str = ""

    def argument(self, user: str) -> str:
        """As the source's argument of rsync; ``user`` is for its daemon."""
        if self.ssh:
            return f"{self.user}@{self.host}:{self.path}" if self.user else f"{self.host}:{self.path}"
        host = f"[{self.address}]" if ":" in self.address else self.address or self.host
        return f"rsync://{f'{user}@' if user else ''}{host}:{self.port}{self.path}"

    def ssh_options(self) -> list[str]:
        """Have ssh dial the address that was looked at; the host's key is known by the host's name all the same."""
        if not self.ssh or not self.address:
            return []
        known_as = self.host if self.port == SSH_PORT else f"[{self.host.strip('[]')}]:{self.port}"
        return ["-o", f"HostName={self.address}", "-o", f"HostKeyAlias={known_as}"]


def settings_of(context: Context) -> RsyncSettings:
    """The adapter's own settings.

    Raises:
        ConfigInvalid: a key is wrong, or a store that is served is not one of this site.
    """
    try:
        settings = msgspec.convert(dict(context.settings), RsyncSettings)
    except msgspec.ValidationError as exc:
        raise ConfigInvalid(f"adapters.settings.rsync: {exc}", hint="docs/adapters/rsync.md has all keys") from exc
    for label, url in settings.serve.items():
        if label not in context.labels.values():
            raise ConfigInvalid(f"adapters.settings.rsync.serve: this site has no store {label!r}")
        if _URL.match(url) is None:
            raise ConfigInvalid(
                f"adapters.settings.rsync.serve.{label}: {url!r} is no URL that others could use",
                hint="rsync://HOST[:PORT]/MODULE or ssh://[USER@]HOST[:PORT]/ABSOLUTE/PATH",
            )
    return settings


async def dialled(place: Place, site: str, *, loopback: bool) -> Place:
    """The place with the address that its host's name leads to now.

    Resolved here, because the program would resolve it once more, and a name may lead elsewhere then.

    Raises:
        SourceUnreachable: the name leads nowhere.
        SourceInvalid: it leads to an address at which no other site can stand.
    """
    where, host = f"site {site}: rsync", place.host.strip("[]")
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, place.port, type=socket.SOCK_STREAM)
    except OSError as exc:
        raise SourceUnreachable(f"{where}: {host!a} is not resolved: {exc.strerror}") from exc
    addresses = [str(address) for *_, (address, *_rest) in found]
    for address in addresses:
        refuse(f"{where} at {host!a}", address, loopback=loopback)
    return place if addresses[0] == host else msgspec.structs.replace(place, address=addresses[0])


def place_of(params: Mapping[str, Any], store: str) -> Place:
    """Where another site's store stands, by its offer.

    Raises:
        SourceInvalid: the offer names no place for that store, or one that is no URL of rsync or ssh.
    """
    url = place_of_store(params, store)
    if url is None:
        raise SourceInvalid(f"the offer of rsync has no place for store {store}", hint="set serve there")
    match = _URL.match(url)
    if match is None or not 0 < int(match["port"] or match["ssh_port"] or 1) < 65536:
        raise SourceInvalid(f"the offer of rsync names no place that can be asked: {url[:200]!a}")
    if match["module"]:
        return Place(
            ssh=False, host=match["host"], port=int(match["port"] or 873), path=match["module"].rstrip("/") + "/"
        )
    return Place(
        ssh=True,
        host=match["ssh_host"],
        port=int(match["ssh_port"] or SSH_PORT),
        path=match["path"].rstrip("/") + "/",
        user=match["user"] or "",
    )
