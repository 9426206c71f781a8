"""Firmware images and updates, in the OpenAPI document."""

from __future__ import annotations

from typing import Final

from span_events.web.openapi.operations import EXTENDED, JSON, PAGE, Operation, json_of
from span_events.web.openapi.schemas import ID, NUMBER, TEXTS, TRUE_FALSE, Schema, digits, fields, list_of, ref, text
from span_events.web.openapi.subjects.devices import PROGRESS
from span_events.web.rest.bodies.models import ImageBody, NewImageBody

_MS: Final = digits("Unix milliseconds")
SCHEMAS: Final[dict[str, Schema]] = {
    "Firmware": fields(
        "A firmware image.",
        {
            "imageId": ID,
            "collectionId": ID,
            "version": text(),
            "filename": text(),
            "sha256": text("Hexadecimal."),
            "length": NUMBER,
            "created": _MS,
            "tags": TEXTS,
            "enabled": TRUE_FALSE,
        },
    ),
    "ImageState": fields(
        "State of a device's update.",
        {"collectionId": ID, "deviceId": ID, "imageId": ID, "updated": _MS, "state": text(), "message": text()},
        PROGRESS,
    ),
    "ImageVersionEntry": fields(
        "A firmware report of a device.",
        {"deviceId": ID, "imageId": ID, "imageVersion": text(), "imageLabel": text(), "reported": _MS},
    ),
}
_COLLECTION: Final = "/span/collections/{collection}"
_DEVICE: Final = f"{_COLLECTION}/devices/{{device}}"
_ALL: Final = f"{_COLLECTION}/firmware"
_ONE: Final = f"{_ALL}/{{image}}"
OPERATIONS: Final = (
    Operation(
        method="get",
        path=_ALL,
        id="listImages",
        summary="List the images of a collection",
        query=PAGE,
        content={JSON: fields("Images.", {"images": list_of(ref("Firmware"))})},
    ),
    Operation(
        method="post",
        path=_ALL,
        id="createImage",
        summary="Upload an image",
        body=NewImageBody,
        example={"image": "AAAA", "version": "1.2.0", "filename": "app.bin"},
        content=json_of("Firmware"),
        problems=(408, 409, 429),
    ),
    Operation(
        method="get", path=_ONE, id="getImage", summary="Show an image, not its octets", content=json_of("Firmware")
    ),
    Operation(
        method="patch",
        path=_ONE,
        id="updateImage",
        summary="Change an image, or move it to another collection",
        body=ImageBody,
        example={"tags": {"state": "tested"}},
        content=json_of("Firmware"),
        problems=(409,),
    ),
    Operation(
        method="delete",
        path=_ONE,
        id="deleteImage",
        summary="Remove an image that no device and no collection targets",
        content=json_of("Firmware"),
        reply="Its last state.",
        problems=(409,),
    ),
    Operation(
        method="get",
        path=f"{_ONE}/usage",
        id="getImageUsage",
        summary="List the devices that should run an image, and those that do",
        content={JSON: fields("Ids.", {"imageId": ID, "targeted": list_of(ID), "current": list_of(ID)})},
    ),
    Operation(
        method="get",
        path=f"{_ONE}/stats",
        id="getImageStats",
        summary="Show the size of an image",
        content=json_of("FirmwareStats"),
    ),
    Operation(
        method="delete",
        path=f"{_DEVICE}/fwerror",
        id="clearFirmwareError",
        summary="Forget that an update has failed",
        content={JSON: fields("The state now.", {"result": text()})},
        problems=(409,),
    ),
    Operation(
        method="patch",
        path=f"{_DEVICE}/fotalog",
        id="getFirmwareLog",
        summary="Show the last firmware report of a device",
        content={JSON: fields("Reports.", {"collectionId": ID, "log": list_of(ref("ImageVersionEntry"))})},
    ),
    Operation(
        method="patch",
        path=f"{_DEVICE}/fotastate",
        id="getFirmwareState",
        summary="Show how far a device's update is",
        query=(EXTENDED,),
        content={JSON: fields("State.", {"state": fields("State.", {"state": list_of(ref("ImageState"))})})},
    ),
)
