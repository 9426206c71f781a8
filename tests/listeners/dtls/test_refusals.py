"""Failed handshakes on a real socket: F09 to F17."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from span_events.events.activity import UNATTRIBUTED, Origin
from tests.bench.certificates import DAY, Holder
from tests.bench.waiting import until
from tests.listeners.dtls.bench import PSK, DtlsBench, dtls_bench
from tests.listeners.dtls.changes import disable, disable_collection, give_to_gateway, remove, revoke
from tests.wire.dtls.client import DtlsClient
from tests.wire.dtls.test_hello import hello


async def rejection(bench: DtlsBench, dtls: DtlsClient) -> tuple[dict[str, str], Origin]:
    """Run a handshake that fails; return the data and the origin of the only event."""
    client = bench.client(dtls)
    await client.connect()
    await until(lambda: len(bench.fleet.activities) >= 1)
    origin = bench.fleet.events[0].origin
    ((name, data),) = bench.fleet.drain()
    assert name == "clientRejected"
    assert data.pop("remoteAddress") == client.remote
    assert data.pop("transport") == "dtls"
    data.pop("cipher", None)
    return data, origin


async def test_f09_an_unknown_ca_is_named_with_its_certificate(bench: DtlsBench) -> None:
    """The event has no origin: the content of a foreign certificate is no proof."""
    stranger = (
        Holder.root("acme").intermediate("acme devices").leaf("d1", serial=bench.holder.certificate.serial_number)
    )
    data, origin = await rejection(bench, DtlsClient(stranger))

    assert data["reason"] == "unknownCa"
    assert data["certificateIssuer"] == "CN=acme devices"
    assert data["certificateSubject"] == "CN=d1"
    assert data["certificateSerial"] == bench.serial
    assert origin == UNATTRIBUTED


@pytest.mark.parametrize(
    ("moved", "reason", "key"),
    [(timedelta(days=15), "certificateExpired", "notAfter"), (-DAY, "certificateNotYetValid", "notBefore")],
)
async def test_f10_a_certificate_outside_its_validity_is_reported_with_its_times(
    bench: DtlsBench, moved: timedelta, reason: str, key: str
) -> None:
    """The event belongs to the device of the certificate."""
    bench.fleet.clock.shift(moved.total_seconds())
    data, origin = await rejection(bench, DtlsClient(bench.holder))

    assert data["reason"] == reason
    assert len(data[key]) == len("2024-04-25 20:23:36")
    assert origin == bench.device.origin


async def test_f11_a_client_without_credentials_is_reported(bench: DtlsBench) -> None:
    """The client has neither a certificate nor a PSK."""
    assert await rejection(bench, DtlsClient()) == ({"reason": "noCredentials"}, UNATTRIBUTED)


async def test_f12_the_offered_suites_are_listed_when_none_is_shared(bench: DtlsBench) -> None:
    """The event uses OpenSSL's names."""
    data, _ = await rejection(bench, DtlsClient(bench.holder, ciphers="ECDHE-ECDSA-AES256-SHA:@SECLEVEL=0"))

    assert data["reason"] == "noSharedCipher"
    assert data["offered"].startswith("ECDHE-ECDSA-AES256-SHA; groups: ")


@pytest.mark.parametrize(
    ("datagram", "offered"),
    [(hello(version=0xFEFF), "DTLS 1.0"), (hello(extensions=((43, b"\x02\xfe\xfc"),)), "DTLS 1.3")],
)
async def test_f13_an_unsupported_version_is_reported_at_once(bench: DtlsBench, datagram: bytes, offered: str) -> None:
    """The alert is sent before the cookie exchange, because such a client may not repeat its hello."""
    client = bench.raw()
    client.send(datagram)
    answer = await client.receive()
    ((_, data),) = await bench.published(1)

    assert (data["reason"], data["offered"]) == ("unsupportedVersion", offered)
    assert answer[-2:] == bytes((2, 70))


async def test_f14_an_unknown_identity_is_reported(bench: DtlsBench) -> None:
    """The event has the identity as text, with other octets escaped."""
    data, origin = await rejection(bench, DtlsClient(psk=(b"dev\xffice", PSK.key)))

    assert data == {"reason": "unknownPskIdentity", "identity": "dev\\xffice"}
    assert origin == UNATTRIBUTED


async def test_f15_a_wrong_key_is_reported(bench: DtlsBench) -> None:
    """OpenSSL does not report a wrong key; the server recognizes it by a Finished that cannot be decrypted."""
    data, origin = await rejection(bench, DtlsClient(psk=(PSK.identity, b"wrong" * 4)))

    assert data == {"reason": "pskMismatch", "identity": PSK.identity.decode()}
    assert origin == bench.device.origin


async def test_f16_a_stopped_handshake_is_reported_with_its_stage(tmp_path: Path) -> None:
    """The event also has the number of retransmissions and the seconds."""
    async with dtls_bench(tmp_path, dtls={"handshake_timeout": 2.0}) as bench:
        client = bench.client()
        await client.greet()
        ((name, data),) = await bench.published(1)

        assert (name, data["reason"], data["stage"]) == ("clientRejected", "handshakeTimeout", "ServerHelloDone")
        assert int(data["retransmissions"]) >= 1
        assert int(data["seconds"]) >= 1
        assert bench.dtls.half_open == 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (remove, "unknownDevice"),
        (revoke, "certificateRevoked"),
        (disable, "deviceDisabled"),
        (disable_collection, "collectionDisabled"),
        (give_to_gateway, "gatewayCertificate"),
    ],
)
async def test_f17_a_valid_certificate_may_be_rejected(
    bench: DtlsBench, change: Callable[[DtlsBench], Awaitable[None]], reason: str
) -> None:
    """The handshake ends with an alert; the event belongs to the device or its collection."""
    await change(bench)
    bench.fleet.activities.clear()
    dtls = DtlsClient(bench.holder)
    data, origin = await rejection(bench, dtls)

    assert (data["reason"], data["certificateSerial"]) == (reason, bench.serial)
    assert not dtls.established
    assert origin.collection_id == bench.device.collection.id


async def test_a_disabled_device_is_rejected_with_its_psk_too(bench: DtlsBench) -> None:
    """The reason is the same as with a certificate."""
    await disable(bench)
    bench.fleet.activities.clear()
    data, origin = await rejection(bench, DtlsClient(psk=(PSK.identity, PSK.key)))

    assert data == {"reason": "deviceDisabled", "identity": "device-1"}
    assert origin == bench.device.origin


async def test_a_client_that_does_not_trust_the_server_is_reported(bench: DtlsBench) -> None:
    """The most frequent fault: the device lacks the root certificate."""
    data, _ = await rejection(bench, DtlsClient(bench.holder, trusted=Holder.root("other")))

    assert (data["reason"], data["detail"]) == ("clientAlert", "unknown ca")


async def test_a_malformed_hello_is_reported(bench: DtlsBench) -> None:
    """The detail has the octet at which the decoder stopped."""
    whole = hello()
    bench.raw().send(whole[:12] + b"\x20" + whole[13:45])
    ((_, data),) = await bench.published(1)

    assert data["reason"] == "malformedHello"
    assert "hello needs" in data["detail"]
