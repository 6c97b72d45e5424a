"""Files that only the daemon's account may read."""

from __future__ import annotations

import os
from pathlib import Path


def write_aside(path: Path, content: bytes) -> Path:
    """Write a durable file beside ``path``, mode 0600, to be renamed to it. A rest of an earlier one is removed."""
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    # O_EXCL: a link that somebody put there is not followed.
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return beside


def write(path: Path, content: bytes) -> None:
    """Have ``path`` hold exactly ``content``, mode 0600, durable: whole or, after a crash, as it was before.

    Raises:
        OSError: the filesystem does not do it; what stood there stands there.
    """
    write_aside(path, content).replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
