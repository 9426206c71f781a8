"""F24: malformed CoAP: wrong version, token length 9, truncated option, invalid UTF-8."""

from __future__ import annotations

import pytest

from span_events.events.reasons import MessageRejectedReason
from tests.faults.scene import Scene
from tests.listeners.coap.bench import PING, PONG

RESET_OF_BEEF = bytes.fromhex("7000beef")


@pytest.mark.parametrize(
    ("octets", "detail", "at", "answer"),
    [
        ("8002beefb178", "version is 2, wanted 1", "0", None),
        ("4902beef" + "00" * 9, "token length is 9, wanted at most 8", "0", RESET_OF_BEEF),
        ("4002beefb1785468", "option 16 has 4 octets, 1 are left", "6", RESET_OF_BEEF),
        ("4002beefb2c328", "option 11 is not UTF-8: 0xc3 cannot stand there", "5", RESET_OF_BEEF),
        ("5002beefb2c328", "option 11 is not UTF-8: 0xc3 cannot stand there", "5", None),
        ("4002be", "3 octets, a CoAP header has 4", "3", None),
        ("4002beefff", "payload marker without payload", "4", RESET_OF_BEEF),
    ],
    ids=["version", "token", "truncated option", "UTF-8", "UTF-8 in a NON", "truncated header", "marker"],
)
async def test_the_event_names_the_error_and_its_octet(
    scene: Scene, octets: str, detail: str, at: str, answer: bytes | None
) -> None:
    """A CON gets a reset (RFC 7252 §4.2); a NON and other versions get no response (§3, §4.3)."""
    device = scene.coap()
    datagram = bytes.fromhex(octets)
    device.send(datagram)
    device.send(PING)
    answers = [await device.receive()]
    while answers[-1] != PONG:
        answers.append(await device.receive())
    data = await scene.rejected(MessageRejectedReason.MALFORMED)

    assert answers == ([PONG] if answer is None else [answer, PONG])
    assert data == {
        "reason": "malformed",
        "detail": detail,
        "at": at,
        "bytes": str(len(datagram)),
        "remoteAddress": device.remote,
        "transport": "coap",
    }
    assert await scene.names_until_now() == ["messageRejected"]


async def test_a_real_client_that_sends_invalid_utf_8_gets_a_reset(scene: Scene) -> None:
    """Libcoap sends any octets in Uri-Query."""
    output = await scene.coap_client("-m", "post", "-e", "hello", "-O", "15,0xc328")
    data = await scene.rejected(MessageRejectedReason.MALFORMED)

    assert "got RST" in output
    assert data["detail"] == "option 15 is not UTF-8: 0xc3 cannot stand there"
    assert int(data["at"]) > 4
