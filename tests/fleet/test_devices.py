"""What happens to devices, and which events follow."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from span_events import ids
from span_events.errors import Conflict, NotFound
from span_events.events.message import Transport
from span_events.events.reasons import MessageRejectedReason
from span_events.fleet.devices import DeviceChange, render_remote
from span_events.fleet.sessions import Remote
from span_events.registry.model import Device
from tests.fleets import CAUSE, FleetBench

REMOTE: Remote = ("10.0.0.9", 4000)


def receive(bench: FleetBench, device: Device, payload: bytes = b"hello", transport: Transport = Transport.UDP) -> int:
    """Let a message come in."""
    message_id = bench.devices.received(device, payload, remote=REMOTE, transport=transport, local_port=1234)
    assert message_id is not None
    return message_id


async def test_the_first_message_connects_the_client(bench: FleetBench) -> None:
    """clientConnected, then upstreamMessage, with the message as their cause and one session."""
    device = await bench.device("10.0.0.9")
    message_id = receive(bench, device)
    connected, message = bench.events

    assert bench.told == [
        ("clientConnected", {"id": "ip", "remoteAddress": "10.0.0.9:4000", "transport": "udp"}),
        ("upstreamMessage", {"bytes": "5", "messageId": ids.render(message_id), "transport": "udp"}),
    ]
    assert {each.correlation_id for each in (connected, message)} == {message_id}
    assert connected.session_id == message.session_id is not None
    assert {each.origin for each in (connected, message)} == {device.origin}


async def test_later_messages_are_of_the_same_session(bench: FleetBench) -> None:
    """Also from another port: the device is its address."""
    device = await bench.device("10.0.0.9")
    receive(bench, device)
    bench.devices.received(device, b"2", remote=("10.0.0.9", 4001), transport=Transport.UDP, local_port=1)

    assert bench.names == ["clientConnected", "upstreamMessage", "upstreamMessage"]
    assert bench.devices.sessions == 1


async def test_each_transport_is_a_session_of_its_own(bench: FleetBench) -> None:
    """UDP and CoAP are told apart."""
    device = await bench.device("10.0.0.9")
    receive(bench, device)
    receive(bench, device, transport=Transport.COAP)

    assert [data.get("transport") for name, data in bench.told if name == "clientConnected"] == ["udp", "coap"]


async def test_a_silent_device_is_disconnected_after_the_idle_limit(bench: FleetBench) -> None:
    """F21: idleTimeout with the seconds; the next message connects it again."""
    device = await bench.device("10.0.0.9")
    receive(bench, device)
    bench.clock.shift(899)
    bench.devices.sweep()
    before = bench.names.count("clientDisconnected")
    bench.clock.shift(2)
    bench.devices.sweep()
    receive(bench, device)

    assert before == 0
    assert bench.told[2:4] == [
        ("clientDisconnected", {"idleSeconds": "901", "reason": "idleTimeout", "transport": "udp"}),
        ("clientConnected", {"id": "ip", "remoteAddress": "10.0.0.9:4000", "transport": "udp"}),
    ]


async def test_a_message_keeps_the_session_alive(bench: FleetBench) -> None:
    """The limit counts from the last message, per session."""
    quiet, busy = await bench.device("10.0.0.8"), await bench.device("10.0.0.9")
    receive(bench, quiet)
    receive(bench, busy)
    bench.clock.shift(600)
    receive(bench, busy)
    bench.clock.shift(600)
    bench.devices.sweep()

    assert [each.origin for each in bench.events if each.name == "clientDisconnected"] == [quiet.origin]


async def test_a_poll_connects_without_a_message(bench: FleetBench) -> None:
    """A CoAP GET shows that the device is there."""
    device = await bench.device("10.0.0.9")
    bench.devices.contacted(device, REMOTE, transport=Transport.COAP)

    assert bench.names == ["clientConnected"]


async def test_a_message_is_in_the_inbox_and_on_the_way_to_the_streams(bench: FleetBench) -> None:
    """And the device remembers it."""
    device = await bench.device("10.0.0.9")
    message_id = receive(bench, device)
    (listed,) = bench.devices.inbox.list(device.collection.id, limit=10)

    assert bench.messages == [listed]
    assert (listed.id, listed.payload, listed.remote_port, listed.local_port) == (message_id, b"hello", 4000, 1234)
    assert (device.last_payload, device.last_transport, device.traffic.messages_upstream) == (b"hello", "udp", 1)


async def test_what_messages_change_is_written_in_batches(bench: FleetBench) -> None:
    """No database write per message; after a flush another process sees it."""
    device = await bench.device("10.0.0.9")
    receive(bench, device, b"one")
    receive(bench, device, b"two")
    (before,) = (await bench.store.load()).devices
    await bench.devices.flush()
    (after,) = (await bench.store.load()).devices

    assert (before.last_payload, after.last_payload) == (b"", b"two")


async def test_an_unknown_address_is_told_without_attribution(bench: FleetBench) -> None:
    """F06: nobody was given it."""
    found = bench.devices.identify(("10.9.9.9", 7), transport=Transport.UDP, size=12)

    assert found is None
    assert bench.told == [
        (
            "messageRejected",
            {"bytes": "12", "reason": "unknownAddress", "remoteAddress": "10.9.9.9:7", "transport": "udp"},
        )
    ]
    assert bench.events[0].origin.collection_id is None


async def test_a_fault_that_repeats_is_summed_up(bench: FleetBench) -> None:
    """A burst is told one by one, the rest once per window with a count."""
    for _ in range(10):
        bench.devices.identify(("10.9.9.9", 7), transport=Transport.UDP, size=12)
    one_by_one = bench.take()
    bench.clock.shift(61)
    bench.devices.sweep()
    summed_up = bench.take()
    bench.clock.shift(61)
    bench.devices.sweep()

    assert len(one_by_one) == 3
    assert [data["count"] for _, data in summed_up] == ["7"]
    assert bench.take() == []
    assert bench.devices.rejections == 10


async def test_senders_beyond_the_bound_are_only_counted(bench: FleetBench) -> None:
    """A flood from forged addresses costs neither memory nor events."""
    for last in range(20):
        bench.devices.identify((f"10.9.9.{last}", 7), transport=Transport.UDP, size=12)

    assert len(bench.take()) == 5
    assert bench.devices.untold_rejections == 15


@pytest.mark.parametrize(("what", "reason"), [("device", "deviceDisabled"), ("collection", "collectionDisabled")])
async def test_who_is_disabled_may_not_send(bench: FleetBench, what: str, reason: str) -> None:
    """F07."""
    device = await bench.device("10.0.0.9")
    (device if what == "device" else device.collection).enabled = False
    answer = bench.devices.admit(device, REMOTE, transport=Transport.UDP, size=5)

    assert answer == reason
    assert [(name, data["reason"]) for name, data in bench.told] == [("messageRejected", reason)]
    assert bench.events[0].origin == device.origin


async def test_a_flood_is_told_once_a_minute_with_a_count(bench: FleetBench) -> None:
    """F28: the burst passes, then the rate; the rest is counted."""
    device = await bench.device("10.0.0.9")
    answers = [bench.devices.admit(device, REMOTE, transport=Transport.UDP, size=5) for _ in range(50)]
    first = bench.take()
    bench.clock.shift(61)
    bench.devices.sweep()

    assert answers.count(None) == 6
    assert [(data["reason"], data["limit"], data["count"]) for _, data in first] == [("rateLimited", "10", "1")]
    assert [data["count"] for _, data in bench.take()] == ["43"]


async def test_the_rate_is_admitted_for_ever(bench: FleetBench) -> None:
    """Ten a second for a minute, not one refused."""
    device = await bench.device("10.0.0.9")
    answers = []
    for _ in range(600):
        answers.append(bench.devices.admit(device, REMOTE, transport=Transport.UDP, size=5))
        bench.clock.shift(0.1)

    assert set(answers) == {None}


async def test_a_message_over_the_limit_is_refused_whole(bench: FleetBench) -> None:
    """F27: with the limit; it connects nobody."""
    device = await bench.device("10.0.0.9")
    accepted = bench.devices.received(device, bytes(101), remote=REMOTE, transport=Transport.UDP, local_port=1)

    assert accepted is None
    assert [(name, data["reason"], data["limit"], data["bytes"]) for name, data in bench.told] == [
        ("messageRejected", "tooLarge", "100", "101")
    ]


async def test_created_updated_removed_are_told(bench: FleetBench) -> None:
    """With the API call as the cause."""
    collection = await bench.collection()
    device = await bench.devices.create(collection, DeviceChange(tags={"name": "a"}), cause=CAUSE)
    await bench.devices.update(device, DeviceChange(tags={"room": "1"}, imsi="24201"), cause=CAUSE)
    await bench.devices.remove(device, cause=CAUSE)

    assert bench.names == ["deviceCreated", "deviceUpdated", "deviceRemoved"]
    assert {each.correlation_id for each in bench.events} == {CAUSE}
    assert (device.tags, device.config.imsi) == ({"name": "a", "room": "1"}, "24201")
    assert bench.directory.devices == {}


async def test_removing_a_device_ends_its_sessions_first(bench: FleetBench) -> None:
    """So that the stream tells a story in order."""
    device = await bench.device("10.0.0.9")
    await bench.outbox.queue(device, b"x", cause=CAUSE)
    receive(bench, device)
    bench.activities.clear()
    await bench.devices.remove(device, cause=CAUSE)

    assert [(name, data.get("reason")) for name, data in bench.told] == [
        ("clientDisconnected", "deviceRemoved"),
        ("downstreamFailed", "deviceRemoved"),
        ("deviceRemoved", None),
    ]
    assert bench.directory.device_at("10.0.0.9") is None


async def test_disabling_a_device_ends_its_sessions(bench: FleetBench) -> None:
    """It is not connected when it may not send."""
    device = await bench.device("10.0.0.9")
    receive(bench, device)
    bench.activities.clear()
    await bench.devices.update(device, DeviceChange(enabled=False), cause=CAUSE)

    assert [(name, data.get("reason")) for name, data in bench.told] == [
        ("clientDisconnected", "deviceDisabled"),
        ("deviceUpdated", None),
    ]


async def test_disabling_a_collection_ends_the_sessions_of_its_devices(bench: FleetBench) -> None:
    """Only of its own."""
    device, other = await bench.device("10.0.0.9"), await bench.device("10.0.0.8")
    receive(bench, device)
    receive(bench, other)
    bench.activities.clear()
    bench.devices.collection_disabled(device.collection, cause=CAUSE)

    assert [(each.name, each.origin) for each in bench.events] == [("clientDisconnected", device.origin)]
    assert bench.devices.sessions == 1


async def test_both_collections_are_told_of_a_move(bench: FleetBench) -> None:
    """The old one sees it leave, the new one sees it come; later events go to the new one."""
    device = await bench.device("10.0.0.9")
    old, new = device.collection, await bench.collection()
    await bench.devices.update(device, DeviceChange(collection_id=new.id, tags={}), cause=CAUSE)
    receive(bench, device)
    moved = {"from": ids.render(old.id), "to": ids.render(new.id)}

    assert bench.told[:2] == [("deviceMoved", moved), ("deviceMoved", moved)]
    assert [each.origin.collection_id for each in bench.events] == [old.id, new.id, new.id, new.id]
    assert bench.directory.device(new.id, device.id) is device
    with pytest.raises(NotFound):
        bench.directory.device(old.id, device.id)


async def test_a_device_with_a_gateway_block_cannot_move(bench: FleetBench) -> None:
    """Span's rule; the message says what to do."""
    device = await bench.device()
    target = await bench.collection()
    await bench.devices.update(device, DeviceChange(gateways={5: {"k": "v"}}), cause=CAUSE)
    with pytest.raises(Conflict, match="gateway block cannot move"):
        await bench.devices.update(device, DeviceChange(collection_id=target.id), cause=CAUSE)
    await bench.devices.update(device, DeviceChange(gateways={5: {}}), cause=CAUSE)
    await bench.devices.update(device, DeviceChange(collection_id=target.id), cause=CAUSE)

    assert device.collection is target


