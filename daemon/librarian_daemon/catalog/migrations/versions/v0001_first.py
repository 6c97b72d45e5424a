"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

BYTEWISE = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")
BIG_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create all tables."""
    op.create_table(
        "admission",
        sa.Column("admitter", BYTEWISE, nullable=False),
        sa.Column("site", BYTEWISE, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("access", sa.Text(), nullable=False),
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("grants", sa.Text(), nullable=False),
        sa.Column("bus", sa.Text(), nullable=False),
        sa.Column("may_admit", sa.Boolean(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("incarnation", BYTEWISE, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("admitter", "site"),
    )
    op.create_table(
        "announcement",
        sa.Column("site", BYTEWISE, nullable=False),
        sa.Column("software", sa.Text(), nullable=False),
        sa.Column("adapters", sa.Text(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("incarnation", BYTEWISE, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("site"),
    )
    op.create_table(
        "backfill",
        sa.Column("subscription", sa.Text(), nullable=False),
        sa.Column("after_file", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("subscription"),
    )
    op.create_table(
        "batch",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("adapter", sa.Text(), nullable=False),
        sa.Column("ticket", sa.LargeBinary(), nullable=True),
        sa.Column("started_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table("conflict", sa.Column("name", BYTEWISE, nullable=False), sa.PrimaryKeyConstraint("name"))
    op.create_table(
        "cursor",
        sa.Column("site", BYTEWISE, nullable=False),
        sa.Column("incarnation", BYTEWISE, nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("site", "incarnation"),
    )
    op.create_table(
        "file",
        sa.Column("id", BIG_KEY, autoincrement=True, nullable=False),
        sa.Column("name", BYTEWISE, nullable=False),
        sa.Column("folded", BYTEWISE, nullable=False),
        sa.Column("digest", BYTEWISE, nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("origin_site", BYTEWISE, nullable=True),
        sa.Column("origin_epoch", sa.BigInteger(), nullable=True),
        sa.Column("origin_incarnation", BYTEWISE, nullable=True),
        sa.Column("origin_seq", sa.BigInteger(), nullable=True),
        sa.Column("ingested_at", sa.Text(), nullable=True),
        sa.Column("withdrawn", sa.Boolean(), nullable=False),
        sa.Column("change", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name", "digest", name="file_name_digest"),
    )
    op.create_index("file_change", "file", ["change", "id"], unique=False)
    op.create_index("file_digest", "file", ["digest"], unique=False)
    op.create_index("file_folded", "file", ["folded"], unique=False)
    op.create_table(
        "incident",
        sa.Column("id", BIG_KEY, autoincrement=True, nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("hint", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.Text(), nullable=False),
        sa.Column("last_at", sa.Text(), nullable=False),
        sa.Column("times", sa.Integer(), nullable=False),
        sa.Column("resolved_at", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("incident_open", "incident", ["resolved_at", "code", "subject"], unique=False)
    op.create_table(
        "invite",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("bus_key", sa.Text(), nullable=True),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.Column("used_by", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "journal",
        sa.Column("position", BIG_KEY, autoincrement=True, nullable=False),
        sa.Column("site", BYTEWISE, nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("incarnation", BYTEWISE, nullable=False),
        sa.Column("first_seq", sa.BigInteger(), nullable=False),
        sa.Column("last_seq", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("prev", BYTEWISE, nullable=False),
        sa.Column("hash", BYTEWISE, nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("received_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("position"),
        sa.UniqueConstraint("hash"),
    )
    op.create_index("journal_site", "journal", ["site", "first_seq"], unique=False)
    op.create_index("journal_state", "journal", ["state", "site"], unique=False)
    op.create_table(
        "landing",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("store", sa.Text(), nullable=False),
        sa.Column("root", sa.Text(), nullable=False),
        sa.Column("rel", sa.Text(), nullable=False),
        sa.Column("name", BYTEWISE, nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("manifest_rel", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("entry", sa.LargeBinary(), nullable=False),
        sa.Column("transfer", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "meta",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_table(
        "outbox",
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("position"),
    )
    op.create_table(
        "reading",
        sa.Column("site", BYTEWISE, nullable=False),
        sa.Column("stream_seq", sa.BigInteger(), nullable=False),
        sa.Column("heard_at", sa.Text(), nullable=True),
        sa.Column("stalled", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("site"),
    )
    op.create_table(
        "store",
        sa.Column("site", BYTEWISE, nullable=False),
        sa.Column("id", BYTEWISE, nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("technology", sa.Text(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("ingestable", sa.Boolean(), nullable=False),
        sa.Column("retired", sa.Boolean(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("incarnation", BYTEWISE, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("site", "id"),
    )
    op.create_table(
        "subscription",
        sa.Column("site", BYTEWISE, nullable=False),
        sa.Column("id", BYTEWISE, nullable=False),
        sa.Column("from_site", BYTEWISE, nullable=True),
        sa.Column("match", sa.Text(), nullable=False),
        sa.Column("into", sa.Text(), nullable=False),
        sa.Column("withdrawn", sa.Boolean(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("incarnation", BYTEWISE, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("site", "id"),
    )
    op.create_table(
        "digest",
        sa.Column("file_id", sa.BigInteger(), nullable=False),
        sa.Column("site", BYTEWISE, nullable=False),
        sa.Column("other", BYTEWISE, nullable=False),
        sa.ForeignKeyConstraint(
            ["file_id"],
            ["file.id"],
        ),
        sa.PrimaryKeyConstraint("file_id", "site", "other"),
    )
    op.create_table(
        "doubt",
        sa.Column("doubter", BYTEWISE, nullable=False),
        sa.Column("file_id", sa.BigInteger(), nullable=False),
        sa.Column("site", BYTEWISE, nullable=False),
        sa.Column("store", BYTEWISE, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("of_epoch", sa.BigInteger(), nullable=False),
        sa.Column("of_incarnation", BYTEWISE, nullable=False),
        sa.Column("of_seq", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("incarnation", BYTEWISE, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["file_id"],
            ["file.id"],
        ),
        sa.PrimaryKeyConstraint("doubter", "file_id", "site", "store"),
    )
    op.create_index("doubt_instance", "doubt", ["file_id", "site", "store"], unique=False)
    op.create_table(
        "instance",
        sa.Column("file_id", sa.BigInteger(), nullable=False),
        sa.Column("site", BYTEWISE, nullable=False),
        sa.Column("store", BYTEWISE, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("how", sa.Text(), nullable=False),
        sa.Column("source_site", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("incarnation", BYTEWISE, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["file_id"],
            ["file.id"],
        ),
        sa.PrimaryKeyConstraint("file_id", "site", "store"),
    )
    op.create_index(
        "instance_suspected",
        "instance",
        ["file_id"],
        unique=False,
        sqlite_where=sa.text("state = 'suspected'"),
        postgresql_where=sa.text("state = 'suspected'"),
    )
    op.create_index("instance_totals", "instance", ["site", "store", "state", "size_bytes"], unique=False)
    op.create_table(
        "transfer",
        sa.Column("id", BIG_KEY, autoincrement=True, nullable=False),
        sa.Column("file_id", sa.BigInteger(), nullable=False),
        sa.Column("store", BYTEWISE, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("strike", sa.Text(), nullable=True),
        sa.Column("strikes", sa.Integer(), nullable=False),
        sa.Column("next_try_s", sa.Float(), nullable=True),
        sa.Column("source", BYTEWISE, nullable=True),
        sa.Column("adapter", sa.Text(), nullable=True),
        sa.Column("batch", sa.Text(), nullable=True),
        sa.Column("subscription", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("changed_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["file_id"],
            ["file.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("file_id", "store", name="transfer_file_store"),
    )
    op.create_index("transfer_due", "transfer", ["state", "next_try_s"], unique=False)
    op.create_index("transfer_state", "transfer", ["state", "id"], unique=False)
    op.create_table(
        "verified",
        sa.Column("file_id", sa.BigInteger(), nullable=False),
        sa.Column("store", BYTEWISE, nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["file_id"],
            ["file.id"],
        ),
        sa.PrimaryKeyConstraint("file_id", "store"),
    )
    # ### end Alembic commands ###
