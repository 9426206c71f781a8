"""What gateways say and are told, over a link that records: order, events, and what is remembered."""

from __future__ import annotations

from typing import Any

import pytest

from span_events.events.activity import UNATTRIBUTED, Origin
from span_events.events.message import Transport
from span_events.events.reasons import GatewayReason, GatewayRejectedReason
from span_events.fleet.collections import CollectionChange
from span_events.fleet.devices import DeviceChange
from span_events.fleet.gateways import GatewayChange
from span_events.ids import render
from span_events.proto import gateway_pb2 as pb
from span_events.registry.model import Device, DownstreamState, Gateway
from tests.clock import START_NS
from tests.fleets import CAUSE, FleetBench
from tests.links import FakeGateway

NOW_MS = START_NS // 1_000_000
DAY = 86_400


async def roof(bench: FleetBench) -> Gateway:
    """Make a gateway with a parameter and a tag."""
    return await bench.gateway(params={"region": "EU868"}, tags={"name": "roof"})


async def behind(bench: FleetBench, gateway: Gateway, eui: str = "00", **fields: Any) -> Device:
    """Make a device behind a gateway."""
    change = DeviceChange(gateways={gateway.id: {"devEui": eui}}, **fields)
    return await bench.devices.create(gateway.collection, change, cause=CAUSE)


def online(bench: FleetBench, gateway: Gateway) -> FakeGateway:
    """Connect a gateway and let it ask for its configuration; nothing of that is left to be looked at."""
    fake = FakeGateway(bench, gateway)
    fake.configure()
    fake.take()
    bench.activities.clear()
    return fake


# ---- who is it? ----------------------------------------------------------------------------------


async def test_a_certificate_names_its_gateway(bench: FleetBench) -> None:
    gateway = await roof(bench)
    record = (await bench.certificates.create(gateway)).record

    assert bench.gateway_sessions.identify(record.serial, now_ms=NOW_MS) is gateway
    assert bench.gateway_sessions.origin_of(record.serial) == gateway.origin


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("unknown", GatewayRejectedReason.UNKNOWN_SERIAL),
        ("revoked", GatewayRejectedReason.CERTIFICATE_REVOKED),
        ("expired", GatewayRejectedReason.CERTIFICATE_EXPIRED),
        ("early", GatewayRejectedReason.CERTIFICATE_NOT_YET_VALID),
        ("removed", GatewayRejectedReason.UNKNOWN_GATEWAY),
        ("disabled", GatewayRejectedReason.GATEWAY_DISABLED),
        ("collection disabled", GatewayRejectedReason.COLLECTION_DISABLED),
    ],
)
async def test_a_gateway_that_may_not_come_in_is_told_why(
    bench: FleetBench, what: str, reason: GatewayRejectedReason
) -> None:
    gateway = await roof(bench)
    record = (await bench.certificates.create(gateway)).record
    now_ms, serial = NOW_MS, record.serial
    if what == "unknown":
        serial = 5
    elif what == "revoked":
        await bench.certificates.revoke(gateway.collection, serial)
    elif what == "expired":
        now_ms = record.not_after_ms
    elif what == "early":
        now_ms = record.not_before_ms - 1
    elif what == "removed":
        await bench.gateways.remove(gateway, cause=CAUSE)
    elif what == "disabled":
        await bench.gateways.update(gateway, GatewayChange(enabled=False), cause=CAUSE)
    else:
        gateway.collection.enabled = False

    assert bench.gateway_sessions.identify(serial, now_ms=now_ms) is reason


async def test_a_devices_certificate_is_no_gateways(bench: FleetBench) -> None:
    """F33; the event goes to the device whose certificate it is."""
    device = await bench.device()
    serial = (await bench.certificates.create(device)).record.serial

    assert bench.gateway_sessions.identify(serial, now_ms=NOW_MS) is GatewayRejectedReason.NOT_A_GATEWAY
    assert bench.gateway_sessions.origin_of(serial) == device.origin


