"""
The kind of cipher suites that answers a client which offers suites with PSK and suites with certificates.

Such a hello does not tell which credentials the client has: some stacks list both kinds always, and a client that
cannot use the chosen kind stops without an alert. So PSK is tried first; a client that comes again without having
proven its credentials is answered with the other kind, and a kind that led to a session stays.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from span_events.bounded.expiring import ExpiringMap

Offer = tuple[str, int]
"""Host of a client, and the hash of the suites that it offers: clients with the same stack behind one NAT share it."""
_REMEMBERED: Final = 10_000
"""Upper bound of remembered offers."""
_LIFETIME: Final = 30 * 86_400.0
"""Seconds after which an offer is forgotten that did not come again."""


class SuiteChoices:
    """Remembers the kind of suites for the next hello of each offer; times are monotonic seconds."""

    def __init__(self) -> None:
        self._next: ExpiringMap[Offer, bool] = ExpiringMap(limit=_REMEMBERED, lifetime=_LIFETIME)
        self._open: Counter[Offer] = Counter()  # sessions that began with this offer

    def begin(self, offer: Offer, now: float) -> bool:
        """Return whether to prefer certificates; the next hello gets the other kind unless a client proves this one."""
        certificates = bool(self._next.get(offer, now))
        if not self._open[offer]:  # else several devices handshake behind one NAT: only a failure changes the kind
            self._next.put(offer, not certificates, now)
        return certificates

    def proven(self, offer: Offer, now: float, *, certificates: bool) -> None:
        """Note that a client has proven credentials of a kind."""
        self._next.put(offer, certificates, now)

    def failed(self, offer: Offer, now: float, *, certificates: bool) -> None:
        """Note a handshake that ended before its client showed credentials of the chosen kind."""
        if self._open[offer]:  # else its beginning has noted it
            self._next.put(offer, not certificates, now)

    def opened(self, offer: Offer) -> None:
        """Count a session."""
        self._open[offer] += 1

    def closed(self, offer: Offer) -> None:
        """Discount a session that has ended."""
        self._open[offer] -= 1
        if self._open[offer] <= 0:
            del self._open[offer]
