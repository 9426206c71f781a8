"""DTLS and CoAPS with the clients of OpenSSL, GnuTLS and libcoap, as the README shows them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.bench.fleets import CAUSE
from tests.bench.programs import run
from tests.bench.waiting import until
from tests.listeners.dtls.bench import PSK, DtlsBench, address_of, dtls_bench

BODY = b"".join(b"line %06d of the file\n" % number for number in range(125))
"""3,000 octets."""
CREDENTIALS = pytest.mark.parametrize("credentials", ["certificate", "psk"])
COAP = pytest.mark.parametrize("coap_client", ["coap-client-openssl", "coap-client-gnutls"])
SESSION = ["clientConnected", "upstreamMessage", "clientDisconnected"]


@dataclass(frozen=True)
class Clients:
    """The listeners, and the files of the device."""

    bench: DtlsBench
    certificate: Path
    key: Path
    root: Path
    folder: Path

    async def run(self, program: str, *arguments: str | Path, line: str = "") -> str:
        """Run a client with one line of input; return its output."""
        return (await run(program, *map(str, arguments), typed=line)).printed

    async def s_client(self, *arguments: str | Path) -> str:
        """Run OpenSSL's client, which must accept the server's certificate."""
        host, port = address_of(self.bench.datagrams)
        output = await self.run(
            "openssl",
            *("s_client", "-dtls1_2", "-connect", f"{host}:{port}", "-CAfile", self.root, "-verify_return_error"),
            *arguments,
            line="hello span\n",
        )
        assert "Verify return code: 0 (ok)" in output, output
        return output

    async def coap(self, program: str, credentials: str, *arguments: str | Path) -> str:
        """Run libcoap's client."""
        shown: dict[str, list[str | Path]] = {
            "certificate": ["-c", self.certificate, "-j", self.key, "-R", self.root],
            "psk": ["-u", PSK.identity.decode(), "-k", PSK.key.decode()],
        }
        host, port = address_of(self.bench.coaps)
        return await self.run(program, "-B", "60", *shown[credentials], *arguments, f"coaps://{host}:{port}/data")


@pytest.fixture
async def clients(tmp_path: Path) -> AsyncIterator[Clients]:
    """Listeners, and a device with its certificate in the files of `span-events cert create`."""
    async with dtls_bench(tmp_path) as bench:
        created = Clients(bench, *(tmp_path / each for each in ("cert.crt", "key.pem", "root.pem", "fetched")))
        created.root.write_bytes(bench.fleet.authority.root_pem)
        created.certificate.write_bytes(bench.holder.chain_pem + bench.fleet.authority.root_pem)
        created.key.write_bytes(bench.holder.key_pem)
        yield created


@pytest.mark.parametrize(
    ("options", "cipher"),
    [
        ([], "ECDHE-ECDSA-AES128-GCM-SHA256"),
        (["-cipher", "ECDHE-ECDSA-AES128-CCM8:@SECLEVEL=0"], "ECDHE-ECDSA-AES128-CCM8"),
        (["-cipher", "ECDHE-RSA-AES128-GCM-SHA256"], "ECDHE-RSA-AES128-GCM-SHA256"),
        (["-mtu", "300"], "ECDHE-ECDSA-AES128-GCM-SHA256"),
    ],
)
async def test_openssl_with_a_certificate(clients: Clients, options: list[str], cipher: str) -> None:
    """Exactly three events; the client sends its leaf alone."""
    output = await clients.s_client("-cert", clients.certificate, "-key", clients.key, *options)
    published = await clients.bench.published(3)

    assert f"Cipher is {cipher}" in output
    assert [name for name, _ in published] == SESSION
    assert published[0][1]["cipher"] == cipher
    assert clients.bench.fleet.messages[0].payload == b"hello span\n"


