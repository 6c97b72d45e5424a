"""The two databases behind one interface."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from tests.conformance.catalog.running import count

from librarian_daemon.catalog import schema
from librarian_daemon.catalog.database import QUIET_ROWS, Database, open_database
from librarian_daemon.catalog.meta import get_meta, put_meta
from librarian_protocol.errors import CatalogFault, InputError

#: A user that owns nothing.
NOBODY = 65534


async def test_a_transaction_that_raises_leaves_nothing(database: Database) -> None:
    def work(connection: Connection) -> None:
        put_meta(connection, "a", "1")
        raise InputError("no")

    with pytest.raises(InputError, match="no"):
        await database.write(work)
    assert await database.read(get_meta, "a") is None


async def test_an_error_of_the_database_is_a_catalog_fault_and_leaves_nothing(database: Database) -> None:
    """Whatever driver it came from; the connection goes on being usable."""

    def work(connection: Connection) -> None:
        put_meta(connection, "a", "1")
        connection.execute(text("SELECT * FROM no_such_table"))

    with pytest.raises(CatalogFault, match="no_such_table"):
        await database.write(work)
    with pytest.raises(CatalogFault, match="no_such_table"):
        await database.read(work_that_reads_nothing)
    assert await database.read(get_meta, "a") is None
    await database.write(lambda connection: put_meta(connection, "a", "2"))
    assert await database.read(get_meta, "a") == "2"


def work_that_reads_nothing(connection: Connection) -> None:
    connection.execute(text("SELECT * FROM no_such_table"))


async def test_a_read_cannot_write(database: Database) -> None:
    """Only the committer writes; a mistake shows at once."""
    with pytest.raises(CatalogFault):
        await database.read(put_meta, "a", "1")
    assert await database.read(get_meta, "a") is None


async def test_a_read_sees_one_state_however_many_statements_it_has(database: Database, url: str) -> None:
    """What another connection commits between two statements of a read does not show in it."""

    def commit_elsewhere() -> None:
        async def commit() -> None:
            other = open_database(url)
            await other.write(lambda connection: put_meta(connection, "a", "1"))
            await other.close()

        asyncio.run(commit())

    def work(connection: Connection) -> tuple[int, int]:
        before = count(connection, schema.meta)
        elsewhere = threading.Thread(target=commit_elsewhere)
        elsewhere.start()
        elsewhere.join()
        return before, count(connection, schema.meta)

    assert await database.read(work) == (0, 0)
    assert await database.read(get_meta, "a") == "1"


async def test_a_cancelled_caller_does_not_break_the_database(database: Database) -> None:
    """Whatever became of the transaction, the next one finds a connection in order."""
    for _ in range(5):
        task = asyncio.create_task(database.write(lambda connection: put_meta(connection, "a", "1")))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await database.write(lambda connection: put_meta(connection, "a", "2"))
    assert await database.read(get_meta, "a") == "2"


async def test_what_was_written_goes_into_the_database_when_it_is_quiet(tmp_path: Path) -> None:
    """A burst of commits waits for no checkpoint, and leaves none to the next one."""
    path = tmp_path / "catalog.sqlite"
    database = open_database(f"sqlite:///{path}")

    def work(connection: Connection) -> None:
        rows = [{"key": f"{number:09}", "value": "x" * 100} for number in range(QUIET_ROWS)]
        connection.execute(schema.meta.insert(), rows)

    await database.write(schema.metadata.create_all)
    before = path.stat().st_size
    await database.write(work)
    assert path.stat().st_size == before
    assert (tmp_path / "catalog.sqlite-wal").stat().st_size > 100 * QUIET_ROWS
    while path.stat().st_size < before + 100 * QUIET_ROWS:
        await asyncio.sleep(0.05)
    assert await database.read(count, schema.meta) == QUIET_ROWS
    await database.close()


async def test_text_is_ordered_by_its_bytes(database: Database) -> None:
    """Both databases page through names in the same order, whatever the server's locale."""
    sites = ["b", "A", "a-b", "ab", "ä", "a", "Z"]

    def work(connection: Connection) -> None:
        for site in sites:
            connection.execute(
                schema.reading.insert(), {"site": site, "stream_seq": 1, "heard_at": None, "stalled": ""}
            )

    await database.write(work)

    def read(connection: Connection) -> list[str]:
        return list(connection.scalars(schema.reading.select().order_by(schema.reading.c.site)))

    assert await database.read(read) == sorted(sites, key=str.encode)


async def test_closing_twice_is_closing_once(url: str) -> None:
    database = open_database(url)
    await database.close()
    await database.close()


@pytest.mark.parametrize("bad", ["mysql://x/y", "catalog.sqlite", ""])
def test_other_urls_are_refused(bad: str) -> None:
    with pytest.raises(CatalogFault, match=r"catalog\.url"):
        open_database(bad)


async def test_a_server_that_is_not_there_is_a_catalog_fault() -> None:
    """Not a driver's own exception, which nobody handles."""
    database = open_database("postgresql://nobody@127.0.0.1:1/nothing")
    with pytest.raises(CatalogFault):
        await database.read(get_meta, "a")
    await database.close()


async def test_a_directory_that_is_not_there_is_a_catalog_fault() -> None:
    with pytest.raises(CatalogFault):
        open_database("sqlite:////no/such/directory/catalog.sqlite")


def test_the_files_of_a_catalog_are_its_users_alone() -> None:
    """Under any umask, and those that an earlier version left wider: a reader of the -shm can hold up all writing."""
    directory = Path(tempfile.mkdtemp(prefix="librarian-catalog-"))  # pytest's own directories let nobody else in
    path = directory / "catalog.sqlite"
    try:
        directory.chmod(0o755)
        before = os.umask(0)
        try:
            asyncio.run(_written(path, opened_by_another=_refused_to_another))
            for file in directory.iterdir():
                file.chmod(0o644)
            (directory / "catalog.sqlite-shm").touch()
            (directory / "catalog.sqlite-shm").chmod(0o644)
            asyncio.run(_written(path, opened_by_another=_refused_to_another))
        finally:
            os.umask(before)
    finally:
        shutil.rmtree(directory)


async def _written(path: Path, *, opened_by_another: Callable[[Path], None]) -> None:
    database = open_database(f"sqlite:///{path}")
    try:
        await database.write(lambda connection: connection.execute(text("CREATE TABLE IF NOT EXISTS t (a)")))
        files = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
        assert files == dict.fromkeys(["catalog.sqlite", "catalog.sqlite-wal", "catalog.sqlite-shm"], 0o600)
        for name in files:
            opened_by_another(path.parent / name)
    finally:
        await database.close()


def _refused_to_another(path: Path) -> None:
    if os.geteuid() != 0:
        return  # only root can be another user
    done = subprocess.run(["cat", path], user=NOBODY, capture_output=True)
    assert b"Permission denied" in done.stderr


def test_an_old_sqlite_is_named_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sqlite3.sqlite_version_info", (3, 37, 2))
    with pytest.raises(CatalogFault, match=r"too old: 3\.38\.0 is needed"):
        open_database(f"sqlite:///{tmp_path / 'catalog.sqlite'}")
    assert list(tmp_path.iterdir()) == []
