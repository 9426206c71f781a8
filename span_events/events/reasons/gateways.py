"""Reasons about gateways: rejected connections, and faults and ends of control streams."""

from __future__ import annotations

from typing import Final

from span_events.events.activity import Reason, Severity


class GatewayRejectedReason(Reason):
    """Reasons for which a gateway cannot connect."""

    NOT_TLS = (
        "notTls",
        "Something other than TLS came, see 'detail': switch TLS on in the client, or look for a scanner.",
    )
    PORT_CHECK = (
        "portCheck",
        "A load balancer or a scanner checked the port, see 'detail': nothing to do; for a day, more are only counted.",
        Severity.DEBUG,
    )
    TLS_TIMEOUT = (
        "tlsTimeout",
        "The TLS handshake took longer than gateways.handshake_timeout: look for a client that waits, or lost packets.",
    )
    TLS_ABORTED = (
        "tlsAborted",
        "The connection was closed during the TLS handshake: see the gateway's log; does it trust this server?",
    )
    SERVER_CERTIFICATE_REFUSED = (
        "serverCertificateRefused",
        "The gateway does not trust this server: use the whole cert.crt as its roots, and a name in pki.server_names.",
    )
    UNSUPPORTED_VERSION = "unsupportedVersion", "Only TLS 1.2 and 1.3 are served: update the client's TLS library."
    NO_SHARED_CIPHER = "noSharedCipher", "No cipher suite in common: switch the TLS library's default suites on again."
    HANDSHAKE_FAILED = (
        "handshakeFailed",
        "The TLS handshake broke for the cause in 'detail': compare what the client's TLS library logs.",
    )
    NO_PROTOCOL = "noProtocol", "The client did not offer HTTP/2 in TLS (ALPN h2): use a gRPC library."
    NO_CREDENTIALS = "noCredentials", "The gateway sent no client certificate: configure cert.crt and key.pem in it."
    UNKNOWN_CA = (
        "unknownCa",
        "The certificate was not issued by this server, or came without its chain: send the whole cert.crt.",
    )
    CERTIFICATE_EXPIRED = "certificateExpired", "The certificate's time is over: create a new one and install it."
    CERTIFICATE_NOT_YET_VALID = "certificateNotYetValid", "The certificate is not valid yet: compare both clocks."
    CERTIFICATE_REVOKED = "certificateRevoked", "The certificate was revoked: create a new one for the gateway."
    CERTIFICATE_INVALID = (
        "certificateInvalid",
        "The certificate breaks the rule in 'detail': use the one that `span-events cert create` writes, as it is.",
    )
    WRONG_PURPOSE = (
        "wrongPurpose",
        "The certificate is not for clients (extended key usage clientAuth): use the gateway's own.",
    )
    UNKNOWN_SERIAL = (
        "unknownSerial",
        "The certificate is ours but not in the registry: it expired long ago, or the registry is older than it.",
    )
    NOT_A_GATEWAY = (
        "notAGateway",
        "The certificate belongs to a device: create one for the gateway with `span-events cert create --gateway`.",
    )
    UNKNOWN_GATEWAY = "unknownGateway", "The certificate's gateway was removed: create it again, and a certificate."
    GATEWAY_DISABLED = "gatewayDisabled", "The gateway is disabled: set enabled to true to let it in."
    COLLECTION_DISABLED = (
        "collectionDisabled",
        "The gateway's collection is disabled: set enabled of the collection to true.",
    )
    IDENTITY_CONFLICT = (
        "identityConflict",
        (
            "Two programs use this certificate, so the connected one stays: was it copied? Create one for each, or try "
            "again in a minute."
        ),
        Severity.WARNING,
    )
    NO_STREAM = (
        "noStream",
        "TLS is done, but no control stream was opened within gateways.stream_timeout; does it call, and trust us?",
    )
    BAD_PATH = (
        "badPath",
        "The client called the method in 'detail'; only /gateway.v1.UserGatewayService/ControlStream is served.",
    )
    HTTP2_ERROR = "http2Error", "The client broke HTTP/2, see 'detail': use a gRPC library."
    TOO_MANY_FRAMES = (
        "tooManyFrames",
        "The client sent more frames of HTTP/2 than the limit in 'detail': look for a program in a loop, or an attack.",
    )
    OVERLOAD = (
        "overload",
        "The server is at the limit in 'detail': try later, or raise it in the table [gateways] of the configuration.",
    )


