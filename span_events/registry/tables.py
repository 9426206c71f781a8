"""
The registry's tables, and how rows and values become each other.

What is looked up or compared has a column of its own. Blocks that only travel together are JSON, so
that a field added to such a block needs no change of the schema. A table that is new is made when an older registry is
opened; `SCHEMA` counts such changes, so that an older release does not open what it would not understand.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from operator import attrgetter
from typing import Any, Final, Generic, TypeVar

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.engine import RowMapping

from span_events import ids
from span_events.events.message import Transport
from span_events.registry.model import (
    Attachment,
    Blob,
    Certificate,
    CiotMetadata,
    Collection,
    CollectionFirmware,
    Device,
    DeviceConfig,
    Downstream,
    DownstreamState,
    FirmwareMetadata,
    Gateway,
    GatewayMetadata,
    GatewayType,
    Image,
    InetMetadata,
    Management,
    Psk,
    Reservation,
    Token,
)

SCHEMA: Final = 5
"""
Version of these tables: 2 added certificates and PSKs, 3 cellular sessions and reservations, 4 gateways,
5 firmware images and blobs.

A registry with a higher one is of a newer release.
"""

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

# A table of its own, so that keys are not written again with each batch of what devices sent.
psks: Final = Table(
    "psks",
    metadata,
    Column("device_id", BigInteger, ForeignKey("devices.id"), primary_key=True, autoincrement=False),
    Column("identity", LargeBinary, nullable=False, unique=True),
    Column("key", LargeBinary, nullable=False),
)

# No foreign key: a batch of what the mobile core told must not fail because one of the devices has gone meanwhile.
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

# No foreign key: a batch of what was sent must not fail because one of the devices has gone meanwhile.
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

Row = dict[str, Any]
"""One row, by column."""
T = TypeVar("T")


class _Block(Generic[T]):
    """A flat dataclass as JSON; fields that are missing get their default, unknown ones are left out."""

    def __init__(self, kind: type[T]) -> None:
        self._kind = kind
        self._names = tuple(each.name for each in dataclasses.fields(kind))  # type: ignore[arg-type]  # a dataclass
        self._values = attrgetter(*self._names)

    def write(self, value: T) -> Row:
        return dict(zip(self._names, self._values(value), strict=True))

    def read(self, row: Mapping[str, Any]) -> T:
        return self._kind(**{name: row[name] for name in self._names if name in row})


_FIRMWARE: Final = _Block(FirmwareMetadata)
_CIOT: Final = _Block(CiotMetadata)
_INET: Final = _Block(InetMetadata)


def collection_row(collection: Collection) -> Row:
    """Take what is stored of a collection."""
    return {
        "id": collection.id,
        "team_id": collection.team_id,
        "enabled": collection.enabled,
        "current_firmware_id": collection.firmware.current_firmware_id,
        "target_firmware_id": collection.firmware.target_firmware_id,
        "management": collection.firmware.management.value,
        "tags": dict(collection.tags),
    }


def collection_of(row: RowMapping) -> Collection:
    """Make a collection of its row."""
    return Collection(
        row["id"],
        row["team_id"],
        row["tags"],
        CollectionFirmware(row["current_firmware_id"], row["target_firmware_id"], Management(row["management"])),
        row["enabled"],
    )


def device_row(device: Device) -> Row:
    """Take what is stored of a device; later changes of the device do not reach the row."""
    return {
        "id": device.id,
        "collection_id": device.collection.id,
        "enabled": device.enabled,
        "imsi": device.config.imsi,
        "imei": device.config.imei,
        "gateways": {ids.render(each): dict(params) for each, params in device.config.gateways.items()},
        "tags": dict(device.tags),
        "firmware": _FIRMWARE.write(device.firmware),
        "ciot": _CIOT.write(device.ciot),
        "inet": _INET.write(device.inet),
        "last_gateway_id": device.last_gateway_id,
        "last_transport": device.last_transport.value,
        "last_received_ns": device.last_received_ns,
        "last_payload": device.last_payload,
    }


def device_of(
    row: RowMapping, collection: Collection, psk: Psk | None = None, gateway: GatewayMetadata | None = None
) -> Device:
    """Make a device of its row, and of what stands elsewhere."""
    ciot = _CIOT.read(row["ciot"])
    if "static_ip" not in row["ciot"]:
        ciot.static_ip = ciot.allocated_ip  # before schema 3, people were the only ones who gave addresses
    gateways = {ids.parse(each): params for each, params in row["gateways"].items() if params}
    return Device(
        row["id"],
        collection,
        row["tags"],
        DeviceConfig(row["imsi"], row["imei"], gateways),
        _FIRMWARE.read(row["firmware"]),
        ciot,
        _INET.read(row["inet"]),
        row["enabled"],
        row["last_gateway_id"],
        Transport(row["last_transport"]),
        row["last_received_ns"],
        row["last_payload"],
        psk,
        gateway=gateway or GatewayMetadata(),
    )


def psk_row(device_id: int, psk: Psk) -> Row:
    """Take what is stored of a device's PSK."""
    return {"device_id": device_id, "identity": psk.identity, "key": psk.key}


