"""Opening a file below a root without ever following a link (I9)."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence

import msgspec

from librarian_adapters.beneath import READ_FILE, open_beneath
from librarian_protocol import wire
from librarian_protocol.errors import SourceMissing, SourceRefused, SourceUnreachable, TransferError

#: Something else stands on the way, or nothing.
_NOT_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO})
_MARKER_BYTES = 64 << 10


class _Marker(msgspec.Struct):
    """What is needed of ``.librarian/store``."""

    id: str


_MARKER = wire.decoder(_Marker)


def open_root(root: str, store: str) -> int:
    """A descriptor of the root of the store with that id; the root may be reached through links. Blocks.

    Raises:
        SourceUnreachable: it is not there, not readable, or that store is not mounted on it.
    """
    hint = "mount it, or take the store out of this site's configuration"
    try:
        descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as exc:
        raise SourceUnreachable(f"store {store}: its root does not open: {exc.strerror}", hint=hint) from exc
    # On a disk that is not mounted every file would seem to be gone, and its owner would be suspected.
    if _mounted_id(descriptor) != store:
        os.close(descriptor)
        raise SourceUnreachable(f"store {store} is not mounted at its root", hint=hint)
    return descriptor


def _mounted_id(root: int) -> str | None:
    """The store id that the marker tells; None where there is no marker that can be read."""
    try:
        marker, _ = open_source(root, [".librarian", "store"])
    except TransferError:
        return None
    try:
        return _MARKER.decode(os.read(marker, _MARKER_BYTES)).id
    except (OSError, *wire.NOT_DECODABLE):
        return None
    finally:
        os.close(marker)


def open_source(root: int, components: Sequence[str]) -> tuple[int, int]:
    """Open a regular file below ``root``: its descriptor and its size. Blocks.

    Raises:
        SourceMissing: there is no regular file, or a link stands in the way.
        SourceRefused: we may not read it.
        SourceUnreachable: the filesystem fails.
    """
    path = "/".join(components)
    try:
        found = open_beneath(root, os.fsencode(path), READ_FILE)
    except OSError as exc:
        message = f"{path!a} does not open: {exc.strerror}"
        if exc.errno in _NOT_THERE:
            raise SourceMissing(message) from exc
        if isinstance(exc, PermissionError):
            raise SourceRefused(message, hint="give the daemon the right to read the source store") from exc
        raise SourceUnreachable(message) from exc
    status = os.fstat(found)
    if not stat.S_ISREG(status.st_mode):
        os.close(found)
        raise SourceMissing(f"{path!a} is not a regular file")
    return found, status.st_size
