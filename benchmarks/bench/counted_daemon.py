"""``lbd`` that counts what it does: SQL statements, write transactions, returns to the event loop.

    python counted_daemon.py FILE … -m librarian_daemon OPTION…

Run in place of ``python -m librarian_daemon``, before whose imports it puts its counters. They stand in FILE, a
number of 64 bits for each of :data:`KINDS`, which others may read at any time. The code of the daemon is not changed.
"""

from __future__ import annotations

import asyncio
import itertools
import mmap
import sqlite3
import sqlite3.dbapi2
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: How each is counted stands in benchmarks/bench/counts.py.
KINDS = ("SQL statements", "write transactions", "returns to the loop")
_WRITES = ("INSERT", "UPDATE", "DELETE", "REPLACE")


class Counters:
    """Numbers in a file that others read."""

    def __init__(self, file: Path) -> None:
        file.write_bytes(bytes(8 * len(KINDS)))
        with file.open("r+b") as opened:
            self._numbers = memoryview(mmap.mmap(opened.fileno(), 0)).cast("q")
        self._next = [itertools.count(1) for _ in KINDS]  # next() of it is one step, whichever thread asks

    def count(self, kind: int) -> None:
        """One more."""
        self._numbers[kind] = next(self._next[kind])


class Statements:
    """Counts the statements of one connection, and its transactions that wrote."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._wrote = False

    def __call__(self, statement: str) -> None:
        """SQLite begins with a statement."""
        if statement.startswith("--"):  # within a trigger
            return
        self._counters.count(0)
        words = statement[:4096].upper().split()
        if words[0] == "COMMIT":
            if self._wrote:
                self._counters.count(1)
            self._wrote = False
        elif words[0] in _WRITES or (words[0] == "WITH" and any(word in words for word in _WRITES)):
            self._wrote = True


def count_statements(counters: Counters) -> None:
    """Have every connection of SQLite counted that is made from now on."""
    connect: Callable[..., sqlite3.Connection] = sqlite3.connect

    def counted(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **options)
        connection.set_trace_callback(Statements(counters))
        return connection

    for module in (sqlite3, sqlite3.dbapi2):
        vars(module)["connect"] = counted


def count_returns(counters: Counters) -> None:
    """Have every return to an event loop from another thread counted: by it each hop to a thread ends."""
    call = asyncio.BaseEventLoop.call_soon_threadsafe

    def counted(loop: Any, *arguments: Any, **options: Any) -> Any:
        counters.count(2)
        return call(loop, *arguments, **options)

    setattr(asyncio.BaseEventLoop, "call_soon_threadsafe", counted)  # noqa: B010 - its exact type is of no use here


def main() -> None:
    """Count, and be the daemon."""
    file, *rest = sys.argv[1:]
    counters = Counters(Path(file))
    count_statements(counters)
    count_returns(counters)
    sys.argv = ["lbd", *rest[rest.index("librarian_daemon") + 1 :]]
    from librarian_daemon.main import main as lbd  # noqa: PLC0415 - what it imports shall find the counters

    lbd()


if __name__ == "__main__":
    main()
