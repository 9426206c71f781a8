"""The cipher suites and elliptic curves that are served over DTLS."""

from __future__ import annotations

from functools import lru_cache
from types import MappingProxyType
from typing import Final

from span_events.wire.dtls.hello import ClientHello, numbers
from span_events.wire.dtls.names import SUITES as NAMES

PSK_SUITES: Final = (
    "ECDHE-PSK-CHACHA20-POLY1305",
    "ECDHE-PSK-AES128-CBC-SHA256",
    "PSK-AES128-GCM-SHA256",
    "PSK-AES256-GCM-SHA384",
    "PSK-CHACHA20-POLY1305",
    "PSK-AES128-CCM",
    "PSK-AES128-CCM8",
    "PSK-AES256-CCM8",
    "PSK-AES128-CBC-SHA256",
    "PSK-AES128-CBC-SHA",
)
CERTIFICATE_SUITES: Final = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES128-CCM",
    "ECDHE-ECDSA-AES128-CCM8",
    "ECDHE-ECDSA-AES128-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-RSA-AES128-SHA256",
)
SUITES: Final = PSK_SUITES + CERTIFICATE_SUITES
"""
Cipher suites that the server accepts, best first. They are listed by name, because the security level that
CCM-8 needs would also admit much weaker suites.

Suites with PSK come first unless the caller prefers certificates: many clients with a PSK list the others first.
"""
PSK_NUMBERS: Final = frozenset(number for number, name in NAMES.items() if name in PSK_SUITES)
CERTIFICATE_NUMBERS: Final = frozenset(number for number, name in NAMES.items() if name in CERTIFICATE_SUITES)
GROUPS: Final = MappingProxyType({29: "X25519", 23: "P-256", 30: "X448", 24: "P-384", 25: "P-521"})
"""Elliptic curves by number, in OpenSSL's order of preference."""
_SECP256R1: Final = 23
_OFFERS: Final = 256
"""Remembered offers: clients with the same stack send the same."""


@lru_cache(maxsize=_OFFERS)
def offers_both(suite_octets: bytes) -> bool:
    """Return whether the suites of a hello contain some with PSK and some with certificates that are served."""
    suites = numbers(suite_octets)
    return not (PSK_NUMBERS.isdisjoint(suites) or CERTIFICATE_NUMBERS.isdisjoint(suites))


def group_fault(hello: ClientHello) -> str:
    """Return why no suite with certificates fits the curves of a hello that offers one; empty if that is not why."""
    if CERTIFICATE_NUMBERS.isdisjoint(hello.suites) or _SECP256R1 in hello.groups:
        return ""
    if not hello.group_octets:
        return "the hello has no extension supported_groups; ECDHE needs it, with secp256r1"
    return f"the certificate of the server is on secp256r1, which the client's groups lack: {hello.offered_groups}"
