"""Gateways on a real socket: who gets a stream, what goes over it, and the name of each of its ends."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import pytest

from span_events.events.activity import UNATTRIBUTED
from span_events.events.reasons import GatewayReason, GatewayRejectedReason
from span_events.proto.gateway_pb2 import ControlStreamResponse, DownstreamMessage
from span_events.wire.openssl import Identity
from span_events.wire.tls_openssl import TlsEngine
from tests.certificates import DAY, Holder
from tests.listeners.gateway_bench import (
    COLLECTION,
    CONFIG_REQUEST,
    GATEWAY,
    KEEPALIVE,
    KEEPALIVE_RESPONSE,
    ORIGIN,
    OTHER,
    ROOT,
    SECOND,
    SERVERS,
    GatewayBench,
    RawGateway,
    device_config,
    gateway_bench,
    upstream,
)
from tests.waiting import until
from tests.wire.tls_client import TlsClient

VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


@pytest.fixture
async def bench() -> AsyncIterator[GatewayBench]:
    """A listener with default settings."""
    async with gateway_bench() as opened:
        yield opened


# ---- a stream --------------------------------------------------------------------------------


@VERSIONS
async def test_a_gateway_opens_its_stream(bench: GatewayBench, version: ssl.TLSVersion) -> None:
    """It is answered at once, before it says anything."""
    client = await bench.client(trusted=ROOT, version=version).serve()
    session = await bench.session()

    assert session.serial == 4711
    assert session.details == {
        "remote": client.remote,
        "tls_version": version.name.replace("v1_", "v1."),
        "user_agent": "raw/1",
    }


async def test_answers_come_in_the_order_in_which_they_were_sent(bench: GatewayBench) -> None:
    """GatewayConfigUpdate, then a DeviceConfigUpdate for each device; the octets are those of Span's clients."""
    client = await bench.client().serve()
    await client.send(CONFIG_REQUEST)
    await client.send(KEEPALIVE)
    await until(lambda: len(client.grpc.messages) == 5)

    assert (CONFIG_REQUEST, KEEPALIVE) == (b"\x0a\x00", b"\x1a\x00")
    kinds = [ControlStreamResponse.FromString(each).WhichOneof("msg") for each in client.grpc.messages]
    assert kinds == ["gateway_update", "device_update", "device_update", "device_update", "keepalive_response"]


async def test_messages_reach_the_fleet_in_order(bench: GatewayBench) -> None:
    """Each decoded once."""
    client = await bench.client().serve()
    for number in range(50):
        await client.send(upstream(b"%d" % number))
    session = await bench.session()
    await until(lambda: len(session.received) == 50)

    assert [each.upstream_message.payload for each in session.received] == [b"%d" % each for each in range(50)]


async def test_a_message_without_any_part_that_we_know_is_the_fleets_to_judge(bench: GatewayBench) -> None:
    """An unknown member, an empty message, a known member of the wrong type; the stream goes on."""
    client = await bench.client().serve()
    for message in (b"\x7a\x00", b"", b"\x08\x01", KEEPALIVE):
        await client.send(message)
    await until(lambda: len(client.grpc.messages) == 1)
    session = await bench.session()

    assert [each.WhichOneof("msg") for each in session.received] == [None, None, None, "keepalive"]


async def test_an_unknown_kind_of_frame_is_ignored(bench: GatewayBench) -> None:
    """RFC 9113 §5.5."""
    client = await bench.client().serve()
    await client.say(bytes.fromhex("000004420000000000") + bytes(4))
    await client.send(KEEPALIVE)

    await until(lambda: len(client.grpc.messages) == 1)


