"""Findings of the field about what the stream tells of DTLS clients: whose, which step, why."""

from __future__ import annotations

from contextlib import closing
from typing import Final

from span_events.events.reasons import ClientRejectedReason, MessageRejectedReason
from tests.faults.secure import SecureScene, shown

_OUTSIDE: Final = "0"
"""Unix seconds of a device's clock that starts in 1970."""


async def test_diagnosis_02_a_refusal_belongs_to_the_device_of_the_proven_address(secure: SecureScene) -> None:
    """A token for the collection sees it; the data say that only the address tells whose it is."""
    attempt = await secure.try_s_client("-cipher", "AES128-SHA256")
    event = await secure.scene.tail.until("clientRejected", remoteAddress=attempt.remote)

    assert event["data"]["reason"] == ClientRejectedReason.NO_SHARED_CIPHER
    assert event["data"]["attributedBy"] == "address"
    assert {"collectionId": event["collectionId"], "deviceId": event["deviceId"]} == secure.device


async def test_diagnosis_02_plain_coap_on_the_port_of_coaps_belongs_to_the_device_of_its_address(
    secure: SecureScene,
) -> None:
    """As malformed CoAP does."""
    scene = secure.scene
    with closing(scene.server.socket_at(scene.device.address, "coaps")) as device:
        device.send(bytes.fromhex("4002010101"))
        data = await scene.rejected(MessageRejectedReason.MALFORMED)

    assert data["transport"] == "coaps"


async def test_diagnosis_07_the_validity_of_the_servers_certificate_is_told(secure: SecureScene) -> None:
    """F47: the clock of the device shows 1970."""
    attempt = await secure.try_s_client(*shown(secure.credentials), "-attime", _OUTSIDE)
    data = await secure.rejected(ClientRejectedReason.CLIENT_ALERT, attempt)

    assert data["detail"].startswith("bad certificate; the server's certificate is valid from 20")
    assert "clock" in ClientRejectedReason.CLIENT_ALERT.hint
