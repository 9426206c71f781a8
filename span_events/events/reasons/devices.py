"""Reasons about devices: rejected messages and clients, ended sessions, undelivered messages."""

from __future__ import annotations

from span_events.events.activity import Reason


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
            "The address is reserved for this device, or was its own until 'endedAt', and the mobile core has not said "
            "that the device is attached: let it attach again; if it is attached, let the NAS send accounting here."
        ),
    )
    UNKNOWN_EUI = (
        "unknownEui",
        (
            "No device of the collection has this EUI: `span-events device update DEVICE --tag devEui=EUI`, or set "
            "chirpstack.create_devices."
        ),
    )
    DEVICE_DISABLED = "deviceDisabled", "The device is disabled: set enabled to true to let it send."
    COLLECTION_DISABLED = (
        "collectionDisabled",
        "The device's collection is disabled: set enabled of the collection to true.",
    )
    MALFORMED = (
        "malformed",
        "The octets break their protocol: 'detail' says how, 'at' where. Compare the stack's encoding, and the port.",
    )
    UNKNOWN_CRITICAL_OPTION = (
        "unknownCriticalOption",
        "The request has a CoAP option with an odd number that this server does not implement: leave it out.",
    )
    UNEXPECTED_RESPONSE = (
        "unexpectedResponse",
        (
            "A CoAP response or notification, but the server asked nothing: a device sends requests; their code octet "
            "is 2 for POST or 1 for GET."
        ),
    )
    NOT_ACCEPTABLE = (
        "notAcceptable",
        "The request accepts only another content format than this path has: leave its Accept option out.",
    )
    NEARLY_RESERVED = (
        "nearlyReserved",
        "The path is nearly a reserved one, see 'looksLike': write it exactly, or poll at any other path.",
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
        "A block of the transfer was lost or came out of order: start again with block 0, one block at a time.",
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
        "The server has no session for this DTLS record, see 'detail' and endReason: the device must handshake again.",
    )
    UNREADABLE_RECORD = (
        "unreadableRecord",
        "DTLS records of this session are dropped, see 'detail': a device that lost its session must handshake again.",
    )
    NO_FIRMWARE = (
        "noFirmware",
        "The device asks for an image, but none is assigned or it is disabled: set a target image.",
    )
    WRONG_MODEL = (
        "wrongModel",
        "The target image is for another model, so it is not offered: set another target, or mend the image's tags.",
    )
    IMAGE_CHANGED = (
        "imageChanged",
        "The device has another target since its download began: it must begin again with block 0, see 'detail'.",
    )
    LENGTH_REQUIRED = (
        "lengthRequired",
        "The HTTP upload does not say how long it is: send Content-Length, or Transfer-Encoding: chunked.",
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


class ConflictReason(Reason):
    """Things that two clients share, other than a certificate or a PSK."""

    SHARED_ADDRESS = (
        "sharedAddress",
        "Two ports of one address send in turn: devices behind one NAT count as one; give each a certificate or PSK.",
    )


class DuplicateReason(Reason):
    """Kinds of duplicates other than the retransmission of a CON."""

    NON_CONFIRMABLE = (
        "nonConfirmable",
        "A NON came again: the client or the network repeats it, or the client never changes its message id.",
    )
    SAME_MESSAGE_ID = (
        "sameMessageId",
        "Copies this far apart are no retransmissions: the client must count its message id up, also over deep sleep.",
    )


class DisconnectReason(Reason):
    """Reasons for the end of a device's session."""

    CLOSE_NOTIFY = "closeNotify", "The device closed the session itself; nothing to do."
    IDLE_TIMEOUT = (
        "idleTimeout",
        "Nothing came for idleSeconds: the device sleeps, lost coverage or power, or its NAT mapping is gone.",
    )
    REPLACED = (
        "replaced",
        "A newer session of the device took its place: it probably rebooted; again and again, if this comes often.",
    )
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
    SERVER_ALERT = (
        "serverAlert",
        "The client broke DTLS, see 'detail', so the server sent a fatal alert: handshake again, and check its stack.",
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
        "By the server's clock the certificate begins at notBefore: set that clock right; the device's plays no part.",
    )
    NO_CREDENTIALS = "noCredentials", "The client offered neither a certificate nor a PSK: configure one in its stack."
    NO_SHARED_CIPHER = (
        "noSharedCipher",
        "No cipher suite in common: enable ECDHE-ECDSA-AES128-GCM-SHA256, or for DTLS a PSK AES-128-CCM-8 suite.",
    )
    NO_SHARED_GROUP = (
        "noSharedGroup",
        "The client's elliptic curves do not fit, see 'detail': list secp256r1 in its extension supported_groups.",
    )
    RAW_PUBLIC_KEY = (
        "rawPublicKey",
        "The client wants raw public keys (RFC 7250), which are not served: configure a certificate or a PSK.",
    )
    UNSUPPORTED_VERSION = (
        "unsupportedVersion",
        "Only DTLS 1.2 is served, and TLS 1.2 or 1.3 for blobs: change the client's version setting.",
    )
    UNKNOWN_PSK_IDENTITY = (
        "unknownPskIdentity",
        "No device has this PSK identity: set it with `span-events device psk`, exactly as the client sends it.",
    )
    PSK_MISMATCH = (
        "pskMismatch",
        "The identity is right but the key is not: compare them octet by octet; often one is the other's hex digits.",
    )
    HANDSHAKE_TIMEOUT = (
        "handshakeTimeout",
        "The client stopped at 'stage': lost datagrams, too large ones (lower dtls.mtu), no credentials for 'cipher'.",
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
        "It gave up, see 'detail': it lacks the server's root, wants another name, or its clock is outside the dates.",
    )
    MALFORMED_HELLO = (
        "malformedHello",
        "The ClientHello cannot be read, see 'detail'; of fragments, the first must hold the cookie, whole.",
    )
    WRONG_PROTOCOL = (
        "wrongProtocol",
        "The client speaks another protocol than this port, see 'detail': change the client's port or protocol.",
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
