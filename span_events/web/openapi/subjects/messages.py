"""Messages: data, inbox, outbox and blobs, in the OpenAPI document."""

from __future__ import annotations

from typing import Final

from span_events.events.message import Transport
from span_events.registry.model import DownstreamState
from span_events.web.openapi.operations import EXTENDED, JSON, MESSAGES, Operation, json_of
from span_events.web.openapi.schemas import (
    BASE64,
    ID,
    NUMBER,
    TEXTS,
    Schema,
    digits,
    fields,
    list_of,
    one_of,
    ref,
    text,
)
from span_events.web.rest.bodies.models import MessageBody

_OCTETS: Final[Schema] = {"type": "string", "format": "binary"}
_ANY_TYPE: Final = {"application/octet-stream": _OCTETS, "*/*": _OCTETS}
"""Octets of any media type; generators of clients know only the first."""
_MS: Final = digits("Unix milliseconds")
_DOWNSTREAM: Final = {
    "collectionId": ID,
    "deviceId": ID,
    "gatewayId": ID,
    "createdTime": _MS,
    "transport": one_of(Transport),
    "state": one_of(DownstreamState),
    "payload": BASE64,
}
SCHEMAS: Final[dict[str, Schema]] = {
    "OutputDataMessage": fields(
        "An upstream message, as streams and outputs have it.",
        {
            "type": text("data"),
            "device": {
                "description": "The device as it is now; one that has left the collection has its ids only.",
                "anyOf": [
                    ref("Device"),
                    fields("Ids.", {"collectionId": ID, "deviceId": ID, "metadata": fields("Empty.", {})}),
                ],
            },
            "payload": BASE64,
            "received": _MS,
            "transport": one_of(Transport),
            "messageId": ID,
            "gatewayId": ID,
        },
        {
            "udpMetaData": fields("Of a datagram.", {"localPort": NUMBER, "remotePort": NUMBER}),
            "coapMetaData": fields("Of a CoAP request.", {"code": text(), "path": text()}),
            "gatewayMetaData": fields("From the gateway.", {"metadata": TEXTS}),
        },
    ),
    "Data": fields("Upstream messages.", {"data": list_of(ref("OutputDataMessage"))}),
    "MessageUpstream": fields(
        "An upstream message.",
        {
            "messageId": ID,
            "collectionId": ID,
            "deviceId": ID,
            "gatewayId": ID,
            "transport": one_of(Transport),
            "received": _MS,
            "payload": BASE64,
        },
    ),
    "MessageDownstream": fields("A downstream message.", {"messageId": ID, **_DOWNSTREAM}, {"sentTime": _MS}),
    "Blob": fields(
        "A file that a device uploaded.",
        {
            "blobId": ID,
            "blobPath": text("URL of its octets."),
            "contentType": text(),
            "size": digits("Octets"),
            "created": digits("Unix nanoseconds"),
            "collectionId": ID,
            "deviceId": ID,
            "gatewayId": ID,
            "properties": TEXTS,
        },
    ),
}
_COLLECTION: Final = "/span/collections/{collection}"
_DEVICE: Final = f"{_COLLECTION}/devices/{{device}}"
_BLOBS: Final = f"{_COLLECTION}/blobs"
OPERATIONS: Final = (
    Operation(
        method="get",
        path=f"{_COLLECTION}/data",
        id="listCollectionData",
        summary="List the upstream messages of a collection that are in memory, newest first",
        query=MESSAGES,
        content=json_of("Data"),
    ),
    Operation(
        method="get",
        path=f"{_DEVICE}/data",
        id="listDeviceData",
        summary="List the upstream messages of a device that are in memory, newest first",
        query=MESSAGES,
        content=json_of("Data"),
    ),
    Operation(
        method="get",
        path=f"{_DEVICE}/inbox",
        id="listInbox",
        summary="List the upstream messages of a device in the form of an inbox, newest first",
        query=MESSAGES,
        content={JSON: fields("Messages.", {"messages": list_of(ref("MessageUpstream"))})},
    ),
    Operation(
        method="get",
        path=f"{_DEVICE}/outbox",
        id="listOutbox",
        summary="List the downstream messages of a device, newest first",
        query=MESSAGES,
        content={JSON: fields("Messages.", {"messages": list_of(ref("MessageDownstream"))})},
    ),
    Operation(
        method="post",
        path=f"{_DEVICE}/outbox",
        id="queueMessage",
        summary="Queue a downstream message",
        body=MessageBody,
        example={"payload": "aGVsbG8="},
        content=json_of("MessageDownstream"),
        problems=(409, 429),
    ),
    Operation(
        method="delete",
        path=f"{_DEVICE}/outbox/{{message}}",
        id="deleteMessage",
        summary="Delete a downstream message",
        query=(EXTENDED,),
        content={
            JSON: fields("Its id; extended, its last state.", {"messageId": ID}, {**_DOWNSTREAM, "sentTime": _MS})
        },
        problems=(409,),
    ),
    Operation(
        method="get",
        path=_BLOBS,
        id="listBlobs",
        summary="List the blobs of a collection, newest first",
        query=MESSAGES,
        content={JSON: fields("Blobs.", {"blobs": list_of(ref("Blob"))})},
    ),
    Operation(
        method="get",
        path=f"{_BLOBS}/{{blob}}",
        id="getBlob",
        summary="Get the octets of a blob, with the media type of its upload",
        content=_ANY_TYPE,
        reply="The octets.",
        statuses={
            206: {
                "description": "A range of the octets.",
                "content": {kind: {"schema": each} for kind, each in _ANY_TYPE.items()},
            },
            304: {"description": "Not modified."},
            416: {"description": "The range is not within the octets."},
        },
    ),
    Operation(
        method="delete",
        path=f"{_BLOBS}/{{blob}}",
        id="deleteBlob",
        summary="Remove a blob",
        content={JSON: fields("Empty.", {})},
    ),
)
