"""F59: two requests are under way, and the device repeats both."""

from __future__ import annotations

from tests.faults.scene import Scene
from tests.listeners.coap.bench import post


async def test_the_copies_get_the_first_answers_and_two_events(scene: Scene) -> None:
    """Each request has its own token and message id (RFC 7252 §4.5, §5.3.1)."""
    device = scene.coap()
    requests = [post(each, message_id=number, token=each) for number, each in ((1, b"A"), (2, b"B"))]
    for request in requests:
        device.send(request)
    first = {await device.receive() for _ in requests}
    for request in requests:
        device.send(request)
    again = {await device.receive() for _ in requests}
    duplicates = [await scene.published("messageDuplicate") for _ in requests]
    names = await scene.names_until_now()

    assert first == again
    assert names.count("upstreamMessage") == 2
    assert len({each["data"]["messageId"] for each in duplicates}) == 2