async def test_another_method_is_answered_and_the_connection_waits_on(bench: GatewayBench) -> None:
    """Reflection, say, before the stream."""
    client = await bench.client().open("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
    refused = await client.refused()
    await client.say(client.grpc.open())
    await bench.session()

    assert refused == (12, "unknown method /grpc.reflection.v1.ServerReflection/ServerReflectionInfo")


async def test_a_second_stream_on_one_connection_is_refused(bench: GatewayBench) -> None:
    """The first is not disturbed: whoever opens two by mistake is told so."""
    client = await bench.client().serve()
    await client.say(client.grpc.open())
    refused = await client.refused()
    client.grpc.stream = 1
    await client.send(KEEPALIVE)
    await until(lambda: len(client.grpc.messages) == 1)

    assert refused == (8, "one control stream per connection: open another one")
    assert len(bench.sessions.sessions) == 1


async def test_the_same_gateway_twice_replaces_the_older(bench: GatewayBench) -> None:
    """Whoever comes later is alive; the older is told in words."""
    first = await bench.client().serve()
    older = await bench.session()
    second = await bench.client(SECOND).serve()
    await second.send(KEEPALIVE)
    await until(lambda: len(second.grpc.messages) == 1)

    assert await first.refused() == (10, "replaced by a newer connection")
    assert await bench.end(older) == (GatewayReason.REPLACED, "")
    assert bench.sessions.told == ["opened", "ended replaced", "opened"]


async def test_a_new_identity_of_the_server_is_shown_to_new_connections(bench: GatewayBench) -> None:
    """Streams that are open go on."""
    old = await bench.client(trusted=ROOT).serve()
    renewed = SERVERS.leaf("server", server=True)
    bench.engine.present([Identity(renewed.key_pem, renewed.chain_pem)])
    new = await bench.client(SECOND, trusted=ROOT).connect()
    shown = [each.tls.object.getpeercert(binary_form=True) for each in (old, new)]

    assert shown[0] != shown[1]
    assert bench.connections == 2


# ---- what is sent ----------------------------------------------------------------------------


async def test_a_message_counts_as_sent_when_the_kernel_has_it(bench: GatewayBench) -> None:
    """And then the next may be sent from there."""
    client = await bench.client().serve()
    session, sent = await bench.session(), list[str]()

    def first() -> None:
        sent.append("first")
        session.link.send(KEEPALIVE_RESPONSE, sent=lambda: sent.append("second"))

    assert session.link.send(KEEPALIVE_RESPONSE, sent=first)
    assert sent == []
    await until(lambda: len(client.grpc.messages) == 2)
    assert sent == ["first", "second"]


async def test_a_newer_message_of_a_key_replaces_the_one_that_waits(bench: GatewayBench) -> None:
    """In its place; of the older nobody hears."""
    client = await bench.client().serve()
    link, sent = (await bench.session()).link, list[str]()
    link.send(device_config(1, "old"), key=1, sent=lambda: sent.append("old"))
    link.send(KEEPALIVE_RESPONSE)
    link.send(device_config(1, "new"), key=1, sent=lambda: sent.append("new"))
    await until(lambda: len(client.grpc.messages) == 2)

    assert client.grpc.messages[0] == device_config(1, "new").SerializeToString()
    assert sent == ["new"]


async def test_nothing_is_sent_after_the_end(bench: GatewayBench) -> None:
    """The fleet is told no by `send`, and `end` does nothing."""
    await bench.client().serve()
    session = await bench.session()
    session.link.end(GatewayReason.GATEWAY_REMOVED)
    session.link.end(GatewayReason.REPLACED)

    assert session.link.send(KEEPALIVE_RESPONSE) is False
    assert session.ended == [(GatewayReason.GATEWAY_REMOVED, "")]


def large(size: int = 1_000) -> ControlStreamResponse:
    """Write a message of some size."""
    return ControlStreamResponse(downstream_message=DownstreamMessage(message_id="1", payload=bytes(size)))


async def test_a_gateway_that_does_not_read_costs_its_queue_and_no_more(bench: GatewayBench) -> None:
    """Its window takes 64 KiB, the queue 1,000 messages; other gateways notice nothing."""
    client = await bench.client(reads=False).serve()
    session, sent = await bench.session(), list[int]()
    for number in range(60):  # as much as the window takes
        session.link.send(large(), sent=lambda number=number: sent.append(number))  # type: ignore[misc]  # a default
    await until(lambda: len(sent) == 60)
    taken = sum(session.link.send(large()) for _ in range(5_000))
    other = await bench.client(OTHER).serve()
    await other.send(KEEPALIVE)
    await until(lambda: len(other.grpc.messages) == 1)

    assert taken == 1_000
    assert session.link.queued < 1_048_576
    assert await bench.wait(31, lambda: bool(session.ended)) >= 30
    assert (await bench.end(session))[0] is GatewayReason.SLOW_READER
    assert (await client.refused())[0] == 8


async def test_a_kernel_that_takes_no_more_pauses_sending(bench: GatewayBench) -> None:
    """The window is huge, but nobody reads the socket; the queue's octets are the limit."""
    client = bench.client(receive_buffer=4_096)
    client.grpc.h2.update_settings({4: 1 << 30})
    client.grpc.h2.increment_flow_control_window(1 << 30)
    await client.serve()
    session = await bench.session()
    client.freeze()
    sent = 0
    while session.link.send(large(10_000)):
        sent += 1
        await asyncio.sleep(0)
    waiting = session.link.queued
    client.thaw()
    await until(lambda: len(client.grpc.messages) == sent)

    assert 1_000_000 < waiting <= 1_048_576
    assert session.link.queued == 0
    assert session.ended == []


async def test_answers_that_nobody_reads_stop_our_reading(bench: GatewayBench) -> None:
    """A flood of pings, each of which HTTP/2 wants answered, costs a bounded buffer."""
    client = await bench.client(receive_buffer=4_096).serve()
    client.freeze()
    session = await bench.session()
    pings = (bytes.fromhex("000008060000000000") + bytes(8)) * 10_000
    flood = asyncio.get_running_loop().create_task(client.write(client.tls.send(pings * 10)))
    await until(lambda: not session.link._transport.is_reading())

    assert session.link._transport.get_write_buffer_size() < 1_000_000
    await bench.wait(31, lambda: bool(session.ended))
    assert (await bench.end(session))[0] is GatewayReason.SLOW_READER
    flood.cancel()


async def test_what_the_kernel_holds_for_a_gateway_is_bounded(bench: GatewayBench) -> None:
    """SO_SNDBUF, of which Linux keeps twice as much; and TCP gives up after a while (TCP_USER_TIMEOUT)."""
    await bench.client().serve()
    accepted = (await bench.session()).link._transport.get_extra_info("socket")

    assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 2 * 65_536
    assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000


# ---- ends ------------------------------------------------------------------------------------

Leave = Callable[[RawGateway], Awaitable[None]]


async def die(client: RawGateway) -> None:
    """Be killed."""
    client.die()


async def reset(client: RawGateway) -> None:
    """Be reset."""
    client.reset()


@pytest.mark.parametrize(
    ("leave", "reason", "detail"),
    [
        (lambda client: client.say(client.grpc.half_close()), "closed", ""),
        (lambda client: client.say(client.grpc.give_up(8)), "cancelled", ""),
        (lambda client: client.say(client.grpc.give_up(2)), "streamReset", "RST_STREAM INTERNAL_ERROR"),
        (lambda client: client.say(client.grpc.go_away(0)), "clientClosed", "GOAWAY NO_ERROR"),
        (
            lambda client: client.say(client.grpc.go_away(11, b"too_many_pings")),
            "goaway",
            "GOAWAY ENHANCE_YOUR_CALM too_many_pings",
        ),
        (lambda client: client.leave(), "clientClosed", "TLS was closed in order"),
        (die, "processDied", "the TCP connection was closed"),
        (reset, "connectionReset", "[Errno 104] Connection reset by peer"),
        (lambda client: client.write(b"\x17\x03\x03\x00\x14" + bytes(20)), "tlsError", None),
        (lambda client: client.say(bytes.fromhex("ffffff000000000001")), "http2Error", None),
        (lambda client: client.send(b"\xff\xff\xff"), "malformed", "3 octets are not a ControlStreamRequest"),
        (lambda client: client.send(b"\x12\x03\x0a\x01\xff"), "malformed", "5 octets are not a ControlStreamRequest"),
        (
            lambda client: client.say(client.grpc.send(b"abc", length=16) + client.grpc.half_close()),
            "malformed",
            "the stream ended after 8 octets of a message",
        ),
        (
            lambda client: client.say(client.grpc.send(b"abc", length=0xFFFFFFFF)),
            "messageTooLarge",
            "a message of 4294967295 octets; the limit is 262144",
        ),
        (lambda client: client.say(client.grpc.send(b"abc", flag=1)), "unsupportedEncoding", "a message is compressed"),
    ],
)
async def test_each_end_has_a_name(bench: GatewayBench, leave: Leave, reason: str, detail: str | None) -> None:
    """One end each; what the connection does while it falls apart is not told."""
    client = await bench.client().serve()
    session = await bench.session()
    await leave(client)
    end = await bench.end(session)
    await bench.wait(2, lambda: bench.connections == 0)

    assert end[0] == reason
    assert end[1] == detail or (detail is None and end[1])
    assert session.ended == [end]


async def test_who_asks_and_says_no_more_is_answered_first(bench: GatewayBench) -> None:
    """Tools for a single call end their side with the request; all answers come before the status."""
    client = await bench.client().serve()
    await client.say(client.grpc.send(CONFIG_REQUEST) + client.grpc.half_close())
    status = await client.refused()

    assert len(client.grpc.messages) == 4
    assert status == (0, "")


@pytest.mark.parametrize(
    ("message", "status", "words"),
    [
        (lambda client: client.grpc.half_close(), 0, ""),
        (lambda client: client.grpc.send(b"\xff\xff\xff"), 3, "malformed message"),
        (lambda client: client.grpc.send(b"", length=0xFFFFFFFF), 8, "message too large"),
        (lambda client: client.grpc.send(b"abc", flag=1), 12, "compression is not supported"),
        (lambda client: client.grpc.send(b"abc", length=16) + client.grpc.half_close(), 3, "malformed message"),
    ],
)
async def test_the_gateway_reads_why(
    bench: GatewayBench, message: Callable[[RawGateway], bytes], status: int, words: str
) -> None:
    """A status and a text, then GOAWAY, close_notify and the end of TCP, and no reset."""
    client = await bench.client().serve()
    await client.say(message(client))
    found = await client.refused()

    assert (found[0], found[1].startswith(words)) == (status, True)
    assert await client.gone() == "eof"
    assert (client.grpc.goaway, client.tls.closed) == (0, True)


async def test_a_message_of_five_megabytes_ends_its_stream_and_nothing_else(bench: GatewayBench) -> None:
    """Nothing of it is kept: its header said enough."""
    client, other = await bench.client().serve(), await bench.client(OTHER).serve()
    sessions = list(bench.sessions.sessions)
    await client.say(client.grpc.raw((5_000_000).to_bytes(5, "big") + bytes(60_000)))
    end = await bench.end(sessions[0])
    await other.send(KEEPALIVE)
    await until(lambda: len(other.grpc.messages) == 1)

    assert end == (GatewayReason.MESSAGE_TOO_LARGE, "a message of 5000000 octets; the limit is 262144")
    assert (await client.refused())[0] == 8


async def test_a_clients_deadline_is_kept(bench: GatewayBench) -> None:
    """grpc-timeout; nobody else sets one."""
    client = await bench.client().open(extra=[("grpc-timeout", "3S")])
    session = await bench.session()

    assert await bench.wait(4, lambda: bool(session.ended)) == pytest.approx(3, abs=0.5)
    assert await bench.end(session) == (GatewayReason.DEADLINE, "")
    assert await client.refused() == (4, "deadline exceeded")


async def test_more_calls_than_anybody_needs_end_the_connection(bench: GatewayBench) -> None:
    """HTTP/2's rapid reset: h2 would remember each."""
    client = await bench.client().connect()
    await client.say(client.grpc.take())
    for _ in range(101):
        await client.say(client.grpc.open("/x") + client.grpc.give_up(8))
    reason, details = await bench.rejection()

    assert reason is GatewayRejectedReason.HTTP2_ERROR
    assert details["detail"] == "more than 100 calls on one connection"


async def test_a_defect_of_ours_costs_one_connection(bench: GatewayBench) -> None:
    """It is logged, counted, and told as an end."""
    client = await bench.client().serve()
    session = await bench.session()
    bench.sessions.fails = True
    await client.send(KEEPALIVE)
    end = await bench.end(session)

    assert end == (GatewayReason.SERVER_ERROR, "")
    assert bench.listener.defects == 1
    assert await client.gone()


# ---- silence ---------------------------------------------------------------------------------


async def test_a_gateway_that_answers_pings_stays(bench: GatewayBench) -> None:
    """It may have nothing to say for hours."""
    client = await bench.client().serve()
    session = await bench.session()
    for expected in range(1, 4):
        await bench.wait(6, lambda expected=expected: client.grpc.pings == expected)  # type: ignore[misc]  # a default
        await until(lambda: session.link._pinged_at is None)

    assert bench.listener.counters.pings == 3
    assert session.ended == []


async def test_a_frozen_gateway_is_noticed_within_ten_seconds(bench: GatewayBench) -> None:
    """Its kernel still acknowledges; the socket is closed without another word."""
    client = await bench.client().serve()
    session = await bench.session()
    client.freeze()
    noticed = await bench.wait(10, lambda: bool(session.ended))

    assert 9 <= noticed <= 10
    assert bench.sessions.told[-1] == "ended keepaliveTimeout 9"
    client.thaw()
    assert await client.gone()


async def test_what_comes_in_is_as_good_as_an_answer(bench: GatewayBench) -> None:
    """A gateway that talks is not asked."""
    client = await bench.client().serve()
    session = await bench.session()
    for number in range(1, 8):
        await client.send(KEEPALIVE)
        await until(lambda number=number: len(session.received) == number)  # type: ignore[misc]  # a default
        await bench.clock.advance(4)

    assert client.grpc.pings == 0
    assert session.ended == []


# ---- who is not let in -----------------------------------------------------------------------

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
async def test_a_bad_certificate_is_refused_in_words(
    bench: GatewayBench, version: ssl.TLSVersion, holder: Holder | None, reason: str, words: str
) -> None:
    """On the stream, where people read it; one rejection with what the certificate says."""
    client = await bench.client(holder, version=version).open()
    status, text = await client.refused()
    found, details = await bench.rejection()

    assert (found, status) == (reason, 16)
    assert text.startswith(words)
    assert (details["remote"], details["stage"]) == (client.remote, "http2")
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
async def test_whom_the_fleet_does_not_know_is_refused(
    bench: GatewayBench, reason: GatewayRejectedReason, status: int
) -> None:
    """What the registry says of a serial number."""
    bench.sessions.known[4711] = reason
    client = await bench.client().open()

    assert (await client.refused())[0] == status
    assert (await bench.rejection())[0] is reason


async def test_an_intermediate_may_be_left_out(bench: GatewayBench) -> None:
    """We know ours."""
    await bench.client(GATEWAY, whole_chain=False).serve()

    assert bench.sessions.rejections == []


@pytest.mark.parametrize(
    ("octets", "shown"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "it begins with b'GET / HTTP/1.1\\r\\nHost: x\\r'"),
        (bytes(22), f"it begins with {bytes(22)!r}"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "it begins with b'PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n'"),
    ],
)
async def test_what_is_not_tls_is_told(bench: GatewayBench, octets: bytes, shown: str) -> None:
    """A scanner, or a gateway with TLS switched off; of no collection, as nobody is proven to be anybody."""
    client = await bench.client().dial()
    await client.write(octets)
    reason, details = await bench.rejection()

    assert (reason, details["detail"], details["stage"]) == (GatewayRejectedReason.NOT_TLS, shown, "tls")
    assert details["origin"] == UNATTRIBUTED


