"""
Exchanges: the requests that a peer may still repeat, and their replies for its duplicates (RFC 7252 §4.5).

The RFC's key is source and message id. Small clients keep their port and begin with the same message ids after each
reboot, often without a token. They must neither lose messages nor get replies to requests before the reboot. So a
duplicate is a request with exactly the octets of an earlier one from the same source that may be under way still:

* the last request of the source, for the lifetime of an exchange;
* one of the few before it, for as long as a client repeats it (MAX_TRANSMIT_SPAN, §4.8.2). A client that has several
  requests under way gives each a token of its own (§5.3.1), so a request ends the earlier ones with the same token, and
  a request without a token ends all of them.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

from span_events.bounded.expiring import ExpiringMap

UNDER_WAY: Final = 4
"""Requests of one peer that are remembered at most."""
_TRANSMIT_SPAN: Final = 45.0
"""Seconds from the first transmission of a CON to the last one at most (MAX_TRANSMIT_SPAN, RFC 7252 §4.8.2)."""


class Exchange:
    """A request and its reply."""

    __slots__ = ("at", "count", "fingerprint", "message_id", "reply", "token", "until")

    def __init__(self, fingerprint: int, token: bytes, at: float, until: float) -> None:
        self.fingerprint = fingerprint
        self.token = token
        self.until = until
        """Time until which a copy is a duplicate."""
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
    The last requests of each peer; one table per endpoint.

    Args:
        limit: Upper bound of remembered peers; beyond it, the oldest is evicted.
        lifetime: Seconds that the last request of a peer is remembered.
    """

    def __init__(self, *, limit: int, lifetime: float) -> None:
        self._lifetime = lifetime
        self._of_peer: ExpiringMap[Hashable, tuple[Exchange, ...]] = ExpiringMap(limit=limit, lifetime=lifetime)

    def __len__(self) -> int:
        return len(self._of_peer)

    def meet(self, address: Hashable, datagram: bytes, token: bytes, now: float) -> Exchange:
        """Return the exchange of a request; its ``count`` is 1 for a new request."""
        fingerprint = hash(datagram)  # 64 bits under a secret key: as good as the octets, and far smaller
        known = self._of_peer.get(address, now) or ()
        for each in known:
            if each.fingerprint == fingerprint and now < each.until:
                each.count += 1
                return each
        exchange = Exchange(fingerprint, token, now, now + self._lifetime)
        self._of_peer.put(address, (exchange, *_under_way(known, token)), now)
        return exchange

    def passed(self, address: Hashable, token: bytes, now: float) -> None:
        """Note a request that is not remembered itself: it ends earlier ones of the peer."""
        known = self._of_peer.get(address, now)
        if known is None:
            return
        left = _under_way(known, token)
        if left:
            self._of_peer.put(address, left, now)
        else:
            self._of_peer.forget(address)

    def forget_peer(self, address: Hashable) -> None:
        """Drop the exchanges of an address that will never send again."""
        self._of_peer.forget(address)


def _under_way(known: tuple[Exchange, ...], token: bytes) -> tuple[Exchange, ...]:
    """Return the earlier requests of a peer, newest first, that may be under way beside a new one with this token."""
    if not known or not token:
        return ()
    left = tuple([each for each in known[: UNDER_WAY - 1] if each.token and each.token != token])
    for each in left:
        each.until = min(each.until, each.at + _TRANSMIT_SPAN)
    return left
