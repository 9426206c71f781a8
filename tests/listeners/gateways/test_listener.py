"""Gateways on a real socket: the messages on their streams, and the reason of each kind of end."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable

import pytest

from span_events.events.reasons import GatewayReason, GatewayRejectedReason
from span_events.fleet.gateways.session import Departure, DeviceDeparture
from span_events.proto.gateway_pb2 import ControlStreamResponse, DownstreamMessage
from span_events.wire.openssl import Identity
from tests.bench.waiting import until
from tests.listeners.gateways.bench import (
    CONFIG_REQUEST,
    KEEPALIVE,
    KEEPALIVE_RESPONSE,
    OTHER,
    ROOT,
    SECOND,
    SERVERS,
    VERSIONS,
    GatewayBench,
    RawGateway,
    device_config,
    gateway_bench,
    upstream,
)

# ---- a stream --------------------------------------------------------------------------------


@VERSIONS
async def test_a_gateway_opens_its_stream(gateways: GatewayBench, version: ssl.TLSVersion) -> None:
    """The stream is answered before its first message."""
    client = await gateways.client(trusted=ROOT, version=version).serve()
    session = await gateways.session()

    assert session.serial == 4711
    assert session.details == {
        "remote": client.remote,
        "tls_version": version.name.replace("v1_", "v1."),
        "user_agent": "raw/1",
    }


async def test_answers_come_in_the_order_in_which_they_were_sent(gateways: GatewayBench) -> None:
    """GatewayConfigUpdate, then a DeviceConfigUpdate for each device; the octets are those of Span's clients."""
    client = await gateways.client().serve()
    await client.send(CONFIG_REQUEST)
    await client.send(KEEPALIVE)
    await until(lambda: len(client.grpc.messages) == 5)

    assert (CONFIG_REQUEST, KEEPALIVE) == (b"\x0a\x00", b"\x1a\x00")
    kinds = [ControlStreamResponse.FromString(each).WhichOneof("msg") for each in client.grpc.messages]
    assert kinds == ["gateway_update", "device_update", "device_update", "device_update", "keepalive_response"]


async def test_messages_reach_the_fleet_in_order(gateways: GatewayBench) -> None:
    """Each message is decoded once."""
    client = await gateways.client().serve()
    for number in range(50):
        await client.send(upstream(b"%d" % number))
    session = await gateways.session()
    await until(lambda: len(session.received) == 50)

    assert [each.upstream_message.payload for each in session.received] == [b"%d" % each for each in range(50)]


async def test_a_message_without_a_known_part_is_passed_to_the_fleet(gateways: GatewayBench) -> None:
    """An unknown member, an empty message, a known member of the wrong type; the stream continues."""
    client = await gateways.client().serve()
    for message in (b"\x7a\x00", b"", b"\x08\x01", KEEPALIVE):
        await client.send(message)
    await until(lambda: len(client.grpc.messages) == 1)
    session = await gateways.session()

    assert [each.WhichOneof("msg") for each in session.received] == [None, None, None, "keepalive"]


async def test_an_unknown_kind_of_frame_is_ignored(gateways: GatewayBench) -> None:
    """RFC 9113 §5.5."""
    client = await gateways.client().serve()
    await client.say(bytes.fromhex("000004420000000000") + bytes(4))
    await client.send(KEEPALIVE)

    await until(lambda: len(client.grpc.messages) == 1)


