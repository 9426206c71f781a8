"""The attributes of a modem in every request of the mobile core (RFC 2865 §5, 3GPP TS 29.061 §16.4)."""

from __future__ import annotations

import struct
from typing import Final

from span_events.simulator.cellular.modems import NETWORK, Modem
from span_events.simulator.cellular.radius_client import Attributes
from span_events.wire.radius.packets import Attribute

APN: Final = "demo"

_SERVICE_TYPE, _FRAMED_PROTOCOL, _NAS_PORT_TYPE = 6, 7, 61
_FRAMED, _GPRS_PDP_CONTEXT, _WIRELESS_OTHER = 2, 7, 18
"""Values of the attributes above, in the same order."""
_3GPP: Final = (10415).to_bytes(4, "big")
_IMSI, _CHARGING_ID, _SERVING_NETWORK, _IMEISV, _RAT, _LOCATION = 1, 2, 18, 20, 21, 22
_SOFTWARE_VERSION: Final = "01"
"""Last two digits of an IMEISV, after the first 14 of an IMEI (3GPP TS 23.003 §6.2.2)."""
_NB_IOT: Final = b"\x08"
_PLMN: Final = bytes((0x00, 0xF1, 0x10))
"""The network 001/01 in swapped nibbles (3GPP TS 24.008 §10.5.1.13)."""
_LOCATION_VALUE: Final = struct.Struct("!B3sH3sI")
"""Kind of location, network, tracking area, network, cell (3GPP TS 29.061 §16.4.7.2)."""
_TAI_AND_ECGI: Final = 130
_AREA, _FIRST_CELL, _CELLS = 1, 256, 8
"""Location of all modems: a few cells of one area."""
_NUMBER: Final = struct.Struct("!I")


def attributes_of(modem: Modem, charging_id: int) -> Attributes:
    """Return the attributes for identity, radio, location and session of a modem."""
    cell = _FIRST_CELL + int(modem.imsi) % _CELLS
    return (
        (_NAS_PORT_TYPE, number(_WIRELESS_OTHER)),
        (_SERVICE_TYPE, number(_FRAMED)),
        (_FRAMED_PROTOCOL, number(_GPRS_PDP_CONTEXT)),
        (Attribute.CALLED_STATION_ID, APN.encode()),
        _vendor_specific(_IMSI, modem.imsi.encode()),
        _vendor_specific(_CHARGING_ID, number(charging_id)),
        _vendor_specific(_IMEISV, (modem.imei[:14] + _SOFTWARE_VERSION).encode()),
        _vendor_specific(_SERVING_NETWORK, NETWORK.encode()),
        _vendor_specific(_RAT, _NB_IOT),
        _vendor_specific(_LOCATION, _LOCATION_VALUE.pack(_TAI_AND_ECGI, _PLMN, _AREA, _PLMN, cell)),
    )


def number(value: int) -> bytes:
    """Encode the value of a numeric attribute."""
    return _NUMBER.pack(value)


def _vendor_specific(kind: int, value: bytes) -> tuple[int, bytes]:
    return Attribute.VENDOR_SPECIFIC, _3GPP + bytes((kind, len(value) + 2)) + value
