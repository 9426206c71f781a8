"""
WebSocket frames from client to server (RFC 6455 §5): decoded strictly, one by one, and without I/O.

Clients of a stream have little to say: the longest message is short, so a frame is refused by its head.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from span_events.errors import MalformedMessage

PROTOCOL_ERROR: Final = 1002
INVALID_TEXT: Final = 1007
TOO_BIG: Final = 1009
NO_CODE: Final = 1005
"""The close frame had no code; never sent (RFC 6455 §7.4.1)."""

_FIN: Final = 0x80
_RESERVED: Final = 0x70
_MASKED: Final = 0x80
_LONGEST_CONTROL: Final = 125
_MEDIUM: Final = 126
_LONG: Final = 127
_KEY: Final = 4
_REGISTERED: Final = frozenset((1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014))
"""Close codes below 3000 that a frame may have (RFC 6455 §7.4, and IANA's registry)."""
_PRIVATE: Final = range(3000, 5000)


class Opcode(IntEnum):
    """Kinds of frames (RFC 6455 §5.2)."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


_OPCODES: Final = {int(each): each for each in Opcode}


class FrameRefused(MalformedMessage):
    """A frame breaks the protocol, or is too long."""

    code = "frame_refused"

    def __init__(self, close_code: int, detail: str, *, at: int) -> None:
        super().__init__(detail, at=at)
        self.close_code = close_code
        """Code of the close frame that this deserves."""


@dataclass(frozen=True, slots=True)
class ClientMessage:
    """A whole message, or a control frame."""

    kind: Opcode
    """Never `Opcode.CONTINUATION`."""
    payload: bytes

    def close(self) -> tuple[int, str]:
        """
        Read the payload of a close frame: its code, `NO_CODE` if there is none, and its reason.

        Raises:
            FrameRefused: The code is none that a client may send, or the reason is not UTF-8.
        """
        if not self.payload:
            return NO_CODE, ""
        code = int.from_bytes(self.payload[:2], "big")
        if len(self.payload) == 1 or (code not in _REGISTERED and code not in _PRIVATE):
            raise FrameRefused(PROTOCOL_ERROR, f"a close frame has the code {code}", at=0)
        return code, _text(self.payload[2:])


class ClientFrames:
    """
    Decodes the octets of one client.

    Args:
        longest: Octets of the longest message.
    """

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._rest = b""
        self._kind: Opcode | None = None  # of the message under way
        self._parts = bytearray()

    def feed(self, octets: bytes) -> Iterator[ClientMessage | None]:
        """
        Yield one value a frame: the message that it completes, or None; the rest is kept for the next call.

        Raises:
            FrameRefused: A frame is not valid; no further octets can be decoded.
        """
        data = self._rest + octets if self._rest else octets
        at = 0
        while (end := self._end(data, at)) is not None:
            message = self._frame(data, at, end)
            at = end
            yield message
        self._rest = data[at:]

    def _end(self, data: bytes, at: int) -> int | None:
        """Check the head of a frame, and return where the frame ends; None if a part of it is still to come."""
        if len(data) < at + 2:
            return None
        first, second = data[at], data[at + 1]
        opcode = _OPCODES.get(first & 0x0F)
        if first & _RESERVED:
            raise FrameRefused(PROTOCOL_ERROR, "a reserved bit is set, and no extension was negotiated", at=at)
        if opcode is None:
            raise FrameRefused(PROTOCOL_ERROR, f"there is no opcode {first & 0x0F}", at=at)
        if not second & _MASKED:
            raise FrameRefused(PROTOCOL_ERROR, "the frame is not masked (RFC 6455 5.1)", at=at + 1)
        length, begin = second & ~_MASKED, at + 2
        if opcode >= Opcode.CLOSE:
            if not first & _FIN or length > _LONGEST_CONTROL:
                raise FrameRefused(PROTOCOL_ERROR, "a control frame is fragmented or over 125 octets", at=at)
        elif (opcode is Opcode.CONTINUATION) != (self._kind is not None):
            raise FrameRefused(PROTOCOL_ERROR, "fragments of messages are out of order", at=at)
        if length >= _MEDIUM:
            size = 2 if length == _MEDIUM else 8
            if len(data) < begin + size:
                return None
            (length,) = struct.unpack_from("!H" if size == 2 else "!Q", data, begin)
            if length < _MEDIUM or (size == 8 and length < 1 << 16):
                raise FrameRefused(PROTOCOL_ERROR, f"the length {length} is not in its shortest form", at=begin)
            begin += size
        if length + len(self._parts) > self._longest:
            raise FrameRefused(TOO_BIG, f"a message is over {self._longest} octets", at=at)
        end = begin + _KEY + length
        return end if len(data) >= end else None

    def _frame(self, data: bytes, at: int, end: int) -> ClientMessage | None:
        length = data[at + 1] & ~_MASKED
        begin = at + 2 + (0 if length < _MEDIUM else 2 if length == _MEDIUM else 8)
        opcode = Opcode(data[at] & 0x0F)
        payload = _unmasked(data[begin : begin + _KEY], data[begin + _KEY : end])
        if opcode >= Opcode.CLOSE:
            return ClientMessage(opcode, payload)
        kind = self._kind or opcode
        self._parts += payload
        if not data[at] & _FIN:
            self._kind = kind
            return None
        message = bytes(self._parts)
        self._kind = None
        self._parts.clear()
        if kind is Opcode.TEXT:
            _text(message)
        return ClientMessage(kind, message)


def _text(octets: bytes) -> str:
    try:
        return octets.decode()
    except UnicodeDecodeError as exc:
        raise FrameRefused(INVALID_TEXT, "a text is not UTF-8", at=exc.start) from None


def _unmasked(key: bytes, octets: bytes) -> bytes:
    """Apply the masking key (RFC 6455 §5.3)."""
    length = len(octets)
    mask = (key * (length // _KEY + 1))[:length]
    return (int.from_bytes(octets, "big") ^ int.from_bytes(mask, "big")).to_bytes(length, "big")
