"""The demo's trackers in a real server: their targets, and their updates."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from span_events.app import Server
from span_events.config import Config
from span_events.fleet.collections import CollectionChange
from span_events.fleet.devices.devices import DeviceChange
from span_events.registry.model import Collection, Device, Image, Management
from span_events.simulator.demo import demo as demos
from span_events.simulator.demo.seed import Demo
from span_events.simulator.firmware.updates import Pace
from tests.bench.ports import FREE
from tests.bench.waiting import until

COUNT = 3
"""Trackers that speak CoAP."""


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that the demo does in a minute, in a moment, and nothing wrong but with updates."""
    monkeypatch.setattr(demos, "RATE", 200.0)
    monkeypatch.setattr(demos, "FAULTS", ("stalledDownload",))
    monkeypatch.setattr(demos, "PACE", Pace(device=0.001))


@asynccontextmanager
async def started(folder: Path, **tables: object) -> AsyncIterator[tuple[Server, Demo]]:
    """Run a server with the demo, with the devices' addresses set by hand."""
    async with Server(Config(**FREE | tables), data_dir=folder) as server:
        yield server, await server.start_demo()


def trackers(server: Server) -> list[Device]:
    """Return the devices that update themselves."""
    return [
        each
        for each in server.fleet.directory.devices.values()
        if each.tags["name"] in ("tracker-2", "tracker-4", "tracker-6")
    ]


def images(server: Server, collection: Collection) -> list[Image]:
    """Return the images of the demo's collection."""
    return list(server.fleet.directory.images.of(collection.id))


async def run_until_updated(folder: Path) -> list[str]:
    """Run the demo until all trackers run their target; return the versions of the images."""
    async with started(folder) as (server, demo):
        await until(lambda: all(each.firmware.reported_ms and _is_current(each) for each in trackers(server)))
        return [each.version for each in images(server, demo.collection)]


def _is_current(device: Device) -> bool:
    firmware = device.firmware
    return firmware.current_firmware_id == firmware.target_firmware_id and firmware.state == "Current"


async def test_trackers_update_themselves_at_each_start(tmp_path: Path) -> None:
    """From their last version; the image without a device is deleted."""
    versions = [await run_until_updated(tmp_path) for _ in range(3)]

    assert versions == [["1.1.0"], ["1.2.0"], ["1.3.0"]]


async def test_a_start_that_was_too_short_is_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demos, "PACE", Pace(device=3_600.0))
    found = []
    for _ in range(2):
        async with started(tmp_path) as (server, demo):
            found.append([each.id for each in images(server, demo.collection)])
            assert len(trackers(server)) == COUNT

    assert found[0] == found[1]
    assert len(found[0]) == 1


async def test_the_demo_keeps_targets_that_a_user_set(tmp_path: Path) -> None:
    """No target of theirs is taken away, and so no image of the demo that is one."""
    await run_until_updated(tmp_path)
    async with started(tmp_path) as (server, demo):
        other = await _make_image(server, demo.collection)
        device = trackers(server)[0]
        await server.fleet.devices.update(device, DeviceChange(target_firmware_id=other.id), cause=1)
    async with started(tmp_path) as (server, demo):
        device = trackers(server)[0]

        assert device.firmware.target_firmware_id == other.id


async def _make_image(server: Server, collection: Collection) -> Image:
    async with server.fleet.images.upload(collection) as upload:
        await upload.write(b"for another model")
        return await server.fleet.images.create(collection, upload, version="2.0.0", cause=1)


@pytest.mark.parametrize("management", [Management.DISABLED, Management.COLLECTION])
async def test_a_collection_that_people_manage_otherwise_is_left_alone(tmp_path: Path, management: Management) -> None:
    await run_until_updated(tmp_path)
    async with started(tmp_path) as (server, demo):
        await server.fleet.collections.update(demo.collection, CollectionChange(management=management), cause=1)
        before = images(server, demo.collection)
    async with started(tmp_path) as (server, demo):
        assert demo.collection.firmware.management is management
        assert images(server, demo.collection) == before


async def test_without_coap_there_is_no_firmware(tmp_path: Path) -> None:
    async with started(tmp_path, coap={"enabled": False}) as (server, demo):
        assert images(server, demo.collection) == []
        assert {each.version for each in demo.members} == {""}
