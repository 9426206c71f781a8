"""Reasons of failures and ends: closed sets of words, each with its meaning and the next thing to try."""

from __future__ import annotations

from typing import Final

from span_events.events.activity import Reason, Severity


class MessageRejectedReason(Reason):
    """Reasons for which a message from a device is rejected."""

    UNKNOWN_ADDRESS = (
        "unknownAddress",
        (
            "No device has this address; if it is yours: `span-events device update DEVICE --ip ADDRESS`. "
            "A device with a SIM must attach first."
        ),
    )
    NOT_ATTACHED = (
        "notAttached",
        (
            "The address belongs to this device, but the mobile core has not told that it is attached: look for "
            "ciotConnect or ciotDisconnect before this."
        ),
    )
    DEVICE_DISABLED = "deviceDisabled", "The device is disabled: set enabled to true to let it send."
    COLLECTION_DISABLED = (
        "collectionDisabled",
        "The device's collection is disabled: set enabled of the collection to true.",
    )
    MALFORMED = (
        "malformed",
        "The octets break their protocol at the offset in 'at': compare the stack's encoding there, and the port.",
    )
    UNKNOWN_CRITICAL_OPTION = (
        "unknownCriticalOption",
        "The request has a CoAP option with an odd number that this server does not implement: leave it out.",
    )
    METHOD_NOT_ALLOWED = (
        "methodNotAllowed",
        "The method is not served at this place, 'detail' says which are: change the method of the request.",
    )
    PROXYING_NOT_SUPPORTED = (
        "proxyingNotSupported",
        "The request asks for forwarding by Proxy-Uri or Proxy-Scheme: address this server directly.",
    )
    NOT_IMPLEMENTED = (
        "notImplemented",
        "This path is reserved for a service that is not switched on here: use another path for messages.",
    )
    BLOCK_MISSING = (
        "blockMissing",
        "A block of the upload was lost or sent out of order: start again with block 0, one block at a time.",
    )
    TOO_LARGE = (
        "tooLarge",
        "It is over the limit: send less at once, or raise messages.max_payload (blobs: blobs.max_size) on the server.",
    )
    RATE_LIMITED = (
        "rateLimited",
        "The device sends faster than messages.rate allows: look for a loop without a pause in the firmware.",
    )
    NO_SESSION = (
        "noSession",
        "A DTLS record without a session; perhaps the NAT changed the port: handshake again, or use Connection ID.",
    )
    NO_FIRMWARE = (
        "noFirmware",
        "The device asks for an image, but none is assigned or it is disabled: set a target image.",
    )
    IMAGE_CHANGED = (
        "imageChanged",
        "The device has another target since its download began: it must begin again with block 0, see 'detail'.",
    )
    LENGTH_REQUIRED = (
        "lengthRequired",
        "The HTTP upload does not say how long it is: send Content-Length, and no Transfer-Encoding.",
    )
    INCOMPLETE = (
        "incomplete",
        "The connection ended before the whole blob had come, see 'detail': look for lost coverage, or send it again.",
    )
    TOO_SLOW = (
        "tooSlow",
        "The upload paused or was too slow: look for lost coverage, or change the limit that 'detail' names.",
    )
    STORAGE_FULL = (
        "storageFull",
        "There is no room for it: delete old ones with `span-events blob delete`, or raise the limit in 'detail'.",
    )
    STORAGE_FAILED = (
        "storageFailed",
        "The server could not store the blob, or read the image: its log says why; try again when that is mended.",
    )
    SERVER_BUSY = (
        "serverBusy",
        "As many uploads are under way as the limit in 'detail' allows: try again in a while, or raise it.",
    )
    DEVICE_REMOVED = "deviceRemoved", "The device was removed while its upload was under way."


class DisconnectReason(Reason):
    """Reasons for the end of a device's session."""

    CLOSE_NOTIFY = "closeNotify", "The device closed the session itself; nothing to do."
    IDLE_TIMEOUT = (
        "idleTimeout",
        "Nothing came for idleSeconds: the device sleeps, lost coverage or power, or its NAT mapping is gone.",
    )
    REPLACED = "replaced", "A newer session of the device took its place; it probably rebooted."
    ADDRESS_REASSIGNED = (
        "addressReassigned",
        "The mobile core gave this address to another device; this one must attach again.",
    )
    DETACHED = "detached", "The device left the mobile network, see the ciotDisconnect before this."
    ADDRESS_CHANGED = (
        "addressChanged",
        "The mobile core gave the device another address, see 'detail': what comes from there begins a new session.",
    )
    DEVICE_REMOVED = "deviceRemoved", "The device was removed through the API; create it again if that was a mistake."
    DEVICE_DISABLED = "deviceDisabled", "The device or its collection was disabled; set enabled to true to let it back."
    CLIENT_ALERT = (
        "clientAlert",
        "The device ended the session with the alert in 'detail': look at its log at this time.",
    )
    CERTIFICATE_REVOKED = "certificateRevoked", "The certificate of the session was revoked: install a new one."
    CERTIFICATE_EXPIRED = (
        "certificateExpired",
        "The certificate's time ended during the session: create a new one and install it.",
    )
    PSK_CHANGED = "pskChanged", "The PSK of the session was replaced or removed: the device needs the new one."
    SERVER_STOPPED = "serverStopped", "The server was stopped; the device must handshake again."


