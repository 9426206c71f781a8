"""
The 3GPP attributes of a RADIUS request: IMSI, IMEI, network and location (3GPP TS 29.061 §16.4.7).

Mobile cores differ in which attributes they send, and in how correct they are. No attribute causes a reject:
malformed ones are left out and noted, unknown ones are ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from functools import lru_cache
from typing import Final, NamedTuple, TypeVar

from span_events.wire import imei


class Note(StrEnum):
    """Malformed attributes; the values are labels of a metric."""

    VENDOR_LENGTH = "bad_vendor_length"
    IMSI = "bad_imsi"
    IMEI = "bad_imei"
    CHECK_DIGIT = "bad_imei_check_digit"
    """Wrong check digit, other than the 0 that many mobile cores send; the IMEI is accepted nevertheless."""
    NETWORK = "bad_network"
    RAT = "bad_rat"
    LOCATION = "bad_location"


class Equipment(NamedTuple):
    """The hardware as a mobile reports it, without proof."""

    imei: str
    """15 digits; the check digit is computed."""
    software_version: str
    """Two digits of an IMEISV, or empty."""


class Plmn(NamedTuple):
    """PLMN identity: MCC and MNC (3GPP TS 23.003)."""

    mcc: str
    """Three digits."""
    mnc: str
    """Two or three digits; 01 and 001 are different networks."""


class Location(NamedTuple):
    """Location of a mobile."""

    network: Plmn
    area: int | None = None
    """Location or tracking area code."""
    cell: int | None = None
    """CI, SAC, ECI or NCI, depending on the kind of location."""


class Mobile(NamedTuple):
    """The content of the attributes of one request; None for missing ones."""

    imsi: str | None = None
    """6 to 15 digits."""
    equipment: Equipment | None = None
    network: Plmn | None = None
    """The serving network: from its own attribute, else from the location."""
    rat: str | None = None
    """Radio access technology: a name of `RATS`, or its number if it has no name there."""
    location: Location | None = None
    pdp_type: int | None = None
    """3GPP-PDP-Type: `PDP_IPV4`, `PDP_IPV6`, or another value."""
    notes: tuple[Note, ...] = ()


PDP_IPV4, PDP_IPV6 = 0, 2
"""Values of 3GPP-PDP-Type that request only one kind of address (TS 29.061 §16.4.7.2)."""

RATS: Final = {
    1: "UTRAN",
    2: "GERAN",
    3: "WLAN",
    4: "GAN",
    5: "HSPA+",
    6: "E-UTRAN",
    7: "Virtual",
    8: "NB-IoT",
    9: "LTE-M",
    51: "NR",
    52: "NR-U",
    101: "WiMAX",
    102: "eHRPD",
    103: "HRPD",
    104: "1xRTT",
    105: "UMB",
}
"""Names of 3GPP-RAT-Type (TS 29.061 §16.4.7.2)."""


class _Layout(NamedTuple):
    """Positions of the fields in a location, after its type octet and network."""

    length: int = 0
    """Total octets; 0 for any number."""
    area: slice = slice(0)
    cell: slice = slice(0)
    bits: int = 0
    """Bits of the cell."""
    spare: int = 0
    """Bits after the cell."""


_LOCATIONS: Final = {
    0: _Layout(8, area=slice(4, 6), cell=slice(6, 8), bits=16),  # CGI
    1: _Layout(8, area=slice(4, 6), cell=slice(6, 8), bits=16),  # SAI
    2: _Layout(8, area=slice(4, 6)),  # RAI; sources disagree about its routing area code
    128: _Layout(6, area=slice(4, 6)),  # TAI
    129: _Layout(8, cell=slice(4, 8), bits=28),  # ECGI: the spare bits come first
    130: _Layout(13, area=slice(4, 6), cell=slice(9, 13), bits=28),  # TAI and ECGI, the usual form of LTE
    135: _Layout(9, cell=slice(4, 9), bits=36, spare=4),  # NCGI
    136: _Layout(7, area=slice(4, 7)),  # 5GS TAI
    137: _Layout(15, area=slice(4, 7), cell=slice(10, 15), bits=36, spare=4),  # 5GS TAI and NCGI
    **dict.fromkeys((131, 132, 133, 134, 138, 139), _Layout()),  # base stations
}
_3GPP: Final = (10415).to_bytes(4, "big")
_IMSI, _PDP_TYPE, _SERVING_NETWORK, _IMEISV, _RAT, _LOCATION = 1, 3, 18, 20, 21, 22

_REMEMBERED: Final = 1024
"""Number of decoded networks and cells in each cache; many mobiles share them."""

T = TypeVar("T")


def read(vendor_specific: Iterable[bytes]) -> Mobile:
    """Decode the Vendor-Specific attributes of a request; other vendors are ignored."""
    values: dict[int, bytes] = {}
    notes: list[Note] = []
    for each in vendor_specific:
        if each[:4] != _3GPP:
            continue
        if len(each) > 5 and each[5] == len(each) - 4:  # one attribute, the usual case
            values.setdefault(each[4], each[6:])
        elif not _split(each, values):
            notes.append(Note.VENDOR_LENGTH)

    imsi = _take(values, _IMSI, _imsi, Note.IMSI, notes)
    equipment = _take(values, _IMEISV, read_equipment, Note.IMEI, notes)
    if equipment is not None and not _is_plausible(values[_IMEISV], equipment):
        notes.append(Note.CHECK_DIGIT)
    network = _take(values, _SERVING_NETWORK, _network, Note.NETWORK, notes)
    rat = _take(values, _RAT, _rat, Note.RAT, notes)
    location = _take(values, _LOCATION, read_location, Note.LOCATION, notes)
    pdp_type = int.from_bytes(values[_PDP_TYPE], "big") if _PDP_TYPE in values else None
    network = network or (location.network if location else None)
    return Mobile(imsi, equipment, network, rat, location, pdp_type, tuple(notes))


def read_equipment(value: bytes) -> Equipment | None:
    """
    Decode 3GPP-IMEISV: 14 to 16 digits, or swapped BCD in 8 octets.

    Signalling often has a 0 as check digit, or none, so it is always computed. A network that does not know the
    IMEI sends only zeros.
    """
    digits = value.rstrip(b"\0")
    if len(value) == 8 and not digits.isdigit():
        digits = _swapped(value).rstrip("f").encode()
    if len(digits) not in imei.DIGITS or not digits.isdigit():
        return None
    text = digits.decode()
    if not text.strip("0"):
        return None
    return Equipment(imei.canonical(text), text[imei.BODY :] if len(text) == 16 else "")


@lru_cache(_REMEMBERED)
def read_location(value: bytes) -> Location | None:
    """
    Decode 3GPP-User-Location-Info (TS 29.061 §16.4.7.2).

    The first octet is the type of the location. From identities of base stations only the network is read. Some
    mobile cores copy the element of GTPv2 (TS 29.274 §8.21), which begins with a bit mask: its length does not match,
    and it is ignored.
    """
    layout = _LOCATIONS.get(value[0]) if value else None
    network = read_plmn(value[1:4])
    if layout is None or network is None or layout.length not in (0, len(value)):
        return None
    area, cell = value[layout.area], value[layout.cell]
    return Location(
        network,
        int.from_bytes(area, "big") if area else None,
        int.from_bytes(cell, "big") >> layout.spare & (1 << layout.bits) - 1 if cell else None,
    )


def read_plmn(octets: bytes) -> Plmn | None:
    """Decode a network of three octets, low nibble first: MCC2 MCC1, MNC3 MCC3, MNC2 MNC1 (TS 24.008 §10.5.1.13)."""
    digits = _swapped(octets)
    if len(digits) != 6:
        return None
    mcc, mnc = digits[:3], digits[4:] + digits[3].replace("f", "")
    return Plmn(mcc, mnc) if (mcc + mnc).isdigit() else None


def _split(value: bytes, values: dict[int, bytes]) -> bool:
    """Add the values of one Vendor-Specific attribute; return True if their lengths add up."""
    at, end = 4, len(value)
    while at + 2 <= end and 2 <= value[at + 1] <= end - at:
        values.setdefault(value[at], value[at + 2 : at + value[at + 1]])
        at += value[at + 1]
    return at == end > 4


def _take(
    values: dict[int, bytes], kind: int, reader: Callable[[bytes], T | None], note: Note, notes: list[Note]
) -> T | None:
    value = values.get(kind)
    if value is None:
        return None
    found = reader(value)
    if found is None:
        notes.append(note)
    return found


def _imsi(value: bytes) -> str | None:
    digits = value.rstrip(b"\0")
    return digits.decode() if 6 <= len(digits) <= 15 and digits.isdigit() else None


def _is_plausible(value: bytes, equipment: Equipment) -> bool:
    """Return False for an IMEI of 15 digits with a check digit that is neither right nor 0."""
    digits = value.rstrip(b"\0")
    return len(digits) != 15 or digits[14:] == b"0" or digits.decode() == equipment.imei


@lru_cache(_REMEMBERED)
def _network(value: bytes) -> Plmn | None:
    digits = value.rstrip(b"\0")
    if len(digits) not in (5, 6) or not digits.isdigit():
        return None
    text = digits.decode()
    return Plmn(text[:3], text[3:])


@lru_cache(_REMEMBERED)
def _rat(value: bytes) -> str | None:
    """Decode an octet, or the four octets that some dictionaries define."""
    if len(value) not in (1, 4):
        return None
    number = int.from_bytes(value, "big")
    return RATS.get(number) or str(number)


def _swapped(octets: bytes) -> str:
    """Return octets in hexadecimal, low nibble first."""
    text = octets.hex()
    return "".join(text[at ^ 1] for at in range(len(text)))
