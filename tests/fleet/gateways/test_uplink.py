"""The uplink: messages of devices, and reports about devices and gateways."""

from __future__ import annotations

import pytest

from span_events.events.activity import Origin
from span_events.events.message import Transport
from span_events.fleet.devices.devices import DeviceChange
from span_events.fleet.summaries import KINDS, OTHERS
from span_events.ids import render
from span_events.proto import gateway_pb2 as pb
from tests.bench.clock import START_NS
from tests.bench.fleets import CAUSE, FleetBench
from tests.bench.links import behind, online, roof

NOW_MS = START_NS // 1_000_000


async def test_a_message_through_a_gateway_is_two_events_and_one_message(bench: FleetBench) -> None:
    """First the event of the gateway, then that of the device, with one cause: the id of the message."""
    gateway = await roof(bench)
    device = await behind(bench, gateway)
    fake = online(bench, gateway)
    fake.upstream(device, b"21.5", rssi="-90", fCntUp="7")
    (message,) = bench.messages

    assert bench.published == [
        ("gatewayUpstreamMessage", {"bytes": "4", "messageId": render(message.id)}),
        ("upstreamMessage", {"bytes": "4", "messageId": render(message.id), "transport": "gateway"}),
    ]
    assert {each.correlation_id for each in bench.events} == {message.id}
    assert {each.session_id for each in bench.events} == {fake.session.id}
    assert {each.origin for each in bench.events} == {Origin(gateway.collection.id, device.id, gateway.id)}
    assert (message.transport, message.payload) == (Transport.GATEWAY, b"21.5")
    assert message.origin.gateway_id == gateway.id
    assert message.gateway_metadata == (("fCntUp", "7"), ("rssi", "-90"))
    assert bench.reception.inbox.list(gateway.collection.id, limit=10) == [message]


async def test_a_device_stores_its_last_gateway_and_transport(bench: FleetBench) -> None:
    """Last gateway, transport, payload and reported metadata, also in the registry."""
    gateway = await roof(bench)
    device = await behind(bench, gateway)
    online(bench, gateway).upstream(device, b"21.5", rssi="-90")
    await bench.reception.flush()
    stored = next(each for each in (await bench.store.load()).devices if each.id == device.id)

    for each in (device, stored):
        assert (each.last_gateway_id, each.last_transport, each.last_payload) == (gateway.id, "gateway", b"21.5")
        assert (each.gateway.gateway_id, each.gateway.params) == (gateway.id, {"rssi": "-90"})
        assert each.gateway.last_update == NOW_MS
    assert (device.traffic.messages_upstream, gateway.traffic.bytes_upstream) == (1, 4)
    assert len(bench.reception.sessions) == 0, "the gateway is connected, not the device"


async def test_a_message_over_another_transport_clears_the_last_gateway(bench: FleetBench) -> None:
    """`lastGatewayId` and `lastTransport` describe the same message; reported metadata stays."""
    gateway = await roof(bench)
    device = await behind(bench, gateway)
    online(bench, gateway).upstream(device, rssi="-90")
    bench.reception.received(device, b"x", remote=("10.0.0.9", 1), transport=Transport.UDP, local_port=1234)

    assert (device.last_gateway_id, device.last_transport) == (0, Transport.UDP)
    assert device.gateway.params == {"rssi": "-90"}


async def test_a_message_without_metadata_keeps_the_previous_metadata(bench: FleetBench) -> None:
    """Metadata of another gateway is cleared."""
    gateway = await roof(bench)
    other = await bench.gateway(gateway.collection)
    device = await behind(bench, gateway)
    await bench.devices.update(device, DeviceChange(gateways={other.id: {"a": "b"}}), cause=CAUSE)
    fake = online(bench, gateway)
    fake.upstream(device, rssi="-90")
    fake.upstream(device)
    kept = dict(device.gateway.params)
    online(bench, other).upstream(device)

    assert kept == {"rssi": "-90"}
    assert (device.gateway.gateway_id, device.gateway.params) == (other.id, {})


