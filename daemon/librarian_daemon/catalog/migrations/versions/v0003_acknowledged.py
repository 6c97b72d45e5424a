"""Incidents can be acknowledged."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add columns."""
    op.add_column("incident", sa.Column("acknowledged_at", sa.Text()))
    op.add_column("incident", sa.Column("note", sa.Text(), nullable=False, server_default=""))