async def test_a_handshake_that_does_not_begin_is_ended(bench: GatewayBench) -> None:
    """After gateways.handshake_timeout."""
    client = await bench.client().dial()
    await until(lambda: bench.connections == 1)

    assert await bench.wait(6, lambda: bool(bench.sessions.rejections)) >= 5
    reason, details = await bench.rejection()
    assert (reason, details["seconds"]) == (GatewayRejectedReason.TLS_TIMEOUT, 5)
    client.thaw()
    assert await client.gone() == "eof"


async def test_a_handshake_that_breaks_off_is_told(bench: GatewayBench) -> None:
    """The process died, or a balancer looked whether we are there."""
    client = await bench.client().dial()
    await client.write(client.tls.step())
    client.die()

    assert (await bench.rejection())[0] is GatewayRejectedReason.TLS_ABORTED


@VERSIONS
async def test_a_gateway_that_does_not_trust_us_is_told(bench: GatewayBench, version: ssl.TLSVersion) -> None:
    """Its trust file lacks our root, or it knows us by another name."""
    client = await bench.client(trusted=Holder.root("another"), version=version).connect()
    reason, details = await bench.rejection()

    assert client.tls.failure == "CERTIFICATE_VERIFY_FAILED"
    assert (reason, details["detail"]) == (GatewayRejectedReason.SERVER_CERTIFICATE_REFUSED, "unknown ca")


