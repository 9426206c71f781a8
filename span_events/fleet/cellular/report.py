"""What the mobile core tells about a subscriber, and what it is answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class MobileReport(NamedTuple):
    """What one request of the mobile core tells about a subscriber; what it does not tell is empty."""

    nas: str
    """Name of the NAS in the configuration."""
    nas_address: str = ""
    """How the request names the node: NAS-IP-Address, NAS-IPv6-Address or NAS-Identifier."""
    session: str = ""
    """Acct-Session-Id; a NAS that breaks RFC 2866 §5.5 sends none."""
    imsi: str = ""
    """Digits; an invalid one is none."""
    imei: str = ""
    """15 digits, the last of them computed."""
    apn: str = ""
    """Network identifier, lower case (3GPP TS 23.003 §9.1)."""
    wants_ipv4: bool = True
    """Whether an IPv4 address is asked for (3GPP-PDP-Type)."""
    wants_ipv6: bool = True
    """Whether an IPv6 prefix is; of the two, one is enough."""
    address: str = ""
    """IPv4 address, canonical text."""
    prefix: str = ""
    """IPv6 prefix, canonical text with its length."""
    cell_id: str = ""
    rat: str = ""
    mcc: int = 0
    """Serving network: country, 0 is not known."""
    mnc: str = ""
    """Digits; a leading zero belongs to it."""
    network: str = ""
    country: str = ""
    country_code: str = ""
    time_ms: int = 0
    """When the NAS made the request, Unix milliseconds by its clock; 0 is not known."""
    terminate_cause: str = ""
    """Words of a Stop (``User-Request``)."""
    session_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """The subscriber may attach."""

    address: str
    """IPv4 address for it; empty lets the NAS choose."""
    prefix: str
    """IPv6 prefix for it, likewise."""
    class_: bytes
    """16 octets that name this decision."""
    waits: bool
    """Whether the subscriber must not hear of it before `Cellular.commit` has returned."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The subscriber may not attach."""

    reason: str
    """`CiotRejectedReason`, or the name of the event that tells it (``imsiMismatch``)."""
