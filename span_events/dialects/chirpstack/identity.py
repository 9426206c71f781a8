"""
Identities of ChirpStack: UUIDs and EUI-64s, computed from Span ids, so that they are the same after a restart.

An EUI-64 is a hash with the bit of local administration: no vendor has it, and a changed SIM does not change it.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import sha256
from typing import Final
from uuid import NAMESPACE_URL, uuid5

EUI_TAG: Final = "devEui"
"""Tag of a device with its real EUI-64, 16 hexadecimal digits."""
DATA_TAG: Final = "span_data"
"""Tag of an event with our data of it, JSON, where ChirpStack has no field for all of that."""
GATEWAY: Final = "cellular"
"""Stands for the gateway of a message that came through none."""
_EUI: Final = re.compile(r"[0-9a-f]{16}")


@lru_cache(maxsize=8192)
def uuid_of(kind: str, name: str) -> str:
    """Return the UUID of a thing: version 5, over ``urn:span:KIND:NAME``."""
    return str(uuid5(NAMESPACE_URL, f"urn:span:{kind}:{name}"))


@lru_cache(maxsize=65536)
def eui_of(kind: str, name: str) -> str:
    """Return the EUI-64 of a thing: the hash of ``span/KIND/NAME``, locally administered, of a single station."""
    first, *others = sha256(f"span/{kind}/{name}".encode()).digest()[:8]
    return bytes([(first | 0x02) & ~0x01, *others]).hex()


def real_eui(text: str) -> str:
    """Return an EUI-64 in lower case; empty if the text is none."""
    lower = text.strip().lower()
    return lower if _EUI.fullmatch(lower) else ""
