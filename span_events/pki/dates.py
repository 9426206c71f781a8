"""Clock checks: refuse to make certificates before this release's date, or to use an authority outside its validity."""

from __future__ import annotations

from pathlib import Path

from span_events.clock import Clock
from span_events.dialects.span import render_time
from span_events.errors import StorageUnavailable
from span_events.pki.issuing import Period

_SET_IT = "Set the clock (`timedatectl`, NTP) and start again; under systemd, After=time-sync.target waits for it."


def unix_seconds(clock: Clock) -> int:
    """Return Unix time."""
    return clock.time_ns() // 1_000_000_000


def is_obviously_wrong(clock: Clock) -> bool:
    """Return whether a clock shows a moment before this release."""
    return clock.time_ns() < clock.earliest_ns


def require_plausible(clock: Clock) -> None:
    """
    Refuse to make certificates with a clock that is obviously wrong: they would have expired once it is right.

    Raises:
        StorageUnavailable: The clock shows a moment before this release.
    """
    if is_obviously_wrong(clock):
        error = StorageUnavailable(
            f"The clock of this machine says {_shown(unix_seconds(clock))}, before this release was made"
            f" ({_shown(clock.earliest_ns // 1_000_000_000)}): no certificates are made with it"
        )
        error.hint = _SET_IT
        raise error


def fault_of(period: Period, clock: Clock) -> str:
    """Return the clause that says why a certificate is not valid now; empty if it is."""
    now = unix_seconds(clock)
    if period.begin <= now <= period.end:
        return ""
    return f"is valid from {_shown(period.begin)} to {_shown(period.end)}, and it is {_shown(now)} now"


def require_valid(path: Path, period: Period, clock: Clock) -> None:
    """
    Make sure that a certificate of the authority is valid now.

    Raises:
        StorageUnavailable: The certificate has expired, or is not valid yet; the hint names the way out.
    """
    fault = fault_of(period, clock)
    if not fault:
        return
    error = StorageUnavailable(f"{path}: {fault}")
    error.hint = (
        _SET_IT
        if is_obviously_wrong(clock)
        else "If `date` is wrong, set the clock and start again. If it is right, the certificate was made while the"
        f" clock was wrong: move {path.parent} away, and the next start makes a new authority, of which every device"
        " and gateway needs a new certificate."
    )
    raise error


def _shown(seconds: int) -> str:
    return f"{render_time(seconds)} UTC"
