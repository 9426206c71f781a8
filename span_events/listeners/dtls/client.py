"""
Client of a DTLS handshake: its certificate or PSK identity, and the decision about it.

The engine asks during the handshake, so that a refused client receives a TLS alert; afterwards the server asks again.
"""

from __future__ import annotations

from typing import Final

from cryptography import x509

from span_events.events.activity import UNATTRIBUTED, Origin
from span_events.events.reasons import ClientRejectedReason
from span_events.fleet.identity import Identification, Refusal
from span_events.registry.model import Device
from span_events.wire.dtls.engine import Failure, Verdict

OWN_REASONS: Final = {
    Failure.UNKNOWN_CA: ClientRejectedReason.UNKNOWN_CA,
    Failure.CERTIFICATE_EXPIRED: ClientRejectedReason.CERTIFICATE_EXPIRED,
    Failure.CERTIFICATE_NOT_YET_VALID: ClientRejectedReason.CERTIFICATE_NOT_YET_VALID,
    Failure.CERTIFICATE_INVALID: ClientRejectedReason.CERTIFICATE_INVALID,
    Failure.NO_CREDENTIALS: ClientRejectedReason.NO_CREDENTIALS,
    Failure.NO_SHARED_CIPHER: ClientRejectedReason.NO_SHARED_CIPHER,
    Failure.NO_SHARED_GROUP: ClientRejectedReason.NO_SHARED_GROUP,
    Failure.UNSUPPORTED_VERSION: ClientRejectedReason.UNSUPPORTED_VERSION,
    Failure.PSK_MISMATCH: ClientRejectedReason.PSK_MISMATCH,
    Failure.CLIENT_ALERT: ClientRejectedReason.CLIENT_ALERT,
    Failure.PROTOCOL: ClientRejectedReason.HANDSHAKE_FAILED,
}
"""Reasons of failures that the engine found itself."""
EXPLAINED: Final = frozenset(
    {Failure.CLIENT_ALERT, Failure.PROTOCOL, Failure.CERTIFICATE_INVALID, Failure.NO_SHARED_GROUP}
)
"""Failures with a detail that adds to the reason."""


class Client:
    """The client of one handshake."""

    __slots__ = ("_identification", "_key", "device", "refusal")

    def __init__(self, identification: Identification) -> None:
        self._identification = identification
        self._key: bytes | None = None
        self.device: Device | None = None
        """Device that the certificate or identity belongs to."""
        self.refusal: ClientRejectedReason | None = None
        """Reason for which the certificate or identity was refused."""

    def judge(self, certificate: x509.Certificate) -> Verdict:
        """Judge a certificate that chains to our root and is valid now."""
        self._note(self._identification.device_of(certificate))
        if self.refusal is ClientRejectedReason.CERTIFICATE_REVOKED:
            return Verdict.REVOKED
        return Verdict.ADMITTED if self.refusal is None else Verdict.REFUSED

    def key_of(self, identity: bytes) -> bytes | None:
        """Return the key of a PSK identity, if its device is admitted."""
        self._note(self._identification.device_with_psk(identity))
        self._key = None
        if self.refusal is None and self.device is not None and self.device.psk is not None:
            self._key = self.device.psk.key
        return self._key

    @property
    def is_known(self) -> bool:
        """True if the client has shown a certificate of ours or a PSK identity."""
        return self.device is not None or self.refusal is not None

    def is_admitted(self, certificate: x509.Certificate | None, identity: bytes | None) -> bool:
        """Decide again when the handshake is done: the registry may have changed meanwhile."""
        if certificate is not None:
            self.judge(certificate)
        elif identity is not None:
            proven = self._key
            if self.key_of(identity) != proven and self.refusal is None:
                self.refusal = ClientRejectedReason.PSK_MISMATCH
        return self.device is not None and self.refusal is None

    def origin_of(self, certificate: x509.Certificate | None) -> Origin:
        """Return the device or gateway, else the collection, to which a rejection belongs."""
        if certificate is not None:
            return self._identification.origin_of(certificate)
        return UNATTRIBUTED if self.device is None else self.device.origin

    def _note(self, found: Device | Refusal[ClientRejectedReason]) -> None:
        if isinstance(found, Refusal):
            self.device, self.refusal = found.device, found.reason
        else:
            self.device, self.refusal = found, None
