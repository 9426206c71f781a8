"""Unidentified clients: the reasons of their rejection, and the bounds on their cost."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress

import pytest

from span_events.events.activity import UNATTRIBUTED
from span_events.events.reasons import GatewayRejectedReason
from span_events.net import render_remote
from span_events.wire.tls.openssl import TlsEngine
from tests.bench.certificates import DAY, Holder
from tests.bench.waiting import until
from tests.listeners.gateways.bench import COLLECTION, GATEWAY, ORIGIN, OTHER, VERSIONS, GatewayBench, gateway_bench
from tests.wire.tls.client import TlsClient

# ---- rejections ------------------------------------------------------------------------------

BAD = [
    (
        COLLECTION.leaf(begin=-30 * DAY, end=-DAY),
        "certificateExpired",
        "refused: certificateExpired: The certificate's",
    ),
    (COLLECTION.leaf(begin=DAY), "certificateNotYetValid", "refused: certificateNotYetValid: "),
    (Holder.root("other").intermediate().leaf(), "unknownCa", "refused: unknownCa: The certificate was not issued by"),
    (Holder.root("self"), "unknownCa", "refused: unknownCa: "),
    (COLLECTION.leaf(server=True), "wrongPurpose", "refused: wrongPurpose: "),
    (COLLECTION.leaf(), "unknownSerial", "refused: unknownSerial: The certificate is ours but not in the registry"),
    (None, "noCredentials", "refused: noCredentials: The gateway sent no client certificate"),
]


@VERSIONS
@pytest.mark.parametrize(("holder", "reason", "words"), BAD)
async def test_a_bad_certificate_is_rejected_with_a_status(
    gateways: GatewayBench, version: ssl.TLSVersion, holder: Holder | None, reason: str, words: str
) -> None:
    """The status reaches the operator of the gateway; one rejection has the certificate's details."""
    client = await gateways.client(holder, version=version).open()
    status, text = await client.refused()
    found, details = await gateways.rejection()

    assert (found, status) == (reason, 16)
    assert text.startswith(words)
    assert (details["remote_address"], details["stage"]) == (render_remote(client.remote), "http2")
    if holder is not None:
        certificate = holder.certificate
        assert details["certificate_serial"] == str(certificate.serial_number)
        assert details["certificate_issuer"] == certificate.issuer.rfc4514_string()
        ours = certificate.issuer == COLLECTION.certificate.subject
        assert details["origin"] == (ORIGIN if ours else UNATTRIBUTED)
    assert await client.gone() == "eof"


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        (GatewayRejectedReason.CERTIFICATE_REVOKED, 16),
        (GatewayRejectedReason.UNKNOWN_GATEWAY, 5),
        (GatewayRejectedReason.NOT_A_GATEWAY, 7),
        (GatewayRejectedReason.GATEWAY_DISABLED, 7),
    ],
)
async def test_unknown_gateways_are_rejected(
    gateways: GatewayBench, reason: GatewayRejectedReason, status: int
) -> None:
    """The reasons come from the registry."""
    gateways.sessions.known[4711] = reason
    client = await gateways.client().open()

    assert (await client.refused())[0] == status
    assert (await gateways.rejection())[0] is reason


async def test_an_intermediate_may_be_left_out(gateways: GatewayBench) -> None:
    """The server knows its own intermediates."""
    await gateways.client(GATEWAY, whole_chain=False).serve()

    assert gateways.sessions.rejections == []


@pytest.mark.parametrize(
    ("octets", "shown"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "it begins with b'GET / HTTP/1.1\\r\\nHost: x\\r'"),
        (bytes(22), f"it begins with {bytes(22)!r}"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "it begins with b'PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n'"),
    ],
)
async def test_octets_other_than_tls_are_reported(gateways: GatewayBench, octets: bytes, shown: str) -> None:
    """A scanner, or a gateway without TLS; the event has no collection, since no identity is proven."""
    client = await gateways.client().dial()
    await client.write(octets)
    reason, details = await gateways.rejection()

    assert (reason, details["detail"], details["stage"]) == (GatewayRejectedReason.NOT_TLS, shown, "tls")
    assert details["origin"] == UNATTRIBUTED


