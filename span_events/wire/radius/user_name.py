"""IMSI out of User-Name, for mobile cores that send no 3GPP-IMSI (3GPP TS 23.003 §14, §19: NAI)."""

from __future__ import annotations

import re
from typing import Final

_NAI: Final = re.compile(r"[0-8]?([0-9]{15})(@.*)?", re.ASCII | re.DOTALL)
"""An IMSI, with a digit for the method of authentication before it and a realm behind it, or without."""
_DIGITS: Final = re.compile(r"([0-9]{6,14})(@.*)?", re.ASCII | re.DOTALL)
"""A short IMSI; it has no such digit, since nothing would tell the two apart."""


def imsi_of(user_name: str) -> str | None:
    """
    Return the IMSI in a User-Name: ``242016000000001``, or an NAI such as ``0242016000000001@nai.epc.mnc001…``.

    Returns:
        None for a pseudonym or any other name.
    """
    found = _NAI.fullmatch(user_name) or _DIGITS.fullmatch(user_name)
    return None if found is None else found[1]
