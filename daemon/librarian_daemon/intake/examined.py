"""A claimed file or book that was read and has a name, and its landing."""

from __future__ import annotations

import os

import msgspec

from librarian_daemon.intake.directory.claimed import Claimed
from librarian_daemon.intake.directory.drop import Drop
from librarian_daemon.intake.directory.examination import Examined
from librarian_daemon.ports.staging_keys import list_key, manifest_key
from librarian_daemon.ports.store import Landing, Store
from librarian_protocol.attributes import bounded
from librarian_protocol.entries import FileIngested, Unit
from librarian_protocol.names import Name


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """A claimed file or book that was read and has a name."""

    id: str
    claimed: Claimed
    name: Name
    #: Its folded form, which is looked at several times.
    folded: str
    found: Examined
    #: Its bytes are in staging instead of being renamed out of ``.claimed``.
    copied: bool = False
    #: The catalog knows exactly this file, whether or not the store has it.
    known: bool = False


def unit_of(found: Examined) -> Unit:
    """Whether it is a file or a book."""
    return Unit.FILE if found.members is None else Unit.BOOK


def landing_of(ready: Ready, store: Store, drop: Drop) -> Landing:
    """Where its bytes are, and the journal entry of their commit."""
    unit = unit_of(ready.found)
    entry = FileIngested(
        name=ready.name,
        digest=ready.found.digest,
        size_bytes=ready.found.size_bytes,
        unit=unit,
        store=store.id,
        mtime_ns=bounded(ready.found.mtime_ns),
        uploader=ready.found.uploader,
        members=ready.found.members,
    )
    return Landing(
        id=ready.id,
        store=store.id,
        # The drop directory, not .claimed: that is looked up beneath it, through no link.
        root=store.staging_root if ready.copied else drop.path,
        rel=ready.id if ready.copied else os.fsdecode(ready.claimed.path),
        name=ready.name,
        digest=ready.found.digest,
        size_bytes=ready.found.size_bytes,
        unit=unit,
        manifest_rel=manifest_key(ready.id) if unit is Unit.BOOK else "",
        entry=entry,
        attributes=ready.found.attributes,
        list_rel=list_key(ready.id) if unit is Unit.BOOK else "",
    )
