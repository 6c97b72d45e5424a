"""Statements over whole sets of rows: one text for both databases, and one call of the driver for all the rows.

SQLAlchemy's binding of values costs several times what a database needs for a row, and SQLite's ``executemany`` takes
and gives the interpreter's lock for each of them. So the statements that are executed for every file carry their rows
as one parameter: JSON on SQLite (``json_each``), an array for each column on PostgreSQL (``unnest``). What they return
comes from SQLite as one text, too: by rows, each would cost the lock once more (ADR 0036).

SQLite makes each row of such a set into a text and reads that again: 6 µs for eight columns, and 1 µs where each cell
is a parameter. So whole blocks of rows that are written are given to it in that way.

In a text ``{rows}`` is the set, a table with the given columns, and ``{name}`` a value of the whole statement. SQLite
begins with the left side of a CROSS JOIN: the set stands there, so that its rows are looked up in the other table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import msgspec
from sqlalchemy import Connection, Select, func, select

TEXT = "text"
INTEGER = "bigint"
REAL = "double precision"
BOOLEAN = "boolean"
#: Text that is kept as bytes.
UTF8 = "utf8"
#: So many rows of several columns are given to SQLite as parameters: two of the first are a segment. Each size is a
#: text that has to be prepared, which costs as much as JSON does; these the driver keeps, in 130 bytes a cell.
BLOCKS = (256, 64)
#: Our own text types are text.
_JSON = msgspec.json.Encoder(enc_hook=str.__str__)
_ROWS = msgspec.json.Decoder(list[tuple[Any, ...]])


class SetStatement:
    """A statement; its rows have ``columns``, and ``values`` are the same for all of them. Both say types."""

    def __init__(
        self, text: str, *, columns: Mapping[str, str], values: Mapping[str, str] | None = None, gives: int = 0
    ) -> None:
        """Makes the texts for both databases.

        ``gives``: of one that only reads, how many columns it returns; each is a text, a whole number or NULL.
        """
        values = values or {}
        self._values = tuple(values)
        self._one_column = len(columns) == 1
        # One array of values, or one array of rows, which are arrays themselves.
        taken = "value" if self._one_column else "value ->> {at}"
        cells = [(taken.format(at=at), name, kind) for at, (name, kind) in enumerate(columns.items())]
        names = ", ".join(
            f"CAST({cell} AS BLOB) AS {name}" if kind == UTF8 else f"{cell} AS {name}" for cell, name, kind in cells
        )
        self._sqlite = text.format(
            rows=f"(SELECT {names} FROM json_each(?1))",
            **{name: f"?{at}" for at, name in enumerate(values, 2)},
        )
        names = ", ".join(
            f"CAST(column{at} AS BLOB) AS {name}" if kind == UTF8 else f"column{at} AS {name}"
            for at, (name, kind) in enumerate(columns.items(), 1)
        )
        # The set stands first, so that its cells are the first parameters; numbered, they are slow to prepare.
        row = f"({', '.join('?' * len(columns))})"
        self._sqlite_blocks = {
            size: f"WITH given AS (SELECT {names} FROM (VALUES {', '.join([row] * size)})) "
            + text.format(rows="given", **{name: f"?{at}" for at, name in enumerate(values, size * len(columns) + 1)})
            for size in BLOCKS
        }
        found = ", ".join(f"c{at}" for at in range(gives))
        #: What returns all rows as one text; "" for what does not only read.
        self._sqlite_rows = (
            f"WITH found ({found}) AS ({self._sqlite}) SELECT json_group_array(json_array({found})) FROM found"
            if gives
            else ""
        )
        arrays = ", ".join(f"${at}::{TEXT if kind == UTF8 else kind}[]" for at, kind in enumerate(columns.values(), 1))
        names = ", ".join(
            f"convert_to({name}, 'UTF8') AS {name}" if kind == UTF8 else name for name, kind in columns.items()
        )
        self._postgresql = text.format(
            rows=f"(SELECT {names} FROM unnest({arrays}) AS given ({', '.join(columns)}))",
            **{name: f"${at}::{kind}" for at, (name, kind) in enumerate(values.items(), len(columns) + 1)},
        )

    def rows(self, connection: Connection, rows: Sequence[Any], **values: Any) -> Sequence[Any]:
        """What it returns, all at once; on SQLite a truth is 0 or 1."""
        found: Sequence[Any]
        if self._sqlite_rows and connection.dialect.name == "sqlite":
            found = _ROWS.decode(self._on_sqlite(connection, self._sqlite_rows, rows, values).scalar_one())
        else:
            found = self._executed(connection, rows, values).all()
        return found

    def run(self, connection: Connection, rows: Sequence[Any], **values: Any) -> int:
        """Execute it for at least one row: a tuple in the order of the columns, or the value of the only column.

        Returns how many rows it changed.
        """
        count = 0
        if len(rows) >= BLOCKS[-1] and not self._one_column and connection.dialect.name == "sqlite":
            for size, text in self._sqlite_blocks.items():
                while len(rows) >= size:
                    cells = chain.from_iterable(msgspec.to_builtins(rows[:size], enc_hook=str.__str__))
                    connection.exec_driver_sql(text, (*cells, *self._given(values)))
                    # Python's driver does not count what a text changes that begins with WITH.
                    count += connection.exec_driver_sql("SELECT changes()").scalar_one()
                    rows = rows[size:]
        if rows:
            count += self._executed(connection, rows, values).rowcount
        return count

    def _executed(self, connection: Connection, rows: Sequence[Any], values: Mapping[str, Any]) -> Any:
        if connection.dialect.name == "sqlite":
            return self._on_sqlite(connection, self._sqlite, rows, values)
        arrays = [list(rows)] if self._one_column else [list(column) for column in zip(*rows, strict=True)]
        return connection.exec_driver_sql(self._postgresql, (*arrays, *self._given(values)))

    def _on_sqlite(self, connection: Connection, text: str, rows: Sequence[Any], values: Mapping[str, Any]) -> Any:
        return connection.exec_driver_sql(text, (_JSON.encode(rows).decode(), *self._given(values)))

    def _given(self, values: Mapping[str, Any]) -> list[Any]:
        return [values[name] for name in self._values]


class OfMany:
    """A query that returns many rows, of texts, whole numbers and NULL."""

    def __init__(self, query: Select[Any]) -> None:
        """No two of its columns have one name."""
        self._query = query
        self._sqlite = select(func.json_group_array(func.json_array(*query.subquery().c)))

    def rows(self, connection: Connection, values: Mapping[str, Any]) -> Sequence[Any]:
        """As :meth:`SetStatement.rows`."""
        if connection.dialect.name == "sqlite":
            found: Sequence[Any] = _ROWS.decode(connection.execute(self._sqlite, values).scalar_one())
            return found
        return connection.execute(self._query, values).all()
