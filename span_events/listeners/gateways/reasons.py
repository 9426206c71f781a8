"""Names failures of a gateway's connection for events, and translates reasons into gRPC statuses."""

from __future__ import annotations

import errno
from types import MappingProxyType
from typing import Final

from span_events.events.reasons import GatewayReason, GatewayRejectedReason
from span_events.listeners.ports import Ports
from span_events.wire.grpc.connections import Broken, Fault, GoneAway, Status, StreamReset, code_name
from span_events.wire.recognition import ProtocolName
from span_events.wire.tls.connections import CertificateFault, Closed, End, Failed, Failure

_FAILED_HANDSHAKES: Final = MappingProxyType(
    {
        Failure.NOT_TLS: GatewayRejectedReason.NOT_TLS,
        Failure.SERVER_REFUSED: GatewayRejectedReason.SERVER_CERTIFICATE_REFUSED,
        Failure.CLIENT_ALERT: GatewayRejectedReason.HANDSHAKE_FAILED,
        Failure.UNSUPPORTED_VERSION: GatewayRejectedReason.UNSUPPORTED_VERSION,
        Failure.NO_SHARED_CIPHER: GatewayRejectedReason.NO_SHARED_CIPHER,
        Failure.PROTOCOL: GatewayRejectedReason.HANDSHAKE_FAILED,
    }
)
BAD_CERTIFICATES: Final = MappingProxyType(
    {
        CertificateFault.UNKNOWN_CA: GatewayRejectedReason.UNKNOWN_CA,
        CertificateFault.WRONG_PURPOSE: GatewayRejectedReason.WRONG_PURPOSE,
        CertificateFault.NOT_YET_VALID: GatewayRejectedReason.CERTIFICATE_NOT_YET_VALID,
        CertificateFault.EXPIRED: GatewayRejectedReason.CERTIFICATE_EXPIRED,
        CertificateFault.INVALID: GatewayRejectedReason.CERTIFICATE_INVALID,
    }
)
BAD_MESSAGES: Final = MappingProxyType(
    {
        Fault.TOO_LARGE: GatewayReason.MESSAGE_TOO_LARGE,
        Fault.COMPRESSED: GatewayReason.UNSUPPORTED_ENCODING,
        Fault.TRUNCATED: GatewayReason.MALFORMED,
        Fault.MALFORMED: GatewayReason.MALFORMED,
    }
)
BROKEN: Final = MappingProxyType({GatewayReason.TOO_MANY_FRAMES: GatewayRejectedReason.TOO_MANY_FRAMES})
"""Ends of an unidentified client that have a reason of their own."""
_HAPROXY: Final = b"HAPROXYSSLCHK\n"
"""In the random number of HAProxy's ClientHello of SSL 3.0, which no server accepts."""
_HTTP2: Final = b"PRI "
"""Begin of a client's first octets in HTTP/2 (RFC 9113 §3.4)."""
_CANCEL: Final = 8
"""RST_STREAM of a client that cancels its call (RFC 9113 §7)."""
_REFUSALS: Final = MappingProxyType(
    {
        GatewayRejectedReason.UNKNOWN_GATEWAY: Status.NOT_FOUND,
        GatewayRejectedReason.NOT_A_GATEWAY: Status.PERMISSION_DENIED,
        GatewayRejectedReason.GATEWAY_DISABLED: Status.PERMISSION_DENIED,
        GatewayRejectedReason.COLLECTION_DISABLED: Status.PERMISSION_DENIED,
        GatewayRejectedReason.IDENTITY_CONFLICT: Status.ABORTED,
    }
)
_ENDS: Final = MappingProxyType(
    {
        GatewayReason.CLOSED: (Status.OK, ""),
        GatewayReason.DEADLINE: (Status.DEADLINE_EXCEEDED, "deadline exceeded"),
        GatewayReason.REPLACED: (Status.ABORTED, "replaced by a newer connection"),
        GatewayReason.SHUTDOWN: (Status.UNAVAILABLE, "server shutting down, reconnect"),
        GatewayReason.GATEWAY_REMOVED: (Status.NOT_FOUND, "the gateway was removed"),
        GatewayReason.GATEWAY_MOVED: (Status.UNAVAILABLE, "the gateway was moved to another collection, reconnect"),
        GatewayReason.GATEWAY_DISABLED: (Status.PERMISSION_DENIED, "the gateway or its collection was disabled"),
        GatewayReason.CERTIFICATE_REVOKED: (Status.UNAUTHENTICATED, "the client certificate was revoked"),
        GatewayReason.CERTIFICATE_EXPIRED: (Status.UNAUTHENTICATED, "the client certificate has expired"),
        GatewayReason.MALFORMED: (Status.INVALID_ARGUMENT, "malformed message"),
        GatewayReason.MESSAGE_TOO_LARGE: (Status.RESOURCE_EXHAUSTED, "message too large"),
        GatewayReason.UNSUPPORTED_ENCODING: (Status.UNIMPLEMENTED, "compression is not supported"),
        GatewayReason.SLOW_READER: (Status.RESOURCE_EXHAUSTED, "slow reader"),
    }
)


