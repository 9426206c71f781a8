"""The demo in a real server: seeded resources, and the source of the devices' addresses."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from span_events.app import Server
from span_events.config import Config, NasConfig
from span_events.events.activity import Event
from span_events.events.catalogue import CiotDisconnect
from span_events.events.message import Transport
from span_events.events.reasons import CiotDisconnectReason
from span_events.fleet.collections import CollectionChange
from span_events.fleet.devices.devices import DeviceChange
from span_events.registry.model import Device
from span_events.simulator.demo import demo as demos
from span_events.simulator.demo.demo import MARK, POOL, make_mobile_core, run_demo, secret_file_of, with_mobile_core
from span_events.simulator.demo.seed import MEMBERS
from span_events.simulator.devices import Targets
from span_events.simulator.terminals import Member
from tests.bench.ports import FREE
from tests.bench.waiting import until
from tests.simulator.cellular.radius_server import QUICK, RadiusServer
from tests.simulator.responder import Responder

ASSIGNED = ("deviceUpdated", "firmwareStateChange")
"""Events of a device with a new target."""
OWN_NAS: dict[str, Any] = {"name": "pgw1", "addresses": ("192.0.2.10",), "secret": "a secret of the operator"}


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that the demo does in a minute, in a moment."""
    monkeypatch.setattr(demos, "RATE", 200.0)
    monkeypatch.setattr(demos, "STEP_PAUSE", 0.0)


def listen(server: Server) -> list[Event]:
    """Collect the published events."""
    seen: list[Event] = []
    server.bus.listen(activities=lambda activity: seen.append(activity.event))
    return seen


async def run_until_connected(config: Config, data_dir: Path) -> tuple[list[Event], list[Device]]:
    """Run a server until all six demo devices have sent; return the published events, and its devices."""
    async with Server(config, data_dir=data_dir) as server:
        seen = listen(server)
        await server.start_demo()
        await until(lambda: [each.name for each in seen].count("clientConnected") >= 6)
        return seen, list(server.fleet.directory.devices.values())


def test_a_configuration_without_a_nas_gets_one_on_this_machine(tmp_path: Path) -> None:
    """With a secret that stays over restarts and is for the owner's eyes only."""
    first = with_mobile_core(Config(), tmp_path / "data")
    again = with_mobile_core(Config(), tmp_path / "data")

    path = tmp_path / "data" / "radius-demo.secret"
    (nas,) = first.radius.nas
    assert [str(each) for each in nas.addresses] == ["127.0.0.0/8", "::1/128"]
    assert len(nas.secret.get_secret_value()) >= 32
    assert first == again
    assert first.cellular.pool == (POOL,)
    assert secret_file_of(first) == path
    assert path.stat().st_mode & 0o777 == 0o600
    assert nas.secret.get_secret_value() not in repr(first)


def test_a_configuration_with_a_nas_stays_as_it_is(tmp_path: Path) -> None:
    config = Config(radius={"nas": [OWN_NAS]})  # type: ignore[arg-type]  # as from a file

    assert with_mobile_core(config, tmp_path) is config
    assert secret_file_of(config) is None
    assert os.listdir(tmp_path) == []


def test_a_nas_of_the_same_name_is_not_the_demos(tmp_path: Path) -> None:
    secret = tmp_path / "demo.secret"
    secret.write_text("a secret of the operator")
    nas = NasConfig(**OWN_NAS | {"name": "demo", "secret": "", "secret_file": str(secret)})
    config = Config(radius={"nas": [nas]})  # type: ignore[arg-type]  # as from a file

    assert make_mobile_core(config, ("127.0.0.1", 1812), ("127.0.0.1", 1813)) is None


async def test_demo_devices_attach_then_connect_then_send(tmp_path: Path) -> None:
    async with Server(with_mobile_core(Config(**FREE), tmp_path), data_dir=tmp_path) as server:
        seen = listen(server)
        demo = await server.start_demo()
        devices = [each for each in server.fleet.directory.devices.values() if each.config.imsi]
        await until(lambda: all(each.last_received_ns for each in devices))

    assert len(devices) == len(demo.members) == 6
    for device in devices:
        names = [each.name for each in seen if each.origin == device.origin and each.name not in ASSIGNED]
        assert names[:4] == ["deviceCreated", "ciotConnect", "clientConnected", "upstreamMessage"]
        assert device.ciot.allocated_ip.startswith("127.77.0.")
        assert device.ciot.static_ip == ""


async def test_a_second_start_finds_the_devices_of_the_first(tmp_path: Path) -> None:
    """Their sessions are ended by the mobile core, which starts anew, too."""
    await run_until_connected(with_mobile_core(Config(**FREE), tmp_path), tmp_path)
    seen, devices = await run_until_connected(with_mobile_core(Config(**FREE), tmp_path), tmp_path)

    assert sorted(each.tags["name"] for each in devices) == [
        *("meter-1", "meter-2"),
        "sensor-1",
        "sensor-2",
        "this-computer",
        *(f"tracker-{number}" for number in range(1, 7)),
    ]
    assert not {"deviceCreated", "deviceUpdated"} & {each.name for each in seen}
    ended = [each for each in seen if isinstance(each, CiotDisconnect)]
    assert [each.reason for each in ended] == [CiotDisconnectReason.NAS_RESTARTED] * 6


