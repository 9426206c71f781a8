"""The chunked transfer coding."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from span_events.errors import MalformedMessage
from span_events.wire.http_chunks import ChunkedDecoder

EXAMPLES = [
    (b"0\r\n\r\n", b""),
    (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
    (b"00005;name=value\r\nhello\r\n1 ; a\r\n!\r\n0\r\nDigest: x\r\n\r\n", b"hello!"),
    (b"a\nhello\r\nyou\n0\n\n", b"hello\r\nyou"),
    (b"3\r\n5\r\n\r\n0\r\n\r\nignored", b"5\r\n"),
]
REFUSED = [
    (b"hello\r\n", "the size of a chunk is b'hello'", 7),
    (b"-1\r\n", "the size of a chunk is b'-1'", 4),
    (b"0x5\r\n", "the size of a chunk is b'0x5'", 5),
    (b"\r\n", "the size of a chunk is b''", 2),
    (b"123456789\r\n", "the size of a chunk is b'123456789'", 11),
    (b"2\r\nabc\r\n", "a chunk is longer than its size", 8),
    (b"1;" + b"x" * 300, "a line of a chunk is over 256 octets", 302),
    (b"0\r\n" + b"A: %s\r\n" % (b"b" * 200) * 50, "the fields after the last chunk are over 8192 octets", 8408),
    (b"1\r\nx\r\n" * 10_001, "10001 chunks have less than 16 octets on average", 60_003),
]


@pytest.mark.parametrize("size", [1, 2, 1000])
@pytest.mark.parametrize(("octets", "content"), EXAMPLES)
def test_chunks_are_decoded_in_any_segmentation(octets: bytes, content: bytes, size: int) -> None:
    decoder = ChunkedDecoder()
    found = b"".join(decoder.feed(octets[at : at + size]) for at in range(0, len(octets), size))

    assert found == content
    assert decoder.done


@pytest.mark.parametrize(("octets", "detail", "at"), REFUSED)
def test_malformed_chunks_are_refused_with_the_octet(octets: bytes, detail: str, at: int) -> None:
    with pytest.raises(MalformedMessage) as refusal:
        ChunkedDecoder().feed(octets)

    assert refusal.value.detail.startswith(detail)
    assert refusal.value.at == at


@given(st.lists(st.binary(min_size=1, max_size=40)), st.integers(1, 9))
def test_the_decoder_inverts_the_coding(chunks: list[bytes], size: int) -> None:
    octets = b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in chunks) + b"0\r\n\r\n"
    decoder = ChunkedDecoder()

    assert b"".join(decoder.feed(octets[at : at + size]) for at in range(0, len(octets), size)) == b"".join(chunks)
    assert decoder.done


@given(st.binary(max_size=200))
def test_garbage_is_decoded_or_refused(octets: bytes) -> None:
    at = 0
    try:
        found = ChunkedDecoder().feed(octets)
    except MalformedMessage as refusal:
        found, at = b"", refusal.at

    assert len(found) <= len(octets)
    assert 0 <= at <= len(octets)
