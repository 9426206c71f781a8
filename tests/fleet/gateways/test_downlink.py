"""The downlink over a recording link: configuration, devices, and downstream messages."""

from __future__ import annotations

from typing import Any

import pytest

from span_events.events.activity import Origin
from span_events.events.message import Transport
from span_events.events.reasons import GatewayReason
from span_events.fleet.devices.devices import DeviceChange
from span_events.fleet.gateways.gateways import GatewayChange
from span_events.ids import render
from span_events.proto import gateway_pb2 as pb
from span_events.registry.model import DownstreamState
from tests.bench.fleets import CAUSE, FleetBench
from tests.bench.links import FakeGateway, behind, online, roof

# ---- configuration -------------------------------------------------------------------------------


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
    assert bench.told[1:] == [
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
    assert bench.told == [("gatewayConfigUpdate", {"entries": "1", "trigger": "change"})]
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
    assert [data["direction"] for name, data in bench.told if name == "gatewayDeviceUpdate"] == [
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
    data = dict(bench.told[-1][1])

    assert (data["messagesDown"], data["messagesUp"], data["undelivered"]) == ("2", "4", "4")
    assert bench.names[-2:] == ["gatewayCommError", "gatewayDisconnected"]


async def test_keepalives_are_answered(bench: FleetBench) -> None:
    """A keepalive causes no event."""
    fake = online(bench, await roof(bench))
    fake.say(keepalive=pb.Keepalive())

    assert (fake.take(), bench.names) == ([("keepalive_response", None)], [])


# ---- messages to devices -------------------------------------------------------------------------


async def test_a_message_goes_to_a_gateway_at_once(bench: FleetBench) -> None:
    """The events queued, handed over and sent have the cause of the call."""
    gateway = await roof(bench)
    device = await behind(bench, gateway)
    fake = online(bench, gateway)
    message = await bench.outbox.queue(device, b"on", cause=CAUSE)

    assert fake.take() == [("downstream_message", (render(device.id), b"on"))]
    assert bench.names == ["downstreamQueued", "gatewayDownstreamMessage", "downstreamMessage"]
    assert bench.told[1:] == [
        ("gatewayDownstreamMessage", {"bytes": "2", "messageId": render(message.id)}),
        (
            "downstreamMessage",
            {"bytes": "2", "messageId": render(message.id), "transport": "gateway", "waitedSeconds": "0"},
        ),
    ]
    assert {each.correlation_id for each in bench.events} == {CAUSE}
    assert [each.origin for each in bench.events[1:]] == [gateway.origin_with(device)] * 2
    assert (message.state, message.transport, message.gateway_id) == (DownstreamState.SENT, "gateway", gateway.id)
    assert (gateway.traffic.messages_downstream, device.traffic.bytes_downstream) == (1, 2)


async def test_messages_wait_for_a_disconnected_gateway(bench: FleetBench) -> None:
    """They are sent in order after the device's configuration, when the gateway requests it."""
    gateway = await roof(bench)
    device, other = await behind(bench, gateway), await behind(bench, gateway)
    for payload, target in ((b"1", device), (b"2", device), (b"3", other)):
        await bench.outbox.queue(target, payload, cause=CAUSE)
    bench.clock.shift(30)
    fake = FakeGateway(bench, gateway)
    bench.activities.clear()
    fake.configure()
    sent = [value for part, value in fake.take() if part == "downstream_message"]

    assert [each for each in sent if each[0] == render(device.id)] == [
        (render(device.id), b"1"),
        (render(device.id), b"2"),
    ]
    assert (render(other.id), b"3") in sent
    assert bench.names[:3] == ["gatewayConfigUpdate", "gatewayDeviceUpdate", "gatewayDeviceUpdate"]
    assert [data["waitedSeconds"] for name, data in bench.told if name == "downstreamMessage"] == ["30"] * 3
    assert bench.outbox.waiting == 0


async def test_a_gateway_that_sends_without_a_configuration_request_gets_messages_too(bench: FleetBench) -> None:
    """Such a gateway evidently knows its devices."""
    gateway = await roof(bench)
    device = await behind(bench, gateway)
    await bench.outbox.queue(device, b"on", cause=CAUSE)
    fake = FakeGateway(bench, gateway)
    before = fake.take()
    fake.upstream(device)

    assert (before, fake.take()) == ([], [("downstream_message", (render(device.id), b"on"))])


async def test_a_message_counts_as_sent_only_after_its_departure(bench: FleetBench) -> None:
    """After an earlier end of the stream, the message waits for the next connection; it is never sent twice."""
    gateway = await roof(bench)
    device = await behind(bench, gateway)
    fake = online(bench, gateway)
    fake.link.is_stalled = True
    message = await bench.outbox.queue(device, b"1", cause=CAUSE)
    await bench.outbox.queue(device, b"2", cause=CAUSE)
    waiting = message.state
    bench.gateway_sessions.ended(fake.session, GatewayReason.PROCESS_DIED)
    fake.flow()
    lost = bench.outbox.waiting
    again = online(bench, gateway)

    assert (waiting, lost) == (DownstreamState.PENDING, 2)
    assert message.state is DownstreamState.SENT
    assert bench.outbox.waiting == 0
    assert again.gateway.traffic.messages_downstream == 2


async def test_a_full_queue_leaves_messages_in_the_outbox(bench: FleetBench) -> None:
    """They wait until there is room, in order for each device."""
    gateway = await roof(bench)
    devices = [await behind(bench, gateway) for _ in range(5)]
    fake = online(bench, gateway)
    fake.link.is_stalled = True
    fake.link.room = 2
    for number in range(2):
        for device in devices:
            await bench.outbox.queue(device, str(number).encode(), cause=CAUSE)
    fake.flow()
    sent = [value for _, value in fake.take()]

    assert len(sent) == 10
    for device in devices:
        assert [payload for named, payload in sent if named == render(device.id)] == [b"0", b"1"]


async def test_a_cancelled_message_that_is_on_the_way_holds_up_nothing(bench: FleetBench) -> None:
    """The message is taken back, and the next one is sent."""
    gateway = await roof(bench)
    device = await behind(bench, gateway)
    fake = online(bench, gateway)
    fake.link.is_stalled = True
    first = await bench.outbox.queue(device, b"1", cause=CAUSE)
    await bench.outbox.queue(device, b"2", cause=CAUSE)
    await bench.outbox.cancel(device, first.id, cause=CAUSE)
    bench.activities.clear()
    fake.flow()
    third = await bench.outbox.queue(device, b"3", cause=CAUSE)
    fake.flow()

    assert [value for _, value in fake.take()] == [(render(device.id), each) for each in (b"2", b"3")]
    assert first.state is DownstreamState.FAILED
    assert third.state is DownstreamState.SENT
    assert bench.names.count("downstreamMessage") == 2


async def test_the_gateway_that_carried_the_device_last_is_preferred(bench: FleetBench) -> None:
    """Without a last gateway, any connected one is chosen; after its end, another one takes over."""
    gateway = await roof(bench)
    other = await bench.gateway(gateway.collection)
    blocks = {each.id: {"a": "b"} for each in (gateway, other)}
    device = await bench.devices.create(gateway.collection, DeviceChange(gateways=blocks), cause=CAUSE)
    first = online(bench, gateway)
    await bench.outbox.queue(device, b"1", cause=CAUSE)
    second = online(bench, other)
    second.upstream(device)
    await bench.outbox.queue(device, b"2", cause=CAUSE)
    second.link.is_stalled = True
    await bench.outbox.queue(device, b"3", cause=CAUSE)
    bench.gateway_sessions.ended(second.session, GatewayReason.CONNECTION_RESET)

    assert [value[1] for _, value in first.take()] == [b"1", b"3"]
    assert [value[1] for _, value in second.take()] == [b"2"]


async def test_the_first_available_transport_gets_the_message(bench: FleetBench) -> None:
    """A device that sends over UDP gets the message that waited for its gateway."""
    gateway = await roof(bench)
    device = await behind(bench, gateway, allocated_ip="10.0.0.9")
    message = await bench.outbox.queue(device, b"on", cause=CAUSE)
    bench.outbox.sent(device, message, transport=Transport.UDP, cause=None)
    fake = FakeGateway(bench, gateway)
    fake.configure()

    assert "downstream_message" not in [part for part, _ in fake.take()]
    assert message.gateway_id == 0


async def test_a_message_on_its_way_through_a_gateway_takes_no_other_way(bench: FleetBench) -> None:
    """Otherwise a device that sends over UDP would get the message twice; after the gateway's end it may."""
    gateway = await roof(bench)
    device = await behind(bench, gateway, allocated_ip="10.0.0.9")
    fake = online(bench, gateway)
    fake.link.is_stalled = True
    first = await bench.outbox.queue(device, b"1", cause=CAUSE)
    second = await bench.outbox.queue(device, b"2", cause=CAUSE)
    during = bench.outbox.next_for(device)
    await bench.outbox.cancel(device, first.id, cause=CAUSE)
    cancelled = bench.outbox.next_for(device)
    bench.gateway_sessions.ended(fake.session, GatewayReason.PROCESS_DIED)

    assert (during, cancelled) == (None, None)
    assert bench.outbox.next_for(device) is second


async def test_a_message_of_a_disconnected_gateway_may_take_another_way(bench: FleetBench) -> None:
    gateway = await roof(bench)
    device = await behind(bench, gateway, allocated_ip="10.0.0.9")
    fake = online(bench, gateway)
    fake.link.is_stalled = True
    message = await bench.outbox.queue(device, b"1", cause=CAUSE)
    during = bench.outbox.next_for(device)
    bench.gateway_sessions.ended(fake.session, GatewayReason.PROCESS_DIED)

    assert (during, bench.outbox.next_for(device)) == (None, message)


async def test_the_next_message_follows_the_device_to_its_new_gateway(bench: FleetBench) -> None:
    """The gateway of the previous message may carry the device no longer."""
    gateway = await roof(bench)
    other = await bench.gateway(gateway.collection)
    device = await behind(bench, gateway)
    old, new = online(bench, gateway), online(bench, other)
    old.link.is_stalled = old.link.is_handed_on = True
    await bench.outbox.queue(device, b"1", cause=CAUSE)
    await bench.outbox.queue(device, b"2", cause=CAUSE)
    await bench.devices.update(device, DeviceChange(gateways={gateway.id: {}, other.id: {"a": "b"}}), cause=CAUSE)
    old.flow()

    assert [value for part, value in old.take() if part == "downstream_message"] == [(render(device.id), b"1")]
    assert [value for part, value in new.take() if part == "downstream_message"] == [(render(device.id), b"2")]


async def test_a_moved_device_loses_the_gateway_of_its_old_collection(bench: FleetBench) -> None:
    """Messages on their way to the old gateway: each collection gets its own events."""
    gateway = await roof(bench)
    device, target = await behind(bench, gateway), await bench.collection()
    fake = online(bench, gateway)
    fake.link.is_stalled = fake.link.is_handed_on = True
    message = await bench.outbox.queue(device, b"1", cause=CAUSE)
    await bench.devices.update(device, DeviceChange(gateways={gateway.id: {}}), cause=CAUSE)
    await bench.devices.update(device, DeviceChange(collection_id=target.id), cause=CAUSE)
    bench.activities.clear()
    fake.flow()

    assert [(each.name, each.origin) for each in bench.events if "Message" in each.name] == [
        ("gatewayDownstreamMessage", Origin(gateway.collection.id, device.id, gateway.id)),
        ("downstreamMessage", Origin(target.id, device.id)),
    ]
    assert (message.state, message.gateway_id) == (DownstreamState.SENT, 0)


async def test_a_disabled_device_gets_nothing_until_it_is_enabled(bench: FleetBench) -> None:
    gateway = await roof(bench)
    device = await behind(bench, gateway, enabled=False)
    fake = online(bench, gateway)
    await bench.outbox.queue(device, b"on", cause=CAUSE)
    before = fake.take()
    await bench.devices.update(device, DeviceChange(enabled=True), cause=CAUSE)

    assert (before, fake.take()) == ([], [("downstream_message", (render(device.id), b"on"))])


async def test_a_device_with_a_new_gateway_gets_its_waiting_messages(bench: FleetBench) -> None:
    """The messages follow the device's configuration."""
    gateway = await roof(bench)
    device = await bench.device(collection=gateway.collection)
    fake = online(bench, gateway)
    await bench.outbox.queue(device, b"on", cause=CAUSE)
    await bench.devices.update(device, DeviceChange(gateways={gateway.id: {"a": "b"}}), cause=CAUSE)

    assert [part for part, _ in fake.take()] == ["device_update", "downstream_message"]


async def test_the_messages_of_a_removed_device_are_taken_back(bench: FleetBench) -> None:
    """Messages in the queue are reported as failed, and are not sent."""
    gateway = await roof(bench)
    device = await behind(bench, gateway)
    fake = online(bench, gateway)
    fake.link.is_stalled = True
    await bench.outbox.queue(device, b"1", cause=CAUSE)
    await bench.outbox.queue(device, b"2", cause=CAUSE)
    bench.activities.clear()
    await bench.devices.remove(device, cause=CAUSE)
    fake.flow()

    assert bench.names.count("downstreamFailed") == 2
    assert "downstreamMessage" not in bench.names
    assert [part for part, _ in fake.take()] == ["device_removed"]
