"""What a RADIUS request tells of a subscriber, in the words of the fleet."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

from span_events.fleet.cellular.operators import country_of, network_name
from span_events.fleet.cellular.report import MobileReport
from span_events.wire.radius.attributes_3gpp import PDP_IPV4, PDP_IPV6, Mobile, Plmn
from span_events.wire.radius.packets import TERMINATE_CAUSES, Attribute, RadiusRequest

_OF_A_DEVICE: Final = "/64"
"""Length of the prefix that a device gets (3GPP TS 23.401 §5.3.1.2.2); others are not understood."""
_OPERATOR_IDENTIFIER: Final = re.compile(r"\.mnc[0-9]{2,3}\.mcc[0-9]{3}\.gprs$")
_PLACES: Final = 1024
"""Networks and APNs whose names are remembered."""


class _Place(NamedTuple):
    mcc: int = 0
    mnc: str = ""
    network: str = ""
    country: str = ""
    country_code: str = ""


def report_of(request: RadiusRequest, mobile: Mobile, *, nas: str, now_ms: int) -> MobileReport:
    """
    Gather what a request tells.

    Args:
        mobile: What its 3GPP attributes tell.
        nas: Name of the NAS that sent it.
        now_ms: When it came, Unix milliseconds.
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
    """Return what a NAS calls itself: its address, which need not be where its requests come from, or its name."""
    return (
        request.address(Attribute.NAS_IP_ADDRESS)
        or request.address(Attribute.NAS_IPV6_ADDRESS)
        or request.text(Attribute.NAS_IDENTIFIER)
    )


@lru_cache(_PLACES)
def _network_identifier(apn: str) -> str:
    """Return what two spellings of an APN have in common: no operator identifier, no capitals (TS 23.003 §9.1)."""
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
    Tell when it happened, in Unix milliseconds.

    Event-Timestamp stays the same however often a request is sent (RFC 2869 §5.3). Without it there is
    the time of arrival, of which Acct-Delay-Time takes away how long the NAS has tried (RFC 2866 §5.2).
    """
    happened = request.number(Attribute.EVENT_TIMESTAMP)
    if happened:
        return happened * 1000
    return now_ms - (request.number(Attribute.ACCT_DELAY_TIME) or 0) * 1000


def _terminate_cause(request: RadiusRequest) -> str:
    """Return the name of Acct-Terminate-Cause, the number of one without a name, or nothing."""
    cause = request.number(Attribute.ACCT_TERMINATE_CAUSE)
    if cause is None:
        return ""
    return TERMINATE_CAUSES[cause] if 0 < cause < len(TERMINATE_CAUSES) else str(cause)
