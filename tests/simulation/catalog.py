"""Catalogs inline: SQLite in memory, one engine for all; a commit is atomic, and outlives the daemon."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from functools import cache
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool
from tests.simulation.prepared import PreparingConnection
from tests.simulation.world import World

from librarian_daemon.catalog.upgrade import upgrade
from librarian_protocol.errors import CatalogFault
from librarian_protocol.names import SiteName

P = ParamSpec("P")
T = TypeVar("T")


@cache
def _engine() -> Engine:
    return create_engine(
        "sqlite://",
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
        connect_args={"check_same_thread": False, "cached_statements": 512},
    )


def _driver(connection: Connection) -> Any:
    return connection.connection.driver_connection


@cache
def _empty() -> bytes:
    """A catalog of this version with nothing in it."""
    connection = _engine().connect()
    connection.exec_driver_sql("BEGIN IMMEDIATE")
    upgrade(connection)
    connection.exec_driver_sql("COMMIT")
    return bytes(_driver(connection).serialize())


class SimDatabase:
    """Implements ``Database``."""

    def __init__(self, world: World, site: SiteName) -> None:
        self._world = world
        self._site = site
        self.restore(_empty())

    def backup(self) -> bytes:
        """All of it."""
        return bytes(self._driver.serialize())

    def restore(self, image: bytes) -> None:
        """As it was.

        On a connection of its own: the table of ``json_each`` keeps the schema of a database that is replaced, and
        SQLite 3.40 crashes on the next statement that it prepares.
        """
        self.whole = _engine().connect()
        self._driver = _driver(self.whole)
        self._driver.deserialize(image)
        for pragma in ("synchronous=OFF", "foreign_keys=ON"):
            self._driver.execute(f"PRAGMA {pragma}")
        #: What the daemon works with, and with what the simulation looks.
        self.connection = cast(Connection, PreparingConnection(self.whole))
        self.outside = self.connection

    def inline(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """A look from outside, in no time."""
        return work(self.outside, *args, **kwargs)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """One transaction; before and after it the site may die."""
        await self._world.gate(self._site, "commit")
        if self._world.unlucky(0.003):
            self._world.counts["catalog error"] += 1
            raise CatalogFault("the catalog did not do the operation: a played error")
        result = self._transaction(work)
        if self._world.unlucky(0.002):
            self._world.counts["commit whose answer was lost"] += 1
            await self._world.gate(self._site, "committed")
            raise CatalogFault("the catalog did not answer: a played error")
        await self._world.gate(self._site, "committed")
        return result

    def _transaction(self, work: Callable[[Connection], T]) -> T:
        driver = self._driver
        driver.execute("BEGIN IMMEDIATE")
        try:
            result = work(self.connection)
            driver.execute("COMMIT")
        except BaseException as exc:
            if driver.in_transaction:
                driver.execute("ROLLBACK")
            if isinstance(exc, SQLAlchemyError | sqlite3.Error):
                raise CatalogFault(str(exc)) from exc
            raise
        return result

    async def read(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """A look; it takes a moment."""
        await asyncio.sleep(self._world.chance.random() * 0.001)
        return work(self.connection, *args, **kwargs)

    async def close(self) -> None:
        """It stays."""
