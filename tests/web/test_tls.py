"""TLS of the HTTP port: the server's own certificate, files that change, and refusals."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from pathlib import Path

import aiohttp
import pytest
from structlog.testing import capture_logs
from websockets.asyncio.client import connect

from span_events.config import Config, HttpConfig
from span_events.errors import ConfigurationError
from span_events.web.tls import HttpTls
from tests.bench.certificates import Holder
from tests.bench.servers import activity, connections, running
from tests.bench.waiting import PATIENCE, until

_NO_CHECK_TIME = ssl.VerifyFlags(0x200000)
"""X509_V_FLAG_NO_CHECK_TIME, which the ssl module does not name."""


def trusting(pem: bytes) -> ssl.SSLContext:
    """Return the context of a client that trusts one root, whatever the name."""
    context = ssl.create_default_context(cadata=pem.decode())
    context.check_hostname = False
    context.verify_flags |= _NO_CHECK_TIME  # the clock of these servers is moved by hand
    return context


def write(folder: Path, holder: Holder) -> dict[str, str]:
    """Write certificate and key; return the settings that name them."""
    certificate, key = folder / "cert.pem", folder / "key.pem"
    certificate.write_bytes(holder.chain_pem)
    key.write_bytes(holder.key_pem)
    return {"tls": "files", "certificate": str(certificate), "key": str(key)}


async def serial_of(address: str, context: ssl.SSLContext) -> int:
    """Return the serial number of the certificate that the port shows."""
    host, _, port = address.rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port), ssl=context)
    shown = writer.get_extra_info("peercert")
    writer.close()
    await writer.wait_closed()
    return int(shown["serialNumber"], 16)


async def test_the_servers_own_certificate_serves_rest_and_streams(tmp_path: Path) -> None:
    """Clients trust the root that devices trust."""
    async with running(tmp_path, http={"tls": "own"}) as site:
        context, headers = trusting(site.server.authority.root_pem), {"X-API-Token": site.token}
        collection = await site.collection()
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            asyncio.timeout(PATIENCE),
            connect(f"wss://{site.http}{activity(collection)}", ssl=context, additional_headers=headers) as stream,
            session.get(f"https://{site.http}{activity(collection)}", ssl=context) as lines,
        ):
            async with session.get(f"https://{site.http}/span/collections", ssl=context) as reply:
                status = reply.status
            await site.joined(2)
            await site.device(collection)
            received = [await stream.recv(decode=False), await lines.content.readline()]

    assert status == 200
    assert received[0] == received[1]
    assert b"deviceCreated" in received[0]


async def test_a_client_without_tls_costs_only_its_connection(tmp_path: Path) -> None:
    async with running(tmp_path, http={"tls": "own"}) as site:
        host, _, port = site.http.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(PATIENCE):
            answer = await reader.read()
        writer.close()
        serial = await serial_of(site.http, trusting(site.server.authority.root_pem))

    assert not answer.startswith(b"HTTP")
    assert serial > 0


async def test_failed_handshakes_are_counted_by_reason(tmp_path: Path) -> None:
    """And logged once a minute, except those of clients that left without a word."""
    async with running(tmp_path, http={"tls": "own"}) as site:
        host, _, port = site.http.rpartition(":")
        found = site.server.web.failures.by_reason
        with capture_logs() as lines:
            for _ in range(2):
                distrusting = ssl.create_default_context().wrap_socket(socket.socket(), server_hostname=host)
                with distrusting, pytest.raises(ssl.SSLCertVerificationError):  # asyncio's would send no alert
                    await asyncio.to_thread(distrusting.connect, (host, int(port)))
            for octets in (b"", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"):
                before = found.total()
                _, writer = await asyncio.open_connection(host, int(port))
                writer.write(octets)
                writer.close()
                await until(lambda seen=before: found.total() > seen)  # type: ignore[misc]
            await until(lambda: found.total() == 4)
        (reasons,) = (each.value() for each in site.server.web.metrics() if each.name == "http_handshakes_failed")

    assert reasons == {"clientAlert": 2, "aborted": 1, "notTls": 1}
    logged = [(each["reason"], each["count"]) for each in lines if each["event"] == "handshake_failed"]
    assert logged == [("clientAlert", 1), ("notTls", 1)]


@pytest.mark.parametrize("suite", ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"])
async def test_the_servers_own_certificate_of_each_kind_of_key_is_served(tmp_path: Path, suite: str) -> None:
    """Some clients have no elliptic curves in certificates."""
    async with running(tmp_path, http={"tls": "own"}) as site:
        context = trusting(site.server.authority.root_pem)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(suite)
        assert await serial_of(site.http, context) > 0


async def test_a_renewed_certificate_is_shown_to_new_connections(tmp_path: Path) -> None:
    """A tool that renews certificates replaces the files, one after the other; the server needs no restart."""
    root = Holder.root()
    first, second, third = (root.leaf(server=True) for _ in range(3))
    files = tmp_path / "tls"
    files.mkdir()
    async with running(tmp_path / "data", http=write(files, first)) as site:
        before = await serial_of(site.http, trusting(root.pem))
        write(files, second)
        os.utime(files / "cert.pem", ns=(1, 1))  # another time, however coarse the file system's clock is
        assert site.server.web.tls is not None
        site.server.web.tls.refresh()
        after = await serial_of(site.http, trusting(root.pem))
        (files / "cert.pem").write_bytes(b"half a fi")
        site.server.web.tls.refresh()
        cut = await serial_of(site.http, trusting(root.pem))
        (files / "cert.pem").write_bytes(third.chain_pem)
        site.server.web.tls.refresh()
        without_its_key = await serial_of(site.http, trusting(root.pem))
        (files / "key.pem").write_bytes(third.key_pem)
        os.utime(files / "key.pem", ns=(2, 2))
        site.server.web.tls.refresh()
        whole = await serial_of(site.http, trusting(root.pem))

    assert before == first.certificate.serial_number
    assert after == cut == without_its_key == second.certificate.serial_number
    assert whole == third.certificate.serial_number


async def test_clients_without_a_handshake_make_room_for_others(tmp_path: Path) -> None:
    async with running(tmp_path, http={"tls": "own", "connections": 4}) as site:
        host, _, port = site.http.rpartition(":")
        silent = [await asyncio.open_connection(host, int(port)) for _ in range(6)]
        async with asyncio.timeout(PATIENCE):
            await serial_of(site.http, trusting(site.server.authority.root_pem))

        assert len(site.server.web) <= 4
        for _, writer in silent:
            writer.close()


async def test_a_displaced_client_cannot_hold_its_connection_by_silence(tmp_path: Path) -> None:
    """An orderly end of TLS would wait for its close_notify."""
    async with running(tmp_path, http={"tls": "own", "connections": 2}) as site:
        context = trusting(site.server.authority.root_pem)
        host, _, port = site.http.rpartition(":")
        mute = []
        for _ in range(3):
            client = context.wrap_socket(socket.socket())
            await asyncio.to_thread(client.connect, (host, int(port)))
            mute.append(client)
        await until(lambda: connections(site) == 2)
        for client in mute:
            client.close()


async def test_a_client_without_a_handshake_does_not_delay_the_shutdown(tmp_path: Path) -> None:
    async with running(tmp_path, http={"tls": "own", "header_timeout": 600.0}) as site:
        host, _, port = site.http.rpartition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        await until(lambda: len(site.server.web) == 1)
        began = asyncio.get_running_loop().time()
    writer.close()

    assert asyncio.get_running_loop().time() - began < 30


@pytest.mark.parametrize("fault", ["missing", "no certificate", "another key"])
def test_a_faulty_certificate_is_refused_at_start(tmp_path: Path, fault: str) -> None:
    """With the name of the setting."""
    root = Holder.root()
    settings = write(tmp_path, root.leaf(server=True))
    if fault == "missing":
        (tmp_path / "cert.pem").unlink()
    elif fault == "no certificate":
        (tmp_path / "cert.pem").write_text("nothing")
    else:
        (tmp_path / "key.pem").write_bytes(root.leaf(server=True).key_pem)

    with pytest.raises(ConfigurationError, match=r"http\.certificate"):
        HttpTls(HttpConfig.model_validate(settings), list)


@pytest.mark.parametrize("settings", [{"tls": "files"}, {"certificate": "x.pem"}])
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="certificate"):
        Config(http=HttpConfig.model_validate(settings))
