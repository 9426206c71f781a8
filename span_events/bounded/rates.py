"""Rate limits: a rate and a burst for each device (generic cell rate algorithm, ITU-T I.371)."""

from __future__ import annotations


class RateLimits:
    """
    The allowances of all devices that have sent lately.

    Args:
        rate: Messages a second that a device may send for long.
        burst: Messages that it may send at once above that.
    """

    def __init__(self, rate: float, burst: float) -> None:
        self._interval = 1.0 / rate
        self._tolerance = burst / rate
        self._full_at: dict[int, float] = {}  # per device: when its allowance would be full again

    def admits(self, device_id: int, now: float) -> bool:
        """Return whether a device may send one more message at ``now`` (monotonic seconds), and count it."""
        full_at = self._full_at.get(device_id, now)
        if full_at - now > self._tolerance:
            return False
        self._full_at[device_id] = (full_at if full_at > now else now) + self._interval
        return True

    def give_back(self, device_id: int) -> None:
        """Refund the last counted message of a device."""
        if device_id in self._full_at:
            self._full_at[device_id] -= self._interval

    def forget(self, device_id: int) -> None:
        """Drop the counts of a removed device."""
        self._full_at.pop(device_id, None)

    def sweep(self, now: float) -> None:
        """Drop the devices whose allowance is full."""
        for device_id in [each for each, full_at in self._full_at.items() if full_at < now]:
            del self._full_at[device_id]


class Allowance:
    """
    The allowance of one client, in frames, octets or whatever its input is counted in.

    Args:
        rate: Number a second that it may use for long.
        burst: Number that it may use at once above that.
    """

    __slots__ = ("_full_at", "_interval", "_tolerance")

    def __init__(self, rate: float, burst: float) -> None:
        self._interval = 1.0 / rate
        self._tolerance = burst / rate
        self._full_at = 0.0  # when the allowance would be full again

    def admits(self, amount: int, now: float) -> bool:
        """Count an amount at ``now`` (monotonic seconds); return False once the allowance is overdrawn."""
        self._full_at = max(self._full_at, now) + amount * self._interval
        return self._full_at - now <= self._tolerance
