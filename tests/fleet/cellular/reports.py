"""Reports of a mobile core about the usual device of the tests, and helpers for them."""

from __future__ import annotations

from typing import Any

from span_events.events.message import Transport
from span_events.fleet.cellular.report import MobileReport
from span_events.fleet.devices.devices import DeviceChange
from span_events.registry.model import Collection, Device
from tests.bench.fleets import CAUSE, FleetBench

IMSI = "242016000000001"
IMEI = "356938035643809"
OTHER_IMSI = "242016000000077"
OTHER_IMEI = "861234567890127"
ADDRESS = "10.64.0.11"
PREFIX = "2001:db8:1:2::/64"
SESSION = "C0000201A0000001"
NAS = "pgw1"
NODE = "192.0.2.10"
"""NAS-IP-Address."""


def seen(**other: Any) -> MobileReport:
    """Return a report about the device; the arguments replace the usual fields."""
    usual: dict[str, Any] = {
        "nas": NAS,
        "nas_address": NODE,
        "session": SESSION,
        "imsi": IMSI,
        "imei": IMEI,
        "apn": "mda.test",
        "address": ADDRESS,
    }
    return MobileReport(**usual | other)


def seen_other(number: int = 2, **other: Any) -> MobileReport:
    """Return a report about another subscriber, with the same address unless another is given."""
    numbers = {"session": f"C0000201B{number:07}", "imsi": f"2420160000{number:05}", "imei": ""}
    return seen(**numbers | other)


async def known(
    bench: FleetBench, imsi: str = IMSI, imei: str = IMEI, collection: Collection | None = None, **change: Any
) -> Device:
    """Create a device with an IMSI and an IMEI."""
    collection = collection or await bench.collection()
    device = await bench.devices.create(collection, DeviceChange(imsi=imsi, imei=imei, **change), cause=CAUSE)
    bench.activities.clear()
    return device


def send(bench: FleetBench, address: str = ADDRESS) -> Device | None:
    """Receive a datagram from an address."""
    device = bench.reception.identify((address, 4000), transport=Transport.UDP, size=5)
    if not isinstance(device, Device):
        return None
    bench.reception.received(device, b"hello", remote=(address, 4000), transport=Transport.UDP, local_port=1234)
    return device


def reasons(bench: FleetBench) -> list[tuple[str, str]]:
    """Return names and reasons of the events published since the last call."""
    return [(name, data.get("reason", "")) for name, data in bench.drain()]


def wait(bench: FleetBench, seconds: float) -> None:
    """Advance the clock and sweep."""
    bench.clock.shift(seconds)
    bench.cellular.sweep()


async def restarted(bench: FleetBench, **settings: object) -> FleetBench:
    """Return a new fleet with the content of the registry."""
    contents = await bench.store.load()
    again = FleetBench(bench.store, bench.authority, bench.clock, bench.folder, **settings)
    again.directory.fill(contents.collections, contents.devices)
    again.cellular.fill(contents.attachments, contents.reservations)
    return again
