"""One catalog, two databases: SQLite in dedicated threads, PostgreSQL over asyncpg (``postgresql.py``).

Every operation is one synchronous function on a SQLAlchemy ``Connection``. SQLite runs it in its one writing thread
(or the reading one), PostgreSQL by ``AsyncConnection.run_sync``. No other module depends on which of the two it is.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import structlog
from sqlalchemy import Connection, create_engine, event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from librarian_adapters.threads import outcome
from librarian_daemon.fs.beneath import filesystem_type
from librarian_protocol.errors import CatalogFault

#: Mode of the catalog's files.
PRIVATE = 0o600
#: Pages in the WAL (64 MB) from which on a commit writes them into the database, and waits for it. SQLite's own 1,000
#: are less than two commits of 500 files with random names write.
WAL_PAGES = 16_000
#: When nothing was written for so long (s), and so many rows before that, they are written into the database beside
#: the work: the next burst finds an empty WAL.
QUIET_S = 1.0
QUIET_ROWS = 1_000
#: Kibibytes of pages that the writing and the reading connection keep (docs/performance.md).
CACHE_KIB = 16_384
P = ParamSpec("P")
T = TypeVar("T")
#: JSON in the texts of catalog/sets.py: ``->>``.
_SQLITE = (3, 38, 0)
#: statfs(2) magic numbers of filesystems on which SQLite's locks and shared memory cannot be trusted.
_NETWORK_FILESYSTEMS = {0x6969: "NFS", 0xFF534D42: "CIFS", 0xFE534D42: "SMB2", 0x0BD00BD0: "Lustre"}


class Database(Protocol):
    """Runs functions in transactions. Errors of the database become :class:`CatalogFault`."""

    async def write(self, work: Callable[[Connection], T]) -> T:
        """One durable transaction; rolled back if ``work`` raises."""
        ...

    async def read(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """One consistent view, no writing."""
        ...

    async def close(self) -> None:
        """Idempotent."""
        ...


def fault(exc: SQLAlchemyError | sqlite3.Error) -> CatalogFault:
    """What the catalog's users are told of an error of the database."""
    cause = exc.orig if isinstance(exc, DBAPIError) and exc.orig is not None else exc
    return CatalogFault(
        f"the catalog did not do the operation: {cause}",
        hint="see `lbctl doctor`; is the disk full, or the database server down?",
    )


