"""F52: a record over the agreed length, to which the server answers with a fatal alert."""

from __future__ import annotations

import asyncio
from typing import Final

from span_events.events.reasons import DisconnectReason, MessageRejectedReason
from tests.bench.peers.handmade_dtls import extension
from tests.faults.handmade import session
from tests.faults.scene import Scene, check_words

FRAGMENTS_OF_512: Final = extension(1, b"\x01")
ALERT: Final = 21
RECORD_OVERFLOW: Final = bytes((2, 22))


async def test_the_session_ends_at_once_with_the_alert_as_its_cause(scene: Scene) -> None:
    """RFC 6066 §4; the next record has no session."""
    async with session(scene, extensions=FRAGMENTS_OF_512) as client:
        client.say(b"a" * 600)
        event = await scene.published("clientDisconnected")
        (record,) = await asyncio.to_thread(client.receive)
        client.say(b"again")
        rejected = await scene.rejected(MessageRejectedReason.NO_SESSION)

        assert (record.kind, client.open(record)) == (ALERT, RECORD_OVERFLOW)
    assert (event["data"]["reason"], event["data"]["detail"]) == ("serverAlert", "data length too long")
    check_words(event, event["severity"], DisconnectReason.SERVER_ALERT.hint)
    assert rejected["endReason"] == "serverAlert"
