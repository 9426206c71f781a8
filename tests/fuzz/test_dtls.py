"""
Recognition of DTLS and decoding of hellos with any octets.

Invariant: `is_dtls` returns; if it accepts a datagram, its `records` lie within the datagram and fill it.
`read_hello` returns, or raises MalformedMessage with an octet of the datagram. `cut_of` returns, and finds no fault in
whole records. A hello in any fragments, in any order and repeated, is put together again as it was.
"""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from span_events.errors import MalformedMessage
from span_events.wire.dtls.fragments import Assembly, Fragment, fragments
from span_events.wire.dtls.hello import is_hello, read_hello
from span_events.wire.dtls.records import ContentType, cut_of, is_dtls, pack, records
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


@given(st.binary(max_size=60).map(lambda rest: b"\x17\xfe\xfd\0\x01" + rest) | st.binary(max_size=200))
def test_a_cut_is_found_only_in_octets_that_are_not_dtls(datagram: bytes) -> None:
    """The fault lies within the datagram."""
    cut = cut_of(datagram)
    if cut is not None and not is_dtls(datagram):
        assert 0 <= cut.at <= len(datagram)


@given(st.binary(max_size=200))
def test_any_octets_give_fragments_within_their_message(rest: bytes) -> None:
    """A length that exceeds the record ends the search."""
    datagram = b"\x16\xfe\xfd" + bytes(8) + len(rest).to_bytes(2, "big") + rest
    for each in fragments(datagram):
        assert each.offset + len(each.octets) <= each.size


@given(st.binary(min_size=1, max_size=80), st.lists(st.integers(0, 80), max_size=6), st.randoms(use_true_random=False))
def test_fragments_in_any_order_make_the_message(body: bytes, cuts: list[int], chance: Random) -> None:
    """Some come twice, as after a retransmission."""
    ends = sorted({min(each, len(body)) for each in cuts} | {len(body)})
    parts = [
        Fragment(1, len(body), 0, begin, body[begin:end]) for begin, end in zip([0, *ends[:-1]], ends, strict=True)
    ]
    parts += chance.choices(parts, k=3)
    chance.shuffle(parts)
    assembly = Assembly(80)
    results = [assembly.add(each) for each in parts]

    assert body in results
    assert set(results) <= {None, body}
