"""
Invariant: the body of an upload, in whichever pieces it comes, is an image and an object, or is refused as a request.

The same octets in one piece have the same end. A refusal that has a place names one inside the body. `check` takes
octets, and where to cut them.
"""

from __future__ import annotations

from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from span_events.errors import MalformedMessage, RequestError
from span_events.web.rest.bodies import NewImageBody
from span_events.web.rest.image_body import ImageReader
from span_events.wire.base64_stream import Base64Decoder

LIMIT = 64
PIECES = (
    '{"image":"',
    '"version":"1"',
    ",",
    "}",
    "{",
    "[",
    "]",
    '"',
    "\\",
    "\\/",
    "\\u002B",
    "AAAA",
    "AA==",
    "=",
    " ",
    "é",
)


def cut(octets: bytes, cuts: list[int]) -> list[bytes]:
    """Part octets into pieces."""
    edges = [0, *sorted(each % (len(octets) + 1) for each in cuts), len(octets)]
    return [octets[start:end] for start, end in pairwise(edges)]


def read(pieces: list[bytes]) -> tuple[bytes, NewImageBody] | str:
    """Read a body to its end, or to its refusal."""
    reader = ImageReader(LIMIT)
    try:
        return b"".join([reader.feed(each) for each in pieces]), reader.finish()
    except RequestError as exc:
        return exc.detail


def check(octets: bytes, cuts: list[int]) -> None:
    """Hold the invariant for one body."""
    found = read(cut(octets, cuts))
    assert found == read([octets])
    assert isinstance(found, str) or found[1].image == ""


def check_base64(octets: bytes, cuts: list[int]) -> None:
    """Hold it for an image alone."""
    decoder, refusal = Base64Decoder(), None
    try:
        for each in cut(octets, cuts):
            decoder.feed(each)
        decoder.finish()
    except MalformedMessage as exc:
        refusal = exc
    assert refusal is None or 0 <= refusal.at <= len(octets)


@given(st.lists(st.sampled_from(PIECES)).map("".join).map(str.encode) | st.binary(), st.lists(st.integers(0, 200)))
@example(b'{"image":"AA\\u002', [])
@example(b'{"image":"AA\\', [11])
def test_any_body_is_read_or_refused(octets: bytes, cuts: list[int]) -> None:
    """What is nearly one, and what is nothing at all."""
    check(octets, cuts)


@given(st.binary() | st.text("AZaz09+/=").map(str.encode), st.lists(st.integers(0, 200)))
def test_any_text_is_base64_or_refused(octets: bytes, cuts: list[int]) -> None:
    """Octets of any kind, and those of base64 in any order."""
    check_base64(octets, cuts)