async def test_a_rejection_of_a_removed_gateway_goes_to_its_collection(bench: FleetBench) -> None:
    """As long as that is there."""
    gateway = await roof(bench)
    serial = (await bench.certificates.create(gateway)).record.serial
    await bench.gateways.remove(gateway, cause=CAUSE)
    there = bench.gateway_sessions.origin_of(serial)
    await bench.collections.remove(gateway.collection)

    assert there == Origin(gateway.collection.id, gateway_id=gateway.id)
    assert bench.gateway_sessions.origin_of(serial) == UNATTRIBUTED
    assert bench.gateway_sessions.origin_of(5) == UNATTRIBUTED


async def test_rejections_are_told_once_and_then_with_a_count(bench: FleetBench) -> None:
    """Per host, reason and owner; what was not told is summed up at the end of the window."""
    gateway = await roof(bench)
    tell = bench.gateway_sessions.rejected
    for port in range(1000):
        tell(GatewayRejectedReason.NOT_TLS, remote=("10.0.0.1", port), detail="http", stage="tls")
    tell(GatewayRejectedReason.NOT_TLS, remote=("10.0.0.2", 1))
    tell(GatewayRejectedReason.CERTIFICATE_REVOKED, remote=("10.0.0.1", 1), origin=gateway.origin)
    first = bench.take()
    bench.clock.shift(61)
    bench.gateway_sessions.sweep()

    assert [(name, data["reason"], data["remoteAddress"]) for name, data in first] == [
        ("gatewayRejected", "notTls", "10.0.0.1:0"),
        ("gatewayRejected", "notTls", "10.0.0.2:1"),
        ("gatewayRejected", "certificateRevoked", "10.0.0.1:1"),
    ]
    assert first[0][1] == {"detail": "http", "reason": "notTls", "remoteAddress": "10.0.0.1:0", "stage": "tls"}
    assert [(data["reason"], data["count"]) for _, data in bench.take()] == [("notTls", "999")]
    metrics = {each.name: each.value() for each in bench.gateway_sessions.metrics()}
    assert metrics["gateway_rejections"] == {"notTls": 1001, "certificateRevoked": 1}


# ---- connected, and gone -------------------------------------------------------------------------


async def test_a_gateway_connects_and_goes(bench: FleetBench) -> None:
    """Both events carry the session's id; the status is right at every moment."""
    gateway = await roof(bench)
    record = (await bench.certificates.create(gateway)).record
    before = gateway.status
    fake = FakeGateway(bench, gateway, serial=record.serial)
    during = gateway.status
    bench.clock.shift(90)
    fake.upstream(await behind(bench, gateway))
    bench.activities.pop(1)  # deviceCreated
    bench.gateway_sessions.ended(fake.session, GatewayReason.CLOSED)
    bench.gateway_sessions.ended(fake.session, GatewayReason.CONNECTION_RESET, detail="late")

    assert [before, during, gateway.status] == ["offline", "online", "offline"]
    assert bench.told[0] == (
        "gatewayConnected",
        {
            "certificateSerial": str(record.serial),
            "notAfter": "2024-05-09 20:23:36",
            "remoteAddress": "10.1.0.1:5000",
            "tlsVersion": "TLSv1.3",
            "userAgent": "test/1",
        },
    )
    assert bench.told[-1] == (
        "gatewayDisconnected",
        {"duration": "90", "messagesDown": "0", "messagesUp": "1", "reason": "closed", "undelivered": "0"},
    )
    assert {each.session_id for each in bench.events} == {fake.session.id}
    assert {each.origin.gateway_id for each in bench.events} == {gateway.id}
    assert bench.names.count("gatewayDisconnected") == 1


async def test_an_abnormal_end_is_told_as_an_error_first(bench: FleetBench) -> None:
    """F35."""
    fake = online(bench, await roof(bench))
    bench.gateway_sessions.ended(
        fake.session, GatewayReason.KEEPALIVE_TIMEOUT, detail="nothing came for 9 s", seconds=9
    )
    error, end = bench.told

    assert error == (
        "gatewayCommError",
        {"error": "nothing came for 9 s", "reason": "keepaliveTimeout", "seconds": "9"},
    )
    assert (end[0], end[1]["reason"], end[1]["detail"]) == (
        "gatewayDisconnected",
        "keepaliveTimeout",
        "nothing came for 9 s",
    )