@pytest.mark.parametrize(
    "options", [[], ["-cipher", "PSK-AES128-GCM-SHA256"], ["-cipher", "PSK-AES128-CCM8:@SECLEVEL=0"]]
)
async def test_openssl_with_a_psk(clients: Clients, options: list[str]) -> None:
    """Without any more options, too."""
    await clients.s_client("-psk_identity", PSK.identity.decode(), "-psk", PSK.key.hex(), *options)
    published = await clients.bench.published(3)

    assert [name for name, _ in published] == SESSION
    assert published[0][1]["id"] == "psk"


async def test_openssl_with_dtls_1_0(clients: Clients) -> None:
    """F13, by a real client."""
    host, port = address_of(clients.bench.datagrams)
    output = await clients.run(
        "openssl", "s_client", "-dtls1", "-connect", f"{host}:{port}", "-cipher", "ALL:@SECLEVEL=0"
    )
    ((_, data),) = await clients.bench.published(1)

    assert (data["reason"], data["offered"]) == ("unsupportedVersion", "DTLS 1.0")
    assert "alert protocol version" in output


async def test_openssl_that_wants_another_name(clients: Clients) -> None:
    """It trusts the certificate, but not for that name; OpenSSL tells so by a bad_certificate."""
    host, port = address_of(clients.bench.datagrams)
    checks = ("-CAfile", clients.root, "-verify_return_error", "-verify_hostname", "wrong.example")
    await clients.run("openssl", "s_client", "-dtls1_2", "-connect", f"{host}:{port}", *checks)
    ((_, data),) = await clients.bench.published(1)

    assert data["reason"] == "clientAlert"
    assert data["detail"].startswith("bad certificate; ")


@CREDENTIALS
async def test_gnutls(clients: Clients, credentials: str) -> None:
    """GnuTLS has its own implementation of the record layer."""
    host, port = address_of(clients.bench.datagrams)
    shown: dict[str, list[str | Path]] = {
        "certificate": ["--x509certfile", clients.certificate, "--x509keyfile", clients.key],
        "psk": [
            *("--pskusername", PSK.identity.decode(), "--pskkey", PSK.key.hex()),
            *("--priority", "NORMAL:-KX-ALL:+PSK"),
        ],
    }
    arguments = ["--udp", "--port", str(port), "--x509cafile", clients.root, *shown[credentials], host]
    output = await clients.run("gnutls-cli", *arguments, line="hello span\n")

    assert "Handshake was completed" in output
    assert await clients.bench.names(3) == SESSION


@COAP
@CREDENTIALS
async def test_libcoap_posts(clients: Clients, coap_client: str, credentials: str) -> None:
    """One message, one session."""
    await clients.coap(coap_client, credentials, "-m", "post", "-e", "hello")
    published = await clients.bench.published(3)

    assert [name for name, _ in published] == SESSION
    assert (published[1][1]["transport"], published[1][1]["path"]) == ("coaps", "/data")


@COAP
@CREDENTIALS
async def test_libcoap_fetches_a_waiting_message(clients: Clients, coap_client: str, credentials: str) -> None:
    """By a GET, in blocks."""
    await clients.bench.fleet.outbox.queue(clients.bench.device, BODY, cause=CAUSE)
    clients.bench.fleet.activities.clear()
    await clients.coap(coap_client, credentials, "-m", "get", "-o", clients.folder)

    assert clients.folder.read_bytes() == BODY
    assert await clients.bench.names(3) == ["clientConnected", "downstreamMessage", "clientDisconnected"]


@COAP
@CREDENTIALS
async def test_libcoap_posts_in_blocks(clients: Clients, coap_client: str, credentials: str) -> None:
    """3,000 octets arrive as one message, and nothing of the transfer is left."""
    clients.folder.write_bytes(BODY)
    await clients.coap(coap_client, credentials, "-m", "post", "-f", clients.folder)

    assert await clients.bench.names(3) == SESSION
    assert [each.payload for each in clients.bench.fleet.messages] == [BODY]
    await until(lambda: clients.bench.coaps.endpoint.remembered_exchanges == 0)
