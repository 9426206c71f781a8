"""Attempts to log in: bounds the failures per minute of each account and of each client address."""

from __future__ import annotations

from typing import Final

from span_events.bounded.expiring import ExpiringMap
from span_events.bounded.per_minute import LimitPerMinute
from span_events.config import LoginsConfig
from span_events.errors import TooManyAttempts
from span_events.registry.addresses import prefix_of

_REMEMBERED: Final = 10_000
"""Upper bound of accounts, and of addresses, whose failures are counted."""
_FAMILIAR: Final = 30 * 86_400.0
"""Seconds that an address stays familiar to an account after a login."""


class Attempts:
    """
    Refuses attempts after too many failures; time is a parameter, in monotonic seconds.

    An attempt counts as a failure from its begin, so that attempts in parallel are bounded, too. An address from which
    an account logged in before has a count of its own, so that strangers cannot lock out the owner.
    """

    def __init__(self, config: LoginsConfig) -> None:
        self._by_account = LimitPerMinute(config.failures_per_account, _REMEMBERED)
        self._by_address = LimitPerMinute(config.failures_per_address, _REMEMBERED)
        self._familiar = ExpiringMap[str, bool](limit=_REMEMBERED, lifetime=_FAMILIAR)

    def begin(self, account: str, host: str, now: float) -> None:
        """
        Count an attempt as a failure.

        Raises:
            TooManyAttempts: There were too many failures in this minute.
        """
        address, counted = _neighbourhood(host), self._counted(account, host, now)
        if self._by_address.exceeded(address, now):
            raise TooManyAttempts("Too many logins from this address failed")
        if self._by_account.exceeded(counted, now):
            raise TooManyAttempts("Too many logins to this account failed")
        self._by_address.count(address, now)
        self._by_account.count(counted, now)

    def forgive(self, account: str, host: str, now: float) -> None:
        """Take an attempt back that was no failure."""
        self._by_address.forgive(_neighbourhood(host))
        self._by_account.forgive(self._counted(account, host, now))

    def succeeded(self, account: str, host: str, now: float) -> None:
        """Take an attempt back, and remember that the address is the account's."""
        self.forgive(account, host, now)
        self._familiar.put(_pair(account, host), True, now)

    def _counted(self, account: str, host: str, now: float) -> str:
        pair = _pair(account, host)
        return pair if self._familiar.get(pair, now) else account


def _pair(account: str, host: str) -> str:
    """Return a key that is no account: accounts have no spaces."""
    return f"{account} {_neighbourhood(host)}"


def _neighbourhood(host: str) -> str:
    """Return an IPv4 address itself, and the /64 of an IPv6 address, all of which one client may have."""
    return prefix_of(host.partition("%")[0]) if ":" in host else host