@pytest.mark.parametrize("change", [{"allocated_ip": "10.0.0.9"}, {"imsi": "24201"}, {"imei": "3520"}], ids=str)
async def test_an_identity_belongs_to_one_device(bench: FleetBench, change: dict[str, str]) -> None:
    """The refused call changes nothing; one's own identity is no conflict."""
    first = await bench.device()
    second = await bench.device()
    await bench.devices.update(first, DeviceChange(**change), cause=CAUSE)  # type: ignore[arg-type]  # a table of cases
    await bench.devices.update(first, DeviceChange(**change), cause=CAUSE)  # type: ignore[arg-type]
    with pytest.raises(Conflict, match="belongs to another device"):
        await bench.devices.update(second, DeviceChange(**change), cause=CAUSE)  # type: ignore[arg-type]

    assert (second.ciot.allocated_ip, second.config.imsi, second.config.imei) == ("", "", "")


async def test_of_two_calls_for_the_same_address_one_wins(bench: FleetBench) -> None:
    """Calls at the same time are made one after the other."""
    collection = await bench.collection()
    results = await asyncio.gather(
        *(bench.devices.create(collection, DeviceChange(allocated_ip="10.0.0.7"), cause=CAUSE) for _ in range(2)),
        return_exceptions=True,
    )

    assert sorted(type(each).__name__ for each in results) == ["Conflict", "Device"]


