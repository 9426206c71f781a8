"""F27: a message over the size limit."""

from __future__ import annotations

from pathlib import Path

from span_events.config import MessagesConfig
from span_events.events.reasons import MessageRejectedReason
from span_events.wire.coap.blocks import Block, write_block
from span_events.wire.coap.messages import Code, Option, option_of, uint
from tests.faults.scene import Scene
from tests.listeners.coap.bench import post

LIMIT = MessagesConfig().max_payload
BLOCK = 1024


async def test_a_client_that_announces_too_much_gets_4_13_at_once(scene: Scene, tmp_path: Path) -> None:
    """Libcoap sends the whole size (Size1) with the first block."""
    file = tmp_path / "file"
    file.write_bytes(bytes(20_000))
    output = await scene.coap_client("-m", "post", "-f", str(file))
    data = await scene.rejected(MessageRejectedReason.TOO_LARGE)

    assert output == f"4.13 at most {LIMIT} octets"
    assert data.pop("remoteAddress").startswith(f"{scene.device.address}:")
    assert data == {"reason": "tooLarge", "limit": str(LIMIT), "bytes": "20000", "transport": "coap"}
    assert await scene.names_until_now() == ["messageRejected"]


async def test_an_upload_without_an_announced_size_is_rejected_at_the_limit(scene: Scene) -> None:
    """The response has the largest accepted size (RFC 7959 §2.9.3)."""
    device = scene.coap()
    replies = []
    for number in range(LIMIT // BLOCK + 1):
        option = (int(Option.BLOCK1), write_block(Block(number, more=True, exponent=6)))
        replies.append(await device.exchange(post(bytes(BLOCK), message_id=number, options=(option,))))
    data = await scene.rejected(MessageRejectedReason.TOO_LARGE)

    assert {reply.code for reply in replies[:-1]} == {Code.CONTINUE}
    assert replies[-1].code == Code.REQUEST_ENTITY_TOO_LARGE
    assert option_of(replies[-1], Option.SIZE1) == uint(LIMIT)
    assert (data["limit"], data["bytes"]) == (str(LIMIT), str(LIMIT + BLOCK))
    assert "upstreamMessage" not in await scene.names_until_now()


async def test_a_datagram_over_the_limit_is_published_and_a_datagram_at_the_limit_accepted(scene: Scene) -> None:
    """Plain UDP has no responses; only the event reports the rejection."""
    device = scene.udp()
    device.send(bytes(LIMIT + 1))
    data = await scene.rejected(MessageRejectedReason.TOO_LARGE)
    device.send(bytes(LIMIT))
    await scene.published("upstreamMessage", bytes=str(LIMIT))

    assert data == {
        "reason": "tooLarge",
        "limit": str(LIMIT),
        "bytes": str(LIMIT + 1),
        "remoteAddress": device.remote,
        "transport": "udp",
    }
