"""Hostile and unusual DTLS clients: memory, forged addresses, replaced keys, odd certificates."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from span_events.fleet.devices.devices import DeviceChange
from span_events.fleet.identity import details_of
from span_events.registry.model import Psk
from span_events.wire.dtls.engine import EngineSession, Event
from span_events.wire.dtls.records import HEADER, records
from tests.bench.certificates import Holder
from tests.bench.fleets import CAUSE
from tests.bench.waiting import until
from tests.listeners.dtls.bench import PSK, DtlsBench, SecureClient, dtls_bench
from tests.wire.dtls.client import DtlsClient
from tests.wire.dtls.test_hello import hello


async def last_flight(client: SecureClient) -> list[bytes]:
    """Shake hands up to the client's last flight, which is returned instead of being sent."""
    client.transmit(client.dtls.start())
    client.transmit(client.dtls.step(await client.receive()))
    while not (flight := client.dtls.step(await client.receive())):
        pass
    return flight


def apart(datagram: bytes) -> list[bytes]:
    """Split a datagram into one datagram per record."""
    return [datagram[each.at - HEADER.size : each.at + each.length] for each in records(datagram)]


async def take(bench: DtlsBench, client: SecureClient, datagram: bytes) -> None:
    """Send a datagram and wait until the server has read it."""
    before = bench.dtls.received
    client.send(datagram)
    await until(lambda: bench.dtls.received > before)


def watch(bench: DtlsBench) -> list[weakref.ref[object]]:
    """Return weak references to the sessions that the engine creates."""
    created: list[weakref.ref[object]] = []
    accept = bench.dtls._engine.accept

    def accepting(*arguments: Any, **keywords: Any) -> tuple[EngineSession, Sequence[Event]]:
        session, events = accept(*arguments, **keywords)
        created.append(weakref.ref(session))
        return session, events

    bench.dtls._engine.accept = accepting  # type: ignore[method-assign]
    return created


# ---- memory ----------------------------------------------------------------------------------


async def test_a_handshake_is_freed_when_its_client_begins_another(bench: DtlsBench) -> None:
    """A port may send any number of hellos; only the last handshake is kept."""
    created = watch(bench)
    client = bench.client()
    gc.disable()
    try:
        for _ in range(5):
            client.dtls = DtlsClient(bench.holder)
            client.transmit(client.dtls.start())
            request = await client.receive()
            while len(request) != 60:  # the flight of the previous handshake
                request = await client.receive()
            client.transmit(client.dtls.step(request))
        await until(lambda: len(created) == 5)

        assert [each() is None for each in created] == [True] * 4 + [False]
    finally:
        gc.enable()


async def test_handshakes_are_freed_when_the_server_stops(bench: DtlsBench) -> None:
    """The engine is shared, and lives longer than a listener."""
    created = watch(bench)
    await bench.client().greet()
    await until(lambda: len(created) == 1)
    await bench.datagrams.stop()

    assert created[0]() is None


@pytest.mark.parametrize("limit", [1, 2])
async def test_handshakes_that_end_together_do_not_exceed_the_sessions(tmp_path: Path, limit: int) -> None:
    """The limit is checked when a handshake begins, and again when it is complete."""
    async with dtls_bench(tmp_path, dtls={"sessions": limit}) as bench:
        clients = [bench.client() for _ in range(3)]
        flights = [await last_flight(client) for client in clients]
        for client, flight in zip(clients, flights, strict=True):
            client.transmit(flight)
        published = await bench.published(3)

        assert bench.dtls.sessions == limit
        busy = [data for name, data in published if name == "clientRejected"]
        assert [(data["reason"], data["detail"]) for data in busy] == [("serverBusy", f"dtls.sessions is {limit}")] * (
            3 - limit
        )


# ---- forged addresses ------------------------------------------------------------------------


async def test_forged_hellos_silence_no_client(tmp_path: Path) -> None:
    """A version is refused without a cookie, so the refusal must not count as a failure of the address."""
    async with dtls_bench(tmp_path, dtls={"failures_per_minute": 2}) as bench:
        forged = bench.raw()
        for _ in range(10):
            forged.send(hello(version=0xFEFF))
        await until(lambda: bench.dtls.silenced == 8)

        assert (await bench.client().connect()).dtls.established


# ---- old keys --------------------------------------------------------------------------------