async def test_a_changed_address_is_found_and_the_old_one_is_not(bench: FleetBench) -> None:
    """The directory follows."""
    device = await bench.device("10.0.0.9")
    await bench.devices.update(device, DeviceChange(allocated_ip="10.0.0.10"), cause=CAUSE)

    assert bench.directory.device_at("10.0.0.9") is None
    assert bench.directory.device_at("10.0.0.10") is device


async def test_a_duplicate_is_told_with_the_first_message(bench: FleetBench) -> None:
    """F23."""
    device = await bench.device("10.0.0.9")
    bench.devices.duplicate(device, transport=Transport.COAP, message_id=25, count=2, seconds=2.04)

    assert bench.told == [
        ("messageDuplicate", {"count": "2", "messageId": "11", "seconds": "2.04", "transport": "coap"})
    ]


async def test_every_rejection_carries_its_details(bench: FleetBench) -> None:
    """The keys that faults.md names."""
    device = await bench.device("10.0.0.9")
    bench.devices.rejected(
        MessageRejectedReason.MALFORMED,
        device=device,
        remote=("::1", 5),
        transport=Transport.COAP,
        size=4,
        detail="token length 9",
        at=0,
    )

    assert bench.told == [
        (
            "messageRejected",
            {
                "at": "0",
                "bytes": "4",
                "detail": "token length 9",
                "reason": "malformed",
                "remoteAddress": "[::1]:5",
                "transport": "coap",
            },
        )
    ]