async def test_the_newer_connection_wins(bench: FleetBench) -> None:
    """F37: the old one ends first; what its connection still says or does changes nothing."""
    gateway = await roof(bench)
    old = online(bench, gateway)
    new = FakeGateway(bench, gateway)
    told = bench.take()
    old.configure()
    bench.gateway_sessions.ended(old.session, GatewayReason.CONNECTION_RESET)

    assert [(name, data.get("reason"), data.get("replaced")) for name, data in told] == [
        ("gatewayDisconnected", "replaced", None),
        ("gatewayConnected", None, "true"),
    ]
    assert old.link.ends == [GatewayReason.REPLACED]
    assert (old.take(), bench.names) == ([], [])
    assert gateway.is_online
    assert len(bench.gateway_sessions) == 1
    new.configure()
    assert [part for part, _ in new.take()] == ["gateway_update"]


@pytest.mark.parametrize(("addresses", "told"), [(["10.1.0.1"], 0), (["10.1.0.1", "10.2.0.2"], 1)])
async def test_a_copied_certificate_is_noticed(bench: FleetBench, addresses: list[str], told: int) -> None:
    """More than three replacements in a minute, from two addresses; a program that restarts often has one."""
    gateway = await roof(bench)
    for number in range(8):
        FakeGateway(bench, gateway, address=addresses[number % len(addresses)])
        bench.clock.shift(1)
    found = [data for name, data in bench.told if name == "gatewayCommError"]

    assert [each["reason"] for each in found] == ["identityConflict"] * told
    assert [each["error"] for each in found] == [
        "connections from 10.1.0.1 and 10.2.0.2 replace each other",
    ] * told


async def test_a_gateway_that_moves_around_is_no_conflict(bench: FleetBench) -> None:
    """Replacements that are far apart."""
    gateway = await roof(bench)
    for number in range(8):
        FakeGateway(bench, gateway, address=f"10.1.0.{number}")
        bench.clock.shift(61)
        bench.gateway_sessions.sweep()

    assert "gatewayCommError" not in bench.names


async def test_a_session_ends_with_its_certificate(bench: FleetBench) -> None:
    """TLS looks only once; revoked at once, expired at the next look."""
    gateway = await roof(bench)
    first, second = [(await bench.certificates.create(gateway)).record.serial for _ in range(2)]
    fake = FakeGateway(bench, gateway, serial=first)
    await bench.certificates.revoke(gateway.collection, second)
    assert gateway.is_online
    await bench.certificates.revoke(gateway.collection, first)
    third = (await bench.certificates.create(gateway)).record.serial
    again = FakeGateway(bench, gateway, serial=third)
    bench.clock.shift(15 * DAY)
    bench.gateway_sessions.sweep()

    assert fake.link.ends == [GatewayReason.CERTIFICATE_REVOKED]
    assert again.link.ends == [GatewayReason.CERTIFICATE_EXPIRED]
    assert not gateway.is_online
    assert "gatewayCommError" not in bench.names


async def test_a_certificate_that_ends_soon_is_told_when_it_is_used(bench: FleetBench) -> None:
    """F22, for gateways."""
    gateway = await roof(bench)
    serial = (await bench.certificates.create(gateway)).record.serial
    bench.clock.shift(12 * DAY)
    FakeGateway(bench, gateway, serial=serial)

    assert bench.names == ["gatewayConnected", "certificateExpiring"]
    assert bench.events[1].origin == gateway.origin


async def test_disabling_a_collection_disconnects_its_gateways(bench: FleetBench) -> None:
    """And no others."""
    gateway, other = await roof(bench), await roof(bench)
    fake, stays = online(bench, gateway), online(bench, other)
    await bench.collections.update(gateway.collection, CollectionChange(enabled=False), cause=CAUSE)

    assert fake.link.ends == [GatewayReason.GATEWAY_DISABLED]
    assert (gateway.is_online, stays.link.ends, other.is_online) == (False, [], True)
    assert [each.correlation_id for each in bench.events] == [CAUSE]


