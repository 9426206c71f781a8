"""F18: a rebooted device begins a handshake from the same address and port."""

from __future__ import annotations

import signal

from span_events.events.reasons import DisconnectReason
from tests.faults.scene import check_words
from tests.faults.secure import LINE, SecureScene, owner_of, session_of


async def test_the_new_session_replaces_the_old_one(secure: SecureScene) -> None:
    """The device has lost its keys and sent no close_notify. Only a complete handshake ends the old session."""
    scene, bound = secure.scene, secure.free_port()
    async with secure.client(bind=bound) as before:
        before.say(LINE)
        first = await scene.published("clientConnected", remoteAddress=bound)
        await scene.published("upstreamMessage")
        before.send_signal(signal.SIGKILL)
        await before.finish()
    async with secure.client(bind=bound) as after:
        after.say(LINE)
        replaced = await scene.published("clientDisconnected")
        second = await scene.published("clientConnected", remoteAddress=bound)
        await scene.published("upstreamMessage")
        after.say_no_more()
        last = await scene.published("clientDisconnected", reason="closeNotify")
    names = await scene.names_until_now()

    assert names == [
        *("clientConnected", "upstreamMessage"),
        *("clientDisconnected", "clientConnected", "upstreamMessage", "clientDisconnected"),
    ]
    assert replaced["data"] == {"reason": "replaced", "transport": "dtls", "remoteAddress": bound}
    check_words(replaced, "info", DisconnectReason.REPLACED.hint)
    assert owner_of(replaced) == owner_of(second) == secure.device
    assert session_of(first) == session_of(replaced) != session_of(second) == session_of(last)
    assert second["data"]["certificateSerial"] == secure.credentials.serial