async def test_a_client_without_http2_is_told(bench: GatewayBench) -> None:
    """Its key is proven, so the rejection belongs to its gateway."""
    client = await bench.client(protocols=("http/1.1",)).connect()
    reason, details = await bench.rejection()

    assert (reason, details["origin"]) == (GatewayRejectedReason.NO_PROTOCOL, ORIGIN)
    assert await client.gone() == "eof"


async def test_a_connection_without_a_stream_is_ended(bench: GatewayBench) -> None:
    """After gateways.stream_timeout."""
    client = await bench.client().connect()

    assert await bench.wait(6, lambda: bool(bench.sessions.rejections)) >= 4.75
    assert (await bench.rejection())[0] is GatewayRejectedReason.NO_STREAM
    assert await client.gone() == "eof"


async def test_a_wrong_method_and_no_other_is_told(bench: GatewayBench) -> None:
    """With its path."""
    client = await bench.client().open("/gateway.v2.Gateway/Control")
    await client.refused()
    await client.leave()
    reason, details = await bench.rejection()

    assert (reason, details["detail"]) == (GatewayRejectedReason.BAD_PATH, "/gateway.v2.Gateway/Control")


async def test_a_browser_is_told(bench: GatewayBench) -> None:
    """GET is answered as HTTP."""
    client = await bench.client(None).open("/", method="GET")
    await until(lambda: bool(client.grpc.headers))
    await client.leave()

    assert client.grpc.headers == {":status": "405"}
    assert (await bench.rejection())[0] is GatewayRejectedReason.NO_CREDENTIALS


