"""The record is read in order without being sorted."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add an index."""
    op.create_index("journal_order", "journal", ["epoch", "first_seq", "position"], unique=False)
