"""F42: a device slept past the idle limit, missed the close_notify, and sends on the ended session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from span_events.events.reasons import MessageRejectedReason
from tests.bench.live import LiveServer
from tests.faults.handmade import session
from tests.faults.scene import Scene


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Start a server with a short idle timeout."""
    with LiveServer(tmp_path_factory.mktemp("server"), {"sessions.idle_timeout": 1.0}) as started:
        yield started


async def test_the_end_of_the_session_is_named_with_its_time(scene: Scene) -> None:
    """Host and port are those of the ended session, so the event belongs to its device."""
    async with session(scene) as client:
        client.say(b"before")
        await scene.published("clientDisconnected", reason="idleTimeout")
        client.say(b"after")
        data = await scene.rejected(MessageRejectedReason.NO_SESSION)

        assert data["remoteAddress"] == client.remote
    assert data["endReason"] == "idleTimeout"
    assert int(data["endedSecondsAgo"]) >= 0
