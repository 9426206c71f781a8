"""Gateways that do not accept this server: its certificate, or the name in it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator

import pytest

from span_events.events.reasons import GatewayReason, GatewayRejectedReason
from span_events.wire.tls.connections import Closed, End
from tests.listeners.gateways.bench import GATEWAY, ROOT, GatewayBench, gateway_bench
from tests.wire.grpc.client import GrpcClient
from tests.wire.tls.alert_client import AlertClient
from tests.wire.tls.client import TlsClient

VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


@pytest.fixture
async def bench() -> AsyncIterator[GatewayBench]:
    """A listener with default settings."""
    async with gateway_bench() as opened:
        yield opened


@VERSIONS
async def test_a_gateway_that_expects_another_name_is_reported(bench: GatewayBench, version: ssl.TLSVersion) -> None:
    """The gateway trusts the certificate, but not for the dialled name."""
    await bench.client(trusted=ROOT, name="wrong.example", version=version).connect()
    reason, details = await bench.rejection()

    assert reason is GatewayRejectedReason.SERVER_CERTIFICATE_REFUSED
    assert (details["detail"], details["stage"]) == ("bad certificate", "tls")


@VERSIONS
@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (42, (GatewayRejectedReason.SERVER_CERTIFICATE_REFUSED, "bad certificate")),
        (80, (GatewayRejectedReason.HTTP2_ERROR, "the gateway sent the TLS alert internal error")),
    ],
)
async def test_an_alert_after_the_handshake_is_reported(
    bench: GatewayBench, version: ssl.TLSVersion, number: int, expected: tuple[GatewayRejectedReason, str]
) -> None:
    """Some libraries check the certificate only after the handshake."""
    client = AlertClient(GATEWAY, version.name.replace("v1_", "v1."))
    reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
    octets = client.step()
    while octets:
        writer.write(octets)
        if client.is_established:
            break
        octets = client.step(await reader.read(65_536))
    writer.write(client.alert(number))
    reason, details = await bench.rejection()
    writer.close()

    assert ((reason, details["detail"]), details["stage"]) == (expected, "http2")


async def test_an_alert_on_the_stream_ends_it(bench: GatewayBench) -> None:
    """The session ends with the alert as its reason."""
    client = await bench.client(version=ssl.TLSVersion.TLSv1_2).serve()
    session = await bench.session()
    session.link._take_close(Closed(End.ALERT, "bad certificate", refuses_us=True))
    reason, detail = await bench.end(session)

    assert await client.gone() == "eof"
    assert (reason, detail) == (GatewayReason.TLS_ERROR, "the gateway sent the TLS alert bad certificate")


@VERSIONS
@pytest.mark.parametrize("speaks", [False, True])
async def test_a_close_before_http2_suggests_a_wrong_name(
    bench: GatewayBench, version: ssl.TLSVersion, speaks: bool
) -> None:
    """Some libraries check the name after the handshake, and only close; a client that started HTTP/2 accepted it."""
    tls_client, grpc_client = TlsClient(GATEWAY, version=version), GrpcClient()
    reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
    writer.write(tls_client.step())
    while not tls_client.established:
        writer.write(tls_client.step(await reader.read(65_536)))
    if speaks:
        writer.write(tls_client.send(grpc_client.take()))
    writer.write(tls_client.close())
    reason, details = await bench.rejection()
    writer.close()
    doubt = "perhaps it does not accept this server's name or certificate (it asked for localhost)"

    assert reason is GatewayRejectedReason.NO_STREAM
    assert (doubt in details["detail"]) is not speaks