async def test_a_connection_without_a_handshake_is_closed(gateways: GatewayBench) -> None:
    """After gateways.handshake_timeout."""
    client = await gateways.client().dial()
    await until(lambda: gateways.connections == 1)

    assert await gateways.wait(6, lambda: bool(gateways.sessions.rejections)) >= 5
    reason, details = await gateways.rejection()
    assert (reason, details["seconds"]) == (GatewayRejectedReason.TLS_TIMEOUT, 5)
    client.thaw()
    assert await client.gone() == "eof"


async def test_an_aborted_handshake_is_reported(gateways: GatewayBench) -> None:
    """The process died, or a load balancer probed the port."""
    client = await gateways.client().dial()
    await client.write(client.tls.step())
    client.die()

    assert (await gateways.rejection())[0] is GatewayRejectedReason.TLS_ABORTED


@VERSIONS
async def test_a_gateway_that_does_not_trust_the_server_is_reported(
    gateways: GatewayBench, version: ssl.TLSVersion
) -> None:
    """Its trust file lacks the server's root, or it expects another name."""
    client = await gateways.client(trusted=Holder.root("another"), version=version).connect()
    reason, details = await gateways.rejection()

    assert client.tls.failure == "CERTIFICATE_VERIFY_FAILED"
    assert (reason, details["detail"]) == (GatewayRejectedReason.SERVER_CERTIFICATE_REFUSED, "unknown ca")


async def test_a_client_without_http2_is_reported(gateways: GatewayBench) -> None:
    """The key is proven, so the rejection belongs to the gateway."""
    client = await gateways.client(protocols=("http/1.1",)).connect()
    reason, details = await gateways.rejection()

    assert (reason, details["origin"]) == (GatewayRejectedReason.NO_PROTOCOL, ORIGIN)
    assert await client.gone() == "eof"


async def test_a_connection_without_a_stream_is_ended(gateways: GatewayBench) -> None:
    """After gateways.stream_timeout."""
    client = await gateways.client().connect()

    assert await gateways.wait(6, lambda: bool(gateways.sessions.rejections)) >= 4.75
    assert (await gateways.rejection())[0] is GatewayRejectedReason.NO_STREAM
    assert await client.gone() == "eof"


async def test_a_call_of_a_wrong_method_alone_is_reported(gateways: GatewayBench) -> None:
    """The detail is the path."""
    client = await gateways.client().open("/gateway.v2.Gateway/Control")
    await client.refused()
    await client.leave()
    reason, details = await gateways.rejection()

    assert (reason, details["detail"]) == (GatewayRejectedReason.BAD_PATH, "/gateway.v2.Gateway/Control")


async def test_a_browser_is_reported(gateways: GatewayBench) -> None:
    """GET is answered as HTTP."""
    client = await gateways.client(None).open("/", method="GET")
    await until(lambda: bool(client.grpc.headers))
    await client.leave()

    assert client.grpc.headers == {":status": "405", "content-type": "text/plain"}
    assert (await gateways.rejection())[0] is GatewayRejectedReason.NO_CREDENTIALS


async def test_a_bad_certificate_is_reported_without_a_stream(gateways: GatewayBench) -> None:
    """The more severe reason counts."""
    client = await gateways.client(Holder.root("other").leaf()).connect()
    await client.leave()

    assert (await gateways.rejection())[0] is GatewayRejectedReason.UNKNOWN_CA


async def test_sessions_of_tls_are_not_resumed(gateways: GatewayBench) -> None:
    """Each connection shows its certificate, so each one is checked."""
    first = await gateways.client().serve()
    second = await gateways.client(tls=TlsClient(earlier=first.tls)).serve()

    assert second.tls.object.session_reused is False
    assert (await gateways.session(2)).serial == 4711


