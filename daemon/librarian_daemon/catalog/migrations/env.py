"""Run by Alembic. The connection, and the transaction it is in, come from :mod:`librarian_daemon.catalog.upgrade`."""

from alembic import context

from librarian_daemon.catalog.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
