"""Rows for the tests of the store: one of each kind, with a value in every field."""

from __future__ import annotations

from pathlib import Path

from span_events.events.message import Transport
from span_events.registry.model import (
    Attachment,
    CiotMetadata,
    Collection,
    CollectionFirmware,
    Device,
    DeviceConfig,
    Downstream,
    DownstreamState,
    FirmwareMetadata,
    Gateway,
    GatewayMetadata,
    GatewayType,
    Image,
    InetMetadata,
    Management,
)

HIGH = (1 << 63) - 1
"""The largest id that there can be."""


def url(folder: Path) -> str:
    """Name the registry in a folder."""
    return f"sqlite+aiosqlite:///{folder / 'registry.sqlite'}"


def collection(identifier: int = 1) -> Collection:
    """Make a collection."""
    return Collection(identifier, 7, {"name": "Måling"}, CollectionFirmware(3, HIGH, Management.DEVICE), enabled=False)


def device(owner: Collection, identifier: int = HIGH) -> Device:
    """Make a device."""
    return Device(
        identifier,
        owner,
        {"name": "a\u2028b", "empty": ""},
        DeviceConfig("242016000000001", "350000000000001", {HIGH: {"devEui": "00"}, 3: {"a": "b"}}),
        FirmwareMetadata(1, 2, "1.0", "sn", "mn", "maker", "Pending", "waits"),
        CiotMetadata(
            *("10.0.0.1", 1714076616000, "cell", 242, 1, "Norway", "Telenor", "NO", 5, "24201", "35"),
            *("2001:db8::/64", "10.0.0.2", "10.0.0.3", "2001:db8:1::/64"),
        ),
        InetMetadata(6, "10.0.0.2:1", "99", "dtls"),
        enabled=False,
        last_gateway_id=3,
        last_transport=Transport.COAP,
        last_received_ns=1715070269492894739,
        last_payload=b"\x00\xff",
        gateway=GatewayMetadata(HIGH, 1714076616000, {"rssi": "-90"}),
    )


def gateway(owner: Collection, identifier: int = HIGH) -> Gateway:
    """Make a gateway."""
    return Gateway(
        identifier,
        owner,
        GatewayType.LORA,
        "Dach",
        {"region": "EU868"},
        {"name": "Måling"},
        enabled=False,
        reported={"version": "1.0"},
        reported_ms=1714076616000,
    )


def message(owner: Device, identifier: int = 9) -> Downstream:
    """Make a message to a device, which was sent."""
    return Downstream(identifier, owner.id, b"\x00down", 5, 6, Transport.UDP, DownstreamState.SENT)


def attachment(owner: Device | None, identifier: int = HIGH) -> Attachment:
    """Create an attachment, without a device by default."""
    return Attachment(
        *(identifier, "pgw1", "192.0.2.10", "C0000201A0000001", owner, 1714076616000),
        *("242016000000001", "356938035643809", "mda.test", "10.0.0.1", "2001:db8::/64", HIGH),
    )


def image(identifier: int, owner: Collection, **changes: object) -> Image:
    """Make an image; without changes, no two have a version or octets in common."""
    values = {"version": f"1.{identifier}\u2028", "sha256": f"{identifier:064x}", **changes}
    return Image(identifier, owner.id, filename="å.bin", length=HIGH, created_ms=7, tags={"a": "b"}, **values)  # type: ignore[arg-type]


def values(item: object) -> dict[str, object]:
    """Return the fields of a value, except those in memory only."""
    in_memory = ("traffic", "upstream_ms", "downstream_ms", "is_online")
    names = [name for name in type(item).__slots__ if name not in in_memory]  # type: ignore[attr-defined]  # slots=True
    return {name: getattr(item, name) for name in names if name != "collection"}
