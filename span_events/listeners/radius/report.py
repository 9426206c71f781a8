"""Converts a RADIUS request into a report for the fleet."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

from span_events.fleet.cellular.operators import country_of, network_name
from span_events.fleet.cellular.report import MobileReport
from span_events.wire.radius.attributes_3gpp import PDP_IPV4, PDP_IPV6, Mobile, Plmn
from span_events.wire.radius.packets import TERMINATE_CAUSES, Attribute, RadiusRequest

_OF_A_DEVICE: Final = "/64"
"""Length of the prefix of a device (3GPP TS 23.401 §5.3.1.2.2); other lengths are ignored."""
_OPERATOR_IDENTIFIER: Final = re.compile(r"\.mnc[0-9]{2,3}\.mcc[0-9]{3}\.gprs$")
_PLACES: Final = 1024
"""Number of networks and APNs in the caches of names."""


class _Place(NamedTuple):
    mcc: int = 0
    mnc: str = ""
    network: str = ""
    country: str = ""
    country_code: str = ""


def report_of(request: RadiusRequest, mobile: Mobile, *, nas: str, now_ms: int) -> MobileReport:
    """
    Return the report of a request.

    Args:
        mobile: Content of its 3GPP attributes.
        nas: Name of the NAS that sent the request.
        now_ms: Time of arrival in Unix milliseconds.
    """
    equipment, place = mobile.equipment, _place_of(mobile.network)
    cell = mobile.location.cell if mobile.location else None
    prefix = request.framed_prefix()
    return MobileReport(
        nas=nas,
        nas_address=nas_address_of(request),
        session=request.text(Attribute.ACCT_SESSION_ID),
        imsi=mobile.imsi or "",
        imei=equipment.imei if equipment else "",
        apn=_network_identifier(request.text(Attribute.CALLED_STATION_ID)),
        wants_ipv4=mobile.pdp_type != PDP_IPV6,
        wants_ipv6=mobile.pdp_type != PDP_IPV4,
        address=request.framed_address(),
        prefix=prefix if prefix.endswith(_OF_A_DEVICE) else "",
        cell_id="" if cell is None else str(cell),
        rat=mobile.rat or "",
        mcc=place.mcc,
        mnc=place.mnc,
        network=place.network,
        country=place.country,
        country_code=place.country_code,
        time_ms=_time_ms(request, now_ms),
        terminate_cause=_terminate_cause(request),
        session_seconds=request.number(Attribute.ACCT_SESSION_TIME),
    )


def nas_address_of(request: RadiusRequest) -> str:
    """Return the address or name by which a NAS identifies itself; it may differ from its source address."""
    return (
        request.address(Attribute.NAS_IP_ADDRESS)
        or request.address(Attribute.NAS_IPV6_ADDRESS)
        or request.text(Attribute.NAS_IDENTIFIER)
    )


@lru_cache(_PLACES)
def _network_identifier(apn: str) -> str:
    """Return an APN in lower case and without operator identifier, so that spellings compare equal (TS 23.003 §9.1)."""
    return _OPERATOR_IDENTIFIER.sub("", apn.lower())


@lru_cache(_PLACES)
def _place_of(network: Plmn | None) -> _Place:
    if network is None:
        return _Place()
    country = country_of(network.mcc)
    names = (country.name, country.code) if country else ("", "")
    return _Place(int(network.mcc), network.mnc, network_name(*network), *names)


def _time_ms(request: RadiusRequest, now_ms: int) -> int:
    """
    Return the time of the reported event in Unix milliseconds.

    Event-Timestamp stays the same in retransmissions (RFC 2869 §5.3). Without it, the time is the time of
    arrival minus Acct-Delay-Time, the seconds for which the NAS has tried (RFC 2866 §5.2).
    """
    happened = request.number(Attribute.EVENT_TIMESTAMP)
    if happened:
        return happened * 1000
    return now_ms - (request.number(Attribute.ACCT_DELAY_TIME) or 0) * 1000


def _terminate_cause(request: RadiusRequest) -> str:
    """Return the name of Acct-Terminate-Cause, its number if it has no name, or an empty text."""
    cause = request.number(Attribute.ACCT_TERMINATE_CAUSE)
    if cause is None:
        return ""
    return TERMINATE_CAUSES[cause] if 0 < cause < len(TERMINATE_CAUSES) else str(cause)