async def test_a_program_that_hangs_is_told_of_once(bench: FleetBench) -> None:
    """Its machine answers pings, so the stream stays; until it says something, that is enough."""
    fake = online(bench, await roof(bench))
    for _ in range(5):
        bench.clock.shift(100)
        bench.gateway_sessions.sweep()
    silent = bench.take()
    fake.say(keepalive=pb.Keepalive())
    bench.clock.shift(131)
    bench.gateway_sessions.sweep()

    assert [(name, data["reason"], data["seconds"]) for name, data in silent] == [
        ("gatewayCommError", "applicationSilent", "200")
    ]
    assert [data["seconds"] for _, data in bench.told] == ["131"]
    assert fake.link.ends == []


# ---- configuration -------------------------------------------------------------------------------


async def test_a_gateway_gets_itself_first_and_then_its_devices(bench: FleetBench) -> None:
    """Clients drop what comes before; those of other gateways are not sent. One cause for all."""
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


async def test_asking_again_sends_everything_again_but_not_faster_than_once_a_second(bench: FleetBench) -> None:
    """However often it asks: that would be a cheap way to keep a server busy."""
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
async def test_a_changed_gateway_is_told_so(bench: FleetBench, change: dict[str, Any], sent: Any) -> None:
    gateway = await roof(bench)
    fake = online(bench, gateway)
    await bench.gateways.update(gateway, GatewayChange(**change), cause=CAUSE)

    assert fake.take() == [("gateway_update", (render(gateway.id), *sent))]
    assert bench.told == [("gatewayConfigUpdate", {"entries": "1", "trigger": "change"})]
    assert bench.events[0].correlation_id == CAUSE


async def test_a_new_name_is_nothing_that_a_gateway_is_told(bench: FleetBench) -> None:
    gateway = await roof(bench)
    fake = online(bench, gateway)
    await bench.gateways.update(gateway, GatewayChange(name="cellar", params={}, tags={}), cause=CAUSE)

    assert (fake.take(), bench.names) == ([], [])


async def test_changes_of_devices_are_pushed_as_they_happen(bench: FleetBench) -> None:
    """New, changed, without its block, removed; after the event of the change itself, with the same cause."""
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


async def test_changes_that_a_gateway_need_not_know_are_not_pushed(bench: FleetBench) -> None:
    """Empty tags, other fields, blocks of others, and the removal of a block that it never saw."""
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


async def test_nothing_is_pushed_before_a_gateway_has_asked(bench: FleetBench) -> None:
    """It gets everything when it does."""
    gateway = await roof(bench)
    fake = FakeGateway(bench, gateway)
    device = await behind(bench, gateway)
    await bench.gateways.update(gateway, GatewayChange(tags={"a": "b"}), cause=CAUSE)
    await bench.devices.update(device, DeviceChange(tags={"a": "b"}), cause=CAUSE)

    assert fake.take() == []


async def test_what_changes_while_a_gateway_does_not_read_is_sent_once_as_it_is_then(bench: FleetBench) -> None:
    """The newest configuration of a device replaces the one that waits; so its queue does not grow."""
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
    fake.link.flow()

    assert fake.take() == [
        ("device_update", (render(device.id), {"devEui": "00"}, {"n": "49"})),
        ("gateway_update", (render(gateway.id), {"region": "EU868"}, {"name": "roof", "n": "49"})),
        ("device_removed", render(gone.id)),
    ]
    assert bench.names == ["gatewayDeviceUpdate", "gatewayConfigUpdate", "gatewayDeviceUpdate"]


async def test_what_a_full_queue_refused_goes_when_there_is_room(bench: FleetBench) -> None:
    """The gateway's own configuration, that of a device of which an older one waits, and what is after them."""
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
    fake.link.flow()

    assert fake.take() == [
        ("device_update", (render(device.id), {"devEui": "00"}, {"n": "1"})),
        ("gateway_update", (render(gateway.id), {"region": "EU868"}, {"name": "roof", "n": "2"})),
        ("device_update", (render(device.id), {"devEui": "00"}, {"n": "2"})),
    ]
    assert bench.names == ["gatewayDeviceUpdate", "gatewayConfigUpdate", "gatewayDeviceUpdate"]
    assert fake.session.unsent == set()


