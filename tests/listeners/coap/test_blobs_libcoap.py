"""Blobs uploaded with libcoap's clients, over CoAP and CoAPS."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from span_events.ids import render
from span_events.wire.coap.messages import Code
from tests.bench.programs import output_of
from tests.listeners.coap.bench import CoapBench
from tests.listeners.coap.blob_bench import (
    BODY,
    METHOD,
    blob_bench,
    contents,
    services,
)
from tests.listeners.dtls.bench import DtlsBench, address_of, dtls_bench

COAP_CLIENT = pytest.mark.parametrize("coap_client", ["coap-client-openssl", "coap-client-gnutls"])


@pytest.fixture
async def coap(tmp_path: Path) -> AsyncIterator[CoapBench]:
    """A CoAP listener with small limits for blobs."""
    async with blob_bench(tmp_path) as bench:
        yield bench


@pytest.fixture
async def secure(tmp_path: Path) -> AsyncIterator[DtlsBench]:
    """CoAP over DTLS."""
    async with dtls_bench(tmp_path, services=services) as bench:
        yield bench


@COAP_CLIENT
@METHOD
@pytest.mark.parametrize("size", ["64", "1024"])
async def test_libcoap_uploads_a_file(
    coap: CoapBench, tmp_path: Path, coap_client: str, method: str, code: Code, size: str
) -> None:
    """In blocks of any size; the events are those of one blob, not of a hundred messages."""
    file = tmp_path / "photo.jpg"
    file.write_bytes(BODY)
    output = await output_of(
        *(coap_client, "-B", "60", "-v", "7", "-b", size, "-m", method, "-f", str(file)),
        f"coap://127.0.0.1:{coap.server[1]}/blob",
    )
    (blob,) = coap.fleet.directory.blobs.of(coap.device.collection.id)
    told = coap.fleet.drain()

    assert f"{code >> 5}.{code & 31:02}" in output
    assert contents(coap.fleet) == [BODY]
    assert blob.properties.items() >= {"method": method.upper(), "path": "/blob"}.items()
    assert blob.properties["address"].startswith("127.0.0.1:")
    assert [name for name, _ in told] == ["clientConnected", "blobUpload"]
    assert told[1][1] == {
        "blobId": render(blob.id),
        "size": str(len(BODY)),
        "contentType": "image/jpeg",
        "path": "/blob",
    }


@COAP_CLIENT
@METHOD
async def test_libcoap_uploads_a_file_over_dtls(
    secure: DtlsBench, tmp_path: Path, coap_client: str, method: str, code: Code
) -> None:
    """The device authenticates with its certificate."""
    authority = secure.fleet.authority
    names = ("photo.jpg", "cert.crt", "key.pem", "root.pem")
    octets = (BODY, secure.holder.chain_pem + authority.root_pem, secure.holder.key_pem, authority.root_pem)
    file, certificate, key, root = (tmp_path / each for each in names)
    for path, content in zip((file, certificate, key, root), octets, strict=True):
        path.write_bytes(content)
    await output_of(
        *(coap_client, "-B", "60", "-c", str(certificate), "-j", str(key), "-R", str(root)),
        *("-m", method, "-f", str(file), f"coaps://127.0.0.1:{address_of(secure.coaps)[1]}/blob"),
    )

    assert await secure.names(3) == ["clientConnected", "blobUpload", "clientDisconnected"]
    assert contents(secure.fleet) == [BODY]


async def test_libcoap_uploads_a_blob_despite_packet_loss(coap: CoapBench, tmp_path: Path) -> None:
    """The client retransmits lost datagrams, the first and the last block included."""
    file = tmp_path / "photo.jpg"
    file.write_bytes(BODY[:4_000])
    await output_of(
        *("coap-client-openssl", "-B", "60", "-l", "1,4,7", "-m", "post", "-f", str(file)),
        f"coap://127.0.0.1:{coap.server[1]}/blob",
    )

    assert contents(coap.fleet) == [BODY[:4_000]]
    assert coap.fleet.names == ["clientConnected", "blobUpload"]
