"""F39: a subscriber that reads slower than events come."""

from __future__ import annotations

import asyncio
from pathlib import Path

from span_events.events.reasons import DroppedReason
from tests.bench.live import LiveServer, Tail
from tests.faults.scene import EXTENDED, Scene, check_words, open_scene
from tests.listeners.coap.bench import RawClient

FLOOD = 3_000
AT_ONCE = 50
"""Messages between two looks at what arrived: few enough that neither a kernel nor the server drops any."""
RECEIVE_BUFFER = 4_096
FAST: dict[str, float] = {"messages.rate": 1e6, "messages.burst": 1_000_000}
TIGHT: dict[str, float] = {"fanout.subscriber_buffer": 65_536, "fanout.send_buffer": 4_096}


async def flood(device: RawClient, reader: Tail) -> None:
    """Let a device send thousands of messages, while the reader keeps up with them."""
    for _ in range(FLOOD // AT_ONCE):
        for _ in range(AT_ONCE):
            device.send(b"x")
        for _ in range(AT_ONCE):
            await reader.until("upstreamMessage")


def slow_tail(scene: Scene) -> Tail:
    """Make a subscriber whose computer takes little while it does not read."""
    path = f"/span/collections/{scene.device.collection}/activity"
    return scene.server.tail(path, EXTENDED, receive_buffer=RECEIVE_BUFFER)


async def test_a_subscriber_that_pauses_is_told_what_it_missed_and_others_miss_nothing(tmp_path: Path) -> None:
    """Count, first and last id match exactly what another subscriber got in the meantime."""
    with LiveServer(tmp_path, FAST | TIGHT) as server:
        async with open_scene(server) as scene, slow_tail(scene) as slow:
            await flood(scene.udp(), scene.tail)
            dropped = await slow.until("eventsDropped")
            await scene.names_until_now()
            await slow.until("deviceUpdated")

    everything = [event["id"] for event in scene.tail.seen]
    gap = slow.names.index("eventsDropped")
    before, after = ([event["id"] for event in part] for part in (slow.seen[:gap], slow.seen[gap + 1 :]))
    missed = everything[len(before) : len(everything) - len(after)]
    assert scene.tail.names.count("upstreamMessage") == FLOOD
    assert "eventsDropped" not in scene.tail.names
    assert before + missed + after == everything
    assert dropped["data"] == {
        "reason": "slowSubscriber",
        "count": str(len(missed)),
        "firstId": missed[0],
        "lastId": missed[-1],
    }
    assert (dropped["collectionId"], "deviceId" in dropped) == (scene.device.collection, False)
    check_words(dropped, "warning", DroppedReason.SLOW_SUBSCRIBER.hint)


async def test_a_subscriber_that_stays_behind_is_closed_with_1013(tmp_path: Path) -> None:
    """Try again later; others are not touched."""
    with LiveServer(tmp_path, FAST | TIGHT | {"fanout.stalled_after": 0.5}) as server:
        async with open_scene(server) as scene, slow_tail(scene) as slow, asyncio.TaskGroup() as group:
            flooding = group.create_task(flood(scene.udp(), scene.tail))
            await server.logged("subscriber_stalled")
            code, reason = await slow.closed()  # it reads at once: soon after the close, the server cuts the connection
            await flooding
            names = await scene.names_until_now()

    assert code == 1013
    assert reason.startswith("behind for 0.5 s, ")
    assert len(slow.seen) < FLOOD
    assert names.count("upstreamMessage") == FLOOD
