"""
Events of a TLS server's connection; no I/O.

The handshake requests a certificate, and accepts the faults that its engine tolerates: they are in `Established`. So a
listener can refuse the client in the protocol above TLS, with a text that its developer sees, where a TLS alert would
be lost. Only a complete handshake proves that the client holds the certificate's private key.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from cryptography import x509


class CertificateFault(StrEnum):
    """Faults of a client's certificate, the gravest first."""

    UNKNOWN_CA = "unknownCa"
    """The certificate does not chain to a trusted root; so its content proves nothing."""
    WRONG_PURPOSE = "wrongPurpose"
    NOT_YET_VALID = "notYetValid"
    EXPIRED = "expired"
    INVALID = "invalid"
    """The certificate breaks another rule, which the detail names."""


@dataclass(frozen=True, slots=True)
class Established:
    """The handshake is complete: the client holds the private key of its certificate, if it presented one."""

    certificate: x509.Certificate | None
    fault: CertificateFault | None
    """The gravest fault of the certificate; None without a fault."""
    detail: str
    """The fault in OpenSSL's words."""
    version: str
    """``TLSv1.2`` or ``TLSv1.3``."""
    cipher: str
    protocol: bytes
    """Protocol chosen by ALPN (RFC 7301); empty if the client did not offer the one that is served."""
    foreign_name: str = ""
    """Server name that the client asked for (RFC 6066 §3), if our certificate does not contain it."""


@dataclass(frozen=True, slots=True)
class Data:
    """The client sent application data."""

    payload: bytes


class End(StrEnum):
    """End of an established connection."""

    CLOSE_NOTIFY = "closeNotify"
    ALERT = "alert"
    """The client sent a fatal alert; the detail names it."""
    BROKEN = "broken"
    """The client sent invalid records; the detail has OpenSSL's words."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The connection ended; our close_notify or alert, if any, is in the output."""

    end: End
    detail: str = ""
    refuses_us: bool = False
    """True if the alert rejects our certificate; some clients verify it only after the handshake."""


class Failure(StrEnum):
    """Cause of a failed handshake."""

    NOT_TLS = "notTls"
    SERVER_REFUSED = "serverRefused"
    """The client rejected our certificate; the detail is its alert."""
    CLIENT_ALERT = "clientAlert"
    """The client ended the handshake for another cause; the detail is its alert."""
    UNSUPPORTED_VERSION = "unsupportedVersion"
    NO_SHARED_CIPHER = "noSharedCipher"
    NO_CERTIFICATE = "noCertificate"
    BAD_CERTIFICATE = "badCertificate"
    """The engine does not tolerate the fault of the client's certificate; the detail has OpenSSL's words."""
    PROTOCOL = "protocol"
    """Another cause; the detail has OpenSSL's words."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The handshake failed; the alert for the client is in the output."""

    failure: Failure
    detail: str = ""
    fault: CertificateFault | None = None
    """The fault of a bad certificate."""


Event = Established | Data | Closed | Failed
