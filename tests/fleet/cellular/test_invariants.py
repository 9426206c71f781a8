"""
What holds whatever a mobile core tells, and in whatever order.

The invariant: an address is found to be a device's exactly as long as an attachment of it has the address;
each ciotConnect is followed by one ciotDisconnect of the same session before the next one of that session; and
the registry holds what is in memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from span_events.errors import Conflict
from span_events.fleet.cellular.report import MobileReport
from span_events.fleet.devices.devices import DeviceChange
from span_events.pki.authority import Authority
from span_events.registry.model import Attachment
from span_events.registry.store import Store
from tests.bench.authorities import open_authority
from tests.bench.clock import ManualClock
from tests.bench.fleets import CAUSE, FleetBench
from tests.registry.empty import make_registry

SIMS = ["", "242010000000001", "242010000000002", "242010000000003"]
HARDWARE = ["", "356938035643809", "861234567890127"]
ADDRESSES = ["", "10.0.0.1", "10.0.0.2", "10.0.0.3"]
PREFIXES = ["", "2001:db8:1::/64", "2001:db8:1:1::/64"]
HOSTS = [*ADDRESSES[1:], "2001:db8:1::7", "2001:db8:1:1::7"]

reports = st.builds(
    MobileReport,
    nas=st.sampled_from(["a", "b"]),
    nas_address=st.sampled_from(["", "192.0.2.1"]),
    session=st.sampled_from(["", "1", "2", "3"]),
    imsi=st.sampled_from(SIMS),
    imei=st.sampled_from(HARDWARE),
    apn=st.sampled_from(["x", "y"]),
    address=st.sampled_from(ADDRESSES),
    prefix=st.sampled_from(PREFIXES),
    mcc=st.sampled_from([0, 242]),
    mnc=st.sampled_from(["", "01"]),
    time_ms=st.integers(0, 5),
)
changes = st.builds(
    DeviceChange,
    imsi=st.sampled_from([None, *SIMS]),
    imei=st.sampled_from([None, *HARDWARE]),
    allocated_ip=st.sampled_from([None, "", "10.0.1.1"]),
    static_ip=st.sampled_from([None, "", "10.0.1.1", "10.0.1.2"]),
)
steps = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["start", "interim", "stop", "access", "let in"]), reports),
        st.tuples(st.just("restarted"), reports),
        st.tuples(st.just("edit"), st.integers(0, 2), changes),
        st.tuples(st.just("wait"), st.sampled_from([1, 200, 2_000, 90_000])),
    ),
    max_size=25,
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Authority, ManualClock]:
    """The authority and the clock, which all stories share."""
    clock = ManualClock()
    return asyncio.run(open_authority(tmp_path_factory.mktemp("pki"), clock)), clock


async def take_step(bench: FleetBench, step: Any) -> None:
    """Take one step of a story."""
    cellular = bench.cellular
    match step:
        case "access", seen:
            cellular.access(seen, accounting=True)
        case "let in", seen:
            cellular.access(seen, accounting=False)
        case "restarted", seen:
            cellular.accounting.nas_restarted(seen.nas, seen.nas_address, off=False)
        case "edit", index, change:
            device = list(bench.directory.devices.values())[index]
            with suppress(Conflict):  # two would have the same
                await bench.devices.update(device, change, cause=CAUSE)
        case "wait", seconds:
            bench.clock.shift(seconds)
            cellular.sweep()
        case name, seen:
            tell: Callable[[MobileReport], None] = getattr(cellular.accounting, name)
            tell(seen)


def check_events(bench: FleetBench) -> None:
    """Compare the published starts and ends of attachments."""
    open_sessions: set[int | None] = set()
    for event in bench.events:
        if event.name == "ciotConnect":
            assert event.session_id not in open_sessions
            open_sessions.add(event.session_id)
        elif event.name == "ciotDisconnect":
            open_sessions.remove(event.session_id)
    assert len(open_sessions) == bench.gauge("cellular_sessions")["device"]  # type: ignore[index]  # it has a label


async def check_addresses(bench: FleetBench) -> None:
    """Compare directory, devices and registry."""
    attachments: list[Attachment] = (await bench.store.load()).attachments
    expected: dict[str, int] = {}
    for each in attachments:
        for address in (each.address, each.prefix):
            if each.device is not None and address:
                assert address not in expected
                expected[address.replace("::/64", "::7")] = each.device.id
    for host in HOSTS:
        found = bench.directory.device_at(host)
        assert (found and found.id) == expected.get(host)


async def story(folder: Path, authority: Authority, clock: ManualClock, steps: list[Any]) -> None:
    """Take all steps in a new fleet, and check the result."""
    store = Store(await make_registry(folder))
    await store.open()
    try:
        limits: dict[str, Any] = {"pool": ("10.0.0.0/29",), "sessions": 4}
        bench = FleetBench(store, authority, clock, folder, cellular=limits)
        collection = await bench.collection()
        for imsi, imei in ((SIMS[1], HARDWARE[1]), (SIMS[2], ""), ("", HARDWARE[2])):
            await bench.devices.create(collection, DeviceChange(imsi=imsi, imei=imei), cause=CAUSE)
        for step in steps:
            await take_step(bench, step)
        await bench.cellular.commit()
        check_events(bench)
        await check_addresses(bench)
    finally:
        await store.close()


@settings(max_examples=60, deadline=None)
@given(steps=steps)
def test_addresses_events_and_registry_agree(shared: tuple[Authority, ManualClock], steps: list[Any]) -> None:
    """After any sequence of requests, edits and waits."""
    with TemporaryDirectory() as folder:
        asyncio.run(story(Path(folder), *shared, steps))
