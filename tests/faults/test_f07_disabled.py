"""F07: a disabled device, or a device of a disabled collection, sends."""

from __future__ import annotations

import pytest

from span_events.events.reasons import MessageRejectedReason
from tests.faults.scene import Scene

DEVICE = "device"
COLLECTION = "collection"
CASES = pytest.mark.parametrize(
    ("which", "reason", "answer"),
    [
        (DEVICE, MessageRejectedReason.DEVICE_DISABLED, "4.03 this device is disabled"),
        (COLLECTION, MessageRejectedReason.COLLECTION_DISABLED, "4.03 the device's collection is disabled"),
    ],
)


async def switch(scene: Scene, which: str, *, enabled: bool) -> None:
    """Set ``enabled`` of the device or of its collection."""
    path = scene.device.path if which == DEVICE else f"/span/collections/{scene.device.collection}"
    await scene.server.call("PATCH", path, {"enabled": enabled})


@CASES
async def test_a_datagram_is_rejected_and_the_reason_says_what_is_disabled(
    scene: Scene, which: str, reason: MessageRejectedReason, answer: str
) -> None:
    """Enabling it again is the cure."""
    await switch(scene, which, enabled=False)
    device = scene.udp()
    device.send(b"hello")
    data = await scene.rejected(reason)
    await switch(scene, which, enabled=True)
    device.send(b"hello again")
    await scene.published("upstreamMessage", bytes="11")

    assert data == {"reason": reason.value, "remoteAddress": device.remote, "bytes": "5", "transport": "udp"}
    assert scene.tail.names.count("upstreamMessage") == 1


@CASES
async def test_a_coap_client_gets_4_03(scene: Scene, which: str, reason: MessageRejectedReason, answer: str) -> None:
    """With the reason in words."""
    await switch(scene, which, enabled=False)
    output = await scene.coap_client("-m", "post", "-e", "hello")
    data = await scene.rejected(reason)

    assert output == answer
    assert data["transport"] == "coap"
    assert "upstreamMessage" not in await names(scene, which)


async def names(scene: Scene, which: str) -> list[str]:
    """Return the events, with device and collection enabled again."""
    await switch(scene, which, enabled=True)
    return await scene.names_until_now()
