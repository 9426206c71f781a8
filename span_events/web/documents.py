"""
Documents: Span's JSON of registry resources, as plain dictionaries.

Numbers that may exceed 2^53 are decimal strings, payloads are base64, enumerations are lower-case
words, ids are base 24 (``0`` for none). Empty blocks are left out, except those that
Span's own clients dereference: ``metadata``, and ``params`` of each gateway block.

Only fields of Span's API document are written, since its Java client fails on any other; fields of our
own are added when the caller asks for extended documents.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from typing import Any, Final

from span_events.dialects.span import render_id
from span_events.events.activity import Origin
from span_events.events.message import Message, Transport
from span_events.fleet.live import Values
from span_events.fleet.outputs.health import OutputHealth
from span_events.ids import render
from span_events.registry.directory import BUILT_IN, built_in
from span_events.registry.model import (
    Blob,
    Certificate,
    CiotMetadata,
    Collection,
    Device,
    Downstream,
    FirmwareMetadata,
    Gateway,
    GatewayMetadata,
    GatewayStatus,
    GatewayType,
    Image,
    InetMetadata,
    Traffic,
)
from span_events.registry.outputs import Output

Document = dict[str, Any]
"""A JSON object."""

_NO_CIOT: Final = CiotMetadata()
_NO_INET: Final = InetMetadata()
_NO_GATEWAY: Final = GatewayMetadata()
_INT32: Final = (1 << 31) - 1
_OVER_UDP: Final = (Transport.UDP, Transport.DTLS)
_OVER_COAP: Final = (Transport.COAP, Transport.COAPS)
_OF_GATEWAYS: Final = (Transport.UNSPECIFIED, Transport.GATEWAY)
"""Transports without a built-in gateway."""


def collection(value: Collection) -> Document:
    """Write a Collection."""
    return {
        "collectionId": render_id(value.id),
        "teamId": render(value.team_id),
        "enabled": value.enabled,
        "tags": value.tags,
        "firmware": {
            "currentFirmwareId": render(value.firmware.current_firmware_id),
            "targetFirmwareId": render(value.firmware.target_firmware_id),
            "management": value.firmware.management.value,
        },
    }


def message_times(*, upstream: Sequence[int] | None, downstream: Sequence[int] | None, since_ms: int) -> Document:
    """
    Write the fields of a Collection with the times of its messages.

    Args:
        upstream: Times of upstream messages, Unix milliseconds; None leaves the field out.
        downstream: Likewise of downstream messages.
        since_ms: Older ones are left out.
    """
    times = {"upstreamTimestamps": upstream, "downstreamTimestamps": downstream}
    return {
        name: [str(each) for each in found if each >= since_ms] for name, found in times.items() if found is not None
    }


def device(value: Device, *, extended: bool = False) -> Document:
    """Write a Device; extended, also the progress of a download, the IPv6 prefix and the static address."""
    firmware = value.firmware
    return {
        "deviceId": render_id(value.id),
        "collectionId": render_id(value.collection.id),
        "enabled": value.enabled,
        "tags": value.tags,
        "config": _config(value),
        "firmware": {
            "currentFirmwareId": render(firmware.current_firmware_id),
            "targetFirmwareId": render(firmware.target_firmware_id),
            "firmwareVersion": firmware.firmware_version,
            "serialNumber": firmware.serial_number,
            "modelNumber": firmware.model_number,
            "manufacturer": firmware.manufacturer,
            "state": firmware.state,
            "stateMessage": firmware.state_message,
            **(_download(firmware) if extended else {}),
        },
        "metadata": _metadata(value, extended=extended),
        "lastGatewayId": _gateway_id(value.last_gateway_id, value.last_transport),
        "lastTransport": value.last_transport.value,
        "lastReceived": str(value.last_received_ns),
        "lastPayload": b64encode(value.last_payload).decode(),
    }


def gateway(value: Gateway, *, extended: bool = False, online: bool = False) -> Document:
    """
    Write a Gateway; extended, also the metadata that the gateway reported.

    Args:
        online: True if it is connected to another node.
    """
    document: Document = {
        "gatewayId": render_id(value.id),
        "collectionId": render_id(value.collection.id),
        "name": value.name,
        "builtIn": value.built_in,
        "type": value.type.value,
        "config": {value.type.value: value.params} if value.built_in else {"user": {"params": value.params}},
        "tags": value.tags,
        "status": (GatewayStatus.ONLINE if online else value.status).value,
        "enabled": value.enabled,
    }
    if extended and value.reported_ms:
        document["metadata"] = {"lastUpdate": str(value.reported_ms), "params": value.reported}
    return document


def gateway_stats(traffics: Sequence[Traffic]) -> Document:
    """Write a GatewayStats; each node has traffic of its own."""
    return _totals(traffics)


def firmware(value: Image) -> Document:
    """Write a Firmware."""
    return {
        "imageId": render_id(value.id),
        "collectionId": render_id(value.collection_id),
        "version": value.version,
        "filename": value.filename,
        "sha256": value.sha256,
        "length": value.length,
        "created": str(value.created_ms),
        "tags": value.tags,
        "enabled": value.enabled,
    }


def firmware_stats(images: Iterable[Image]) -> Document:
    """Write a FirmwareStats over one image or more; Span's clients have room for 31 bits."""
    return {"firmwareImageSize": min(sum(each.length for each in images), _INT32)}


