"""Statements over whole sets of rows: one text for both databases, and one call of the driver for all the rows.

SQLAlchemy's binding of values costs several times what a database needs for a row, and SQLite's ``executemany`` takes
and gives the interpreter's lock for each of them. So the statements that are executed for every file carry all their
rows. On PostgreSQL each column is one parameter, an array (``unnest``). On SQLite a single column is one parameter too,
JSON (``json_each``). Of several columns each cell is a parameter (``VALUES``): taking eight of them out of JSON costs
6 µs a row, and binding them 1 µs. Preparing so long a text costs as much as the JSON did, so there are few sizes of
them, which the driver keeps prepared.

What they return comes from SQLite as one text, too: by rows, each would cost the interpreter's lock once more.

In a text ``{rows}`` is the set, a table with the given columns, and ``{name}`` a value of the whole statement. SQLite
begins with the left side of a CROSS JOIN: the set stands there, so that its rows are looked up in the other table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
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
#: For how many rows a statement of SQLite with several columns has room. The least that suffices is taken; more rows
#: than the last are several statements. Two of the last are a segment. A prepared one takes 130 bytes of memory a cell.
_ROOM = (1, 4, 16, 64, 256)
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
        names = ", ".join(
            f"CAST(column{at} AS BLOB) AS {name}" if kind == UTF8 else f"column{at} AS {name}"
            for at, (name, kind) in enumerate(columns.items(), 2)
        )
        self._sqlite: dict[int, str] = {}
        if self._one_column:
            (name,) = columns
            self._sqlite[0] = text.format(rows=f"(SELECT value AS {name} FROM json_each(?1))", **_numbered(values, 2))
        else:
            for room in _ROOM:
                cells = room * len(columns)
                # The set stands first, so that its cells are the first parameters; numbered, they are slow to prepare.
                # The number of a row says whether it is given.
                row = ", ?" * len(columns)
                table = ", ".join(f"({number}{row})" for number in range(1, room + 1))
                self._sqlite[room] = (
                    f"WITH given AS (SELECT {names} FROM (VALUES {table}) WHERE column1 <= ?{cells + 1}) "
                    + text.format(rows="given", **_numbered(values, cells + 2))
                )
        found = ", ".join(f"c{at}" for at in range(gives))
        #: By room: what returns all rows as one text.
        self._sqlite_rows = {
            room: f"WITH found ({found}) AS ({text}) SELECT json_group_array(json_array({found})) FROM found"
            for room, text in self._sqlite.items()
            if gives
        }
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
        if self._sqlite_rows and connection.dialect.name == "sqlite":
            texts = self._on_sqlite(connection, self._sqlite_rows, rows, values)
            return [row for text in texts for row in _ROWS.decode(text.scalar_one())]
        return [row for done in self._executed(connection, rows, values) for row in done.all()]

    def run(self, connection: Connection, rows: Sequence[Any], **values: Any) -> int:
        """Execute it for at least one row: a tuple in the order of the columns, or the value of the only column.

        Returns how many rows it changed.
        """
        return sum(done.rowcount for done in self._executed(connection, rows, values))

    def _executed(self, connection: Connection, rows: Sequence[Any], values: Mapping[str, Any]) -> Iterator[Any]:
        if connection.dialect.name == "sqlite":
            yield from self._on_sqlite(connection, self._sqlite, rows, values)
            return
        arrays = [list(rows)] if self._one_column else [list(column) for column in zip(*rows, strict=True)]
        yield connection.exec_driver_sql(self._postgresql, (*arrays, *self._given(values)))

    def _on_sqlite(
        self, connection: Connection, texts: Mapping[int, str], rows: Sequence[Any], values: Mapping[str, Any]
    ) -> Iterator[Any]:
        given = self._given(values)
        if self._one_column:
            yield connection.exec_driver_sql(texts[0], (_JSON.encode(rows).decode(), *given))
            return
        for at in range(0, len(rows), _ROOM[-1]):
            some = msgspec.to_builtins(rows[at : at + _ROOM[-1]], enc_hook=str.__str__)
            room = next(room for room in _ROOM if room >= len(some))
            unused = (None,) * (len(some[0]) * (room - len(some)))
            cells = chain(chain.from_iterable(some), unused, (len(some),), given)
            yield connection.exec_driver_sql(texts[room], tuple(cells))

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


def _numbered(names: Iterable[str], first: int) -> dict[str, str]:
    """SQLite's parameters for these values."""
    return {name: f"?{at}" for at, name in enumerate(names, first)}
