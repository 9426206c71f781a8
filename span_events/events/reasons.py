"""Why something went wrong or ended: closed sets of words, each with what it means and what to try."""

from __future__ import annotations

from span_events.events.activity import Reason


class MessageRejectedReason(Reason):
    """Why a message from a device was not accepted."""

    UNKNOWN_ADDRESS = (
        "unknownAddress",
        "No device has this address; if it is yours: `span-events device update DEVICE --ip ADDRESS`.",
    )
    DEVICE_DISABLED = "deviceDisabled", "The device is disabled: set enabled to true to let it send."
    COLLECTION_DISABLED = (
        "collectionDisabled",
        "The device's collection is disabled: set enabled of the collection to true.",
    )
    MALFORMED = (
        "malformed",
        "The octets break CoAP at the offset in 'at': compare the stack's encoding there; plain UDP goes to port 1234.",
    )
    UNKNOWN_CRITICAL_OPTION = (
        "unknownCriticalOption",
        "The request has a CoAP option with an odd number that this server does not implement: leave it out.",
    )
    METHOD_NOT_ALLOWED = (
        "methodNotAllowed",
        "Only POST (send) and GET (fetch a waiting message) are served: change the method of the request.",
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
        "The message is over the limit: send less at once, or raise messages.max_payload on the server.",
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


class DisconnectReason(Reason):
    """Why a device's session ended."""

    CLOSE_NOTIFY = "closeNotify", "The device closed the session itself; nothing to do."
    IDLE_TIMEOUT = (
        "idleTimeout",
        "Nothing came for idleSeconds: the device sleeps, lost coverage or power, or its NAT mapping is gone.",
    )
    REPLACED = "replaced", "The device began a new session from the same address; it probably rebooted."
    ADDRESS_REASSIGNED = (
        "addressReassigned",
        "The mobile core gave this address to another device; this one must attach again.",
    )
    DETACHED = "detached", "The mobile core says that the device has left the network."
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
    """Why a client could not open a session."""

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
    UNSUPPORTED_VERSION = "unsupportedVersion", "Only DTLS 1.2 is served: change the client's version setting."
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
        "The client gave up with the alert in 'detail': unknown ca means that it lacks this server's root certificate.",
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
    """Why a queued message will never reach its device."""

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
    REFUSED = "refused", "The gateway refused the message or was removed: look at its last gatewayCommError."


class CiotDisconnectReason(Reason):
    """Why a device is attached to the mobile network no longer."""

    STOP = (
        "stop",
        "The network ended the session for 'cause': if the device did not mean to leave, look at coverage and power.",
    )
    REPLACED = "replaced", "The device attached anew without a detach: it rebooted, or lost coverage for long."
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
        "There were more sessions than cellular.sessions, and of this one nothing was told for the longest time.",
    )
    DEVICE_REMOVED = "deviceRemoved", "The device was removed through the API; create it again if that was a mistake."


class CiotRejectedReason(Reason):
    """Why the mobile core's request was refused."""

    UNKNOWN_DEVICE = (
        "unknownDevice",
        "Neither the IMSI nor the IMEI belongs to a device: set config.ciot of the device.",
    )
    NO_IMSI = (
        "noImsi",
        "The request names no valid IMSI to compare: let the NAS send 3GPP-IMSI, or clear config.ciot.imsi.",
    )
    NO_ADDRESS = (
        "noAddress",
        "Every address of the pool is in use or was so a moment ago: enlarge cellular.pool, or give the device one.",
    )
    DEVICE_DISABLED = "deviceDisabled", "The device is disabled: set enabled to true to let it attach."
    COLLECTION_DISABLED = (
        "collectionDisabled",
        "The device's collection is disabled: set enabled of the collection to true.",
    )
    BAD_SECRET = "badSecret", "The NAS uses another shared secret than the configuration: compare both."
    MISSING_AUTHENTICATOR = (
        "missingAuthenticator",
        "The request has no Message-Authenticator: switch it on at the NAS, or stop requiring it for this NAS.",
    )
    UNKNOWN_NAS = (
        "unknownNas",
        "The request comes from an address that belongs to no NAS of the configuration: add it to [[radius.nas]].",
    )


class GatewayRejectedReason(Reason):
    """Why a gateway could not connect."""

    UNKNOWN_CA = "unknownCa", "The certificate was not issued by this server: create one for the gateway."
    CERTIFICATE_EXPIRED = "certificateExpired", "The certificate's time is over: create a new one and install it."
    CERTIFICATE_NOT_YET_VALID = "certificateNotYetValid", "The certificate is not valid yet: compare both clocks."
    CERTIFICATE_REVOKED = "certificateRevoked", "The certificate was revoked: create a new one for the gateway."
    NO_CREDENTIALS = "noCredentials", "The gateway sent no client certificate: configure cert.crt and key.pem in it."
    UNKNOWN_GATEWAY = (
        "unknownGateway",
        "The certificate belongs to a device or to no gateway: create one with --gateway.",
    )


class GatewayReason(Reason):
    """Why a gateway's stream ended or failed."""

    CLOSED = "closed", "The gateway ended the stream itself; nothing to do."
    CONNECTION_RESET = "connectionReset", "The gateway's side reset the connection: did its process crash or restart?"
    KEEPALIVE_TIMEOUT = (
        "keepaliveTimeout",
        "Nothing came from the gateway in time: power, network, or a frozen process.",
    )
    REPLACED = "replaced", "The same gateway connected again; the newer connection stays."
    UNKNOWN_DEVICE = (
        "unknownDevice",
        "The gateway spoke for a device that is not configured on it: add its gateway block.",
    )
    MALFORMED = "malformed", "The gateway sent something that is not of the protocol: compare its protobuf definition."
    GATEWAY_REMOVED = "gatewayRemoved", "The gateway was removed or disabled through the API."


class DroppedReason(Reason):
    """Why a subscriber did not get some events."""

    SLOW_SUBSCRIBER = (
        "slowSubscriber",
        "This client reads slower than events come: read faster, or filter by event or device.",
    )
    HISTORY_EXCEEDED = (
        "historyExceeded",
        "Events after your last one are no longer in memory: the server was restarted, or you were away too long.",
    )
