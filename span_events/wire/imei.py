"""
The numbers that name hardware: IMEI and IMEISV (3GPP TS 23.003 section 6.2).

Their first 14 digits are the hardware. An IMEI adds a check digit, which networks leave out or send as
zero; an IMEISV adds two digits of the software's version. So only the 14 are ever compared.
"""

from __future__ import annotations

from typing import Final

BODY: Final = 14
"""Digits that name the hardware: type allocation code and serial number."""
DIGITS: Final = range(BODY, 17)
"""Lengths in which the number is written: without a check digit, with it (IMEI), with a version (IMEISV)."""

_VALUES: Final = bytes.maketrans(b"0123456789", bytes(range(10)))
_DOUBLED: Final = bytes.maketrans(b"0123456789", bytes((0, 2, 4, 6, 8, 1, 3, 5, 7, 9)))
"""Digits to the sum of the digits of their double."""


def check_digit(body: str) -> str:
    """Compute the check digit of 14 digits (Luhn; TS 23.003 annex B)."""
    digits = body.encode()
    total = sum(digits[::2].translate(_VALUES)) + sum(digits[1::2].translate(_DOUBLED))
    return str(-total % 10)


def canonical(digits: str) -> str:
    """Write a number of 14, 15 or 16 digits as an IMEI: 15 digits, the last of them computed."""
    body = digits[:BODY]
    return body + check_digit(body)


def same_hardware(one: str, other: str) -> bool:
    """Tell whether two numbers, in whatever form, name the same hardware."""
    return one[:BODY] == other[:BODY]
