"""
Exchanges: the requests that a peer may still repeat, and their replies for its duplicates (RFC 7252 §4.5).

The RFC's key is source and message id. Small clients keep their port and begin with the same message ids after each
reboot, often without a token. They must neither lose messages nor get replies to requests before the reboot. So a
duplicate is a request with exactly the octets of an earlier one from the same source that may be under way still:

* the last request of the source, for the lifetime of an exchange;
* one of the two before it, for as long as a client repeats it (MAX_TRANSMIT_SPAN, §4.8.2). A client that has several
  requests under way gives each a token of its own (§5.3.1), so a request ends the earlier ones with the same token, and
  a request without a token ends all of them. A copy of the request before the last then counts as new, since a lost
  message is worse than one that comes twice; `Exchange.again` tells of it.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

from span_events.bounded.expiring import ExpiringMap

_TRANSMIT_SPAN: Final = 45.0
"""Seconds from the first transmission of a CON to the last one at most (MAX_TRANSMIT_SPAN, RFC 7252 §4.8.2)."""


class Exchange:
    """A request and its reply."""

    __slots__ = (
        *("again", "at", "before", "before_at", "count", "earlier"),
        *("fingerprint", "is_last", "message_id", "reply", "token"),
    )

    def __init__(self, fingerprint: int, token: bytes, at: float, earlier: Exchange | None = None) -> None:
        self.again: float | None = None
        """Seconds since the same octets came, if the one request between them had the same token or none."""
        self.before = 0
        """Fingerprint of the request before this one; 0 for none."""
        self.before_at = 0.0
        """Its arrival in monotonic seconds."""
        self.fingerprint = fingerprint
        self.token = token
        self.at = at
        """Arrival of the first copy in monotonic seconds."""
        self.earlier = earlier
        """The request before this one, which may be under way, too."""
        self.is_last = True
        """False if another request followed that is not remembered."""
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
        self._latest: ExpiringMap[Hashable, Exchange] = ExpiringMap(limit=limit, lifetime=lifetime)

    def __len__(self) -> int:
        return len(self._latest)

    def meet(self, address: Hashable, datagram: bytes, token: bytes, now: float) -> Exchange:
        """Return the exchange of a request; its ``count`` is 1 for a new request."""
        fingerprint = hash(datagram)  # 64 bits under a secret key: as good as the octets, and far smaller
        latest = self._latest.get(address, now)
        earlier = known = None
        if latest is not None:
            if latest.fingerprint == fingerprint and (latest.is_last or now - latest.at < _TRANSMIT_SPAN):
                latest.count += 1
                return latest
            second = latest.earlier
            if second is not None:
                third = second.earlier
                if second.fingerprint == fingerprint:
                    known = second if second.token != latest.token else None
                elif third is not None:
                    third.earlier = None  # no more of them are kept
                    if third.fingerprint == fingerprint and third.token not in (second.token, latest.token):
                        known = third
                if known is not None and now - known.at < _TRANSMIT_SPAN:
                    known.count += 1
                    return known
            if token and latest.token:
                earlier = latest
        exchange = Exchange(fingerprint, token, now, earlier)
        if latest is not None and (token == latest.token or not token or not latest.token):
            if latest.before == fingerprint and now - latest.before_at < _TRANSMIT_SPAN:
                exchange.again = now - latest.before_at
            exchange.before, exchange.before_at = latest.fingerprint, latest.at
        self._latest.put(address, exchange, now)
        return exchange

    def passed(self, address: Hashable, token: bytes, now: float) -> None:
        """Note a request that is not remembered itself: it ends earlier ones of the peer."""
        latest = self._latest.get(address, now)
        if latest is not None:
            latest.is_last = False
            if not token or token == latest.token:
                self._latest.forget(address)

    def forget_peer(self, address: Hashable) -> None:
        """Drop the exchanges of an address that will never send again."""
        self._latest.forget(address)
