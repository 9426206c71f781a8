"""The documents of Span's API: their fields, nested; and the fields of a reply that Span's API does not have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

Shape = dict[str, Any] | list[Any] | None
"""An object's fields, a list's item in a list of one, or a value (None); the field ``*`` stands for any name."""


def _fields(names: str, **nested: Shape) -> dict[str, Shape]:
    return dict.fromkeys(names.split()) | nested


_TEXTS: Final[Shape] = {"*": None}
DEVICE: Final = _fields(
    "deviceId collectionId lastGatewayId lastTransport lastReceived lastPayload enabled",
    tags=_TEXTS,
    firmware=_fields(
        "currentFirmwareId targetFirmwareId firmwareVersion serialNumber modelNumber manufacturer state stateMessage"
    ),
    config={
        "ciot": _fields("imsi imei"),
        "inet": {},
        "gateway": {"*": _fields("gatewayId", params=_TEXTS)},
    },
    metadata={
        "ciot": _fields(
            "gatewayId allocatedIp allocatedAt cellId mcc mnc country network countryCode lastUpdate lastImsi lastImei"
        ),
        "inet": _fields("gatewayId lastUpdate remoteAddress certificateSerial"),
        "gateway": _fields("gatewayId lastUpdate", params=_TEXTS),
    },
)
COLLECTION: Final = _fields(
    "collectionId teamId enabled",
    firmware=_fields("currentFirmwareId targetFirmwareId management"),
    tags=_TEXTS,
    upstreamTimestamps=[None],
    downstreamTimestamps=[None],
)
IMAGE: Final = _fields("imageId version filename sha256 length collectionId created enabled", tags=_TEXTS)
IMAGE_STATE: Final = _fields("collectionId deviceId imageId updated state message")
IMAGE_VERSION: Final = _fields("deviceId imageId imageVersion imageLabel reported")
UPSTREAM: Final = _fields("messageId collectionId deviceId gatewayId transport received payload")
DOWNSTREAM: Final = _fields("messageId collectionId deviceId gatewayId createdTime sentTime transport state payload")
DATA: Final = _fields(
    "type payload received transport messageId gatewayId",
    device=DEVICE,
    udpMetaData=_fields("localPort remotePort"),
    coapMetaData=_fields("code path"),
    mqttMetaData=_fields("topic"),
    gatewayMetaData={"metadata": _TEXTS},
)
BLOB: Final = _fields("blobId blobPath contentType size created collectionId deviceId gatewayId", properties=_TEXTS)
GATEWAY: Final = _fields(
    "gatewayId collectionId name builtIn type status enabled",
    tags=_TEXTS,
    config={
        "ciot": _fields("apn udpEndpoint coapEndpoint"),
        "inet": _fields("dtlsEndpoint coapEndpoint mqttEndpoint"),
        "user": {"params": _TEXTS},
    },
)
CERTIFICATES: Final = {"certificates": [_fields("certificateSerial expires")]}
_TOTALS: Final = "bytesUpstream bytesDownstream messagesUpstream messagesDownstream"
GATEWAY_STATS: Final = _fields(_TOTALS)
DEVICE_STATS: Final = _fields(f"{_TOTALS} sessionCount")
IMAGE_STATS: Final = _fields("firmwareImageSize")
OUTPUT_STATS: Final = _fields("forwardErrors messagesForwarded bytesForwarded")
OUTPUT: Final = _fields(
    "outputId collectionId type enabled",
    tags=_TEXTS,
    config=_fields(
        "url basicAuthUser basicAuthPass customHeaderName customHeaderValue host port key eventName asIsPayload "
        "endpoint disableCertCheck username password clientId topicName topicTemplate payloadFormat payloadTemplate"
    ),
)
COLLECTION_STATS: Final = _fields(
    "deviceCount outputCount firmwareCount blobCount gatewayCount",
    devices=DEVICE_STATS,
    outputs=OUTPUT_STATS,
    firmware=IMAGE_STATS,
    blobs=_fields("blobBytes"),
    gateways=GATEWAY_STATS,
)

_C: Final = "/span/collections/{collection}"
_D: Final = f"{_C}/devices/{{device}}"
_O: Final = f"{_C}/outputs/{{output}}"
REPLIES: Final[dict[tuple[str, str], Shape]] = {
    ("GET", "/span/system"): _fields("version buildDate releaseName"),
    ("POST", "/dejavu/v1/login"): _fields("result credentials"),
    ("GET", "/span/collections"): {"collections": [COLLECTION]},
    ("POST", "/span/collections"): COLLECTION,
    ("GET", _C): COLLECTION,
    ("PATCH", _C): COLLECTION,
    ("DELETE", _C): COLLECTION,
    ("GET", f"{_C}/stats"): COLLECTION_STATS,
    ("GET", f"{_C}/data"): {"data": [DATA]},
    ("GET", f"{_C}/devices"): {"devices": [DEVICE]},
    ("POST", f"{_C}/devices"): DEVICE,
    ("GET", _D): DEVICE,
    ("PATCH", _D): DEVICE,
    ("DELETE", _D): DEVICE,
    ("GET", f"{_D}/stats"): DEVICE_STATS,
    ("GET", f"{_D}/certs"): CERTIFICATES,
    ("GET", f"{_D}/data"): {"data": [DATA]},
    ("GET", f"{_D}/inbox"): {"messages": [UPSTREAM]},
    ("GET", f"{_D}/outbox"): {"messages": [DOWNSTREAM]},
    ("POST", f"{_D}/outbox"): DOWNSTREAM,
    ("DELETE", f"{_D}/outbox/{{message}}"): _fields("messageId"),
    ("DELETE", f"{_D}/fwerror"): _fields("result"),
    ("PATCH", f"{_D}/fotalog"): _fields("collectionId", log=[IMAGE_VERSION]),
    ("PATCH", f"{_D}/fotastate"): {"state": {"state": [IMAGE_STATE]}},
    ("GET", f"{_C}/firmware"): {"images": [IMAGE]},
    ("POST", f"{_C}/firmware"): IMAGE,
    ("GET", f"{_C}/firmware/{{image}}"): IMAGE,
    ("PATCH", f"{_C}/firmware/{{image}}"): IMAGE,
    ("DELETE", f"{_C}/firmware/{{image}}"): IMAGE,
    ("GET", f"{_C}/firmware/{{image}}/usage"): _fields("imageId", targeted=[None], current=[None]),
    ("GET", f"{_C}/firmware/{{image}}/stats"): IMAGE_STATS,
    ("GET", f"{_C}/blobs"): {"blobs": [BLOB]},
    ("DELETE", f"{_C}/blobs/{{blob}}"): {},
    ("GET", f"{_C}/certificates"): _fields("chain"),
    ("POST", f"{_C}/certificates/create"): _fields("certificate privateKey chain"),
    ("POST", f"{_C}/certificates/sign"): _fields("certificate chain"),
    ("POST", f"{_C}/certificates/verify"): _fields("valid", errors=[None]),
    ("GET", f"{_C}/gateways"): {"gateways": [GATEWAY]},
    ("POST", f"{_C}/gateways"): GATEWAY,
    ("GET", f"{_C}/gateways/{{gateway}}"): GATEWAY,
    ("PATCH", f"{_C}/gateways/{{gateway}}"): GATEWAY,
    ("DELETE", f"{_C}/gateways/{{gateway}}"): GATEWAY,
    ("GET", f"{_C}/gateways/{{gateway}}/stats"): GATEWAY_STATS,
    ("GET", f"{_C}/gateways/{{gateway}}/certs"): CERTIFICATES,
    ("GET", f"{_C}/outputs"): _fields("collectionId", outputs=[OUTPUT]),
    ("POST", f"{_C}/outputs"): OUTPUT,
    ("GET", _O): OUTPUT,
    ("PATCH", _O): OUTPUT,
    ("DELETE", _O): OUTPUT,
    ("GET", f"{_O}/logs"): {"logs": [_fields("time message repeated")]},
    ("GET", f"{_O}/stats"): OUTPUT_STATS,
    ("GET", f"{_O}/status"): _fields("collectionId outputId enabled errorCount forwarded received retransmits"),
}
"""The reply of each route of Span's API that is a document."""
OWN: Final = {
    ("POST", "/dejavu/v1/logout"),
    ("GET", "/"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
    ("GET", "/openapi.json"),
    ("GET", "/asyncapi.json"),
    ("GET", "/span/events/catalogue"),
    ("GET", f"{_C}/blobs/{{blob}}"),
    ("GET", f"{_C}/related"),
    ("POST", f"{_C}/chirpstack"),
    ("DELETE", f"{_C}/certificates/{{serial}}"),
    ("PUT", f"{_D}/psk"),
    ("DELETE", f"{_D}/psk"),
    ("*", f"{_C}/firmware/labeled"),
    ("*", f"{_C}/firmware/labeled/{{rest:.*}}"),
}
"""Routes without such a document: paths of our own, the octets of a blob, and refusals."""


def foreign(value: Any, shape: Shape, path: str = "") -> Iterator[str]:
    """Yield the path of each field that the shape does not have, and of each value of another kind."""
    if isinstance(shape, list) and isinstance(value, list):
        for number, each in enumerate(value):
            yield from foreign(each, shape[0], f"{path}[{number}]")
    elif isinstance(shape, dict) and isinstance(value, dict):
        for name, each in value.items():
            if name not in shape and "*" not in shape:
                yield f"{path}.{name}"
            else:
                yield from foreign(each, shape.get(name, shape.get("*")), f"{path}.{name}")
    elif shape is not None or isinstance(value, list | dict):
        yield path