async def test_a_gateway_with_more_devices_than_the_queue_has_room_for_gets_them_all(bench: FleetBench) -> None:
    """In order, each once; a message for one of them comes after all of that."""
    gateway = await roof(bench)
    devices = [await behind(bench, gateway, str(number)) for number in range(20)]
    await bench.outbox.queue(devices[0], b"on", cause=CAUSE)
    fake = FakeGateway(bench, gateway)
    fake.link.is_stalled = True
    fake.link.room = 3
    fake.configure()
    fake.link.flow()
    sent = fake.take()

    assert [part for part, _ in sent] == ["gateway_update", *["device_update"] * 20, "downstream_message"]
    assert [value[0] for part, value in sent if part == "device_update"] == [render(each.id) for each in devices]


async def test_what_was_not_sent_is_told_at_the_end(bench: FleetBench) -> None:
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
    fake.link.flow()
    data = dict(bench.told[-1][1])

    assert (data["messagesDown"], data["messagesUp"], data["undelivered"]) == ("2", "4", "4")
    assert bench.names[-2:] == ["gatewayCommError", "gatewayDisconnected"]


async def test_keepalives_are_answered(bench: FleetBench) -> None:
    """Without an event."""
    fake = online(bench, await roof(bench))
    fake.say(keepalive=pb.Keepalive())

    assert (fake.take(), bench.names) == ([("keepalive_response", None)], [])


# ---- from the gateway ----------------------------------------------------------------------------


