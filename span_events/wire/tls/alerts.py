"""Alerts of TLS and DTLS by number (RFC 8446 §6, RFC 5246 §7.2, IANA "TLS Alerts")."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

ALERTS: Final = MappingProxyType(
    {
        0: "close notify",
        10: "unexpected message",
        20: "bad record mac",
        21: "decryption failed",
        22: "record overflow",
        30: "decompression failure",
        40: "handshake failure",
        41: "no certificate",
        42: "bad certificate",
        43: "unsupported certificate",
        44: "certificate revoked",
        45: "certificate expired",
        46: "certificate unknown",
        47: "illegal parameter",
        48: "unknown ca",
        49: "access denied",
        50: "decode error",
        51: "decrypt error",
        60: "export restriction",
        70: "protocol version",
        71: "insufficient security",
        80: "internal error",
        86: "inappropriate fallback",
        90: "user canceled",
        100: "no renegotiation",
        109: "missing extension",
        110: "unsupported extension",
        111: "certificate unobtainable",
        112: "unrecognized name",
        113: "bad certificate status response",
        114: "bad certificate hash value",
        115: "unknown psk identity",
        116: "certificate required",
        120: "no application protocol",
        121: "ech required",
    }
)
"""Names of alerts in words, including those of older versions."""
REFUSES_CERTIFICATE: Final = frozenset({42, 43, 44, 45, 46, 48, 49})
"""Alerts of clients that reject the server's certificate or its name; libraries choose different ones."""


def alert_name(number: int) -> str:
    """Return the name of an alert."""
    return ALERTS.get(number, f"alert {number}")
