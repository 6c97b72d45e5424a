"""The schema: made by migrations, the same as the tables in the code, refused where it is from the future."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, inspect, text
from tests.conformance.catalog.peers import ingested, store_of
from tests.conformance.catalog.running import SITE, begun, opened, running, say
from tests.conformance.catalog.shared import shared
from tests.support.postgres import Postgres

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.database import Database, open_database
from librarian_daemon.catalog.landings import standing
from librarian_daemon.catalog.upgrade import REVISION, upgrade
from librarian_daemon.ports.ledger import NameStatus
from librarian_protocol.digests import Digest
from librarian_protocol.errors import CatalogFault
from librarian_protocol.names import Name


@pytest.fixture
def url(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database in which there is nothing at all."""
    if backend == "sqlite":
        return f"sqlite:///{tmp_path}/catalog.sqlite"
    server: Postgres = request.getfixturevalue("postgres")
    return server.new_database()


@pytest_asyncio.fixture
async def database(url: str) -> AsyncGenerator[Database]:
    """One that was just upgraded."""
    async with opened(url) as database:
        await database.write(upgrade)
        yield database


def _tables(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names())


def _differences(connection: Connection) -> list[Any]:
    return list(compare_metadata(MigrationContext.configure(connection), schema.metadata))


async def test_an_empty_database_gets_every_table(database: Database) -> None:
    assert await database.read(_tables) == {*schema.metadata.tables, "alembic_version"}


async def test_migrations_make_exactly_the_tables_that_the_code_knows(database: Database) -> None:
    """Nothing that autogenerate would still want to change, in either dialect."""
    assert await database.read(_differences) == []


async def test_an_upgraded_catalog_is_of_the_revision_that_the_code_knows_as_the_last(database: Database) -> None:
    """Else each start would look for what is missing."""
    kept = await database.read(lambda connection: connection.scalar(text("SELECT version_num FROM alembic_version")))
    assert kept == REVISION


async def test_upgrading_twice_changes_nothing(database: Database) -> None:
    """A daemon upgrades at every start; what the catalog holds stays."""
    catalog = await begun(database, SITE)
    async with running(catalog):
        await say(catalog, ingested(store_of(SITE)))
    before = await database.read(shared)
    await database.write(upgrade)
    assert await database.read(shared) == before
    assert before["file"]
    assert await database.read(_differences) == []


async def test_two_daemons_that_upgrade_at_once_do_not_disturb_each_other(url: str) -> None:
    """Each holds the lock while it upgrades; the second finds nothing to do."""
    databases = [open_database(url) for _ in range(3)]
    await asyncio.gather(*(database.write(upgrade) for database in databases))
    assert await databases[0].read(_differences) == []
    for database in databases:
        await database.close()


def back_to_0013(connection: Connection) -> None:
    """What that version had."""
    for table in ("scrub", "frozen", "bad_member", "kept_bad", "eviction", "promise", "deactivating", "attached"):
        connection.execute(text(f"DROP TABLE {table}"))
    connection.execute(text("DROP INDEX verified_order"))
    connection.execute(text("ALTER TABLE verified DROP COLUMN pass"))
    connection.execute(text("UPDATE alembic_version SET version_num = '0013'"))


def back_to_0012(connection: Connection) -> None:
    """What that version had."""
    back_to_0013(connection)
    for table in ("admitted", "keep", "hold", "rule_withdrawal"):
        connection.execute(text(f"DROP TABLE {table}"))
    for column in ("max_bytes", "newest_s", "priority", "via", "spread"):
        connection.execute(text(f"ALTER TABLE subscription DROP COLUMN {column}"))
    connection.execute(text("UPDATE alembic_version SET version_num = '0012'"))


async def test_case_twins_are_found_in_a_catalog_that_indexed_every_name(database: Database) -> None:
    """Those that are their own folded form, and the others, of before and of after the upgrade."""

    def go_back(connection: Connection) -> None:
        back_to_0012(connection)
        connection.execute(text("DROP INDEX file_folded"))
        connection.execute(text("CREATE INDEX file_folded ON file (folded)"))
        for column in ("store", "members"):  # of a later version
            connection.execute(text(f"ALTER TABLE batch DROP COLUMN {column}"))
        connection.execute(text("UPDATE alembic_version SET version_num = '0010'"))

    catalog = await begun(database, SITE)
    async with running(catalog):
        await say(catalog, ingested(store_of(SITE), "lower"), ingested(store_of(SITE), "Upper"))
        await database.write(go_back)
        await database.write(upgrade)
        await say(catalog, ingested(store_of(SITE), "later"), ingested(store_of(SITE), "Later2"))
    assert await database.read(_differences) == []
    asked = {
        "LOWER": (NameStatus.TWIN, "lower"),
        "upper": (NameStatus.TWIN, "Upper"),
        "LATER": (NameStatus.TWIN, "later"),
        "lateR2": (NameStatus.TWIN, "Later2"),
        "lower": (NameStatus.PRESENT, str(_bytes_of("lower"))),
        "Upper": (NameStatus.PRESENT, str(_bytes_of("Upper"))),
        "another": (NameStatus.FREE, ""),
    }
    files = [(Name.parse(name), _bytes_of(name)) for name in asked]
    assert await database.read(standing, store_of(SITE), files) == list(asked.values())


def _bytes_of(name: str) -> Digest:
    return Digest.blake3(name.encode())


async def test_only_names_that_are_not_their_own_form_are_indexed_by_it(database: Database) -> None:
    """An index of random names costs each commit a page for every file."""

    def definition(connection: Connection) -> str:
        select = {
            "sqlite": "SELECT sql FROM sqlite_master WHERE name = 'file_folded'",
            "postgresql": "SELECT indexdef FROM pg_indexes WHERE indexname = 'file_folded'",
        }
        return str(connection.scalar(text(select[connection.dialect.name])))

    assert "folded <> name" in await database.read(definition)


async def test_a_catalog_of_a_later_version_is_refused_and_left_alone(database: Database) -> None:
    """An old daemon started by mistake must not touch what it does not understand."""

    def later(connection: Connection) -> None:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    await database.write(later)
    with pytest.raises(CatalogFault, match="schema version 9999"):
        await database.write(upgrade)

    def version(connection: Connection) -> str:
        return str(connection.scalar(text("SELECT version_num FROM alembic_version")))

    assert await database.read(version) == "9999"
