"""What of a file is kept beside its bytes: times and rights, and the landings that carry them."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

BYTEWISE = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    """Add them; have the daemon apply all ingests again at its next start, whose times were passed over before."""
    op.add_column("file", sa.Column("mtime_ns", sa.BigInteger()))
    op.create_table(
        "attribute",
        sa.Column("file_id", sa.BigInteger(), sa.ForeignKey("file.id"), primary_key=True),
        sa.Column("site", BYTEWISE, primary_key=True),
        sa.Column("executable", sa.Boolean(), nullable=False),
        sa.Column("list", sa.Text()),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("incarnation", BYTEWISE, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
    )
    op.add_column("landing", sa.Column("attributes", sa.Text(), nullable=False, server_default="{}"))
    op.add_column("landing", sa.Column("list_rel", sa.Text(), nullable=False, server_default=""))
    op.execute(
        "INSERT INTO meta (key, value) SELECT 'origins', 'found anew' WHERE EXISTS (SELECT 1 FROM journal)"
        " AND NOT EXISTS (SELECT 1 FROM meta WHERE key = 'origins')"
    )
