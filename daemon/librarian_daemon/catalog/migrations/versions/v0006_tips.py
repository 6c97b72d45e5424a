"""Keys end at segments; each row of the record says which key signed it. What was believed before is folded anew."""

import json
from contextlib import suppress

import sqlalchemy as sa
from alembic import op

from librarian_daemon.catalog.payloads import decompress
from librarian_protocol.errors import SignatureInvalid
from librarian_protocol.keys import Purpose, verify

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add columns; the next start folds anew the journals of all sites."""
    op.add_column("admission", sa.Column("tips", sa.Text()))
    op.add_column("rekey", sa.Column("tips", sa.Text(), nullable=False, server_default="[]"))
    op.add_column("journal", sa.Column("key", sa.Text(), nullable=False, server_default=""))
    op.execute("INSERT INTO meta (key, value) SELECT 'refold', '1' WHERE EXISTS (SELECT 1 FROM journal)")
    _name_signers_of_rekeys(op.get_bind())


def _name_signers_of_rekeys(connection: sa.Connection) -> None:
    """Which keys a site has follows from these at once; all other rows are named when they are folded anew."""
    anchor = connection.scalar(sa.text("SELECT value FROM meta WHERE key = 'anchor'"))
    keys: dict[str, set[str]] = {}
    if anchor:
        known = json.loads(anchor)
        keys.setdefault(known["site"], set()).add(known["key"])
    for row in connection.execute(sa.text("SELECT site, key, former FROM admission")).all():
        keys.setdefault(row.site, set()).update([row.key, *json.loads(row.former)])
    for row in connection.execute(sa.text("SELECT site, key FROM rekey")).all():
        keys.setdefault(row.site, set()).add(row.key)
    rows = connection.execute(
        sa.text("SELECT position, site, payload, signature FROM journal WHERE kind = 'site.rekeyed'")
    )
    for row in rows.all():
        for key in sorted(keys.get(row.site, ())):
            with suppress(SignatureInvalid):
                verify(key, Purpose.SEGMENT, decompress(row.payload), row.signature)
                connection.execute(
                    sa.text("UPDATE journal SET key = :key WHERE position = :at"), {"key": key, "at": row.position}
                )
