"""F54: a CoAP response or notification that answers no request."""

from __future__ import annotations

import pytest

from span_events.events.reasons import MessageRejectedReason
from tests.faults.scene import Scene

CONTENT = bytes.fromhex("45011f01ff6869")
"""2.05 with one octet of token and a payload, after the octet of version, type and token length."""
RESET = 0x70


async def test_a_confirmable_response_is_published_with_its_code_and_reset(scene: Scene) -> None:
    """The firmware writes 69, the code of 2.05, where a request has 2 (RFC 7252 §4.2)."""
    device = scene.coap()
    device.send(b"\x41" + CONTENT)
    data = await scene.rejected(MessageRejectedReason.UNEXPECTED_RESPONSE)
    reply = await device.receive()

    assert data["code"] == "2.05"
    assert data["detail"] == "code octet 69 is a response (2.05), wanted 1 to 31: a request"
    assert reply == bytes((RESET, 0)) + CONTENT[1:3]


@pytest.mark.parametrize("first", [b"\x51", b"\x61"], ids=["NON", "ACK"])
async def test_other_responses_are_published_too(scene: Scene, first: bytes) -> None:
    scene.coap().send(first + CONTENT)
    data = await scene.rejected(MessageRejectedReason.UNEXPECTED_RESPONSE)

    assert data["code"] == "2.05"
