"""Values of the options Block1 and Block2 (RFC 7959 §2.2)."""

from __future__ import annotations

from typing import Final, NamedTuple

from span_events.wire.coap.messages import CoapMessage, option_of, uint

MAX_BLOCK_EXPONENT: Final = 6
"""A block has 2**(exponent + 4) octets, 1024 at most; 7 is reserved (RFC 7959 §2.2)."""


class Block(NamedTuple):
    """The value of a Block1 or Block2 option (RFC 7959 §2.2)."""

    number: int
    more: bool
    exponent: int

    @property
    def size(self) -> int:
        """Octets of a block."""
        return 16 << self.exponent


def read_block(value: bytes) -> Block:
    """Read the value of a Block1 or Block2 option; the caller must reject an exponent of 7."""
    number = int.from_bytes(value, "big")
    return Block(number >> 4, bool(number & 8), number & 7)


def block_of(message: CoapMessage, number: int) -> Block | None:
    """Return the Block1 or Block2 option of a message, if it has one."""
    value = option_of(message, number)
    return None if value is None else read_block(value)


def write_block(block: Block) -> bytes:
    """Write the value of a Block1 or Block2 option."""
    return uint(block.number << 4 | block.more << 3 | block.exponent)
