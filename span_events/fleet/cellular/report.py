"""The reports of the mobile core about a subscriber, and the decision on an attach request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple


class MobileReport(NamedTuple):
    """One request of the mobile core about a subscriber; missing fields are empty."""

    nas: str
    """Name of the NAS in the configuration."""
    nas_address: str = ""
    """Node that sent the request: NAS-IP-Address, NAS-IPv6-Address or NAS-Identifier."""
    session: str = ""
    """Acct-Session-Id; empty from a NAS that breaks RFC 2866 §5.5."""
    imsi: str = ""
    """Digits; empty if invalid."""
    imei: str = ""
    """15 digits; the check digit is computed."""
    apn: str = ""
    """Network identifier, lower case (3GPP TS 23.003 §9.1)."""
    wants_ipv4: bool = True
    """True if the device requests an IPv4 address (3GPP-PDP-Type)."""
    wants_ipv6: bool = True
    """True if the device requests an IPv6 prefix. One of the two is enough to attach."""
    address: str = ""
    """IPv4 address, canonical text."""
    prefix: str = ""
    """IPv6 prefix, canonical text with its length."""
    cell_id: str = ""
    rat: str = ""
    mcc: int = 0
    """Country of the serving network; 0 if unknown."""
    mnc: str = ""
    """Network of the serving country: digits, with leading zeros."""
    network: str = ""
    country: str = ""
    country_code: str = ""
    time_ms: int = 0
    """Time of the request in Unix milliseconds, by the clock of the NAS; 0 if unknown."""
    terminate_cause: str = ""
    """Acct-Terminate-Cause of a Stop by name (``User-Request``)."""
    session_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """An accepted attach request."""

    address: str
    """IPv4 address of the device; empty lets the NAS choose."""
    prefix: str
    """IPv6 prefix of the device; empty lets the NAS choose."""
    class_: bytes
    """Class attribute: 16 octets that identify this decision."""
    waits: bool
    """True if the answer must wait until `Cellular.commit` returns."""
    holds: Callable[[], bool] = field(default=lambda: True, compare=False)
    """Tells, after that, whether the answer may be sent: another node may have promised the address first."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A rejected attach request."""

    reason: str
    """A `CiotRejectedReason`, or the name of the published mismatch (``imsiMismatch``)."""
