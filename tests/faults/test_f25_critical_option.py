"""F25: an unknown critical option."""

from __future__ import annotations

from span_events.events.reasons import MessageRejectedReason
from span_events.wire.coap.messages import Type
from tests.faults.scene import Scene
from tests.listeners.coap.bench import post

UNKNOWN = 65_001
"""A critical option, as its number is odd (RFC 7252 §5.4.6); reserved for experiments (§12.2)."""


async def test_a_client_gets_4_02_and_the_event_names_the_option(scene: Scene) -> None:
    """The message is not delivered."""
    output = await scene.coap_client("-O", f"{UNKNOWN},x", "-m", "post", "-e", "hello")
    data = await scene.rejected(MessageRejectedReason.UNKNOWN_CRITICAL_OPTION)
    names = await scene.names_until_now()

    assert output == "4.02 option 65001 is not served here"
    assert data.pop("remoteAddress").startswith(f"{scene.device.address}:")
    assert data == {"reason": "unknownCriticalOption", "option": "65001", "transport": "coap"}
    assert names == ["messageRejected"]


async def test_a_non_with_an_unknown_option_gets_no_response_but_the_same_event(scene: Scene) -> None:
    """The client gets no response (RFC 7252 §5.4.1), but subscribers get the event."""
    device = scene.coap()
    silence = await device.gets_no_answer(post(b"hello", kind=Type.NON, options=((UNKNOWN, b"x"),)))
    data = await scene.rejected(MessageRejectedReason.UNKNOWN_CRITICAL_OPTION)

    assert silence
    assert data["option"] == "65001"


async def test_an_unknown_elective_option_is_ignored(scene: Scene) -> None:
    """Options with an even number are elective."""
    output = await scene.coap_client("-O", f"{UNKNOWN - 1},x", "-m", "post", "-e", "hello")

    assert output == ""
    assert await scene.names_until_now() == ["clientConnected", "upstreamMessage"]
