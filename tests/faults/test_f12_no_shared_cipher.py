"""F12: client and server share no cipher suite."""

from __future__ import annotations

from span_events.events.reasons import ClientRejectedReason
from tests.faults.secure import SecureScene, shown


async def test_the_offered_suites_are_reported_by_name(secure: SecureScene) -> None:
    """A developer compares the offer with the suites of the server; the hint has two that are accepted."""
    suites = "AES128-SHA:ECDHE-ECDSA-AES256-SHA384"
    arguments = ("-cipher", suites, "-curves", "P-256:X25519")
    attempt = await secure.try_s_client(*shown(secure.credentials), *arguments)
    data = await secure.rejected(ClientRejectedReason.NO_SHARED_CIPHER, attempt)
    good = "ECDHE-ECDSA-AES128-GCM-SHA256"
    (connected, *_) = await secure.session(*shown(secure.credentials), "-cipher", f"{suites}:{good}")

    assert data == {"offered": "AES128-SHA, ECDHE-ECDSA-AES256-SHA384; groups: secp256r1, x25519"}
    assert "alert handshake failure" in attempt.printed
    assert connected["data"]["cipher"] == good
    assert good in ClientRejectedReason.NO_SHARED_CIPHER.hint
