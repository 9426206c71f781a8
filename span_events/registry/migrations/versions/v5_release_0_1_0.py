"""Schema 5: the tables of release 0.1.0. A registry of an unreleased schema has some of them already."""

import sqlalchemy as sa
from alembic import op

revision = "5"
down_revision = None


def upgrade() -> None:
    """Create the tables that are missing."""
    op.create_table(
        "collections",
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("team_id", sa.BigInteger, nullable=False),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("current_firmware_id", sa.BigInteger, nullable=False),
        sa.Column("target_firmware_id", sa.BigInteger, nullable=False),
        sa.Column("management", sa.String(16), nullable=False),
        sa.Column("tags", sa.JSON, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "devices",
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("collection_id", sa.BigInteger, sa.ForeignKey("collections.id"), nullable=False),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("imsi", sa.String(15), nullable=False),
        sa.Column("imei", sa.String(16), nullable=False),
        sa.Column("gateways", sa.JSON, nullable=False),
        sa.Column("tags", sa.JSON, nullable=False),
        sa.Column("firmware", sa.JSON, nullable=False),
        sa.Column("ciot", sa.JSON, nullable=False),
        sa.Column("inet", sa.JSON, nullable=False),
        sa.Column("last_gateway_id", sa.BigInteger, nullable=False),
        sa.Column("last_transport", sa.String(16), nullable=False),
        sa.Column("last_received_ns", sa.BigInteger, nullable=False),
        sa.Column("last_payload", sa.LargeBinary, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "psks",
        sa.Column("device_id", sa.BigInteger, sa.ForeignKey("devices.id"), primary_key=True, autoincrement=False),
        sa.Column("identity", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("key", sa.LargeBinary, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "cellular_sessions",
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("nas", sa.Text, nullable=False),
        sa.Column("nas_address", sa.Text, nullable=False),
        sa.Column("session", sa.Text, nullable=False),
        sa.Column("device_id", sa.BigInteger),
        sa.Column("attached_ms", sa.BigInteger, nullable=False),
        sa.Column("imsi", sa.String(15), nullable=False),
        sa.Column("imei", sa.String(16), nullable=False),
        sa.Column("apn", sa.Text, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("prefix", sa.Text, nullable=False),
        sa.Column("told_ms", sa.BigInteger, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "gateways",
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("collection_id", sa.BigInteger, sa.ForeignKey("collections.id"), nullable=False),
        sa.Column("type", sa.String(16), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("params", sa.JSON, nullable=False),
        sa.Column("tags", sa.JSON, nullable=False),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("reported", sa.JSON, nullable=False),
        sa.Column("reported_ms", sa.BigInteger, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "gateway_metadata",
        sa.Column("device_id", sa.BigInteger, sa.ForeignKey("devices.id"), primary_key=True, autoincrement=False),
        sa.Column("gateway_id", sa.BigInteger, nullable=False),
        sa.Column("last_update", sa.BigInteger, nullable=False),
        sa.Column("params", sa.JSON, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "cellular_reservations",
        sa.Column("address", sa.String(43), primary_key=True),
        sa.Column("device_id", sa.BigInteger),
        sa.Column("imsi", sa.String(15), nullable=False),
        sa.Column("imei", sa.String(16), nullable=False),
        sa.Column("apn", sa.Text, nullable=False),
        sa.Column("until_ms", sa.BigInteger, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "certificates",
        sa.Column("serial", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("collection_id", sa.BigInteger, nullable=False),
        sa.Column("device_id", sa.BigInteger),
        sa.Column("gateway_id", sa.BigInteger),
        sa.Column("not_before_ms", sa.BigInteger, nullable=False),
        sa.Column("not_after_ms", sa.BigInteger, nullable=False),
        sa.Column("revoked_ms", sa.BigInteger, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "firmware_images",
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("collection_id", sa.BigInteger, sa.ForeignKey("collections.id"), nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("filename", sa.Text, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("length", sa.BigInteger, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("tags", sa.JSON, nullable=False),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.UniqueConstraint("collection_id", "version"),
        sa.UniqueConstraint("collection_id", "sha256"),
        if_not_exists=True,
    )
    op.create_table(
        "blobs",
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("collection_id", sa.BigInteger, sa.ForeignKey("collections.id"), nullable=False),
        sa.Column("device_id", sa.BigInteger, nullable=False),
        sa.Column("gateway_id", sa.BigInteger, nullable=False),
        sa.Column("content_type", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("created_ns", sa.BigInteger, nullable=False),
        sa.Column("properties", sa.JSON, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "downstream",
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("device_id", sa.BigInteger, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("sent_ms", sa.BigInteger, nullable=False),
        sa.Column("transport", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "tokens",
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("digest", sa.String(64), nullable=False, unique=True),
        sa.Column("resource", sa.Text, nullable=False),
        sa.Column("write", sa.Boolean, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        if_not_exists=True,
    )
    op.create_index("ix_devices_collection_id", "devices", ["collection_id"], if_not_exists=True)
    op.create_index("ix_gateways_collection_id", "gateways", ["collection_id"], if_not_exists=True)
    op.create_index("ix_blobs_collection_id", "blobs", ["collection_id"], if_not_exists=True)
    op.create_index("ix_downstream_device_id", "downstream", ["device_id"], if_not_exists=True)
