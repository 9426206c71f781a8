"""F58: a PSK identity with NUL and octets that are no UTF-8."""

from __future__ import annotations

import asyncio

from span_events.events.reasons import ClientRejectedReason
from tests.bench.programs import Finished
from tests.faults.handmade import KEY, handmade
from tests.faults.secure import Attempt, SecureScene


async def test_an_unknown_identity_is_published_whole_and_escaped(secure: SecureScene) -> None:
    """The identity up to its NUL is known, but the server compares all octets."""
    await secure.scene.server.set_psk(secure.scene.device, b"pump-58", KEY)
    with handmade(secure.scene, identity=b"pump-58\0other\xff") as client:
        assert not await asyncio.to_thread(client.connect)
        attempt = Attempt(client.remote, Finished(0, "", ""))
        data = await secure.rejected(ClientRejectedReason.UNKNOWN_PSK_IDENTITY, attempt)

    assert data["identity"] == "pump-58\\x00other\\xff"
