"""Downstream messages of devices behind a gateway, over a recording link."""

from __future__ import annotations

from span_events.events.activity import Origin
from span_events.events.message import Transport
from span_events.events.reasons import GatewayReason
from span_events.fleet.devices.devices import DeviceChange
from span_events.ids import render
from span_events.registry.model import DownstreamState
from tests.bench.fleets import CAUSE, FleetBench
from tests.bench.links import FakeGateway, behind, online, roof


async def test_a_message_goes_to_a_gateway_at_once(bench: FleetBench) -> None:
    """The events queued, handed over and sent have the cause of the call."""
    gateway = await roof(bench)
    device = await behind(bench, gateway)
    fake = online(bench, gateway)
    message = await bench.outbox.queue(device, b"on", cause=CAUSE)

    assert fake.take() == [("downstream_message", (render(device.id), b"on"))]
    assert bench.names == ["downstreamQueued", "gatewayDownstreamMessage", "downstreamMessage"]
    assert bench.published[1:] == [
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
    assert [data["waitedSeconds"] for name, data in bench.published if name == "downstreamMessage"] == ["30"] * 3
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
