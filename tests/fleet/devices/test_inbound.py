"""Input of devices, and its events."""

from __future__ import annotations

import pytest

from span_events import ids
from span_events.events.message import Transport
from span_events.events.reasons import DisconnectReason, MessageRejectedReason
from span_events.fleet.collections import CollectionChange
from span_events.net import Remote
from span_events.registry.model import Device
from tests.bench.fleets import CAUSE, FleetBench

REMOTE: Remote = ("10.0.0.9", 4000)


def receive(bench: FleetBench, device: Device, payload: bytes = b"hello", transport: Transport = Transport.UDP) -> int:
    """Send a message of a device."""
    message_id = bench.reception.received(device, payload, remote=REMOTE, transport=transport, local_port=1234)
    assert message_id is not None
    return message_id


async def test_the_first_message_connects_the_client(bench: FleetBench) -> None:
    """clientConnected, then upstreamMessage, with the message as their cause and one session."""
    device = await bench.device("10.0.0.9")
    message_id = receive(bench, device)
    connected, message = bench.events

    assert bench.published == [
        ("clientConnected", {"id": "ip", "remoteAddress": "10.0.0.9:4000", "transport": "udp"}),
        ("upstreamMessage", {"bytes": "5", "messageId": ids.render(message_id), "transport": "udp"}),
    ]
    assert {each.correlation_id for each in (connected, message)} == {message_id}
    assert connected.session_id == message.session_id is not None
    assert {each.origin for each in (connected, message)} == {device.origin}


async def test_later_messages_belong_to_the_same_session(bench: FleetBench) -> None:
    """Also from another port: the device is its address."""
    device = await bench.device("10.0.0.9")
    receive(bench, device)
    bench.reception.received(device, b"2", remote=("10.0.0.9", 4001), transport=Transport.UDP, local_port=1)

    assert bench.names == ["clientConnected", "upstreamMessage", "upstreamMessage"]
    assert len(bench.reception.sessions) == 1


async def test_each_transport_is_a_session_of_its_own(bench: FleetBench) -> None:
    """UDP and CoAP are separate sessions."""
    device = await bench.device("10.0.0.9")
    receive(bench, device)
    receive(bench, device, transport=Transport.COAP)

    assert [data.get("transport") for name, data in bench.published if name == "clientConnected"] == ["udp", "coap"]