def blob(value: Blob) -> Document:
    """Write a Blob."""
    return {
        "blobId": render_id(value.id),
        "blobPath": f"/span/collections/{render_id(value.collection_id)}/blobs/{render_id(value.id)}",
        "contentType": value.content_type,
        "size": str(value.size),
        "created": str(value.created_ns),
        "collectionId": render_id(value.collection_id),
        "deviceId": render_id(value.device_id),
        "gatewayId": render(value.gateway_id),
        "properties": dict(value.properties),
    }


def image_version_entry(value: Device) -> Document:
    """Write an ImageVersionEntry: the last firmware report of a device."""
    return {
        "deviceId": render_id(value.id),
        "imageId": render(value.firmware.current_firmware_id),
        "imageVersion": value.firmware.firmware_version,
        "imageLabel": "",
        "reported": str(value.firmware.reported_ms),
    }


def image_state(value: Device, *, extended: bool = False) -> Document:
    """Write an ImageState, the state of a device's update to its target; extended, also the progress."""
    return {
        "collectionId": render_id(value.collection.id),
        "deviceId": render_id(value.id),
        "imageId": render(value.firmware.state_image_id),
        "updated": str(value.firmware.state_ms),
        "state": value.firmware.state,
        "message": value.firmware.state_message,
        **(_download(value.firmware) if extended else {}),
    }


def _download(firmware: FirmwareMetadata) -> Document:
    """Write the progress of the target's download; empty before the download begins."""
    length = firmware.download_length
    if not length or firmware.download_image_id != firmware.state_image_id:
        return {}
    return {
        "block": firmware.download_block,
        "blockSize": firmware.download_block_size,
        "percent": 100 * firmware.download_end // length,
    }


def certificate_info(value: Certificate, *, extended: bool = False) -> Document:
    """Write a CertificateInfo; extended, also the time of revocation."""
    document = {"certificateSerial": str(value.serial), "expires": str(value.not_after_ms)}
    if extended and value.revoked_ms:
        document["revoked"] = str(value.revoked_ms)
    return document


def message_downstream(value: Downstream, owner: Device) -> Document:
    """Write a MessageDownstream; its collection is the one where the device is now."""
    return {
        "messageId": render(value.id),
        "collectionId": render_id(owner.collection.id),
        "deviceId": render_id(value.device_id),
        "gatewayId": _gateway_id(value.gateway_id, value.transport),
        "createdTime": str(value.created_ms),
        **({"sentTime": str(value.sent_ms)} if value.sent_ms else {}),
        "transport": value.transport.value,
        "state": value.state.value,
        "payload": b64encode(value.payload).decode(),
    }


