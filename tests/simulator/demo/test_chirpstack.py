"""The demo's ChirpStack server in a real server."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from span_events.app import Server
from span_events.config import Config
from span_events.events.activity import Event
from span_events.registry.model import Device
from span_events.simulator.demo import chirpstack as demo_chirpstack
from tests.bench.ports import FREE
from tests.bench.waiting import until

CONFIG = Config(**FREE | {"chirpstack": {"create_devices": False}})


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that the demo does in minutes, in a moment."""
    monkeypatch.setattr(demo_chirpstack, "RATE", 100.0)
    monkeypatch.setattr(demo_chirpstack, "FAULT_PAUSE", 0.02)
    monkeypatch.setattr(demo_chirpstack, "RETRY", 0.01)


def meters(server: Server) -> list[Device]:
    """Return the devices of the demo's ChirpStack server."""
    return [each for each in server.fleet.directory.devices.values() if "devEui" in each.tags]


async def test_two_devices_join_send_and_fail(tmp_path: Path) -> None:
    """A second start finds them; the server's own settings may forbid it to create devices."""
    for _ in range(2):
        async with Server(CONFIG, data_dir=tmp_path) as server:
            seen: list[Event] = []
            server.bus.listen(activities=lambda activity: seen.append(activity.event))  # noqa: B023
            await server.start_demo()
            await until(lambda: {"deviceJoined", "upstreamMessage", "networkLog"} <= {each.name for each in seen})  # noqa: B023

            assert sorted(each.tags["name"] for each in meters(server)) == ["meter-1", "meter-2"]
            assert not server.failed.done()


async def test_removed_devices_do_not_end_the_server(tmp_path: Path) -> None:
    """A user may delete the demo's resources."""
    async with Server(CONFIG, data_dir=tmp_path) as server:
        with capture_logs() as lines:
            await server.start_demo()
            await until(lambda: all(each.last_received_ns for each in meters(server)))
            for meter in meters(server):
                await server.fleet.devices.remove(meter, cause=1)
            await until(lambda: any(each.get("what") == "refused" for each in lines))

        assert not server.failed.done()
