"""Collections, in the OpenAPI document."""

from __future__ import annotations

from typing import Final

from span_events.fleet.chirpstack.intake import Outcome
from span_events.registry.model import Management
from span_events.web.openapi.operations import JSON, PAGE, Operation, json_of, parameter
from span_events.web.openapi.schemas import ID, NUMBER, TEXTS, TRUE_FALSE, Schema, digits, fields, list_of, one_of, ref
from span_events.web.rest.bodies.models import CollectionBody

_TOTALS: Final = {
    name: digits("Since the server started")
    for name in ("bytesUpstream", "bytesDownstream", "messagesUpstream", "messagesDownstream")
}
_DEVICE_STATS: Final = fields("Traffic of a device since the server started.", _TOTALS | {"sessionCount": NUMBER})
_IMAGE_STATS: Final = fields("Size of images.", {"firmwareImageSize": NUMBER})
_TIMES: Final = list_of(digits("Unix milliseconds"))
SCHEMAS: Final[dict[str, Schema]] = {
    "Collection": fields(
        "A collection.",
        {
            "collectionId": ID,
            "teamId": ID,
            "enabled": TRUE_FALSE,
            "tags": TEXTS,
            "firmware": fields(
                "The firmware of its devices.",
                {"currentFirmwareId": ID, "targetFirmwareId": ID, "management": one_of(Management)},
            ),
        },
        {"upstreamTimestamps": _TIMES, "downstreamTimestamps": _TIMES},
    ),
    "Collections": fields("Collections.", {"collections": list_of(ref("Collection"))}),
    "GatewayStats": fields("Traffic of gateways since the server started.", _TOTALS),
    "DeviceStats": _DEVICE_STATS,
    "FirmwareStats": _IMAGE_STATS,
    "CollectionStats": fields(
        "Counts of a collection.",
        {
            **dict.fromkeys(("deviceCount", "outputCount", "firmwareCount", "blobCount", "gatewayCount"), NUMBER),
            "devices": ref("DeviceStats"),
            "outputs": ref("OutputStats"),
            "firmware": ref("FirmwareStats"),
            "blobs": fields("Blobs.", {"blobBytes": digits("Octets")}),
            "gateways": ref("GatewayStats"),
        },
    ),
}
_ALL: Final = "/span/collections"
_ONE: Final = f"{_ALL}/{{collection}}"
_EXAMPLE: Final = {"tags": {"name": "lab"}}
OPERATIONS: Final = (
    Operation(
        method="get",
        path=_ALL,
        id="listCollections",
        summary="List the collections that the token reaches",
        query=PAGE,
        content=json_of("Collections"),
    ),
    Operation(
        method="post",
        path=_ALL,
        id="createCollection",
        summary="Create a collection",
        body=CollectionBody,
        example=_EXAMPLE,
        content=json_of("Collection"),
        problems=(404, 409),
    ),
    Operation(
        method="get",
        path=_ONE,
        id="getCollection",
        summary="Show a collection",
        query=(
            parameter("upstream", "Also the times of upstream messages of the last hour.", TRUE_FALSE),
            parameter("downstream", "Also the times of downstream messages of the last hour.", TRUE_FALSE),
        ),
        content=json_of("Collection"),
    ),
    Operation(
        method="patch",
        path=_ONE,
        id="updateCollection",
        summary="Change a collection",
        body=CollectionBody,
        example=_EXAMPLE,
        content=json_of("Collection"),
        problems=(409,),
    ),
    Operation(
        method="delete",
        path=_ONE,
        id="deleteCollection",
        summary="Remove an empty collection",
        content=json_of("Collection"),
        reply="Its last state.",
        problems=(409,),
    ),
    Operation(
        method="get",
        path=f"{_ONE}/stats",
        id="getCollectionStats",
        summary="Count the devices, gateways, images, blobs and outputs of a collection, and their traffic",
        content=json_of("CollectionStats"),
    ),
    Operation(
        method="get",
        path=f"{_ONE}/related",
        id="listRelated",
        summary="List all events with one correlation id, oldest first",
        query=(
            *PAGE,
            parameter("id", "Id of an event, or one of its correlationIds.", {"type": "string"}, required=True),
        ),
        content={JSON: fields("Events.", {"events": list_of(ref("RelatedEvent"))})},
    ),
    Operation(
        method="post",
        path=f"{_ONE}/chirpstack",
        id="takeChirpstackEvent",
        summary="Take an event of a ChirpStack server, as its HTTP integration sends it",
        query=(
            parameter("event", "Kind of event; of several, the last one counts.", {"type": "string"}, required=True),
        ),
        body={"type": "object", "description": "ChirpStack's JSON; its protobuf as application/octet-stream."},
        example={"deviceInfo": {"deviceName": "gauge 3", "devEui": "70b3d57ed0001a2b"}, "fPort": 7, "data": "AP9o"},
        content={JSON: fields("What became of it.", {"result": one_of(Outcome)})},
    ),
)
