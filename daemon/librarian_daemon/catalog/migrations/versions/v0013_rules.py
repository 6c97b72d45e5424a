"""Rules of the mesh; what sites that are revoked might do before; limits and priorities of subscriptions."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

BYTEWISE = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    """Add them; have the daemon make again what the record says of them at its next start.

    What later sites said in fields that were passed over here stands in the record only.
    """
    op.create_table(
        "admitted",
        sa.Column("admitter", BYTEWISE, primary_key=True),
        sa.Column("site", BYTEWISE, primary_key=True),
        sa.Column("entry", sa.Text(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("incarnation", BYTEWISE, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
    )
    _make_set(
        "keep",
        sa.Column("match", sa.Text(), nullable=False),
        sa.Column("instances", sa.Integer(), nullable=False),
        sa.Column("domains", sa.Integer(), nullable=False),
        sa.Column("role", sa.Text()),
    )
    _make_set("hold", sa.Column("match", sa.Text(), nullable=False), sa.Column("until", sa.BigInteger()))
    _make_set(
        "rule_withdrawal",
        sa.Column("noun", sa.Text(), nullable=False),
        sa.Column("supersedes", sa.Text(), nullable=False),
    )
    for column in (
        sa.Column("max_bytes", sa.BigInteger()),
        sa.Column("newest_s", sa.BigInteger()),
        sa.Column("priority", sa.Integer(), nullable=False, server_default=sa.text("5")),
        sa.Column("via", sa.Text(), nullable=False, server_default="any"),
        sa.Column("spread", sa.Boolean(), nullable=False, server_default=sa.text("false")),
    ):
        op.add_column("subscription", column)
    op.execute(
        "INSERT INTO meta (key, value) SELECT 'again', 'admitted subscription' WHERE EXISTS (SELECT 1 FROM journal)"
    )


def _make_set(name: str, *columns: sa.Column[object]) -> None:
    op.create_table(
        name,
        sa.Column("site", BYTEWISE, primary_key=True),
        sa.Column("incarnation", BYTEWISE, primary_key=True),
        sa.Column("seq", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        *columns,
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
    )