async def test_a_bad_certificate_is_told_even_if_no_stream_is_opened(bench: GatewayBench) -> None:
    """The graver cause counts."""
    client = await bench.client(Holder.root("other").leaf()).connect()
    await client.leave()

    assert (await bench.rejection())[0] is GatewayRejectedReason.UNKNOWN_CA


async def test_sessions_of_tls_are_not_resumed(bench: GatewayBench) -> None:
    """Each connection shows its certificate, so each is judged."""
    first = await bench.client().serve()
    second = await bench.client(tls=TlsClient(earlier=first.tls)).serve()

    assert second.tls.object.session_reused is False
    assert (await bench.session(2)).serial == 4711


# ---- limits ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"), [("connections", 1), ("half_open", 1), ("half_open_per_address", 1), ("failures_per_minute", 1)]
)
async def test_beyond_a_limit_connections_are_refused(name: str, value: int) -> None:
    """At once, before TLS costs anything; the rejection names the limit."""
    async with gateway_bench(**{name: value}) as bench:
        first = await bench.client().dial()
        await until(lambda: bench.connections == 1)
        if name == "failures_per_minute":
            first.die()
            await until(lambda: len(bench.sessions.rejections) == 1)
            bench.sessions.rejections.clear()
        second = await bench.client().dial()
        second.thaw()
        reason, details = await bench.rejection()

        assert (reason, details["stage"]) == (GatewayRejectedReason.OVERLOAD, "tcp")
        assert details["detail"] == f"gateways.{name} is {value}"
        assert await second.gone()


