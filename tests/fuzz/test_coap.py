"""
Invariant: `decode` returns a message, or raises MalformedMessage with an octet inside the datagram.

`decode` inverts `encode` for each decoded message; its path and its unsupported option can always be read.
Run it longer with ``--hypothesis-profile`` or under a coverage-guided fuzzer: `check` takes octets.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from span_events.errors import MalformedMessage
from span_events.wire.coap.messages import CoapMessage, decode, encode
from span_events.wire.coap.requests import path_of, unsupported_option
from tests.wire.coap.strategies import messages


def check(datagram: bytes) -> None:
    """Check the invariant for one datagram."""
    try:
        message = decode(datagram)
    except MalformedMessage as exc:
        refusal = exc
    else:
        assert decode(encode(message)) == message
        assert path_of(message).startswith("/")
        unsupported_option(message)
        return
    assert 0 <= refusal.at <= len(datagram)
    assert refusal.detail


@given(st.binary(max_size=4096))
def test_garbage_is_rejected_with_one_exception(datagram: bytes) -> None:
    """Any octets."""
    check(datagram)


@given(st.integers(0, 255), st.binary(max_size=64))
def test_garbage_after_a_valid_header_is_rejected_with_one_exception(code: int, rest: bytes) -> None:
    """Octets that pass the check of the version."""
    check(bytes((0x40, code, 0, 1)) + rest)


@given(messages(), st.data())
def test_a_mutated_message_is_decoded_or_rejected(message: CoapMessage, data: st.DataObject) -> None:
    """One octet is changed."""
    octets = bytearray(encode(message))
    octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    check(bytes(octets))


@pytest.mark.parametrize(
    "octets",
    [
        "4002123400",  # option 0: unassigned, elective, empty
        "40021234e0fef200",  # option 65535, the largest number
    ],
)
def test_unusual_valid_messages_are_decoded(octets: str) -> None:
    """Found while writing the codec."""
    check(bytes.fromhex(octets))
