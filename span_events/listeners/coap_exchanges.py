"""
Which messages came lately: so that one that comes again is answered from memory (RFC 7252 §4.5).

The RFC's key is source and message id, for 247 s. Small clients keep their port and begin with the same message ids
after each reboot, often without a token, and must neither lose messages nor get replies meant for their past. So a copy
is only what a sender that obeys the RFC may still repeat: the very same octets, as long as

* no other request came from there: one is under way at a time (NSTART, §4.7), so a client that went on has its answer
  or has given up. A datagram that the network delivers late, after the next request, is taken as new for that;
* MAX_TRANSMIT_SPAN has not passed since the first copy: then its sender has given up (§4.8.2).
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

from span_events.listeners.remembered import Remembered, RememberedOfPeers

MAX_TRANSMIT_SPAN: Final = 45.0
"""Seconds from the first transmission of a confirmable message to its last one (RFC 7252 §4.8.2)."""


class Exchange:
    """A request that came, and its reply once there is one."""

    __slots__ = ("at", "count", "fingerprint", "message_id", "overtaken", "reply")

    def __init__(self, fingerprint: int, at: float) -> None:
        self.fingerprint = fingerprint
        self.at = at
        """When the first copy came, monotonic seconds."""
        self.count = 1
        """Copies so far."""
        self.overtaken = False
        """Whether its sender has sent another request since."""
        self.reply: bytes | None = None
        self.message_id: int | None = None
        """Id of the upstream message that it became; None if it became none."""


class Exchanges:
    """
    The table; one per endpoint.

    Args:
        limit: Exchanges remembered at most.
        lifetime: Seconds that one is remembered; at most `MAX_TRANSMIT_SPAN` counts.
    """

    def __init__(self, *, limit: int, lifetime: float) -> None:
        lifetime = min(lifetime, MAX_TRANSMIT_SPAN)
        self._remembered: RememberedOfPeers[Hashable, int, Exchange] = RememberedOfPeers(limit=limit, lifetime=lifetime)
        self._latest: Remembered[Hashable, Exchange] = Remembered(limit=limit, lifetime=lifetime)

    def __len__(self) -> int:
        return len(self._remembered)

    def meet(self, address: Hashable, message_id: int, datagram: bytes, now: float) -> Exchange:
        """Return the exchange that a datagram belongs to: count is 1 if it is new."""
        key = (address, message_id)
        fingerprint = hash(datagram)  # 64 bits under a secret key: as good as the octets, and far smaller
        known = self._remembered.get(key, now)
        if known is not None and known.fingerprint == fingerprint and not known.overtaken:
            known.count += 1
            return known
        self.overtake(address, now)
        exchange = Exchange(fingerprint, now)
        self._remembered.put(key, exchange, now)
        self._latest.put(address, exchange, now)
        return exchange

    def overtake(self, address: Hashable, now: float) -> None:
        """Note that a peer has sent another request, one that is not remembered."""
        latest = self._latest.get(address, now)
        if latest is not None:
            latest.overtaken = True

    def forget_peer(self, address: Hashable) -> None:
        """Drop what came from an address that will never send again."""
        self._remembered.forget_peer(address)
        self._latest.forget(address)
