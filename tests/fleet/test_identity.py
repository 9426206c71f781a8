"""Identification of devices and gateways by certificates, PSKs and addresses."""

from __future__ import annotations

import pytest
from cryptography import x509

from span_events.events.activity import UNATTRIBUTED, Origin, Reason
from span_events.events.reasons import ClientRejectedReason, GatewayRejectedReason, MessageRejectedReason
from span_events.fleet.gateways.gateways import GatewayChange
from span_events.fleet.identity import Refusal
from span_events.registry.model import Device, Gateway
from tests.bench.clock import START_NS
from tests.bench.fleets import CAUSE, FleetBench
from tests.bench.links import roof

NOW_MS = START_NS // 1_000_000


async def issue(bench: FleetBench, owner: Device | Gateway) -> x509.Certificate:
    """Return a new certificate."""
    return x509.load_pem_x509_certificate((await bench.certificates.create(owner)).pem)


def reason_of(found: Device | Gateway | Refusal[Reason]) -> Reason:
    """Return the reason of a refusal."""
    assert isinstance(found, Refusal)
    return found.reason


# ---- gateways -----------------------------------------------------------------------------------


async def test_a_certificate_identifies_its_gateway(bench: FleetBench) -> None:
    gateway = await roof(bench)
    certificate = await issue(bench, gateway)

    assert bench.identification.gateway_of(certificate, now_ms=NOW_MS) is gateway
    assert bench.identification.origin_of(certificate) == gateway.origin


@pytest.mark.parametrize(
    ("obstacle", "reason"),
    [
        ("unknown", GatewayRejectedReason.UNKNOWN_SERIAL),
        ("revoked", GatewayRejectedReason.CERTIFICATE_REVOKED),
        ("expired", GatewayRejectedReason.CERTIFICATE_EXPIRED),
        ("early", GatewayRejectedReason.CERTIFICATE_NOT_YET_VALID),
        ("removed", GatewayRejectedReason.UNKNOWN_GATEWAY),
        ("disabled", GatewayRejectedReason.GATEWAY_DISABLED),
        ("collection disabled", GatewayRejectedReason.COLLECTION_DISABLED),
    ],
)
async def test_a_gateway_is_refused_with_the_reason(
    bench: FleetBench, obstacle: str, reason: GatewayRejectedReason
) -> None:
    gateway = await roof(bench)
    certificate = await issue(bench, gateway)
    record = bench.identification.record_of(certificate)
    assert record is not None
    now_ms = NOW_MS
    if obstacle == "unknown":
        bench.directory.remove_certificate(record)
    elif obstacle == "revoked":
        await bench.certificates.revoke(gateway.collection, record.serial)
    elif obstacle == "expired":
        now_ms = record.not_after_ms
    elif obstacle == "early":
        now_ms = record.not_before_ms - 1
    elif obstacle == "removed":
        await bench.gateways.remove(gateway, cause=CAUSE)
    elif obstacle == "disabled":
        await bench.gateways.update(gateway, GatewayChange(enabled=False), cause=CAUSE)
    else:
        gateway.collection.enabled = False

    assert reason_of(bench.identification.gateway_of(certificate, now_ms=now_ms)) is reason


async def test_the_certificate_of_a_device_does_not_identify_a_gateway(bench: FleetBench) -> None:
    """F33; the event belongs to the device that owns the certificate."""
    device = await bench.device()
    certificate = await issue(bench, device)
    found = bench.identification.gateway_of(certificate, now_ms=NOW_MS)

    assert reason_of(found) is GatewayRejectedReason.NOT_A_GATEWAY
    assert bench.identification.origin_of(certificate) == device.origin


async def test_a_rejection_of_a_removed_gateway_belongs_to_its_collection(bench: FleetBench) -> None:
    """As long as the collection exists."""
    gateway = await roof(bench)
    certificate = await issue(bench, gateway)
    await bench.gateways.remove(gateway, cause=CAUSE)
    there = bench.identification.origin_of(certificate)
    await bench.collections.remove(gateway.collection)

    assert there == Origin(gateway.collection.id, gateway_id=gateway.id)
    assert bench.identification.origin_of(certificate) == UNATTRIBUTED
    assert bench.identification.origin_of(None) == UNATTRIBUTED


async def test_a_certificate_without_a_record_belongs_to_the_collection_that_issued_it(bench: FleetBench) -> None:
    gateway = await roof(bench)
    certificate = await issue(bench, gateway)
    record = bench.identification.record_of(certificate)
    assert record is not None
    bench.directory.remove_certificate(record)

    assert bench.identification.origin_of(certificate) == Origin(gateway.collection.id)


# ---- devices ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("obstacle", "reason"),
    [
        ("unknown", ClientRejectedReason.UNKNOWN_DEVICE),
        ("revoked", ClientRejectedReason.CERTIFICATE_REVOKED),
        ("expired", ClientRejectedReason.CERTIFICATE_EXPIRED),
        ("early", ClientRejectedReason.CERTIFICATE_NOT_YET_VALID),
        ("removed", ClientRejectedReason.UNKNOWN_DEVICE),
        ("disabled", ClientRejectedReason.DEVICE_DISABLED),
        ("collection disabled", ClientRejectedReason.COLLECTION_DISABLED),
    ],
)
async def test_a_device_is_refused_with_the_reason(
    bench: FleetBench, obstacle: str, reason: ClientRejectedReason
) -> None:
    device = await bench.device()
    certificate = await issue(bench, device)
    record = bench.identification.record_of(certificate)
    assert record is not None
    accepted = bench.identification.device_of(certificate, now_ms=NOW_MS)
    now_ms = NOW_MS
    if obstacle == "unknown":
        bench.directory.remove_certificate(record)
    elif obstacle == "revoked":
        await bench.certificates.revoke(device.collection, record.serial)
    elif obstacle == "expired":
        now_ms = record.not_after_ms
    elif obstacle == "early":
        now_ms = record.not_before_ms - 1
    elif obstacle == "removed":
        await bench.devices.remove(device, cause=CAUSE)
    elif obstacle == "disabled":
        device.enabled = False
    else:
        device.collection.enabled = False

    assert accepted is device
    assert reason_of(bench.identification.device_of(certificate, now_ms=now_ms)) is reason


async def test_the_certificate_of_a_gateway_does_not_identify_a_device(bench: FleetBench) -> None:
    gateway = await roof(bench)
    found = bench.identification.device_of(await issue(bench, gateway))

    assert isinstance(found, Refusal)
    assert (found.reason, found.origin) == (ClientRejectedReason.GATEWAY_CERTIFICATE, gateway.origin)


async def test_the_first_obstacle_is_the_reason(bench: FleetBench) -> None:
    """A revoked certificate of a disabled device is revoked first of all."""
    device = await bench.device()
    certificate = await issue(bench, device)
    await bench.certificates.revoke(device.collection, certificate.serial_number)
    device.enabled = False

    assert reason_of(bench.identification.device_of(certificate)) is ClientRejectedReason.CERTIFICATE_REVOKED


async def test_an_unknown_psk_identity_is_refused(bench: FleetBench) -> None:
    found = bench.identification.device_with_psk(b"nobody")

    assert reason_of(found) is ClientRejectedReason.UNKNOWN_PSK_IDENTITY


async def test_an_address_without_a_device_is_refused(bench: FleetBench) -> None:
    found = bench.identification.device_at("10.9.9.9")

    assert reason_of(found) is MessageRejectedReason.UNKNOWN_ADDRESS
