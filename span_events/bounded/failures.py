"""Failures per host and minute."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

_MINUTE: Final = 60.0


class FailuresPerMinute:
    """Counts per host and minute; beyond the bound of hosts, the one counted longest ago is evicted."""

    def __init__(self, limit: int, hosts: int) -> None:
        self._limit = limit
        self._hosts = hosts
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def count(self, host: str, now: float) -> None:
        """Count one."""
        ends, count = self._counts.get(host, (0.0, 0))
        if now >= ends:
            self._counts.pop(host, None)
            ends, count = now + _MINUTE, 0
        self._counts[host] = (ends, count + 1)
        if len(self._counts) > self._hosts:
            self._counts.popitem(last=False)

    def exceeded(self, host: str, now: float) -> bool:
        """Return whether the host has reached the limit in the current minute."""
        ends, count = self._counts.get(host, (0.0, 0))
        return now < ends and count >= self._limit
