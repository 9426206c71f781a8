"""
Every event, in one declarative place: name, keys, meaning, severity, hint.

The docstring is the text of the README table, of ``span-events events`` and of
``GET /span/events/catalogue``. Names and triggers of the first 24 are Span's; the others are
extensions and tell what Span keeps silent about.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from span_events.events.activity import Event, Key, Reason, Severity, SpanId, key, keys_of
from span_events.events.message import Transport

# ---- reasons: closed sets; each says what it means and what to try ---------------------------


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


class CiotRejectedReason(Reason):
    """Why the mobile core's request was refused."""

    UNKNOWN_DEVICE = (
        "unknownDevice",
        "Neither the IMSI nor the IMEI belongs to a device: set config.ciot of the device.",
    )
    BAD_SECRET = "badSecret", "The NAS uses another shared secret than the configuration: compare both."
    MISSING_AUTHENTICATOR = (
        "missingAuthenticator",
        "The request has no Message-Authenticator: switch it on at the NAS, or stop requiring it for this NAS.",
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


# ---- the 24 events of Span -------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ImeiMismatch(Event):
    """The device attached with an IMEI other than the configured one."""

    name = "imeiMismatch"
    severity = Severity.ERROR
    hint = "The SIM sits in other hardware: clear the IMSI of the device it left, or correct config.ciot.imei."

    imsi: str = key("IMSI of the SIM")
    imei: str = key("IMEI seen")
    expected_imei: str = key("IMEI configured")
    count: int | None = key("how often this was seen since the last such event", extension=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImsiMismatch(Event):
    """The device attached with a SIM other than the configured one."""

    name = "imsiMismatch"
    severity = Severity.ERROR
    hint = "The SIM was swapped: clear or replace config.ciot.imsi of the device if that was meant."

    imsi: str = key("IMSI seen")
    imei: str = key("IMEI of the hardware")
    expected_imsi: str = key("IMSI configured")
    count: int | None = key("how often this was seen since the last such event", extension=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class CiotConnect(Event):
    """The mobile network has authenticated the device; it is online but has not sent anything yet."""

    name = "ciotConnect"
    hint = "The radio side works; the next event should be clientConnected as soon as the device sends."

    imsi: str = key("IMSI of the SIM")
    imei: str = key("IMEI of the hardware")
    allocated_ip: str = key("address that the device got")
    cell_id: str | None = key("cell", optional=True)
    mcc: str | None = key("mobile country code", optional=True)
    mnc: str | None = key("mobile network code", optional=True)
    network: str | None = key("operator", optional=True)
    rat: str | None = key("radio access technology", extension=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientConnected(Event):
    """First contact of a device over UDP, CoAP or DTLS; begins a session."""

    name = "clientConnected"
    hint = "The device reached the server and was recognised; nothing to do."

    identified_by: str = key("how the device was recognised: ip, certificate or psk", name="id")
    transport: Transport | None = key("udp, coap, dtls or coaps", extension=True)
    remote_address: str | None = key("host:port of the device", extension=True)
    certificate_serial: str | None = key("serial number of the client certificate", extension=True)
    cipher: str | None = key("negotiated cipher suite", extension=True)
    handshake_ms: int | None = key("duration of the handshake, milliseconds", extension=True)
    retransmissions: int | None = key("flights that were sent again during the handshake", extension=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientDisconnected(Event):
    """End of a device's session."""

    name = "clientDisconnected"
    hint = "The session is over; the device's next message begins a new one."

    reason: DisconnectReason | None = key("why the session ended", extension=True)
    transport: Transport | None = key("udp, coap, dtls or coaps", extension=True)
    idle_seconds: int | None = key("silence that ended the session", extension=True)
    detail: str | None = key("alert that ended the session", extension=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamMessage(Event):
    """A message from the device was accepted."""

    name = "upstreamMessage"
    hint = "The message is in the inbox and on the /from streams."

    bytes: int = key("size of the payload, octets")
    transport: Transport = key("udp, coap, dtls, coaps or gateway")
    message_id: SpanId | None = key("id of the message in the inbox", extension=True)
    path: str | None = key("CoAP path", extension=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class DownstreamMessage(Event):
    """A message was sent to the device."""

    name = "downstreamMessage"
    hint = "The message left the server; plain UDP and CoAP give no proof that the application got it."

    bytes: int = key("size of the payload, octets")
    transport: Transport = key("udp, coap, dtls, coaps or gateway")
    message_id: SpanId = key("id of the message in the outbox")
    waited_seconds: int | None = key("time in the outbox", extension=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class FirmwareRequested(Event):
    """The device starts to download an image."""

    name = "firmwareRequested"
    hint = "Follow firmwareStateChange for the progress."

    image_id: SpanId = key("image that is served")
    version: str = key("version of the image")
    size: int = key("size of the image, octets")


@dataclass(frozen=True, slots=True, kw_only=True)
class FirmwareCheck(Event):
    """The device reported its firmware version."""

    name = "firmwareCheck"
    hint = "The decision follows: firmwareCurrent or firmwareUpdateRequired."

    version: str = key("version that the device reports")
    manufacturer: str | None = key("manufacturer that the device reports", optional=True)
    model_number: str | None = key("model that the device reports", optional=True)
    serial_number: str | None = key("serial number that the device reports", optional=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class FirmwareUpdateRequired(Event):
    """The device should run another version than it reports."""

    name = "firmwareUpdateRequired"
    hint = "The device was told where to download; firmwareRequested should follow."

    current_version: str = key("version that the device reports")
    target_version: str = key("version that is wanted")
    target_image_id: SpanId = key("image that is wanted")


@dataclass(frozen=True, slots=True, kw_only=True)
class FirmwareCurrent(Event):
    """The device runs the version that is wanted."""

    name = "firmwareCurrent"
    hint = "Nothing to update."

    version: str = key("version that the device reports")
    image_id: SpanId | None = key("image with this version", optional=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class FirmwareStateChange(Event):
    """The firmware state of the device changed, or an update made progress."""

    name = "firmwareStateChange"
    hint = "TimedOut and UpdateFailed need a look at the device; DELETE …/fwerror clears the state."

    from_state: str | None = key("state before", name="from", optional=True)
    state: str = key("state now")
    message: str | None = key("what happened, for people", optional=True)
    block: int | None = key("last block that was served", extension=True)
    percent: int | None = key("part of the image that was served", extension=True)
    seconds: int | None = key("time since the last block", extension=True)
    version: str | None = key("version that the device reports", extension=True)
    target_version: str | None = key("version that is wanted", extension=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobUpload(Event):
    """The device stored a blob."""

    name = "blobUpload"
    hint = "Fetch it with GET …/blobs/{blobId}."

    blob_id: SpanId = key("id of the blob")
    size: int = key("size, octets")
    content_type: str = key("media type, as sent or as guessed")
    path: str | None = key("path of the upload", extension=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCreated(Event):
    """A device was created through the API."""

    name = "deviceCreated"
    hint = "It can send as soon as it has an identity: an address, a certificate or a PSK."


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceUpdated(Event):
    """A device was changed through the API."""

    name = "deviceUpdated"
    hint = "The change is in force at once."


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRemoved(Event):
    """A device was removed through the API."""

    name = "deviceRemoved"
    severity = Severity.WARNING
    hint = "Whatever the device sends from now on is rejected."


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceMoved(Event):
    """A device was moved to another collection; both collections are told."""

    name = "deviceMoved"
    hint = "Its events go to the new collection from now on; subscribe there."

    from_collection: SpanId = key("collection that it left", name="from")
    to_collection: SpanId = key("collection that it joined", name="to")


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayConnected(Event):
    """A gateway opened its control stream."""

    name = "gatewayConnected"
    hint = "gatewayConfigUpdate should follow as soon as the gateway asks for its configuration."

    remote_address: str = key("host:port of the gateway")
    certificate_serial: str = key("serial number of its certificate")


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayDisconnected(Event):
    """A gateway's control stream ended."""

    name = "gatewayDisconnected"
    severity = Severity.WARNING
    hint = "Devices behind the gateway are unreachable until it connects again."

    reason: GatewayReason | None = key("why the stream ended", extension=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayDeviceUpdate(Event):
    """The configuration of a device was exchanged with a gateway."""

    name = "gatewayDeviceUpdate"
    hint = "The gateway and the registry agree on the device's parameters."

    entries: int = key("number of configuration entries")
    direction: str = key("toGateway, fromGateway or removed")


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayUpstreamMessage(Event):
    """A message of a device came through a gateway."""

    name = "gatewayUpstreamMessage"
    hint = "upstreamMessage of the device follows."

    bytes: int = key("size of the payload, octets")
    message_id: SpanId = key("id of the message in the inbox")


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayDownstreamMessage(Event):
    """A message for a device was handed to a gateway."""

    name = "gatewayDownstreamMessage"
    hint = "The protocol has no acknowledgement; the gateway decides when to send."

    bytes: int = key("size of the payload, octets")
    message_id: SpanId = key("id of the message in the outbox")


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayConfigUpdate(Event):
    """A gateway was sent its configuration."""

    name = "gatewayConfigUpdate"
    hint = "gatewayDeviceUpdate follows for each device of the gateway."


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayCommError(Event):
    """Communication with a gateway failed."""

    name = "gatewayCommError"
    severity = Severity.ERROR
    hint = "Look at the gateway's own log around this time."

    error: str = key("what happened, for people")
    reason: GatewayReason | None = key("why", extension=True)
    seconds: int | None = key("silence that was noticed", extension=True)
    device: str | None = key("device that the gateway named", extension=True)


# ---- extensions ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientRejected(Event):
    """A client could not open a DTLS session."""

    name = "clientRejected"
    severity = Severity.ERROR
    hint = "The handshake failed for the reason given."
    extension = True

    reason: ClientRejectedReason = key("why the handshake failed")
    transport: Transport | None = key("dtls or coaps", optional=True)
    remote_address: str = key("host:port of the client")
    certificate_serial: str | None = key("serial number of the client certificate", optional=True)
    certificate_subject: str | None = key("subject of the client certificate", optional=True)
    certificate_issuer: str | None = key("issuer of the client certificate", optional=True)
    not_after: str | None = key("end of the certificate's validity", optional=True)
    not_before: str | None = key("begin of the certificate's validity", optional=True)
    identity: str | None = key("PSK identity that the client sent", optional=True)
    offered: str | None = key("what the client offered", optional=True)
    detail: str | None = key("what was seen, or which limit was hit", optional=True)
    stage: str | None = key("handshake message at which it stopped", optional=True)
    retransmissions: int | None = key("flights that were sent again", optional=True)
    seconds: int | None = key("time since the first hello", optional=True)
    count: int | None = key("how often, when several are told at once", optional=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRejected(Event):
    """Something came in, but it was not accepted as a message."""

    name = "messageRejected"
    severity = Severity.WARNING
    hint = "The message was not delivered, for the reason given."
    extension = True

    reason: MessageRejectedReason = key("why the message was not accepted")
    remote_address: str | None = key("host:port that it came from", optional=True)
    transport: Transport | None = key("udp, coap, dtls, coaps or gateway", optional=True)
    bytes: int | None = key("size, octets", optional=True)
    detail: str | None = key("what was seen and what was wanted", optional=True)
    at: int | None = key("octet where parsing stopped", optional=True)
    option: int | None = key("number of the CoAP option", optional=True)
    expected: int | None = key("number of the block that should have come", optional=True)
    received: int | None = key("number of the block that came", optional=True)
    limit: int | None = key("limit that was exceeded, octets or messages a second", optional=True)
    count: int | None = key("how many, when several are told at once", optional=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientAddressChanged(Event):
    """A DTLS session went on from another address (Connection ID)."""

    name = "clientAddressChanged"
    hint = "The NAT changed the mapping and the session survived; nothing to do."
    extension = True

    from_address: str = key("host:port before", name="from")
    to_address: str = key("host:port now", name="to")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSilent(Event):
    """The device attached to the network but never sent anything."""

    name = "clientSilent"
    severity = Severity.WARNING
    hint = "The radio side works: check APN, server address, port, and that the socket sends after the attach."
    extension = True

    attached_at: str = key("when the device attached, UTC")
    allocated_ip: str = key("address that it got")
    seconds: int = key("silence since then")


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageDuplicate(Event):
    """The device sent the same confirmable message again; it was answered from memory."""

    name = "messageDuplicate"
    severity = Severity.WARNING
    hint = "The acknowledgement was lost or late: check coverage, and that the device waits 2 s before it repeats."
    extension = True

    message_id: SpanId | None = key("id of the message that was accepted the first time", optional=True)
    count: int = key("copies so far")
    seconds: float = key("time since the first copy")
    transport: Transport | None = key("coap or coaps", optional=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class DownstreamQueued(Event):
    """A message for the device waits in the outbox."""

    name = "downstreamQueued"
    hint = "It rides back with the device's next message or poll."
    extension = True

    message_id: SpanId = key("id of the message in the outbox")
    bytes: int = key("size of the payload, octets")
    position: int = key("place in the queue, 1 is next")


@dataclass(frozen=True, slots=True, kw_only=True)
class DownstreamFailed(Event):
    """A message for the device will never be delivered."""

    name = "downstreamFailed"
    severity = Severity.ERROR
    hint = "Queue it again once the cause is gone."
    extension = True

    message_id: SpanId = key("id of the message in the outbox")
    reason: DownstreamFailedReason = key("why it failed")
    waited_seconds: int = key("time in the outbox")
    detail: str | None = key("what the network said", optional=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateExpiring(Event):
    """A certificate in use will expire soon."""

    name = "certificateExpiring"
    severity = Severity.WARNING
    hint = "Create a new certificate and install it before that day."
    extension = True

    not_after: str = key("end of validity, UTC")
    days_left: int = key("days until then")
    certificate_serial: str = key("serial number")


@dataclass(frozen=True, slots=True, kw_only=True)
class CiotDisconnect(Event):
    """The mobile network says that the device has detached."""

    name = "ciotDisconnect"
    hint = "The address is free again; the device must attach before it can send."
    extension = True

    imsi: str = key("IMSI of the SIM")
    allocated_ip: str | None = key("address that it had", optional=True)
    cause: str | None = key("cause that the network gave", optional=True)
    seconds: int | None = key("duration of the attachment", optional=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class CiotRejected(Event):
    """The mobile core asked to attach somebody, and was refused."""

    name = "ciotRejected"
    severity = Severity.ERROR
    hint = "The request was refused for the reason given."
    extension = True

    reason: CiotRejectedReason = key("why it was refused")
    nas: str = key("network access server that asked")
    imsi: str | None = key("IMSI presented", optional=True)
    imei: str | None = key("IMEI presented", optional=True)
    count: int | None = key("how often, when several are told at once", optional=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayRejected(Event):
    """A gateway could not connect."""

    name = "gatewayRejected"
    severity = Severity.ERROR
    hint = "The connection was refused for the reason given."
    extension = True

    reason: GatewayRejectedReason = key("why it was refused")
    remote_address: str = key("host:port of the gateway")
    certificate_serial: str | None = key("serial number of its certificate", optional=True)
    certificate_issuer: str | None = key("issuer of its certificate", optional=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventsDropped(Event):
    """This subscriber did not get some events; others did."""

    name = "eventsDropped"
    severity = Severity.WARNING
    hint = "Some events are missing from this stream."
    extension = True

    reason: DroppedReason = key("why they are missing")
    count: int | None = key("how many; absent when not known", optional=True)
    first_id: SpanId | None = key("id of the first that is missing", optional=True)
    last_id: SpanId | None = key("id of the last that is missing", optional=True)


# By hand: `slots=True` builds each class twice, so `__subclasses__()` sees ghosts.
_EVENTS: Final[tuple[type[Event], ...]] = (
    ImeiMismatch,
    ImsiMismatch,
    CiotConnect,
    ClientConnected,
    ClientDisconnected,
    UpstreamMessage,
    DownstreamMessage,
    FirmwareRequested,
    FirmwareCheck,
    FirmwareUpdateRequired,
    FirmwareCurrent,
    FirmwareStateChange,
    BlobUpload,
    DeviceCreated,
    DeviceUpdated,
    DeviceRemoved,
    DeviceMoved,
    GatewayConnected,
    GatewayDisconnected,
    GatewayDeviceUpdate,
    GatewayUpstreamMessage,
    GatewayDownstreamMessage,
    GatewayConfigUpdate,
    GatewayCommError,
    ClientRejected,
    MessageRejected,
    ClientAddressChanged,
    ClientSilent,
    MessageDuplicate,
    DownstreamQueued,
    DownstreamFailed,
    CertificateExpiring,
    CiotDisconnect,
    CiotRejected,
    GatewayRejected,
    EventsDropped,
)

CATALOGUE: Final = MappingProxyType({each.name: each for each in _EVENTS})
"""Event classes by name, in the order of the documentation: Span's 24 first."""
KEYS: Final[MappingProxyType[type[Event], tuple[Key, ...]]] = MappingProxyType(
    {each: keys_of(each) for each in _EVENTS}
)
"""The data keys of each event class, sorted as JSON writes them."""
SPAN_NAMES: Final = frozenset(each.name for each in _EVENTS if not each.extension)
"""Names of the events that Span has too."""


def meaning_of(event: type[Event]) -> str:
    """Return the one sentence that documents an event."""
    return (event.__doc__ or "").strip()