async def test_a_key_that_was_replaced_during_the_handshake_is_refused(bench: DtlsBench) -> None:
    """An identity with a replaced key is no proof."""
    client = bench.psk_client()
    first, *others = [each for datagram in await last_flight(client) for each in apart(datagram)]
    await take(bench, client, first)
    await bench.fleet.psks.put(bench.device, Psk(PSK.identity, b"another key, 16+"), cause=CAUSE)
    bench.fleet.activities.clear()
    client.transmit(others)
    ((name, data),) = await bench.published(1)

    assert (name, data["reason"]) == ("clientRejected", "pskMismatch")
    assert bench.dtls.sessions == 0


async def test_an_identity_that_another_device_got_during_the_handshake_is_refused(bench: DtlsBench) -> None:
    """Otherwise the client would be identified as the other device."""
    other = await bench.fleet.device()
    client = bench.psk_client()
    first, *others = [each for datagram in await last_flight(client) for each in apart(datagram)]
    await take(bench, client, first)
    await bench.fleet.psks.remove(bench.device, cause=CAUSE)
    await bench.fleet.psks.put(other, Psk(PSK.identity, b"another key, 16+"), cause=CAUSE)
    bench.fleet.activities.clear()
    client.transmit(others)
    ((name, _),) = await bench.published(1)

    assert name == "clientRejected"
    assert bench.dtls.sessions == 0


async def test_a_device_that_moves_to_a_disabled_collection_is_disconnected(bench: DtlsBench) -> None:
    """The same happens when its own collection is disabled."""
    target = await bench.fleet.collection()
    target.enabled = False
    client = await bench.client().connect()
    await bench.names(1)
    await bench.fleet.devices.update(bench.device, DeviceChange(collection_id=target.id), cause=CAUSE)

    assert "clientDisconnected" in bench.fleet.names
    assert bench.dtls.sessions == 0
    await client.receive_close_notify()


# ---- unusual certificates --------------------------------------------------------------------


async def test_a_certificate_with_unreadable_names_is_rejected_with_an_event(bench: DtlsBench) -> None:
    """The event has no names: OpenSSL accepts a bit string as a name, cryptography does not."""
    created = Holder.root("acme").intermediate("ZZZZZZ").leaf("ZZZZZZ")
    der = created.certificate.public_bytes(Encoding.DER).replace(b"\x0c\x06ZZZZZZ", b"\x03\x06\0ZZZZZ")
    stranger = Holder(created.key, x509.load_der_x509_certificate(der))
    client = await bench.client(DtlsClient(stranger)).connect()
    ((name, data),) = await bench.published(1)

    assert (name, data["reason"]) == ("clientRejected", "unknownCa")
    assert data["remoteAddress"] == client.remote
    assert "certificateIssuer" not in data


async def test_long_names_of_a_certificate_are_truncated_in_the_event(bench: DtlsBench) -> None:
    """Clients with foreign certificates must not fill the history."""
    created = Holder.root("acme").leaf()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x" * 60)] * 40)
    long = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(created.key.public_key())
        .serial_number(7)
        .not_valid_before(created.certificate.not_valid_before_utc)
        .not_valid_after(created.certificate.not_valid_after_utc)
        .sign(created.key, hashes.SHA256())
    )
    await bench.client(DtlsClient(Holder(created.key, long))).connect()
    ((_, data),) = await bench.published(1)

    assert (len(data["certificateSubject"]), len(data["certificateIssuer"])) == (256, 256)


def sequence(octets: bytes) -> bytes:
    """Encode octets as a long DER sequence."""
    return b"\x30\x82" + len(octets).to_bytes(2, "big") + octets


def test_an_oversized_serial_number_is_omitted() -> None:
    """Python raises when a number has more than 4,300 digits."""
    plain = Holder.root().leaf(serial=0x7F).certificate
    inner = plain.tbs_certificate_bytes
    rest = plain.public_bytes(Encoding.DER).partition(inner)[2]
    grown = inner[3 if inner[1] == 0x81 else 4 :].replace(b"\x02\x01\x7f", b"\x02\x82\x0b\xb8" + b"\x7f" * 3_000, 1)
    whole = sequence(sequence(grown) + rest)

    assert details_of(x509.load_der_x509_certificate(whole)).certificate_serial is None
