"""What a site needs of its machine: its lock, its key file, the heads in its stores, its control socket, addresses."""

from __future__ import annotations

import fcntl
import os
import resource
from pathlib import Path

import msgspec
from aiohttp import web

from librarian_daemon.settings import CatalogSettings, SiteSettings
from librarian_protocol.errors import AlreadyRunning, ConfigInvalid
from librarian_protocol.keys import SiteKey

_SOCKET_MODE = 0o600


def raise_descriptor_limit() -> None:
    """Take as many file descriptors as the machine allows: connections and stores share them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def lock(state: Path) -> int:
    """Hold the site's lock until the returned descriptor is closed.

    Raises:
        AlreadyRunning: another daemon holds it.
    """
    fd = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        os.close(fd)
        raise AlreadyRunning(f"another lbd runs on {state}", hint="`lbctl status` asks it") from exc
    return fd


def load_key(path: Path) -> SiteKey:
    """The site's private key.

    Raises:
        ConfigInvalid: it is missing, malformed, or others may read it.
    """
    try:
        mode, text = path.stat().st_mode, path.read_text().strip()
    except FileNotFoundError as exc:
        raise ConfigInvalid(f"there is no site key at {path}", hint="`lbctl init` makes one") from exc
    if mode & 0o077:
        raise ConfigInvalid(f"others may read the site key {path}", hint=f"chmod 600 {path}")
    try:
        return SiteKey(bytes.fromhex(text))
    except ValueError as exc:
        raise ConfigInvalid(f"the site key {path} is not 64 hex digits") from exc


def certified_hosts(settings: SiteSettings) -> list[str]:
    """The names and addresses by which others reach this site: its certificate is for these."""
    addresses = [
        settings.data.advertise or settings.data.listen,
        settings.bus.leaf_advertise or settings.bus.leaf_listen,
    ]
    return [split_address(address)[0] for address in addresses if address]


def split_address(text: str) -> tuple[str, int]:
    """``HOST:PORT``, brackets around an IPv6 host."""
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def join_address(host: str, port: int) -> str:
    """The inverse of :func:`split_address`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def listen(runner: web.AppRunner, path: Path) -> None:
    """Listen on the control socket; a path too long for a socket address is reached through its directory."""
    path.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        previous = os.umask(0o777 & ~_SOCKET_MODE)
        try:
            await web.UnixSite(runner, f"/proc/self/fd/{directory}/{path.name}").start()
        finally:
            os.umask(previous)
    finally:
        os.close(directory)


class StoreHead(msgspec.Struct, kw_only=True):
    """What ``.librarian/head`` of a store tells of the journal, so that a restored catalog finds itself out."""

    site: str
    epoch: int
    incarnation: str
    seq: int


def read_head(text: str) -> StoreHead:
    """The head that a store keeps.

    Raises:
        ConfigInvalid: it is damaged.
    """
    try:
        return msgspec.json.decode(text, type=StoreHead)
    except msgspec.MsgspecError as exc:
        raise ConfigInvalid(
            f"a store's .librarian/head is damaged: {exc}", hint="see docs/architecture.md, the journal"
        ) from exc


def catalog_url(settings: CatalogSettings) -> str:
    """The catalog's URL, with the password from its file."""
    url, password_file = settings.url, settings.password_file
    if not password_file:
        return url
    password = Path(password_file).read_text().strip()
    scheme, _, rest = url.partition("://")
    user, at, host = rest.rpartition("@")
    return f"{scheme}://{user}:{password}{at}{host}"
