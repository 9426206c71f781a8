"""Base64 in pieces."""

from __future__ import annotations

import base64
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from span_events.errors import MalformedMessage
from span_events.wire.base64_stream import Base64Decoder

TEXTS = st.text(alphabet="AZaz09+/=", max_size=12).map(str.encode)


def decode(text: bytes, cuts: list[int]) -> bytes:
    """Decode a text that comes in pieces."""
    decoder = Base64Decoder()
    edges = [0, *sorted(each % (len(text) + 1) for each in cuts), len(text)]
    pieces = [decoder.feed(text[start:end]) for start, end in pairwise(edges)]
    return b"".join([*pieces, decoder.finish()])


@given(st.binary(max_size=200), st.lists(st.integers(0, 300), max_size=5))
def test_pieces_decode_to_the_whole(octets: bytes, cuts: list[int]) -> None:
    """Wherever they are cut."""
    assert decode(base64.b64encode(octets), cuts) == octets


@given(TEXTS, st.lists(st.integers(0, 12), max_size=3))
def test_it_agrees_with_the_standard_library(text: bytes, cuts: list[int]) -> None:
    """What is base64, and what it stands for; the library also takes padding that is not needed, which we do not."""
    try:
        expected = base64.b64decode(text, validate=True)
    except ValueError:
        expected = None
    if expected is None or len(text) % 4:
        with pytest.raises(MalformedMessage):
            decode(text, cuts)
    else:
        assert decode(text, cuts) == expected


@pytest.mark.parametrize("cuts", [[], [3], [1, 2, 3, 4, 5, 6, 7]])
@pytest.mark.parametrize(
    ("text", "at"),
    [
        (b"AAAA AAA", 4),
        (b"AAAA\nAAA", 4),
        (b"AAAAAA-A", 6),
        ("AAåA".encode(), 2),
        (b"AAA=AAAA", 4),
        (b"AA=A", 3),
        (b"A===", 3),
        (b"AA==AA==", 4),
        (b"AA=", 3),
        (b"AAA", 3),
        (b"AAAAA", 5),
        (b"AAAA=", 5),
        (b"=", 1),
    ],
)
def test_it_says_where_a_text_stops_being_base64(text: bytes, at: int, cuts: list[int]) -> None:
    """Counted from the beginning of the text, however it comes."""
    with pytest.raises(MalformedMessage) as refused:
        decode(text, cuts)

    assert refused.value.at == at
