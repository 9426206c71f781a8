"""Invariant: the body of an upload is JSON with an image, or is refused as a request; nothing else is raised."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from span_events.errors import RequestError
from span_events.web.rest.bodies.models import NewImageBody
from span_events.web.rest.bodies.reading import parse_body

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
    "=",
    " ",
    "\u00e9",
)


def read(octets: bytes) -> NewImageBody | RequestError:
    """Read a body, or return the refusal."""
    try:
        return parse_body(octets, NewImageBody)
    except RequestError as exc:
        return exc


@given(st.lists(st.sampled_from(PIECES)).map("".join).map(str.encode) | st.binary())
@example(b'{"image":"AA\\u002')
@example(b"\xff")
def test_any_body_is_read_or_refused(octets: bytes) -> None:
    """Nearly valid bodies, and octets of any kind."""
    body = read(octets)

    assert body.detail if isinstance(body, RequestError) else isinstance(body.image, str)
