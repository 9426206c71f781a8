"""
Which request came last from whom: so that one that comes again is answered from memory (RFC 7252 §4.5).

The RFC's key is source and message id. Small clients keep their port and begin with the same message ids after each
reboot, often without a token, and must neither lose messages nor get replies meant for their past. So a copy is the
very same octets as those of the last request from there: a client has one request under way at a time (NSTART, §4.7),
and if it went on it has its answer, or has given up. A copy that the network delivers after the next request is taken
as new for that.
"""

from __future__ import annotations

from collections.abc import Hashable

from span_events.bounded.expiring import ExpiringMap


class Exchange:
    """A request that came, and its reply once there is one."""

    __slots__ = ("at", "count", "fingerprint", "message_id", "reply")

    def __init__(self, fingerprint: int, at: float) -> None:
        self.fingerprint = fingerprint
        self.at = at
        """When the first copy came, monotonic seconds."""
        self.count = 1
        """Copies so far."""
        self.reply: bytes | None = None
        self.message_id: int | None = None
        """Id of the upstream message that it became; None if it became none."""


class Exchanges:
    """
    The last request of each peer; one table per endpoint.

    Args:
        limit: Exchanges remembered at most.
        lifetime: Seconds that one is remembered.
    """

    def __init__(self, *, limit: int, lifetime: float) -> None:
        self._latest: ExpiringMap[Hashable, Exchange] = ExpiringMap(limit=limit, lifetime=lifetime)

    def __len__(self) -> int:
        return len(self._latest)

    def meet(self, address: Hashable, datagram: bytes, now: float) -> Exchange:
        """Return the exchange that a datagram belongs to: count is 1 if it is new."""
        fingerprint = hash(datagram)  # 64 bits under a secret key: as good as the octets, and far smaller
        known = self._latest.get(address, now)
        if known is not None and known.fingerprint == fingerprint:
            known.count += 1
            return known
        exchange = Exchange(fingerprint, now)
        self._latest.put(address, exchange, now)
        return exchange

    def forget_peer(self, address: Hashable) -> None:
        """Drop what came from an address: it has sent another request since, or will never send again."""
        self._latest.forget(address)
