"""
Which messages came lately: so that one that comes again is answered from memory (RFC 7252 §4.5).

The RFC's key is source and message id. Ports are re-used and small clients begin with the same
message id after each reboot, so here only the very same octets make a duplicate; anything else under
a known key is a new message and must not get an old reply.
"""

from __future__ import annotations

from collections.abc import Hashable

from span_events.listeners.remembered import RememberedOfPeers


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
    The table; one per endpoint.

    Args:
        limit: Exchanges remembered at most.
        lifetime: Seconds that one is remembered.
    """

    def __init__(self, *, limit: int, lifetime: float) -> None:
        self._remembered: RememberedOfPeers[Hashable, int, Exchange] = RememberedOfPeers(limit=limit, lifetime=lifetime)

    def __len__(self) -> int:
        return len(self._remembered)

    def meet(self, address: Hashable, message_id: int, datagram: bytes, now: float) -> Exchange:
        """Return the exchange that a datagram belongs to: count is 1 if it is new."""
        key = (address, message_id)
        fingerprint = hash(datagram)  # 64 bits under a secret key: as good as the octets, and far smaller
        known = self._remembered.get(key, now)
        if known is not None and known.fingerprint == fingerprint:
            known.count += 1
            return known
        exchange = Exchange(fingerprint, now)
        self._remembered.put(key, exchange, now)
        return exchange

    def forget_peer(self, address: Hashable) -> None:
        """Drop what came from an address that will never send again."""
        self._remembered.forget_peer(address)
