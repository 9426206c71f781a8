"""SIM and hardware of simulated devices: of the test network 001/01 and of test IMEIs, which no real device has."""

from __future__ import annotations

import random
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

from span_events.wire import imei as hardware

NETWORK: Final = "00101"
"""MCC and MNC of test networks (ITU-T E.212)."""
_TEST_IMEI: Final = "00100"
"""First digits of the IMEIs of test equipment (GSMA TS.06: reporting body 00)."""


@dataclass(frozen=True, slots=True)
class Modem:
    """Hardware with a SIM in it."""

    imsi: str
    """15 digits."""
    imei: str
    """15 digits, the last one the check digit."""


def modem_at(address: str) -> Modem:
    """Return the modem of the device at an IPv4 address; its numbers end with 078000001 for 127.78.0.1."""
    return _modem("".join(f"{octet:03}" for octet in IPv4Address(address).packed[1:]))


def foreign_modem() -> Modem:
    """Return a modem that belongs to no simulated device."""
    return _modem(f"9{random.randrange(100_000_000):08}")


def _modem(digits: str) -> Modem:
    return Modem(f"{NETWORK}0{digits}", hardware.canonical(_TEST_IMEI + digits))
