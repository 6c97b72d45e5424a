"""Reading the record: every journal that is held here, as it stands."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Any, Final

import msgspec
from sqlalchemy import BigInteger, ColumnElement, Connection, Row, func, literal, select, tuple_

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.statements import chunks
from librarian_daemon.catalog.writer import decompress

_JOURNAL = schema.journal.c
#: An order in which no segment comes before its predecessor, unlike that of arrival.
_CHAINED = (_JOURNAL.epoch, _JOURNAL.first_seq, _JOURNAL.position)
#: A place in it.
Place = tuple[int, int, int]
BEGINNING: Final[Place] = (-1, -1, -1)


def page(
    connection: Connection, after: Place, upto: int, limit: int, *conditions: ColumnElement[bool]
) -> tuple[list[Row[Any]], Place | None]:
    """Rows, none before its predecessor, and where the next page begins, None at the end; it costs the same anywhere.

    Rows with a position behind ``upto`` are left out. They do not arrive in the order of pages: without that limit,
    pages read one after the other would miss some and hold their successors.
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


def in_order(connection: Connection, *conditions: ColumnElement[bool]) -> Iterator[Row[Any]]:
    """All rows that meet the conditions now, none before its predecessor; they may be changed meanwhile.

    Sorted once, and kept in memory as 8 bytes a row: only within a transaction, in which none is added.
    """
    positions = array("q", connection.scalars(select(_JOURNAL.position).where(*conditions).order_by(*_CHAINED)))
    for some in chunks(positions):
        # By position alone: with a condition more, SQLite would read all that meet it for each chunk.
        rows = connection.execute(select(schema.journal).where(_JOURNAL.position.in_(some)))
        found = {row.position: row for row in rows}
        yield from (found[position] for position in some)


def _behind(columns: tuple[Any, ...], after: tuple[int, ...]) -> ColumnElement[bool]:
    return tuple_(*columns) > tuple_(*(literal(one, BigInteger) for one in after))


def segments_after(
    connection: Connection, position: int, *, site: str | None, limit: int
) -> list[tuple[int, str, str, str, bytes]]:
    """Rows ``(position, state, hash, signature, payload)`` behind a position, in the order of arrival here."""
    journal = schema.journal.c
    query = select(journal.position, journal.state, journal.hash, journal.signature, journal.payload).where(
        journal.position > position
    )
    if site is not None:
        query = query.where(journal.site == site)
    rows = connection.execute(query.order_by(journal.position).limit(limit))
    return [(row.position, row.state, row.hash, row.signature, decompress(row.payload)) for row in rows]


class ChainRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the record, as it stands."""

    position: int
    epoch: int
    incarnation: str
    first_seq: int
    last_seq: int
    kind: str
    prev: str
    hash: str
    signature: str
    payload: bytes
    state: str


def chain(connection: Connection, site: str, after: tuple[int, int]) -> list[ChainRow]:
    """Rows of one site's journal behind ``(first_seq, position)``, in the order of the chain; one page."""
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


def has_journal(connection: Connection, site: str) -> bool:
    """Whether any segment of the site was ever taken here."""
    return (
        connection.scalar(select(schema.journal.c.position).where(schema.journal.c.site == site).limit(1)) is not None
    )


def hash_at(connection: Connection, site: str, incarnation: str, seq: int) -> str | None:
    """The hash of the segment that ends with this entry; None where none does."""
    journal = schema.journal.c
    return connection.scalar(
        select(journal.hash).where(
            journal.site == site,
            journal.incarnation == incarnation,
            journal.last_seq == seq,
            journal.state.not_in(schema.NOT_COUNTING),
        )
    )
