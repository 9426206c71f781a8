"""F26: a block-wise upload that begins in the middle, or loses a block."""

from __future__ import annotations

from pathlib import Path

from span_events.events.reasons import MessageRejectedReason
from span_events.wire.coap.blocks import Block, write_block
from span_events.wire.coap.messages import CoapMessage, Code, Option
from tests.faults.scene import Scene
from tests.listeners.coap.bench import RawClient, post

BLOCKS = [bytes([digit]) * 64 for digit in b"abcd"]


async def upload(device: RawClient, number: int) -> CoapMessage:
    """Send one of the four blocks of a message; return the reply."""
    block = Block(number, more=number + 1 < len(BLOCKS), exponent=2)
    option = (int(Option.BLOCK1), write_block(block))
    return await device.exchange(post(BLOCKS[number], message_id=100 + number, options=(option,)))


async def test_a_client_that_begins_with_block_1_gets_4_08(scene: Scene, tmp_path: Path) -> None:
    """A real client resumes an upload that is unknown to the server."""
    file = tmp_path / "file"
    file.write_bytes(b"".join(BLOCKS))
    output = await scene.coap_client("-b", "1,64", "-m", "post", "-f", str(file))
    data = await scene.rejected(MessageRejectedReason.BLOCK_MISSING)
    names = await scene.names_until_now()

    assert output == "4.08 block 0 was expected, 1 came"
    assert data.pop("remoteAddress").startswith(f"{scene.device.address}:")
    assert data == {"reason": "blockMissing", "expected": "0", "received": "1", "transport": "coap"}
    assert "upstreamMessage" not in names


async def test_an_upload_with_a_lost_block_gets_4_08_and_may_continue_with_that_block(scene: Scene) -> None:
    """The event names the missing block; after that block and the rest, the message is complete."""
    device = scene.coap()
    begun = await upload(device, 0)
    refused = await upload(device, 2)
    data = await scene.rejected(MessageRejectedReason.BLOCK_MISSING)
    rest = [await upload(device, 1), await device.exchange(_again(2)), await upload(device, 3)]
    await scene.published("upstreamMessage", bytes="256")

    assert begun.code == Code.CONTINUE
    assert (refused.code, refused.payload) == (Code.REQUEST_ENTITY_INCOMPLETE, b"block 1 was expected, 2 came")
    assert data == {
        "reason": "blockMissing",
        "expected": "1",
        "received": "2",
        "remoteAddress": device.remote,
        "transport": "coap",
    }
    assert [reply.code for reply in rest] == [Code.CONTINUE, Code.CONTINUE, Code.CREATED]
    assert scene.tail.names == ["clientConnected", "messageRejected", "upstreamMessage"]


def _again(number: int) -> bytes:
    """Write a block as a new message."""
    option = (int(Option.BLOCK1), write_block(Block(number, more=True, exponent=2)))
    return post(BLOCKS[number], message_id=200 + number, options=(option,))
