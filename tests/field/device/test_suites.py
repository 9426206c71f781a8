"""Findings of the field about cipher suites: which credentials a client has is not in its hello."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.bench.peers.handmade_dtls import HandmadeClient, extension
from tests.bench.waiting import PATIENCE
from tests.listeners.dtls.bench import PSK, DtlsBench, address_of, dtls_bench
from tests.wire.dtls.client import DtlsClient

WOLFSSL = Path(__file__).parents[2] / "bench" / "peers" / "wolfssl_client.c"
SESSION = ["clientConnected", "upstreamMessage", "clientDisconnected"]
ECDHE_PSK_CHACHA20 = 0xCCAC
ECDHE_ECDSA_AES128_GCM = 0xC02B
BOTH: dict[str, Any] = {
    "suites": (0xC02C, 0xC02B, 0xC030, 0xC02F, 0xCCAC, 0xCCAB, 0xC037),
    "extensions": extension(10, bytes.fromhex("0008001900180017001d"))
    + extension(13, bytes.fromhex("000404030401"))
    + extension(11, b"\x01\0"),
}
"""The offer of wolfSSL, with either kind of credentials."""
SECP256R1 = 23


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[DtlsBench]:
    async with dtls_bench(tmp_path) as started:
        yield started


@pytest.fixture(scope="session")
def wolfssl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the client on wolfSSL."""
    program = tmp_path_factory.mktemp("wolfssl") / "wolfssl_client"
    subprocess.run(["gcc", "-o", program, WOLFSSL, "-lwolfssl"], check=True)
    return program


async def run(program: Path, bench: DtlsBench, *credentials: str | Path) -> str:
    """Run the client once; return its output."""
    root = program.parent / "root.pem"
    root.write_bytes(bench.fleet.authority.root_pem)
    host, port = address_of(bench.datagrams)
    process = await asyncio.create_subprocess_exec(
        program, host, str(port), root, *credentials, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(PATIENCE):
        output, _ = await process.communicate()
    return output.decode()


async def offer(bench: DtlsBench, **offered: Any) -> HandmadeClient:
    """Send a hello from a new port; return the client with the answer."""
    client = HandmadeClient(address_of(bench.datagrams), **offered)
    await asyncio.to_thread(client.greet)
    await asyncio.to_thread(client.await_server_hello)
    return client


# ---- the kind of suites -----------------------------------------------------------------------


async def test_device_01_wolfssl_connects_with_a_certificate_and_with_a_psk(
    bench: DtlsBench, wolfssl: Path, tmp_path: Path
) -> None:
    """Its hellos are alike; whichever comes second is answered with the wrong suites once, and comes again."""
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_bytes(bench.holder.chain_pem)
    key.write_bytes(bench.holder.key_pem)
    kinds: dict[str, tuple[str | Path, ...]] = {
        "ECDHE-ECDSA-AES128-GCM-SHA256": ("cert", chain, key),
        "ECDHE-PSK-CHACHA20-POLY1305": ("psk", PSK.identity.decode(), PSK.key.decode()),
    }
    for suite, credentials in (*kinds.items(), *kinds.items()):
        outputs = [await run(wolfssl, bench, *credentials) for _ in range(3)]
        assert suite not in outputs[0]
        assert all(f"connected with {suite}" in each for each in outputs[1:])


async def test_device_01_a_client_that_stopped_after_a_psk_suite_is_answered_with_certificates(
    bench: DtlsBench,
) -> None:
    """Californium and wolfSSL list suites with PSK without having one."""
    with await offer(bench, **BOTH) as first, await offer(bench, **BOTH) as again:
        assert (first.chosen, again.chosen) == (ECDHE_PSK_CHACHA20, ECDHE_ECDSA_AES128_GCM)


async def test_device_01_a_client_that_stopped_after_a_certificate_is_answered_with_a_psk_suite(
    bench: DtlsBench,
) -> None:
    """So no order of attempts locks a client out."""
    chosen = []
    for _ in range(3):
        with await offer(bench, **BOTH) as client:
            chosen.append(client.chosen)

    assert chosen == [ECDHE_PSK_CHACHA20, ECDHE_ECDSA_AES128_GCM, ECDHE_PSK_CHACHA20]


async def test_device_01_psk_clients_that_list_certificates_first_connect_each_time(bench: DtlsBench) -> None:
    """The modem BG96 and OpenSSL's client do so."""
    for _ in range(3):
        mixed = DtlsClient(psk=(PSK.identity, PSK.key), ciphers="ECDHE-ECDSA-AES128-GCM-SHA256:PSK-AES128-GCM-SHA256")
        await bench.client(mixed).connect()
        assert mixed.established, mixed.failure


async def test_device_01_hellos_beside_an_open_psk_session_of_the_same_offer_get_psk_suites(bench: DtlsBench) -> None:
    """Many devices behind one NAT handshake at the same time after a restart of the server."""
    ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256:PSK-AES128-GCM-SHA256"
    await bench.client(DtlsClient(psk=(PSK.identity, PSK.key), ciphers=ciphers)).connect()
    waiting = [bench.client(DtlsClient(psk=(PSK.identity, PSK.key), ciphers=ciphers)) for _ in range(3)]
    for each in waiting:
        await each.greet()
    for each in waiting:
        while not each.dtls.established:
            each.transmit(each.dtls.step(await each.receive()))
            assert not each.dtls.failure

    assert bench.dtls.completed == 4


async def test_device_01_the_event_names_the_chosen_suite(tmp_path: Path) -> None:
    """So the developer sees that the server waits for a PSK."""
    async with dtls_bench(tmp_path, dtls={"handshake_timeout": 0.2}) as bench:
        with await offer(bench, **BOTH):
            ((name, data),) = await bench.published(1)

    assert (name, data["reason"]) == ("clientRejected", "handshakeTimeout")
    assert data["cipher"] == "ECDHE-PSK-CHACHA20-POLY1305"


# ---- the elliptic curve -----------------------------------------------------------------------


async def test_device_02_the_curve_is_the_first_of_the_client_that_is_served(bench: DtlsBench) -> None:
    """The ECDHE-PSK of wolfSSL is wrong with X25519, which it lists last."""
    curves = extension(10, bytes.fromhex("00040017001d"))
    with await offer(bench, suites=(0xC037,), extensions=curves) as client:
        exchange = client.messages[1]

    hint = int.from_bytes(exchange[12:14], "big")
    assert exchange[14 + hint] == 3  # named curve
    assert int.from_bytes(exchange[15 + hint : 17 + hint], "big") == SECP256R1
