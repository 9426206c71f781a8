"""
What the registry knows, as values: collections, devices, attachments, gateways, certificates, images, blobs and more.

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

REMEMBERED_TIMESTAMPS: Final = 100
"""How many message times a collection reports (Span: up to 100 of the last hour)."""


class Management(StrEnum):
    """Who decides which firmware a device should run (Span's words)."""

    UNSPECIFIED = "unspecified"
    DISABLED = "disabled"
    COLLECTION = "collection"
    DEVICE = "device"


class GatewayType(StrEnum):
    """What a gateway carries (Span's words)."""

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
    """Whether a gateway is connected (Span's words)."""

    UNKNOWN = "unknown"
    OFFLINE = "offline"
    ONLINE = "online"


class DownstreamState(StrEnum):
    """Where a downstream message stands (Span's words)."""

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

    @property
    def signs_of_life(self) -> int:
        """Whatever came of the device itself; another number than before means that something came."""
        return self.messages_upstream + self.sessions + self.rejections + self.uploads

    def upstream(self, octets: int) -> None:
        """Count a message to us."""
        self.messages_upstream += 1
        self.bytes_upstream += octets

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
    """When the last upstream messages came, Unix milliseconds; in memory only."""
    downstream_ms: deque[int] = field(default_factory=lambda: deque(maxlen=REMEMBERED_TIMESTAMPS))


@dataclass(slots=True)
class DeviceConfig:
    """How a device is recognised."""

    imsi: str = ""
    """SIM, 6 to 15 digits; empty is not set."""
    imei: str = ""
    """Hardware, 14 to 16 digits as somebody wrote them; `wire.imei` compares them. Empty is not set."""
    gateways: dict[int, dict[str, str]] = field(default_factory=dict)
    """Parameters per gateway, at least one each: a block without parameters is no block."""

    @property
    def is_cellular(self) -> bool:
        """Whether a mobile core can tell of the device."""
        return bool(self.imsi or self.imei)


@dataclass(slots=True)
class FirmwareMetadata:
    """What is known of a device's firmware; 0 is no image."""

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
    """When the state began, Unix milliseconds; 0 is never."""
    state_image_id: int = 0
    """Image that the state is about: the target then."""
    reported_ms: int = 0
    """When the device reported last, Unix milliseconds; 0 is never."""
    download_image_id: int = 0
    """Image of the last download, which may be under way or done."""
    download_end: int = 0
    """Where the furthest block ended that was served of it, octets."""
    download_block: int = 0
    """Number of the block that was served last."""
    download_ms: int = 0
    """When it was served first, Unix milliseconds."""
    download_block_size: int = 0
    """Octets of a block of the size that this was asked for in: blocks are counted in it; 0 is not known."""
    download_length: int = 0
    """Octets of the whole image; 0 is not known."""


@dataclass(slots=True)
class CiotMetadata:
    """What the mobile core told about a device. Times are Unix milliseconds, 0 is never."""

    gateway_id: int = 0
    allocated_ip: str = ""
    """What the device has now, set by the mobile core or by hand: canonical text of an IPv4 or IPv6 address."""
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
    """What is known of a device's last DTLS session. Times are Unix milliseconds."""

    gateway_id: int = 0
    last_update: int = 0
    remote_address: str = ""
    certificate_serial: str = ""


@dataclass(slots=True)
class GatewayMetadata:
    """What the last gateway told about a device. Times are Unix milliseconds, 0 is never."""

    gateway_id: int = 0
    last_update: int = 0
    params: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Psk:
    """What a device that has no certificate shows in a DTLS handshake (RFC 4279)."""

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
    """Whose intermediate signed it: where the device was then, wherever it has moved since."""
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
    """A device. What changes with each message is kept here and written in batches."""

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
    """Somebody's connection to the mobile network, as accounting tells of it: with an address, until it ends."""

    id: int
    nas: str
    """Who tells: the name of the NAS in the configuration; `nas_address` and `session` are its own words."""
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
    signs: int = 0
    """`Traffic.signs_of_life` when it became the device's; in memory only."""

    @property
    def shown_address(self) -> str:
        """The address, or else the prefix."""
        return self.address or self.prefix


@dataclass(slots=True, eq=False)
class Gateway:
    """A gateway: one of ours, with devices behind it, or one that every collection has built in."""

    id: int
    collection: Collection
    type: GatewayType = GatewayType.CUSTOM
    name: str = ""
    params: dict[str, str] = field(default_factory=dict)
    """Its configuration; of a built-in one, its endpoints."""
    tags: dict[str, str] = field(default_factory=dict)
    enabled: bool = True
    reported: dict[str, str] = field(default_factory=dict)
    """What it has told about itself."""
    reported_ms: int = 0
    """When; Unix milliseconds, 0 is never."""
    is_online: bool = False
    """Whether its control stream is open; in memory only, like its traffic."""
    traffic: Traffic = field(default_factory=Traffic)
    origin: Origin = field(init=False)
    """Whom this gateway's events belong to."""

    def __post_init__(self) -> None:
        """Derive the origin."""
        self.origin = Origin(self.collection.id, gateway_id=self.id)

    @property
    def built_in(self) -> bool:
        """Tell whether it belongs to the server, and cannot be changed."""
        return self.type in (GatewayType.CIOT, GatewayType.INET)

    @property
    def status(self) -> GatewayStatus:
        """Tell whether it is connected; a built-in one is if it can be reached at all."""
        online = any(self.params.values()) if self.built_in else self.is_online
        return GatewayStatus.ONLINE if online else GatewayStatus.OFFLINE

    def carries(self, device: Device) -> bool:
        """Tell whether a device is behind this gateway."""
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
    """An address, or a prefix, of the pool that is kept for somebody who was let in and is not attached yet."""

    address: str
    device_id: int | None
    """None: for somebody who is no device, and is known by the numbers."""
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
    """What a device reports that runs it, octet for octet; unique in the collection."""
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
    """False: no device is told to run it."""


@dataclass(frozen=True, slots=True)
class Blob:
    """A large thing that a device has sent; its octets are a file."""

    id: int
    collection_id: int
    """Where the device was then, wherever it has moved since."""
    device_id: int
    gateway_id: int
    """0 is none."""
    content_type: str
    """Media type, such as ``image/jpeg``."""
    size: int
    """Octets."""
    created_ns: int
    """Unix nanoseconds."""
    properties: Mapping[str, str] = field(default_factory=dict)
    """How it came: ``address``, ``method``, ``path``."""


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
