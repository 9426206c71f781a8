"""F11: a client that offers neither a certificate nor a PSK."""

from __future__ import annotations

from span_events.events.reasons import ClientRejectedReason
from tests.faults.scene import check_words
from tests.faults.secure import SecureScene, owner_of


async def test_a_client_without_credentials_receives_an_alert(secure: SecureScene) -> None:
    """The event has no owner; the same client is accepted with its certificate."""
    attempt = await secure.try_s_client()
    data = await secure.rejected(ClientRejectedReason.NO_CREDENTIALS, attempt)
    await secure.session()

    assert data == {}
    assert "alert handshake failure" in attempt.printed


async def test_gnutls_without_credentials(secure: SecureScene) -> None:
    """The client of GnuTLS gets the same event."""
    ended = await secure.try_gnutls()
    event = await secure.everything.until("clientRejected")

    assert event["data"].pop("remoteAddress").startswith("127.0.0.1:")
    assert event["data"].pop("cipher") == "ECDHE-ECDSA-AES128-GCM-SHA256"
    assert event["data"] == {"reason": "noCredentials", "transport": "dtls"}
    assert owner_of(event) == {}
    check_words(event, "error", ClientRejectedReason.NO_CREDENTIALS.hint)
    assert ended.status != 0
