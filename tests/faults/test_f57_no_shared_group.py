"""F57: a cipher suite in common, but no elliptic curve."""

from __future__ import annotations

import asyncio

from span_events.events.reasons import ClientRejectedReason
from tests.bench.peers.handmade_dtls import extension
from tests.bench.programs import Finished
from tests.faults.handmade import handmade
from tests.faults.secure import Attempt, SecureScene

ECDHE_ECDSA_AES128_CCM8 = 0xC0AE
SIGNATURES = extension(13, bytes.fromhex("00020403"))
POINT_FORMATS = extension(11, b"\x01\0")


async def test_a_hello_without_groups_is_published_as_such(secure: SecureScene) -> None:
    """The suite is served, so the missing extension supported_groups is the cause (RFC 8422 §5.1.1)."""
    with handmade(secure.scene, suites=(ECDHE_ECDSA_AES128_CCM8,), extensions=SIGNATURES + POINT_FORMATS) as client:
        assert not await asyncio.to_thread(client.connect)
        attempt = Attempt(client.remote, Finished(0, "", ""))
        data = await secure.rejected(ClientRejectedReason.NO_SHARED_GROUP, attempt)

    assert data["offered"] == "ECDHE-ECDSA-AES128-CCM8; groups: none"
    assert "supported_groups" in data["detail"]
