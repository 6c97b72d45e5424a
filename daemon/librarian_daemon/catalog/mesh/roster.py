"""The roster's rows. They are loaded whenever the roster is read, and folded by the protocol (docs/events.md)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, Select, select
from sqlalchemy.dialects import sqlite

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.meta import get_meta, put_meta
from librarian_protocol import wire
from librarian_protocol.entries import Access, AdapterOffer, Cutoff, SiteAdmitted, SiteRevoked
from librarian_protocol.journal_state import JournalState
from librarian_protocol.names import SiteName
from librarian_protocol.roster import Anchor, Announced, Member, Rekey, Said, fold
from librarian_protocol.segments import MAX_ENTRIES
from librarian_protocol.versions import Version

_OFFERS = wire.decoder(list[AdapterOffer])
_TEXTS = wire.decoder(list[str])
_CUTOFF = wire.decoder(Cutoff)
_TIPS = wire.decoder(list[Cutoff])
_ANCHOR = wire.decoder(Anchor)
_ADMITTED = wire.decoder(SiteAdmitted)

_Rows = tuple[Row[Any], ...]
#: Made once: the roster is read with every segment.
_SAID = select(schema.admission)
_JOURNAL = schema.journal.c
#: With the segment that says so, where it counts. An outer join, since SQLite begins with the left side of one: it
#: would begin with the journal.
_REKEYS = select(schema.rekey, _JOURNAL.hash, _JOURNAL.key.label("signer")).outerjoin(
    schema.journal,
    (_JOURNAL.site == schema.rekey.c.site)
    & (_JOURNAL.incarnation == schema.rekey.c.incarnation)
    & _JOURNAL.first_seq.between(schema.rekey.c.seq - MAX_ENTRIES + 1, schema.rekey.c.seq)
    & (_JOURNAL.last_seq >= schema.rekey.c.seq)
    & (_JOURNAL.kind == "site.rekeyed")
    & (_JOURNAL.state == JournalState.APPLIED),
)
_ANNOUNCED = select(schema.announcement)
#: What the registers that are revocations said before.
_BEFORE = (
    select(schema.admitted.c.admitter, schema.admitted.c.entry)
    .join(
        schema.admission,
        (schema.admission.c.admitter == schema.admitted.c.admitter)
        & (schema.admission.c.site == schema.admitted.c.site),
    )
    .where(schema.admission.c.revoked.is_(True))
)

__all__ = ["Anchor", "Member", "get_anchor", "grants_of", "known_members", "put_anchor", "roster"]


def get_anchor(connection: Connection) -> Anchor | None:
    """The anchor, or None before this site is of any mesh."""
    text = get_meta(connection, "anchor")
    return _ANCHOR.decode(text) if text else None


def put_anchor(connection: Connection, anchor: Anchor) -> None:
    """Set the anchor. Idempotent."""
    put_meta(connection, "anchor", wire.encode(anchor).decode())


def roster(connection: Connection) -> dict[SiteName, Member]:
    """All admitted sites, this one included where it is one; those that were revoked are not."""
    return {site: member for site, member in known_members(connection).items() if not member.revoked}


def grants_of(connection: Connection, site: SiteName) -> list[str] | None:
    """What a site may ingest; None while it is of no mesh, and nobody limits it."""
    member = known_members(connection).get(site)
    return None if member is None else member.grants


def known_members(connection: Connection) -> dict[SiteName, Member]:
    """All sites that are or were in the mesh. Their journals count up to where their keys end."""
    if connection.dialect.name != "sqlite":
        return dict(_read(connection))
    text = connection.exec_driver_sql(_ALL).all()[0][0]
    known = _KNOWN.get(text)
    if known is None:
        known = _read(connection)
        if len(_KNOWN) >= _CACHED:
            _KNOWN.clear()
        _KNOWN[text] = known
    return dict(known)


def _read(connection: Connection) -> dict[SiteName, Member]:
    anchor = get_meta(connection, "anchor")
    if anchor is None:
        return {}
    said, rekeys, announced, before = (tuple(connection.execute(each).all()) for each in _EACH)
    return _folded(anchor, said, tuple(row for row in rekeys if row.hash is not None), announced, before)


_EACH: tuple[Any, ...] = (_SAID, _REKEYS, _ANNOUNCED, _BEFORE)


def _as_text(statement: Select[Any]) -> str:
    """SQLite's expression for all that a statement reads, as one text."""
    columns = [f"c{at}" for at in range(len(statement.selected_columns))]
    compiled = statement.compile(dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True})
    return (
        f"(SELECT json_group_array(json_array({', '.join(columns)})) FROM"
        f" (WITH rows ({', '.join(columns)}) AS ({compiled}) SELECT * FROM rows))"
    )


#: The roster is read with every segment and several times for every file: one text of all that it is made of says that
#: it is the one that was read last, for a fraction of what its rows cost.
_ANCHORED = "(SELECT value FROM meta WHERE key = 'anchor')"
_ALL = f"SELECT json_array({', '.join([_ANCHORED, *map(_as_text, _EACH)])})"
_CACHED = 16
_KNOWN: dict[str, dict[SiteName, Member]] = {}


def get_said(connection: Connection) -> list[Said]:
    """The present state of every register of the roster, whether it counts or not."""
    return [_said(row) for row in connection.execute(_SAID).all()]


@lru_cache(_CACHED)
def _folded(anchor: str, said: _Rows, rekeys: _Rows, announced: _Rows, before: _Rows) -> dict[SiteName, Member]:
    """The roster that the rows give. It is cached, since it is read with every segment and changes about once a
    year.
    """
    return fold(
        _ANCHOR.decode(anchor),
        [_said(row) for row in said],
        [
            Rekey(
                site=SiteName(row.site),
                version=Version(row.epoch, row.incarnation, row.seq),
                key=row.key,
                hash=row.hash,
                signer=row.signer,
                tips=_TIPS.decode(row.tips),
            )
            for row in rekeys
        ],
        {
            SiteName(row.site): Announced(
                software=row.software,
                offers=_OFFERS.decode(row.adapters),
                certificate=row.certificate,
                leaf_address=row.leaf_address,
            )
            for row in announced
        },
        [Said(SiteName(row.admitter), _ADMITTED.decode(row.entry)) for row in before],
    )


def _said(row: Row[Any]) -> Said:
    cutoff = _CUTOFF.decode(row.cutoff) if row.cutoff else None
    tips = None if row.tips is None else _TIPS.decode(row.tips)
    entry: SiteAdmitted | SiteRevoked
    if row.revoked:
        entry = SiteRevoked(
            site=SiteName(row.site),
            key=row.key,
            former=_TEXTS.decode(row.former),
            domain=row.domain,
            grants=_TEXTS.decode(row.grants),
            reason=row.reason,
            cutoff=cutoff,
            tips=msgspec.UNSET if tips is None else tips,
            statement=row.statement,
            administrator=row.administrator,
        )
    else:
        entry = SiteAdmitted(
            site=SiteName(row.site),
            key=row.key,
            access=Access(row.access),
            domain=row.domain,
            grants=_TEXTS.decode(row.grants),
            bus=_TEXTS.decode(row.bus),
            leaf=row.leaf,
            may_admit=row.may_admit,
            cutoff=cutoff,
            tips=tips,
            former=_TEXTS.decode(row.former),
            statement=row.statement,
            administrator=row.administrator,
        )
    return Said(SiteName(row.admitter), entry)
