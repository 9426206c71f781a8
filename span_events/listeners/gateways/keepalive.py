"""
Keepalive: watches one connection for silence, for a stalled reader, and for the deadline of its call.

Nothing here reads a clock; times are monotonic seconds.
"""

from __future__ import annotations

from enum import Enum, auto

from span_events.config import GatewaysConfig


class Due(Enum):
    """Action that an open control stream needs now."""

    NOTHING = auto()
    PING = auto()
    """The connection was silent for `keepalive_interval`."""
    DEADLINE = auto()
    """The deadline that the client set for its call has passed."""
    STALLED = auto()
    """A message has waited for `stalled_after`."""
    SILENT = auto()
    """The ping was not answered within `keepalive_timeout`."""


class Keepalive:
    """The watch over one connection."""

    __slots__ = ("_call_deadline", "_config", "last_input", "pinged_at")

    def __init__(self, config: GatewaysConfig, now: float) -> None:
        self._config = config
        self._call_deadline: float | None = None
        self.last_input = now
        """Time of the last octets from the gateway."""
        self.pinged_at: float | None = None
        """Time of a ping after which nothing was received."""

    def limit(self, timeout: float | None) -> None:
        """Set the deadline of the call, seconds from the last input; None for none."""
        self._call_deadline = None if timeout is None else self.last_input + timeout

    def check(self, now: float, *, oldest: float | None, is_reading: bool) -> Due:
        """
        Return the action that is due; after `PING`, the ping counts as sent.

        Args:
            oldest: Time since which the oldest output waits, if any does.
            is_reading: False while input is not read, so that silence proves nothing.
        """
        config = self._config
        if self._call_deadline is not None and now >= self._call_deadline:
            return Due.DEADLINE
        if oldest is not None and now - oldest >= config.stalled_after:
            return Due.STALLED
        if self.pinged_at is None:
            if now - self.last_input < config.keepalive_interval:
                return Due.NOTHING
            self.pinged_at = now
            return Due.PING
        if now - self.pinged_at >= config.keepalive_timeout and is_reading:
            return Due.SILENT
        return Due.NOTHING

    def deadline(self, now: float, *, oldest: float | None) -> float:
        """Return the time of the next `check`."""
        config = self._config
        if self.pinged_at is None:
            due = self.last_input + config.keepalive_interval
        else:
            due = max(now, self.pinged_at + config.keepalive_timeout)
        if oldest is not None:
            due = min(due, oldest + config.stalled_after)
        return due if self._call_deadline is None else min(due, self._call_deadline)