async def test_devices_of_older_releases_are_taken_over(tmp_path: Path) -> None:
    """They had addresses set by hand and no SIM; they keep their ids and users' changes."""
    async with Server(Config(**FREE), data_dir=tmp_path) as server:
        collection = await server.fleet.collections.create(CollectionChange(tags={"name": "demo", **MARK}))
        for number in range(1, 7):
            tags = {"name": f"tracker-{number}", "room": "lab", **MARK}
            change = DeviceChange(allocated_ip=f"127.77.0.{number}", tags=tags)
            await server.fleet.devices.create(collection, change, cause=1)
        before = set(server.fleet.directory.devices)
    seen, devices = await run_until_connected(with_mobile_core(Config(**FREE), tmp_path), tmp_path)
    devices = [each for each in devices if each.id in before]

    assert {each.config.imsi for each in devices} == {each.modem.imsi for each in MEMBERS}
    assert {each.tags["room"] for each in devices} == {"lab"}
    assert {each.ciot.static_ip for each in devices} == {""}
    assert [each.name for each in seen].count("deviceCreated") == 5  # this-computer, the sensors and the meters


async def test_without_a_mobile_core_of_its_own_the_demo_has_addresses_by_hand(tmp_path: Path) -> None:
    """Also after a mobile core gave them, and the addresses changed hands since."""
    await run_until_connected(with_mobile_core(Config(**FREE), tmp_path), tmp_path)
    config = Config(**FREE | {"radius": FREE["radius"] | {"nas": [OWN_NAS]}})
    seen, devices = await run_until_connected(with_mobile_core(config, tmp_path), tmp_path)

    addresses = {each.ciot.static_ip for each in devices if each.config.imsi}
    assert len(addresses) == 6
    assert addresses == {each.ciot.allocated_ip for each in devices if each.config.imsi}
    assert {each.name for each in seen} >= {"clientConnected", "upstreamMessage"}
    assert not {"ciotConnect", "ciotDisconnect"} & {each.name for each in seen}


async def test_the_demo_leaves_addresses_of_other_devices(tmp_path: Path) -> None:
    async with Server(Config(**FREE), data_dir=tmp_path) as server:
        collection = await server.fleet.collections.create(CollectionChange())
        owner = await server.fleet.devices.create(collection, DeviceChange(allocated_ip="127.77.0.3"), cause=1)
        demo = await server.start_demo()

        assert server.fleet.directory.device_at("127.77.0.3") is owner
    assert len({each.address for each in demo.members} - {"127.77.0.3"}) == 6


async def test_the_demo_keeps_addresses_that_a_user_set(tmp_path: Path) -> None:
    async with Server(with_mobile_core(Config(**FREE), tmp_path), data_dir=tmp_path) as server:
        await server.start_demo()
        device = server.fleet.directory.device_with_imsi(MEMBERS[0].modem.imsi)
        assert device is not None
        await server.fleet.devices.update(device, DeviceChange(static_ip="127.77.0.99"), cause=1)
    async with Server(with_mobile_core(Config(**FREE), tmp_path), data_dir=tmp_path) as server:
        await server.start_demo()
        device = server.fleet.directory.device_with_imsi(MEMBERS[0].modem.imsi)
        assert device is not None
        await until(lambda: device.last_received_ns > 0)

        assert device.ciot.allocated_ip == "127.77.0.99"


async def test_the_demo_sends_by_hand_until_it_is_cancelled() -> None:
    with Responder() as server:
        demo = asyncio.create_task(
            run_demo(
                targets=Targets(datagrams=server.address), members=[Member("127.77.0.1", Transport.UDP)], core=None
            )
        )
        datagram, remote = await server.next()
        demo.cancel()
        await asyncio.wait((demo,))

    assert datagram.startswith(b'{"n":1,')
    assert remote[0] == "127.77.0.1"
    assert demo.cancelled()


async def test_a_demo_that_gets_no_answer_waits_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry that cannot be written for a while must not end the server by its demo."""
    monkeypatch.setattr(demos, "RETRY", 0.001)
    with RadiusServer() as radius, Responder() as datagrams:
        radius.unanswered.add("accounting-on")
        demo = asyncio.create_task(
            run_demo(
                targets=Targets(datagrams=datagrams.address),
                members=[Member("127.77.0.1", Transport.UDP)],
                core=radius.core(patience=QUICK),
            )
        )
        await until(lambda: len(radius.reported) > 2)  # more than one round of tries
        radius.unanswered.clear()
        _, remote = await datagrams.next()
        demo.cancel()
        await asyncio.wait((demo,))

    assert remote[0] == "127.77.3.1"
