"""F21: a device becomes silent, and the idle timeout ends its session (UDP and DTLS)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from span_events.events.reasons import DisconnectReason
from tests.bench.live import LiveServer
from tests.faults.scene import Scene, check_words
from tests.faults.secure import LINE, SecureScene, session_of

IDLE_TIMEOUT = 1.0
"""Seconds; at least one, because the event has whole seconds."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Start a server with a short idle timeout."""
    with LiveServer(tmp_path_factory.mktemp("server"), {"sessions.idle_timeout": IDLE_TIMEOUT}) as started:
        yield started


async def test_a_silent_device_is_disconnected_and_connects_again_with_its_next_message(scene: Scene) -> None:
    """The event clientDisconnected has the session id of its clientConnected."""
    device = scene.udp()
    device.send(b"last words")
    connected = await scene.published("clientConnected")
    message = await scene.published("upstreamMessage")
    disconnected = await scene.published("clientDisconnected")
    device.send(b"back")
    again = await scene.published("clientConnected")

    assert int(disconnected["data"].pop("idleSeconds")) >= IDLE_TIMEOUT
    assert (disconnected["data"]["reason"], disconnected["data"]["transport"]) == ("idleTimeout", "udp")
    check_words(disconnected, "info", DisconnectReason.IDLE_TIMEOUT.hint)
    assert session_of(connected) == session_of(message) == session_of(disconnected)
    assert session_of(again) != session_of(connected)


async def test_a_silent_dtls_session_is_closed(secure: SecureScene) -> None:
    """The client receives a close_notify; its next message needs a new handshake."""
    scene = secure.scene
    async with secure.client() as client:
        client.say(LINE)
        connected = await scene.published("clientConnected")
        await scene.published("upstreamMessage")
        disconnected = await scene.published("clientDisconnected")
        ended = await client.finish()
    await secure.session()

    assert int(disconnected["data"].pop("idleSeconds")) >= IDLE_TIMEOUT
    assert (disconnected["data"]["reason"], disconnected["data"]["transport"]) == ("idleTimeout", "dtls")
    check_words(disconnected, "info", DisconnectReason.IDLE_TIMEOUT.hint)
    assert session_of(connected) == session_of(disconnected)
    assert "closed" in ended.output
