"""Upserts in one spelling for both databases."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Table, tuple_
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import Insert as PostgresInsert
from sqlalchemy.dialects.sqlite import Insert as SqliteInsert

T = TypeVar("T")
VERSION = ("epoch", "incarnation", "seq")
#: Rows a statement carries at most: SQLite takes 32,766 parameters, asyncpg 32,767.
CHUNK = 500


def insert(connection: Connection, table: Table) -> SqliteInsert | PostgresInsert:
    """An INSERT that can say what to do on conflict."""
    return sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)


def later(table: Table, excluded: Any) -> ColumnElement[bool]:
    """The condition under which a register's new state replaces the one that is held."""
    new = tuple_(*(excluded[column] for column in VERSION))
    held = tuple_(*(table.c[column] for column in VERSION))
    return new > held


def write_registers(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Write register states; of each key the greatest version stays, whatever the order of arrival."""
    if not rows:
        return
    key = [column.name for column in table.primary_key.columns]
    statement = insert(connection, table)
    values = {name: statement.excluded[name] for name in rows[0] if name not in key}
    connection.execute(
        statement.on_conflict_do_update(index_elements=key, set_=values, where=later(table, statement.excluded)),
        list(rows),
    )


def chunks(items: Iterable[T], size: int = CHUNK) -> Iterator[list[T]]:
    """Lists of at most ``size``."""
    page: list[T] = []
    for item in items:
        page.append(item)
        if len(page) == size:
            yield page
            page = []
    if page:
        yield page
