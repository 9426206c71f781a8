"""
Invariant: a head is incomplete, or is decoded, or raises MalformedMessage with a place inside the input.

The result does not depend on segmentation. `check` accepts any octets.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from span_events.errors import MalformedMessage
from span_events.wire.http_head import MAX_HEAD, Head, decode, end_of_head

_TEXT = st.text(st.characters(codec="latin-1"), max_size=20).map(lambda text: text.encode("latin-1"))
_LINES = st.lists(
    st.tuples(
        st.sampled_from([b"Host", b"Content-Length", b"Expect", b""]) | _TEXT, st.sampled_from([b": ", b":"]), _TEXT
    ),
    max_size=5,
)
_ENDS = st.sampled_from([b"\r\n", b"\n"])


def check(octets: bytes) -> Head | None:
    """Check the invariant for the octets of one connection."""
    try:
        end = end_of_head(octets)
        if end is None:
            return None
        head = decode(octets[:end])
    except MalformedMessage as exc:
        refusal = exc
    else:
        assert end <= min(len(octets), MAX_HEAD)
        assert head.path
        assert head.length is None or head.length >= 0
        return head
    assert 0 <= refusal.at <= len(octets)
    assert refusal.detail
    return None


@given(st.binary(max_size=500))
def test_garbage_is_refused_with_one_exception(octets: bytes) -> None:
    check(octets)


@given(_TEXT, _LINES, _ENDS, st.binary(max_size=20))
def test_similar_input_to_a_request_is_decoded_or_refused(
    target: bytes, lines: list[tuple[bytes, bytes, bytes]], end: bytes, content: bytes
) -> None:
    """Target and fields are any text, with both kinds of line ends."""
    head = end.join((b"POST " + target + b" HTTP/1.1", *(b"".join(each) for each in lines), b"", b""))
    check(head + content)


@given(_LINES, st.integers(min_value=1, max_value=7))
def test_segmentation_does_not_change_the_end_of_a_head(lines: list[tuple[bytes, bytes, bytes]], size: int) -> None:
    """The head ends at the same octet as in one piece."""
    octets = b"\r\n".join((b"POST / HTTP/1.1", *(b"".join(each) for each in lines), b"", b"content"))

    def first_end() -> int | None:
        for seen in range(size, len(octets) + size, size):
            found = end_of_head(octets[:seen])
            if found is not None:
                return found
        return None

    assert first_end() == end_of_head(octets)
