"""Own instances that are being given up."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"

BYTEWISE = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "eviction",
        sa.Column("file_id", sa.BigInteger(), sa.ForeignKey("file.id"), primary_key=True, autoincrement=False),
        sa.Column("store", BYTEWISE, primary_key=True),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("nonce", sa.Text(), nullable=False),
        sa.Column("trash", sa.Text(), nullable=False, server_default=""),
        sa.Column("number", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("since_s", sa.Float()),
        sa.Column("why", sa.Text(), nullable=False, server_default=""),
        sa.Column("needs_archive", sa.Boolean(), nullable=False, server_default=sa.text("false")),
    )
    op.create_index("eviction_stage", "eviction", ["store", "stage", "nonce"])
