"""F38: a message queued for a sleeping device: delivered later, or never."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from span_events.events.reasons import DownstreamFailedReason
from tests.bench.live import Document, LiveServer
from tests.faults.scene import Scene, check_words, open_scene
from tests.listeners.coap.bench import get

EXPIRY = 1.0
"""Seconds; a whole second, so that the event's value differs from zero."""


@pytest.fixture
async def short_lived(tmp_path: Path) -> AsyncIterator[Scene]:
    """A scene on a server where messages wait for at most a second."""
    with LiveServer(tmp_path, {"downstream.expiry": EXPIRY}) as server:
        async with open_scene(server) as opened:
            yield opened


async def queue(scene: Scene, payload: bytes) -> str:
    """Queue a message for the device, check the event, and return the message's id."""
    body = {"payload": b64encode(payload).decode()}
    message_id = str((await scene.server.call("POST", f"{scene.device.path}/outbox", body))["messageId"])
    event = await scene.published("downstreamQueued", messageId=message_id)

    waiting = [each for each in await outbox(scene) if each["state"] == "pending"]
    assert event["data"] == {"messageId": message_id, "bytes": str(len(payload)), "position": str(len(waiting))}
    check_words(event, "info")
    return message_id


async def outbox(scene: Scene) -> list[Document]:
    """List the device's outbox, newest first."""
    messages: list[Document] = (await scene.server.call("GET", f"{scene.device.path}/outbox"))["messages"]
    return messages


async def check_delivered(scene: Scene, message_id: str, payload: bytes, transport: str) -> Document:
    """Wait for downstreamMessage, and compare it with the outbox; return the event."""
    event = await scene.published("downstreamMessage", messageId=message_id)
    (message,) = (each for each in await outbox(scene) if each["messageId"] == message_id)

    assert int(event["data"].pop("waitedSeconds")) >= 0
    assert event["data"] == {"messageId": message_id, "bytes": str(len(payload)), "transport": transport}
    assert (message["state"], message["transport"]) == ("sent", transport)
    check_words(event, "info")
    return event


async def check_failed(scene: Scene, message_id: str, reason: DownstreamFailedReason, waited: int) -> None:
    """Wait for downstreamFailed, and check it."""
    event = await scene.published("downstreamFailed", messageId=message_id)

    assert int(event["data"].pop("waitedSeconds")) >= waited
    assert event["data"] == {"messageId": message_id, "reason": reason.value}
    check_words(event, "error", reason.hint)


async def test_it_comes_back_to_the_next_datagram(scene: Scene) -> None:
    """Each datagram gets one message, the oldest first, from the port that the device sent to."""
    ids = [await queue(scene, b"lamp on"), await queue(scene, b"lamp off")]
    device = scene.udp()
    device.send(b"I woke up")
    first = await device.receive()
    event = await check_delivered(scene, ids[0], b"lamp on", "udp")
    device.send(b"again")
    second = await device.receive()
    await check_delivered(scene, ids[1], b"lamp off", "udp")

    assert (first, second) == (b"lamp on", b"lamp off")
    (message,) = (each for each in scene.tail.seen if each["data"].get("bytes") == "9")
    assert event["correlationIds"] == [f"cause:{message['data']['messageId']}"]


async def test_it_rides_back_in_the_reply_to_a_coap_post(scene: Scene) -> None:
    """The client prints it."""
    message_id = await queue(scene, b"lamp on")
    output = await scene.coap_client("-m", "post", "-e", "I woke up")
    await check_delivered(scene, message_id, b"lamp on", "coap")

    assert output == "lamp on"


async def test_a_coap_get_fetches_it(scene: Scene) -> None:
    """A poll is no message from the device."""
    message_id = await queue(scene, b"lamp on")
    output = await scene.coap_client("-m", "get")
    await check_delivered(scene, message_id, b"lamp on", "coap")

    assert output == "lamp on"
    assert "upstreamMessage" not in await scene.names_until_now()


async def test_it_expires_when_the_device_stays_asleep(short_lived: Scene) -> None:
    """The device does not get the message later."""
    scene = short_lived
    message_id = await queue(scene, b"lamp on")
    await check_failed(scene, message_id, DownstreamFailedReason.EXPIRED, 1)
    (message,) = await outbox(scene)
    reply = await scene.coap().exchange(get())

    assert message["state"] == "failed"
    assert reply.payload == b""


async def test_it_can_be_cancelled(scene: Scene) -> None:
    """DELETE removes the message from the outbox; the next message is not affected."""
    ids = [await queue(scene, b"lamp on"), await queue(scene, b"lamp off")]
    await scene.server.call("DELETE", f"{scene.device.path}/outbox/{ids[0]}")
    await check_failed(scene, ids[0], DownstreamFailedReason.CANCELLED, 0)
    output = await scene.coap_client("-m", "get")

    assert output == "lamp off"
    assert [each["messageId"] for each in await outbox(scene)] == [ids[1]]


async def test_it_fails_when_the_device_is_removed(scene: Scene) -> None:
    """The event precedes the removal, and names the device of the message."""
    message_id = await queue(scene, b"lamp on")
    await scene.server.call("DELETE", scene.device.path)
    await check_failed(scene, message_id, DownstreamFailedReason.DEVICE_REMOVED, 0)
    await scene.published("deviceRemoved")

    assert scene.tail.names == ["downstreamQueued", "downstreamFailed", "deviceRemoved"]
