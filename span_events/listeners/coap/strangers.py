"""
Strangers: limits the answers to requests from addresses of no device.

Nothing proves such an address, so an answer may hit a third party (RFC 7252 §11.3): it is no larger than a header and a
token, and each prefix gets only some a minute.
"""

from __future__ import annotations

from typing import Final

from span_events.bounded.per_minute import LimitPerMinute
from span_events.net import Remote, neighbourhood_of
from span_events.wire.coap.messages import CoapMessage, Type

_PREFIXES: Final = 10_000
"""Prefixes whose answers are counted; beyond it, the one whose minute began first is evicted."""


class Strangers:
    """
    The answers that strangers may still get.

    Args:
        per_minute: Answers a minute to one IPv4 /24 or IPv6 /56.
    """

    def __init__(self, per_minute: int) -> None:
        self._answers = LimitPerMinute(per_minute, _PREFIXES)
        self.unanswered = 0
        """Number of requests without an answer."""

    def admits(self, request: CoapMessage, remote: Remote, now: float) -> bool:
        """Return whether a request is answered, and count that; a NON is not, since its client expects no answer."""
        prefix = neighbourhood_of(remote[0])
        if request.type is Type.CON and not self._answers.exceeded(prefix, now):
            self._answers.count(prefix, now)
            return True
        self.unanswered += 1
        return False
