"""Admission: counts the connections of gateways, and limits them in total, without a stream, and per host."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final, Generic, Protocol, TypeVar

from span_events.bounded.per_minute import LimitPerMinute
from span_events.clock import Clock
from span_events.config import GatewaysConfig
from span_events.net import Remote

_WATCHED_HOSTS: Final = 10_000
"""Hosts whose failures are counted at the same time."""


class Counted(Protocol):
    """A connection."""

    @property
    def remote(self) -> Remote:
        """Address of the client."""


C = TypeVar("C", bound=Counted)


class Admission(Generic[C]):
    """Limits gateway connections: in all, without a stream (in all and per address), and failures per minute."""

    def __init__(self, config: GatewaysConfig, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._half_open: set[C] = set()
        self._at_host = Counter[str]()  # half-open connections
        self._failures = LimitPerMinute(config.failures_per_minute, _WATCHED_HOSTS)
        self.connections: set[C] = set()
        """All connections, until their sockets are closed."""
        self.is_idle = asyncio.Event()
        """Set while there is no connection."""
        self.is_idle.set()

    def admit(self, connection: C) -> str | None:
        """Count a new connection; return the limit that forbids it, or None."""
        config, host = self._config, connection.remote[0]
        obstacle = None
        if len(self.connections) >= config.connections:
            obstacle = f"gateways.connections is {config.connections}"
        elif len(self._half_open) >= config.half_open:
            obstacle = f"gateways.half_open is {config.half_open}"
        elif self._at_host[host] >= config.half_open_per_address:
            obstacle = f"gateways.half_open_per_address is {config.half_open_per_address}"
        elif self._failures.exceeded(host, self._clock.monotonic()):
            obstacle = f"gateways.failures_per_minute is {config.failures_per_minute}"
        self.connections.add(connection)
        self.is_idle.clear()
        if obstacle is None:
            self._half_open.add(connection)
            self._at_host[host] += 1
        return obstacle

    def opened(self, connection: C) -> None:
        """Count a connection as half open no longer: its control stream is open, or its socket closed."""
        if connection not in self._half_open:
            return
        self._half_open.remove(connection)
        host = connection.remote[0]
        self._at_host[host] -= 1
        if not self._at_host[host]:
            del self._at_host[host]

    def rejected(self, connection: C) -> None:
        """Count a rejected connection as a failure of its host."""
        if connection in self._half_open:  # a rejection by a limit must not prolong that limit
            self._failures.count(connection.remote[0], self._clock.monotonic())

    def lost(self, connection: C) -> None:
        """Forget a connection after its socket was closed."""
        self.opened(connection)
        self.connections.discard(connection)
        if not self.connections:
            self.is_idle.set()
