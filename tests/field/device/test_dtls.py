"""Findings of the field about DTLS records and sessions, with clients that make the mistakes themselves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from span_events.config import RejectionsConfig
from span_events.registry.model import Psk
from tests.bench.fleets import CAUSE
from tests.bench.peers.handmade_dtls import HandmadeClient, extension, handshake
from tests.bench.peers.relay import Relay
from tests.bench.waiting import until
from tests.listeners.dtls.bench import PSK, DtlsBench, SecureClient, address_of, dtls_bench
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
        ((name, data),) = bench.fleet.drain()

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


# ---- PSK identities --------------------------------------------------------------------------


async def refused(bench: DtlsBench, client: HandmadeClient) -> dict[str, str]:
    """Run a handshake that fails; return the data of its event."""
    with client:
        assert not await asyncio.to_thread(client.connect)
        ((name, data),) = await bench.published(1)
    assert name == "clientRejected"
    return data


async def test_device_09_a_psk_identity_is_compared_and_shown_whole(bench: DtlsBench) -> None:
    """F58: OpenSSL ends it at a NUL; the key is the right one."""
    identity = PSK.identity + b"\0other\xff"
    data = await refused(bench, HandmadeClient(address_of(bench.datagrams), psk=(identity, PSK.key)))

    assert (data["reason"], data["identity"]) == ("unknownPskIdentity", "device-1\\x00other\\xff")


async def test_device_09_a_psk_identity_may_contain_a_nul(bench: DtlsBench) -> None:
    """RFC 4279 §5.1: the server must not look for an end in it."""
    await bench.fleet.psks.put(bench.device, Psk(b"fie\0ld", PSK.key), cause=CAUSE)
    bench.fleet.drain()
    with HandmadeClient(address_of(bench.datagrams), psk=(b"fie\0ld", PSK.key)) as client:
        assert await asyncio.to_thread(client.connect)
        assert await bench.names(1) == ["clientConnected"]


async def test_device_14_the_length_of_a_psk_identity_is_told(bench: DtlsBench) -> None:
    """OpenSSL's words were "data length too long", and the stage "error"."""
    data = await refused(bench, HandmadeClient(address_of(bench.datagrams), psk=(b"i" * 300, PSK.key)))

    assert data["reason"] == "handshakeFailed"
    assert data["detail"] == "the PSK identity has 300 octets, at most 256 are served"
    assert data["stage"] == "ServerHelloDone"


# ---- unreadable records ----------------------------------------------------------------------


async def test_device_11_unreadable_records_are_told_once_with_their_cause_and_counted(tmp_path: Path) -> None:
    """F53: a device that restored an older session state sends numbers that were used before."""
    async with dtls_bench(tmp_path) as bench:
        with await connect(bench) as client:
            for _ in range(3):
                client.say(b"x")
            assert await bench.names(3) == ["upstreamMessage"] * 3
            client.sequence = 1
            for _ in range(4):
                client.say(b"stale")
                client.sequence = 1
            ((name, data),) = await bench.published(1)
            client.sequence = 9
            client.say(b"fresh")
            assert await bench.names(1) == ["upstreamMessage"]
            bench.fleet.clock.shift(RejectionsConfig().window + 1)
            bench.fleet.reception.rejections.sweep()
            ((_, summary),) = await bench.published(1)

    assert (name, data["reason"], data["count"]) == ("messageRejected", "unreadableRecord", "1")
    assert data["detail"].startswith("its sequence number was used before")
    assert (summary["reason"], summary["count"]) == ("unreadableRecord", "3")


async def test_device_11_records_with_other_keys_are_told_as_such(bench: DtlsBench) -> None:
    """The last octet of the authentication tag is wrong."""
    with await connect(bench) as client:
        sealed = client.seal(23, b"x")
        client.socket.send(sealed[:-1] + bytes((sealed[-1] ^ 1,)))
        ((_, data),) = await bench.published(1)

    assert data["detail"].startswith("it cannot be decrypted")


# ---- curves, raw keys, suites ----------------------------------------------------------------


async def test_device_13_a_hello_without_curves_is_told_so(bench: DtlsBench) -> None:
    """The hint told to enable the suite that was offered."""
    client = HandmadeClient(
        address_of(bench.datagrams),
        suites=(0xC0AE,),
        extensions=extension(13, bytes.fromhex("00020403")) + extension(11, b"\x01\0"),
    )
    data = await refused(bench, client)

    assert data["reason"] == "noSharedGroup"
    assert data["offered"] == "ECDHE-ECDSA-AES128-CCM8; groups: none"
    assert "supported_groups" in data["detail"]


async def test_device_13_the_curves_of_the_client_are_named(bench: DtlsBench) -> None:
    """Its certificate is on P-256, but only P-384 is in its hello."""
    client = bench.client(DtlsClient(bench.holder, ciphers="ECDHE-RSA-AES128-GCM-SHA256", groups="P-384"))
    await client.connect()
    ((_, data),) = await bench.published(1)

    assert data["reason"] == "noSharedGroup"
    assert data["detail"].endswith("its groups lack: secp384r1")