async def test_an_open_stream_is_not_half_open() -> None:
    """The limits on strangers do not bound gateways."""
    async with gateway_bench(half_open=1) as bench:
        for holder in (GATEWAY, OTHER):
            await bench.client(holder).serve()

        assert len(bench.sessions.sessions) == 2


async def test_refusals_do_not_prolong_the_minute_of_failures() -> None:
    """A gateway that tries again and again gets in when the minute is over."""
    async with gateway_bench(failures_per_minute=1) as bench:
        (await bench.client().dial()).die()
        await until(lambda: len(bench.sessions.rejections) == 1)
        for count in range(2, 5):
            await bench.client().dial()
            await until(lambda count=count: len(bench.sessions.rejections) == count)  # type: ignore[misc]  # a default
        await bench.clock.advance(61)

        await bench.client().serve()


async def test_what_a_stranger_may_make_us_hold_is_bounded(bench: GatewayBench) -> None:
    """A frame is refused by its header, whatever follows."""
    client = await bench.client(None).connect()
    await client.say(client.grpc.take() + bytes.fromhex("ffffff000000000001"))
    reason, details = await bench.rejection()

    assert (reason, details["detail"]) == (GatewayRejectedReason.NO_CREDENTIALS, None)
    assert await client.gone() == "eof"


