"""gRPC's server side: clients that violate HTTP/2."""

from __future__ import annotations

import pytest

from span_events.wire.grpc.connections import (
    Broken,
    Message,
    code_name,
)
from span_events.wire.grpc.server import GrpcServer
from tests.wire.grpc.pair import MAX, Pair, opened

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
EMPTY_SETTINGS = bytes.fromhex("000000040000000000")


@pytest.mark.parametrize(
    ("frame", "detail"),
    [
        ("ffffff000000000001", "a frame of 16777215 octets; the limit is 16384"),
        ("004001000000000001", "a frame of 16385 octets; the limit is 16384"),
        ("000003000000000000010203", ""),
        ("000001060000000000aa", ""),
    ],
)
def test_a_frame_that_breaks_http2_ends_the_connection(frame: str, detail: str) -> None:
    """An excessive length, detected in the frame header; DATA on stream 0; a short PING."""
    pair = opened()
    (event,) = pair.server.feed(bytes.fromhex(frame))

    assert isinstance(event, Broken)
    assert event.detail == detail or (not detail and event.detail)
    pair.client.step(pair.server.take())
    assert pair.client.goaway


def test_a_frame_header_may_come_in_pieces() -> None:
    """The guard continues its count."""
    pair = opened()
    octets = bytes.fromhex("000004420000000000") + bytes(4) + bytes.fromhex("ffffff00")
    events = [event for at in range(len(octets)) for event in pair.server.feed(octets[at : at + 1])]

    assert events == []
    (event,) = pair.server.feed(bytes(5))
    assert isinstance(event, Broken)


def test_headers_without_end_are_refused_before_they_are_joined() -> None:
    """CONTINUATION after CONTINUATION."""
    pair = Pair()
    begin = (16_000).to_bytes(3, "big") + b"\x01\x00\x00\x00\x00\x01" + bytes(16_000)
    go_on = (16_000).to_bytes(3, "big") + b"\x09\x00\x00\x00\x00\x01" + bytes(16_000)

    assert pair.server.feed(begin + go_on) == []
    (event,) = pair.server.feed(go_on)
    assert event == Broken("headers of 48000 octets; the limit is 32768")


def test_headers_that_decompress_beyond_the_limit_are_refused() -> None:
    """A small block may decompress to a large one (HPACK bomb)."""
    pair = Pair()
    (event,) = pair.carry(pair.client.open(extra=[("a" * 20, "b" * 3_900), *[("c", "d" * 500)] * 30]))

    assert isinstance(event, Broken)


def test_an_unknown_kind_of_frame_is_ignored() -> None:
    """RFC 9113 §5.5."""
    pair = opened()

    assert pair.carry(bytes.fromhex("000004420000000000") + bytes(4)) == []
    assert pair.carry(pair.client.send(b"x")) == [Message(1, b"x")]


def test_a_third_simultaneous_call_breaks_the_limit() -> None:
    """max_streams is 2."""
    pair = opened()
    pair.carry(pair.client.open())
    pair.client.h2.remote_settings[3] = 100
    pair.client.h2.remote_settings.acknowledge()
    (event,) = pair.carry(pair.client.open())

    assert isinstance(event, Broken)


def test_octets_other_than_http2_raise_no_exception() -> None:
    server = GrpcServer(max_message=MAX, max_streams=2)
    (event,) = server.feed(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")

    assert isinstance(event, Broken)


def test_codes_have_names() -> None:
    assert (code_name(8), code_name(4711)) == ("CANCEL", "4711")
