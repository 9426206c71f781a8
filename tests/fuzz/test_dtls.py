"""
Recognition of DTLS and decoding of hellos with any octets.

Invariant: `is_dtls` returns; if it accepts a datagram, its `records` lie within the datagram and fill it.
`read_hello` returns, or raises MalformedMessage with an octet of the datagram.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from span_events.errors import MalformedMessage
from span_events.wire.dtls.hello import is_hello, read_hello
from span_events.wire.dtls.records import ContentType, is_dtls, pack, records
from tests.wire.dtls.test_hello import hello

HELLO = hello(cookie=b"c" * 32, suites=(0xC02B, 0xC0A8), extensions=((10, b"\0\x02\0\x17"), (43, b"\x02\xfe\xfd")))


@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda rest: b"\x17\xfe\xfd\0\x01" + rest))
def test_records_fill_the_datagram(datagram: bytes) -> None:
    """Splitting and joining the records gives the same datagram."""
    if is_dtls(datagram) and datagram[0] != ContentType.CONNECTION_ID:
        found = list(records(datagram))
        if any(each.kind == ContentType.CONNECTION_ID for each in found):
            return
        assert found[-1].at + found[-1].length == len(datagram)
        assert b"".join(pack(datagram, 32)) == datagram


@given(st.lists(st.tuples(st.integers(0, len(HELLO) - 1), st.integers(0, 255)), max_size=6), st.integers(0, 40))
def test_a_mutated_hello_is_decoded_or_refused(changes: list[tuple[int, int]], cut: int) -> None:
    """The mutations include wrong lengths."""
    octets = bytearray(HELLO[: len(HELLO) - cut])
    for at, value in changes:
        if at < len(octets):
            octets[at] = value
    datagram = bytes(octets)
    if not (is_dtls(datagram) and is_hello(datagram)):
        return
    try:
        read = read_hello(datagram)
    except MalformedMessage as exc:
        where = exc.at
    else:
        where = 0
        assert read.offered_suites
        assert read.offered_versions
        assert read.offered_groups
    assert 0 <= where <= len(datagram)
