"""
Handshakes under way on one DTLS socket: a table with limits and deadlines, and the check of hellos before it.

Nothing here reads a clock or arms a timer. Callers pass `now`: the fleet's monotonic seconds to `Hellos`, and the
event loop's seconds to `Handshakes`, because OpenSSL measures its retransmission timers by the real clock.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterator
from enum import Enum, auto
from itertools import count
from typing import Final

from span_events.bounded.per_minute import LimitPerMinute
from span_events.config import DtlsConfig
from span_events.listeners.dtls.client import Client
from span_events.listeners.dtls.suites import Offer
from span_events.metrics import HANDSHAKE_BOUNDS, Histogram
from span_events.net import Remote, neighbourhood_of
from span_events.wire.dtls.cookies import Cookies
from span_events.wire.dtls.engine import EngineSession
from span_events.wire.dtls.hello import ClientHello

_WATCHED_HOSTS: Final = 10_000
"""Upper bound of hosts whose failures are counted at the same time."""
_HELD: Final = 16_384
"""Octets of a client's datagrams that wait until the registry was asked."""
_SLACK: Final = 0.001
"""Seconds by which a timer may fire too early."""
_STALE_ENTRIES: Final = 64
"""Deadlines of ended handshakes that may stay beside those of as many live ones before they are swept out."""


class HelloCheck(Enum):
    """Results of checking a hello that can be read."""

    SILENCED = auto()
    """The host reached its limit of failures: it gets no answer."""
    UNSUPPORTED_VERSION = auto()
    NO_COOKIE = auto()
    """The cookie is missing, or not valid for this address."""
    PROVEN = auto()
    """The client receives datagrams at its address."""


class Hellos:
    """Checks hellos before any state is kept: versions, cookies, failures per host and minute."""

    def __init__(self, failures_per_minute: int) -> None:
        self._cookies = Cookies()
        self._failures = LimitPerMinute(failures_per_minute, _WATCHED_HOSTS)
        # Separate from the failures: a hello needs no cookie to be refused for its version. Anybody could
        # send such hellos from the address of another client, and thereby silence that client.
        self._refused_versions = LimitPerMinute(failures_per_minute, _WATCHED_HOSTS)

    def check(self, hello: ClientHello, remote: Remote, now: float) -> HelloCheck:
        """Check a hello, and count a version that is refused."""
        if not hello.speaks_dtls_1_2:
            if self._refused_versions.exceeded(remote[0], now):
                return HelloCheck.SILENCED
            self._refused_versions.count(remote[0], now)
            return HelloCheck.UNSUPPORTED_VERSION
        return HelloCheck.PROVEN if self.is_proven(hello, remote, now) else HelloCheck.NO_COOKIE

    def is_proven(self, hello: ClientHello, remote: Remote, now: float) -> bool:
        """Return whether a hello has a valid cookie."""
        return self._cookies.verify(hello.cookie, remote, now)

    def cookie(self, remote: Remote, now: float) -> bytes:
        """Return the cookie with which a client proves its address."""
        return self._cookies.make(remote, now)

    def failed(self, host: str, now: float) -> None:
        """Count a failed handshake of a host."""
        self._failures.count(host, now)

    def is_silenced(self, host: str, now: float) -> bool:
        """Return whether too many handshakes of a host have failed in the current minute."""
        return self._failures.exceeded(host, now)


class Handshake:
    """A client that has proven its address, but not yet its identity."""

    __slots__ = (
        "answer",
        "began",
        "client",
        "engine",
        "held",
        "hello",
        "number",
        "offer",
        "prefers_certificates",
        "prefix",
        "remote",
    )

    def __init__(
        self,
        remote: Remote,
        hello: ClientHello,
        client: Client,
        engine: EngineSession,
        began: float,
        offer: Offer | None = None,
        *,
        prefers_certificates: bool = False,
    ) -> None:
        self.remote = remote
        self.prefix = neighbourhood_of(remote[0])
        self.hello = hello
        self.client = client
        self.engine = engine
        self.began = began
        self.offer = offer
        """Offer of a client that offers suites with PSK and suites with certificates."""
        self.prefers_certificates = prefers_certificates
        self.answer = b""
        """Begin of the server's first flight."""
        self.held: list[bytes] | None = None
        """The client's datagrams that wait until the registry was asked; None if they need not wait."""
        self.number = 0
        """Number of the handshake in its table, which tells its deadline from that of an earlier handshake."""

    def holds(self, datagram: bytes) -> bool:
        """Return whether a datagram need not be processed now; beyond `_HELD`, the client has to send it again."""
        if self.held is None:
            return False
        if sum(map(len, self.held)) + len(datagram) <= _HELD:
            self.held.append(datagram)
        return True


