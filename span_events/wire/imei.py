"""
IMEI and IMEISV: the numbers of mobile hardware (3GPP TS 23.003 section 6.2).

The first 14 digits identify the hardware. An IMEI adds a check digit, which networks omit or send as zero; an
IMEISV adds two digits of the software version. So only the first 14 digits are compared.
"""

from __future__ import annotations

from typing import Final

BODY: Final = 14
"""Number of digits that identify the hardware: type allocation code and serial number."""
DIGITS: Final = range(BODY, 17)
"""Valid lengths: without check digit, with check digit (IMEI), with software version (IMEISV)."""

_VALUES: Final = bytes.maketrans(b"0123456789", bytes(range(10)))
_DOUBLED: Final = bytes.maketrans(b"0123456789", bytes((0, 2, 4, 6, 8, 1, 3, 5, 7, 9)))
"""Maps each digit to the digit sum of its double."""


def check_digit(body: str) -> str:
    """Return the check digit of 14 digits (Luhn; TS 23.003 annex B)."""
    digits = body.encode()
    total = sum(digits[::2].translate(_VALUES)) + sum(digits[1::2].translate(_DOUBLED))
    return str(-total % 10)


def canonical(digits: str) -> str:
    """Return 14, 15 or 16 digits as an IMEI of 15 digits with a computed check digit."""
    body = digits[:BODY]
    return body + check_digit(body)


def same_hardware(one: str, other: str) -> bool:
    """Return True if two numbers, each with or without check digit or version, identify the same hardware."""
    return one[:BODY] == other[:BODY]
