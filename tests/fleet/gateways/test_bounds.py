"""Bounds on gateways: memory, events, and messages that cannot be taken back."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Sequence
from typing import Any

import pytest

from span_events.config import GatewaysConfig
from span_events.errors import Conflict
from span_events.events.reasons import GatewayReason
from span_events.fleet.devices.devices import DeviceChange
from span_events.fleet.gateways.gateways import GatewayChange
from span_events.fleet.gateways.session import Departure
from span_events.ids import render
from span_events.listeners.gateways.outgoing import OVERHEAD, Outgoing
from span_events.proto import gateway_pb2 as pb
from span_events.registry.model import Device, DownstreamState, Gateway
from tests.bench.fleets import CAUSE, FleetBench
from tests.bench.links import SERIAL, FakeGateway

LIMITS = GatewaysConfig()


class Unread:
    """A link with a real queue that no message ever leaves."""

    def __init__(self) -> None:
        self.outgoing = Outgoing(messages=LIMITS.queue_messages, octets=LIMITS.queue_octets)

    @property
    def waiting(self) -> int:
        """Number of messages that have not left yet."""
        return len(self.outgoing)

    def send(self, message: pb.ControlStreamResponse, *, key: int | None = None, departure: Departure = None) -> bool:
        """Queue a message as the listener does."""
        return self.outgoing.put(message.SerializeToString(), key, departure, 0.1 * len(self.outgoing))

    def take_departed(self) -> Sequence[Departure]:
        """Return nothing: no message leaves."""
        return self.outgoing.take_departed()

    def withdraw(self, key: int) -> bool:
        """Remove a waiting message."""
        return self.outgoing.withdraw(key)

    def end(self, reason: GatewayReason, detail: str = "") -> None:
        """Do nothing."""


# ---- memory --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [950, 100, 1])
async def test_the_octets_of_a_queue_cover_its_memory(bench: FleetBench, size: int) -> None:
    """A gateway that does not read costs at most its queue's bound, with long and with short messages."""
    gateway = await bench.gateway()
    for number in range(1_000):
        device = Device(1_000_000 + number, gateway.collection)
        device.config.gateways[gateway.id] = {"devEui": "x" * size}
        bench.directory.add(device)
    unread(bench, gateway)  # objects created once for all gateways do not count
    gc.collect()
    tracemalloc.start()
    try:
        queue = unread(bench, gateway)
        gc.collect()
        cost, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(queue) > 500
    assert cost <= queue.octets <= LIMITS.queue_octets
    assert queue.octets - cost <= len(queue) * OVERHEAD  # nor is it counted for far more than it costs


def unread(bench: FleetBench, gateway: Gateway) -> Outgoing:
    """Let a gateway connect and request its configuration, but read nothing; return its queue."""
    link = Unread()
    session = bench.gateway_sessions.opened(
        gateway, remote=("10.0.0.1", 1), certificate_serial=SERIAL, link=link, tls_version="", user_agent=""
    )
    bench.gateway_sessions.received(session, pb.ControlStreamRequest(config=pb.ConfigRequest()))
    return link.outgoing


# ---- reports of devices --------------------------------------------------------------------------


@pytest.fixture
async def fake(bench: FleetBench) -> FakeGateway:
    """A connected and configured gateway."""
    made = FakeGateway(bench, await bench.gateway())
    made.configure()
    made.take()
    return made


async def behind(bench: FleetBench, gateway: Gateway, **fields: Any) -> Device:
    """Create a device behind a gateway, and drop the published events."""
    change = DeviceChange(gateways={gateway.id: {"devEui": "00"}}, **fields)
    device = await bench.devices.create(gateway.collection, change, cause=CAUSE)
    bench.activities.clear()
    return device


def report(fake: FakeGateway, device: Device, config: dict[str, str], metadata: dict[str, str] | None = None) -> None:
    """Let a gateway report about a device."""
    fake.say(device_update=pb.DeviceUpdate(device_id=render(device.id), config=config, metadata=metadata or {}))


async def test_reports_about_a_device_are_limited_to_its_message_rate(bench: FleetBench, fake: FakeGateway) -> None:
    """A gateway in a loop would flood all subscribers, and write the registry constantly."""
    device = await behind(bench, fake.gateway)
    for number in range(1_000):
        report(fake, device, {"fCntUp": str(number)})

    assert bench.names == ["gatewayDeviceUpdate"] * 6 + ["messageRejected"]
    assert bench.published[-1][1]["reason"] == "rateLimited"
    assert device.config.gateways[fake.gateway.id] == {"fCntUp": "5"}


@pytest.mark.parametrize("part", ["device", "collection"])
async def test_reports_about_disabled_devices_are_rejected(bench: FleetBench, fake: FakeGateway, part: str) -> None:
    """The report is rejected like a message of the device."""
    device = await behind(bench, fake.gateway)
    (device if part == "device" else device.collection).enabled = False
    report(fake, device, {"fCntUp": "1"}, {"v": "1"})

    assert [(name, data["reason"]) for name, data in bench.published] == [("messageRejected", f"{part}Disabled")]
    assert (device.config.gateways[fake.gateway.id], device.gateway.params) == ({"devEui": "00"}, {})


async def test_an_unchanged_report_causes_no_event_and_no_write(bench: FleetBench, fake: FakeGateway) -> None:
    """Gateways repeat reports, for example after a restart."""
    device = await behind(bench, fake.gateway)
    report(fake, device, {"devEui": "00"}, {"v": "1"})
    await bench.reception.flush()
    first, changed = bench.drain(), device.gateway.last_update
    bench.clock.shift(5)
    report(fake, device, {"devEui": "00"}, {"v": "1"})
    report(fake, device, {}, {})

    assert [name for name, _ in first] == ["gatewayDeviceUpdate"]
    assert (bench.names, device.gateway.last_update) == ([], changed)


