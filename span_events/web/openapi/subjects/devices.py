"""Devices and their pre-shared keys, in the OpenAPI document."""

from __future__ import annotations

from typing import Final

from span_events.events.message import Transport
from span_events.web.openapi.operations import EXTENDED, JSON, PAGE, Operation, json_of
from span_events.web.openapi.schemas import (
    BASE64,
    ID,
    NUMBER,
    TEXTS,
    TRUE_FALSE,
    Schema,
    digits,
    fields,
    list_of,
    one_of,
    ref,
    text,
)
from span_events.web.rest.bodies.models import DeviceBody, PskBody

_SECONDS: Final = digits("Time")
PROGRESS: Final = {
    "block": NUMBER | {"description": "Block of the download (extended)."},
    "blockSize": NUMBER | {"description": "Its size in octets (extended)."},
    "percent": NUMBER | {"description": "Percent of the image that are sent (extended)."},
}
SCHEMAS: Final[dict[str, Schema]] = {
    "DeviceConfig": fields(
        "What identifies the device.",
        {},
        {
            "ciot": fields("On the mobile network.", {}, {"imsi": digits("IMSI"), "imei": digits("IMEI")}),
            "inet": fields("Empty: the certificate identifies it.", {}),
            "gateway": {
                "type": "object",
                "description": "Settings of each gateway, by its id.",
                "additionalProperties": fields("Settings.", {"gatewayId": ID, "params": TEXTS}),
            },
        },
    ),
    "DeviceMetadata": fields(
        "What the networks told of the device.",
        {},
        {
            "ciot": fields(
                "The mobile network.",
                {
                    "gatewayId": ID,
                    "allocatedIp": text(),
                    "allocatedAt": _SECONDS,
                    "cellId": text(),
                    "mcc": NUMBER,
                    "mnc": NUMBER,
                    "country": text(),
                    "network": text(),
                    "countryCode": text(),
                    "lastUpdate": _SECONDS,
                    "lastImsi": text(),
                    "lastImei": text(),
                },
                {"allocatedPrefix": text("IPv6 prefix (extended)."), "staticIp": text("Address (extended).")},
            ),
            "inet": fields(
                "The internet, over DTLS.",
                {"gatewayId": ID, "lastUpdate": _SECONDS, "remoteAddress": text(), "certificateSerial": text()},
            ),
            "gateway": fields("Its gateway.", {"gatewayId": ID, "lastUpdate": _SECONDS, "params": TEXTS}),
        },
    ),
    "FirmwareMetadata": fields(
        "The firmware of the device.",
        {
            "currentFirmwareId": ID,
            "targetFirmwareId": ID,
            **dict.fromkeys(
                ("firmwareVersion", "serialNumber", "modelNumber", "manufacturer", "state", "stateMessage"), text()
            ),
        },
        PROGRESS,
    ),
    "Device": fields(
        "A device.",
        {
            "deviceId": ID,
            "collectionId": ID,
            "enabled": TRUE_FALSE,
            "tags": TEXTS,
            "config": ref("DeviceConfig"),
            "firmware": ref("FirmwareMetadata"),
            "metadata": ref("DeviceMetadata"),
            "lastGatewayId": ID,
            "lastTransport": one_of(Transport),
            "lastReceived": digits("Unix nanoseconds"),
            "lastPayload": BASE64,
        },
    ),
    "Devices": fields("Devices.", {"devices": list_of(ref("Device"))}),
}
_ALL: Final = "/span/collections/{collection}/devices"
_ONE: Final = f"{_ALL}/{{device}}"
_EXAMPLE: Final = {"tags": {"name": "pump-3"}, "config": {"ciot": {"imsi": "242016000000123"}}}
OPERATIONS: Final = (
    Operation(
        method="get",
        path=_ALL,
        id="listDevices",
        summary="List the devices of a collection",
        query=(*PAGE, EXTENDED),
        content=json_of("Devices"),
    ),
    Operation(
        method="post",
        path=_ALL,
        id="createDevice",
        summary="Create a device",
        query=(EXTENDED,),
        body=DeviceBody,
        example=_EXAMPLE,
        content=json_of("Device"),
        problems=(409,),
    ),
    Operation(
        method="get",
        path=_ONE,
        id="getDevice",
        summary="Show a device",
        query=(EXTENDED,),
        content=json_of("Device"),
    ),
    Operation(
        method="patch",
        path=_ONE,
        id="updateDevice",
        summary="Change a device, or move it to another collection",
        query=(EXTENDED,),
        body=DeviceBody,
        example={"tags": {"room": "lab"}},
        content=json_of("Device"),
        problems=(409,),
    ),
    Operation(
        method="delete",
        path=_ONE,
        id="deleteDevice",
        summary="Remove a device",
        query=(EXTENDED,),
        content=json_of("Device"),
        reply="Its last state.",
    ),
    Operation(
        method="get",
        path=f"{_ONE}/stats",
        id="getDeviceStats",
        summary="Count a device's messages and sessions since the server started",
        content=json_of("DeviceStats"),
    ),
    Operation(
        method="put",
        path=f"{_ONE}/psk",
        id="putPsk",
        summary="Set or replace the pre-shared key of a device; it cannot be read again",
        body=PskBody,
        example={"identity": "cHVtcC0z", "key": "MDEyMzQ1Njc4OWFiY2RlZg=="},
        content={JSON: fields("The identity.", {"deviceId": ID, "identity": BASE64})},
        problems=(409,),
    ),
    Operation(
        method="delete",
        path=f"{_ONE}/psk",
        id="deletePsk",
        summary="Take the pre-shared key of a device away",
        content={JSON: fields("The device.", {"deviceId": ID})},
    ),
)
