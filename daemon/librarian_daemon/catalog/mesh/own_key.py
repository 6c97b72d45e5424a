"""Rows that tell with which key this site signs: its roster, its own journal, and what the last run left."""

from __future__ import annotations

from sqlalchemy import Connection, select

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.mesh.roster import known_members
from librarian_daemon.catalog.meta import get_meta, put_meta
from librarian_daemon.catalog.payloads import decompress
from librarian_daemon.catalog.transaction import Tx
from librarian_protocol.errors import SignatureInvalid
from librarian_protocol.keys import Purpose, verify
from librarian_protocol.names import SiteName
from librarian_protocol.own_key import KeyEvidence

_META = "key"


def known_of(connection: Connection, site: SiteName, key: str) -> KeyEvidence:
    """All that the catalog knows of the site's key; ``key`` is the one in the file."""
    mine = known_members(connection).get(site)
    return KeyEvidence(
        roster=mine.key if mine else None,
        former=[key for key in mine.every_key if key != mine.key] if mine else (),
        ran_with=get_meta(connection, _META) or None,
        signed_first=_signed(connection, site, key, last=False),
        signed_last=_signed(connection, site, key, last=True),
    )


def _signed(connection: Connection, site: SiteName, key: str, *, last: bool) -> bool | None:
    """Whether the key signed the first or the last segment that this site wrote here; None: there is none."""
    journal = schema.journal.c
    row = connection.execute(
        select(journal.payload, journal.signature)
        .where(journal.site == str(site), journal.returned.is_(False))
        .order_by(journal.first_seq.desc() if last else journal.first_seq)  # as the index has it
        .limit(1)
    ).first()
    if row is None:
        return None
    try:
        verify(key, Purpose.SEGMENT, decompress(row.payload), row.signature)
    except SignatureInvalid:
        return False
    return True


def has_spoken(connection: Connection, site: SiteName) -> bool:
    """Whether this site has written anything into this catalog's journal."""
    journal = schema.journal.c
    query = select(journal.position).where(journal.site == str(site), journal.returned.is_(False)).limit(1)
    return connection.scalar(query) is not None


def note(tx: Tx, key: str) -> None:
    """The daemon runs with this key. Idempotent."""
    if get_meta(tx.connection, _META) != key:
        put_meta(tx.connection, _META, key)