async def test_a_message_through_a_gateway_is_two_events_and_one_message(bench: FleetBench) -> None:
    """First what the gateway did, then what the device did, with one cause: the id of the message."""
    gateway = await roof(bench)
    device = await behind(bench, gateway)
    fake = online(bench, gateway)
    fake.upstream(device, b"21.5", rssi="-90", fCntUp="7")
    (message,) = bench.messages

    assert bench.told == [
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


async def test_a_device_remembers_through_what_it_was_heard(bench: FleetBench) -> None:
    """Last gateway, transport and payload, and what the gateway said; also in the registry."""
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
    assert bench.reception.sessions == 0, "the gateway is connected, not the device"


async def test_a_message_on_another_way_forgets_the_gateway(bench: FleetBench) -> None:
    """`lastGatewayId` and `lastTransport` are about the same message; what the gateway told stays."""
    gateway = await roof(bench)
    device = await behind(bench, gateway)
    online(bench, gateway).upstream(device, rssi="-90")
    bench.reception.received(device, b"x", remote=("10.0.0.9", 1), transport=Transport.UDP, local_port=1234)

    assert (device.last_gateway_id, device.last_transport) == (0, Transport.UDP)
    assert device.gateway.params == {"rssi": "-90"}


async def test_a_message_without_metadata_leaves_what_was_told(bench: FleetBench) -> None:
    """But not what another gateway told."""
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


async def test_a_gateway_speaks_for_its_own_devices_only(bench: FleetBench) -> None:
    """F36: unknown ids, devices without a block, and those of others, which are not told apart from unknown ones."""
    gateway = await roof(bench)
    neighbour = await bench.device(collection=gateway.collection)
    foreign = await behind(bench, await roof(bench))
    fake = online(bench, gateway)
    fake.upstream(neighbour)
    told = bench.take()
    fake.upstream(foreign)
    told += bench.take()
    bench.clock.shift(61)
    bench.gateway_sessions.sweep()
    fake.upstream("XYZ")
    told += bench.take()

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


async def test_a_device_that_is_not_there_is_told_once_a_minute(bench: FleetBench) -> None:
    """One by one for devices of the collection, together for ids that mean nothing."""
    gateway = await roof(bench)
    devices = [await bench.device(collection=gateway.collection) for _ in range(2)]
    fake = online(bench, gateway)
    for number in range(10):
        for device in devices:
            fake.upstream(device)
        fake.upstream(str(number))
    told = bench.take()
    bench.clock.shift(61)
    bench.gateway_sessions.sweep()

    assert [data["device"] for _, data in told] == [*(render(each.id) for each in devices), "0"]
    assert sorted((data["device"], data["count"]) for _, data in bench.told) == sorted(
        (each, "9") for each in [*(render(each.id) for each in devices), "0"]
    )


@pytest.mark.parametrize("part", ["device", "collection"])
async def test_what_may_not_send_is_refused_behind_a_gateway_too(bench: FleetBench, part: str) -> None:
    """The same event as on any transport, with the gateway."""
    gateway = await roof(bench)
    device = await behind(bench, gateway)
    fake = online(bench, gateway)
    (device if part == "device" else gateway.collection).enabled = False
    fake.upstream(device)

    assert bench.told == [
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
    """The limits are those of the device."""
    gateway = await roof(bench)
    device = await behind(bench, gateway)
    fake = online(bench, gateway)
    fake.upstream(device, b"x" * 101)
    for _ in range(10):
        fake.upstream(device)

    assert [data["reason"] for name, data in bench.told if name == "messageRejected"] == ["tooLarge", "rateLimited"]
    assert len(bench.messages) == 5


async def test_a_gateway_reports_what_it_knows_of_a_device(bench: FleetBench) -> None:
    """It replaces the block's parameters; that is told, kept, and not sent back."""
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
    assert bench.told == [("gatewayDeviceUpdate", {"direction": "fromGateway", "entries": "2"})]
    assert bench.events[0].origin == gateway.origin_with(device)
    assert (device.last_received_ns, fake.take()) == (0, [])


async def test_an_empty_report_leaves_the_block(bench: FleetBench) -> None:
    """An empty block would be no block, and would make the client crash when it is told of it again."""
    gateway = await roof(bench)
    device = await behind(bench, gateway)
    fake = online(bench, gateway)
    fake.say(device_update=pb.DeviceUpdate(device_id=render(device.id)))
    bench.clock.shift(2)
    fake.configure()

    assert device.config.gateways == {gateway.id: {"devEui": "00"}}
    assert fake.take()[1] == ("device_update", (render(device.id), {"devEui": "00"}, {}))


async def test_a_gateway_reports_on_itself(bench: FleetBench) -> None:
    """Kept in the registry with the next batch; nothing leaves it as it is."""
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


async def test_a_report_that_cannot_be_written_is_tried_again(bench: FleetBench) -> None:
    """A gateway that is gone by then is left out."""
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
    """What is too much is left out and told; the message itself is accepted."""
    gateway = await roof(bench)
    device = await behind(bench, gateway)
    fake = online(bench, gateway)
    fake.say(upstream_message=pb.UpstreamMessage(device_id=render(device.id), payload=b"hello", metadata=entries))
    upstream = bench.take()
    fake.say(device_update=pb.DeviceUpdate(device_id=render(device.id), config=entries, metadata=entries))
    fake.say(gateway_metadata=pb.GatewayMetadataUpdate(metadata=entries))

    assert upstream[0] == ("gatewayCommError", {"device": render(device.id), "error": error, "reason": "limitExceeded"})
    assert [name for name, _ in upstream[1:]] == ["gatewayUpstreamMessage", "upstreamMessage"]
    assert bench.messages[0].gateway_metadata == ()
    assert (device.config.gateways, device.gateway.params) == ({gateway.id: {"devEui": "00"}}, {})
    assert (gateway.reported, fake.link.ends) == ({}, [])


async def test_the_inbox_counts_metadata_too(bench: FleetBench) -> None:
    """Its bound is about memory."""
    gateway = await roof(bench)
    device = await behind(bench, gateway)
    fake = online(bench, gateway)
    fake.upstream(device)
    plain = bench.reception.inbox.octets
    fake.upstream(device, note="x" * 1000)

    assert bench.reception.inbox.octets - plain > plain + 1000


@pytest.mark.parametrize("octets", [b"", b"\x7a\x00", b"\x08\x01"])
async def test_a_message_that_says_nothing_is_a_warning(bench: FleetBench, octets: bytes) -> None:
    """Empty, an unknown part, a part of the wrong wire type: a newer client, perhaps; the stream goes on."""
    fake = online(bench, await roof(bench))
    for _ in range(3):
        bench.gateway_sessions.received(fake.session, pb.ControlStreamRequest.FromString(octets))
    fake.say(keepalive=pb.Keepalive())

    assert [(name, data["reason"]) for name, data in bench.told] == [("gatewayCommError", "unknownMessage")]
    assert fake.take() == [("keepalive_response", None)]


# ---- messages to devices -------------------------------------------------------------------------


async def test_a_message_goes_to_a_gateway_at_once(bench: FleetBench) -> None:
    """Queued, handed to the gateway, sent: with the cause of the call."""
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


async def test_messages_wait_for_a_gateway_that_is_not_there(bench: FleetBench) -> None:
    """And go, in order and after the device's configuration, when it has asked for that."""
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


async def test_a_gateway_that_sends_without_asking_gets_messages_too(bench: FleetBench) -> None:
    """It evidently knows its devices."""
    gateway = await roof(bench)
    device = await behind(bench, gateway)
    await bench.outbox.queue(device, b"on", cause=CAUSE)
    fake = FakeGateway(bench, gateway)
    before = fake.take()
    fake.upstream(device)

    assert (before, fake.take()) == ([], [("downstream_message", (render(device.id), b"on"))])


async def test_a_message_is_sent_when_it_has_left_and_not_before(bench: FleetBench) -> None:
    """If the stream ends first it waits on, and goes with the next connection; it is never twice on the way."""
    gateway = await roof(bench)
    device = await behind(bench, gateway)
    fake = online(bench, gateway)
    fake.link.is_stalled = True
    message = await bench.outbox.queue(device, b"1", cause=CAUSE)
    await bench.outbox.queue(device, b"2", cause=CAUSE)
    waiting = message.state
    bench.gateway_sessions.ended(fake.session, GatewayReason.PROCESS_DIED)
    fake.link.flow()
    lost = bench.outbox.waiting
    again = online(bench, gateway)

    assert (waiting, lost) == (DownstreamState.PENDING, 2)
    assert message.state is DownstreamState.SENT
    assert bench.outbox.waiting == 0
    assert again.gateway.traffic.messages_downstream == 2


async def test_a_full_queue_leaves_messages_in_the_outbox(bench: FleetBench) -> None:
    """Until there is room; each device's in order."""
    gateway = await roof(bench)
    devices = [await behind(bench, gateway) for _ in range(5)]
    fake = online(bench, gateway)
    fake.link.is_stalled = True
    fake.link.room = 2
    for number in range(2):
        for device in devices:
            await bench.outbox.queue(device, str(number).encode(), cause=CAUSE)
    fake.link.flow()
    sent = [value for _, value in fake.take()]

    assert len(sent) == 10
    for device in devices:
        assert [payload for named, payload in sent if named == render(device.id)] == [b"0", b"1"]


async def test_a_cancelled_message_that_is_on_the_way_holds_up_nothing(bench: FleetBench) -> None:
    """It may still arrive: nobody takes it out of the socket's queue."""
    gateway = await roof(bench)
    device = await behind(bench, gateway)
    fake = online(bench, gateway)
    fake.link.is_stalled = True
    first = await bench.outbox.queue(device, b"1", cause=CAUSE)
    await bench.outbox.queue(device, b"2", cause=CAUSE)
    await bench.outbox.cancel(device, first.id, cause=CAUSE)
    bench.activities.clear()
    fake.link.flow()
    third = await bench.outbox.queue(device, b"3", cause=CAUSE)
    fake.link.flow()

    assert [value for _, value in fake.take()] == [(render(device.id), each) for each in (b"1", b"2", b"3")]
    assert first.state is DownstreamState.FAILED
    assert third.state is DownstreamState.SENT
    assert bench.names.count("downstreamMessage") == 2


async def test_of_several_gateways_the_one_that_heard_the_device_last_is_taken(bench: FleetBench) -> None:
    """Without that, any that is connected; when it goes, another one takes over."""
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


async def test_whichever_way_is_first_gets_the_message(bench: FleetBench) -> None:
    """A device that shows itself over UDP takes what its gateway was not there for."""
    gateway = await roof(bench)
    device = await behind(bench, gateway, allocated_ip="10.0.0.9")
    message = await bench.outbox.queue(device, b"on", cause=CAUSE)
    bench.outbox.sent(device, message, transport=Transport.UDP, cause=None)
    fake = FakeGateway(bench, gateway)
    fake.configure()

    assert "downstream_message" not in [part for part, _ in fake.take()]
    assert message.gateway_id == 0


async def test_a_message_on_its_way_through_a_gateway_takes_no_other_way(bench: FleetBench) -> None:
    """Else a device that shows itself over UDP meanwhile would get it twice; and if the gateway goes, it may."""
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

    assert (during, cancelled) == (None, second)
    assert bench.outbox.next_for(device) is second


async def test_a_message_whose_gateway_went_may_take_another_way(bench: FleetBench) -> None:
    gateway = await roof(bench)
    device = await behind(bench, gateway, allocated_ip="10.0.0.9")
    fake = online(bench, gateway)
    fake.link.is_stalled = True
    message = await bench.outbox.queue(device, b"1", cause=CAUSE)
    during = bench.outbox.next_for(device)
    bench.gateway_sessions.ended(fake.session, GatewayReason.PROCESS_DIED)

    assert (during, bench.outbox.next_for(device)) == (None, message)


async def test_the_next_message_goes_where_the_device_is_now(bench: FleetBench) -> None:
    """The gateway that has just sent one may have lost the device meanwhile."""
    gateway = await roof(bench)
    other = await bench.gateway(gateway.collection)
    device = await behind(bench, gateway)
    old, new = online(bench, gateway), online(bench, other)
    old.link.is_stalled = True
    await bench.outbox.queue(device, b"1", cause=CAUSE)
    await bench.outbox.queue(device, b"2", cause=CAUSE)
    await bench.devices.update(device, DeviceChange(gateways={gateway.id: {}, other.id: {"a": "b"}}), cause=CAUSE)
    old.link.flow()

    assert [value for part, value in old.take() if part == "downstream_message"] == [(render(device.id), b"1")]
    assert [value for part, value in new.take() if part == "downstream_message"] == [(render(device.id), b"2")]


async def test_a_device_that_moves_takes_no_foreign_gateway_along(bench: FleetBench) -> None:
    """What was on the way to its old gateway then: each collection hears of its own."""
    gateway = await roof(bench)
    device, target = await behind(bench, gateway), await bench.collection()
    fake = online(bench, gateway)
    fake.link.is_stalled = True
    message = await bench.outbox.queue(device, b"1", cause=CAUSE)
    await bench.devices.update(device, DeviceChange(gateways={gateway.id: {}}), cause=CAUSE)
    await bench.devices.update(device, DeviceChange(collection_id=target.id), cause=CAUSE)
    bench.activities.clear()
    fake.link.flow()

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


async def test_a_device_that_gets_a_gateway_gets_what_waits(bench: FleetBench) -> None:
    """After its configuration."""
    gateway = await roof(bench)
    device = await bench.device(collection=gateway.collection)
    fake = online(bench, gateway)
    await bench.outbox.queue(device, b"on", cause=CAUSE)
    await bench.devices.update(device, DeviceChange(gateways={gateway.id: {"a": "b"}}), cause=CAUSE)

    assert [part for part, _ in fake.take()] == ["device_update", "downstream_message"]


async def test_a_removed_device_takes_its_messages_out_of_the_way(bench: FleetBench) -> None:
    """What is on the way to the gateway then is told as failed, and changes nothing more."""
    gateway = await roof(bench)
    device = await behind(bench, gateway)
    fake = online(bench, gateway)
    fake.link.is_stalled = True
    await bench.outbox.queue(device, b"1", cause=CAUSE)
    await bench.outbox.queue(device, b"2", cause=CAUSE)
    bench.activities.clear()
    await bench.devices.remove(device, cause=CAUSE)
    fake.link.flow()

    assert bench.names.count("downstreamFailed") == 2
    assert "downstreamMessage" not in bench.names
    assert [part for part, _ in fake.take()] == ["downstream_message", "device_removed"]
