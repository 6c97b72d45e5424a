"""Which stores are attached, and what a person set of them; what is promised of their room; what closes a full one."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

BYTEWISE = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    """Add local tables. The first is filled at the next start."""
    op.create_table(
        "attached",
        sa.Column("store", BYTEWISE, primary_key=True),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("configured", sa.Text(), nullable=False),
        sa.Column("overrides", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
    )
    op.create_table("deactivating", sa.Column("subscription", sa.Text(), primary_key=True))
    op.create_table(
        "promise",
        sa.Column("id", BYTEWISE, primary_key=True),
        sa.Column("store", BYTEWISE, nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
    )
