"""The doctor's checks of the machine: filesystems, limits, the disk's speed, an authority's certificate."""

from __future__ import annotations

import ipaddress
import os
import resource
import tempfile
from pathlib import Path

from cryptography import x509

from librarian_daemon.catalog.database import beside
from librarian_daemon.config.loader import SQLITE
from librarian_daemon.config.settings import IntakeSettings
from librarian_daemon.intake.directory.drop import Drop
from librarian_daemon.ports.time import Clock
from librarian_protocol.api import DoctorCheck
from librarian_protocol.errors import StoreError
from librarian_protocol.host_port import parse
from librarian_protocol.loopback import is_loopback

#: SQLite's locks and mmap are not reliable here, and writes of another host raise no events.
NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "lustre", "gpfs", "beegfs", "ceph", "fuse.sshfs", "afs"})
MOUNTS = Path("/proc/self/mountinfo")
WATCHES = Path("/proc/sys/fs/inotify/max_user_watches")
#: Connections and open files: twice the number of a busy site.
FEW_FILES = 4096
FEW_WATCHES = 65536
SLOW_SYNC_S = 0.25
DAY_S = 86400
EXPIRES_SOON_DAYS = 30


def check(name: str, level: str, message: str, hint: str = "") -> DoctorCheck:
    """One line."""
    return DoctorCheck(check=name, level=level, message=message, hint=hint)


def filesystem_of(path: str, mounts: str) -> str:
    """The type of the filesystem of a path, from the text of ``/proc/self/mountinfo``; "" if unknown."""
    best, found = "", ""
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        words = left.split()
        if len(words) < 5 or not right:
            continue
        mount = words[4].replace("\\040", " ")
        if (path == mount or path.startswith(mount.rstrip("/") + "/")) and len(mount) >= len(best):
            best, found = mount, right.split()[0]
    return found


def catalog_place(url: str, mounts: str) -> DoctorCheck | None:
    """SQLite on a network filesystem loses data, sooner or later."""
    if not url.startswith("sqlite:///"):
        return None
    kind = filesystem_of(os.path.realpath(url.removeprefix("sqlite:///")), mounts)
    if kind in NETWORK:
        hint = "move `state` to a local disk, or use PostgreSQL"
        return check("catalog's place", "error", f"SQLite is on {kind}: its locks do not work there", hint)
    return check("catalog's place", "ok", f"a local filesystem ({kind or 'of unknown type'})")


def private_files(state: Path, url: str) -> list[DoctorCheck]:
    """Whether others may write into the state directory, or open the catalog's files; a lock by them stops writing."""
    wider: list[tuple[str, int, str]] = []
    mode = state.stat().st_mode & 0o777
    if mode & 0o022:
        wider.append((str(state), mode, "go-w"))
    if url.startswith(SQLITE):
        for path in beside(url.removeprefix(SQLITE)):
            if os.path.exists(path) and (mode := os.stat(path).st_mode & 0o777) & 0o077:
                wider.append((path, mode, "0600"))
    return [
        check("private files", "error", f"others may use {path} (mode {mode:04o})", f"chmod {right} {path}")
        for path, mode, right in wider
    ] or [check("private files", "ok", "the catalog and its directory are this user's alone")]


def drop_directory(intake: IntakeSettings, store: str, mounts: str) -> DoctorCheck:
    """Whether a drop directory can be used, how it is watched, and how files get from it into the store."""
    path = intake.path
    name = f"drop directory {path}"
    if not os.path.isdir(path):
        return check(name, "error", "it does not exist", f"mkdir -p {path}")
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        return check(name, "error", "this user may not read and write it", "files are claimed by renaming them")
    try:
        why = Drop(path).why_copied(store)
    except StoreError as exc:
        return check(name, "error", exc.message, exc.hint)
    kind = filesystem_of(os.path.realpath(path), mounts)
    watched = f"{kind}: polled" if kind in NETWORK else "events of the filesystem"
    how = f"copied into the store: {why}" if why else "renamed into the store, or copied where it is another user's"
    message = f"one {intake.unit} each, complete by {intake.complete}; {watched}; what is dropped is {how}"
    return check(name, "ok", message)


def bus_listener(listen: str) -> list[DoctorCheck]:
    """Where the embedded server listens for clients, which use plain text; no warning for loopback."""
    host = parse(listen)[0]
    if is_loopback(host):
        return []
    hint = "set bus.listen to 127.0.0.1:PORT and bus.leaf_listen for other sites (TLS); or keep it in a private network"
    try:
        address = ipaddress.ip_address(host)
        is_private = address.is_private and not address.is_unspecified
    except ValueError:
        is_private = False
    level = "warning" if is_private else "error"
    return [check("bus listener", level, f"{listen}: messages between sites cross the network in plain text", hint)]


def limits(watches: str) -> list[DoctorCheck]:
    """How many files and watches this process may have; ``watches`` is the kernel's text."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    found: list[DoctorCheck] = []
    if files != resource.RLIM_INFINITY and files < FEW_FILES:
        hint = f"LimitNOFILE={FEW_FILES * 16} in the unit, or `ulimit -n`"
        found.append(check("open files", "warning", f"{files} are allowed", hint))
    if watches.strip().isdecimal() and int(watches) < FEW_WATCHES:
        hint = "sysctl fs.inotify.max_user_watches=524288; deep drop directories are polled beyond it"
        found.append(check("watched directories", "warning", f"{watches.strip()} are allowed", hint))
    return found or [check("limits", "ok", f"{files} open files")]


def sync_speed(directory: Path, clock: Clock) -> DoctorCheck:
    """Write, fsync and remove a small file: every commit waits as long."""
    name = "disk of the state directory"
    began_s = clock.boottime_s()
    try:
        with tempfile.NamedTemporaryFile(dir=directory, prefix=".doctor-") as probe:
            probe.write(b"\0" * 4096)
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as exc:
        return check(name, "error", f"a small file cannot be made durable: {exc}", "is the disk full, or read-only?")
    took_s = clock.boottime_s() - began_s
    if took_s > SLOW_SYNC_S:
        return check(name, "warning", f"fsync took {took_s:.2f} s", "every commit waits as long; use a faster disk")
    return check(name, "ok", f"fsync took {took_s * 1000:.0f} ms")


def certificate(path: str, now_s: float) -> DoctorCheck | None:
    """When an authority's certificate expires. Our own certificates are pinned and valid for decades."""
    if not path:
        return None
    name = "TLS certificate"
    try:
        found = x509.load_pem_x509_certificate(Path(path).read_bytes())
    except (OSError, ValueError) as exc:
        return check(name, "error", f"{path}: {exc}", "set tls.cert_file")
    days = (found.not_valid_after_utc.timestamp() - now_s) / DAY_S
    if days < 0:
        return check(name, "error", f"{path} expired {-days:.0f} days ago", "renew it, and restart the daemon")
    if days < EXPIRES_SOON_DAYS:
        return check(name, "warning", f"{path} expires in {days:.0f} days", "renew it, and restart the daemon")
    return check(name, "ok", f"{path}: valid for {days:.0f} days")
