"""Reads the record: every journal that is held here."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import BigInteger, ColumnElement, Connection, Row, bindparam, func, literal, select, tuple_

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.payloads import decompress
from librarian_daemon.catalog.upserts import chunks
from librarian_protocol import segments
from librarian_protocol.entries import FileIngested
from librarian_protocol.journal_state import NOT_COUNTING, JournalState
from librarian_protocol.segments import MAX_ENTRIES

_JOURNAL = schema.journal.c
#: An order in which no segment comes before its predecessor. The order of arrival is not one.
_CHAINED = (_JOURNAL.epoch, _JOURNAL.first_seq, _JOURNAL.position)
#: A place in it.
Place = tuple[int, int, int]
BEGINNING: Final[Place] = (-1, -1, -1)


def page(
    connection: Connection, after: Place, upto: int, limit: int, *conditions: ColumnElement[bool]
) -> tuple[list[Row[Any]], Place | None]:
    """A page of rows, none before its predecessor, and where the next page begins; None at the end. Each page costs the
    same.

    Rows with a position after ``upto`` are left out. Rows do not arrive in the order of pages: without that limit,
    pages read one after the other could miss a row and have its successors.
    """
    query = (
        select(schema.journal)
        .where(_behind(_CHAINED, after), _JOURNAL.position <= upto, *conditions)
        .order_by(*_CHAINED)
        .limit(limit)
    )
    rows = list(connection.execute(query))
    last = rows[-1] if len(rows) == limit else None
    return rows, None if last is None else (last.epoch, last.first_seq, last.position)


def in_order(
    connection: Connection,
    *conditions: ColumnElement[bool],
    columns: Sequence[ColumnElement[Any]] = tuple(_JOURNAL),
    backwards: bool = False,
) -> Iterator[Row[Any]]:
    """All rows that meet the conditions now, none before its predecessor (``backwards``: none after it).

    They may be changed meanwhile. Sorted once, and kept in memory as 8 bytes a row: only within a transaction, in which
    none is added.
    """
    positions = array("q", connection.scalars(select(_JOURNAL.position).where(*conditions).order_by(*_CHAINED)))
    if backwards:
        positions.reverse()
    for some in chunks(positions):
        # By position alone: with a condition more, SQLite would read all that meet it for each chunk.
        rows = connection.execute(select(*columns).where(_JOURNAL.position.in_(some)))
        found = {row.position: row for row in rows}
        yield from (found[position] for position in some)


def _behind(columns: tuple[Any, ...], after: tuple[int, ...]) -> ColumnElement[bool]:
    return tuple_(*columns) > tuple_(*(literal(value, BigInteger) for value in after))


def segments_after(
    connection: Connection, position: int, *, site: str | None, limit: int
) -> list[tuple[int, str, str, str, bytes]]:
    """Rows ``(position, state, hash, signature, payload)`` after a position, in the order of arrival here."""
    given = {"after": position, "limit": limit}
    if site is None:
        rows = connection.execute(_AFTER, given)
    else:
        rows = connection.execute(_AFTER_OF_SITE, {**given, "origin": site})
    return [(row.position, row.state, row.hash, row.signature, decompress(row.payload)) for row in rows]


#: Made once: followers of events read with every commit.
_AFTER = (
    select(_JOURNAL.position, _JOURNAL.state, _JOURNAL.hash, _JOURNAL.signature, _JOURNAL.payload)
    .where(_JOURNAL.position > bindparam("after"))
    .order_by(_JOURNAL.position)
    .limit(bindparam("limit"))
)
_AFTER_OF_SITE = _AFTER.where(_JOURNAL.site == bindparam("origin"))


class ChainRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the record."""

    position: int
    epoch: int
    incarnation: str
    first_seq: int
    last_seq: int
    kind: str
    prev: str
    hash: str
    signature: str
    key: str
    payload: bytes
    state: str


def counts(state: str) -> bool:
    """Whether a segment in that state counts for anything."""
    return state not in NOT_COUNTING


def chain(connection: Connection, site: str, after: tuple[int, int]) -> list[ChainRow]:
    """A page of one site's journal after ``(first_seq, position)``, in the order of the chain."""
    journal = schema.journal.c
    rows = connection.execute(
        select(schema.journal)
        .where(
            journal.site == site,
            _behind((journal.first_seq, journal.position), after),
        )
        .order_by(journal.first_seq, journal.position)
        .limit(200)
    )
    return [ChainRow(**{field: getattr(row, field) for field in ChainRow.__struct_fields__}) for row in rows]


def last_position(connection: Connection) -> int:
    """The newest row of the record; 0 where it is empty."""
    return connection.scalar(select(func.coalesce(func.max(schema.journal.c.position), 0))) or 0


def origins(connection: Connection) -> list[str]:
    """Sites of which any segment is held here."""
    journal = schema.journal.c
    found: list[str] = []
    while True:
        # From one to the next by the index: there are a hundred sites, and maybe a million rows of each.
        following = connection.scalar(select(func.min(journal.site)).where(journal.site > (found[-1] if found else "")))
        if following is None:
            return found
        found.append(following)


def has_journal(connection: Connection, site: str) -> bool:
    """Whether any segment of the site was ever stored here."""
    return (
        connection.scalar(select(schema.journal.c.position).where(schema.journal.c.site == site).limit(1)) is not None
    )


def announced_members(connection: Connection, file_id: int) -> int | None:
    """How many members the site that ingested a book said it has; None for a single file, or where nobody said."""
    file, journal = schema.file.c, schema.journal.c
    row = connection.execute(
        select(journal.payload, file.origin_seq)
        .join(schema.file, (file.origin_site == journal.site) & (file.origin_incarnation == journal.incarnation))
        .where(
            file.id == file_id,
            journal.first_seq.between(file.origin_seq - MAX_ENTRIES + 1, file.origin_seq),
            journal.last_seq >= file.origin_seq,
            journal.state == JournalState.APPLIED,
        )
    ).first()
    if row is None:
        return None
    entries = segments.entries_of(segments.decode(decompress(row.payload))) or ()
    found = next((entry for entry in entries if isinstance(entry, FileIngested) and entry.seq == row.origin_seq), None)
    return found.members if found else None


def hashes_at(connection: Connection, site: str, incarnation: str, seq: int) -> list[str]:
    """The hashes of held segments that end with this entry, whether they count or not. There are two after an
    equivocation.
    """
    journal = schema.journal.c
    return list(
        connection.scalars(
            select(journal.hash).where(
                journal.site == site, journal.incarnation == incarnation, journal.last_seq == seq
            )
        )
    )
