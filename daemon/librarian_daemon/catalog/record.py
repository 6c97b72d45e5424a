"""Reading the record: every journal that is held here, as it stands."""

from __future__ import annotations

import msgspec
from sqlalchemy import BigInteger, Connection, func, literal, select, tuple_

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.writer import decompress


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
            tuple_(journal.first_seq, journal.position) > tuple_(*(literal(one, BigInteger) for one in after)),
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
