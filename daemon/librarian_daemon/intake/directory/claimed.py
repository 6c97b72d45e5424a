"""A thing that was claimed: it stands in ``.claimed`` under its own path."""

from __future__ import annotations

import msgspec

from librarian_daemon.intake.directory.drop import claimed_path
from librarian_daemon.intake.directory.scanner import Kind


class Claimed(msgspec.Struct, frozen=True):
    """A candidate in ``.claimed/<batch>/<rel>``."""

    batch: bytes
    rel: bytes
    kind: Kind

    @property
    def path(self) -> bytes:
        """Its path below the drop directory."""
        return claimed_path(self.batch, self.rel)
