"""Schema 10: claims of downstream messages by nodes."""

import sqlalchemy as sa
from alembic import op

revision = "10"
down_revision = "9"


def upgrade() -> None:
    """Add the column."""
    op.add_column("downstream", sa.Column("claimed_by", sa.String(32), nullable=False, server_default=""))