async def test_device_14_a_client_with_a_raw_public_key_is_told_so(bench: DtlsBench) -> None:
    """It sends an alert when it sees a certificate (RFC 7250)."""
    raw = extension(19, b"\x01\x02") + extension(20, b"\x01\x02")
    with HandmadeClient(address_of(bench.datagrams), suites=(0xC02B,), extensions=CURVES + raw) as client:
        await asyncio.to_thread(client.greet)
        await asyncio.to_thread(client.await_server_hello)
        client.send_clear(21, b"\x02\x2b")
        ((_, data),) = await bench.published(1)

    assert (data["reason"], data["detail"]) == ("rawPublicKey", "unsupported certificate")


async def test_device_14_suites_with_numbers_of_later_rfcs_have_names(bench: DtlsBench) -> None:
    """RFC 8442: ECDHE-PSK with AES-GCM and AES-CCM."""
    data = await refused(bench, HandmadeClient(address_of(bench.datagrams), suites=(0xD003, 0xD001)))

    assert data["offered"].startswith("ECDHE-PSK-AES128-CCM8-SHA256, ECDHE-PSK-AES128-GCM-SHA256;")


@pytest.mark.parametrize("suite", ["PSK-AES128-CBC-SHA256", "PSK-AES128-CBC-SHA", "PSK-AES256-CCM8"])
async def test_device_17_older_modems_have_a_psk_suite(bench: DtlsBench, suite: str) -> None:
    """Quectel's BC66 has only the first, which servers of LwM2M must have."""
    client = DtlsClient(psk=(PSK.identity, PSK.key), ciphers=f"{suite}:@SECLEVEL=0")
    await bench.client(client).connect()
    ((_, data),) = await bench.published(1)

    assert data["cipher"] == suite


async def test_device_17_a_client_that_has_better_suites_gets_them(bench: DtlsBench) -> None:
    """Although it lists the older ones first."""
    client = DtlsClient(psk=(PSK.identity, PSK.key), ciphers="PSK-AES128-CBC-SHA256:PSK-AES128-CCM8:@SECLEVEL=0")
    await bench.client(client).connect()
    ((_, data),) = await bench.published(1)

    assert data["cipher"] == "PSK-AES128-CCM8"


# ---- hellos in fragments ---------------------------------------------------------------------


def in_fragments(client: HandmadeClient, number: int, cookie: bytes, after_cookie: Sequence[int]) -> list[bytes]:
    """Return the records of a hello in fragments, which end that many octets after the cookie."""
    body = client.hello(cookie)
    ends = [36 + len(cookie) + each for each in after_cookie]
    return [
        client.clear(22, handshake(1, number, body, begin=begin, end=end))
        for begin, end in zip([0, *ends], [*ends, len(body)], strict=True)
    ]


async def connect_in_fragments(
    bench: DtlsBench, sizes: Sequence[int], *, together: bool = False, overtakes: bool = False
) -> None:
    """Send both hellos in fragments, and finish the handshake."""
    with HandmadeClient(address_of(bench.datagrams)) as client:
        cookie = b""
        for number in (0, 1):
            parts = in_fragments(client, number, cookie, sizes)
            if overtakes:
                client.socket.send(parts[-1])
            for datagram in [b"".join(parts)] if together else parts:
                client.socket.send(datagram)
            if not number:
                (request,) = await asyncio.to_thread(client.receive)
                cookie = request.content[15:]
        client.note_hello(1, cookie)
        assert await asyncio.to_thread(client.finish), client.alert
        assert await bench.names(1) == ["clientConnected"]


@pytest.mark.parametrize("together", [True, False], ids=["in one datagram", "in several datagrams"])
@pytest.mark.parametrize("sizes", [[2], [0, 2, 4]], ids=["two", "four"])
async def test_device_18_a_hello_may_come_in_fragments(bench: DtlsBench, sizes: list[int], together: bool) -> None:
    """The first hello leaves no state; of the second, the first fragment has the cookie."""
    await connect_in_fragments(bench, sizes, together=together)

    assert bench.dtls.begun == 1
    assert bench.dtls.assembled == (2 if together else 1)


async def test_device_18_a_fragment_that_overtakes_the_first_is_sent_again(bench: DtlsBench) -> None:
    """It is dropped, as nothing is known of its client."""
    await connect_in_fragments(bench, [2], overtakes=True)


async def test_device_18_a_datagram_may_have_64_fragments(bench: DtlsBench) -> None:
    """It has room for 2,500, which would take their time from other clients."""
    with HandmadeClient(address_of(bench.datagrams)) as client:
        client.socket.send(b"".join(in_fragments(client, 0, b"", [2]) * 33))
        ((_, data),) = await bench.published(1)

    assert (data["reason"], data["detail"]) == (
        "malformedHello",
        "over 64 fragments of a hello in one datagram (octet 0)",
    )


async def test_device_18_fragments_without_a_cookie_leave_no_state(bench: DtlsBench) -> None:
    """From any number of addresses."""
    for _ in range(20):
        with HandmadeClient(address_of(bench.datagrams)) as client:
            first, second = in_fragments(client, 0, b"", [2])
            client.socket.send(first)
            client.socket.send(second)
            await asyncio.to_thread(client.receive)

    assert bench.dtls.hellos == 20
    assert len(bench.dtls._fragmented._incomplete) == 0
