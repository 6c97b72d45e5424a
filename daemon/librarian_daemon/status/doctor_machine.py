"""What the doctor asks the machine: filesystems, limits, the disk's patience, an authority's certificate."""

from __future__ import annotations

import os
import resource
import tempfile
from pathlib import Path

from cryptography import x509

from librarian_daemon.ports import Clock
from librarian_protocol.api import DoctorCheck

#: Locks and mmap of SQLite are not to be relied on here; nobody tells of what another host writes here.
NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "lustre", "gpfs", "beegfs", "ceph", "fuse.sshfs", "afs"})
MOUNTS = Path("/proc/self/mountinfo")
WATCHES = Path("/proc/sys/fs/inotify/max_user_watches")
#: Connections and open files: twice what a busy site has.
FEW_FILES = 4096
FEW_WATCHES = 65536
SLOW_SYNC_S = 0.25
DAY_S = 86400
EXPIRES_SOON_DAYS = 30


def check(name: str, level: str, message: str, hint: str = "") -> DoctorCheck:
    """One line."""
    return DoctorCheck(check=name, level=level, message=message, hint=hint)


def filesystem_of(path: str, mounts: str) -> str:
    """The type of the filesystem on which a path stands, by the text of ``/proc/self/mountinfo``; "" if unknown."""
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
        return check("catalog's place", "error", f"SQLite stands on {kind}: its locks do not hold there", hint)
    return check("catalog's place", "ok", f"a local filesystem ({kind or 'of unknown type'})")


def drop_place(drop: str, store: str, mounts: str) -> DoctorCheck:
    """How a drop directory is watched, and whether what is dropped is renamed or copied."""
    name = f"drop directory {drop}"
    kind = filesystem_of(os.path.realpath(drop), mounts)
    watched = f"{kind}: looked at now and then" if kind in NETWORK else "events of the filesystem"
    try:
        same = os.stat(drop).st_dev == os.stat(store).st_dev
    except OSError as exc:
        return check(name, "error", str(exc), "make it, or mount it")
    moved = "renamed into the store" if same else "copied into the store, which is on another filesystem"
    return check(name, "ok", f"{watched}; what is dropped is {moved}")


def limits(watches: str) -> list[DoctorCheck]:
    """How many files and watches this process may have; ``watches`` is the kernel's text."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    found: list[DoctorCheck] = []
    if files != resource.RLIM_INFINITY and files < FEW_FILES:
        hint = f"LimitNOFILE={FEW_FILES * 16} in the unit, or `ulimit -n`"
        found.append(check("open files", "warning", f"{files} are allowed", hint))
    if watches.strip().isdecimal() and int(watches) < FEW_WATCHES:
        hint = "sysctl fs.inotify.max_user_watches=524288; deep drop directories are looked at now and then beyond it"
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
    """When an authority's certificate ends; our own are pinned, and good for decades."""
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
    return check(name, "ok", f"{path}: good for {days:.0f} days")
