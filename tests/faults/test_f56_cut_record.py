"""F56: a DTLS record is cut short on its way, or followed by stray octets."""

from __future__ import annotations

import pytest

from span_events.events.reasons import MessageRejectedReason
from tests.faults.handmade import session
from tests.faults.scene import Scene


@pytest.mark.parametrize(
    ("end", "stray", "detail"),
    [(200, b"", "a DTLS record says 316 octets, 187 came: the datagram was cut"), (None, b"\x17\xfe\xfd", None)],
    ids=["cut", "stray"],
)
async def test_the_record_is_no_message_and_its_lengths_are_published(
    scene: Scene, end: int | None, stray: bytes, detail: str | None
) -> None:
    """The session goes on with the next whole record."""
    async with session(scene) as client:
        client.socket.send(client.seal(23, b"x" * 300)[:end] + stray)
        data = await scene.rejected(MessageRejectedReason.MALFORMED)
        client.say(b"whole")
        await scene.published("upstreamMessage", bytes="5")
        names = await scene.names_until_now()

    assert detail is None or data["detail"] == detail
    assert names.count("upstreamMessage") == 1
