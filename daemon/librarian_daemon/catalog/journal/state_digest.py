"""The shared tables as any site must have them: rows in one order, without row ids and local change numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from blake3 import blake3
from sqlalchemy import Connection, and_, case, exists, or_, select

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.apply import spoken_of
from librarian_protocol.journal_state import JournalState

#: Read at once.
_PAGE = 2000
_LOCAL = {"id", "change", "file_id"}


def _files() -> Any:
    """Files with an ingest or an instance; not those that were only mentioned."""
    file = schema.file
    mentioned = [
        exists().where(table.c.file_id == file.c.id) for table in (schema.doubt, schema.digest, schema.attribute)
    ]
    columns = [column for column in file.c if column.name not in _LOCAL]
    return (
        select(*columns)
        .where(or_(spoken_of(), file.c.withdrawn.is_(True), *mentioned))
        .order_by(file.c.name, file.c.digest)
    )


def _of_files(table: Any) -> Any:
    file = schema.file.c
    columns = [column for column in table.c if column.name not in _LOCAL]
    keys = [column for column in table.primary_key.columns if column.name not in _LOCAL]
    return (
        select(file.name.label("file_name"), file.digest.label("file_digest"), *columns)
        .join(schema.file, file.id == table.c.file_id)
        .order_by(file.name, file.digest, *keys)
    )


def _plain(table: Any) -> Any:
    return select(table).order_by(*table.primary_key.columns)


def _queries() -> dict[str, Any]:
    return {
        "admission": _plain(schema.admission),
        "admitted": _plain(schema.admitted),
        "rekey": _plain(schema.rekey),
        "announcement": _plain(schema.announcement),
        "file": _files(),
        "conflict": _plain(schema.conflict),
        "naming": _plain(schema.naming),
        "resolution": _plain(schema.resolution),
        "instance": _of_files(schema.instance),
        "doubt": _of_files(schema.doubt),
        "subscription": _plain(schema.subscription),
        "store": _plain(schema.store),
        "digest": _of_files(schema.digest),
        "attribute": _of_files(schema.attribute),
        "keep": _plain(schema.keep),
        "hold": _plain(schema.hold),
        "rule_withdrawal": _plain(schema.rule_withdrawal),
    }


def _record() -> Any:
    """The journals' rows: what they repeat of their segments, who signed those that count, and which do.

    Of what does not count yet it depends on the order of arrival whether it waits or is void.
    """
    row = schema.journal.c
    waits = row.state.in_([JournalState.HELD, JournalState.VOID])
    counts = and_(~waits, row.state != JournalState.ENDED, row.site.in_(select(schema.admission.c.site)))
    plain = (row.hash, row.site, row.epoch, row.incarnation, row.first_seq, row.last_seq, row.kind, row.prev)
    return select(
        *plain,
        row.signature,
        case((counts, row.key), else_="").label("key"),
        case((waits, "waits"), else_=row.state).label("state"),
    ).order_by(row.hash)


TABLES = tuple(_queries())
#: Not one of the shared tables: sites may hold what does not count.
RECORD = "journal"


def rows(connection: Connection, table: str) -> Iterator[bytes]:
    """Every row of a shared table, as JSON, in order."""
    query = _record() if table == RECORD else _queries()[table]
    result = connection.execute(query, execution_options={"yield_per": _PAGE})
    for row in result:
        yield msgspec.json.encode([_plain_value(value) for value in row])


def _plain_value(value: object) -> object:
    """SQLite has no booleans of its own."""
    return int(value) if isinstance(value, bool) else value


class Digest(msgspec.Struct, frozen=True, kw_only=True):
    """What a table holds, in one line."""

    table: str
    rows: int
    digest: str


def digests(connection: Connection, tables: Sequence[str] = TABLES) -> list[Digest]:
    """Of every shared table; equal where two catalogs hold the same journals."""
    found: list[Digest] = []
    for table in tables:
        hasher, count = blake3(), 0
        for row in rows(connection, table):
            hasher.update(row + b"\n")
            count += 1
        found.append(Digest(table=table, rows=count, digest=hasher.hexdigest()))
    return found
