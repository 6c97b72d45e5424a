"""The catalog in PostgreSQL: implements :class:`librarian_daemon.catalog.database.Database` over asyncpg."""

from __future__ import annotations

from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from librarian_daemon.catalog.database import fault
from librarian_protocol.errors import CatalogFault

P = ParamSpec("P")
T = TypeVar("T")


class PostgresDatabase:
    """PostgreSQL over asyncpg. Durability is the server's ``fsync`` and ``synchronous_commit``, left as they are."""

    def __init__(self, url: str) -> None:
        """``url``: ``postgresql://user:password@host/database``; nothing is opened yet."""
        parsed = make_url(url).set(drivername="postgresql+asyncpg")
        self._engine = create_async_engine(parsed, pool_size=4, max_overflow=2, pool_pre_ping=True)
        self._reading = self._engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """See :class:`Database`."""
        return await self._run(self._engine, work)

    @staticmethod
    async def _run(engine: AsyncEngine, work: Callable[[Connection], T]) -> T:
        try:
            async with engine.begin() as connection:
                return await connection.run_sync(work)
        except SQLAlchemyError as exc:
            raise fault(exc) from exc
        except OSError as exc:
            raise CatalogFault(f"the database server cannot be reached: {exc}", hint="is it running?") from exc

    async def read(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """See :class:`Database`."""

        def call(connection: Connection) -> T:
            return work(connection, *args, **kwargs)

        return await self._run(self._reading, call)

    async def close(self) -> None:
        """See :class:`Database`."""
        await self._engine.dispose()
