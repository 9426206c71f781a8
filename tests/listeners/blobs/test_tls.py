"""The port for blobs with client certificates: curl, and handshakes that fail."""

from __future__ import annotations

import asyncio
import datetime as dt
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from span_events.fleet.devices.devices import DeviceChange
from span_events.metrics import exposition
from span_events.wire.openssl import Identity
from tests.bench.certificates import Holder
from tests.bench.fleets import CAUSE
from tests.bench.waiting import until
from tests.listeners.blobs.bench import (
    BlobBench,
    Credentials,
    blob_bench,
    identities,
    present,
    serial_shown,
    tls_client,
)

DAY = 86_400.0
OCTETS = ("--data-binary", "octets")


@pytest.fixture
async def blobs(tmp_path: Path) -> AsyncIterator[BlobBench]:
    """Both ports at the present time, by which curl judges the server's certificate; no device has an address."""
    async with blob_bench(tmp_path, address="", clock=present()) as bench:
        yield bench


@pytest.fixture
async def credentials(blobs: BlobBench) -> Credentials:
    """A certificate of the device."""
    found = await blobs.credentials()
    blobs.fleet.activities.clear()
    return found


def rejected(bench: BlobBench) -> dict[str, str]:
    """Return the data of the only event, which says that a client was not let in."""
    ((name, data),) = bench.fleet.drain()
    assert name == "clientRejected"
    assert data["transport"] == "https"
    assert data["remoteAddress"].startswith("127.0.0.1:")
    return data


def foreign(folder: Path, holder: Holder) -> Credentials:
    """Write the files of a client that has its certificate from somebody else."""
    found = Credentials(folder / "foreign.crt", folder / "foreign.pem", holder.certificate.serial_number)
    found.certificate.write_bytes(holder.chain_pem)
    found.key.write_bytes(holder.key_pem)
    return found


@pytest.mark.parametrize("version", ["1.2", "1.3"])
async def test_a_certificate_identifies_the_device(blobs: BlobBench, credentials: Credentials, version: str) -> None:
    """As `span-events cert create` writes it; the address says nothing."""
    answer = await blobs.secure_curl(*OCTETS, "--tls-max", version, f"--tlsv{version}", credentials=credentials)
    (blob,) = blobs.blobs

    assert answer.status == 200
    assert blob.device_id == blobs.device.id
    assert blobs.contents == [b"octets"]
    assert blobs.fleet.names == ["blobUpload"]


async def test_a_large_blob_is_stored_whole(blobs: BlobBench, credentials: Credentials, tmp_path: Path) -> None:
    """Over as many records as it takes."""
    content = bytes(range(256)) * 12_000
    (tmp_path / "large").write_bytes(content)
    answer = await blobs.secure_curl("--data-binary", f"@{tmp_path / 'large'}", credentials=credentials)
    await until(lambda: blobs.secure.octets > len(content))

    assert answer.status == 200
    assert blobs.contents == [content]
    assert b"\nspan_events_blobs_tls_handshake_duration_seconds_count 1.0\n" in exposition(blobs.secure.metrics)()


async def test_an_intermediate_may_be_left_out(blobs: BlobBench, credentials: Credentials) -> None:
    """The server knows it, though it was made after the server started."""
    leaf, end, _ = credentials.certificate.read_bytes().partition(b"-----END CERTIFICATE-----\n")
    credentials.certificate.write_bytes(leaf + end)

    assert (await blobs.secure_curl(*OCTETS, credentials=credentials)).status == 200


# ---- certificates that are right, but do not let anybody in ----------------------------------


async def test_a_revoked_certificate_is_refused(blobs: BlobBench, credentials: Credentials) -> None:
    await blobs.fleet.certificates.revoke(blobs.collection, credentials.serial)
    answer = await blobs.secure_curl(*OCTETS, credentials=credentials)

    assert (answer.status, answer.text[:20]) == (403, "certificateRevoked: ")
    assert blobs.fleet.events[0].origin == blobs.device.origin
    data = rejected(blobs)
    assert (data["reason"], data["certificateSerial"]) == ("certificateRevoked", str(credentials.serial))