class GatewayReason(Reason):
    """Reasons for the end of a gateway's stream, and faults of a stream that goes on."""

    CLOSED = "closed", "The gateway ended the stream itself; nothing to do."
    CLIENT_CLOSED = "clientClosed", "The gateway's program closed its connection in order, most often because it ended."
    CANCELLED = "cancelled", "The gateway's program cancelled the call."
    DEADLINE = "deadline", "The gateway's program gave the call a deadline (grpc-timeout): call without one."
    REPLACED = "replaced", "The same gateway connected again; the newer connection stays."
    SHUTDOWN = "shutdown", "The server was stopped; the gateway must connect again."
    GATEWAY_REMOVED = "gatewayRemoved", "The gateway was removed through the API."
    GATEWAY_MOVED = "gatewayMoved", "The gateway was moved to another collection; it may connect again, to that one."
    GATEWAY_DISABLED = (
        "gatewayDisabled",
        "The gateway or its collection was disabled; set enabled to true to let it back.",
    )
    CERTIFICATE_REVOKED = "certificateRevoked", "The certificate of the connection was revoked: install a new one."
    CERTIFICATE_EXPIRED = (
        "certificateExpired",
        "The certificate's time ended during the connection: create a new one and install it.",
    )

    PROCESS_DIED = (
        "processDied",
        "The connection was closed without a goodbye in TLS: the gateway's process was killed or crashed.",
    )
    CONNECTION_RESET = "connectionReset", "The gateway's side reset the connection: did its process crash or restart?"
    KEEPALIVE_TIMEOUT = (
        "keepaliveTimeout",
        "Nothing came from the gateway in time: power, network, or a frozen process.",
    )
    TCP_TIMEOUT = "tcpTimeout", "What was sent was not acknowledged in time: the network to the gateway is cut."
    STREAM_RESET = (
        "streamReset",
        "The gateway's gRPC library gave the stream up with the code in 'error': look at its log.",
    )
    GOAWAY = "goaway", "The gateway's gRPC library gave the connection up with the code in 'error': look at its log."
    HTTP2_ERROR = "http2Error", "The gateway broke HTTP/2 as 'error' says: is something between it and this server?"
    TOO_MANY_FRAMES = (
        "tooManyFrames",
        "The gateway kept sending frames without content, see 'error': look for a loop in its program, or an attack.",
    )
    TLS_ERROR = (
        "tlsError",
        "The TLS connection broke as 'error' says: is something between gateway and server?",
    )
    MALFORMED = (
        "malformed",
        "The gateway sent something that is not of the protocol, see 'error': compare its definition.",
    )
    MESSAGE_TOO_LARGE = (
        "messageTooLarge",
        "The gateway sent a message over gateways.max_message: send less at once, or raise it on the server.",
    )
    UNSUPPORTED_ENCODING = "unsupportedEncoding", "The gateway compresses its messages: switch compression off."
    SLOW_READER = (
        "slowReader",
        "The gateway does not take what is sent to it: its program hangs, or its network is too slow.",
    )
    SERVER_ERROR = "serverError", "The server failed: its log has the cause; please report it."

    UNKNOWN_DEVICE = (
        "unknownDevice",
        "The gateway spoke for a device that is not configured on it, see 'error': use the device's id, add its block.",
    )
    LIMIT_EXCEEDED = (
        "limitExceeded",
        "The gateway told more about a device or itself than is remembered, see 'error': send less.",
    )
    UNKNOWN_MESSAGE = (
        "unknownMessage",
        "The gateway sent a message without any part that we know: compare its protobuf definition.",
    )
    APPLICATION_SILENT = (
        "applicationSilent",
        "The gateway's machine answers, but its program has long sent nothing: it may hang.",
    )
    IDENTITY_CONFLICT = (
        "identityConflict",
        "Two programs connect with the certificate of one gateway: was it copied? Create one for each.",
        Severity.WARNING,
    )

    @property
    def is_orderly(self) -> bool:
        """True if a stream that ends for this reason is no fault."""
        return self in _ORDERLY

    @property
    def ended_by(self) -> str:
        """The side that ended the stream: gateway, network (or a process that died), or server."""
        if self in _BY_GATEWAY:
            return "gateway"
        return "network" if self in _BY_NETWORK else "server"


_BY_GATEWAY: Final = frozenset(
    {
        GatewayReason.CLOSED,
        GatewayReason.CLIENT_CLOSED,
        GatewayReason.CANCELLED,
        GatewayReason.STREAM_RESET,
        GatewayReason.GOAWAY,
    }
)
_BY_NETWORK: Final = frozenset(
    {
        GatewayReason.PROCESS_DIED,
        GatewayReason.CONNECTION_RESET,
        GatewayReason.TCP_TIMEOUT,
        GatewayReason.KEEPALIVE_TIMEOUT,
    }
)
_ORDERLY: Final = frozenset(
    {
        GatewayReason.CLOSED,
        GatewayReason.CLIENT_CLOSED,
        GatewayReason.CANCELLED,
        GatewayReason.DEADLINE,
        GatewayReason.REPLACED,
        GatewayReason.SHUTDOWN,
        GatewayReason.GATEWAY_REMOVED,
        GatewayReason.GATEWAY_MOVED,
        GatewayReason.GATEWAY_DISABLED,
        GatewayReason.CERTIFICATE_REVOKED,
        GatewayReason.CERTIFICATE_EXPIRED,
    }
)
