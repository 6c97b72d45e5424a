"""Callback sites are told by letter; one-off transfers; subscriptions to what is new only; what channels have told."""

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
        "one_off",
        sa.Column("file_id", sa.BigInteger(), sa.ForeignKey("file.id"), primary_key=True),
        sa.Column("store", BYTEWISE, primary_key=True),
        sa.Column("from_site", BYTEWISE),
        sa.Column("asked_at", sa.Text(), nullable=False),
    )
    op.create_table(
        "new_only",
        sa.Column("subscription", sa.Text(), primary_key=True),
        sa.Column("after_file", sa.BigInteger(), nullable=False),
    )
    op.add_column("batch", sa.Column("source_store", sa.Text(), nullable=False, server_default=""))
    op.add_column("batch", sa.Column("offer", sa.Text(), nullable=False, server_default=""))
    op.add_column("transfer", sa.Column("chosen", sa.Text(), nullable=False, server_default=""))
    op.create_table(
        "channel",
        sa.Column("label", sa.Text(), primary_key=True),
        sa.Column("seen", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "notice",
        sa.Column("channel", sa.Text(), primary_key=True),
        sa.Column("incident", sa.BigInteger(), sa.ForeignKey("incident.id"), primary_key=True),
    )
    op.create_table(
        "letter",
        sa.Column("position", BIG_KEY, primary_key=True, autoincrement=True),
        sa.Column("sender", BYTEWISE, nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
    )