def refusal_of(reason: GatewayRejectedReason, detail: str) -> tuple[Status, str]:
    """Return the status and text of a rejection; the text names a remedy."""
    text = f"refused: {reason.value}: {reason.hint}" + (f" ({detail})" if detail else "")
    return _REFUSALS.get(reason, Status.UNAUTHENTICATED), text


def end_of(reason: GatewayReason, detail: str) -> tuple[Status, str]:
    """Return the status and text with which the server ends a stream."""
    status, text = _ENDS.get(reason, (Status.INTERNAL, reason.value))
    return status, f"{text}: {detail}" if detail else text


def refused_handshake(event: Failed, begin: bytes, ports: Ports) -> tuple[GatewayRejectedReason, str]:
    """
    Return reason and detail for a failed TLS handshake.

    Args:
        begin: The first octets that came.
        ports: Ports of the other protocols, for octets that look like one.
    """
    if _HAPROXY in begin:
        return GatewayRejectedReason.PORT_CHECK, "HAProxy's ssl-hello-chk"
    is_other = event.failure is Failure.NOT_TLS and not begin.startswith(_HTTP2)  # which may be gRPC without TLS
    mark = ports.mark(begin, served=ProtocolName.TLS) if is_other else None
    return _FAILED_HANDSHAKES[event.failure], event.detail if mark is None else mark.detail


def parting_of(event: Closed | GoneAway | Broken | StreamReset) -> tuple[GatewayReason, str]:
    """Return reason and detail for a connection that the client has ended or broken."""
    if isinstance(event, Closed):
        if event.end is End.CLOSE_NOTIFY:
            return GatewayReason.CLIENT_CLOSED, "TLS was closed in order"
        alert = f"the gateway sent the TLS alert {event.detail}"
        return GatewayReason.TLS_ERROR, alert if event.end is End.ALERT else event.detail
    if isinstance(event, GoneAway):
        words = f"GOAWAY {code_name(event.code)} {event.debug}".strip()
        return GatewayReason.GOAWAY if event.code else GatewayReason.CLIENT_CLOSED, words
    if isinstance(event, Broken):
        return GatewayReason.HTTP2_ERROR, event.detail
    if not event.by_client:
        return GatewayReason.HTTP2_ERROR, f"the stream broke: {code_name(event.code)}"
    if event.code == _CANCEL:
        return GatewayReason.CANCELLED, ""
    return GatewayReason.STREAM_RESET, f"RST_STREAM {code_name(event.code)}"


def loss_of(error: Exception | None) -> tuple[GatewayReason, str]:
    """Return reason and detail for the loss of a TCP connection."""
    if error is None:
        return GatewayReason.PROCESS_DIED, "the TCP connection was closed"
    if isinstance(error, OSError) and error.errno in (errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH):
        return GatewayReason.TCP_TIMEOUT, error.strerror or str(error)
    return GatewayReason.CONNECTION_RESET, str(error) or type(error).__name__
