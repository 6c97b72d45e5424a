"""Every test of this suite runs on both databases."""

from __future__ import annotations

import asyncio
import itertools
import shutil
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import pytest_asyncio
from tests.conformance.catalog.running import SITE, begun, opened, running
from tests.support.postgres import Postgres, postgres_server

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.committer import Catalog
from librarian_daemon.catalog.database import Database
from librarian_daemon.catalog.upgrade import upgrade

BACKENDS = ("sqlite", "postgresql")
NewUrl = Callable[[str], str]


@pytest.fixture(scope="session")
def postgres() -> Generator[Postgres]:
    """One server for all tests of this process."""
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def sqlite_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite catalog with the schema of this version and nothing in it, to be copied."""
    path = tmp_path_factory.mktemp("model") / "catalog.sqlite"
    # In a thread of its own: the first that asks for it may be a fixture that runs in an event loop.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, migrated(f"sqlite:///{path}")).result()
    return path


@pytest.fixture(scope="session")
def at_rest() -> list[str]:
    """PostgreSQL catalogs with the schema of this version and nothing in them, that no test uses just now."""
    return []


@pytest.fixture
def new_url(request: pytest.FixtureRequest, tmp_path: Path, at_rest: list[str]) -> Generator[NewUrl]:
    """The URL of another catalog with nothing in it, in the database that is named."""
    numbers = itertools.count(1)
    used: list[tuple[Postgres, str]] = []

    def url(backend: str) -> str:
        if backend == "sqlite":
            path = tmp_path / f"catalog{next(numbers)}.sqlite"
            shutil.copyfile(request.getfixturevalue("sqlite_model"), path)
            return f"sqlite:///{path}"
        server: Postgres = request.getfixturevalue("postgres")
        if not at_rest:
            at_rest.append(server.new_database())
            asyncio.run(migrated(at_rest[-1]))
        used.append((server, at_rest.pop()))
        return used[-1][1]

    yield url
    for server, database in used:
        server.empty(database, schema.metadata.tables)
        at_rest.append(database)


async def migrated(url: str) -> None:
    """Bring an empty database to the schema of this version."""
    async with opened(url) as database:
        await database.write(upgrade)


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """Which database the test runs on."""
    name: str = request.param
    return name


@pytest.fixture
def url(backend: str, new_url: NewUrl) -> str:
    """The URL of the test's catalog."""
    return new_url(backend)


@pytest_asyncio.fixture
async def database(url: str) -> AsyncGenerator[Database]:
    """The test's catalog, open."""
    async with opened(url) as database:
        yield database


@pytest_asyncio.fixture
async def catalog(database: Database) -> AsyncGenerator[Catalog]:
    """The catalog of :data:`SITE`, the first site of its mesh, with its committer running."""
    made = await begun(database, SITE)
    async with running(made):
        yield made


@pytest.fixture
def other_url(backend: str, new_url: NewUrl) -> str:
    """The URL of an empty database of the other sort."""
    (other,) = set(BACKENDS) - {backend}
    return new_url(other)


@pytest_asyncio.fixture
async def elsewhere(other_url: str) -> AsyncGenerator[Database]:
    """An empty catalog in it."""
    async with opened(other_url) as database:
        yield database
