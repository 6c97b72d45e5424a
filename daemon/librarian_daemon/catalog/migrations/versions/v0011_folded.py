"""Only names that are not their own folded form are indexed by it: the others are found as names."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

OTHERWISE_FOLDED = sa.text("folded <> name")


def upgrade() -> None:
    """Replace the index."""
    op.drop_index("file_folded", "file")
    op.create_index(
        "file_folded",
        "file",
        ["folded"],
        unique=False,
        sqlite_where=OTHERWISE_FOLDED,
        postgresql_where=OTHERWISE_FOLDED,
    )
