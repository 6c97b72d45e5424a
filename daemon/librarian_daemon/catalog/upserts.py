"""Upserts with one syntax for both databases, and statements that are built once.

Building a statement costs SQLAlchemy as much as executing it. So statements that are executed for every file or segment
are built once, with parameters, at the module's top level.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from sqlalchemy import BindParameter, ColumnElement, Connection, Table, bindparam, tuple_
from sqlalchemy.dialects import sqlite

if TYPE_CHECKING:
    from sqlalchemy.dialects.postgresql import Insert as PostgresInsert

T = TypeVar("T")
VERSION = ("epoch", "incarnation", "seq")
#: Rows a statement carries at most: a whole segment. SQLite takes 32,766 parameters, asyncpg 32,767.
CHUNK = 512


Insert: TypeAlias = "sqlite.Insert | PostgresInsert"


def upsert(connection: Connection, table: Table) -> Insert:
    """An INSERT that can say what to do on conflict."""
    return _insert(connection.dialect.name, table)


def _insert(dialect: str, table: Table) -> Insert:
    if dialect == "sqlite":
        return sqlite.insert(table)
    # Only where it is used: it is a tenth of what the start of a daemon imports.
    from sqlalchemy.dialects import postgresql  # noqa: PLC0415

    return postgresql.insert(table)


def inserting(table: Table, complete: Callable[[Any], Insert]) -> Callable[[Connection], Insert]:
    """An INSERT into the table, completed once for each kind of database that turns up."""

    @cache
    def made(dialect: str) -> Insert:
        return complete(_insert(dialect, table))

    return lambda connection: made(connection.dialect.name)


def replacing(table: Table, *key: str) -> Callable[[Connection], Insert]:
    """An INSERT of whole rows, each in place of the one that has its key."""
    others = [column.name for column in table.columns if column.name not in key]
    return inserting(
        table,
        lambda insert: insert.on_conflict_do_update(
            index_elements=list(key), set_={name: insert.excluded[name] for name in others}
        ),
    )


def expanding(name: str) -> BindParameter[Any]:
    """A parameter for the values of an IN, by its name."""
    return bindparam(name, expanding=True)


def later(table: Table, excluded: Any) -> ColumnElement[bool]:
    """The condition under which a register's new state replaces the one that is held."""
    new = tuple_(*(excluded[column] for column in VERSION))
    held = tuple_(*(table.c[column] for column in VERSION))
    return new > held


def write_registers(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Write register states; of each key the greatest version stays, whatever the order of arrival."""
    if not rows:
        return
    connection.execute(_registers(connection.dialect.name, table, tuple(rows[0])), list(rows))


@cache
def _registers(dialect: str, table: Table, columns: tuple[str, ...]) -> Insert:
    key = [column.name for column in table.primary_key.columns]
    statement: Any = _insert(dialect, table)
    values = {name: statement.excluded[name] for name in columns if name not in key}
    made: Insert = statement.on_conflict_do_update(
        index_elements=key, set_=values, where=later(table, statement.excluded)
    )
    return made


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
