"""F17: a valid certificate that was revoked, or whose device was removed."""

from __future__ import annotations

from span_events.events.reasons import ClientRejectedReason, DisconnectReason
from tests.faults.scene import check_words
from tests.faults.secure import LINE, SecureScene, shown


async def test_the_certificate_of_a_removed_device_is_reported_for_its_collection(secure: SecureScene) -> None:
    """The event belongs to the collection, whose authority has signed the certificate."""
    server, device = secure.scene.server, secure.scene.device
    await server.call("DELETE", device.path)
    attempt = await secure.try_s_client(*shown(secure.credentials))
    data = await secure.rejected(ClientRejectedReason.UNKNOWN_DEVICE, attempt, of=secure.collection)

    assert data["certificateSerial"] == secure.credentials.serial
    assert device.id in data["certificateSubject"]
    assert "alert bad certificate" in attempt.printed


async def test_a_revoked_certificate_is_reported_for_its_device(secure: SecureScene) -> None:
    """The open session ends at once, and a new handshake is rejected; a new certificate is accepted."""
    server, device = secure.scene.server, secure.scene.device
    async with secure.client() as client:
        client.say(LINE)
        await secure.scene.published("upstreamMessage")
        await server.call("DELETE", f"/span/collections/{device.collection}/certificates/{secure.credentials.serial}")
        ended = await secure.scene.published("clientDisconnected")
        await client.finish()
    attempt = await secure.try_s_client(*shown(secure.credentials))
    data = await secure.rejected(ClientRejectedReason.CERTIFICATE_REVOKED, attempt, of=secure.device)
    await secure.session(*shown(await server.add_certificate(device)))

    assert ended["data"]["reason"] == "certificateRevoked"
    check_words(ended, "info", DisconnectReason.CERTIFICATE_REVOKED.hint)
    assert data["certificateSerial"] == secure.credentials.serial
    assert "alert certificate revoked" in attempt.printed
