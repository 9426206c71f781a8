"""
Invariant: `decode` returns a request, or raises MalformedMessage with a place inside the datagram.

What it returns can be verified, read in every way and answered; without the secret nobody is
believed, and an answer is never longer than a packet may be. Run it longer with
``--hypothesis-profile`` or under a coverage-guided fuzzer: `check` takes octets.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from span_events.errors import MalformedMessage
from span_events.wire.radius.attributes_3gpp import Note, read
from span_events.wire.radius.packets import (
    MAX_LENGTH,
    Attribute,
    Verdict,
    accept,
    accounting_response,
    decode,
    reject,
    status_answer,
    verify,
)
from tests.wire.radius.building import access_request, accounting_request, attribute, of_3gpp

SECRET = b"known to nobody who sends"
ATTRIBUTES = st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=253)), max_size=12)
OF_3GPP = st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=20)), max_size=8)


def check(datagram: bytes) -> None:
    """Hold the invariant for one datagram."""
    try:
        request = decode(datagram, SECRET)
    except MalformedMessage as exc:
        refusal = exc
    else:
        assert verify(request) is not Verdict.PROVEN
        assert set(read(request.values(Attribute.VENDOR_SPECIFIC)).notes) <= set(Note)
        for number in range(256):
            assert request.text(number).isprintable()
            request.number(number)
            request.address(number)
        request.framed_address()
        request.framed_prefix()
        answers = (
            accept(request, address="10.0.0.1", prefix="2001:db8::/64", class_=bytes(253)),
            reject(request, "No."),
            accounting_response(request),
            status_answer(request, accounting=True),
        )
        assert max(map(len, answers)) <= MAX_LENGTH
        return
    assert 0 <= refusal.at <= len(datagram)
    assert refusal.detail


@given(st.binary(max_size=4200))
def test_garbage_is_refused_with_one_exception(datagram: bytes) -> None:
    """Any octets."""
    check(datagram)


@given(st.integers(0, 255), st.binary(max_size=300))
def test_garbage_after_a_good_header_is_refused_with_one_exception(code: int, rest: bytes) -> None:
    """Octets that come further than the length."""
    check(bytes((code, 1)) + (20 + len(rest)).to_bytes(2, "big") + bytes(16) + rest)


@given(st.sampled_from([access_request, accounting_request]), ATTRIBUTES, OF_3GPP, st.booleans())
def test_forged_requests_are_read_and_not_believed(
    build: object, attributes: list[tuple[int, bytes]], inner: list[tuple[int, bytes]], signed: bool
) -> None:
    """Well-formed but for an 80 among them, and signed with another secret."""
    assert callable(build)
    check(build(of_3gpp(*inner) + b"".join(attribute(*each) for each in attributes), signed=signed))


@given(OF_3GPP, st.data())
def test_a_mutated_request_is_read_or_refused(inner: list[tuple[int, bytes]], data: st.DataObject) -> None:
    """One octet is not what it was."""
    octets = bytearray(access_request(attribute(1, b"me") + of_3gpp(*inner)))
    octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    check(bytes(octets))