def message_upstream(value: Message) -> Document:
    """Write a MessageUpstream (the inbox of a device)."""
    return {
        "messageId": render(value.id),
        **_whose(value.origin),
        "gatewayId": _gateway_id(value.origin.gateway_id or 0, value.transport),
        "transport": value.transport.value,
        "received": str(value.received_ns // 1_000_000),
        "payload": b64encode(value.payload).decode(),
    }


def output_data_message(value: Message, sender: Device | None) -> Document:
    """
    Write an OutputDataMessage (``/from``, ``/data``, outputs).

    Args:
        sender: The device as it is now; None if it has been removed since. A moved device is not shown: a reader
            of the old collection's messages need not have access to the new collection.
    """
    shown = sender is not None and sender.collection.id == value.origin.collection_id
    document: Document = {
        "type": "data",
        "device": device(sender) if sender and shown else {**_whose(value.origin), "metadata": {}},
        "payload": b64encode(value.payload).decode(),
        "received": str(value.received_ns // 1_000_000),
        "transport": value.transport.value,
        "messageId": render(value.id),
        "gatewayId": _gateway_id(value.origin.gateway_id or 0, value.transport),
    }
    if value.transport in _OVER_UDP:
        document["udpMetaData"] = {"localPort": value.local_port, "remotePort": value.remote_port}
    elif value.transport in _OVER_COAP:
        document["coapMetaData"] = {"code": value.coap_code, "path": value.coap_path}
    elif value.transport is Transport.GATEWAY:
        document["gatewayMetaData"] = {"metadata": dict(value.gateway_metadata)}
    return document


def device_stats(traffics: Sequence[Traffic]) -> Document:
    """Write a DeviceStats; each node has traffic of its own."""
    return {**_totals(traffics), "sessionCount": sum(each.sessions for each in traffics)}


def collection_stats(
    devices: Iterable[Device],
    gateways: Iterable[Gateway],
    images: Iterable[Image],
    blobs: Iterable[Blob],
    outputs: Sequence[Output],
    *,
    health: OutputHealth,
    others: Values,
) -> Document:
    """
    Write a CollectionStats; built-in gateways are not counted.

    Args:
        health: Health of the outputs together.
        others: Values that other nodes have.
    """
    custom = [each.traffic for each in gateways if not each.built_in]
    traffics = [each.traffic for each in devices]
    images, sizes = list(images), [each.size for each in blobs]
    return {
        "deviceCount": len(traffics),
        "outputCount": len(outputs),
        "firmwareCount": len(images),
        "blobCount": len(sizes),
        "gatewayCount": len(custom),
        "devices": device_stats([*traffics, others.devices]),
        "outputs": output_stats(health),
        "firmware": firmware_stats(images),
        "blobs": {"blobBytes": str(sum(sizes))},
        "gateways": _totals([*custom, others.gateways]),
    }


def output_stats(value: OutputHealth) -> Document:
    """Write an OutputStats of one output, or of several together."""
    return {
        "forwardErrors": min(value.errors, _INT32),
        "messagesForwarded": str(value.forwarded),
        "bytesForwarded": str(value.bytes_forwarded),
    }


def _gateway_id(gateway_id: int, transport: Transport) -> str:
    """Write the id of a message's gateway: one that has a control stream, else the built-in one of the transport."""
    if not gateway_id and transport not in _OF_GATEWAYS:
        gateway_id = built_in(transport)
    return render_id(gateway_id)


def _whose(origin: Origin) -> Document:
    return {"collectionId": render_id(origin.collection_id or 0), "deviceId": render_id(origin.device_id or 0)}


def _totals(traffics: Sequence[Traffic]) -> Document:
    return {
        "bytesUpstream": str(sum(each.bytes_upstream for each in traffics)),
        "bytesDownstream": str(sum(each.bytes_downstream for each in traffics)),
        "messagesUpstream": str(sum(each.messages_upstream for each in traffics)),
        "messagesDownstream": str(sum(each.messages_downstream for each in traffics)),
    }


def _config(value: Device) -> Document:
    config = value.config
    document: Document = {}
    ciot = {name: number for name, number in (("imsi", config.imsi), ("imei", config.imei)) if number}
    if ciot:
        document["ciot"] = ciot
    if value.inet.certificate_serial:
        document["inet"] = {}  # always empty: the certificate is the identity
    if config.gateways:
        document["gateway"] = {
            render_id(each): {"gatewayId": render_id(each), "params": params}
            for each, params in config.gateways.items()
        }
    return document


def _metadata(value: Device, *, extended: bool) -> Document:
    ciot, inet = value.ciot, value.inet
    document: Document = {}
    if ciot != _NO_CIOT:
        document["ciot"] = {
            "gatewayId": render_id(BUILT_IN[GatewayType.CIOT]),
            "allocatedIp": ciot.allocated_ip,
            "allocatedAt": str(ciot.allocated_at),
            "cellId": ciot.cell_id,
            "mcc": ciot.mcc,
            "mnc": ciot.mnc,
            "country": ciot.country,
            "network": ciot.network,
            "countryCode": ciot.country_code,
            "lastUpdate": str(ciot.last_update),
            "lastImsi": ciot.last_imsi,
            "lastImei": ciot.last_imei,
        }
        ours = {"allocatedPrefix": ciot.allocated_prefix, "staticIp": ciot.static_ip} if extended else {}
        document["ciot"] |= {name: text for name, text in ours.items() if text}
    if inet != _NO_INET:
        document["inet"] = {
            "gatewayId": render_id(BUILT_IN[GatewayType.INET]),
            "lastUpdate": str(inet.last_update),
            "remoteAddress": inet.remote_address,
            "certificateSerial": inet.certificate_serial,
        }
    if value.gateway != _NO_GATEWAY:
        document["gateway"] = {
            "gatewayId": render_id(value.gateway.gateway_id),
            "lastUpdate": str(value.gateway.last_update),
            "params": value.gateway.params,
        }
    return document