async def test_a_gateway_may_report_only_its_own_devices(bench: FleetBench) -> None:
    """F36: unknown ids, devices without a block, and devices of other collections, reported like unknown ones."""
    gateway = await roof(bench)
    neighbour = await bench.device(collection=gateway.collection)
    foreign = await behind(bench, await roof(bench))
    fake = online(bench, gateway)
    fake.upstream(neighbour)
    told = bench.drain()
    fake.upstream(foreign)
    told += bench.drain()
    bench.clock.shift(61)
    bench.gateway_sessions.sweep()
    fake.upstream("XYZ")
    told += bench.drain()

    assert [(name, data["reason"], data["device"], data["error"]) for name, data in told] == [
        (
            "gatewayCommError",
            "unknownDevice",
            render(neighbour.id),
            f"device {render(neighbour.id)} has no block for this gateway",
        ),
        (
            "gatewayCommError",
            "unknownDevice",
            render(foreign.id),
            f"there is no device {render(foreign.id)} in the gateway's collection",
        ),
        (
            "gatewayCommError",
            "unknownDevice",
            "XYZ",
            "'XYZ' is not a device id: an id is 1 to 14 of the digits 0123456789abcdefghijklmn",
        ),
    ]
    assert (bench.messages, fake.link.ends) == ([], [])


async def test_each_unknown_device_is_reported_once_a_minute(bench: FleetBench) -> None:
    """Devices of the collection and unknown ids alike; a summary names the device that it counts."""
    gateway = await roof(bench)
    devices = [await bench.device(collection=gateway.collection) for _ in range(2)]
    fake = online(bench, gateway)
    named = [*(render(each.id) for each in devices), "notanid", "7"]
    for _ in range(10):
        for each in named:
            fake.upstream(each)
    at_once = bench.drain()
    bench.clock.shift(61)
    bench.gateway_sessions.sweep()

    assert [data["device"] for _, data in at_once] == named
    assert [(data["device"], data["count"]) for _, data in bench.published] == [(each, "9") for each in named]


async def test_invented_devices_are_counted_together(bench: FleetBench) -> None:
    """A faulty gateway may name a thousand; the summary of the others names none of them."""
    fake = online(bench, await roof(bench))
    for number in range(100):
        fake.upstream(str(number))
    at_once = bench.drain()
    bench.clock.shift(61)
    bench.gateway_sessions.sweep()

    assert len(at_once) == KINDS
    assert [(data["error"], data.get("device"), data["count"]) for _, data in bench.published] == [(OTHERS, None, "80")]


@pytest.mark.parametrize("part", ["device", "collection"])
async def test_disabled_devices_are_rejected_behind_a_gateway_too(bench: FleetBench, part: str) -> None:
    """The event is the same as on other transports, with the gateway."""
    gateway = await roof(bench)
    device = await behind(bench, gateway)
    fake = online(bench, gateway)
    (device if part == "device" else gateway.collection).enabled = False
    fake.upstream(device)

    assert bench.published == [
        (
            "messageRejected",
            {
                "bytes": "5",
                "reason": f"{part}Disabled",
                "remoteAddress": "10.1.0.1:5000",
                "transport": "gateway",
            },
        )
    ]
    assert bench.events[0].origin == gateway.origin_with(device)
    assert bench.messages == []


async def test_too_large_and_too_many_messages_are_refused(bench: FleetBench) -> None:
    """The limits of the device apply."""
    gateway = await roof(bench)
    device = await behind(bench, gateway)
    fake = online(bench, gateway)
    fake.upstream(device, b"x" * 101)
    for _ in range(10):
        fake.upstream(device)

    assert [data["reason"] for name, data in bench.published if name == "messageRejected"] == [
        "tooLarge",
        "rateLimited",
    ]
    assert len(bench.messages) == 5


async def test_a_report_replaces_the_parameters_of_a_device(bench: FleetBench) -> None:
    """The report is published and stored, but not sent back."""
    gateway = await roof(bench)
    device = await behind(bench, gateway)
    fake = online(bench, gateway)
    update = pb.DeviceUpdate(device_id=render(device.id), config={"devEui": "00", "fCntUp": "99"}, metadata={"v": "1"})
    fake.say(device_update=update)
    await bench.reception.flush()
    stored = next(each for each in (await bench.store.load()).devices if each.id == device.id)

    for each in (device, stored):
        assert each.config.gateways == {gateway.id: {"devEui": "00", "fCntUp": "99"}}
        assert each.gateway.params == {"v": "1"}
    assert bench.published == [("gatewayDeviceUpdate", {"direction": "fromGateway", "entries": "2"})]
    assert bench.events[0].origin == gateway.origin_with(device)
    assert (device.last_received_ns, fake.take()) == (0, [])


