"""Budget: a rate and a burst for the work that one client may cause (leaky bucket, ITU-T I.371)."""

from __future__ import annotations


class Budget:
    """
    The allowance of one client.

    Args:
        rate: Units a second that the client may spend for long.
        burst: Units that it may spend at once above that.
    """

    __slots__ = ("_at", "_burst", "_rate", "_spent")

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._spent = 0.0
        self._at = 0.0  # time at which `_spent` was right

    def allows(self, units: float, now: float) -> bool:
        """Spend units at ``now`` (monotonic seconds); negative ones give back. False if the budget is exceeded."""
        spent = self._spent - (now - self._at) * self._rate
        self._spent = max(0.0, max(0.0, spent) + units)
        self._at = now
        return self._spent <= self._burst
