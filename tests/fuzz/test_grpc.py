"""
Fuzz test of a gRPC connection: any input ends in events, never in an exception, and within the limits.

Invariant: `feed` returns, and returns no event after `Broken` or `GoneAway`; each message is within the limit;
the buffered part of a message is at most the limit plus one frame.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from span_events.wire.grpc.connections import Broken, GoneAway, GrpcEvent, Message, MessageFault, Status, StreamOpened
from span_events.wire.grpc.server import GrpcServer
from tests.wire.grpc.client import GrpcClient

MAX = 2_000


def conversation() -> bytes:
    """Return the octets of a valid client."""
    client = GrpcClient()
    octets = client.take() + client.open(extra=[("grpc-timeout", "1H")])
    octets += client.send(b"\x0a\x00") + client.send(b"x" * 300) + client.send(b"")
    client.h2.ping(b"12345678")
    return octets + client.take() + client.half_close() + client.open("/other") + client.give_up(8)


GOOD = conversation()


def serve(octets: bytes, cut: int) -> None:
    """Feed octets in parts, and react like a listener."""
    server = GrpcServer(max_message=MAX, max_streams=2)
    is_over = False
    for at in range(0, len(octets), cut):
        events: list[GrpcEvent] = list(server.feed(octets[at : at + cut]))
        assert not (is_over and events)
        for event in events:
            if isinstance(event, StreamOpened):
                server.answer(event.stream)
                server.send(event.stream, b"hello")
            elif isinstance(event, Message):
                assert len(event.payload) <= MAX
            elif isinstance(event, MessageFault):
                server.end(event.stream, Status.INVALID_ARGUMENT, event.detail)
            elif isinstance(event, Broken | GoneAway):
                is_over = True
        server.take()
        assert all(len(each.rest) <= MAX + 5 + 16_384 for each in server._streams.values())
    server.close()
    server.take()


def test_the_unmutated_conversation_is_valid() -> None:
    """Mutations start from a valid conversation."""
    server = GrpcServer(max_message=MAX, max_streams=2)
    names = [type(each).__name__ for each in server.feed(GOOD)]

    assert names == ["StreamOpened", "Message", "Message", "Message", "HalfClosed", "StreamOpened", "StreamReset"]


@settings(max_examples=500)
@given(
    st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=8),
    st.integers(1, 700),
)
def test_a_mutated_conversation_ends_in_events(changes: list[tuple[int, int]], cut: int) -> None:
    """The mutations spare the preface, whose octets are all checked."""
    octets = bytearray(GOOD)
    for at, value in changes:
        octets[at] = value
    serve(bytes(octets), cut)
    serve(GOOD[:24] + bytes(octets[24:]), cut)


@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 255), st.integers(0, 3), st.binary(max_size=80)), max_size=12)
)
def test_frames_at_random_end_in_events(frames: list[tuple[int, int, int, bytes]]) -> None:
    """Well-formed frames of every kind, in random order."""
    octets = GOOD[:24] + b"".join(
        len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload
        for kind, flags, stream, payload in frames
    )
    serve(octets, 50)


@given(st.binary(max_size=400))
def test_garbage_after_the_headers_ends_in_events(octets: bytes) -> None:
    """The random octets stand for messages."""
    client = GrpcClient()
    begin = client.take() + client.open()
    serve(begin + client.raw(octets, end=True), 4_000)