async def test_a_silent_device_is_disconnected_after_the_idle_limit(bench: FleetBench) -> None:
    """F21: idleTimeout with the seconds; the next message connects it again."""
    device = await bench.device("10.0.0.9")
    receive(bench, device)
    bench.clock.shift(899)
    bench.reception.sweep()
    before = bench.names.count("clientDisconnected")
    bench.clock.shift(2)
    bench.reception.sweep()
    receive(bench, device)

    assert before == 0
    assert bench.published[2:4] == [
        (
            "clientDisconnected",
            {"idleSeconds": "901", "reason": "idleTimeout", "transport": "udp", "remoteAddress": "10.0.0.9:4000"},
        ),
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
    bench.reception.sweep()

    assert [each.origin for each in bench.events if each.name == "clientDisconnected"] == [quiet.origin]


async def test_a_poll_connects_without_a_message(bench: FleetBench) -> None:
    """A CoAP GET shows that the device is there."""
    device = await bench.device("10.0.0.9")
    bench.reception.sessions.contacted(device, REMOTE, transport=Transport.COAP)

    assert bench.names == ["clientConnected"]


async def test_a_message_is_in_the_inbox_and_on_the_way_to_the_streams(bench: FleetBench) -> None:
    """And the device remembers it."""
    device = await bench.device("10.0.0.9")
    message_id = receive(bench, device)
    (listed,) = bench.reception.inbox.list(device.collection.id, limit=10)

    assert bench.messages == [listed]
    assert (listed.id, listed.payload, listed.remote_port, listed.local_port) == (message_id, b"hello", 4000, 1234)
    assert (device.last_payload, device.last_transport, device.traffic.messages_upstream) == (b"hello", "udp", 1)


async def test_changes_by_messages_are_written_in_batches(bench: FleetBench) -> None:
    """No database write per message; after a flush another process sees it."""
    device = await bench.device("10.0.0.9")
    receive(bench, device, b"one")
    receive(bench, device, b"two")
    (before,) = (await bench.store.load()).devices
    await bench.reception.flush()
    (after,) = (await bench.store.load()).devices

    assert (before.last_payload, after.last_payload) == (b"", b"two")


async def test_an_unknown_address_is_published_without_attribution(bench: FleetBench) -> None:
    """F06: no device has the address."""
    found = bench.reception.identify(("10.9.9.9", 7), transport=Transport.UDP, size=12)

    assert found is MessageRejectedReason.UNKNOWN_ADDRESS
    assert bench.published == [
        (
            "messageRejected",
            {"bytes": "12", "reason": "unknownAddress", "remoteAddress": "10.9.9.9:7", "transport": "udp"},
        )
    ]
    assert bench.events[0].origin.collection_id is None


async def test_a_fault_that_repeats_is_summed_up(bench: FleetBench) -> None:
    """A burst is published one by one, the rest once per window with a count."""
    for _ in range(10):
        bench.reception.identify(("10.9.9.9", 7), transport=Transport.UDP, size=12)
    one_by_one = bench.drain()
    bench.clock.shift(61)
    bench.reception.sweep()
    summed_up = bench.drain()
    bench.clock.shift(61)
    bench.reception.sweep()

    assert len(one_by_one) == 3
    assert [data["count"] for _, data in summed_up] == ["7"]
    assert bench.drain() == []
    assert sum(bench.reception.rejections.messages.values()) == 10


async def test_senders_beyond_the_bound_are_only_counted(bench: FleetBench) -> None:
    """A flood from forged addresses costs neither memory nor events."""
    for last in range(20):
        bench.reception.identify((f"10.9.{last}.9", 7), transport=Transport.UDP, size=12)

    assert len(bench.drain()) == 5
    assert bench.reception.rejections.unpublished == 15


@pytest.mark.parametrize(("what", "reason"), [("device", "deviceDisabled"), ("collection", "collectionDisabled")])
async def test_a_disabled_device_may_not_send(bench: FleetBench, what: str, reason: str) -> None:
    """F07."""
    device = await bench.device("10.0.0.9")
    (device if what == "device" else device.collection).enabled = False
    answer = bench.reception.admit(device, REMOTE, transport=Transport.UDP, size=5)

    assert answer == reason
    assert [(name, data["reason"]) for name, data in bench.published] == [("messageRejected", reason)]
    assert bench.events[0].origin == device.origin


async def test_a_flood_is_published_once_a_minute_with_a_count(bench: FleetBench) -> None:
    """F28: the burst passes, then the rate; the rest is counted."""
    device = await bench.device("10.0.0.9")
    answers = [bench.reception.admit(device, REMOTE, transport=Transport.UDP, size=5) for _ in range(50)]
    first = bench.drain()
    bench.clock.shift(61)
    bench.reception.sweep()

    assert answers.count(None) == 6
    assert [(data["reason"], data["limit"], data["count"]) for _, data in first] == [("rateLimited", "10", "1")]
    assert [data["count"] for _, data in bench.drain()] == ["43"]


async def test_the_rate_is_admitted_for_ever(bench: FleetBench) -> None:
    """Ten a second for a minute, not one refused."""
    device = await bench.device("10.0.0.9")
    answers = []
    for _ in range(600):
        answers.append(bench.reception.admit(device, REMOTE, transport=Transport.UDP, size=5))
        bench.clock.shift(0.1)

    assert set(answers) == {None}


async def test_a_message_over_the_limit_is_refused_whole(bench: FleetBench) -> None:
    """F27: the event names the limit; the message opens no session."""
    device = await bench.device("10.0.0.9")
    accepted = bench.reception.received(device, bytes(101), remote=REMOTE, transport=Transport.UDP, local_port=1)

    assert accepted is None
    assert [(name, data["reason"], data["limit"], data["bytes"]) for name, data in bench.published] == [
        ("messageRejected", "tooLarge", "100", "101")
    ]


async def test_disabling_a_collection_ends_the_sessions_of_its_devices(bench: FleetBench) -> None:
    """Only of its own."""
    device, other = await bench.device("10.0.0.9"), await bench.device("10.0.0.8")
    receive(bench, device)
    receive(bench, other)
    bench.activities.clear()
    await bench.collections.update(device.collection, CollectionChange(enabled=False), cause=CAUSE)

    assert [(each.name, each.origin) for each in bench.events] == [("clientDisconnected", device.origin)]
    assert len(bench.reception.sessions) == 1


async def test_a_duplicate_is_published_with_the_id_of_the_first_message(bench: FleetBench) -> None:
    """F23."""
    device = await bench.device("10.0.0.9")
    bench.reception.rejections.duplicate(device, transport=Transport.COAP, message_id=25, count=2, seconds=2.04)

    assert bench.published == [
        ("messageDuplicate", {"count": "2", "messageId": "11", "seconds": "2.04", "transport": "coap"})
    ]


async def test_every_rejection_carries_its_details(bench: FleetBench) -> None:
    """The keys that faults.md names."""
    device = await bench.device("10.0.0.9")
    bench.reception.rejections.rejected(
        MessageRejectedReason.MALFORMED,
        device=device,
        remote=("::1", 5),
        transport=Transport.COAP,
        size=4,
        detail="token length 9",
        at=0,
    )

    assert bench.published == [
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


async def test_sessions_end_with_the_address_that_they_came_from(bench: FleetBench) -> None:
    """Over UDP and CoAP; a session from an address that the device still has continues."""
    device = await bench.device("10.0.0.9")
    receive(bench, device)
    bench.reception.sessions.contacted(device, ("10.0.0.8", 4000), transport=Transport.COAP)
    bench.activities.clear()
    bench.reception.sessions.address_lost(device, DisconnectReason.DETACHED, cause=CAUSE)

    assert bench.published == [
        ("clientDisconnected", {"reason": "detached", "transport": "coap", "remoteAddress": "10.0.0.8:4000"})
    ]
    assert bench.events[0].correlation_id == CAUSE
    assert len(bench.reception.sessions) == 1


async def test_a_rejected_message_is_a_sign_of_life(bench: FleetBench) -> None:
    """Of the device of the address, if there is one; messages and sessions are signs of life, too."""
    device = await bench.device("10.0.0.9")
    before = device.traffic.signs_of_life
    bench.reception.rejections.rejected(
        MessageRejectedReason.MALFORMED, device=device, remote=REMOTE, transport=Transport.UDP
    )
    after = device.traffic.signs_of_life
    receive(bench, device)

    assert (before, after, device.traffic.signs_of_life) == (0, 1, 3)


async def test_other_changes_are_written_with_the_batch(bench: FleetBench) -> None:
    """For example, changes by the mobile network."""
    device = await bench.device()
    device.ciot.cell_id = "7"
    bench.reception.changed(device)
    await bench.reception.flush()

    assert (await bench.store.load()).devices[0].ciot.cell_id == "7"
