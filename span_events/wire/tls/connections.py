"""
TLS of a server without I/O: what comes out of a connection.

Clients are asked for a certificate, and let in whatever they show: what is wrong with it stands in
`Established`. So whoever listens can refuse a client in words of the protocol above, which reach
people, where a TLS alert would be lost; and only when the handshake is complete has the client
proven that it holds the certificate's key.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from cryptography import x509


class CertificateFault(StrEnum):
    """What is wrong with a client's certificate."""

    UNKNOWN_CA = "unknownCa"
    """It does not lead to a trusted root; so nothing else in it means anything."""
    WRONG_PURPOSE = "wrongPurpose"
    NOT_YET_VALID = "notYetValid"
    EXPIRED = "expired"
    INVALID = "invalid"
    """Another rule is broken; the detail has it."""


@dataclass(frozen=True, slots=True)
class Established:
    """The handshake is done: the client holds the key of its certificate, if it has shown one."""

    certificate: x509.Certificate | None
    fault: CertificateFault | None
    """What is wrong with the certificate; the gravest, if several things are."""
    detail: str
    """The fault in OpenSSL's words."""
    version: str
    """``TLSv1.2`` or ``TLSv1.3``."""
    cipher: str
    protocol: bytes
    """What was agreed by ALPN (RFC 7301); empty if the client did not offer what is served."""
    foreign_name: str = ""
    """The server's name as the client has it (RFC 6066 §3), if our certificate has another."""


@dataclass(frozen=True, slots=True)
class Data:
    """The client sent application data."""

    payload: bytes


class End(StrEnum):
    """How an established connection ended."""

    CLOSE_NOTIFY = "closeNotify"
    ALERT = "alert"
    """The client sent a fatal alert; the detail names it."""
    BROKEN = "broken"
    """Something came that is not of this connection; the detail has OpenSSL's words."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The connection is over; our own goodbye, if there is one, is in the output."""

    end: End
    detail: str = ""
    refuses_us: bool = False
    """Whether the client's alert says that it does not accept our certificate; some look after the handshake."""


class Failure(StrEnum):
    """Why a handshake failed."""

    NOT_TLS = "notTls"
    SERVER_REFUSED = "serverRefused"
    """The client does not accept our certificate; the detail is its alert."""
    CLIENT_ALERT = "clientAlert"
    """The client gave up for another cause; the detail is its alert."""
    UNSUPPORTED_VERSION = "unsupportedVersion"
    NO_SHARED_CIPHER = "noSharedCipher"
    PROTOCOL = "protocol"
    """Anything else; the detail has OpenSSL's words."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The handshake is over; what should be said to the client is in the output."""

    failure: Failure
    detail: str = ""


Event = Established | Data | Closed | Failed