def test_an_ipv6_remote_is_written_with_brackets() -> None:
    """RFC 3986 §3.2.2."""
    assert (render_remote(("10.0.0.1", 7)), render_remote(("::1", 7))) == ("10.0.0.1:7", "[::1]:7")


@pytest.mark.parametrize("what", ["update", "remove", "queue"])
async def test_a_call_does_not_follow_a_device_that_moves_while_it_waits(bench: FleetBench, what: str) -> None:
    """Whoever asked was allowed to in the old collection only."""
    device = await bench.device()
    target = await bench.collection()
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "update": lambda: bench.devices.update(device, DeviceChange(tags={"a": "b"}), cause=CAUSE),
        "remove": lambda: bench.devices.remove(device, cause=CAUSE),
        "queue": lambda: bench.outbox.queue(device, b"hello", cause=CAUSE),
    }
    lock = bench.outbox._lock if what == "queue" else bench.devices._lock
    async with lock:
        call = asyncio.ensure_future(calls[what]())
        await asyncio.sleep(0)
        device.move_to(target)
        bench.directory._members[target.id][device.id] = device
        del bench.directory._members[next(iter(bench.directory.collections))][device.id]

    with pytest.raises(NotFound):
        await call
    assert device.id in bench.directory.devices
    assert (device.tags, bench.outbox.waiting, bench.names) == ({}, 0, [])
