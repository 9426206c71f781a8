"""The faults at the mobile core, as events of the real server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from span_events.app import Server
from span_events.config import Config
from span_events.fleet.collections import CollectionChange
from span_events.fleet.devices.devices import DeviceChange
from span_events.simulator.cellular.faults import MOBILE_FAULTS
from span_events.simulator.cellular.mobile_core import MobileCore
from span_events.simulator.demo.demo import with_mobile_core
from span_events.simulator.devices import Targets
from span_events.simulator.simulation import Simulation
from span_events.simulator.sockets import Address
from tests.bench.ports import FREE
from tests.bench.waiting import until
from tests.simulator.cellular.radius_server import STEADY
from tests.simulator.cellular.test_attached_fleet import MEMBERS
from tests.simulator.test_simulation import running

TOLD = {
    ("imsiMismatch", ""),
    ("imeiMismatch", ""),
    ("ciotRejected", "unknownDevice"),
    ("ciotDisconnect", "stop"),
    ("clientDisconnected", "addressReassigned"),
    ("ciotDisconnect", "nasRestarted"),
    ("ciotRejected", "badSecret"),
}
"""Events and reasons that each of `MOBILE_FAULTS` provokes."""


def port(server: Server, name: str) -> Address:
    """Address of a listener."""
    host, _, number = server.addresses[name].rpartition(":")
    return host, int(number)


async def test_every_fault_at_the_mobile_core_causes_its_event(tmp_path: Path) -> None:
    config = with_mobile_core(Config(**FREE), tmp_path)
    seen: set[tuple[str, str]] = set()

    def note(activity: Any) -> None:
        reason = getattr(activity.event, "reason", "")
        seen.add((activity.event.name, str(reason)))

    async with Server(config, data_dir=tmp_path) as server:
        server.bus.listen(activities=note)
        collection = await server.fleet.collections.create(CollectionChange())
        for member in MEMBERS:
            change = DeviceChange(imsi=member.modem.imsi, imei=member.modem.imei)
            await server.fleet.devices.create(collection, change, cause=1)
        secret = config.radius.nas[0].secret.get_secret_value().encode()
        core = MobileCore(
            port(server, "radius"), port(server, "radius-accounting"), secret, address="192.0.2.10", patience=STEADY
        )
        fleet = Simulation(
            MEMBERS,
            Targets(datagrams=port(server, "datagrams")),
            rate=1_000,
            core=core,
            faults=tuple(MOBILE_FAULTS),
            fault_pause=0.01,
        )
        async with running(fleet):
            await until(lambda: fleet.statistics.faults.keys() >= MOBILE_FAULTS.keys())

    assert seen >= TOLD
