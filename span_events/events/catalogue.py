"""
The catalogue of events, in one declarative place: name, keys, meaning, severity, hint.

The docstring is the text of the guide to events, of ``span-events events`` and of
``GET /span/events/catalogue``. Names and triggers of the first 24 are Span's; the others are
extensions and report steps about which Span is silent.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from span_events.events.activity import Event, Key, Moment, Severity, SpanId, key, keys_of, severities_of, severity_of
from span_events.events.message import Transport
from span_events.events.reasons import (
    CiotDisconnectReason,
    CiotRejectedReason,
    ClientRejectedReason,
    ConflictReason,
    DisconnectReason,
    DownlinkState,
    DownstreamFailedReason,
    DroppedReason,
    DuplicateReason,
    FirmwareState,
    GatewayReason,
    GatewayRejectedReason,
    MessageRejectedReason,
    NetworkLogReason,
    OutputReason,
)
from span_events.values import quick

# ---- the 24 events of Span -------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ImeiMismatch(Event):
    """The device asked to attach with an IMEI other than the configured one."""

    name = "imeiMismatch"
    severity = Severity.ERROR
    hint = (
        "The SIM sits in other hardware: if that was meant, `span-events device update DEVICE --imei NEW`, "
        "or --imei '' to take any."
    )

    imsi: str = key("IMSI of the SIM")
    imei: str = key("IMEI seen")
    expected_imei: str = key("IMEI configured")
    count: int | None = key("how many more there were since the last such event", extension=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImsiMismatch(Event):
    """The device asked to attach with a SIM other than the configured one."""

    name = "imsiMismatch"
    severity = Severity.ERROR
    hint = (
        "The SIM was swapped: if that was meant, `span-events device update DEVICE --imsi NEW`, "
        "or --imsi '' to take any."
    )

    imsi: str = key("IMSI seen")
    imei: str = key("IMEI of the hardware")
    expected_imsi: str = key("IMSI configured")
    count: int | None = key("how many more there were since the last such event", extension=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class CiotConnect(Event):
    """The mobile network has authenticated the device; it is online but has not sent anything yet."""

    name = "ciotConnect"
    hint = "The radio side works; the next event should be clientConnected as soon as the device sends."

    imsi: str | None = key("IMSI of the SIM, if the network told it", optional=True)
    imei: str | None = key("IMEI of the hardware, if the network told it", optional=True)
    allocated_ip: str | None = key("address that the device got; of IPv6 the prefix", optional=True)
    cell_id: str | None = key("cell", optional=True)
    mcc: str | None = key("mobile country code", optional=True)
    mnc: str | None = key("mobile network code", optional=True)
    network: str | None = key("name of the operator, if it is known", optional=True)
    rat: str | None = key("radio access technology", extension=True)
    apn: str | None = key("access point name", extension=True)
    expected_ip: str | None = key(
        "address that the Accept or the registry gives it, if the NAS gave another: it ignores Framed-IP-Address",
        extension=True,
    )


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
    detail: str | None = key("alert or fault that ended the session", extension=True)
    remote_address: str | None = key("host:port of the device: which of its sessions it was", extension=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamMessage(Event):
    """A message from the device was accepted."""

    name = "upstreamMessage"
    hint = "The message is in the inbox and on the /from streams."

    bytes: int = key("size of the payload, octets")
    transport: Transport = key("udp, coap, dtls, coaps or gateway")
    message_id: SpanId | None = key("id of the message in the inbox", extension=True)
    path: str | None = key("CoAP path", extension=True)
    looks_like: str | None = key("protocol or reserved path that the device probably meant", extension=True)
    expected_port: int | None = key("port where that protocol is served", extension=True)
    detail: str | None = key("what is odd about the message, and what is right", extension=True)
    radio: str | None = key("port, frame counter, gateways and best signal, of a LoRaWAN network", extension=True)
    network_time: Moment | None = key("time that another network server gives the message, UTC", extension=True)
    number: int = 0
    """Number of messages of the device before this one, since the server started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DownstreamMessage(Event):
    """A message was sent to the device."""

    name = "downstreamMessage"
    hint = "The message left the server; nothing proves that the application got it, least of all by UDP or a gateway."

    bytes: int = key("size of the payload, octets")
    transport: Transport = key("udp, coap, dtls, coaps or gateway")
    message_id: SpanId = key("id of the message in the outbox")
    waited_seconds: int | None = key("time in the outbox", extension=True)
    number: int = 0
    """Number of messages to the device before this one, since the server started."""


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
    """The device runs its target version, or has no target."""

    name = "firmwareCurrent"
    hint = "Nothing to update."

    version: str = key("version that the device reports")
    image_id: SpanId | None = key("image with this version", optional=True)
    message: str | None = key("why no version is wanted, if so", extension=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class FirmwareStateChange(Event):
    """The firmware state of the device changed, or an update made progress."""

    name = "firmwareStateChange"
    hint = "TimedOut and UpdateFailed need a look at the device; DELETE …/fwerror clears the state."

    from_state: str | None = key("state before", name="from", optional=True)
    state: FirmwareState = key("state now")
    message: str | None = key("what happened, for people", optional=True)
    block: int | None = key("number of the last block that was served, counted in blockSize", extension=True)
    block_size: int | None = key("size of the blocks that the device asks for, octets", extension=True)
    repeated_block: int | None = key("number of a block that the device asked for again and again", extension=True)
    percent: int | None = key("how far into the image the furthest block that was served reaches", extension=True)
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
    detail: str | None = key("what was done with a form (multipart/form-data)", extension=True)


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
    """A device was moved to another collection; both collections get the event."""

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
    not_after: Moment | None = key("end of validity of its certificate, UTC", extension=True)
    tls_version: str | None = key("TLS version", extension=True)
    user_agent: str | None = key("what the gateway's program calls itself", extension=True)
    replaced: str | None = key("true if an older connection of the gateway was ended for this one", extension=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayDisconnected(Event):
    """A gateway's control stream ended."""

    name = "gatewayDisconnected"
    severity = Severity.WARNING
    hint = "Devices behind the gateway are unreachable until it connects again."

    reason: GatewayReason | None = key("why the stream ended", extension=True)
    detail: str | None = key("what exactly was seen", extension=True)
    duration: int | None = key("seconds that the stream lasted", extension=True)
    messages_up: int | None = key("messages that came from the gateway", extension=True)
    messages_down: int | None = key("messages that went to the gateway", extension=True)
    undelivered: int | None = key("messages that waited for the gateway to read, and are lost", extension=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayDeviceUpdate(Event):
    """The configuration of a device was exchanged with a gateway."""

    name = "gatewayDeviceUpdate"
    hint = (
        "Sent or told was the device's block for this gateway; removed: the gateway heard that there is none any more."
    )

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

    entries: int | None = key("number of configuration entries", extension=True)
    trigger: str | None = key("request (the gateway asked) or change (through the API)", extension=True)


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
    count: int | None = key("how many more there were since the last such event", extension=True)


# ---- extensions ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientRejected(Event):
    """A client could not open a DTLS session, or was refused after a TLS handshake."""

    name = "clientRejected"
    severity = Severity.ERROR
    hint = "The handshake failed for the reason given."
    extension = True

    reason: ClientRejectedReason = key("why the handshake failed")
    transport: Transport | None = key("dtls, coaps or https", optional=True)
    remote_address: str = key("host:port of the client")
    certificate_serial: str | None = key("serial number of the client certificate", optional=True)
    certificate_subject: str | None = key("subject of the client certificate", optional=True)
    certificate_issuer: str | None = key("issuer of the client certificate", optional=True)
    not_after: str | None = key("end of the certificate's validity", optional=True)
    not_before: str | None = key("begin of the certificate's validity", optional=True)
    identity: str | None = key("PSK identity that the client sent", optional=True)
    attributed_by: str | None = key("address, if only that tells whose event this is", optional=True)
    offered: str | None = key("what the client offered", optional=True)
    cipher: str | None = key("cipher suite that the server chose", optional=True)
    detail: str | None = key("what was seen, or which limit was hit", optional=True)
    looks_like: str | None = key("protocol that the octets look like", optional=True)
    expected_port: int | None = key("port where that protocol is served", optional=True)
    stage: str | None = key("handshake message at which it stopped", optional=True)
    retransmissions: int | None = key("flights that were sent again", optional=True)
    seconds: int | None = key("time since the first hello", optional=True)
    count: int | None = key("how many more there were since the last such event", optional=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRejected(Event):
    """A payload arrived, but was not accepted as a message."""

    name = "messageRejected"
    severity = Severity.WARNING
    hint = "The message was not delivered, for the reason given."
    extension = True

    reason: MessageRejectedReason = key("why the message was not accepted")
    remote_address: str | None = key("host:port that it came from", optional=True)
    transport: Transport | None = key("udp, coap, dtls, coaps, http, https or gateway", optional=True)
    bytes: int | None = key("size, octets", optional=True)
    detail: str | None = key("what was seen and what was wanted", optional=True)
    at: int | None = key("octet where parsing stopped", optional=True)
    option: int | None = key("number of the CoAP option", optional=True)
    code: str | None = key("CoAP code, such as 2.05", optional=True)
    looks_like: str | None = key("protocol that the octets look like", optional=True)
    expected_port: int | None = key("port where that protocol is served", optional=True)
    expected: int | None = key("number of the block that should have come", optional=True)
    received: int | None = key("number of the block that came", optional=True)
    model_number: str | None = key("model that the device reports", optional=True)
    image_model_number: str | None = key("model that the image is for", optional=True)
    limit: int | None = key("limit that was exceeded: octets, messages a second, or blobs", optional=True)
    ended_at: Moment | None = key("end of the attachment that had this address, UTC", optional=True)
    terminate_cause: str | None = key("why that attachment ended, as the NAS says", name="cause", optional=True)
    ended_seconds_ago: int | None = key("time since the session at that address ended", optional=True)
    end_reason: DisconnectReason | None = key("why that session ended", optional=True)
    count: int | None = key("how many more there were since the last such event", optional=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientAddressChanged(Event):
    """A DTLS session continued from another address (Connection ID)."""

    name = "clientAddressChanged"
    hint = "The NAT changed the mapping and the session survived; nothing to do."
    extension = True

    from_address: str = key("host:port before", name="from")
    to_address: str = key("host:port now", name="to")


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityConflict(Event):
    """Two clients use the certificate, PSK or plain address of one device in turn."""

    name = "identityConflict"
    severity = Severity.WARNING
    hint = "One certificate or PSK was copied, or a test program uses it beside the device: give each client its own."
    extension = True

    reason: ConflictReason | None = key("why, if neither a certificate nor a PSK is shared", optional=True)
    transport: Transport = key("dtls or coaps; udp or coap for an address")
    remote_address: str = key("host:port of the client that sends now")
    other_address: str = key("address of the client that sent before")
    certificate_serial: str | None = key("serial number of the certificate that both use", optional=True)
    identity: str | None = key("PSK identity that both use", optional=True)
    count: int | None = key("how many more there were since the last such event", optional=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class CiotAddressChanged(Event):
    """The mobile network gave an attached device another address."""

    name = "ciotAddressChanged"
    hint = "The device is now known by the new address; messages from the old one are not its own any more."
    extension = True

    imsi: str | None = key("IMSI of the SIM", optional=True)
    from_address: str | None = key("address before; of IPv6 the prefix", name="from", optional=True)
    to_address: str | None = key("address now; of IPv6 the prefix", name="to", optional=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSilent(Event):
    """The device attached to the network but never sent anything."""

    name = "clientSilent"
    severity = Severity.WARNING
    hint = "The radio side works: check APN, server address, port, and that the socket sends after the attach."
    extension = True

    attached_at: Moment = key("when the device attached, UTC")
    allocated_ip: str | None = key("address that it got; of IPv6 the prefix", optional=True)
    seconds: int = key("silence since then")


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageDuplicate(Event):
    """The device sent the same CoAP message again; it counts once, and a CON was answered from memory."""

    name = "messageDuplicate"
    severity = Severity.WARNING
    hint = "The acknowledgement was lost or late: check coverage, and that the device waits 2 s before it repeats."
    extension = True

    message_id: SpanId | None = key("id of the message that was accepted the first time", optional=True)
    count: int = key("copies so far")
    seconds: float = key("time since the first copy")
    reason: DuplicateReason | None = key("why it was sent again, if it is no retransmission of a CON", optional=True)
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
    """The attachment of the device to the mobile network ended."""

    name = "ciotDisconnect"
    hint = "The address is free again; the device must attach before it can send."
    extension = True

    reason: CiotDisconnectReason = key("why the attachment ended")
    imsi: str | None = key("IMSI of the SIM, if the network told it", optional=True)
    allocated_ip: str | None = key("address that it had; of IPv6 the prefix", optional=True)
    cause: str | None = key("cause that the network gave", optional=True)
    seconds: int | None = key("duration of the attachment", optional=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class CiotRejected(Event):
    """An attach request was rejected, or the mobile core reported a session of an unknown subscriber."""

    name = "ciotRejected"
    severity = Severity.ERROR
    hint = "The request was refused for the reason given."
    extension = True

    reason: CiotRejectedReason = key("why it was refused")
    nas: str = key("network access server that asked: the name of its table, or its address if it has none")
    remote_address: str | None = key("host:port of who asked, if nothing proves that it is a NAS", optional=True)
    imsi: str | None = key("IMSI presented", optional=True)
    imei: str | None = key("IMEI presented", optional=True)
    count: int | None = key("how many more there were since the last such event", optional=True)


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
    certificate_subject: str | None = key("subject of its certificate", optional=True)
    certificate_issuer: str | None = key("issuer of its certificate", optional=True)
    not_before: str | None = key("begin of validity of its certificate, UTC", optional=True)
    not_after: str | None = key("end of validity of its certificate, UTC", optional=True)
    tls_version: str | None = key("TLS version", optional=True)
    detail: str | None = key("what exactly was seen", optional=True)
    stage: str | None = key("how far the connection came: tcp, tls or http2", optional=True)
    seconds: int | None = key("how long the connection lasted", optional=True)
    count: int | None = key("how many more there were since the last such event", optional=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceJoined(Event):
    """The device joined a LoRaWAN network, as its network server reports."""

    name = "deviceJoined"
    hint = "The radio side works; the next event should be upstreamMessage as soon as the device sends."
    extension = True

    dev_addr: str | None = key("address that the device got on the network", optional=True)
    network_time: Moment | None = key("time that the network server gives the event, UTC", optional=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceStatus(Event):
    """The device reported its battery and its link margin to the network server."""

    name = "deviceStatus"
    hint = "Little battery or a margin below 0 dB foretell lost messages: change the battery, or look at the antenna."
    extension = True

    margin: int | None = key(
        "signal-to-noise ratio of the last downlink above the limit of its data rate, dB", optional=True
    )
    battery: float | None = key("battery level, percent; absent if not known", optional=True)
    power: str | None = key("external if the device needs no battery, else battery or unknown", optional=True)
    network_time: Moment | None = key("time that the network server gives the event, UTC", optional=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceLocation(Event):
    """A network server calculated where the device is."""

    name = "deviceLocation"
    hint = "The position is as good as its source: see 'accuracy'."
    extension = True

    latitude: str = key("degrees north, decimal")
    longitude: str = key("degrees east, decimal")
    altitude: str | None = key("metres, decimal", optional=True)
    accuracy: str | None = key("metres, decimal", optional=True)
    source: str | None = key("how the position was found, in the network server's word", optional=True)
    network_time: Moment | None = key("time that the network server gives the event, UTC", optional=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class DownstreamAck(Event):
    """Another network server told what became of a message to the device."""

    name = "downstreamAck"
    hint = "The network server reports the state given."
    extension = True

    state: DownlinkState = key("what became of the message")
    queue_item_id: str | None = key("id of the message in the network server's queue", optional=True)
    f_cnt_down: int | None = key("frame counter of the downlink", optional=True)
    gateway: str | None = key("EUI of the gateway that took it for transmission", optional=True)
    network_time: Moment | None = key("time that the network server gives the event, UTC", optional=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkLog(Event):
    """A LoRaWAN network server logged something about the device."""

    name = "networkLog"
    hint = "The network server logged it for the reason given."
    extension = True

    reason: NetworkLogReason = key("why the network server logged it")
    description: str | None = key("words of the network server", optional=True)
    code: str | None = key("code of the network server", optional=True)
    context: str | None = key("further data of the network server, as NAME=VALUE", optional=True)
    network_time: Moment | None = key("time that the network server gives the event, UTC", optional=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventsDropped(Event):
    """This subscriber missed some events; other subscribers received them."""

    name = "eventsDropped"
    severity = Severity.WARNING
    hint = "Some events are missing from this stream."
    extension = True

    reason: DroppedReason = key("why they are missing")
    count: int | None = key("how many; absent when not known", optional=True)
    first_id: SpanId | None = key("id of the first that is missing", optional=True)
    last_id: SpanId | None = key("id of the last that is missing", optional=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFailed(Event):
    """An output cannot deliver; it tries again, and other outputs go on."""

    name = "outputFailed"
    severity = Severity.ERROR
    hint = "The output does not deliver for the reason given."
    extension = True

    reason: OutputReason = key("why it does not deliver")
    output_id: SpanId = key("id of the output")
    type: str = key("type of the output: webhook, udpout, mqttclient or ifttt")
    target: str = key("URL, or host:port; without credentials and query")
    status: int | None = key("HTTP status, or reason code of MQTT, of the answer", optional=True)
    answer: str | None = key("begin of the answer, at most 1 KiB", optional=True)
    detail: str | None = key("what exactly was seen", optional=True)
    dropped: int | None = key("messages or events dropped since the output was started", optional=True)
    count: int | None = key("how many more there were since the last such event", optional=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputRecovered(Event):
    """An output delivers again."""

    name = "outputRecovered"
    hint = "The target takes messages again; those dropped meanwhile are lost to it."
    extension = True

    output_id: SpanId = key("id of the output")
    type: str = key("type of the output: webhook, udpout, mqttclient or ifttt")
    target: str = key("URL, or host:port; without credentials and query")
    seconds: int = key("how long it did not deliver")
    dropped: int | None = key("messages or events dropped meanwhile", optional=True)
    count: int | None = key("how many more there were since the last such event", optional=True)


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
    IdentityConflict,
    CiotAddressChanged,
    ClientSilent,
    MessageDuplicate,
    DownstreamQueued,
    DownstreamFailed,
    CertificateExpiring,
    CiotDisconnect,
    CiotRejected,
    GatewayRejected,
    DeviceJoined,
    DeviceStatus,
    DeviceLocation,
    DownstreamAck,
    NetworkLog,
    EventsDropped,
    OutputFailed,
    OutputRecovered,
)

CATALOGUE: Final = MappingProxyType({each.name: quick(each) for each in _EVENTS})
"""Event classes by name, in the order of the documentation: Span's 24 first."""
KEYS: Final[MappingProxyType[type[Event], tuple[Key, ...]]] = MappingProxyType(
    {each: keys_of(each) for each in _EVENTS}
)
"""Data keys of each event class, in the order of the JSON."""
SEVERITIES: Final[MappingProxyType[type[Event], tuple[Severity, ...]]] = MappingProxyType(
    {each: tuple(severities_of(each, KEYS[each])) for each in _EVENTS}
)
"""Possible severities of each event class; the default comes first."""
_ROUTINE: Final = frozenset(event for event, severities in SEVERITIES.items() if max(severities) < Severity.WARNING)
SPAN_NAMES: Final = frozenset(each.name for each in _EVENTS if not each.extension)
"""Names of the events that Span has too."""


def is_alarm(event: Event) -> bool:
    """Return whether an event is a warning or an error."""
    return event.__class__ not in _ROUTINE and severity_of(event) >= Severity.WARNING


def meaning_of(event: type[Event]) -> str:
    """Return the one sentence that documents an event."""
    return (event.__doc__ or "").strip()
