"""
Cookies for hellos (RFC 6347 §4.2.1): a client proves its address before the server keeps state for it.

Nothing is stored per client. The secret changes regularly, and the previous secret stays valid.
"""

from __future__ import annotations

from hashlib import blake2s
from hmac import compare_digest
from secrets import token_bytes
from typing import Final

LENGTH: Final = 32
LIFETIME: Final = 60.0
"""Seconds between changes of the secret; a cookie is valid for one to two such periods."""


class Cookies:
    """Creates and verifies cookies; the time is an argument in monotonic seconds."""

    def __init__(self, *, lifetime: float = LIFETIME) -> None:
        self._lifetime = lifetime
        self._secret = token_bytes(LENGTH)
        self._previous = token_bytes(LENGTH)
        self._ends: float | None = None

    def make(self, remote: tuple[str, int], now: float) -> bytes:
        """Return the current cookie of an address."""
        self._rotate(now)
        return _cookie(self._secret, remote)

    def verify(self, cookie: bytes, remote: tuple[str, int], now: float) -> bool:
        """Return whether a cookie was created by this object for this address and is still valid."""
        if len(cookie) != LENGTH:
            return False
        self._rotate(now)
        return any(compare_digest(cookie, _cookie(each, remote)) for each in (self._secret, self._previous))

    def _rotate(self, now: float) -> None:
        if self._ends is None:
            self._ends = now + self._lifetime
        elif now >= self._ends:
            late = now >= self._ends + self._lifetime
            self._previous = token_bytes(LENGTH) if late else self._secret
            self._secret = token_bytes(LENGTH)
            self._ends = now + self._lifetime


def _cookie(secret: bytes, remote: tuple[str, int]) -> bytes:
    # keyed BLAKE2 is a MAC by itself (RFC 7693 §2.9), for a quarter of the time of OpenSSL's HMAC
    return blake2s(b"%s %d" % (remote[0].encode(), remote[1]), key=secret).digest()
