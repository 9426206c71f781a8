"""Recognition of protocols by their first octets: names what a client speaks that came to the wrong port."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Final, NamedTuple

from span_events.errors import MalformedMessage
from span_events.wire.coap.messages import CoapMessage, Option, Type, decode
from span_events.wire.coap.requests import METHODS, name_of_method, path_of


class ProtocolName(StrEnum):
    """Protocols that devices speak, as events name them."""

    COAP = "CoAP"
    DTLS = "DTLS"
    TLS = "TLS"
    HTTP = "HTTP"
    MQTT = "MQTT"
    MQTT_SN = "MQTT-SN"


class Recognised(NamedTuple):
    """A protocol, and what the octets say in it: ``CON POST /x``."""

    protocol: ProtocolName
    words: str


def recognise(octets: bytes) -> Recognised | None:
    """Return the protocol that octets begin with; None for anything else, so for nearly all payloads of sensors."""
    for recogniser in _RECOGNISERS.get(octets[:1], ()):
        found = recogniser(octets)
        if found is not None:
            return found
    return None


def _coap(octets: bytes) -> Recognised | None:
    """Recognise a request that names a resource; shorter ones are too much like a sensor's octets."""
    if len(octets) < 6 or octets[1] not in METHODS:
        return None
    try:
        request = decode(octets)
    except MalformedMessage:
        return None
    if request.unfit or not _names_resource(request):
        return None
    return Recognised(
        ProtocolName.COAP,
        f"{Type(request.type).name} {name_of_method(request.code)} {path_of(request)[:_SHOWN]}",
    )


def _names_resource(request: CoapMessage) -> bool:
    """Return whether all options are those of requests, and at least one is of the URI, in printable ASCII."""
    texts = [value for number, value in request.options if number in _URI]
    return (
        bool(texts)
        and all(number in _OPTIONS for number, _ in request.options)
        and all(_PRINTABLE.fullmatch(text) for text in texts)
    )


def _dtls_or_tls(octets: bytes) -> Recognised | None:
    version, kind = octets[1:3], _RECORDS[octets[0]]
    if version in _DTLS_VERSIONS and len(octets) > _DTLS_HEADER:
        hello = octets[0] == _HANDSHAKE and octets[_DTLS_HEADER] == _CLIENT_HELLO
        return Recognised(ProtocolName.DTLS, "ClientHello" if hello else kind)
    if version in _TLS_VERSIONS and len(octets) > _TLS_HEADER and octets[0] == _HANDSHAKE:
        return Recognised(ProtocolName.TLS, "ClientHello" if octets[_TLS_HEADER] == _CLIENT_HELLO else kind)
    return None


def _http(octets: bytes) -> Recognised | None:
    found = _REQUEST_LINE.match(octets)
    return None if found is None else Recognised(ProtocolName.HTTP, found[1].decode("latin-1")[:_SHOWN])


def _mqtt(octets: bytes) -> Recognised | None:
    """Recognise CONNECT with a protocol name (MQTT 3.1.1 §3.1, 3.1)."""
    return Recognised(ProtocolName.MQTT, "CONNECT") if _MQTT_CONNECT.match(octets) else None


def _mqtt_sn(octets: bytes) -> Recognised | None:
    """Recognise CONNECT (MQTT-SN 1.2 §5.4.4): the length of the whole, type 4, flags, protocol 1, client id."""
    if octets[0] == len(octets) and _MQTT_SN_CONNECT.fullmatch(octets[1:]):
        return Recognised(ProtocolName.MQTT_SN, "CONNECT")
    return None


_SHOWN: Final = 60
"""Characters of a client's input that an event quotes at most."""
_URI: Final = frozenset({Option.URI_HOST, Option.URI_PATH, Option.URI_QUERY})
_PRINTABLE: Final = re.compile(rb"[\x20-\x7e]+")
_OPTIONS: Final = frozenset(set(Option) - {Option.ETAG, Option.LOCATION_PATH, Option.LOCATION_QUERY, Option.MAX_AGE})
_DTLS_VERSIONS: Final = frozenset({b"\xfe\xff", b"\xfe\xfd", b"\xfe\xfc"})
_TLS_VERSIONS: Final = frozenset({b"\x03\x00", b"\x03\x01", b"\x03\x02", b"\x03\x03"})
_DTLS_HEADER: Final = 13
_TLS_HEADER: Final = 5
_HANDSHAKE: Final = 22
_CLIENT_HELLO: Final = 1
_RECORDS: Final = {
    20: "ChangeCipherSpec",
    21: "Alert",
    22: "Handshake",
    23: "ApplicationData",
    24: "Heartbeat",
    25: "Connection ID",
}
_REQUEST_LINE: Final = re.compile(rb"((?:GET|POST|PUT|HEAD|DELETE|PATCH|OPTIONS|CONNECT|TRACE|PRI) \S+) HTTP/\d")
_MQTT_CONNECT: Final = re.compile(rb"\x10[\x80-\xff]{0,3}[\x00-\x7f]\x00(?:\x04MQTT|\x06MQIsdp)", re.DOTALL)
_MQTT_SN_CONNECT: Final = re.compile(rb"\x04[\x00\x04\x08\x0c]\x01..[\x20-\x7e]{1,23}", re.DOTALL)

_Recogniser = Callable[[bytes], Recognised | None]
_BEGINS: Final[tuple[tuple[_Recogniser, Iterable[int]], ...]] = (
    (_coap, range(0x40, 0x60)),  # version 1, type CON or NON
    (_http, b"GPHDOCT"),
    (_dtls_or_tls, _RECORDS),
    (_mqtt, b"\x10"),
    (_mqtt_sn, range(7, 31)),
)
_RECOGNISERS: Final = {
    bytes((octet,)): tuple(recogniser for recogniser, begins in _BEGINS if octet in begins)
    for octet in {each for _, begins in _BEGINS for each in begins}
}
FIRST_OCTETS: Final = frozenset(_RECOGNISERS)
"""First octets that `recognise` looks at: a test of one octet for the callers whose speed counts."""
