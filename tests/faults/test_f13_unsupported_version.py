"""F13: a client that supports only DTLS 1.0."""

from __future__ import annotations

from span_events.events.reasons import ClientRejectedReason
from tests.faults.scene import check_words
from tests.faults.secure import SecureScene, owner_of, shown


async def test_the_offered_version_is_reported(secure: SecureScene) -> None:
    """The client receives an alert at once; with another version setting, the client is accepted."""
    arguments = (*shown(secure.credentials), "-cipher", "ALL:@SECLEVEL=0")
    attempt = await secure.try_s_client(*arguments, version="-dtls1")
    data = await secure.rejected(ClientRejectedReason.UNSUPPORTED_VERSION, attempt, of={})
    await secure.session(*arguments)

    assert data == {"offered": "DTLS 1.0"}
    assert "alert protocol version" in attempt.printed


async def test_gnutls_with_dtls_1_0(secure: SecureScene) -> None:
    """The client of GnuTLS gets the same event."""
    ended = await secure.try_gnutls("--priority", "NORMAL:-VERS-ALL:+VERS-DTLS1.0:%COMPAT")
    event = await secure.everything.until("clientRejected")

    assert event["data"].pop("remoteAddress").startswith("127.0.0.1:")
    assert event["data"] == {"reason": "unsupportedVersion", "transport": "dtls", "offered": "DTLS 1.0"}
    assert owner_of(event) == {}
    check_words(event, "error", ClientRejectedReason.UNSUPPORTED_VERSION.hint)
    assert ended.status != 0
