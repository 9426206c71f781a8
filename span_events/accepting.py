"""
Accepting of connections: the descriptors that this process may have, and what happens when they are used up.

A few descriptors are kept back for files and the registry, half of them also for short requests, so that health and
metrics can be read. A connection beyond the others is accepted and closed at once, so that its client learns of it; the
operator sees it in the log, in the metrics and in the health.
"""

from __future__ import annotations

import asyncio
import errno
import resource
import socket
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

from span_events.bounded.quiet import OncePerMinute
from span_events.clock import Clock
from span_events.log import get_logger
from span_events.metrics import Metric

log = get_logger("accepting")

_AT_ONCE: Final = 64
"""Connections accepted before other tasks run."""
_PAUSE: Final = 0.5
"""Seconds without accepting when the kernel has no descriptor or memory left for a connection."""
_MINUTE: Final = 60.0
_LISTENERS: Final = 64
"""Listeners with a log line of their own in a minute."""
_LOST: Final = frozenset({errno.EBADF, errno.ENOTSOCK, errno.EINVAL})
"""Errors after which the listening socket is lost."""
_KEPT: Final = 64
"""Descriptors kept back for files, at most."""
_KEPT_PART: Final = 8
"""The same as a part of a small limit: one in so many."""
_NEVER_INFINITE: Final = 1 << 20
"""Descriptors asked for where the system states no limit."""
_HINT: Final = (
    "Raise the limit of open files (systemd: LimitNOFILE=65536, Docker: --ulimit nofile=65536, shell: ulimit -n 65536),"
    " or lower fanout.subscribers and the tables' connections."
)

Serve = Callable[[socket.socket, tuple[str, int]], None]
"""Takes over an accepted socket, non-blocking, with the address of its client."""


def descriptor_limit() -> int:
    """Return the number of descriptors that this process may have (RLIMIT_NOFILE)."""
    return _finite(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def raise_descriptor_limit() -> None:
    """Raise the soft limit of descriptors to the hard one: systemd's soft limit is 1024, for programs with select()."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard if hard != resource.RLIM_INFINITY else _NEVER_INFINITE
    if _finite(soft) >= wanted:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError) as exc:
        log.warning("descriptor_limit_kept", limit=soft, hard=hard, error=str(exc))
    else:
        log.info("descriptor_limit_raised", was=soft, limit=wanted)


def warn_of_few_descriptors(needed: int) -> None:
    """
    Warn if the limit is below the bounds of the configuration.

    Args:
        needed: Connections of all listeners together, at most.
    """
    limit = descriptor_limit()
    if needed + kept_back(limit) > limit:
        log.warning("descriptors_too_few", limit=limit, needed=needed + kept_back(limit), hint=_HINT)


def kept_back(limit: int) -> int:
    """Return how many descriptors no lasting connection gets."""
    return min(_KEPT, limit // _KEPT_PART)


def is_last(descriptor: int) -> bool:
    """
    Return whether a descriptor is in the reserve at the top of the limit.

    The kernel assigns the lowest free number, so all descriptors below it are taken then.
    """
    limit = descriptor_limit()
    return descriptor >= limit - kept_back(limit)


class RefusedAccepts:
    """Counts the connections that were refused because descriptors or memory were used up."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.accepted = Counter[str]()
        """Number of accepted connections by listener."""
        self._refused = Counter[str]()
        self._last: dict[str, float] = {}
        self._quiet = OncePerMinute(_LISTENERS)

    def count(self, listener: str, cause: str) -> None:
        """Count a refused connection; one a minute is logged for each listener."""
        now = self._clock.monotonic()
        self._refused[listener] += 1
        self._last[listener] = now
        if count := self._quiet.admits(listener, now):
            log.error("accept_refused", listener=listener, count=count, cause=cause, hint=_HINT)

    def few_left(self, listener: str) -> None:
        """Count a connection that was refused because only the descriptors kept back are left."""
        self.count(listener, f"all but the last of {descriptor_limit()} descriptors are used")

    def health(self) -> Mapping[str, str]:
        """Return the listeners that refused a connection within a minute, with a sentence that says so."""
        now = self._clock.monotonic()
        return {
            name: "connections were refused within the last minute: this process has no descriptors left"
            for name, last in self._last.items()
            if now - last < _MINUTE
        }

    def metrics(self) -> list[Metric]:
        """List the metrics."""
        return [
            Metric(
                "connections_accepted",
                "TCP connections that were accepted.",
                "counter",
                lambda: dict(self.accepted),
                label="listener",
            ),
            Metric(
                "accepts_refused",
                "Connections that were refused because descriptors or memory were used up.",
                "counter",
                lambda: dict.fromkeys(self.accepted, 0) | self._refused,  # an alert needs the 0 before the first
                label="listener",
            ),
        ]


class Acceptor:
    """
    Accepts the connections of one listening socket.

    Args:
        name: Listener that it is for.
        serve: Takes over each accepted socket.
        short: True if connections are short: they may use half of the descriptors that are kept back. `serve` refuses
            a lasting connection for which `is_last` holds.
        is_behind: Returns whether accepted clients wait for their turns; then, each wake-up accepts one connection, and
            the others wait in the kernel instead of displacing each other here.
    """

    def __init__(
        self,
        name: str,
        refused: RefusedAccepts,
        serve: Serve,
        *,
        short: bool = False,
        is_behind: Callable[[], bool] = lambda: False,
    ) -> None:
        self._name = name
        self._refused = refused
        self._serve = serve
        self._short = short
        self._is_behind = is_behind
        self._socket: socket.socket | None = None
        self._resume: asyncio.TimerHandle | None = None
        self._highest = 0
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Future that fails when the listening socket is lost."""

    def start(self, bound: socket.socket, backlog: int) -> None:
        """
        Listen.

        Args:
            bound: The socket, non-blocking; `stop` closes it.
            backlog: Connections that may wait in the kernel.
        """
        limit = descriptor_limit()
        self._highest = limit - kept_back(limit) // (2 if self._short else 1)
        self._socket = bound
        self._refused.accepted[self._name] += 0  # so that the metric begins at zero
        bound.listen(backlog)
        asyncio.get_running_loop().add_reader(bound, self._accept)

    def stop(self) -> None:
        """Close the socket; idempotent."""
        if self._resume is not None:
            self._resume.cancel()
            self._resume = None
        bound, self._socket = self._socket, None
        if bound is not None:
            asyncio.get_running_loop().remove_reader(bound)
            bound.close()

    def _accept(self) -> None:
        for _ in range(1 if self._is_behind() else _AT_ONCE):
            if self._socket is None:  # stopped by the connection that was just served
                return
            try:
                accepted, address = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as exc:
                if exc.errno in _LOST:
                    asyncio.get_running_loop().remove_reader(self._socket)
                    self.lost.set_exception(exc)
                    return
                self._refused.count(self._name, str(exc))
                self._pause(self._socket)
                return
            if accepted.fileno() >= self._highest:
                accepted.close()
                self._refused.few_left(self._name)
                continue
            self._refused.accepted[self._name] += 1
            accepted.setblocking(False)
            self._serve(accepted, address[:2])

    def _pause(self, bound: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(bound)
        self._resume = loop.call_later(_PAUSE, loop.add_reader, bound, self._accept)


def _finite(limit: int) -> int:
    return _NEVER_INFINITE if limit == resource.RLIM_INFINITY else limit
