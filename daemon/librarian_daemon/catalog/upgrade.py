"""Bring the catalog's schema to the version of this software, in one transaction, under a lock."""

from __future__ import annotations

from sqlalchemy import Connection, inspect, text

#: The last of ``migrations/versions``.
REVISION = "0014"
#: Any number that no other program of the same database takes an advisory lock on.
_LOCK = 0x6C62_7264


def upgrade(connection: Connection) -> None:
    """Run the migrations that are missing. Idempotent. The caller's transaction commits them all or none.

    Raises:
        CatalogFault: the catalog was written by a later version of this software.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    if _current(connection) == REVISION:
        return
    from librarian_daemon.catalog import revisions  # noqa: PLC0415 - see there

    revisions.run_missing(connection)


def _current(connection: Connection) -> str | None:
    """The revision of the catalog, where Alembic keeps it."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found
