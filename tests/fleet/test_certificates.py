"""Certificates of devices: issued, verified, used, revoked, forgotten."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import NameOID

from span_events.errors import InvalidRequest, LimitReached, NotFound
from span_events.events.activity import Origin
from span_events.fleet.devices.devices import DeviceChange
from span_events.ids import render
from span_events.pki import issuing
from span_events.pki.issuing import KeyType
from tests.bench.authorities import certificates_in, open_authority
from tests.bench.clock import START_NS, ManualClock
from tests.bench.fleets import CAUSE, FleetBench, fleet_bench
from tests.pki.test_requests import request

DAY = 86_400
NOW_MS = START_NS // 1_000_000


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[FleetBench]:
    async with fleet_bench(tmp_path) as opened:
        yield opened


async def test_a_device_gets_a_key_and_a_certificate(bench: FleetBench) -> None:
    """The registry keeps the serial number, and nothing of the key."""
    device = await bench.device()
    signed = await bench.certificates.create(device)
    leaf = certificates_in(signed.pem)[0]
    key = load_pem_private_key(signed.private_key_pem, password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)

    assert key.public_key() == leaf.public_key()
    assert bench.directory.certificate_with(leaf.serial_number) == signed.record
    assert (signed.record.device_id, signed.record.collection_id) == (device.id, device.collection.id)
    assert signed.record.not_after_ms == NOW_MS // 1000 * 1000 + 14 * DAY * 1000
    assert bench.certificates.list(device) == [signed.record]
    assert bench.certificates.verify(device, signed.pem + signed.chain_pem) == []
    assert "PRIVATE" not in repr(signed)


async def test_no_private_key_is_stored(bench: FleetBench, tmp_path: Path) -> None:
    """No file of the data directory contains the key in any encoding."""
    signed = await bench.certificates.create(await bench.device())
    key = load_pem_private_key(signed.private_key_pem, password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    secret = key.private_numbers().private_value.to_bytes(32, "big")
    kept = b"".join(_contents(tmp_path))

    assert kept
    for form in (secret, secret.hex().encode(), b64encode(secret), signed.private_key_pem.splitlines()[1]):
        assert form not in kept


async def test_an_rsa_key_is_generated_on_request(bench: FleetBench) -> None:
    """The keys have 2048 bits and are generated one at a time."""
    device = await bench.device()
    made = await asyncio.gather(*(bench.certificates.create(device, KeyType.RSA) for _ in range(2)))
    keys = [certificates_in(each.pem)[0].public_key() for each in made]

    assert all(isinstance(each, rsa.RSAPublicKey) and each.key_size == 2048 for each in keys)
    assert keys[0] != keys[1]


async def test_only_the_key_of_a_signing_request_is_used(bench: FleetBench) -> None:
    """The server sets subject and names; they identify the owner of the certificate."""
    device = await bench.device()
    key = ec.generate_private_key(ec.SECP256R1())
    signed = await bench.certificates.sign(device, request(key, hashes.SHA256()))
    leaf = certificates_in(signed.pem)[0]

    assert leaf.public_key() == key.public_key()
    assert leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == render(device.id)
    assert b"somebody" not in leaf.public_bytes(Encoding.DER)
    assert signed.private_key_pem == b""
    with pytest.raises(InvalidRequest, match="csr: "):
        await bench.certificates.sign(device, b"")


async def test_a_device_has_a_bounded_number_of_certificates(tmp_path: Path) -> None:
    """Revoked certificates count until they expire, as the registry keeps them until then."""
    async with fleet_bench(tmp_path, pki={"per_device": 2}) as bench:
        device = await bench.device()
        first = await bench.certificates.create(device)
        await bench.certificates.create(device)
        await bench.certificates.revoke(device.collection, first.record.serial)
        with pytest.raises(LimitReached, match=r"has 2 certificates that have not expired \(pki.per_device\)"):
            await bench.certificates.create(device)
        bench.clock.shift(15 * DAY)
        later = await bench.certificates.create(device)

        assert bench.certificates.list(device)[0] == later.record


async def test_a_gateway_has_certificates_of_its_own(bench: FleetBench) -> None:
    """They name the gateway, are counted per gateway, and no other certificate identifies it."""
    gateway = await bench.gateway()
    device = await bench.device(collection=gateway.collection)
    signed = await bench.certificates.create(gateway)
    other = await bench.certificates.create(device)
    await bench.certificates.revoke(gateway.collection, signed.record.serial)
    elsewhere = await bench.gateway()

    assert bench.directory.origin_of(signed.record) == gateway.origin
    assert [each.serial for each in bench.certificates.list(gateway)] == [signed.record.serial]
    assert bench.certificates.verify(gateway, other.pem) == [
        f"belongs to device {render(device.id)}, not to gateway {render(gateway.id)}"
    ]
    assert bench.certificates.verify(elsewhere, signed.pem)[1:] == [
        f"belongs to a gateway of another collection, not to gateway {render(elsewhere.id)}"
    ]


async def test_gateways_have_a_bounded_number_of_certificates(tmp_path: Path) -> None:
    async with fleet_bench(tmp_path, pki={"per_device": 1}) as bench:
        gateway = await bench.gateway()
        await bench.certificates.create(gateway)

        with pytest.raises(LimitReached, match=f"^Gateway {render(gateway.id)} has 1 certificates"):
            await bench.certificates.create(gateway)


async def test_a_removed_device_gets_no_certificate(bench: FleetBench) -> None:
    """Its present certificates stay in the registry, so that a handshake with them can be explained."""
    device = await bench.device()
    signed = await bench.certificates.create(device)
    await bench.devices.remove(device, cause=CAUSE)
    with pytest.raises(NotFound):
        await bench.certificates.create(device)

    assert bench.directory.certificate_with(signed.record.serial) == signed.record
    assert bench.directory.origin_of(signed.record) == Origin(device.collection.id)


async def test_a_moved_device_keeps_its_certificates(bench: FleetBench) -> None:
    """They remain valid under the intermediate of the old collection; the new collection can revoke them."""
    device = await bench.device()
    before = device.collection
    signed = await bench.certificates.create(device)
    after = await bench.collection()
    await bench.devices.update(device, DeviceChange(collection_id=after.id), cause=CAUSE)

    assert bench.certificates.verify(device, signed.pem + signed.chain_pem) == []
    assert bench.directory.origin_of(signed.record) == device.origin
    with pytest.raises(NotFound):
        await bench.certificates.revoke(before, signed.record.serial)
    assert (await bench.certificates.revoke(after, signed.record.serial)).revoked_ms == NOW_MS


async def test_a_revocation_is_published_once_and_survives_a_restart(bench: FleetBench) -> None:
    """A second time changes nothing, also not the moment."""
    device = await bench.device()
    signed = await bench.certificates.create(device)
    published: list[int] = []
    bench.certificates.on_revoked.append(published.append)
    revoked = await bench.certificates.revoke(device.collection, signed.record.serial)
    bench.clock.shift(60)
    again = await bench.certificates.revoke(device.collection, signed.record.serial)
    with pytest.raises(NotFound, match=f"There is no certificate 5 in collection {render(device.collection.id)}"):
        await bench.certificates.revoke(device.collection, 5)

    assert published == [signed.record.serial]
    assert revoked == again == bench.directory.certificate_with(signed.record.serial)
    assert (await bench.store.load()).certificates == [revoked]
    assert bench.certificates.revoked == 1


async def test_every_reason_against_a_certificate_is_given(bench: FleetBench, tmp_path: Path) -> None:
    """Each reason is a sentence with its dates, and all that apply are returned."""
    device = await bench.device()
    neighbour = await bench.device(collection=device.collection)
    stranger = await bench.device()
    signed = await bench.certificates.create(device)
    other = await bench.certificates.create(stranger)
    foreign = await open_authority(tmp_path / "foreign", ManualClock(), backdate=0)
    theirs = await foreign.issue(1, issuing.make_key().public_key(), name="17", unit="device")
    verify = bench.certificates.verify
    intermediate, root = certificates_in(signed.chain_pem)
    own = bench.authority.server_identity().certificates_pem

    assert verify(device, b"") == ["is not PEM: there is no line -----BEGIN CERTIFICATE-----"]
    assert verify(device, signed.pem[:200])[0].startswith("is not PEM of certificates: ")
    assert verify(device, signed.pem * 11) == ["holds 11 certificates; a chain of ours has 3"]
    assert verify(neighbour, signed.pem) == [
        f"belongs to device {render(device.id)}, not to device {render(neighbour.id)}"
    ]
    assert verify(stranger, signed.pem) == [
        f"belongs to a device of another collection, not to device {render(stranger.id)}"
    ]
    assert [each.partition(":")[0] for each in verify(device, theirs.pem)] == [
        "was not issued by this server for a device or gateway"
    ]
    assert verify(device, own)[0].startswith("was not issued by this server for a device or gateway: its issuer is CN=")
    assert verify(device, signed.pem + foreign.root_pem)[0].startswith("the chain is broken: certificate 1 (CN=")
    assert verify(device, signed.pem + issuing.certificate_pem(root))[0].startswith(
        "the chain is broken: certificate 1"
    )
    assert verify(device, signed.pem + other.chain_pem)[0].startswith("the chain is broken: certificate 1 (CN=")
    assert verify(device, signed.pem + issuing.certificate_pem(intermediate)) == []
    assert verify(device, theirs.pem + theirs.chain_pem)[-1].startswith("the chain is broken: CN=span-events root")


async def test_time_and_revocation_are_reasons(bench: FleetBench) -> None:
    device = await bench.device()
    signed = await bench.certificates.create(device)
    bench.clock.shift(-2 * 3600)
    early = bench.certificates.verify(device, signed.pem)
    bench.clock.shift(2 * 3600 + 14 * DAY + 1)
    await bench.certificates.revoke(device.collection, signed.record.serial)
    late = bench.certificates.verify(device, signed.pem)

    assert early == ["is not valid before 2024-04-25 19:23:36 UTC; it is 2024-04-25 18:23:36 now"]
    assert late == [
        "expired at 2024-05-09 20:23:36 UTC; it is 2024-05-09 20:23:37 now",
        "was revoked at 2024-05-09 20:23:37 UTC",
    ]


async def test_a_modified_certificate_is_refused(bench: FleetBench) -> None:
    """The name of the issuer is ours, the signature is not."""
    device = await bench.device()
    signed = await bench.certificates.create(device)
    octets = bytearray(certificates_in(signed.pem)[0].public_bytes(Encoding.DER))
    octets[octets.rindex(render(device.id).encode())] = ord("0")
    changed = issuing.certificate_pem(x509.load_der_x509_certificate(bytes(octets)))

    assert bench.certificates.verify(device, changed) == [
        f"was changed: its signature is not that of the intermediate of collection {render(device.collection.id)}"
    ]


async def test_a_certificate_unknown_to_the_registry_is_refused(bench: FleetBench) -> None:
    """A registry that was restored from a backup, say."""
    device = await bench.device()
    issued = await bench.authority.issue(
        device.collection.id, issuing.make_key().public_key(), name=render(device.id), unit="device"
    )

    (reason,) = bench.certificates.verify(device, issued.pem)
    assert reason.startswith(f"is not in the registry (serial number {issued.certificate.serial_number}): ")


async def test_a_certificate_that_expires_soon_is_published_once_a_day(bench: FleetBench) -> None:
    """A handshake within three days of its end publishes the warning (F22)."""
    device = await bench.device()
    record = (await bench.certificates.create(device)).record
    found: list[list[tuple[str, dict[str, Any]]]] = []
    for hours in (0, 11 * 24, 1, 23, 1, 24, 0):
        bench.clock.shift(hours * 3600)
        bench.certificates.used(record)
        found.append(bench.drain())
    expiring = {"certificateSerial": str(record.serial), "notAfter": "2024-05-09 20:23:36"}

    assert [len(each) for each in found] == [0, 0, 1, 0, 1, 1, 0]
    assert found[2] == [("certificateExpiring", {**expiring, "daysLeft": "2"})]
    assert found[5] == [("certificateExpiring", {**expiring, "daysLeft": "0"})]
    assert bench.certificates.expiring == 3


async def test_an_expiry_is_published_in_the_collection_of_the_device(bench: FleetBench) -> None:
    device = await bench.device()
    record = (await bench.certificates.create(device)).record
    bench.clock.shift(13 * DAY)
    bench.certificates.used(record)

    assert [each.origin for each in bench.events] == [device.origin]


async def test_certificates_that_expired_long_ago_are_removed(bench: FleetBench) -> None:
    """After 30 days; the rest stays, also in the registry."""
    device = await bench.device()
    old = await bench.certificates.create(device)
    bench.clock.shift(30 * DAY)
    young = await bench.certificates.create(device)
    await bench.certificates.prune()
    both = list(bench.directory.certificates)
    bench.clock.shift(14 * DAY + 1)
    await bench.certificates.prune()

    assert set(both) == {old.record.serial, young.record.serial}
    assert list(bench.directory.certificates) == [young.record.serial]
    assert (await bench.store.load()).certificates == [young.record]


def _contents(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
