"""F14: no device has the PSK identity."""

from __future__ import annotations

import pytest

from span_events.events.reasons import ClientRejectedReason
from tests.faults.secure import SecureScene, psk

KEY = b"0123456789abcdef"


async def test_the_unknown_identity_is_reported(secure: SecureScene) -> None:
    """The event has no owner; the same client is accepted after the device has got the identity."""
    attempt = await secure.try_s_client(*psk(b"Pump-14", KEY))
    data = await secure.rejected(ClientRejectedReason.UNKNOWN_PSK_IDENTITY, attempt)
    await secure.scene.server.set_psk(secure.scene.device, b"Pump-14", KEY)
    (connected, *_) = await secure.session(*psk(b"Pump-14", KEY))

    assert data == {"identity": "Pump-14"}
    assert "alert unknown psk identity" in attempt.printed
    assert connected["data"]["id"] == "psk"


@pytest.mark.parametrize("program", ["coap-client-openssl", "coap-client-gnutls"])
async def test_on_the_coaps_port(secure: SecureScene, program: str) -> None:
    """The event has the transport coaps."""
    attempt = await secure.try_coap_client(program, "-u", program, "-k", KEY.decode())
    data = await secure.rejected(ClientRejectedReason.UNKNOWN_PSK_IDENTITY, attempt, transport="coaps")

    assert data == {"identity": program}
