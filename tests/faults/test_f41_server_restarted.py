"""F41: the server was restarted, and a device sends on its session from before."""

from __future__ import annotations

import re
from pathlib import Path

from span_events.events.reasons import MessageRejectedReason
from tests.bench.live import LiveServer
from tests.faults.handmade import address_of, session
from tests.faults.scene import open_scene, scene_of


async def test_the_event_names_the_restart_and_belongs_to_the_device_of_the_address(tmp_path: Path) -> None:
    """The address is registered for the device, so it proves the owner."""
    with LiveServer(tmp_path) as server:
        async with open_scene(server) as before, session(before) as client:
            remote = client.remote
            client.say(b"before")
            await before.published("upstreamMessage")
            server.kill()
            server.start()
            client.socket.connect(address_of(before))
            async with scene_of(server, before.device) as scene:
                client.say(b"after")
                data = await scene.rejected(MessageRejectedReason.NO_SESSION)
                names = await scene.names_until_now()

    detail = r"this server started \d+ s ago: sessions from before are gone; handshake again"
    assert re.fullmatch(detail, data["detail"])
    assert (data["remoteAddress"], data["transport"]) == (remote, "dtls")
    assert names == ["messageRejected"]
