"""Callback sites are told by letter."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

BYTEWISE = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")
BIG_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add tables."""
    op.create_table(
        "telling",
        sa.Column("recipient", BYTEWISE, primary_key=True),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("hash", BYTEWISE, nullable=False),
        sa.Column("begins", sa.Boolean(), nullable=False),
    )
    op.create_table(
        "told",
        sa.Column("sender", BYTEWISE, primary_key=True),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("hash", BYTEWISE, nullable=False),
        sa.Column("whole", sa.Boolean(), nullable=False),
    )
    op.create_table(
        "letter",
        sa.Column("position", BIG_KEY, primary_key=True, autoincrement=True),
        sa.Column("sender", BYTEWISE, nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
    )
