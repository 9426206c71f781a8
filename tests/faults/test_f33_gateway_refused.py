"""F33: a gateway with a certificate of an unknown CA, an expired certificate, or the certificate of a device."""

from __future__ import annotations

import datetime as dt

from span_events.events.reasons import GatewayRejectedReason
from tests.bench.certificates import DAY, Holder
from tests.bench.live import Credentials, Document
from tests.faults.gateway_scene import GatewayScene
from tests.faults.secure import authority_of, is_time


def files_of(gate: GatewayScene, holder: Holder) -> Credentials:
    """Write the files of a certificate from the test."""
    return gate.server.write_credentials(holder.chain_pem, holder.key_pem, serial=str(holder.certificate.serial_number))


async def refused(gate: GatewayScene, files: Credentials) -> Document:
    """Let a gateway connect with a certificate; return the status that it gets."""
    async with gate.program(files) as program:
        program.do("connect")
        return await program.hears()


async def test_a_foreign_certificate_is_named_with_its_issuer(gate: GatewayScene) -> None:
    """No statement in it is proven, so the event has no owner, despite the gateway's name and serial number."""
    leaf = Holder.root("Other root").intermediate("Other CA").leaf(gate.gateway.id, serial=int(gate.files.serial))
    files = files_of(gate, leaf)
    told = await refused(gate, files)
    data = await gate.rejected(GatewayRejectedReason.UNKNOWN_CA, of={})

    assert told["ended"] == "UNAUTHENTICATED"
    assert told["text"].startswith(f"refused: unknownCa: {GatewayRejectedReason.UNKNOWN_CA.hint}")
    assert all(is_time(data.pop(name)) for name in ("notBefore", "notAfter"))
    assert data.pop("detail")
    assert data == {
        "certificateIssuer": "CN=Other CA",
        "certificateSubject": f"CN={gate.gateway.id}",
        "certificateSerial": gate.files.serial,
    }
    assert await gate.gateway.status() == "offline"


async def test_an_expired_certificate_is_told_to_its_gateway(gate: GatewayScene) -> None:
    """The gateway's key is proven, so the event belongs to the gateway; a new certificate is the remedy."""
    authority = authority_of(gate.server, gate.gateway.collection)
    leaf = authority.leaf(gate.gateway.id, serial=int(gate.files.serial), begin=-15 * DAY, end=-dt.timedelta(hours=1))
    told = await refused(gate, files_of(gate, leaf))
    data = await gate.rejected(GatewayRejectedReason.CERTIFICATE_EXPIRED, of=gate.whose)
    async with gate.program() as program:
        program.do("connect")
        await gate.scene.tail.until("gatewayConnected", certificateSerial=gate.files.serial)

    assert told["ended"] == "UNAUTHENTICATED"
    assert "create a new one" in told["text"]
    assert data["notAfter"] == leaf.certificate.not_valid_after_utc.strftime("%Y-%m-%d %H:%M:%S")
    assert data["certificateSerial"] == gate.files.serial
    assert data["certificateIssuer"] == authority.certificate.subject.rfc4514_string()


async def test_a_devices_certificate_is_told_to_the_device(gate: GatewayScene) -> None:
    """Usually files were confused; the device in the event shows which."""
    files = await gate.server.add_certificate(gate.scene.device)
    told = await refused(gate, files)
    data = await gate.rejected(
        GatewayRejectedReason.NOT_A_GATEWAY, of=gate.collection | {"deviceId": gate.scene.device.id}
    )

    assert told["ended"] == "PERMISSION_DENIED"
    assert "span-events cert create --gateway" in told["text"]
    assert data["certificateSerial"] == files.serial
    assert gate.scene.device.id in data["certificateSubject"]
    assert data["certificateIssuer"]
