"""Findings of the field about DTLS records and sessions, with clients that make the mistakes themselves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from tests.bench.fleets import CAUSE
from tests.bench.handmade_dtls import HandmadeClient, extension
from tests.bench.relay import Relay
from tests.bench.waiting import until
from tests.listeners.dtls.bench import DtlsBench, SecureClient, address_of, dtls_bench
from tests.wire.dtls.client import DtlsClient

SMALL = 512
FRAGMENTS_OF_512 = extension(1, b"\x01")
CURVES = extension(10, bytes.fromhex("00020017")) + extension(13, bytes.fromhex("00020403")) + extension(11, b"\x01\0")
RECORD_OVERFLOW = bytes.fromhex("0216")


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[DtlsBench]:
    async with dtls_bench(tmp_path) as started:
        yield started


async def connect(bench: DtlsBench, *, extensions: bytes = b"", coaps: bool = False) -> HandmadeClient:
    """Open a session, and take its event."""
    client = HandmadeClient(address_of(bench.coaps if coaps else bench.datagrams), extensions=extensions)
    assert await asyncio.to_thread(client.connect), client.alert
    assert await bench.names(1) == ["clientConnected"]
    return client


# ---- ends ------------------------------------------------------------------------------------


async def test_device_03_our_own_fatal_alert_ends_the_session_with_an_event(bench: DtlsBench) -> None:
    """F52: a record above the negotiated 512 octets."""
    with await connect(bench, extensions=FRAGMENTS_OF_512) as client:
        client.say(b"a" * 600)
        (record,) = await asyncio.to_thread(client.receive)
        ((name, data),) = await bench.published(1)
        client.say(b"again")
        ((_, later),) = await bench.published(1)

    assert (record.kind, client.open(record)) == (21, RECORD_OVERFLOW)
    assert (name, data["reason"], data["detail"]) == ("clientDisconnected", "serverAlert", "data length too long")
    assert later["reason"] == "noSession"
    assert bench.dtls.sessions == 0


async def test_device_03_a_message_above_the_negotiated_length_fails_and_the_session_stays(bench: DtlsBench) -> None:
    """OpenSSL would end the session."""
    with await connect(bench, extensions=FRAGMENTS_OF_512) as client:
        await bench.fleet.outbox.queue(bench.device, b"d" * 600, cause=CAUSE)
        assert await bench.names(1) == ["downstreamQueued"]
        client.say(b"one")
        names = dict(await bench.published(2))
        client.say(b"two")
        (again,) = await bench.names(1)

    assert "at most 512 octets" in names["downstreamFailed"]["detail"]
    assert again == "upstreamMessage"


# ---- cut records -----------------------------------------------------------------------------


@pytest.mark.parametrize("coaps", [False, True], ids=["datagrams", "coaps"])
async def test_device_05_a_cut_record_is_told_to_the_device_of_the_session(bench: DtlsBench, coaps: bool) -> None:
    """F56: it was a message on one port, and "no DTLS record" on the other."""
    with await connect(bench, coaps=coaps) as client:
        client.socket.send(client.seal(23, b"x" * 300)[:200])
        await until(lambda: bool(bench.fleet.activities))
        origin = bench.fleet.events[-1].origin
        ((name, data),) = bench.fleet.take()

    assert (name, data["reason"]) == ("messageRejected", "malformed")
    assert data["detail"] == "a DTLS record says 316 octets, 187 came: the datagram was cut"
    assert origin == bench.device.origin
    assert bench.fleet.messages == []


# ---- sizes of datagrams ----------------------------------------------------------------------


async def test_device_06_datagrams_obey_the_negotiated_length(bench: DtlsBench) -> None:
    """The client stops after the first flight, which has the certificates of the server."""
    with HandmadeClient(address_of(bench.datagrams), suites=(0xC02B,), extensions=FRAGMENTS_OF_512 + CURVES) as client:
        await asyncio.to_thread(client.greet)
        await asyncio.to_thread(client.await_server_hello)

    assert len(client.datagrams) > 3
    assert max(map(len, client.datagrams)) <= SMALL


async def test_device_06_a_path_that_drops_large_datagrams_does_not_stop_a_handshake(bench: DtlsBench) -> None:
    """The retransmissions of the server fit."""

    def up_to_600(datagram: bytes) -> Sequence[float]:
        return (0.0,) if len(datagram) <= 600 else ()

    host, port = address_of(bench.datagrams)
    with Relay(f"{host}:{port}", "127.0.0.1", back=up_to_600) as relay:
        where, _, number = relay.address.rpartition(":")
        with closing(SecureClient(DtlsClient(bench.holder), "127.0.0.1", (where, int(number)))) as client:
            await client.connect()

    assert client.dtls.established
    assert relay.lost >= 1
