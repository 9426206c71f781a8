"""F53: records of a session that cannot be read: a restored state, or other keys."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from span_events.events.reasons import MessageRejectedReason
from tests.bench.live import LiveServer
from tests.faults.handmade import session
from tests.faults.scene import Scene

STALE = 5
"""Records with a used sequence number."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Start a server that sums up rejections after a second."""
    with LiveServer(tmp_path_factory.mktemp("server"), {"rejections.window": 1}) as started:
        yield started


async def test_used_sequence_numbers_are_published_once_and_then_summed_up(scene: Scene) -> None:
    """The device restored an older state of its session; it sends again with new numbers afterwards."""
    async with session(scene) as client:
        client.say(b"one")
        await scene.published("upstreamMessage")
        for _ in range(STALE):
            client.sequence = 1
            client.say(b"stale")
        first = await scene.rejected(MessageRejectedReason.UNREADABLE_RECORD)
        count = int(first["count"])
        while count < STALE:
            count += int((await scene.rejected(MessageRejectedReason.UNREADABLE_RECORD))["count"])
        client.sequence = 9
        client.say(b"fresh")
        await scene.published("upstreamMessage")

    assert first["detail"].startswith("its sequence number was used before")
    assert count == STALE


async def test_a_damaged_record_is_published_as_one_with_other_keys(scene: Scene) -> None:
    """The last octet of the authentication tag is wrong."""
    async with session(scene) as client:
        sealed = client.seal(23, b"x")
        client.socket.send(sealed[:-1] + bytes((sealed[-1] ^ 1,)))
        data = await scene.rejected(MessageRejectedReason.UNREADABLE_RECORD)

    assert data["detail"].startswith("it cannot be decrypted")