# ---- messages that are called back ---------------------------------------------------------------


async def test_a_deleted_message_is_not_sent(bench: FleetBench, fake: FakeGateway) -> None:
    """The message was reported as failed; the next one is sent."""
    device = await behind(bench, fake.gateway)
    fake.take()
    fake.link.is_stalled = True
    first = await bench.outbox.queue(device, b"1", cause=CAUSE)
    await bench.outbox.queue(device, b"2", cause=CAUSE)
    await bench.outbox.cancel(device, first.id, cause=CAUSE)
    fake.flow()

    assert fake.take() == [("downstream_message", (render(device.id), b"2"))]
    assert fake.session.carried == {}


async def test_a_message_that_has_left_cannot_be_deleted(bench: FleetBench, fake: FakeGateway) -> None:
    """HTTP/2 returns no message, so the message would arrive after the report of its failure."""
    device = await behind(bench, fake.gateway)
    fake.link.is_stalled = fake.link.is_handed_on = True
    message = await bench.outbox.queue(device, b"1", cause=CAUSE)
    with pytest.raises(Conflict, match="has left for a gateway"):
        await bench.outbox.cancel(device, message.id, cause=CAUSE)
    fake.flow()
    await bench.outbox.cancel(device, message.id, cause=CAUSE)

    assert message.state is DownstreamState.SENT
    assert "downstreamFailed" not in bench.names


async def test_a_message_that_has_left_when_its_device_is_removed_was_sent(
    bench: FleetBench, fake: FakeGateway
) -> None:
    """Only the messages that wait behind it fail."""
    device = await behind(bench, fake.gateway)
    fake.link.is_stalled = fake.link.is_handed_on = True
    for payload in (b"1", b"2"):
        await bench.outbox.queue(device, payload, cause=CAUSE)
    bench.activities.clear()
    await bench.devices.remove(device, cause=CAUSE)
    fake.flow()

    assert bench.names[:3] == ["downstreamFailed", "downstreamMessage", "deviceRemoved"]
    assert bench.names.count("downstreamMessage") == 1


async def test_an_expired_message_is_taken_back(bench: FleetBench, fake: FakeGateway) -> None:
    """A message that has left stays sent."""
    device = await behind(bench, fake.gateway)
    fake.take()
    fake.link.is_stalled = fake.link.is_handed_on = True
    message = await bench.outbox.queue(device, b"1", cause=CAUSE)
    bench.clock.shift(3_601)
    bench.outbox.sweep()
    left = message.state
    fake.link.is_handed_on = False
    bench.outbox.sweep()
    fake.flow()

    assert (left, message.state, fake.take()) == (DownstreamState.PENDING, DownstreamState.FAILED, [])


@pytest.mark.parametrize("change", [{"enabled": False}, {"block": {}}])
async def test_a_message_is_taken_back_when_the_gateway_may_carry_its_device_no_longer(
    bench: FleetBench, fake: FakeGateway, change: dict[str, Any]
) -> None:
    """The message waits for another gateway."""
    device = await behind(bench, fake.gateway, allocated_ip="10.0.0.9")
    fake.take()
    fake.link.is_stalled = True
    message = await bench.outbox.queue(device, b"1", cause=CAUSE)
    fields = {"gateways": {fake.gateway.id: {}}} if "block" in change else change
    await bench.devices.update(device, DeviceChange(**fields), cause=CAUSE)
    fake.flow()

    assert "downstream_message" not in [part for part, _ in fake.take()]
    assert (message.state, bench.outbox.next_for(device)) == (DownstreamState.PENDING, message)


@pytest.mark.parametrize("how", ["removed", "disabled", "block"])
@pytest.mark.parametrize(("address", "fails"), [("", True), ("10.0.0.9", False)])
async def test_messages_fail_when_a_device_has_lost_its_last_gateway(
    bench: FleetBench, fake: FakeGateway, how: str, address: str, fails: bool
) -> None:
    """Otherwise the messages wait."""
    device = await behind(bench, fake.gateway, allocated_ip=address)
    fake.link.is_stalled = True
    await bench.outbox.queue(device, b"1", cause=CAUSE)
    bench.activities.clear()
    if how == "removed":
        await bench.gateways.remove(fake.gateway, cause=CAUSE)
    elif how == "disabled":
        await bench.gateways.update(fake.gateway, GatewayChange(enabled=False), cause=CAUSE)
    else:
        await bench.devices.update(device, DeviceChange(gateways={fake.gateway.id: {}}), cause=CAUSE)

    failed = [data["reason"] for name, data in bench.published if name == "downstreamFailed"]
    assert (failed, bench.outbox.waiting) == ((["refused"], 0) if fails else ([], 1))


# ---- forbidden characters ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entries", "error"),
    [
        ({"a\0": "1"}, "'a\\x00': the name has the control character '\\x00'"),
        ({"a": "1\n2"}, "'a': the value has the control character '\\n'"),
    ],
)
async def test_control_characters_are_removed_and_reported(
    bench: FleetBench, fake: FakeGateway, entries: dict[str, str], error: str
) -> None:
    """PostgreSQL accepts no NUL, and a line end breaks logs; the stream continues."""
    device = await behind(bench, fake.gateway)
    report(fake, device, entries, entries)
    fake.say(gateway_metadata=pb.GatewayMetadataUpdate(metadata=entries))

    assert bench.published[0][1] == {"device": render(device.id), "error": error, "reason": "malformed"}
    assert (device.config.gateways[fake.gateway.id], device.gateway.params) == ({"devEui": "00"}, {})
    assert (fake.gateway.reported, fake.link.ends) == ({}, [])
