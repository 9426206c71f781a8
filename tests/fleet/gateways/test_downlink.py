"""The downlink over a recording link: configuration of the gateway and its devices."""

from __future__ import annotations

from typing import Any

import pytest

from span_events.events.reasons import GatewayReason
from span_events.fleet.devices.devices import DeviceChange
from span_events.fleet.gateways.gateways import GatewayChange
from span_events.ids import render
from span_events.proto import gateway_pb2 as pb
from tests.bench.fleets import CAUSE, FleetBench
from tests.bench.links import FakeGateway, behind, online, roof


async def test_a_gateway_gets_its_own_configuration_before_that_of_its_devices(bench: FleetBench) -> None:
    """Clients drop earlier updates; devices of other gateways are not sent. All events have one cause."""
    gateway = await roof(bench)
    first = await behind(bench, gateway, "01", tags={"name": "a"})
    second = await behind(bench, gateway, "02")
    await behind(bench, await bench.gateway(gateway.collection))
    bench.activities.clear()
    fake = FakeGateway(bench, gateway)
    early = fake.take()
    fake.configure()

    assert early == []
    assert fake.take() == [
        ("gateway_update", (render(gateway.id), {"region": "EU868"}, {"name": "roof"})),
        ("device_update", (render(first.id), {"devEui": "01"}, {"name": "a"})),
        ("device_update", (render(second.id), {"devEui": "02"}, {})),
    ]
    assert bench.published[1:] == [
        ("gatewayConfigUpdate", {"entries": "1", "trigger": "request"}),
        ("gatewayDeviceUpdate", {"direction": "toGateway", "entries": "1"}),
        ("gatewayDeviceUpdate", {"direction": "toGateway", "entries": "1"}),
    ]
    assert [each.origin for each in bench.events[2:]] == [gateway.origin_with(first), gateway.origin_with(second)]
    assert len({each.correlation_id for each in bench.events[1:]}) == 1


async def test_repeated_requests_send_the_configuration_at_most_once_a_second(bench: FleetBench) -> None:
    """Frequent requests would be a cheap way to keep a server busy."""
    gateway = await roof(bench)
    await behind(bench, gateway)
    fake = FakeGateway(bench, gateway)
    counts = []
    for _ in range(3):
        for _ in range(100):
            fake.configure()
        counts.append(len(fake.take()))
        bench.clock.shift(1)
        bench.gateway_sessions.sweep()
        counts.append(len(fake.take()))
    bench.clock.shift(5)
    bench.gateway_sessions.sweep()

    assert counts == [2, 2, 0, 2, 0, 2]
    assert fake.take() == []


@pytest.mark.parametrize(
    ("change", "sent"),
    [
        ({"params": {"region": "US915"}}, ({"region": "US915"}, {"name": "roof"})),
        ({"tags": {"floor": "3"}}, ({"region": "EU868"}, {"floor": "3", "name": "roof"})),
    ],
)
async def test_a_changed_gateway_gets_its_new_configuration(
    bench: FleetBench, change: dict[str, Any], sent: Any
) -> None:
    gateway = await roof(bench)
    fake = online(bench, gateway)
    await bench.gateways.update(gateway, GatewayChange(**change), cause=CAUSE)

    assert fake.take() == [("gateway_update", (render(gateway.id), *sent))]
    assert bench.published == [("gatewayConfigUpdate", {"entries": "1", "trigger": "change"})]
    assert bench.events[0].correlation_id == CAUSE


async def test_a_new_name_is_not_sent_to_the_gateway(bench: FleetBench) -> None:
    gateway = await roof(bench)
    fake = online(bench, gateway)
    await bench.gateways.update(gateway, GatewayChange(name="cellar", params={}, tags={}), cause=CAUSE)

    assert (fake.take(), bench.names) == ([], [])


async def test_changes_of_devices_are_pushed_as_they_happen(bench: FleetBench) -> None:
    """New, changed, without its block, removed: each after the event of the change, with the same cause."""
    gateway = await roof(bench)
    fake = online(bench, gateway)
    device = await behind(bench, gateway, "01")
    await bench.devices.update(device, DeviceChange(tags={"name": "x"}), cause=CAUSE)
    await bench.devices.update(device, DeviceChange(gateways={gateway.id: {"devEui": "02"}}), cause=CAUSE)
    await bench.devices.update(device, DeviceChange(gateways={gateway.id: {}}), cause=CAUSE)
    await bench.devices.update(device, DeviceChange(gateways={gateway.id: {"devEui": "03"}}), cause=CAUSE)
    await bench.devices.remove(device, cause=CAUSE)
    named = render(device.id)

    assert fake.take() == [
        ("device_update", (named, {"devEui": "01"}, {})),
        ("device_update", (named, {"devEui": "01"}, {"name": "x"})),
        ("device_update", (named, {"devEui": "02"}, {"name": "x"})),
        ("device_removed", named),
        ("device_update", (named, {"devEui": "03"}, {"name": "x"})),
        ("device_removed", named),
    ]
    assert bench.names == [
        "deviceCreated",
        "gatewayDeviceUpdate",
        *["deviceUpdated", "gatewayDeviceUpdate"] * 4,
        "gatewayDeviceUpdate",
        "deviceRemoved",
    ]
    assert [data["direction"] for name, data in bench.published if name == "gatewayDeviceUpdate"] == [
        *["toGateway"] * 3,
        "removed",
        "toGateway",
        "removed",
    ]
    assert {each.correlation_id for each in bench.events} == {CAUSE}