class SqliteDatabase:
    """WAL and ``synchronous=FULL``: NORMAL loses committed rows on a power cut, as was measured."""

    def __init__(self, path: str) -> None:
        """Open or create the file.

        Raises:
            CatalogFault: it stands on a network filesystem, or cannot be opened, or SQLite is too old.
        """
        if sqlite3.sqlite_version_info < _SQLITE:
            raise CatalogFault(
                f"SQLite {sqlite3.sqlite_version} is too old: {'.'.join(map(str, _SQLITE))} is needed",
                hint="use a Python that was built with a newer one, or PostgreSQL: catalog.url = 'postgresql://…'",
            )
        self._refuse_network(path)
        _keep_private(path)
        self._engine = create_engine(
            f"sqlite:///{path}",
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",
            connect_args={"check_same_thread": False, "cached_statements": 256, "timeout": 60},
        )
        event.listen(self._engine, "connect", _sqlite_pragmas)
        # One thread each, for the life of the catalog: a connection is never used by two threads at once.
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="catalog-write")
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="catalog-read")
        try:
            self._write_connection = self._engine.connect()
            self._read_connection = self._engine.connect()
            self._read_connection.exec_driver_sql("PRAGMA query_only=ON")
        except SQLAlchemyError as exc:
            raise fault(exc) from exc
        #: Rows written since the catalog was opened, and how many of them when it was last quiet.
        self._rows = 0
        self._rows_when_quiet = 0
        self._quiet: asyncio.TimerHandle | None = None
        self._log = structlog.get_logger("catalog")

    @staticmethod
    def _refuse_network(path: str) -> None:
        directory = os.path.dirname(path) or "."
        kind = _NETWORK_FILESYSTEMS.get(filesystem_type(directory) or 0)
        if kind:
            raise CatalogFault(
                f"the catalog {path} would stand on {kind}, where SQLite can lose or damage it",
                hint="put `state` on a local disk, or use PostgreSQL: catalog.url = 'postgresql://…'",
            )

    async def write(self, work: Callable[[Connection], T]) -> T:
        """See :class:`Database`."""

        def call() -> T:
            result = self._transaction(self._write_connection, "BEGIN IMMEDIATE", work)
            driver: Any = self._write_connection.connection.driver_connection
            self._rows = driver.total_changes
            return result

        self._disturb()
        try:
            return await _in_thread(self._writer, call)
        finally:
            self._disturb()
            if self._rows - self._rows_when_quiet >= QUIET_ROWS:
                self._quiet = asyncio.get_running_loop().call_later(QUIET_S, self._checkpoint_beside)

    def _disturb(self) -> None:
        if self._quiet is not None:
            self._quiet.cancel()
            self._quiet = None

    def _checkpoint_beside(self) -> None:
        """In the reading thread: it does not keep a commit waiting."""
        self._rows_when_quiet = self._rows
        if not self._read_connection.closed:
            self._reader.submit(self._checkpoint)

    def _checkpoint(self) -> None:
        try:
            self._read_connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except SQLAlchemyError as exc:
            # Nothing is lost: the pages stay in the WAL. A commit that fails likewise says so itself.
            self._log.warning("checkpoint_failed", error=str(exc))

    async def read(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """See :class:`Database`."""

        def call(connection: Connection) -> T:
            return work(connection, *args, **kwargs)

        return await _in_thread(self._reader, self._transaction, self._read_connection, "BEGIN", call)

    @staticmethod
    def _transaction(connection: Connection, begin: str, work: Callable[[Connection], T]) -> T:
        # Begin and end by the driver itself: by SQLAlchemy they cost as much as a small read.
        driver: Any = connection.connection.driver_connection
        try:
            driver.execute(begin)
            try:
                result = work(connection)
                driver.execute("COMMIT")
            except BaseException:
                if driver.in_transaction:
                    driver.execute("ROLLBACK")
                raise
        except (SQLAlchemyError, sqlite3.Error) as exc:
            raise fault(exc) from exc
        return result

    async def close(self) -> None:
        """See :class:`Database`."""
        self._disturb()
        for thread, connection in (
            (self._reader, self._read_connection),
            (self._writer, self._write_connection),
        ):
            if not connection.closed:
                await _in_thread(thread, connection.close)
            thread.shutdown()


def beside(path: str) -> list[str]:
    """The files of a catalog on SQLite, whether they exist or not: it may be read, and held up, by each of them."""
    return [path, f"{path}-wal", f"{path}-shm"]


def _keep_private(path: str) -> None:
    """Only its own user may open the catalog: anyone who can open its -shm for reading can hold a lock that stops all
    writes.

    SQLite gives the files that it makes beside the catalog the same mode. Wider modes of earlier versions are
    corrected.

    Raises:
        CatalogFault: it belongs to another user, or cannot be made.
    """
    try:
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE))
        for file in beside(path):
            with suppress(FileNotFoundError):
                # It is not opened here: closing it would drop the locks that SQLite holds in this process.
                if os.stat(file).st_mode & 0o077:
                    os.chmod(file, PRIVATE)
    except OSError as exc:
        raise CatalogFault(
            f"the catalog {path} cannot be made readable by this user alone: {exc.strerror}",
            hint=f"chown {os.geteuid()} {path}*; chmod 0600 {path}*",
        ) from exc


async def _in_thread(thread: ThreadPoolExecutor, work: Callable[..., T], *args: Any) -> T:
    """Run in the thread. A cancelled caller still waits for it: the transaction will end, one way or the other."""
    return await outcome(asyncio.get_running_loop().run_in_executor(thread, lambda: work(*args)))


def _sqlite_pragmas(connection: Any, _record: object) -> None:
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        f"cache_size=-{CACHE_KIB}",
        f"wal_autocheckpoint={WAL_PAGES}",
    ):
        connection.execute(f"PRAGMA {pragma}").fetchall()


def open_database(url: str) -> Database:
    """The database that the URL names.

    Raises:
        CatalogFault: neither ``sqlite:///…`` nor ``postgresql://…``.
    """
    if url.startswith("sqlite:///"):
        return SqliteDatabase(url.removeprefix("sqlite:///"))
    if url.startswith(("postgresql://", "postgres://")):
        # Only where it is used: what it imports takes 7 MiB.
        from librarian_daemon.catalog.postgresql import PostgresDatabase  # noqa: PLC0415

        return PostgresDatabase(url.replace("postgres://", "postgresql://", 1))
    raise CatalogFault("catalog.url is neither sqlite:///… nor postgresql://…")