def psk_of(row: RowMapping) -> Psk:
    """Make a PSK of its row."""
    return Psk(row["identity"], row["key"])


def attachment_row(attachment: Attachment) -> Row:
    """Take what is stored of an attachment; later changes of it do not reach the row."""
    return {
        "id": attachment.id,
        "nas": attachment.nas,
        "nas_address": attachment.nas_address,
        "session": attachment.session,
        "device_id": attachment.device and attachment.device.id,
        "attached_ms": attachment.attached_ms,
        "imsi": attachment.imsi,
        "imei": attachment.imei,
        "apn": attachment.apn,
        "address": attachment.address,
        "prefix": attachment.prefix,
        "told_ms": attachment.told_ms,
    }


def attachment_of(row: RowMapping, device: Device | None) -> Attachment:
    """Make an attachment of its row."""
    return Attachment(
        row["id"],
        row["nas"],
        row["nas_address"],
        row["session"],
        device,
        row["attached_ms"],
        row["imsi"],
        row["imei"],
        row["apn"],
        row["address"],
        row["prefix"],
        row["told_ms"],
    )


def gateway_row(gateway: Gateway) -> Row:
    """Take what is stored of a gateway; later changes of the gateway do not reach the row."""
    return {
        "id": gateway.id,
        "collection_id": gateway.collection.id,
        "type": gateway.type.value,
        "name": gateway.name,
        "params": dict(gateway.params),
        "tags": dict(gateway.tags),
        "enabled": gateway.enabled,
        "reported": dict(gateway.reported),
        "reported_ms": gateway.reported_ms,
    }


def gateway_of(row: RowMapping, collection: Collection) -> Gateway:
    """Make a gateway of its row."""
    return Gateway(
        row["id"],
        collection,
        GatewayType(row["type"]),
        row["name"],
        row["params"],
        row["tags"],
        row["enabled"],
        row["reported"],
        row["reported_ms"],
    )


def gateway_metadata_row(device: Device) -> Row:
    """Take what is stored of what a gateway told about a device."""
    found = device.gateway
    return {
        "device_id": device.id,
        "gateway_id": found.gateway_id,
        "last_update": found.last_update,
        "params": dict(found.params),
    }


def gateway_metadata_of(row: RowMapping) -> GatewayMetadata:
    """Make what a gateway told about a device of its row."""
    return GatewayMetadata(row["gateway_id"], row["last_update"], row["params"])


def reservation_row(reservation: Reservation) -> Row:
    """Take what is stored of a reservation."""
    return {
        "address": reservation.address,
        "device_id": reservation.device_id,
        "imsi": reservation.imsi,
        "imei": reservation.imei,
        "apn": reservation.apn,
        "until_ms": reservation.until_ms,
    }


def reservation_of(row: RowMapping) -> Reservation:
    """Make a reservation of its row."""
    return Reservation(**{str(name): value for name, value in row.items()})


def certificate_row(certificate: Certificate) -> Row:
    """Take what is stored of a certificate."""
    return dataclasses.asdict(certificate)


def certificate_of(row: RowMapping) -> Certificate:
    """Make a certificate of its row."""
    return Certificate(**{str(name): value for name, value in row.items()})


def image_row(image: Image) -> Row:
    """Take what is stored of a firmware image."""
    return dataclasses.asdict(image)


def image_of(row: RowMapping) -> Image:
    """Make a firmware image of its row."""
    return Image(**{str(name): value for name, value in row.items()})


def blob_row(blob: Blob) -> Row:
    """Take what is stored of a blob."""
    return dataclasses.asdict(blob)


def blob_of(row: RowMapping) -> Blob:
    """Make a blob of its row."""
    return Blob(**{str(name): value for name, value in row.items()})


def downstream_row(message: Downstream) -> Row:
    """Take what is stored of a downstream message."""
    return {
        "id": message.id,
        "device_id": message.device_id,
        "payload": message.payload,
        "created_ms": message.created_ms,
        "sent_ms": message.sent_ms,
        "transport": message.transport.value,
        "state": message.state.value,
    }


def downstream_of(row: RowMapping) -> Downstream:
    """Make a downstream message of its row."""
    return Downstream(
        row["id"],
        row["device_id"],
        row["payload"],
        row["created_ms"],
        row["sent_ms"],
        Transport(row["transport"]),
        DownstreamState(row["state"]),
    )


def token_row(token: Token) -> Row:
    """Take what is stored of a token."""
    return dataclasses.asdict(token)


def token_of(row: RowMapping) -> Token:
    """Make a token of its row."""
    return Token(**{str(name): value for name, value in row.items()})
