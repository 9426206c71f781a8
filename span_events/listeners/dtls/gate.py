"""
Who a client of DTLS or HTTPS is, and whether it may come in: certificate or PSK → device.

A gate is asked in the middle of one handshake, so that a client that is refused hears of it as a TLS
alert; it remembers whom it saw and why it refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from cryptography import x509

from span_events.events.activity import UNATTRIBUTED, Origin
from span_events.events.reasons import ClientRejectedReason
from span_events.registry.directory import Directory
from span_events.registry.model import Certificate, Device
from span_events.wire.dtls.engine import Failure, Verdict

IssuerOf = Callable[[x509.Certificate], int | None]
"""Tells which collection's intermediate has signed a certificate, if any."""

OWN_REASONS: Final = {
    Failure.UNKNOWN_CA: ClientRejectedReason.UNKNOWN_CA,
    Failure.CERTIFICATE_EXPIRED: ClientRejectedReason.CERTIFICATE_EXPIRED,
    Failure.CERTIFICATE_NOT_YET_VALID: ClientRejectedReason.CERTIFICATE_NOT_YET_VALID,
    Failure.CERTIFICATE_INVALID: ClientRejectedReason.CERTIFICATE_INVALID,
    Failure.NO_CREDENTIALS: ClientRejectedReason.NO_CREDENTIALS,
    Failure.NO_SHARED_CIPHER: ClientRejectedReason.NO_SHARED_CIPHER,
    Failure.UNSUPPORTED_VERSION: ClientRejectedReason.UNSUPPORTED_VERSION,
    Failure.PSK_MISMATCH: ClientRejectedReason.PSK_MISMATCH,
    Failure.CLIENT_ALERT: ClientRejectedReason.CLIENT_ALERT,
    Failure.PROTOCOL: ClientRejectedReason.HANDSHAKE_FAILED,
}
"""Reasons of failures that are not the gate's."""
EXPLAINED: Final = frozenset({Failure.CLIENT_ALERT, Failure.PROTOCOL, Failure.CERTIFICATE_INVALID})
"""Failures whose detail says more than their reason."""
_TIME: Final = "%Y-%m-%d %H:%M:%S"
_NAME_SHOWN: Final = 256
"""Characters of a name in an event at most: anybody may show a certificate of any length."""
_SERIAL_BITS: Final = 160
"""A serial number has at most that many (RFC 5280 §4.1.2.2); ours have 63."""


class Gate:
    """The gate for one handshake."""

    def __init__(self, directory: Directory, issuer_of: IssuerOf) -> None:
        self._directory = directory
        self._issuer_of = issuer_of
        self._key: bytes | None = None
        self.device: Device | None = None
        """Whose certificate or identity was shown."""
        self.certificate: Certificate | None = None
        """The registry's record of the certificate that was shown."""
        self.refusal: ClientRejectedReason | None = None
        """Why the gate said no."""

    def judge(self, certificate: x509.Certificate) -> Verdict:
        """Judge a certificate that chains to our root and is valid now."""
        record = self.certificate = self._directory.certificate_with(certificate.serial_number)
        self.device = device = None if record is None else self._directory.devices.get(record.device_id or 0)
        if record is not None and record.revoked_ms:
            self.refusal = ClientRejectedReason.CERTIFICATE_REVOKED
            return Verdict.REVOKED
        if record is not None and record.gateway_id is not None:
            self.refusal = ClientRejectedReason.GATEWAY_CERTIFICATE
        elif device is None:
            self.refusal = ClientRejectedReason.UNKNOWN_DEVICE
        else:
            self.refusal = _disabled(device)
        return Verdict.ADMITTED if self.refusal is None else Verdict.REFUSED

    def key_of(self, identity: bytes) -> bytes | None:
        """Return the key of a PSK identity, if its device may come in."""
        self._key = None
        self.device = device = self._directory.device_with_psk(identity)
        if device is None or device.psk is None:
            self.refusal = ClientRejectedReason.UNKNOWN_PSK_IDENTITY
            return None
        self.refusal = _disabled(device)
        if self.refusal is None:
            self._key = device.psk.key
        return self._key

    def admits(self, certificate: x509.Certificate | None, identity: bytes | None) -> bool:
        """Ask again when the handshake is done: what the client has proven may be worth nothing any more."""
        if certificate is not None:
            self.judge(certificate)
        elif identity is not None:
            proven = self._key
            if self.key_of(identity) != proven and self.refusal is None:
                self.refusal = ClientRejectedReason.PSK_MISMATCH
        return self.device is not None and self.refusal is None

    def origin_of(self, certificate: x509.Certificate | None) -> Origin:
        """
        Tell whom a rejection belongs to: a device or gateway, at least a collection, or nobody.

        A certificate that none of our intermediates has signed says nothing, whatever stands in it.
        """
        if certificate is None:
            return UNATTRIBUTED if self.device is None else self.device.origin
        collection_id = self._issuer_of(certificate)
        if collection_id is None:
            return UNATTRIBUTED
        record = self._directory.certificate_with(certificate.serial_number)
        if record is not None:
            return self._directory.origin_of(record)
        return Origin(collection_id) if collection_id in self._directory.collections else UNATTRIBUTED


def fault_of_time(certificate: x509.Certificate, unix_time: int) -> ClientRejectedReason | None:
    """Tell whether a certificate is not valid at a moment; OpenSSL does so itself in DTLS handshakes."""
    if unix_time > certificate.not_valid_after_utc.timestamp():
        return ClientRejectedReason.CERTIFICATE_EXPIRED
    if unix_time < certificate.not_valid_before_utc.timestamp():
        return ClientRejectedReason.CERTIFICATE_NOT_YET_VALID
    return None


def _disabled(device: Device) -> ClientRejectedReason | None:
    if not device.enabled:
        return ClientRejectedReason.DEVICE_DISABLED
    return None if device.collection.enabled else ClientRejectedReason.COLLECTION_DISABLED


class CertificateDetails(NamedTuple):
    """What events say of a client's certificate."""

    certificate_serial: str | None = None
    certificate_subject: str | None = None
    certificate_issuer: str | None = None
    not_before: str | None = None
    not_after: str | None = None


def details_of(certificate: x509.Certificate | None) -> CertificateDetails:
    """Describe a certificate; what cannot be read, or breaks all bounds, is left out."""
    if certificate is None:
        return CertificateDetails()
    serial = certificate.serial_number
    return CertificateDetails(
        str(serial) if serial.bit_length() <= _SERIAL_BITS else None,
        _name(lambda: certificate.subject),
        _name(lambda: certificate.issuer),
        certificate.not_valid_before_utc.strftime(_TIME),
        certificate.not_valid_after_utc.strftime(_TIME),
    )


def _name(read: Callable[[], x509.Name]) -> str | None:
    try:
        return read().rfc4514_string()[:_NAME_SHOWN]
    except (ValueError, TypeError):  # cryptography reads names only now
        return None
