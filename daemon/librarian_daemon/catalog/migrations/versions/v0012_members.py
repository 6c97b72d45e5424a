"""A batch says which single files it brings, and into which store: the record by which a start finishes them."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Add the columns; batches of before name nothing."""
    op.add_column("batch", sa.Column("store", sa.Text(), nullable=False, server_default=""))
    op.add_column("batch", sa.Column("members", sa.LargeBinary(), nullable=True))