async def test_another_method_is_answered_and_the_connection_waits_on(gateways: GatewayBench) -> None:
    """For example, server reflection before the stream."""
    client = await gateways.client().open("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
    refused = await client.refused()
    await client.say(client.grpc.open())
    await gateways.session()

    assert refused == (12, "unknown method /grpc.reflection.v1.ServerReflection/ServerReflectionInfo")


async def test_a_second_stream_on_one_connection_is_refused(gateways: GatewayBench) -> None:
    """The first stream is not affected; the second gets a status with the cause."""
    client = await gateways.client().serve()
    await client.say(client.grpc.open())
    refused = await client.refused()
    client.grpc.stream = 1
    await client.send(KEEPALIVE)
    await until(lambda: len(client.grpc.messages) == 1)

    assert refused == (8, "one control stream per connection: open another one")
    assert len(gateways.sessions.sessions) == 1


async def test_the_same_gateway_twice_replaces_the_older(gateways: GatewayBench) -> None:
    """The newer connection is alive; the older one gets a status."""
    first = await gateways.client().serve()
    older = await gateways.session()
    second = await gateways.client(SECOND).serve()
    await second.send(KEEPALIVE)
    await until(lambda: len(second.grpc.messages) == 1)

    assert await first.refused() == (10, "replaced by a newer connection")
    assert await gateways.end(older) == (GatewayReason.REPLACED, "")
    assert gateways.sessions.published == ["opened", "ended replaced", "opened"]


async def test_a_new_identity_of_the_server_is_shown_to_new_connections(gateways: GatewayBench) -> None:
    """Open streams continue."""
    old = await gateways.client(trusted=ROOT).serve()
    renewed = SERVERS.leaf("server", server=True)
    gateways.engine.present([Identity(renewed.key_pem, renewed.chain_pem)])
    new = await gateways.client(SECOND, trusted=ROOT).connect()
    shown = [each.tls.object.getpeercert(binary_form=True) for each in (old, new)]

    assert shown[0] != shown[1]
    assert gateways.connections == 2


# ---- output ----------------------------------------------------------------------------------


async def test_a_message_counts_as_sent_when_the_kernel_has_it(gateways: GatewayBench) -> None:
    """The session may then send the next message."""
    client = await gateways.client().serve()
    session, gateways.sessions.follow_up = await gateways.session(), numbered(2)

    assert session.link.send(KEEPALIVE_RESPONSE, departure=numbered(1))
    assert session.departed == []
    await until(lambda: len(client.grpc.messages) == 2)
    assert session.departed == [numbered(1), numbered(2)]


async def test_a_newer_message_of_a_key_replaces_the_one_that_waits(gateways: GatewayBench) -> None:
    """The newer message takes the older one's place; the older one has no departure."""
    client = await gateways.client().serve()
    session = await gateways.session()
    session.link.send(device_config(1, "old"), key=1, departure=numbered(1))
    session.link.send(KEEPALIVE_RESPONSE)
    session.link.send(device_config(1, "new"), key=1, departure=numbered(2))
    await until(lambda: len(client.grpc.messages) == 2)

    assert client.grpc.messages[0] == device_config(1, "new").SerializeToString()
    assert session.departed == [numbered(2), None]


async def test_nothing_is_sent_after_the_end(gateways: GatewayBench) -> None:
    """`send` returns False, and `end` has no effect."""
    await gateways.client().serve()
    session = await gateways.session()
    session.link.end(GatewayReason.GATEWAY_REMOVED)
    session.link.end(GatewayReason.REPLACED)

    assert session.link.send(KEEPALIVE_RESPONSE) is False
    assert session.ended == [(GatewayReason.GATEWAY_REMOVED, "")]


def numbered(number: int) -> Departure:
    """Return a departure with a number."""
    return DeviceDeparture(0, number, 0)


def large(size: int = 1_000) -> ControlStreamResponse:
    """Encode a message of a given size."""
    return ControlStreamResponse(downstream_message=DownstreamMessage(message_id="1", payload=bytes(size)))


async def test_a_gateway_that_does_not_read_costs_its_queue_and_no_more(gateways: GatewayBench) -> None:
    """Its window takes 64 KiB, the queue 1,000 messages; other gateways notice nothing."""
    client = await gateways.client(reads=False).serve()
    session = await gateways.session()
    for _ in range(60):  # as much as the window takes
        session.link.send(large())
    await until(lambda: len(session.departed) == 60)
    taken = sum(session.link.send(large(100)) for _ in range(5_000))
    other = await gateways.client(OTHER).serve()
    await other.send(KEEPALIVE)
    await until(lambda: len(other.grpc.messages) == 1)

    assert taken == 1_000
    assert session.link.queued < 1_048_576
    assert await gateways.wait(31, lambda: bool(session.ended)) >= 30
    assert (await gateways.end(session))[0] is GatewayReason.SLOW_READER
    assert (await client.refused())[0] == 8


async def test_a_full_kernel_buffer_pauses_sending(gateways: GatewayBench) -> None:
    """The window is huge, but the client does not read; the queue's octets are the limit."""
    client = gateways.client(receive_buffer=4_096)
    client.grpc.h2.update_settings({4: 1 << 30})
    client.grpc.h2.increment_flow_control_window(1 << 30)
    await client.serve()
    session = await gateways.session()
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


async def test_unread_answers_stop_reading() -> None:
    """A flood of pings, each with a mandatory answer, costs a bounded buffer."""
    async with gateway_bench(frames_per_second=1_000_000) as gateways:
        client = await gateways.client(receive_buffer=4_096).serve()
        client.freeze()
        session = await gateways.session()
        pings = (bytes.fromhex("000008060000000000") + bytes(8)) * 10_000
        flood = asyncio.get_running_loop().create_task(client.write(client.tls.send(pings * 10)))
        await until(lambda: session.link._transport.unsent > 262_144)
        await until(lambda: not session.link._transport.is_reading)

        assert session.link._transport.unsent < 1_000_000
        await gateways.wait(31, lambda: bool(session.ended))
        assert (await gateways.end(session))[0] is GatewayReason.SLOW_READER
        flood.cancel()


async def test_the_kernel_buffer_of_a_gateway_is_bounded(gateways: GatewayBench) -> None:
    """Linux doubles SO_SNDBUF; TCP closes the connection after TCP_USER_TIMEOUT."""
    await gateways.client().serve()
    accepted = (await gateways.session()).link._transport._transport.get_extra_info("socket")

    assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 2 * 65_536
    assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000


# ---- ends ------------------------------------------------------------------------------------

Leave = Callable[[RawGateway], Awaitable[None]]


async def die(client: RawGateway) -> None:
    """End like a killed process."""
    client.die()


async def reset(client: RawGateway) -> None:
    """End with a TCP reset."""
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
async def test_each_kind_of_end_has_a_reason(
    gateways: GatewayBench, leave: Leave, reason: str, detail: str | None
) -> None:
    """Each connection has one end; later errors of the connection are not published."""
    client = await gateways.client().serve()
    session = await gateways.session()
    await leave(client)
    end = await gateways.end(session)
    await gateways.wait(2, lambda: gateways.connections == 0)

    assert end[0] == reason
    assert end[1] == detail or (detail is None and end[1])
    assert session.ended == [end]


async def test_a_half_closed_call_is_answered_before_its_end(gateways: GatewayBench) -> None:
    """Tools for single calls half-close with the request; all answers come before the status."""
    client = await gateways.client().serve()
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
async def test_the_gateway_gets_the_reason_of_the_end(
    gateways: GatewayBench, message: Callable[[RawGateway], bytes], status: int, words: str
) -> None:
    """A status and a text, then GOAWAY, close_notify and the end of TCP, and no reset."""
    client = await gateways.client().serve()
    await client.say(message(client))
    found = await client.refused()

    assert (found[0], found[1].startswith(words)) == (status, True)
    assert await client.gone() == "eof"
    assert (client.grpc.goaway, client.tls.closed) == (0, True)


async def test_a_message_of_five_megabytes_ends_its_stream_and_nothing_else(gateways: GatewayBench) -> None:
    """The message is rejected by its prefix, and not stored."""
    client, other = await gateways.client().serve(), await gateways.client(OTHER).serve()
    sessions = list(gateways.sessions.sessions)
    await client.say(client.grpc.raw((5_000_000).to_bytes(5, "big") + bytes(60_000)))
    end = await gateways.end(sessions[0])
    await other.send(KEEPALIVE)
    await until(lambda: len(other.grpc.messages) == 1)

    assert end == (GatewayReason.MESSAGE_TOO_LARGE, "a message of 5000000 octets; the limit is 262144")
    assert (await client.refused())[0] == 8


async def test_the_deadline_of_a_client_ends_its_call(gateways: GatewayBench) -> None:
    """The deadline comes from grpc-timeout; there is no other."""
    client = await gateways.client().open(extra=[("grpc-timeout", "3S")])
    session = await gateways.session()

    assert await gateways.wait(4, lambda: bool(session.ended)) == pytest.approx(3, abs=0.5)
    assert await gateways.end(session) == (GatewayReason.DEADLINE, "")
    assert await client.refused() == (4, "deadline exceeded")


async def test_too_many_calls_end_the_connection(gateways: GatewayBench) -> None:
    """HTTP/2's rapid reset: h2 would store each stream."""
    client = await gateways.client().connect()
    await client.say(client.grpc.take())
    for _ in range(101):
        await client.say(client.grpc.open("/x") + client.grpc.give_up(8))
    reason, details = await gateways.rejection()

    assert reason is GatewayRejectedReason.HTTP2_ERROR
    assert details["detail"] == "more than 100 calls on one connection"


async def test_a_defect_of_ours_costs_one_connection(gateways: GatewayBench) -> None:
    """The defect is logged, counted, and published as an end."""
    client = await gateways.client().serve()
    session = await gateways.session()
    gateways.sessions.fails = True
    await client.send(KEEPALIVE)
    end = await gateways.end(session)

    assert end == (GatewayReason.SERVER_ERROR, "")
    assert gateways.listener.defects == 1
    assert await client.gone()
