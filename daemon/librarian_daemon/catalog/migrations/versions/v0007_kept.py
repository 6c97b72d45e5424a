"""Landings withdraw and heal; ingests that a recovery wrote come last among origins."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add columns; have the daemon find the origins anew at its next start."""
    op.add_column("landing", sa.Column("action", sa.Text(), nullable=False, server_default="place"))
    op.add_column("file", sa.Column("origin_last", sa.Boolean(), nullable=False, server_default=sa.text("false")))
    op.execute("INSERT INTO meta (key, value) SELECT 'origins', 'found anew' WHERE EXISTS (SELECT 1 FROM journal)")
