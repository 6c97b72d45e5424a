"""What a site uses on its machine: its lock, its key file, the heads in its stores, its control socket, addresses."""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
from aiohttp import web

from librarian_daemon.config.settings import CatalogSettings, SiteSettings
from librarian_protocol import host_port
from librarian_protocol.errors import AlreadyRunning, ConfigInvalid
from librarian_protocol.keys import SiteKey

_SOCKET_MODE = 0o600
_READERS_MODE = 0o660
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def raise_descriptor_limit() -> None:
    """Raise the limit of file descriptors as far as the machine allows: connections and stores share them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def give_back() -> None:
    """Make the allocator return unused memory. Does nothing if the C library has no such call."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def keep_private(settings: SiteSettings) -> None:
    """Make the state directory private to its user: its content decides what this site believes.

    If drop directories, stores or the readers' socket are in it, others must be able to pass through: then nobody else
    may write there.

    Raises:
        ConfigInvalid: it is missing, or belongs to another user.
    """
    state = Path(settings.state)
    others = [drop.path for drop in settings.intake] + [store.path for store in settings.store]
    others += [settings.control.read_socket] if settings.control.readers else []
    closed = 0o022 if any(Path(path).is_relative_to(state) for path in others) else 0o077
    try:
        mode = stat.S_IMODE(state.stat().st_mode)
        if mode & closed:
            state.chmod(mode & ~closed)
    except OSError as exc:
        raise ConfigInvalid(
            f"the state directory {state} cannot be made private: {exc.strerror}",
            hint=f"mkdir -p {state}; chown {os.geteuid()} {state}; chmod 0700 {state}",
        ) from exc


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
        raise ConfigInvalid(
            f"there is no site key at {path}",
            hint="put it back from a backup; without one see docs/keys.md, “A key is lost”. `lbctl init` makes a key"
            " for a new site only",
        ) from exc
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
    return [host_port.parse(address)[0] for address in addresses if address]


async def listen(runner: web.AppRunner, path: Path, *, gid: int | None = None) -> None:
    """Listen on a control socket; a path too long for a socket address is reached through its directory.

    Only the daemon's user can open it; or that group, too.

    Raises:
        ConfigInvalid: something else is there.
        OSError: the filesystem does not do it; with a group, nobody else can open what is left.
    """
    if path.exists() and not path.is_socket():
        raise ConfigInvalid(f"{path} is no socket", hint="move away what stands there, or set another path")
    path.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        previous = os.umask(0o777 & ~_SOCKET_MODE)
        try:
            await web.UnixSite(runner, f"/proc/self/fd/{directory}/{path.name}").start()
        finally:
            os.umask(previous)
        if gid is not None:  # the group first: nobody else may have it meanwhile
            os.chown(path.name, -1, gid, dir_fd=directory, follow_symlinks=False)
            os.chmod(path.name, _READERS_MODE, dir_fd=directory)
    finally:
        os.close(directory)


class StoreHead(msgspec.Struct, kw_only=True):
    """The journal head in ``.librarian/head`` of a store, which shows that a catalog was restored."""

    site: str
    epoch: int
    incarnation: str
    seq: int
    #: The public key that the site signed with then; "" if an earlier version wrote it.
    key: str = ""


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
