"""Transfers have priorities."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add a column, and an index by which what is wanted comes in its order."""
    op.add_column("transfer", sa.Column("rank", sa.Integer(), nullable=False, server_default=sa.text("0")))
    op.create_index("transfer_order", "transfer", ["state", "rank", "id"], unique=False)