async def test_an_expired_certificate_is_refused(blobs: BlobBench, credentials: Credentials) -> None:
    """By our clock, and with the device that it belongs to: OpenSSL alone would not say whose it was."""
    blobs.fleet.clock.shift(15 * DAY)
    answer = await blobs.secure_curl(*OCTETS, credentials=credentials)

    assert (answer.status, answer.text[:20]) == (403, "certificateExpired: ")
    assert blobs.fleet.events[0].origin == blobs.device.origin
    data = rejected(blobs)
    assert data["reason"] == "certificateExpired"
    assert dt.datetime.fromisoformat(data["notAfter"]) > dt.datetime.fromisoformat(data["notBefore"])


async def test_a_certificate_that_is_not_valid_yet_is_refused(blobs: BlobBench, credentials: Credentials) -> None:
    """One of the two clocks is wrong."""
    blobs.fleet.clock.shift(-2 * 3600.0)
    answer = await blobs.secure_curl(*OCTETS, credentials=credentials)

    assert (answer.status, rejected(blobs)["reason"]) == (403, "certificateNotYetValid")


async def test_the_certificate_of_a_removed_device_is_refused(blobs: BlobBench, credentials: Credentials) -> None:
    """The event belongs to the collection, at least."""
    await blobs.fleet.devices.remove(blobs.device, cause=CAUSE)
    blobs.fleet.activities.clear()
    answer = await blobs.secure_curl(*OCTETS, credentials=credentials)

    assert blobs.fleet.events[0].origin.collection_id == blobs.collection.id
    assert (answer.status, rejected(blobs)["reason"]) == (403, "unknownDevice")


@pytest.mark.parametrize("what", ["device", "collection"])
async def test_a_disabled_device_is_refused(blobs: BlobBench, credentials: Credentials, what: str) -> None:
    """As in a DTLS handshake."""
    if what == "device":
        await blobs.fleet.devices.update(blobs.device, DeviceChange(enabled=False), cause=CAUSE)
    else:
        blobs.collection.enabled = False
    blobs.fleet.activities.clear()
    answer = await blobs.secure_curl(*OCTETS, credentials=credentials)

    assert (answer.status, rejected(blobs)["reason"]) == (403, f"{what}Disabled")


async def test_a_failed_request_is_attributed_to_its_device(blobs: BlobBench, credentials: Credentials) -> None:
    """Whose it is shows before anything was admitted."""
    answer = await blobs.secure_curl("-d", "x", "-H", "Bad Name: x", credentials=credentials)

    assert answer.status == 400
    assert blobs.fleet.events[0].origin == blobs.device.origin
    assert blobs.fleet.drain()[0][1]["reason"] == "malformed"


async def test_a_certificate_that_expires_soon_is_published(blobs: BlobBench, credentials: Credentials) -> None:
    blobs.fleet.clock.shift(12 * DAY)
    await blobs.secure_curl(*OCTETS, credentials=credentials)

    assert sorted(blobs.fleet.names) == ["blobUpload", "certificateExpiring"]


# ---- handshakes that fail --------------------------------------------------------------------


async def test_a_certificate_of_another_authority_is_refused(blobs: BlobBench, tmp_path: Path) -> None:
    """The client hears why, and the event is nobody's."""
    leaf = Holder.root("other").intermediate().leaf()
    answer = await blobs.secure_curl(*OCTETS, credentials=foreign(tmp_path, leaf))

    assert answer.status == 0
    assert "alert unknown ca" in answer.text
    assert blobs.fleet.events[0].origin.collection_id is None
    assert rejected(blobs)["reason"] == "unknownCa"


@pytest.mark.parametrize(("version", "alert"), [("1.2", "handshake failure"), ("1.3", "certificate required")])
async def test_a_client_without_a_certificate_is_refused(blobs: BlobBench, version: str, alert: str) -> None:
    answer = await blobs.secure_curl(*OCTETS, "--tls-max", version)

    assert alert in answer.text
    assert rejected(blobs)["reason"] == "noCredentials"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--tls-max", "1.1"), "unsupportedVersion"),
        (("--tls-max", "1.2", "--ciphers", "AES128-SHA"), "noSharedCipher"),
    ],
)
async def test_a_missing_common_version_or_cipher_is_published(
    blobs: BlobBench, credentials: Credentials, arguments: tuple[str, ...], reason: str
) -> None:
    answer = await blobs.secure_curl(*OCTETS, *arguments, credentials=credentials)

    assert answer.status == 0
    assert rejected(blobs)["reason"] == reason


