"""Pre-shared keys of devices: set, replaced, removed; found by identity and never shown."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from span_events.errors import Conflict, NotFound
from span_events.fleet.devices.devices import DeviceChange
from span_events.registry.model import Device, Psk
from tests.bench.fleets import CAUSE, FleetBench, fleet_bench

KEY = bytes(range(16))


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[FleetBench]:
    async with fleet_bench(tmp_path) as opened:
        yield opened


async def test_a_device_is_found_by_its_identity(bench: FleetBench) -> None:
    """At once; the old identity finds no device."""
    device = await bench.device()
    await bench.psks.put(device, Psk(b"old", KEY), cause=CAUSE)
    await bench.psks.put(device, Psk(b"new", KEY), cause=CAUSE)

    assert bench.directory.device_with_psk(b"new") is device
    assert bench.directory.device_with_psk(b"old") is None
    assert bench.names == ["deviceUpdated"] * 2
    assert [each.psk for each in (await bench.store.load()).devices] == [Psk(b"new", KEY)]


async def test_on_changed_is_called_for_a_replaced_and_a_removed_key(bench: FleetBench) -> None:
    device = await bench.device()
    published: list[Device] = []
    bench.psks.on_changed.append(published.append)
    await bench.psks.put(device, Psk(b"pump", KEY), cause=CAUSE)
    await bench.psks.remove(device, cause=CAUSE)

    assert published == [device, device]
    assert device.psk is None
    assert bench.directory.device_with_psk(b"pump") is None
    with pytest.raises(NotFound, match="has no PSK"):
        await bench.psks.remove(device, cause=CAUSE)


async def test_an_identity_belongs_to_one_device_only(bench: FleetBench) -> None:
    """Of two calls at once, one wins; in whatever collections the devices are."""
    first, second = await bench.device(), await bench.device()
    results = await asyncio.gather(
        *(bench.psks.put(each, Psk(b"pump", KEY), cause=CAUSE) for each in (first, second)), return_exceptions=True
    )

    assert [type(each) for each in results] == [type(None), Conflict]
    assert bench.directory.device_with_psk(b"pump") is first
    assert second.psk is None


async def test_other_changes_of_a_device_leave_its_key_alone(bench: FleetBench) -> None:
    """Also a move."""
    device = await bench.device()
    await bench.psks.put(device, Psk(b"pump", KEY), cause=CAUSE)
    after = await bench.collection()
    await bench.devices.update(device, DeviceChange(collection_id=after.id, tags={"a": "b"}), cause=CAUSE)

    assert bench.directory.device_with_psk(b"pump") is device
    assert [each.psk for each in (await bench.store.load()).devices] == [Psk(b"pump", KEY)]


async def test_a_removed_devices_identity_is_free(bench: FleetBench) -> None:
    device, heir = await bench.device(), await bench.device()
    await bench.psks.put(device, Psk(b"pump", KEY), cause=CAUSE)
    await bench.devices.remove(device, cause=CAUSE)
    assert bench.directory.device_with_psk(b"pump") is None
    await bench.psks.put(heir, Psk(b"pump", KEY), cause=CAUSE)

    assert bench.directory.device_with_psk(b"pump") is heir
    with pytest.raises(NotFound):
        await bench.psks.put(device, Psk(b"x", KEY), cause=CAUSE)


def test_the_text_of_a_psk_hides_its_key() -> None:
    """In a traceback or a log line, say."""
    assert repr(Psk(b"pump", KEY)) == "Psk(identity=b'pump')"
