"""
The registry's values: collections, devices, attachments, gateways, certificates, images, blobs and more.

Collections, devices and gateways are changed in place, by `fleet` only. Identifiers are numbers here and
Span ids in JSON; `documents` writes that JSON.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from span_events.events.activity import Origin
from span_events.events.message import Transport
from span_events.registry.files.base import StoredFile

REMEMBERED_TIMESTAMPS: Final = 100
"""Upper bound of message times that a collection reports (Span: up to 100 of the last hour)."""


class Management(StrEnum):
    """Owner of the firmware target: collection or device (Span's words)."""

    UNSPECIFIED = "unspecified"
    DISABLED = "disabled"
    COLLECTION = "collection"
    DEVICE = "device"


class GatewayType(StrEnum):
    """Kinds of gateways (Span's words)."""

    UNKNOWN = "unknown"
    CIOT = "ciot"
    """Built in: the mobile core, and with it plain UDP and CoAP."""
    INET = "inet"
    """Built in: the internet, over DTLS."""
    LORA = "lora"
    OPENTHREAD = "openthread"
    ZIGBEE = "zigbee"
    MATTER = "matter"
    CUSTOM = "custom"


class GatewayStatus(StrEnum):
    """Connection states of a gateway (Span's words)."""

    UNKNOWN = "unknown"
    OFFLINE = "offline"
    ONLINE = "online"


class DownstreamState(StrEnum):
    """States of a downstream message (Span's words)."""

    PENDING = "pending"
    SENT = "sent"
    FAILED = "failed"


@dataclass(slots=True)
class Traffic:
    """Counters since the process started."""

    messages_upstream: int = 0
    bytes_upstream: int = 0
    messages_downstream: int = 0
    bytes_downstream: int = 0
    sessions: int = 0
    attachments: int = 0
    """Times that it attached to the mobile network."""
    rejections: int = 0
    """Messages that were not accepted."""
    uploads: int = 0
    """Uploads of blobs that it was let begin."""
    polls: int = 0
    """Requests for a waiting message."""

    @property
    def signs_of_life(self) -> int:
        """Counter of all input from the device; a changed number means new input."""
        return self.messages_upstream + self.sessions + self.rejections + self.uploads + self.polls

    def upstream(self, octets: int) -> None:
        """Count a message to us."""
        self.messages_upstream += 1
        self.bytes_upstream += octets

    def add(self, more: Traffic) -> None:
        """Add the counts of another process, or of another device."""
        self.messages_upstream += more.messages_upstream
        self.bytes_upstream += more.bytes_upstream
        self.messages_downstream += more.messages_downstream
        self.bytes_downstream += more.bytes_downstream
        self.sessions += more.sessions
        self.attachments += more.attachments
        self.rejections += more.rejections
        self.uploads += more.uploads
        self.polls += more.polls

    def downstream(self, octets: int) -> None:
        """Count a message from us."""
        self.messages_downstream += 1
        self.bytes_downstream += octets


@dataclass(slots=True)
class CollectionFirmware:
    """Firmware of a collection; 0 is no image."""

    current_firmware_id: int = 0
    target_firmware_id: int = 0
    management: Management = Management.DISABLED


@dataclass(slots=True, eq=False)
class Collection:
    """A group of devices with one owner."""

    id: int
    team_id: int = 0
    tags: dict[str, str] = field(default_factory=dict)
    firmware: CollectionFirmware = field(default_factory=CollectionFirmware)
    enabled: bool = True
    upstream_ms: deque[int] = field(default_factory=lambda: deque(maxlen=REMEMBERED_TIMESTAMPS))
    """Times of the last upstream messages, Unix milliseconds; in memory only."""
    downstream_ms: deque[int] = field(default_factory=lambda: deque(maxlen=REMEMBERED_TIMESTAMPS))


@dataclass(slots=True)
class DeviceConfig:
    """Identities and settings of a device."""

    imsi: str = ""
    """SIM, 6 to 15 digits; empty is not set."""
    imei: str = ""
    """IMEI or IMEISV, 14 to 16 digits as given; `wire.imei` compares them. Empty is not set."""
    gateways: dict[int, dict[str, str]] = field(default_factory=dict)
    """Parameters per gateway, at least one each: a block without parameters is no block."""

    @property
    def is_cellular(self) -> bool:
        """Return whether a mobile core can report the device: it has an IMSI or IMEI."""
        return bool(self.imsi or self.imei)


@dataclass(slots=True)
class FirmwareMetadata:
    """Firmware of a device; 0 is no image."""

    current_firmware_id: int = 0
    target_firmware_id: int = 0
    firmware_version: str = ""
    serial_number: str = ""
    model_number: str = ""
    manufacturer: str = ""
    state: str = "Current"
    """A `FirmwareState`."""
    state_message: str = ""
    state_ms: int = 0
    """Start of the state, Unix milliseconds; 0 is never."""
    state_image_id: int = 0
    """Image that the state is about: the target then."""
    reported_ms: int = 0
    """Time of the last report, Unix milliseconds; 0 is never."""
    download_image_id: int = 0
    """Image of the last download, which may be under way or done."""
    download_end: int = 0
    """End of the furthest served block, octets."""
    download_block: int = 0
    """Number of the block that was served last."""
    download_ms: int = 0
    """Time of the first served block, Unix milliseconds."""
    download_block_size: int = 0
    """Octets of a block of the size that this was asked for in: blocks are counted in it; 0 is not known."""
    download_length: int = 0
    """Octets of the whole image; 0 is not known."""
    node: str = ""
    """The node that times the download or update, in a registry that several share."""


@dataclass(slots=True)
class CiotMetadata:
    """Reports of the mobile core about a device. Times are Unix milliseconds, 0 is never."""

    allocated_ip: str = ""
    """Present address, set by the mobile core or by hand: canonical text of an IPv4 or IPv6 address."""
    allocated_at: int = 0
    cell_id: str = ""
    mcc: int = 0
    mnc: int = 0
    country: str = ""
    network: str = ""
    country_code: str = ""
    last_update: int = 0
    last_imsi: str = ""
    last_imei: str = ""
    allocated_prefix: str = ""
    """IPv6 prefix that the device has now."""
    static_ip: str = ""
    """Address that is kept for the device whether it is attached or not, set by hand."""
    last_ip: str = ""
    """Address and prefix that it had last: a pool gives it the same again if it can."""
    last_prefix: str = ""


@dataclass(slots=True)
class InetMetadata:
    """A device's last DTLS session. Times are Unix milliseconds."""

    last_update: int = 0
    remote_address: str = ""
    certificate_serial: str = ""
    transport: str = ""
    """``dtls`` or ``coaps``; empty before the first session of this release."""


@dataclass(slots=True)
class GatewayMetadata:
    """The last gateway's report about a device. Times are Unix milliseconds, 0 is never."""

    gateway_id: int = 0
    last_update: int = 0
    params: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Psk:
    """Pre-shared key of a device for DTLS handshakes without a certificate (RFC 4279)."""

    identity: bytes
    """1 to 128 octets, none of them NUL; no two devices have the same."""
    key: bytes = field(repr=False)
    """16 to 64 octets. It leaves the registry for handshakes only."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """
    A certificate that we have issued, to a device or to a gateway; its private key is not ours to keep.

    It outlives its device in the registry until it has expired, so that a handshake with it can be explained.
    """

    serial: int
    """Random, 1 to 2^63 - 1; decimal text in JSON and in events."""
    collection_id: int
    """Collection whose intermediate signed it, that of the device at the time."""
    device_id: int | None
    gateway_id: int | None
    """Either this or the device's id is there."""
    not_before_ms: int
    """Unix milliseconds; likewise below."""
    not_after_ms: int
    revoked_ms: int = 0
    """0 is not revoked."""

    @property
    def owner_id(self) -> int:
        """Id of the device or gateway."""
        owner = self.gateway_id if self.device_id is None else self.device_id
        assert owner is not None, "a certificate is of a device or of a gateway"
        return owner


@dataclass(slots=True, eq=False)
class Device:
    """A device. Fields that change with each message are written in batches."""

    id: int
    collection: Collection
    tags: dict[str, str] = field(default_factory=dict)
    config: DeviceConfig = field(default_factory=DeviceConfig)
    firmware: FirmwareMetadata = field(default_factory=FirmwareMetadata)
    ciot: CiotMetadata = field(default_factory=CiotMetadata)
    inet: InetMetadata = field(default_factory=InetMetadata)
    enabled: bool = True
    last_gateway_id: int = 0
    last_transport: Transport = Transport.UNSPECIFIED
    last_received_ns: int = 0
    last_payload: bytes = b""
    psk: Psk | None = None
    addresses: tuple[str, ...] = ()
    """Addresses and prefixes of its attachments, besides the one that `ciot` shows; in memory only."""
    gateway: GatewayMetadata = field(default_factory=GatewayMetadata)
    traffic: Traffic = field(default_factory=Traffic)
    origin: Origin = field(init=False)
    """Whom this device's events belong to."""

    def __post_init__(self) -> None:
        """Derive the origin."""
        self.origin = Origin(self.collection.id, self.id)

    def move_to(self, collection: Collection) -> None:
        """Change the collection."""
        self.collection = collection
        self.origin = Origin(collection.id, self.id)


@dataclass(slots=True, eq=False)
class Attachment:
    """An attachment to the mobile network, from accounting: it has an address until it ends."""

    id: int
    nas: str
    """Name of the NAS in the configuration; `nas_address` and `session` are as the NAS sent them."""
    nas_address: str
    session: str
    """Acct-Session-Id."""
    device: Device | None
    """None: a SIM that no device is configured with, or that contradicts its device."""
    attached_ms: int
    """Unix milliseconds, by our clock."""
    imsi: str = ""
    imei: str = ""
    """15 digits."""
    apn: str = ""
    address: str = ""
    prefix: str = ""
    """IPv6 prefix."""
    reported_ms: int = 0
    """Unix milliseconds, by the clock of the NAS: when the last request about it was made. 0 is not known."""
    lifetime: float = 0.0
    """Seconds without a report until it times out; 0 is ``cellular.session_timeout``."""
    signs: int = 0
    """`Traffic.signs_of_life` when it became the device's; in memory only."""

    @property
    def shown_address(self) -> str:
        """The address, or else the prefix."""
        return self.address or self.prefix


@dataclass(slots=True, eq=False)
class Gateway:
    """A gateway: a custom one with devices behind it, or one of the two built into every collection."""

    id: int
    collection: Collection
    type: GatewayType = GatewayType.CUSTOM
    name: str = ""
    params: dict[str, str] = field(default_factory=dict)
    """Its configuration; of a built-in one, its endpoints."""
    tags: dict[str, str] = field(default_factory=dict)
    enabled: bool = True
    reported: dict[str, str] = field(default_factory=dict)
    """Metadata that the gateway reported."""
    reported_ms: int = 0
    """Time of that report; Unix milliseconds, 0 is never."""
    is_online: bool = False
    """True while its control stream is open; in memory only, like its traffic."""
    traffic: Traffic = field(default_factory=Traffic)
    origin: Origin = field(init=False)
    """Whom this gateway's events belong to."""

    def __post_init__(self) -> None:
        """Derive the origin."""
        self.origin = Origin(self.collection.id, gateway_id=self.id)

    @property
    def built_in(self) -> bool:
        """Return whether the gateway is built in, and cannot be changed."""
        return self.type in (GatewayType.CIOT, GatewayType.INET)

    @property
    def status(self) -> GatewayStatus:
        """Return the connection state; a built-in gateway is online if its listener is on."""
        online = any(self.params.values()) if self.built_in else self.is_online
        return GatewayStatus.ONLINE if online else GatewayStatus.OFFLINE

    def carries(self, device: Device) -> bool:
        """Return whether a device is behind this gateway."""
        return self.id in device.config.gateways and device.collection is self.collection

    def origin_with(self, device: Device) -> Origin:
        """Return whom an event belongs to that is about a device behind this gateway."""
        return Origin(device.collection.id, device.id, self.id)

    def move_to(self, collection: Collection) -> None:
        """Change the collection."""
        self.collection = collection
        self.origin = Origin(collection.id, gateway_id=self.id)


@dataclass(frozen=True, slots=True)
class Reservation:
    """A reservation: an address or prefix of the pool, promised in an Access-Accept before the attachment begins."""

    address: str
    device_id: int | None
    """None for a subscriber that is no device, identified by IMSI and IMEI."""
    imsi: str
    imei: str
    apn: str
    until_ms: int
    """Unix milliseconds."""


@dataclass(slots=True)
class Downstream:
    """A message to a device. Times are Unix milliseconds, 0 is never."""

    id: int
    device_id: int
    payload: bytes
    created_ms: int
    sent_ms: int = 0
    transport: Transport = Transport.UNSPECIFIED
    state: DownstreamState = DownstreamState.PENDING
    gateway_id: int = 0
    """Through which gateway it was sent; 0 is none. In memory only."""


@dataclass(frozen=True, slots=True)
class Image:
    """A firmware image; its octets are a file. A change makes a new value with the same id."""

    id: int
    collection_id: int
    version: str
    """Version that devices report, octet for octet; unique in the collection."""
    filename: str
    """As its owner calls it; never a path of ours."""
    sha256: str
    """Of the octets, hexadecimal; unique in the collection."""
    length: int
    """Octets."""
    created_ms: int
    """Unix milliseconds."""
    tags: Mapping[str, str] = field(default_factory=dict)
    enabled: bool = True
    """False: the image is no target."""

    @property
    def file(self) -> StoredFile:
        """Its octets."""
        return StoredFile(self.id, self.length, self.sha256)


@dataclass(frozen=True, slots=True)
class Blob:
    """A large upload of a device; its octets are a file."""

    id: int
    collection_id: int
    """Collection of the device at the time of the upload."""
    device_id: int
    gateway_id: int
    """The built-in gateway of the upload's transport."""
    content_type: str
    """Media type, such as ``image/jpeg``."""
    size: int
    """Octets."""
    created_ns: int
    """Unix nanoseconds."""
    properties: Mapping[str, str] = field(default_factory=dict)
    """Properties of the upload: ``address``, ``method``, ``path``."""

    @property
    def file(self) -> StoredFile:
        """Its octets."""
        return StoredFile(self.id, self.size)


@dataclass(frozen=True, slots=True)
class Token:
    """An API token; its text is known to its owner only."""

    id: int
    digest: str
    """SHA-256 of the text, hexadecimal."""
    resource: str
    """Path prefix that it reaches: ``/`` or ``/collections/ID`` and so on."""
    write: bool
    name: str
    created_ms: int
    expires_ms: int = 0
    """0 for a token that does not expire."""
