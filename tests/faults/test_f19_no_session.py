"""F19: the NAT changes a device's port during its session."""

from __future__ import annotations

import re

from span_events.events.reasons import MessageRejectedReason
from tests.bench.peers.relay import Relay
from tests.faults.secure import LINE, SecureScene


async def test_the_only_session_of_the_host_is_named(secure: SecureScene) -> None:
    """The record cannot be decrypted; the device must begin a handshake, as the hint says."""
    scene = secure.scene
    with Relay(scene.server.addresses["datagrams"], scene.device.address) as relay:
        async with secure.client(to=relay.address) as client:
            client.say(LINE)
            await scene.published("upstreamMessage")
            before = relay.remote
            relay.rebind()
            client.say(LINE)
            data = await scene.rejected(MessageRejectedReason.NO_SESSION)
            after = relay.remote
    names = await scene.names_until_now()
    await secure.session()

    assert before != after
    assert names == ["clientConnected", "upstreamMessage", "messageRejected"]
    quiet = re.fullmatch(rf"the only session at this address has {before}, quiet for (\d+) s", data.pop("detail"))
    assert quiet is not None
    assert int(quiet[1]) >= 0
    assert int(data.pop("bytes")) > len(LINE)
    assert data == {"reason": "noSession", "remoteAddress": after, "transport": "dtls"}


async def test_no_session_is_named_with_two_at_the_host(secure: SecureScene) -> None:
    """The record may be of either; the address is the device's."""
    scene = secure.scene
    with Relay(scene.server.addresses["datagrams"], scene.device.address) as relay:
        async with secure.client(to=relay.address) as client, secure.client(bind=secure.free_port()) as other:
            for each in (client, other):
                each.say(LINE)
                await scene.published("upstreamMessage")
            relay.rebind()
            client.say(LINE)
            data = await scene.rejected(MessageRejectedReason.NO_SESSION)
            after = relay.remote

    assert int(data.pop("bytes")) > len(LINE)
    assert data == {"reason": "noSession", "remoteAddress": after, "transport": "dtls"}
