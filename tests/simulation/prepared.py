"""A connection that executes the statements which it has seen before by the driver alone.

SQLAlchemy's own execution costs five times what SQLite needs for a statement, and a simulation executes ten thousand of
them. The text and the parameters of a statement are still SQLAlchemy's; only what it does around them is left out.
A statement that is seen for the first time, or that is made anew each time, goes the usual way.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from operator import itemgetter
from typing import Any, cast
from weakref import WeakSet

from sqlalchemy import Boolean, Connection, Executable
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql.compiler import SQLCompiler

Parameters = Mapping[str, Any]
#: What a statement was prepared for: names of its parameters, and how long those are that are lists.
Shape = tuple[str | int, ...]


class Prepared:
    """The text of a statement for parameters of one shape."""

    def __init__(self, statement: ClauseElement, connection: Connection, parameters: Parameters) -> None:
        compiled = cast(SQLCompiler, statement.compile(connection, column_keys=list(parameters)))
        values = compiled.construct_params(parameters)
        expanded = compiled._process_parameters_for_postcompile(values)  # pyright: ignore[reportPrivateUsage]
        self.sql = expanded.statement
        self._constant = {name: value for name, value in values.items() if name not in parameters}
        self._lists = {name: inner for name, inner in expanded.parameter_expansion.items() if name in parameters}
        self._constant.update(
            {key: value for key, value in expanded.additional_parameters.items() if key not in values}
        )
        self._names = expanded.positiontup or []
        self._plain: Callable[[Parameters], Any] | None = None
        if not self._constant and not self._lists and len(self._names) > 1:
            self._plain = itemgetter(*self._names)
        columns = compiled._result_columns  # pyright: ignore[reportPrivateUsage]
        names = [column.keyname for column in columns]
        self._row: Any = None
        if columns:
            self._row = partial(tuple.__new__, namedtuple("Row", names, rename=True))  # pyright: ignore
        self._booleans = [at for at, column in enumerate(columns) if isinstance(column.type, Boolean)]

    def bound(self, parameters: Parameters) -> Sequence[Any]:
        """The values in the order of the text."""
        if self._plain is not None:
            return cast(Sequence[Any], self._plain(parameters))
        values = {**self._constant, **parameters}
        for name, inner in self._lists.items():
            values.update(zip(inner, parameters[name], strict=True))
        return [values[name] for name in self._names]

    def rows(self, cursor: Any) -> list[Any]:
        """What the statement returned."""
        if self._row is None:
            return []
        if not self._booleans:
            return list(map(self._row, cursor.fetchall()))
        return [self._row(self._with_booleans(list(row))) for row in cursor.fetchall()]

    def _with_booleans(self, row: list[Any]) -> list[Any]:
        for at in self._booleans:
            row[at] = None if row[at] is None else bool(row[at])
        return row


class Rows:
    """A result: as much of SQLAlchemy's as the catalog uses."""

    def __init__(self, rows: list[Any], rowcount: int) -> None:
        self._rows = rows
        self.rowcount = rowcount

    def __iter__(self) -> Iterator[Any]:
        return iter(self._rows)

    def all(self) -> list[Any]:
        return self._rows

    def first(self) -> Any:
        return self._rows[0] if self._rows else None

    def one(self) -> Any:
        (row,) = self._rows
        return row

    def scalar_one(self) -> Any:
        (row,) = self._rows
        return row[0]


class PreparingConnection:
    """Stands in for a :class:`Connection`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._driver: Any = connection.connection.driver_connection
        self.dialect = connection.dialect

    def execute(
        self, statement: Any, parameters: Parameters | Sequence[Parameters] | None = None, **options: Any
    ) -> Any:
        shapes = None if options else _KNOWN.get(statement)
        if shapes is None:
            if not options:
                _see(statement)
            return self._connection.execute(statement, parameters, **options)
        many = isinstance(parameters, list)
        rows = cast(Sequence[Parameters], (parameters or [{}]) if many else [parameters or {}])
        prepared = shapes.prepared(statement, self._connection, rows[0])
        if len(rows) == 1:
            cursor = self._driver.execute(prepared.sql, prepared.bound(rows[0]))
        else:
            cursor = self._driver.executemany(prepared.sql, [prepared.bound(row) for row in rows])
        return Rows(prepared.rows(cursor), cursor.rowcount)

    def scalars(self, statement: Any, parameters: Parameters | None = None) -> Any:
        found = self.execute(statement, parameters)
        return Rows([row[0] for row in found], 0)

    def scalar(self, statement: Any, parameters: Parameters | None = None) -> Any:
        row = self.execute(statement, parameters).first()
        return None if row is None else row[0]

    def exec_driver_sql(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        cursor = self._driver.execute(sql, parameters)
        return Rows(cursor.fetchall(), cursor.rowcount)


class Shapes:
    """A statement, prepared for each shape of its parameters that turned up."""

    def __init__(self) -> None:
        self._lists: list[str] | None = None
        self._prepared: dict[Shape, Prepared] = {}

    def prepared(self, statement: Executable, connection: Connection, parameters: Parameters) -> Prepared:
        if self._lists is None:
            self._lists = [name for name, value in parameters.items() if isinstance(value, list)]
        shape: Shape = tuple(parameters)
        if self._lists:
            shape += tuple([len(parameters[name]) for name in self._lists])
        found = self._prepared.get(shape)
        if found is None:
            found = self._prepared[shape] = Prepared(cast(ClauseElement, statement), connection, parameters)
        return found


def _see(statement: Executable) -> None:
    """What comes a second time is prepared from then on."""
    if statement in _SEEN:
        _KNOWN[statement] = Shapes()
    _SEEN.add(statement)


#: Statements that came once; those that nobody keeps are forgotten.
_SEEN: WeakSet[Executable] = WeakSet()
_KNOWN: dict[Executable, Shapes] = {}
