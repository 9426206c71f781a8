"""
WebSocket frames from server to client (RFC 6455 §5.2), built once per event.

The server never masks and never fragments. The frames of clients are in `client_frames`.
"""

from __future__ import annotations

import struct
from typing import Final

PING: Final = b"\x89\x00"
"""An empty ping (RFC 6455 §5.5.2)."""

_TEXT: Final = 0x81  # FIN, opcode 1
_CLOSE: Final = 0x88  # FIN, opcode 8
_PONG: Final = 0x8A  # FIN, opcode 10
_LONGEST_REASON: Final = 123
_BINARY: Final = 0x82  # FIN, opcode 2
_SHORT: Final = tuple(bytes((_TEXT, length)) for length in range(126))
_MEDIUM: Final = struct.Struct("!BBH")
_LONG: Final = struct.Struct("!BBQ")


def text_frame(payload: bytes) -> bytes:
    """Wrap UTF-8 text into one unmasked text frame."""
    length = len(payload)
    if length < 126:
        return _SHORT[length] + payload
    if length < 1 << 16:
        return _MEDIUM.pack(_TEXT, 126, length) + payload
    return _LONG.pack(_TEXT, 127, length) + payload


def binary_frame(payload: bytes) -> bytes:
    """Wrap octets into one unmasked binary frame."""
    length = len(payload)
    if length < 126:
        return bytes((_BINARY, length)) + payload
    if length < 1 << 16:
        return _MEDIUM.pack(_BINARY, 126, length) + payload
    return _LONG.pack(_BINARY, 127, length) + payload


def pong_frame(payload: bytes) -> bytes:
    """Encode the answer to a ping (RFC 6455 §5.5.3); its payload is that of the ping, at most 125 octets."""
    return bytes((_PONG, len(payload))) + payload


def close_frame(code: int | None, reason: str) -> bytes:
    """
    Encode a close frame (RFC 6455 §5.5.1).

    Args:
        code: None for a frame without code and reason, the answer to such a frame.
        reason: Text for people; truncated to the 123 octets that fit into a control frame.
    """
    if code is None:
        return bytes((_CLOSE, 0))
    payload = code.to_bytes(2, "big") + reason.encode()[:_LONGEST_REASON].decode(errors="ignore").encode()
    return bytes((_CLOSE, len(payload))) + payload