# ---- limits ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"), [("connections", 1), ("half_open", 1), ("half_open_per_address", 1), ("failures_per_minute", 1)]
)
async def test_beyond_a_limit_connections_are_refused(name: str, value: int) -> None:
    """The rejection comes before TLS, and names the limit."""
    async with gateway_bench(**{name: value}) as gateways:
        first = await gateways.client().dial()
        await until(lambda: gateways.connections == 1)
        if name == "failures_per_minute":
            await first.write(b"\x16")
            first.die()
            await until(lambda: len(gateways.sessions.rejections) == 1)
            gateways.sessions.rejections.clear()
        second = await gateways.client().dial()
        second.thaw()
        reason, details = await gateways.rejection()

        assert (reason, details["stage"]) == (GatewayRejectedReason.OVERLOAD, "tcp")
        assert details["detail"] == f"gateways.{name} is {value}"
        assert await second.gone()


async def test_an_open_stream_is_not_half_open() -> None:
    """The limits on unidentified clients do not bound gateways."""
    async with gateway_bench(half_open=1) as gateways:
        for holder in (GATEWAY, OTHER):
            await gateways.client(holder).serve()

        assert len(gateways.sessions.sessions) == 2


async def test_rejections_by_the_limit_do_not_prolong_it() -> None:
    """A gateway that keeps trying is accepted after the minute."""
    async with gateway_bench(failures_per_minute=1) as gateways:
        first = await gateways.client().dial()
        await first.write(b"\x16")
        first.die()
        await until(lambda: len(gateways.sessions.rejections) == 1)
        for count in range(2, 5):
            await gateways.client().dial()
            await until(lambda count=count: len(gateways.sessions.rejections) == count)  # type: ignore[misc]  # a default
        await gateways.clock.advance(61)

        await gateways.client().serve()


async def test_memory_for_an_unidentified_client_is_bounded(gateways: GatewayBench) -> None:
    """A frame is rejected by its header alone."""
    client = await gateways.client(None).connect()
    await client.say(client.grpc.take() + bytes.fromhex("ffffff000000000001"))
    reason, details = await gateways.rejection()

    assert (reason, details["detail"]) == (GatewayRejectedReason.NO_CREDENTIALS, None)
    assert await client.gone() == "eof"


@pytest.mark.parametrize("holder", [None, GATEWAY])
async def test_work_for_an_unidentified_client_is_bounded(gateways: GatewayBench, holder: Holder | None) -> None:
    """Answered pings without a stream would consume the processor until the timeout."""
    client = await gateways.client(holder).connect()
    pings = (bytes.fromhex("000008060000000000") + bytes(8)) * 1_000
    await client.say(client.grpc.take())
    with suppress(OSError):
        for _ in range(40):
            await client.say(pings)
            await asyncio.sleep(0.01)
    reason, details = await gateways.rejection()

    if holder is None:
        assert reason is GatewayRejectedReason.NO_CREDENTIALS
    else:
        assert reason is GatewayRejectedReason.HTTP2_ERROR
        assert details["detail"] == "more than 131072 octets before the control stream"
    assert await client.gone()


@pytest.mark.parametrize("limit", ["connections", "half_open"])
async def test_a_connection_beyond_a_limit_costs_no_tls(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No TLS state is created for a connection that is rejected at once."""
    async with gateway_bench(**{limit: 1}) as gateways:
        await gateways.client().dial()
        await until(lambda: gateways.connections == 1)
        monkeypatch.setattr(TlsEngine, "accept", None)
        second = gateways.client()
        await second.dial()
        second.thaw()
        reason, _ = await gateways.rejection()

        assert reason is GatewayRejectedReason.OVERLOAD
        assert await second.gone()