async def test_irrelevant_changes_are_not_pushed(bench: FleetBench) -> None:
    """Empty tags, other fields, blocks of other gateways, and the removal of a block that was never sent."""
    gateway = await roof(bench)
    other = await bench.gateway(gateway.collection)
    device = await behind(bench, gateway)
    stranger = await bench.device(collection=gateway.collection)
    fake = online(bench, gateway)
    changes = [
        (device, DeviceChange(tags={})),
        (device, DeviceChange(imsi="24201", enabled=True)),
        (device, DeviceChange(gateways={other.id: {"a": "b"}})),
        (stranger, DeviceChange(tags={"a": "b"}, gateways={gateway.id: {}})),
    ]
    for each, change in changes:
        await bench.devices.update(each, change, cause=CAUSE)
    await bench.devices.remove(stranger, cause=CAUSE)

    assert fake.take() == []


async def test_nothing_is_pushed_before_the_configuration_request(bench: FleetBench) -> None:
    """The gateway gets the complete configuration on its request."""
    gateway = await roof(bench)
    fake = FakeGateway(bench, gateway)
    device = await behind(bench, gateway)
    await bench.gateways.update(gateway, GatewayChange(tags={"a": "b"}), cause=CAUSE)
    await bench.devices.update(device, DeviceChange(tags={"a": "b"}), cause=CAUSE)

    assert fake.take() == []


async def test_changes_during_a_stall_are_sent_once_in_their_latest_state(bench: FleetBench) -> None:
    """The newest configuration of a device replaces the waiting one, so the queue does not grow."""
    gateway = await roof(bench)
    device, gone = await behind(bench, gateway), await behind(bench, gateway)
    fake = online(bench, gateway)
    fake.link.is_stalled = True
    fake.link.room = 3
    for number in range(50):
        await bench.devices.update(device, DeviceChange(tags={"n": str(number)}), cause=CAUSE)
        await bench.gateways.update(gateway, GatewayChange(tags={"n": str(number)}), cause=CAUSE)
    await bench.devices.update(gone, DeviceChange(tags={"a": "b"}), cause=CAUSE)
    await bench.devices.remove(gone, cause=CAUSE)
    bench.activities.clear()
    fake.flow()

    assert fake.take() == [
        ("device_update", (render(device.id), {"devEui": "00"}, {"n": "49"})),
        ("gateway_update", (render(gateway.id), {"region": "EU868"}, {"name": "roof", "n": "49"})),
        ("device_removed", render(gone.id)),
    ]
    assert bench.names == ["gatewayDeviceUpdate", "gatewayConfigUpdate", "gatewayDeviceUpdate"]


async def test_messages_refused_by_a_full_queue_are_sent_when_it_has_room(bench: FleetBench) -> None:
    """The gateway's own configuration, a newer configuration of a device, and the messages after them."""
    gateway = await roof(bench)
    device = await behind(bench, gateway)
    fake = online(bench, gateway)
    fake.link.is_stalled = True
    await bench.devices.update(device, DeviceChange(tags={"n": "1"}), cause=CAUSE)
    fake.link.is_full = True
    await bench.devices.update(device, DeviceChange(tags={"n": "2"}), cause=CAUSE)
    await bench.gateways.update(gateway, GatewayChange(tags={"n": "2"}), cause=CAUSE)
    fake.link.is_full = False
    bench.activities.clear()
    fake.flow()

    assert fake.take() == [
        ("device_update", (render(device.id), {"devEui": "00"}, {"n": "1"})),
        ("gateway_update", (render(gateway.id), {"region": "EU868"}, {"name": "roof", "n": "2"})),
        ("device_update", (render(device.id), {"devEui": "00"}, {"n": "2"})),
    ]
    assert bench.names == ["gatewayDeviceUpdate", "gatewayConfigUpdate", "gatewayDeviceUpdate"]
    assert fake.link.waiting == 0


async def test_a_gateway_with_more_devices_than_its_queue_holds_gets_all_of_them(bench: FleetBench) -> None:
    """Each device once, in order; a downstream message follows after all configurations."""
    gateway = await roof(bench)
    devices = [await behind(bench, gateway, str(number)) for number in range(20)]
    await bench.outbox.queue(devices[0], b"on", cause=CAUSE)
    fake = FakeGateway(bench, gateway)
    fake.link.is_stalled = True
    fake.link.room = 3
    fake.configure()
    fake.flow()
    sent = fake.take()

    assert [part for part, _ in sent] == ["gateway_update", *["device_update"] * 20, "downstream_message"]
    assert [value[0] for part, value in sent if part == "device_update"] == [render(each.id) for each in devices]


async def test_unsent_messages_are_counted_in_the_final_event(bench: FleetBench) -> None:
    """A slow reader."""
    gateway = await roof(bench)
    await behind(bench, gateway)
    fake = FakeGateway(bench, gateway)
    fake.configure()
    fake.link.is_stalled = True
    for _ in range(3):
        fake.say(keepalive=pb.Keepalive())
    await bench.gateways.update(gateway, GatewayChange(tags={"a": "b"}), cause=CAUSE)
    await bench.gateways.update(gateway, GatewayChange(tags={"a": "c"}), cause=CAUSE)
    bench.gateway_sessions.ended(fake.session, GatewayReason.SLOW_READER, detail="waited")
    fake.flow()
    data = dict(bench.published[-1][1])

    assert (data["messagesDown"], data["messagesUp"], data["undelivered"]) == ("2", "4", "4")
    assert bench.names[-2:] == ["gatewayCommError", "gatewayDisconnected"]


async def test_keepalives_are_answered(bench: FleetBench) -> None:
    """A keepalive causes no event."""
    fake = online(bench, await roof(bench))
    fake.say(keepalive=pb.Keepalive())

    assert (fake.take(), bench.names) == ([("keepalive_response", None)], [])
