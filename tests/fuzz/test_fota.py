"""
Invariant: `decode_report` returns a report with a version, or raises MalformedMessage with a place inside the payload.

A decoded report is the same after encoding and decoding. Both hold for `decode_response`, too. `check` accepts any
octets.
"""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from span_events.errors import MalformedMessage
from span_events.wire.fota import (
    MAX_HOST,
    MAX_PATH,
    Report,
    Response,
    decode_report,
    decode_response,
    encode_report,
    encode_response,
)


def read(decode: Callable[[bytes], Report | Response], payload: bytes) -> Report | Response | None:
    """Decode a payload; an error must have a detail and a place."""
    try:
        return decode(payload)
    except MalformedMessage as exc:
        refusal = exc
    assert 0 <= refusal.at <= len(payload)
    assert refusal.detail
    return None


def check(payload: bytes) -> None:
    """Check the invariant for one payload."""
    report = read(decode_report, payload)
    if isinstance(report, Report):
        assert report.version
        assert decode_report(encode_report(report)) == report
    response = read(decode_response, payload)
    if isinstance(response, Response) and len(response.host) <= MAX_HOST and len(response.path) <= MAX_PATH:
        assert decode_response(encode_response(response)) == response


@given(st.binary(max_size=1100))
def test_garbage_is_refused_with_one_exception(payload: bytes) -> None:
    """The payload has any octets."""
    check(payload)


@given(st.lists(st.tuples(st.integers(0, 6), st.binary(max_size=30)), max_size=8), st.integers(0, 5))
def test_fields_of_any_content_are_decoded_or_refused(fields: list[tuple[int, bytes]], cut: int) -> None:
    """The fields are whole, except that the last one may be truncated."""
    payload = b"".join(bytes((number, len(value))) + value for number, value in fields)
    check(payload[: len(payload) - cut])