async def test_a_client_that_rejects_the_server_is_published(
    blobs: BlobBench, credentials: Credentials, tmp_path: Path
) -> None:
    """It sends an alert before it gives up."""
    other = tmp_path / "other.pem"
    other.write_bytes(Holder.root("other").pem)
    await blobs.secure_curl(*OCTETS, "--cacert", str(other), credentials=credentials)
    await until(lambda: blobs.fleet.names != [])
    data = rejected(blobs)

    assert (data["reason"], data["detail"]) == ("clientAlert", "unknown ca")


async def test_http_without_tls_is_published(blobs: BlobBench) -> None:
    """Somebody has mistaken the port."""
    with blobs.client(blobs.secure) as client:
        await client.send(b"POST / HTTP/1.1\r\n\r\n")
        await client.receive()
    data = rejected(blobs)

    assert (data["reason"], data["detail"]) == (
        "handshakeFailed",
        "this is HTTP without TLS; that has a port of its own",
    )


async def test_a_client_that_leaves_during_its_handshake_is_published(blobs: BlobBench) -> None:
    """One that says nothing at all has only looked whether the port is open."""
    with blobs.client(blobs.secure) as client:
        client.end()
        await client.receive()
    silent = blobs.fleet.names
    with blobs.client(blobs.secure) as client:
        await client.send(b"\x16\x03\x01\x02\x00")
        client.end()
        await client.receive()
    data = rejected(blobs)

    assert silent == []
    assert (data["reason"], data["detail"]) == ("handshakeFailed", "the client closed the connection")


async def test_a_stalled_handshake_times_out(tmp_path: Path) -> None:
    async with blob_bench(tmp_path, blobs={"header_timeout": 0.05}) as blobs:
        with blobs.client(blobs.secure) as client:
            await client.send(b"\x16\x03\x01\x02\x00")
            await until(lambda: blobs.fleet.names != [])

        assert rejected(blobs)["reason"] == "handshakeTimeout"


async def test_a_client_without_a_request_is_attributed_to_its_device(tmp_path: Path) -> None:
    """There is no request yet, but there is somebody to blame."""
    async with blob_bench(tmp_path, blobs={"header_timeout": 2.0}) as blobs:
        credentials = await blobs.credentials()
        with await tls_client(blobs.secure.address, credentials) as client:
            await until(lambda: blobs.fleet.names != [])
            said = await asyncio.to_thread(client.recv, 1000)

        assert said.startswith(b"HTTP/1.1 408 ")
        assert blobs.fleet.events[0].origin == blobs.device.origin
        assert blobs.fleet.drain()[0][1]["reason"] == "tooSlow"


async def test_an_upload_that_ends_without_close_notify_is_incomplete(tmp_path: Path) -> None:
    """The end of TLS is none of TCP, and the other way round; both are the end."""
    async with blob_bench(tmp_path) as blobs:
        credentials = await blobs.credentials()
        with await tls_client(blobs.secure.address, credentials) as client:
            client.sendall(b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nhalf")
            await until(lambda: blobs.files != [])
            client.shutdown(socket.SHUT_RDWR)
        await until(lambda: blobs.fleet.names != [])
        await until(lambda: blobs.files == [])

        assert blobs.fleet.drain()[0][1]["detail"] == "the connection ended after 4 of 10 octets"


# ---- the server's own certificate ------------------------------------------------------------


async def test_a_renewed_certificate_is_shown_to_the_next_client(tmp_path: Path) -> None:
    """Nothing is bound anew."""
    async with blob_bench(tmp_path) as blobs:
        credentials = await blobs.credentials()
        before = await serial_shown(blobs.secure.address, credentials)
        blobs.fleet.clock.shift(80 * DAY)
        renewed = await blobs.fleet.authority.renew()
        blobs.engine.present(identities(blobs.fleet.authority))
        after = await serial_shown(blobs.secure.address, credentials)

        assert renewed
        assert before != after


async def test_an_unreadable_certificate_does_not_replace_the_current_one(
    blobs: BlobBench, credentials: Credentials
) -> None:
    """A renewal that fails must not shut devices out."""
    broken = Identity(b"no key", b"no certificate")
    with pytest.raises(ValueError, match="PEM"):
        blobs.engine.present([broken])
    answer = await blobs.secure_curl(*OCTETS, credentials=credentials)

    assert answer.status == 200
