"""Every test of this suite runs on both databases."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Callable, Generator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.conformance.catalog.running import SITE, begun, running
from tests.support.postgres import Postgres, postgres_server

from librarian_daemon.catalog.database import Database, open_database
from librarian_daemon.catalog.upgrade import upgrade
from librarian_daemon.catalog.writer import Catalog

BACKENDS = ("sqlite", "postgresql")
NewUrl = Callable[[str], str]


@pytest.fixture(scope="session")
def postgres() -> Generator[Postgres]:
    """One server for all tests of this process."""
    with postgres_server() as server:
        yield server


@pytest.fixture
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> NewUrl:
    """The URL of a new, empty database of the backend that is named."""
    numbers = itertools.count(1)

    def url(backend: str) -> str:
        if backend == "sqlite":
            return f"sqlite:///{tmp_path}/catalog{next(numbers)}.sqlite"
        server: Postgres = request.getfixturevalue("postgres")
        return server.new_database()

    return url


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """Which database the test runs on."""
    name: str = request.param
    return name


@pytest.fixture
def url(backend: str, new_url: NewUrl) -> str:
    """The URL of a new, empty database."""
    return new_url(backend)


@pytest_asyncio.fixture
async def database(url: str) -> AsyncGenerator[Database]:
    """A database with the schema of this version."""
    opened = open_database(url)
    await opened.write(upgrade)
    yield opened
    await opened.close()


@pytest_asyncio.fixture
async def catalog(database: Database) -> AsyncGenerator[Catalog]:
    """The catalog of :data:`SITE`, the first site of its mesh, with its committer running."""
    made = await begun(database, SITE)
    async with running(made):
        yield made
