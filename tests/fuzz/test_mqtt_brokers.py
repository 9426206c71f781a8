"""
Invariant: the octets of a broker are packets, a part of one, or raise MalformedMessage.

The result does not depend on segmentation, and no more octets wait than the longest packet has.
"""

from __future__ import annotations

from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from span_events.errors import MalformedMessage
from span_events.wire.mqtt.publishing import publication
from span_events.wire.mqtt.subscribing import BrokerPackets, Packet

LONGEST: Final = 64
PARTS: Final = (
    b"\x20\x02\0\0",
    b"\x90\x03\0\1\1",
    b"\xd0\0",
    publication("a/b", b"hi", 7),
    publication("c", bytes(300), 8),
)


def check(octets: bytes, size: int) -> tuple[list[Packet], bool]:
    """Return the packets of octets in pieces, and whether an invalid one followed."""
    packets = BrokerPackets(LONGEST)
    found: list[Packet] = []
    for begin in range(0, len(octets), size):
        try:
            found += packets.feed(octets[begin : begin + size])
        except MalformedMessage:
            return found, True
        assert packets.waiting <= LONGEST + 65_535
    return found, False


@given(st.binary(max_size=200))
def test_garbage_is_refused_with_one_exception(octets: bytes) -> None:
    check(octets, max(1, len(octets)))


@given(
    st.lists(st.sampled_from(PARTS), max_size=8).map(b"".join),
    st.lists(st.tuples(st.integers(0, 700), st.integers(0, 255)), max_size=2),
    st.integers(1, 50),
)
def test_pieces_make_no_difference(octets: bytes, changes: list[tuple[int, int]], size: int) -> None:
    """An invalid packet may come together with valid ones, which a single call then does not return."""
    data = bytearray(octets)
    for at, value in changes:
        if at < len(data):
            data[at] = value
    one, is_bad = check(bytes(data), 1)
    several, also_bad = check(bytes(data), size)

    assert is_bad == also_bad
    assert several == one if not is_bad else several == one[: len(several)]
