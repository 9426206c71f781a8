"""
Conversion between rows and values.

A value with the same fields as its row has a `Block`; the others have a function for each direction.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final, Generic, TypeVar

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
from span_events.registry.outputs import Output, OutputConfig, OutputType
from span_events.registry.tables import Row

T = TypeVar("T")


class Block(Generic[T]):
    """A flat dataclass as a row or as JSON; fields that are missing get their default, unknown ones are left out."""

    def __init__(self, kind: type[T]) -> None:
        self._kind = kind
        self._names = tuple(each.name for each in dataclasses.fields(kind))  # type: ignore[arg-type]  # a dataclass

    def write(self, value: T) -> Row:
        """Copy every field, shallowly."""
        return {name: getattr(value, name) for name in self._names}

    def read(self, row: Mapping[str, Any] | RowMapping) -> T:
        """Make the value."""
        return self._kind(**{name: row[name] for name in self._names if name in row})


BLOB: Final = Block(Blob)
CERTIFICATE: Final = Block(Certificate)
GATEWAY_METADATA: Final = Block(GatewayMetadata)
IMAGE: Final = Block(Image)
PSK: Final = Block(Psk)
RESERVATION: Final = Block(Reservation)
TOKEN: Final = Block(Token)
_CIOT: Final = Block(CiotMetadata)
_FIRMWARE: Final = Block(FirmwareMetadata)
_INET: Final = Block(InetMetadata)
_OUTPUT_CONFIG: Final = Block(OutputConfig)


def collection_row(collection: Collection) -> Row:
    """Return the row of a collection."""
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
        id=row["id"],
        team_id=row["team_id"],
        tags=row["tags"],
        firmware=CollectionFirmware(
            row["current_firmware_id"], row["target_firmware_id"], Management(row["management"])
        ),
        enabled=row["enabled"],
    )


def device_row(device: Device) -> Row:
    """Return the row of a device; later changes of the device do not affect the row."""
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
    """Build a device from its row and those of its other tables."""
    ciot = _CIOT.read(row["ciot"])
    if "static_ip" not in row["ciot"]:
        ciot.static_ip = ciot.allocated_ip  # before schema 3, all addresses were set by hand
    gateways = {ids.parse(each): params for each, params in row["gateways"].items() if params}
    return Device(
        id=row["id"],
        collection=collection,
        tags=row["tags"],
        config=DeviceConfig(row["imsi"], row["imei"], gateways),
        firmware=_FIRMWARE.read(row["firmware"]),
        ciot=ciot,
        inet=_INET.read(row["inet"]),
        enabled=row["enabled"],
        last_gateway_id=row["last_gateway_id"],
        last_transport=Transport(row["last_transport"]),
        last_received_ns=row["last_received_ns"],
        last_payload=row["last_payload"],
        psk=psk,
        gateway=gateway or GatewayMetadata(),
    )


def psk_row(device_id: int, psk: Psk) -> Row:
    """Return the row of a device's PSK."""
    return {"device_id": device_id, **PSK.write(psk)}


def attachment_row(attachment: Attachment) -> Row:
    """Return the row of an attachment; later changes do not affect the row."""
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
        "told_ms": attachment.reported_ms,
        "lifetime": attachment.lifetime,
    }


def attachment_of(row: RowMapping, device: Device | None) -> Attachment:
    """Make an attachment of its row."""
    return Attachment(
        id=row["id"],
        nas=row["nas"],
        nas_address=row["nas_address"],
        session=row["session"],
        device=device,
        attached_ms=row["attached_ms"],
        imsi=row["imsi"],
        imei=row["imei"],
        apn=row["apn"],
        address=row["address"],
        prefix=row["prefix"],
        reported_ms=row["told_ms"],
        lifetime=row["lifetime"],
    )


def gateway_row(gateway: Gateway) -> Row:
    """Return the row of a gateway; later changes of the gateway do not affect the row."""
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
        id=row["id"],
        collection=collection,
        type=GatewayType(row["type"]),
        name=row["name"],
        params=row["params"],
        tags=row["tags"],
        enabled=row["enabled"],
        reported=row["reported"],
        reported_ms=row["reported_ms"],
    )


def gateway_metadata_row(device: Device) -> Row:
    """Return the row of a gateway's report about a device."""
    found = device.gateway
    return {
        "device_id": device.id,
        "gateway_id": found.gateway_id,
        "last_update": found.last_update,
        "params": dict(found.params),
    }


def output_row(output: Output) -> Row:
    """Return the row of an output."""
    return {
        "id": output.id,
        "collection_id": output.collection_id,
        "type": output.type.value,
        "config": _OUTPUT_CONFIG.write(output.config),
        "tags": dict(output.tags),
        "enabled": output.enabled,
    }


def output_of(row: RowMapping) -> Output:
    """Make an output of its row."""
    return Output(
        id=row["id"],
        collection_id=row["collection_id"],
        type=OutputType(row["type"]),
        config=_OUTPUT_CONFIG.read(row["config"]),
        tags=row["tags"],
        enabled=row["enabled"],
    )


def reservation_row(reservation: Reservation) -> Row:
    """Return the row of a reservation; spelt out for speed, as thousands of attach requests wait for it."""
    return {
        "address": reservation.address,
        "device_id": reservation.device_id,
        "imsi": reservation.imsi,
        "imei": reservation.imei,
        "apn": reservation.apn,
        "until_ms": reservation.until_ms,
    }


def downstream_row(message: Downstream) -> Row:
    """Return the row of a downstream message."""
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
        id=row["id"],
        device_id=row["device_id"],
        payload=row["payload"],
        created_ms=row["created_ms"],
        sent_ms=row["sent_ms"],
        transport=Transport(row["transport"]),
        state=DownstreamState(row["state"]),
    )
