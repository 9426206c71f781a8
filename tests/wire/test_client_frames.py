"""WebSocket frames of clients: the rules of RFC 6455, and any cut of the octets."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from span_events.wire.client_frames import ClientFrames, ClientMessage, FrameRefused, Opcode

KEY = b"\x12\x34\x56\x78"


def frame(first: int, payload: bytes = b"", *, length: bytes | None = None, mask: bool = True) -> bytes:
    """Write a frame; its length in the shortest form unless another one is given."""
    if length is None:
        size = len(payload)
        length = bytes((size,)) if size < 126 else b"\x7e" + size.to_bytes(2, "big")
    head = bytes((first, length[0] | (0x80 if mask else 0))) + length[1:]
    return head + (KEY + bytes(octet ^ KEY[at % 4] for at, octet in enumerate(payload)) if mask else payload)


def decode(octets: bytes, longest: int = 4096) -> list[ClientMessage]:
    """Decode octets that come at once."""
    return [message for message in ClientFrames(longest).feed(octets) if message is not None]


def refusal(octets: bytes) -> int:
    """Return the close code that octets deserve."""
    with pytest.raises(FrameRefused) as caught:
        decode(octets)
    return caught.value.close_code


@given(st.lists(st.binary(max_size=300), max_size=6), st.lists(st.integers(0, 2000), max_size=10))
def test_messages_are_the_same_however_the_octets_are_cut(payloads: list[bytes], cuts: list[int]) -> None:
    octets = b"".join(frame(0x82, payload) + frame(0x89, payload[:125]) for payload in payloads)
    frames, found, at = ClientFrames(300), list[ClientMessage | None](), 0
    for cut in (*sorted(cuts), len(octets)):
        found += frames.feed(octets[at:cut])
        at = max(at, cut)

    assert found == [
        each
        for payload in payloads
        for each in (ClientMessage(Opcode.BINARY, payload), ClientMessage(Opcode.PING, payload[:125]))
    ]


@given(st.binary(max_size=400))
def test_any_octets_are_messages_or_are_refused(octets: bytes) -> None:
    with suppress(FrameRefused):
        decode(octets)


def test_fragments_are_joined_around_control_frames() -> None:
    octets = frame(0x01, b"ab") + frame(0x89, b"!") + frame(0x00, b"cd") + frame(0x80, b"e")

    assert decode(octets) == [ClientMessage(Opcode.PING, b"!"), ClientMessage(Opcode.TEXT, b"abcde")]


@pytest.mark.parametrize(
    "octets",
    [
        frame(0x81, b"hello", mask=False),
        frame(0xC1, b"x"),
        frame(0xA1, b"x"),
        frame(0x91, b"x"),
        frame(0x83),
        frame(0x8F),
        frame(0x09),
        frame(0x89, b"x" * 126),
        frame(0x80, b"x"),
        frame(0x01, b"x") + frame(0x81, b"y"),
        frame(0x81, b"x", length=b"\x7e\x00\x01"),
        frame(0x81, b"x" * 126, length=b"\x7f" + (126).to_bytes(8, "big")),
    ],
    ids=[
        *("unmasked", "first reserved bit", "second reserved bit", "third reserved bit", "opcode 3", "opcode 15"),
        *("fragmented ping", "long ping", "continuation of nothing", "message in a message", "length in two octets"),
        "length in eight octets",
    ],
)
def test_a_frame_that_breaks_the_protocol_is_refused_with_1002(octets: bytes) -> None:
    assert refusal(octets) == 1002


def test_a_message_of_4096_octets_is_taken_and_a_longer_one_is_refused_by_its_head() -> None:
    assert decode(frame(0x82, b"x" * 4096)) == [ClientMessage(Opcode.BINARY, b"x" * 4096)]
    assert refusal(frame(0x82, b"x" * 4097)[:8]) == 1009
    assert refusal(frame(0x02, b"x" * 4096) + frame(0x80, b"x")) == 1009
    assert refusal(b"\x82\xff" + b"\xff" * 8) == 1009


def test_a_text_that_is_not_utf_8_is_refused_with_1007() -> None:
    assert refusal(frame(0x81, b"\xff")) == 1007
    assert decode(frame(0x01, b"\xc3") + frame(0x80, b"\xa9")) == [ClientMessage(Opcode.TEXT, "é".encode())]


@pytest.mark.parametrize("payload", [b"", b"\x03\xe8", b"\x03\xe8bye", b"\x0b\xb8", b"\x13\x87"])
def test_a_close_frame_has_a_code_and_a_reason(payload: bytes) -> None:
    (message,) = decode(frame(0x88, payload))

    assert message.close() == (int.from_bytes(payload[:2], "big") or 1005, payload[2:].decode())


@pytest.mark.parametrize(
    ("payload", "code"),
    [(b"\x03", 1002), (b"\x00\x01", 1002), (b"\x03\xed", 1002), (b"\x13\x88", 1002), (b"\x03\xe8\xff", 1007)],
)
def test_a_close_frame_with_a_code_that_no_client_may_send_is_refused(payload: bytes, code: int) -> None:
    (message,) = decode(frame(0x88, payload))
    with pytest.raises(FrameRefused) as caught:
        message.close()

    assert caught.value.close_code == code
