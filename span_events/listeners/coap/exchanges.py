"""
Exchanges: the last request of each peer and its reply, which a duplicate gets from memory (RFC 7252 §4.5).

The RFC's key is source and message id. Small clients keep their port and begin with the same message ids after each
reboot, often without a token. They must neither lose messages nor get replies to requests before the reboot. So a
duplicate is a request with exactly the octets of the last request from the same source: a client has one request under
way at a time (NSTART, §4.7), and a client that sends the next request has its answer, or has given up. The price: a
copy that the network delivers after the next request is treated as a new request.
"""

from __future__ import annotations

from collections.abc import Hashable

from span_events.bounded.expiring import ExpiringMap


class Exchange:
    """A request and its reply."""

    __slots__ = ("at", "count", "fingerprint", "message_id", "reply")

    def __init__(self, fingerprint: int, at: float) -> None:
        self.fingerprint = fingerprint
        self.at = at
        """Arrival of the first copy in monotonic seconds."""
        self.count = 1
        """Number of copies so far."""
        self.reply: bytes | None = None
        """Octets of the reply to a CON; None until it is sent."""
        self.message_id: int | None = None
        """Id of the upstream message in the request; None without one."""


class Exchanges:
    """
    The last request of each peer; one table per endpoint.

    Args:
        limit: Upper bound of remembered exchanges; beyond it, the oldest is evicted.
        lifetime: Seconds that an exchange is remembered.
    """

    def __init__(self, *, limit: int, lifetime: float) -> None:
        self._latest: ExpiringMap[Hashable, Exchange] = ExpiringMap(limit=limit, lifetime=lifetime)

    def __len__(self) -> int:
        return len(self._latest)

    def meet(self, address: Hashable, datagram: bytes, now: float) -> Exchange:
        """Return the exchange of a datagram; its ``count`` is 1 for a new request."""
        fingerprint = hash(datagram)  # 64 bits under a secret key: as good as the octets, and far smaller
        known = self._latest.get(address, now)
        if known is not None and known.fingerprint == fingerprint:
            known.count += 1
            return known
        exchange = Exchange(fingerprint, now)
        self._latest.put(address, exchange, now)
        return exchange

    def forget_peer(self, address: Hashable) -> None:
        """Drop the exchange of an address that has sent another request, or will never send again."""
        self._latest.forget(address)
