"""Messages to devices: queued, sent, expired, cancelled, remembered."""

from __future__ import annotations

import pytest

from span_events import ids
from span_events.errors import LimitReached, NotFound, TooLarge
from span_events.events.message import Transport
from span_events.events.reasons import DownstreamFailedReason
from span_events.registry.model import DownstreamState
from tests.bench.fleets import CAUSE, FleetBench


async def test_a_queued_message_waits_and_is_sent_once(bench: FleetBench) -> None:
    """F38: downstreamQueued, then downstreamMessage with the seconds that it waited."""
    device = await bench.device()
    message = await bench.outbox.queue(device, b"hi", cause=CAUSE)
    bench.clock.shift(12)
    assert bench.outbox.next_for(device) is message
    bench.outbox.sent(device, message, transport=Transport.UDP, cause=5)
    bench.outbox.sent(device, message, transport=Transport.UDP, cause=5)
    identifier = ids.render(message.id)

    assert bench.published == [
        ("downstreamQueued", {"bytes": "2", "messageId": identifier, "position": "1"}),
        ("downstreamMessage", {"bytes": "2", "messageId": identifier, "transport": "udp", "waitedSeconds": "12"}),
    ]
    assert [each.correlation_id for each in bench.events] == [CAUSE, 5]
    assert bench.outbox.next_for(device) is None
    assert (message.state, device.traffic.messages_downstream) == (DownstreamState.SENT, 1)


async def test_messages_are_sent_in_the_order_of_their_creation(bench: FleetBench) -> None:
    """First in, first out, per device."""
    device = await bench.device()
    queued = [await bench.outbox.queue(device, payload, cause=CAUSE) for payload in (b"1", b"2", b"3")]
    left = []
    while (waiting := bench.outbox.next_for(device)) is not None:
        left.append(waiting)
        bench.outbox.sent(device, waiting, transport=Transport.COAP, cause=None)

    assert left == queued
    assert [data["position"] for name, data in bench.published if name == "downstreamQueued"] == ["1", "2", "3"]


async def test_a_message_that_waits_too_long_fails(bench: FleetBench) -> None:
    """F38: never delivered."""
    device = await bench.device()
    message = await bench.outbox.queue(device, b"hi", cause=CAUSE)
    bench.clock.shift(3599)
    bench.outbox.sweep()
    before = message.state
    bench.clock.shift(2)
    bench.outbox.sweep()

    assert before is DownstreamState.PENDING
    assert bench.published[1] == (
        "downstreamFailed",
        {"messageId": ids.render(message.id), "reason": "expired", "waitedSeconds": "3601"},
    )
    assert bench.outbox.next_for(device) is None


async def test_a_cancelled_message_is_not_sent(bench: FleetBench) -> None:
    """The list no longer has the message; a second cancellation finds none."""
    device = await bench.device()
    message = await bench.outbox.queue(device, b"hi", cause=CAUSE)
    await bench.outbox.cancel(device, message.id, cause=CAUSE)

    assert [(name, data.get("reason")) for name, data in bench.published[1:]] == [("downstreamFailed", "cancelled")]
    assert bench.outbox.list(device, limit=10) == []
    assert (await bench.store.load()).downstream == []
    with pytest.raises(NotFound, match="no message"):
        await bench.outbox.cancel(device, message.id, cause=CAUSE)


async def test_deleting_a_sent_message_is_no_failure(bench: FleetBench) -> None:
    """The message was sent; only its record is deleted."""
    device = await bench.device()
    message = await bench.outbox.queue(device, b"hi", cause=CAUSE)
    bench.outbox.sent(device, message, transport=Transport.UDP, cause=None)
    await bench.outbox.cancel(device, message.id, cause=CAUSE)

    assert "downstreamFailed" not in bench.names
    assert (await bench.store.load()).downstream == []


async def test_a_send_error_is_published_with_the_error_of_the_network(bench: FleetBench) -> None:
    """The message does not wait for ever."""
    device = await bench.device()
    message = await bench.outbox.queue(device, b"hi", cause=CAUSE)
    bench.outbox.failed(device, message, DownstreamFailedReason.SEND_ERROR, detail="Message too long")

    assert bench.published[1][1]["reason"] == "sendError"
    assert bench.published[1][1]["detail"] == "Message too long"


async def test_limits_are_refusals_that_name_their_setting(bench: FleetBench) -> None:
    """Payload and queue are bounded."""
    device = await bench.device()
    with pytest.raises(TooLarge, match=r"51 octets, downstream\.max_payload is 50"):
        await bench.outbox.queue(device, bytes(51), cause=CAUSE)
    for _ in range(3):
        await bench.outbox.queue(device, b"", cause=CAUSE)
    with pytest.raises(LimitReached, match=r"3 messages wait .* downstream\.per_device"):
        await bench.outbox.queue(device, b"", cause=CAUSE)


async def test_sent_messages_are_remembered_within_a_bound(bench: FleetBench) -> None:
    """The oldest go first, also from the registry."""
    device = await bench.device()
    made = [await bench.outbox.queue(device, b"x", cause=CAUSE)]
    for _ in range(20):
        bench.outbox.sent(device, made[-1], transport=Transport.UDP, cause=None)
        made.append(await bench.outbox.queue(device, b"x", cause=CAUSE))
    bench.outbox.sent(device, made[-1], transport=Transport.UDP, cause=None)
    await bench.outbox.flush()

    assert len(bench.outbox.list(device, limit=100)) == 6
    assert bench.outbox.list(device, limit=1) == made[-1:]
    assert len((await bench.store.load()).downstream) == 6


async def test_waiting_messages_survive_a_restart(bench: FleetBench) -> None:
    """Sent ones do not wait again."""
    device = await bench.device()
    sent = await bench.outbox.queue(device, b"1", cause=CAUSE)
    waiting = await bench.outbox.queue(device, b"2", cause=CAUSE)
    bench.outbox.sent(device, sent, transport=Transport.UDP, cause=None)
    await bench.outbox.flush()
    reborn = FleetBench(bench.store, bench.authority, bench.clock, bench.folder)
    reborn.outbox.fill((await bench.store.load()).downstream)
    found = reborn.outbox.next_for(device)

    assert found == waiting
    assert [each.id for each in reborn.outbox.list(device, limit=9)] == [waiting.id, sent.id]


async def test_lists_are_cut_as_asked(bench: FleetBench) -> None:
    """Newest first; by id or by time."""
    device = await bench.device()
    made = []
    for _ in range(3):
        made.append(await bench.outbox.queue(device, b"x", cause=CAUSE))
        bench.clock.shift(10)

    assert bench.outbox.list(device, limit=2) == [made[2], made[1]]
    assert bench.outbox.list(device, limit=9, before_id=made[1].id) == [made[0]]
    assert bench.outbox.list(device, limit=9, start_ms=made[1].created_ms, end_ms=made[2].created_ms) == [made[1]]
