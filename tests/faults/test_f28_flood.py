"""F28: a flood from one device."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from span_events.events.reasons import MessageRejectedReason
from span_events.wire.coap.messages import Code, Option, option_of
from tests.bench.live import LiveServer
from tests.faults.scene import Scene, check_words
from tests.listeners.coap.bench import post

FLOOD = 50
BURST = 5
RATE = 1


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server that accepts a message a second and device, and sums up after a second."""
    settings = {"messages.rate": RATE, "messages.burst": BURST, "rejections.window": 1}
    with LiveServer(tmp_path_factory.mktemp("server"), settings) as started:
        yield started


def rejected(scene: Scene) -> int:
    """Sum up the counts of all rejections so far."""
    return sum(int(event["data"]["count"]) for event in scene.tail.seen if event["event"] == "messageRejected")


async def test_a_flood_is_told_at_once_and_then_summed_up(scene: Scene) -> None:
    """The first event comes with the first rejection, one with a count when the window is over."""
    device, began = scene.udp(), time.monotonic()
    for _ in range(FLOOD):
        device.send(b"flood")
    first = await scene.published("messageRejected")
    summary = await scene.published("messageRejected")
    while rejected(scene) + scene.tail.names.count("upstreamMessage") < FLOOD:  # a busy machine: in another window
        await scene.tail.next()
    names, seconds = await scene.names_until_now(), time.monotonic() - began

    data = {
        "reason": "rateLimited",
        "limit": "1",
        "count": "1",
        "remoteAddress": device.remote,
        "transport": "udp",
    }
    assert first["data"] == data
    assert summary["data"] == data | {"count": summary["data"]["count"]}
    assert rejected(scene) + names.count("upstreamMessage") == FLOOD
    assert BURST <= names.count("upstreamMessage") <= BURST + RATE * seconds
    for event in (first, summary):
        check_words(event, "warning", MessageRejectedReason.RATE_LIMITED.hint)


async def test_a_coap_client_hears_4_29_and_when_to_come_back(scene: Scene) -> None:
    """Max-Age says how long to wait (RFC 8516 §3)."""
    device = scene.coap()
    replies = [await device.exchange(post(b"flood", message_id=0))]
    while replies[-1].code == Code.CREATED and len(replies) < FLOOD:
        replies.append(await device.exchange(post(b"flood", message_id=len(replies))))
    data = await scene.rejected(MessageRejectedReason.RATE_LIMITED)

    assert len(replies) > BURST
    assert replies[-1].code == Code.TOO_MANY_REQUESTS
    assert option_of(replies[-1], Option.MAX_AGE) == b"\x01"
    assert data["transport"] == "coap"


async def test_other_devices_are_not_limited(scene: Scene) -> None:
    """The allowance is each device's own."""
    other = await scene.server.add_device(scene.device.collection)
    flooding = scene.udp()
    for _ in range(FLOOD):
        flooding.send(b"flood")
    await scene.published("messageRejected")
    output = await scene.server.coap_client(other.address, "-m", "post", "-e", "hello")
    event = await scene.tail.until("upstreamMessage", transport="coap")

    assert output == ""
    assert event["deviceId"] == other.id
