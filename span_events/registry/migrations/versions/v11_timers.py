"""Schema 11: the lifetime of an attachment, and the device of which its silence was checked."""

import sqlalchemy as sa
from alembic import op

revision = "11"
down_revision = "10"


def upgrade() -> None:
    """Add the columns."""
    op.add_column("cellular_sessions", sa.Column("lifetime", sa.Float, nullable=False, server_default="0"))
    op.add_column("cellular_sessions", sa.Column("silence_of", sa.BigInteger))
