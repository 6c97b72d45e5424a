"""Sites that are far apart: keys that change, revocation, resolved names, mail, heads, offers."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

BYTEWISE = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")
BIG_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add columns and tables."""
    for column in (
        sa.Column("leaf", sa.Text()),
        sa.Column("cutoff", sa.Text()),
        sa.Column("former", sa.Text(), nullable=False, server_default="[]"),
        sa.Column("revoked", sa.Boolean(), nullable=False, server_default=sa.text("false")),
        sa.Column("reason", sa.Text(), nullable=False, server_default=""),
        sa.Column("statement", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("administrator", sa.Text()),
    ):
        op.add_column("admission", column)
    op.add_column("invite", sa.Column("terms", sa.Text(), nullable=False, server_default="{}"))
    op.add_column("announcement", sa.Column("certificate", sa.Text()))
    op.add_column("announcement", sa.Column("leaf_address", sa.Text(), nullable=False, server_default=""))
    op.add_column("journal", sa.Column("returned", sa.Boolean(), nullable=False, server_default=sa.text("false")))
    op.create_index("journal_prev", "journal", ["prev"])
    op.create_table(
        "rekey",
        sa.Column("site", BYTEWISE, nullable=False),
        sa.Column("incarnation", BYTEWISE, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("site", "incarnation", "seq"),
    )
    op.create_table(
        "resolution",
        sa.Column("site", BYTEWISE, nullable=False),
        sa.Column("incarnation", BYTEWISE, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("name", BYTEWISE, nullable=False),
        sa.Column("keep", sa.Text(), nullable=False),
        sa.Column("over", sa.Text(), nullable=False),
        sa.Column("supersedes", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("site", "incarnation", "seq"),
    )
    op.create_index("resolution_name", "resolution", ["name"])
    op.create_table(
        "naming",
        sa.Column("name", BYTEWISE, nullable=False),
        sa.Column("kept", BYTEWISE, nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "aside",
        sa.Column("file_id", sa.BigInteger(), sa.ForeignKey("file.id"), nullable=False),
        sa.Column("store", BYTEWISE, nullable=False),
        sa.PrimaryKeyConstraint("file_id", "store"),
    )
    op.create_table(
        "mail",
        sa.Column("position", BIG_KEY, primary_key=True, autoincrement=True),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("recipient", BYTEWISE, nullable=False),
        sa.Column("verb", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("written_at", sa.Text(), nullable=False),
    )
    op.create_table(
        "peer_head",
        sa.Column("peer", BYTEWISE, nullable=False),
        sa.Column("hash", BYTEWISE, nullable=False),
        sa.Column("origin", BYTEWISE, nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("incarnation", BYTEWISE, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("heard_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("peer", "hash"),
    )
    op.create_index("peer_head_origin", "peer_head", ["origin"])
    op.create_table(
        "offer",
        sa.Column("peer", BYTEWISE, nullable=False),
        sa.Column("match", BYTEWISE, nullable=False),
        sa.PrimaryKeyConstraint("peer", "match"),
    )
