"""F09: a client certificate from an unknown CA."""

from __future__ import annotations

import pytest

from span_events.events.reasons import ClientRejectedReason
from tests.bench.certificates import Holder
from tests.faults.secure import SecureScene, is_time, shown


async def test_a_foreign_certificate_is_reported_with_its_issuer(secure: SecureScene) -> None:
    """Its content is no proof, so the event has no owner."""
    leaf = Holder.root("Other root").intermediate("Other CA").leaf("pump-7")
    attempt = await secure.try_s_client(*shown(secure.files_of(leaf)))
    data = await secure.rejected(ClientRejectedReason.UNKNOWN_CA, attempt)

    assert all(is_time(data.pop(name)) for name in ("notBefore", "notAfter"))
    assert data == {
        "certificateIssuer": "CN=Other CA",
        "certificateSubject": "CN=pump-7",
        "certificateSerial": str(leaf.certificate.serial_number),
    }
    assert "alert unknown ca" in attempt.printed


async def test_copied_names_and_serial_do_not_identify_a_device(secure: SecureScene) -> None:
    """A certificate with the copied names of a device must not cause events of that device."""
    ours = secure.authority().certificate
    serial = int(secure.credentials.serial)
    name = ours.subject.rfc4514_string().partition("=")[2]
    leaf = Holder.root("Other root").intermediate(name).leaf(secure.scene.device.id, serial=serial)
    attempt = await secure.try_s_client(*shown(secure.files_of(leaf)))
    data = await secure.rejected(ClientRejectedReason.UNKNOWN_CA, attempt)

    assert data["certificateSerial"] == secure.credentials.serial


@pytest.mark.parametrize("program", ["coap-client-openssl", "coap-client-gnutls"])
async def test_on_the_coaps_port(secure: SecureScene, program: str) -> None:
    """The event has the transport coaps."""
    files = secure.files_of(Holder.root("Other CA").leaf("pump-7"))
    arguments = ("-c", files.certificate, "-j", files.key, "-R", secure.credentials.certificate)
    attempt = await secure.try_coap_client(program, *arguments)
    data = await secure.rejected(ClientRejectedReason.UNKNOWN_CA, attempt, transport="coaps")

    assert (data["certificateIssuer"], data["certificateSubject"]) == ("CN=Other CA", "CN=pump-7")