@pytest.mark.parametrize("holder", [None, GATEWAY])
async def test_what_a_stranger_may_make_us_work_is_bounded(bench: GatewayBench, holder: Holder | None) -> None:
    """Pings, each answered, instead of a stream: until the timeout they would take all the time that there is."""
    client = await bench.client(holder).connect()
    pings = (bytes.fromhex("000008060000000000") + bytes(8)) * 1_000
    await client.say(client.grpc.take())
    with suppress(OSError):
        for _ in range(40):
            await client.say(pings)
            await asyncio.sleep(0.01)
    reason, details = await bench.rejection()

    if holder is None:
        assert reason is GatewayRejectedReason.NO_CREDENTIALS
    else:
        assert reason is GatewayRejectedReason.HTTP2_ERROR
        assert details["detail"] == "more than 131072 octets before the control stream"
    assert await client.gone()


@pytest.mark.parametrize("limit", ["connections", "half_open"])
async def test_who_is_one_too_many_costs_no_tls(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is made for a connection that is refused at once."""
    async with gateway_bench(**{limit: 1}) as bench:
        await bench.client().dial()
        await until(lambda: bench.connections == 1)
        monkeypatch.setattr(TlsEngine, "accept", None)
        second = bench.client()
        await second.dial()
        second.thaw()
        reason, _ = await bench.rejection()

        assert reason is GatewayRejectedReason.OVERLOAD
        assert await second.gone()


# ---- start and stop --------------------------------------------------------------------------


async def test_a_defect_while_a_connection_is_lost_keeps_no_trace_of_it(
    bench: GatewayBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the listener would wait for it for ever when it stops."""
    client = await bench.client().serve()
    await bench.session()
    bench.sessions.fails = True
    monkeypatch.setattr(bench.sessions, "ended", None)
    client.reset()
    await until(lambda: bench.connections == 0)

    assert bench.listener.defects == 1


async def test_the_listener_ends_all_streams_in_words_when_it_stops() -> None:
    """Within a moment, and the port is free again."""
    async with gateway_bench() as bench:
        clients = [await bench.client(COLLECTION.leaf(serial=10_000 + each)).connect() for each in range(20)]
        for number, client in enumerate(clients):
            bench.sessions.known[10_000 + number] = f"gateway {number}"
            await client.say(client.grpc.take() + client.grpc.open())
        await bench.session(20)
        await bench.listener.stop()

        assert [await each.refused() for each in clients] == [(14, "server shutting down, reconnect")] * 20
        assert [each.ended for each in bench.sessions.sessions] == [[(GatewayReason.SHUTDOWN, "")]] * 20
        assert bench.connections == 0
        with pytest.raises(ConnectionRefusedError):
            await bench.client().dial()


async def test_stopping_waits_no_longer_than_it_must() -> None:
    """Handshakes are given up without a word, and a client that does not read is cut off."""
    async with gateway_bench() as bench:
        frozen = await bench.client().serve()
        frozen.freeze()
        await bench.client().dial()
        await until(lambda: bench.connections == 2)
        await bench.listener.stop()
        await bench.listener.stop()

        assert bench.connections == 0
        assert bench.sessions.rejections == []


async def test_metrics_tell_of_every_bound(bench: GatewayBench) -> None:
    client = await bench.client().serve()
    await client.send(KEEPALIVE)
    await until(lambda: len(client.grpc.messages) == 1)
    values = {each.name: each.value() for each in bench.listener.metrics()}

    assert values == {
        "gateways_connections": {"tls": 0, "http2": 0, "open": 1, "closing": 0},
        "gateways_handshakes": {"accepted": 1, "secured": 1, "opened": 1, "rejected": 0},
        "gateways_messages": {"up": 1, "down": 1},
        "gateways_queued_octets": 0,
        "gateways_pings": 0,
        "gateways_defects": 0,
    }
