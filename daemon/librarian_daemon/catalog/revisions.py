"""The revisions of the catalog's schema, as Alembic runs them. Imported only where one is missing: it takes 6 MiB."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from librarian_protocol.errors import CatalogFault


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def run_missing(connection: Connection) -> None:
    """Run the migrations that are missing. Idempotent. The caller's transaction commits them all or none.

    Raises:
        CatalogFault: the catalog was written by a later version of this software.
    """
    config = _config()
    scripts = ScriptDirectory.from_config(config)
    current = MigrationContext.configure(connection).get_current_revision()
    if current is not None and current not in {script.revision for script in scripts.walk_revisions()}:
        raise CatalogFault(
            f"the catalog is of schema version {current}, which this software does not know",
            hint="start the later version of the software that wrote it",
        )
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