class ClientRejectedReason(Reason):
    """Reasons for which a client cannot open a session."""

    UNKNOWN_CA = (
        "unknownCa",
        "The certificate was not issued by this server: create one with `span-events cert create`.",
    )
    CERTIFICATE_EXPIRED = "certificateExpired", "The certificate's time is over: create a new one and install it."
    CERTIFICATE_NOT_YET_VALID = (
        "certificateNotYetValid",
        "The certificate is not valid yet: one of the two clocks is wrong, most often the device's at issue.",
    )
    NO_CREDENTIALS = "noCredentials", "The client offered neither a certificate nor a PSK: configure one in its stack."
    NO_SHARED_CIPHER = (
        "noSharedCipher",
        "No cipher suite in common: enable ECDHE-ECDSA-AES128-GCM-SHA256 or a PSK AES-128-CCM-8 suite in the client.",
    )
    UNSUPPORTED_VERSION = (
        "unsupportedVersion",
        "Only DTLS 1.2 is served, and TLS 1.2 or 1.3 for blobs: change the client's version setting.",
    )
    UNKNOWN_PSK_IDENTITY = (
        "unknownPskIdentity",
        "No device has this PSK identity: set it with `span-events device psk`, exactly as the client sends it.",
    )
    PSK_MISMATCH = "pskMismatch", "The identity is right but the key is not: compare the key octet by octet."
    HANDSHAKE_TIMEOUT = (
        "handshakeTimeout",
        "The client stopped at 'stage': look for lost datagrams, a too small receive buffer, or MTU limits.",
    )
    UNKNOWN_DEVICE = (
        "unknownDevice",
        "The certificate is ours, but its device is gone: create the device and a new certificate.",
    )
    CERTIFICATE_REVOKED = "certificateRevoked", "The certificate was revoked: create a new one for the device."
    CERTIFICATE_INVALID = (
        "certificateInvalid",
        "The certificate breaks the rule in 'detail': use the one that `span-events cert create` writes, as it is.",
    )
    GATEWAY_CERTIFICATE = (
        "gatewayCertificate",
        "The certificate belongs to a gateway, but this port is for devices: create one for the device.",
    )
    DEVICE_DISABLED = "deviceDisabled", "The device is disabled: set enabled to true to let it in."
    COLLECTION_DISABLED = (
        "collectionDisabled",
        "The device's collection is disabled: set enabled of the collection to true.",
    )
    CLIENT_ALERT = (
        "clientAlert",
        "It gave up, see 'detail': it lacks this server's root (unknown ca) or wants another name (bad certificate).",
    )
    MALFORMED_HELLO = (
        "malformedHello",
        "The ClientHello cannot be read, see 'detail': it must come whole, in one datagram.",
    )
    HANDSHAKE_FAILED = (
        "handshakeFailed",
        "The handshake broke at 'stage' for the cause in 'detail': compare what the client's stack logs there.",
    )
    SERVER_BUSY = (
        "serverBusy",
        "The server is at the limit in 'detail': try later, or raise it in the table [dtls] of the configuration.",
    )


class DownstreamFailedReason(Reason):
    """Reasons for which a queued message will never reach its device."""

    EXPIRED = (
        "expired",
        "The device did not show itself while the message waited: check when it last sent, or raise downstream.expiry.",
    )
    DEVICE_REMOVED = "deviceRemoved", "The device was removed while the message waited."
    CANCELLED = "cancelled", "The message was deleted from the outbox before it was sent."
    SEND_ERROR = (
        "sendError",
        "The network refused the datagram: is the address still reachable, is the payload too large?",
    )
    REFUSED = (
        "refused",
        "The device's last gateway was removed, disabled or taken from it, and it has no other way: give it one first.",
    )