async def test_an_empty_report_keeps_the_block(bench: FleetBench) -> None:
    """An empty block would be no block, and would crash the client at the next update."""
    gateway = await roof(bench)
    device = await behind(bench, gateway)
    fake = online(bench, gateway)
    fake.say(device_update=pb.DeviceUpdate(device_id=render(device.id)))
    bench.clock.shift(2)
    fake.configure()

    assert device.config.gateways == {gateway.id: {"devEui": "00"}}
    assert fake.take()[1] == ("device_update", (render(device.id), {"devEui": "00"}, {}))


async def test_metadata_of_a_gateway_is_stored(bench: FleetBench) -> None:
    """The next batch writes it to the registry; an empty report changes nothing."""
    gateway = await roof(bench)
    fake = online(bench, gateway)
    fake.say(gateway_metadata=pb.GatewayMetadataUpdate(metadata={"version": "1.0"}))
    fake.say(gateway_metadata=pb.GatewayMetadataUpdate())
    await bench.gateways.flush()
    await bench.gateways.flush()
    (stored,) = (await bench.store.load()).gateways

    for each in (gateway, stored):
        assert (each.reported, each.reported_ms) == ({"version": "1.0"}, NOW_MS)
    assert bench.names == []


async def test_a_failed_write_of_a_report_is_repeated(bench: FleetBench) -> None:
    """A gateway removed meanwhile is left out."""
    gateway, gone = await roof(bench), await roof(bench)
    for each in (gateway, gone):
        online(bench, each).say(gateway_metadata=pb.GatewayMetadataUpdate(metadata={"version": "1.0"}))
    await bench.store.close()
    with pytest.raises(Exception, match="is not open"):
        await bench.gateways.flush()
    await bench.store.open()
    await bench.gateways.remove(gone, cause=CAUSE)
    await bench.gateways.flush()

    assert [each.reported for each in (await bench.store.load()).gateways] == [{"version": "1.0"}]


@pytest.mark.parametrize(
    ("entries", "error"),
    [
        ({str(number): "" for number in range(101)}, "101 entries, at most 100"),
        ({"n" * 129: "x"}, "a name has 129 characters, not 1 to 128"),
        ({"": "x"}, "a name has 0 characters, not 1 to 128"),
        ({"n": "x" * 1025}, "n: the value has 1025 characters, at most 1024"),
    ],
)
async def test_a_gateway_cannot_fill_the_memory(bench: FleetBench, entries: dict[str, str], error: str) -> None:
    """Excess metadata is dropped and reported; the message itself is accepted."""
    gateway = await roof(bench)
    device = await behind(bench, gateway)
    fake = online(bench, gateway)
    fake.say(upstream_message=pb.UpstreamMessage(device_id=render(device.id), payload=b"hello", metadata=entries))
    upstream = bench.drain()
    fake.say(device_update=pb.DeviceUpdate(device_id=render(device.id), config=entries, metadata=entries))
    fake.say(gateway_metadata=pb.GatewayMetadataUpdate(metadata=entries))

    assert upstream[0] == ("gatewayCommError", {"device": render(device.id), "error": error, "reason": "limitExceeded"})
    assert [name for name, _ in upstream[1:]] == ["gatewayUpstreamMessage", "upstreamMessage"]
    assert bench.messages[0].gateway_metadata == ()
    assert (device.config.gateways, device.gateway.params) == ({gateway.id: {"devEui": "00"}}, {})
    assert (gateway.reported, fake.link.ends) == ({}, [])


async def test_the_inbox_counts_metadata_too(bench: FleetBench) -> None:
    """The bound of the inbox limits memory."""
    gateway = await roof(bench)
    device = await behind(bench, gateway)
    fake = online(bench, gateway)
    fake.upstream(device)
    plain = bench.reception.inbox.octets
    fake.upstream(device, note="x" * 1000)

    assert bench.reception.inbox.octets - plain > plain + 1000


@pytest.mark.parametrize("octets", [b"", b"\x7a\x00", b"\x08\x01"])
async def test_an_unknown_or_empty_message_is_a_warning(bench: FleetBench, octets: bytes) -> None:
    """Empty, an unknown part, a part of the wrong wire type, perhaps of a newer client; the stream continues."""
    fake = online(bench, await roof(bench))
    for _ in range(3):
        bench.gateway_sessions.received(fake.session, pb.ControlStreamRequest.FromString(octets))
    fake.say(keepalive=pb.Keepalive())

    assert [(name, data["reason"]) for name, data in bench.published] == [("gatewayCommError", "unknownMessage")]
    assert fake.take() == [("keepalive_response", None)]
