"""F30: a download stops half-way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from span_events.events.reasons import FirmwareState
from tests.bench.live import LiveServer
from tests.faults.firmware import IMAGE, NEW, OLD, FirmwareScene, open_firmware_scene
from tests.faults.scene import check_words, scene_of

STALL_TIMEOUT = 1.0
"""Seconds; a whole one, so that what the event says can be told from nothing."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server that soon gives a download up."""
    with LiveServer(tmp_path_factory.mktemp("server"), {"firmware.stall_timeout": STALL_TIMEOUT}) as started:
        yield started


async def test_a_download_that_stops_is_told_with_its_place_and_goes_on_from_there(firmware: FirmwareScene) -> None:
    """Block, percent and seconds; then Downloading again, to the end."""
    await firmware.report()
    first = await firmware.download(end=6)
    event = await firmware.scene.published("firmwareStateChange", state="TimedOut", block="5")
    seen = await firmware.state()
    rest = await firmware.download(first=6)
    resumed = await firmware.change("Downloading")
    await firmware.change("Updating")
    await firmware.report(NEW)
    done = await firmware.change("Current")

    data = event["data"]
    assert int(data.pop("seconds")) >= STALL_TIMEOUT
    assert data.pop("message").endswith(" s after block 5 (60 %)")
    assert data == {
        "from": "Downloading",
        "state": "TimedOut",
        "block": "5",
        "blockSize": "512",
        "percent": "60",
        "version": OLD,
        "targetVersion": NEW,
    }
    check_words(event, "warning", FirmwareState.TIMED_OUT.hint)
    assert seen == "TimedOut"
    assert first + rest == IMAGE
    assert (resumed["from"], resumed["block"], resumed["percent"]) == ("TimedOut", "6", "70")
    assert done["from"] == "Updating"


async def test_a_stopped_download_survives_a_restart_of_the_server(tmp_path: Path) -> None:
    """The new process tells that it stopped, and where; the device goes on from there."""
    with LiveServer(tmp_path, {"firmware.stall_timeout": 3.0}) as server:
        collection = await server.add_collection()
        device = await server.add_device(collection)
        async with scene_of(server, device) as scene, open_firmware_scene(scene) as firmware:
            first = await firmware.download(end=6)
        server.stop()
        server.start()
        async with scene_of(server, device, replay=100) as scene:  # the timeout may precede the stream
            firmware = FirmwareScene(scene, scene.coap(), firmware.image)
            stopped = await firmware.change("TimedOut")
            rest = await firmware.download(first=6)
            await firmware.change("Updating")

    assert (stopped["block"], stopped["percent"]) == ("5", "60")
    assert first + rest == IMAGE


async def test_a_device_goes_on_after_a_crash_of_the_server(tmp_path: Path) -> None:
    """The last process had no time to write down how far the download was; the device knows."""
    with LiveServer(tmp_path) as server:
        device = await server.add_device(await server.add_collection())
        async with scene_of(server, device) as scene, open_firmware_scene(scene) as firmware:
            first = await firmware.download(end=6)
            server.kill()
            server.start()
        async with scene_of(server, device) as scene:
            firmware = FirmwareScene(scene, scene.coap(), firmware.image)
            rest = await firmware.download(first=6)
            await firmware.change("Updating")
            await firmware.report(NEW)
            await firmware.change("Current")

    assert first + rest == IMAGE