class CiotDisconnectReason(Reason):
    """Reasons for the end of an attachment to the mobile network."""

    STOP = (
        "stop",
        "The network ended the session for 'cause': if the device did not mean to leave, look at coverage and power.",
    )
    REPLACED = (
        "replaced",
        "Its SIM attached anew without a detach: a reboot, coverage lost for long, or (imeiMismatch) other hardware.",
    )
    ADDRESS_REASSIGNED = (
        "addressReassigned",
        "The mobile core gave the address to another device; this one must attach again.",
    )
    NAS_RESTARTED = (
        "nasRestarted",
        "The gateway node of the mobile core was restarted, with all its sessions: the device must attach again.",
    )
    TIMEOUT = (
        "timeout",
        "The mobile core told nothing of the session for so long that it must be gone; was its Stop lost on the way?",
    )
    IDENTITY_CHANGED = (
        "identityChanged",
        "The session no longer matches the device, since config.ciot was changed: correct it, or attach again.",
    )
    TABLE_FULL = (
        "tableFull",
        "Of all sessions this one was without news for longest, and there are cellular.sessions of them: raise that.",
    )
    DEVICE_REMOVED = "deviceRemoved", "The device was removed through the API; create it again if that was a mistake."


class CiotRejectedReason(Reason):
    """Reasons for which a request of the mobile core is refused."""

    UNKNOWN_DEVICE = (
        "unknownDevice",
        "Neither the IMSI nor the IMEI is a device's: `span-events device create --imsi … --imei …`, or update one.",
    )
    NO_IMSI = (
        "noImsi",
        "The request names no valid IMSI to compare: let the NAS send 3GPP-IMSI, or clear config.ciot.imsi.",
    )
    NO_ADDRESS = (
        "noAddress",
        "Every address of the pool is in use or was so a moment ago: enlarge cellular.pool, or give the device one.",
    )
    DEVICE_DISABLED = (
        "deviceDisabled",
        "The device is disabled: `span-events device update DEVICE --enable` lets it attach.",
    )
    COLLECTION_DISABLED = (
        "collectionDisabled",
        "The device's collection is disabled: set enabled of the collection to true.",
    )
    BAD_SECRET = (
        "badSecret",
        "The NAS uses another shared secret: compare with secret or secret_file of its table [[radius.nas]].",
    )
    MISSING_AUTHENTICATOR = (
        "missingAuthenticator",
        "The request has no Message-Authenticator: switch it on at the NAS, or stop requiring it for this NAS.",
    )
    UNKNOWN_NAS = (
        "unknownNas",
        "The request comes from an address that belongs to no NAS of the configuration: add it to [[radius.nas]].",
    )


class GatewayRejectedReason(Reason):
    """Reasons for which a gateway cannot connect."""

    NOT_TLS = (
        "notTls",
        "Something other than TLS came, see 'detail': switch TLS on in the client, or look for a scanner.",
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
    NO_STREAM = (
        "noStream",
        "TLS is done, but no control stream was opened within gateways.stream_timeout; does it call, and trust us?",
    )
    BAD_PATH = (
        "badPath",
        "The client called the method in 'detail'; only /gateway.v1.UserGatewayService/ControlStream is served.",
    )
    HTTP2_ERROR = "http2Error", "The client broke HTTP/2, see 'detail': use a gRPC library."
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
    )

    @property
    def is_orderly(self) -> bool:
        """True if a stream that ends for this reason is no fault."""
        return self in _ORDERLY


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


class DroppedReason(Reason):
    """Reasons for which a subscriber misses events."""

    SLOW_SUBSCRIBER = (
        "slowSubscriber",
        "This client reads slower than events come: read faster, or filter by event or device.",
    )
    HISTORY_EXCEEDED = (
        "historyExceeded",
        "Events after your last one are no longer in memory: the server was restarted, or you were away too long.",
    )


class FirmwareState(Reason):
    """States of a device's firmware update: the words of ``firmware.state``."""

    INITIALIZING = "Initializing", "An error was cleared: the device's next report decides what is to be done."
    PENDING = (
        "Pending",
        "An update waits: firmwareUpdateRequired follows the device's next report, then it should ask for the image.",
    )
    DOWNLOADING = "Downloading", "The device fetches the image; 'percent' tells how far it has come."
    UPDATING = (
        "Updating",
        "The image was served to its end: the device should install it, restart and report its new version.",
    )
    CURRENT = "Current", "Nothing is to be done."
    UPDATE_FAILED = (
        "UpdateFailed",
        "The device has the image and runs another version: look at its boot log, and at how both spell the version.",
        Severity.ERROR,
    )
    TIMED_OUT = (
        "TimedOut",
        "Nothing new came for 'seconds' after 'block': look for coverage, power, or a block that it cannot store.",
        Severity.WARNING,
    )
    REVERTED = (
        "Reverted",
        "The device ran the wanted version and has left it: look at its boot log for why it gave the new one up.",
        Severity.ERROR,
    )
