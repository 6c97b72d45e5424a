"""A claimed thing that was read and has a name, and the landing that it becomes."""

from __future__ import annotations

import os

import msgspec

from librarian_daemon.intake.claim import Claimed
from librarian_daemon.intake.copying import manifest_key
from librarian_daemon.intake.drop import Drop
from librarian_daemon.intake.examine import Examined
from librarian_daemon.ports import Landing, Store
from librarian_protocol.entries import FileIngested, Unit
from librarian_protocol.names import Name


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """A claimed thing that was read and has a name."""

    id: str
    claimed: Claimed
    name: Name
    found: Examined
    #: Its bytes stand in staging instead of being renamed out of ``.claimed``.
    copied: bool = False
    #: The catalog knows this very file, whatever stands in the store.
    known: bool = False


def unit_of(found: Examined) -> Unit:
    """Whether it is a file or a book."""
    return Unit.FILE if found.members is None else Unit.BOOK


def landing_of(one: Ready, store: Store, drop: Drop) -> Landing:
    """Where its bytes stand, and the journal entry that goes with their commit."""
    unit = unit_of(one.found)
    entry = FileIngested(
        name=one.name,
        digest=one.found.digest,
        size_bytes=one.found.size_bytes,
        unit=unit,
        store=store.id,
        mtime_ns=one.found.mtime_ns,
        uploader=one.found.uploader,
        members=one.found.members,
    )
    return Landing(
        id=one.id,
        store=store.id,
        # The drop directory, not .claimed: that is looked up beneath it, through no link.
        root=store.staging_root if one.copied else drop.path,
        rel=one.id if one.copied else os.fsdecode(one.claimed.path),
        name=one.name,
        digest=one.found.digest,
        size_bytes=one.found.size_bytes,
        unit=unit,
        manifest_rel=manifest_key(one.id) if unit is Unit.BOOK else "",
        entry=entry,
    )
