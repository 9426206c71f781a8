"""gRPC's server side: messages in both directions, and their flow control."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from span_events.wire.grpc.connections import (
    Fault,
    Message,
    MessageFault,
    Status,
    StreamOpened,
)
from tests.wire.grpc.pair import MAX, opened


def test_messages_arrive_whole_and_in_order() -> None:
    """Several in a frame, one in several frames, empty ones."""
    pair = opened()
    sent = [b"a", b"", b"b" * 40_000, b"c"]
    pair.carry(pair.client.raw(b"".join(struct.pack("!BL", 0, len(each)) + each for each in sent)))

    assert pair.events == [Message(1, each) for each in sent]


@given(st.lists(st.binary(max_size=60), max_size=8), st.lists(st.integers(1, 40), min_size=1, max_size=8))
def test_the_segmentation_of_octets_makes_no_difference(sent: list[bytes], cuts: list[int]) -> None:
    """The boundaries of frames and of reads are arbitrary."""
    pair = opened()
    octets = b"".join(struct.pack("!BL", 0, len(each)) + each for each in sent)
    at = number = 0
    while at < len(octets):
        size = cuts[number % len(cuts)]
        frame = pair.client.raw(octets[at : at + size])
        for begin in range(0, len(frame), size):
            pair.carry(frame[begin : begin + size])
        at += size
        number += 1

    assert pair.events == [Message(1, each) for each in sent]


def test_flow_control_windows_are_replenished() -> None:
    """A client may send more octets than one window."""
    pair = opened()
    for _ in range(20):
        pair.carry(pair.client.send(bytes(20_000)))

    assert len(pair.events) == 20


@pytest.mark.parametrize(
    ("flag", "length", "fault", "detail"),
    [
        (0, 0xFFFFFFFF, Fault.TOO_LARGE, f"a message of 4294967295 octets; the limit is {MAX}"),
        (0, MAX + 1, Fault.TOO_LARGE, f"a message of {MAX + 1} octets; the limit is {MAX}"),
        (1, 3, Fault.COMPRESSED, "a message is compressed"),
        (255, 3, Fault.MALFORMED, "the octet before a message's length is 255"),
    ],
)
def test_a_faulty_message_is_detected_by_its_prefix(flag: int, length: int, fault: Fault, detail: str) -> None:
    """The message and all later ones are ignored; the connection continues."""
    pair = opened()
    events = pair.carry(pair.client.send(b"abc", flag=flag, length=length))
    more = pair.carry(pair.client.send(b"x" * 10_000))
    pair.server.end(1, Status.RESOURCE_EXHAUSTED, "no")
    pair.settle()

    assert events == [MessageFault(1, fault, detail)]
    assert more == []
    assert pair.client.status == (8, "no")
    pair.carry(pair.client.open())
    assert isinstance(pair.events[-1], StreamOpened)


def test_a_message_of_exactly_the_limit_is_accepted() -> None:
    pair = opened(max_message=3)

    assert pair.carry(pair.client.send(b"abc")) == [Message(1, b"abc")]


def test_a_truncated_message_is_no_half_close() -> None:
    """Some libraries confuse the two."""
    pair = opened()
    pair.carry(pair.client.send(b"abc", length=16))

    assert pair.carry(pair.client.half_close()) == [
        MessageFault(1, Fault.TRUNCATED, "the stream ended after 8 octets of a message")
    ]


def test_messages_are_joined_into_few_frames() -> None:
    """A frame costs more than a message."""
    pair = opened()
    for number in range(100):
        pair.server.send(1, b"%d" % number)
    octets = pair.server.take()

    assert octets[:4] == b"\x00\x02\xb2\x00"  # one DATA frame of 690 octets
    assert len(octets) == 9 + 690
    pair.client.step(octets)
    assert pair.client.messages == [b"%d" % number for number in range(100)]


def test_octets_beyond_the_window_wait() -> None:
    """A client that does not read gets 65,535 octets, and the rest after reading."""
    pair = opened(reads=False)
    pair.server.send(1, bytes(100_000))
    pair.settle()
    waiting = pair.server.waiting(1)
    pair.client.h2.increment_flow_control_window(50_000)
    pair.client.h2.increment_flow_control_window(50_000, 1)
    pair.carry(pair.client.take())

    assert waiting == 100_005 - 65_535
    assert (pair.server.waiting(1), pair.client.messages) == (0, [bytes(100_000)])


def test_a_negative_window_stops_sending() -> None:
    """SETTINGS_INITIAL_WINDOW_SIZE can make a window negative (RFC 9113 §6.9.2)."""
    pair = opened(reads=False)
    pair.server.send(1, bytes(60_000))
    pair.settle()
    pair.client.h2.update_settings({4: 1_000})
    pair.carry(pair.client.take())
    pair.server.send(1, b"x")
    pair.settle()

    assert pair.server.waiting(1) == 6
