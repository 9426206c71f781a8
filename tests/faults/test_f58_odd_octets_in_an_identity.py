"""F58: a PSK identity with NUL and octets that are no UTF-8."""

from __future__ import annotations

import asyncio
from base64 import b64encode

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


async def test_the_api_refuses_an_identity_that_stacks_in_c_would_cut(secure: SecureScene) -> None:
    """The device could never send the whole identity."""
    body = {"identity": b64encode(b"fie\0ld").decode(), "key": b64encode(KEY).decode()}
    reply = await secure.scene.server.request("PUT", f"{secure.scene.device.path}/psk", body)

    assert reply.status == 400
    assert "identity: has a NUL (octet 3)" in reply.document["detail"]
