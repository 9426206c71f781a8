"""F15: the PSK identity is right, the key is wrong."""

from __future__ import annotations

import pytest

from span_events.events.reasons import ClientRejectedReason
from tests.faults.secure import SecureScene, psk

KEY = b"0123456789abcdef"
WRONG = b"0123456789abcdeg"


async def test_a_wrong_key_is_reported_at_once_for_the_device(secure: SecureScene) -> None:
    """The event has no key; the same client is accepted with the right key."""
    await secure.scene.server.set_psk(secure.scene.device, b"pump-15", KEY)
    attempt = await secure.try_s_client(*psk(b"pump-15", WRONG))
    data = await secure.rejected(ClientRejectedReason.PSK_MISMATCH, attempt, of=secure.device)
    await secure.session(*psk(b"pump-15", KEY))

    assert data == {"identity": "pump-15"}
    assert "alert bad record mac" in attempt.printed


@pytest.mark.parametrize("program", ["coap-client-openssl", "coap-client-gnutls"])
async def test_on_the_coaps_port(secure: SecureScene, program: str) -> None:
    """The event has the transport coaps."""
    identity = f"pump-{program}"
    await secure.scene.server.set_psk(secure.scene.device, identity.encode(), KEY)
    attempt = await secure.try_coap_client(program, "-u", identity, "-k", WRONG.decode())
    data = await secure.rejected(ClientRejectedReason.PSK_MISMATCH, attempt, of=secure.device, transport="coaps")

    assert data == {"identity": identity}
