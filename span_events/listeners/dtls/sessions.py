"""The open DTLS sessions of one socket, and the memory of those that ended."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final, NamedTuple, TypeVar

from span_events.bounded.expiring import ExpiringMap
from span_events.events.reasons import DisconnectReason
from span_events.listeners.dtls.session import DtlsSession
from span_events.net import Remote
from span_events.registry.model import Device

K = TypeVar("K")

_REMEMBERED: Final = 10_000
"""Upper bound of remembered ended sessions; beyond it, the one that ended first is forgotten."""
_LIFETIME: Final = 3_600.0
"""Seconds for which an ended session is remembered: later, a NAT may have given its port to another device."""


class Ended(NamedTuple):
    """A session that has ended."""

    device: Device
    reason: DisconnectReason
    at: float
    """Monotonic seconds."""


class Sessions:
    """The sessions by address; times are monotonic seconds."""

    def __init__(self) -> None:
        self._by_remote: dict[Remote, DtlsSession] = {}
        self._by_host: dict[str, dict[Remote, DtlsSession]] = {}
        self._by_device: dict[int, dict[Remote, DtlsSession]] = {}
        self._ended: ExpiringMap[Remote, Ended] = ExpiringMap(limit=_REMEMBERED, lifetime=_LIFETIME)
        self.at = self._by_remote.get
        """Return the session of an address, or None."""

    def __len__(self) -> int:
        return len(self._by_remote)

    def __iter__(self) -> Iterator[DtlsSession]:
        return iter(list(self._by_remote.values()))

    def __contains__(self, session: DtlsSession) -> bool:
        return self._by_remote.get(session.remote) is session

    def add(self, session: DtlsSession) -> None:
        """Add a session; an earlier one of its address must have been removed."""
        remote = session.remote
        self._by_remote[remote] = session
        self._by_host.setdefault(remote[0], {})[remote] = session
        self._by_device.setdefault(session.fleet.device.id, {})[remote] = session
        self._ended.forget(remote)

    def remove(self, session: DtlsSession, reason: DisconnectReason, now: float) -> None:
        """Remove an open session, and remember how it ended."""
        remote = session.remote
        del self._by_remote[remote]
        _take_out(self._by_host, remote[0], remote)
        _take_out(self._by_device, session.fleet.device.id, remote)
        self._ended.put(remote, Ended(session.fleet.device, reason, now), now)

    def of_device(self, device: Device) -> list[DtlsSession]:
        """Return the sessions of a device, the oldest first."""
        return list(self._by_device.get(device.id, {}).values())

    def of_host(self, host: str) -> list[DtlsSession]:
        """Return the sessions of a host, up to two: a record may be of any."""
        return list(islice(self._by_host.get(host, {}).values(), 2))

    def ended_at(self, remote: Remote, now: float) -> Ended | None:
        """Return the last session of an address while its end is remembered."""
        return self._ended.get(remote, now)


def _take_out(index: dict[K, dict[Remote, DtlsSession]], key: K, remote: Remote) -> None:
    sessions = index[key]
    del sessions[remote]
    if not sessions:
        del index[key]