class Handshakes:
    """
    The half-open handshakes of one socket, at most one per address.

    A full table, or a full neighbourhood, evicts the handshake whose client has been silent longest.
    """

    def __init__(self, config: DtlsConfig) -> None:
        self._config = config
        self._by_remote: OrderedDict[Remote, Handshake] = OrderedDict()  # longest silent first
        self._by_prefix: dict[str, OrderedDict[Remote, Handshake]] = {}  # likewise
        self._deadlines: list[tuple[float, int, Remote]] = []  # a heap; ended handshakes leave their entry behind
        self._numbers = count(1)
        self.durations = Histogram(*HANDSHAKE_BOUNDS)
        """Seconds from the hello with a cookie to the session."""

    def __len__(self) -> int:
        return len(self._by_remote)

    def __iter__(self) -> Iterator[Handshake]:
        return iter(list(self._by_remote.values()))

    def __contains__(self, handshake: Handshake) -> bool:
        return self._by_remote.get(handshake.remote) is handshake

    def at(self, remote: Remote) -> Handshake | None:
        """Return the handshake of an address."""
        return self._by_remote.get(remote)

    def make_room(self, remote: Remote) -> Iterator[tuple[Handshake, str]]:
        """Remove and yield the handshakes that must end for one more from this address, each with the limit."""
        neighbours = self._by_prefix.get(neighbourhood_of(remote[0]))
        if neighbours is not None and len(neighbours) >= self._config.half_open_per_prefix:
            limit = f"dtls.half_open_per_prefix is {self._config.half_open_per_prefix}"
            yield self._evict(neighbours), limit
        if len(self._by_remote) >= self._config.half_open:
            yield self._evict(self._by_remote), f"dtls.half_open is {self._config.half_open}"

    def add(self, handshake: Handshake) -> None:
        """Add a handshake; one of the same address must have been removed before."""
        handshake.number = next(self._numbers)
        self._by_remote[handshake.remote] = handshake
        self._by_prefix.setdefault(handshake.prefix, OrderedDict())[handshake.remote] = handshake

    def refresh(self, handshake: Handshake) -> None:
        """Note a datagram of a handshake's client: the handshake is now the last to be evicted."""
        self._by_remote.move_to_end(handshake.remote)
        self._by_prefix[handshake.prefix].move_to_end(handshake.remote)

    def remove(self, handshake: Handshake) -> None:
        """Remove a handshake; harmless when repeated."""
        if handshake not in self:
            return
        del self._by_remote[handshake.remote]
        neighbours = self._by_prefix[handshake.prefix]
        del neighbours[handshake.remote]
        if not neighbours:
            del self._by_prefix[handshake.prefix]

    # ---- deadlines --------------------------------------------------------------------------------

    def schedule(self, handshake: Handshake, now: float) -> None:
        """Set the deadline of a handshake that has none: its next retransmission, or its end."""
        due = handshake.began + self._config.handshake_timeout
        retransmission = handshake.engine.timeout()
        if retransmission is not None:
            due = min(due, now + retransmission)
        heapq.heappush(self._deadlines, (due, handshake.number, handshake.remote))
        if len(self._deadlines) > 2 * len(self._by_remote) + _STALE_ENTRIES:
            self._deadlines = [entry for entry in self._deadlines if self._owner(entry) is not None]
            heapq.heapify(self._deadlines)

    def deadline(self) -> float | None:
        """Return the earliest deadline; None without handshakes."""
        while self._deadlines:
            if self._owner(self._deadlines[0]) is not None:
                return self._deadlines[0][0]
            heapq.heappop(self._deadlines)
        return None

    def take_due(self, now: float) -> list[Handshake]:
        """Return the handshakes whose deadline is reached; each needs `schedule` again, or its end."""
        due = []
        while self._deadlines and self._deadlines[0][0] <= now + _SLACK:
            handshake = self._owner(heapq.heappop(self._deadlines))
            if handshake is not None:
                due.append(handshake)
        return due

    def is_late(self, handshake: Handshake, now: float) -> bool:
        """Return whether a handshake has lasted for dtls.handshake_timeout."""
        return now - handshake.began >= self._config.handshake_timeout - _SLACK

    # ---- parts ------------------------------------------------------------------------------------

    def _evict(self, candidates: OrderedDict[Remote, Handshake]) -> Handshake:
        handshake = next(iter(candidates.values()))
        self.remove(handshake)
        return handshake

    def _owner(self, entry: tuple[float, int, Remote]) -> Handshake | None:
        """Return the handshake of a deadline; None if the handshake has ended."""
        handshake = self._by_remote.get(entry[2])
        return handshake if handshake is not None and handshake.number == entry[1] else None
