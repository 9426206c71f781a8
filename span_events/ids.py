"""
Identifiers: 63-bit time-ordered numbers, written as Span ids (base 24) or as ULIDs.

Layout, highest bit first: 41 bits of milliseconds since 2015 (enough until 2084), 12 bits of
sequence, 10 bits of node. The node stands last, so that a sequence that overflows carries into
the milliseconds and an identifier is unique per node whatever the rate.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from span_events.errors import InvalidRequest

ALPHABET: Final = "0123456789abcdefghijklmn"
"""Digits of a Span id: base 24, lower case."""
NOTHING: Final = "0"
"""The id of nothing (Span writes it for an image that is not set)."""
EPOCH_MS: Final = 1_420_070_400_000
"""2015-01-01T00:00:00Z in Unix milliseconds. Chosen so that ids have 14 digits, as Span's do."""

NODES: Final = 1024
"""Processes that can make ids side by side."""

_NODE_BITS: Final = NODES.bit_length() - 1
_SEQUENCE_BITS: Final = 12
_TIME_SHIFT: Final = _NODE_BITS + _SEQUENCE_BITS
_LOW: Final = (1 << _TIME_SHIFT) - 1
_STEP: Final = NODES
_SPAN_ID: Final = re.compile(r"[0-9a-n]{1,14}")
_SIX: Final = 24**6
_THREE: Final = tuple(a + b + c for a in ALPHABET for b in ALPHABET for c in ALPHABET)
_CROCKFORD: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_CROCKFORD_PAIRS: Final = tuple(a + b for a in _CROCKFORD for b in _CROCKFORD)
_ULID_PADDING: Final = "0" * 10
"""The bits of a ULID between its time and the 30 that hold our lower bits."""
_CROCKFORD_VALUE: Final = {digit: value for value, digit in enumerate(_CROCKFORD)}


class IdGenerator:
    """
    Gives out identifiers that only ever rise.

    Args:
        node: Number of this process in its cluster, 0 to 1023.
    """

    def __init__(self, node: int = 0) -> None:
        self._last = 0
        self.node = node

    @property
    def node(self) -> int:
        """Number of this process; a new one holds from the next identifier on."""
        return self._node

    @node.setter
    def node(self, node: int) -> None:
        if not 0 <= node < NODES:
            raise ValueError(f"node {node} is not between 0 and {NODES - 1}")
        self._node = node
        self._last = self._last // _STEP * _STEP + node  # the next one is a step above

    def next(self, time_ns: int) -> int:
        """
        Return a new identifier for this moment.

        A clock that stands still or goes back, and more than 4096 identifiers in a millisecond,
        give identifiers slightly ahead of the clock, never a repeated one.

        Args:
            time_ns: Unix time in nanoseconds.
        """
        earliest = ((time_ns // 1_000_000 - EPOCH_MS) << _TIME_SHIFT) | self._node
        following = self._last + _STEP
        self._last = earliest if earliest > following else following
        return self._last


def render(identifier: int) -> str:
    """Write an identifier as a Span id: base 24, no leading zeros (``0`` for nothing)."""
    if not 0 <= identifier < 1 << 64:
        raise ValueError(f"{identifier} is not an unsigned 64-bit number")
    head, rest = divmod(identifier, _SIX)
    digits = f"{_first_digits(head)}{_THREE[rest // 13824]}{_THREE[rest % 13824]}"
    return digits if head else digits.lstrip("0") or NOTHING


@lru_cache(maxsize=1024)
def _first_digits(number: int) -> str:
    """Write all but the last six digits of a Span id: ids that are made within 45 ms have the same."""
    rest, third = divmod(number, 13824)
    first, second = divmod(rest, 13824)
    return (_THREE[first] + _THREE[second] + _THREE[third]).lstrip("0")


def parse(text: str, *, what: str = "id") -> int:
    """
    Read a Span id.

    Args:
        what: What the id names (``collection``), for the message.

    Raises:
        InvalidRequest: The text is not 1 to 14 digits of base 24, or is over 64 bits.
    """
    if not _SPAN_ID.fullmatch(text):
        raise InvalidRequest(
            f"{text[:40]!r} is not {_article(what)} {what} id: an id is 1 to 14 of the digits {ALPHABET}", field=what
        )
    value = int(text, 24)
    if value >> 64:
        raise InvalidRequest(f"{text!r} is not {_article(what)} {what} id: it is over 64 bits", field=what)
    return value


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def unix_ms(identifier: int) -> int:
    """Return when an identifier was made, in Unix milliseconds."""
    return (identifier >> _TIME_SHIFT) + EPOCH_MS


def first_at(time_ms: int) -> int:
    """Return the smallest identifier of a Unix millisecond (0 for times before 2015)."""
    return max(0, time_ms - EPOCH_MS) << _TIME_SHIFT


def to_ulid(identifier: int) -> str:
    """Write an identifier as a ULID (26 characters): its time, then its lower bits."""
    low = identifier & _LOW
    pairs = _CROCKFORD_PAIRS
    return f"{_ulid_head(identifier >> _TIME_SHIFT)}{pairs[low >> 20]}{pairs[low >> 10 & 1023]}{pairs[low & 1023]}"


@lru_cache(maxsize=256)
def _ulid_head(milliseconds: int) -> str:
    """Write the 48 bits of a ULID's time, and the padding after them."""
    time_ms = milliseconds + EPOCH_MS
    return "".join(_CROCKFORD_PAIRS[time_ms >> shift & 1023] for shift in range(40, -1, -10)) + _ULID_PADDING


def from_ulid(text: str) -> int:
    """
    Read a ULID that `to_ulid` wrote; of a foreign one, only the time is kept.

    Raises:
        InvalidRequest: The text is not a ULID.
    """
    number = 0
    if len(text) != 26:
        raise InvalidRequest(f"{text[:40]!r} is not a ULID: it has {len(text)} characters, not 26")
    for digit in text.upper():
        if digit not in _CROCKFORD_VALUE:
            raise InvalidRequest(f"{text!r} is not a ULID: {digit!r} is not a digit of base 32")
        number = number << 5 | _CROCKFORD_VALUE[digit]
    low = number & ((1 << 80) - 1)
    return first_at(number >> 80) | (low if low <= _LOW else 0)
