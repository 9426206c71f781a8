"""
The registry's tables.

Fields used in look-ups and comparisons have a column of their own. Other blocks are JSON, so
that a new field in a block needs no change of the schema. Another change counts `SCHEMA` up and gets a file in
``migrations/versions/``; an older release does not open a newer registry.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

SCHEMA: Final = 11
"""
Version of these tables: 2 added certificates and PSKs, 3 cellular sessions and reservations, 4 gateways,
5 firmware images and blobs, 6 outputs, 7 users and logins, and the end and last use of tokens, 8 the journal of changes
and the numbers of nodes, 9 secrets that nodes share, 10 claims of downstream messages, 11 timers of attachments.

A registry with a higher one is of a newer release.
"""

Row = dict[str, Any]
"""One row, by column."""

metadata: Final = MetaData()

about: Final = Table("about", metadata, Column("schema", Integer, primary_key=True, autoincrement=False))

collections: Final = Table(
    "collections",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("team_id", BigInteger, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("current_firmware_id", BigInteger, nullable=False),
    Column("target_firmware_id", BigInteger, nullable=False),
    Column("management", String(16), nullable=False),
    Column("tags", JSON, nullable=False),
)

devices: Final = Table(
    "devices",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("collection_id", BigInteger, ForeignKey("collections.id"), nullable=False, index=True),
    Column("enabled", Boolean, nullable=False),
    Column("imsi", String(15), nullable=False),
    Column("imei", String(16), nullable=False),
    Column("gateways", JSON, nullable=False),
    Column("tags", JSON, nullable=False),
    Column("firmware", JSON, nullable=False),
    Column("ciot", JSON, nullable=False),
    Column("inet", JSON, nullable=False),
    Column("last_gateway_id", BigInteger, nullable=False),
    Column("last_transport", String(16), nullable=False),
    Column("last_received_ns", BigInteger, nullable=False),
    Column("last_payload", LargeBinary, nullable=False),
)

# A table of its own, so that keys are not written again with each batch of devices.
psks: Final = Table(
    "psks",
    metadata,
    Column("device_id", BigInteger, ForeignKey("devices.id"), primary_key=True, autoincrement=False),
    Column("identity", LargeBinary, nullable=False, unique=True),
    Column("key", LargeBinary, nullable=False),
)

# No foreign key: a batch of attachments must not fail because one of the devices was removed meanwhile.
cellular_sessions: Final = Table(
    "cellular_sessions",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("nas", Text, nullable=False),
    Column("nas_address", Text, nullable=False),
    Column("session", Text, nullable=False),
    Column("device_id", BigInteger),
    Column("attached_ms", BigInteger, nullable=False),
    Column("imsi", String(15), nullable=False),
    Column("imei", String(16), nullable=False),
    Column("apn", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("prefix", Text, nullable=False),
    Column("told_ms", BigInteger, nullable=False),
    Column("lifetime", Float, nullable=False, server_default="0"),
    Column("silence_of", BigInteger),
)

gateways: Final = Table(
    "gateways",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("collection_id", BigInteger, ForeignKey("collections.id"), nullable=False, index=True),
    Column("type", String(16), nullable=False),
    Column("name", Text, nullable=False),
    Column("params", JSON, nullable=False),
    Column("tags", JSON, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("reported", JSON, nullable=False),
    Column("reported_ms", BigInteger, nullable=False),
)

# A table of its own: most devices are behind no gateway.
gateway_metadata: Final = Table(
    "gateway_metadata",
    metadata,
    Column("device_id", BigInteger, ForeignKey("devices.id"), primary_key=True, autoincrement=False),
    Column("gateway_id", BigInteger, nullable=False),
    Column("last_update", BigInteger, nullable=False),
    Column("params", JSON, nullable=False),
)

cellular_reservations: Final = Table(
    "cellular_reservations",
    metadata,
    Column("address", String(43), primary_key=True),
    Column("device_id", BigInteger),
    Column("imsi", String(15), nullable=False),
    Column("imei", String(16), nullable=False),
    Column("apn", Text, nullable=False),
    Column("until_ms", BigInteger, nullable=False),
)

# No foreign keys: a certificate outlives its device, and then its collection.
certificates: Final = Table(
    "certificates",
    metadata,
    Column("serial", BigInteger, primary_key=True, autoincrement=False),
    Column("collection_id", BigInteger, nullable=False),
    Column("device_id", BigInteger),
    Column("gateway_id", BigInteger),
    Column("not_before_ms", BigInteger, nullable=False),
    Column("not_after_ms", BigInteger, nullable=False),
    Column("revoked_ms", BigInteger, nullable=False),
)

firmware_images: Final = Table(
    "firmware_images",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("collection_id", BigInteger, ForeignKey("collections.id"), nullable=False),
    Column("version", Text, nullable=False),
    Column("filename", Text, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("length", BigInteger, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("tags", JSON, nullable=False),
    Column("enabled", Boolean, nullable=False),
    UniqueConstraint("collection_id", "version"),
    UniqueConstraint("collection_id", "sha256"),
)

# No foreign key to devices: a blob outlives the device that sent it.
blobs: Final = Table(
    "blobs",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("collection_id", BigInteger, ForeignKey("collections.id"), nullable=False, index=True),
    Column("device_id", BigInteger, nullable=False),
    Column("gateway_id", BigInteger, nullable=False),
    Column("content_type", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    Column("properties", JSON, nullable=False),
)

outputs: Final = Table(
    "outputs",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("collection_id", BigInteger, ForeignKey("collections.id"), nullable=False, index=True),
    Column("type", String(16), nullable=False),
    Column("config", JSON, nullable=False),
    Column("tags", JSON, nullable=False),
    Column("enabled", Boolean, nullable=False),
)

# No foreign key: a batch of messages must not fail because one of the devices was removed meanwhile.
downstream: Final = Table(
    "downstream",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("device_id", BigInteger, nullable=False, index=True),
    Column("payload", LargeBinary, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("sent_ms", BigInteger, nullable=False),
    Column("transport", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("claimed_by", String(32), nullable=False, server_default=""),
)

tokens: Final = Table(
    "tokens",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("digest", String(64), nullable=False, unique=True),
    Column("resource", Text, nullable=False),
    Column("write", Boolean, nullable=False),
    Column("name", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
)

token_ends: Final = Table(
    "token_ends",
    metadata,
    Column("token_id", BigInteger, primary_key=True, autoincrement=False),
    Column("expires_ms", BigInteger, nullable=False),
)

# A table of its own, so that tokens are not written again with each batch; no foreign key, as in other batches.
token_uses: Final = Table(
    "token_uses",
    metadata,
    Column("token_id", BigInteger, primary_key=True, autoincrement=False),
    Column("used_ms", BigInteger, nullable=False),
)

users: Final = Table(
    "users",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("email", Text, nullable=False, unique=True),
    Column("password", Text, nullable=False),
    Column("resource", Text, nullable=False),
    Column("write", Boolean, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
)

logins: Final = Table(
    "logins",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("user_id", BigInteger, ForeignKey("users.id"), nullable=False, index=True),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
)

# Only a registry that several nodes share has rows in the tables below.
changes: Final = Table(
    "changes",
    metadata,
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("changed", JSON, nullable=False),
)

nodes: Final = Table(
    "nodes",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("holder", String(32), nullable=False),
    Column("leased_until", DateTime(timezone=True), nullable=False),
    Column("rests_until", DateTime(timezone=True), nullable=False),
)

secrets: Final = Table(
    "secrets",
    metadata,
    Column("name", Text, primary_key=True),
    Column("content", LargeBinary, nullable=False),
)
