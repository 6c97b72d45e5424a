"""Reading again: passes over stores, frozen stores, bad members, and bad bytes that are kept."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"

BYTEWISE = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    """Add them. What was verified before belongs to no pass: the first one reads it."""
    op.add_column("verified", sa.Column("pass", sa.BigInteger(), nullable=False, server_default="0"))
    op.create_index("verified_order", "verified", ["store", "pass", "at"])
    op.create_table(
        "scrub",
        sa.Column("store", BYTEWISE, primary_key=True),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("began", sa.BigInteger(), nullable=False),
        sa.Column("ended", sa.BigInteger()),
        sa.Column("gathered", sa.Boolean(), nullable=False),
        sa.Column("asked", sa.Boolean(), nullable=False),
        sa.Column("files", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("bad", sa.BigInteger(), nullable=False),
        sa.Column("told", sa.BigInteger()),
    )
    op.create_table(
        "frozen",
        sa.Column("store", BYTEWISE, primary_key=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
    )
    for table, column in (
        ("bad_member", sa.Column("member", BYTEWISE, primary_key=True)),
        ("kept_bad", sa.Column("pass", sa.BigInteger(), nullable=False)),
    ):
        op.create_table(
            table,
            sa.Column("file_id", sa.BigInteger(), sa.ForeignKey("file.id"), primary_key=True),
            sa.Column("store", BYTEWISE, primary_key=True),
            column,
        )
