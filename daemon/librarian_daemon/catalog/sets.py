"""Statements over whole sets of rows: one text for both databases, and one call of the driver for all the rows.

SQLAlchemy's binding of values costs several times what a database needs for a row, and SQLite's ``executemany`` takes
and gives the interpreter's lock for each of them. So the statements that are executed for every file carry all their
rows. On PostgreSQL each column is one parameter, an array (``unnest``). On SQLite a single column is one parameter too,
JSON (``json_each``). Of several columns each cell is a parameter (``VALUES``): taking eight of them out of JSON costs
6 µs a row, and binding them 1 µs. Preparing so long a text costs as much as the JSON did, so there are few sizes of
them, which the driver keeps prepared.

In a text ``{rows}`` is the set, a table with the given columns, and ``{name}`` a value of the whole statement. SQLite
begins with the left side of a CROSS JOIN: the set stands there, so that its rows are looked up in the other table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import msgspec
from sqlalchemy import Connection

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


class SetStatement:
    """A statement; its rows have ``columns``, and ``values`` are the same for all of them. Both say types."""

    def __init__(self, text: str, *, columns: Mapping[str, str], values: Mapping[str, str] | None = None) -> None:
        """Makes the texts for both databases."""
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
        arrays = ", ".join(f"${at}::{TEXT if kind == UTF8 else kind}[]" for at, kind in enumerate(columns.values(), 1))
        names = ", ".join(
            f"convert_to({name}, 'UTF8') AS {name}" if kind == UTF8 else name for name, kind in columns.items()
        )
        self._postgresql = text.format(
            rows=f"(SELECT {names} FROM unnest({arrays}) AS given ({', '.join(columns)}))",
            **{name: f"${at}::{kind}" for at, (name, kind) in enumerate(values.items(), len(columns) + 1)},
        )

    def rows(self, connection: Connection, rows: Sequence[Any], **values: Any) -> Sequence[Any]:
        """What it returns, all at once: by one, each row would cost a call of the driver."""
        return [row for done in self._executed(connection, rows, values) for row in done.all()]

    def run(self, connection: Connection, rows: Sequence[Any], **values: Any) -> None:
        """Execute it for at least one row: a tuple in the order of the columns, or the value of the only column."""
        for _ in self._executed(connection, rows, values):
            pass

    def _executed(self, connection: Connection, rows: Sequence[Any], values: Mapping[str, Any]) -> Iterator[Any]:
        given = [values[name] for name in self._values]
        if connection.dialect.name != "sqlite":
            arrays = [list(rows)] if self._one_column else [list(column) for column in zip(*rows, strict=True)]
            yield connection.exec_driver_sql(self._postgresql, (*arrays, *given))
        elif self._one_column:
            yield connection.exec_driver_sql(self._sqlite[0], (_JSON.encode(rows).decode(), *given))
        else:
            for at in range(0, len(rows), _ROOM[-1]):
                some = msgspec.to_builtins(rows[at : at + _ROOM[-1]], enc_hook=str.__str__)
                room = next(room for room in _ROOM if room >= len(some))
                unused = (None,) * (len(some[0]) * (room - len(some)))
                cells = chain(chain.from_iterable(some), unused, (len(some),), given)
                yield connection.exec_driver_sql(self._sqlite[room], tuple(cells))


def _numbered(names: Iterable[str], first: int) -> dict[str, str]:
    """SQLite's parameters for these values."""
    return {name: f"?{at}" for at, name in enumerate(names, first)}
