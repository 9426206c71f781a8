"""An upstream message as the `from` streams, the inbox and the data lists show it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from span_events.events.activity import Origin
from span_events.values import quick


class Transport(StrEnum):
    """The transport of a message: the words of Span's API, and two for blobs, which only our own events show."""

    UNSPECIFIED = "unspecified"
    UDP = "udp"
    COAP = "coap"
    MQTT = "mqtt"
    GATEWAY = "gateway"
    COAPS = "coaps"
    DTLS = "dtls"
    HTTP = "http"
    HTTPS = "https"


@quick
@dataclass(frozen=True, slots=True)
class Message:
    """One message that a device sent and the server accepted."""

    id: int
    origin: Origin
    received_ns: int
    """Unix time in nanoseconds."""
    transport: Transport
    payload: bytes
    local_port: int = 0
    remote_port: int = 0
    coap_code: str = ""
    """Request method (``POST``), empty for other transports."""
    coap_path: str = ""
    gateway_metadata: tuple[tuple[str, str], ...] = ()
