"""What a mobile core would tell of the device that most tests are about, and what else they do with it."""

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
    """Make a request about the device; what is given is other than usual."""
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
    """Make a request about another subscriber, who has the same address unless another is given."""
    numbers = {"session": f"C0000201B{number:07}", "imsi": f"2420160000{number:05}", "imei": ""}
    return seen(**numbers | other)


async def known(
    bench: FleetBench, imsi: str = IMSI, imei: str = IMEI, collection: Collection | None = None, **change: Any
) -> Device:
    """Make a device with a SIM and an IMEI."""
    collection = collection or await bench.collection()
    device = await bench.devices.create(collection, DeviceChange(imsi=imsi, imei=imei, **change), cause=CAUSE)
    bench.activities.clear()
    return device


def send(bench: FleetBench, address: str = ADDRESS) -> Device | None:
    """Let a datagram come from an address."""
    device = bench.reception.identify((address, 4000), transport=Transport.UDP, size=5)
    if not isinstance(device, Device):
        return None
    bench.reception.received(device, b"hello", remote=(address, 4000), transport=Transport.UDP, local_port=1234)
    return device


def reasons(bench: FleetBench) -> list[tuple[str, str]]:
    """Return names and reasons of what was told since the last time."""
    return [(name, data.get("reason", "")) for name, data in bench.take()]


def wait(bench: FleetBench, seconds: float) -> None:
    """Let time pass, and the server look who is silent or gone."""
    bench.clock.shift(seconds)
    bench.cellular.sweep()


async def restarted(bench: FleetBench) -> FleetBench:
    """Make the fleet anew of what the registry holds."""
    contents = await bench.store.load()
    again = FleetBench(bench.store, bench.authority, bench.clock, bench.folder)
    again.directory.fill(contents.collections, contents.devices)
    again.cellular.fill(contents.attachments, contents.reservations)
    return again
