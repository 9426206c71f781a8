"""
Identity: decides which device or gateway a client is, and whether the client is admitted.

A client proves its identity by its address, by a certificate or by a PSK. TLS or DTLS verifies the chain of a
certificate and the client's private key. Here, the certificate's serial number leads to its record in the registry, and
the record to its owner. A client is refused for the first `Obstacle` in the order of that enum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from types import MappingProxyType
from typing import Final, Generic, NamedTuple, TypeVar

from cryptography import x509

from span_events.events.activity import UNATTRIBUTED, Moment, Origin, Reason
from span_events.events.reasons import ClientRejectedReason, GatewayRejectedReason, MessageRejectedReason
from span_events.registry.directory import Directory
from span_events.registry.model import Certificate, Device, Gateway
from span_events.registry.shared.questions import Questions

IssuerOf = Callable[[x509.Certificate], int | None]
"""Returns the id of the collection whose intermediate signed a certificate; None if there is none."""

_TIME: Final = "%Y-%m-%d %H:%M:%S"
_NAME_SHOWN: Final = 256
_IDENTITY_SHOWN: Final = 256
"""Characters of a name in an event at most: a client may present a name of any length."""
_SERIAL_BITS: Final = 160
"""Upper bound of a serial number (RFC 5280 §4.1.2.2); ours have 63 bits."""


class Obstacle(Enum):
    """A reason against the owner of a certificate, in the order of the checks."""

    EXPIRED = auto()
    NOT_YET_VALID = auto()
    UNKNOWN_SERIAL = auto()
    """The registry has no record of the certificate."""
    REVOKED = auto()
    OTHER_KIND = auto()
    """The certificate of a gateway where devices connect, or the reverse."""
    OWNER_REMOVED = auto()
    OWNER_DISABLED = auto()
    COLLECTION_DISABLED = auto()


_OF_DEVICES: Final = MappingProxyType(
    {
        Obstacle.EXPIRED: ClientRejectedReason.CERTIFICATE_EXPIRED,
        Obstacle.NOT_YET_VALID: ClientRejectedReason.CERTIFICATE_NOT_YET_VALID,
        Obstacle.UNKNOWN_SERIAL: ClientRejectedReason.UNKNOWN_DEVICE,
        Obstacle.REVOKED: ClientRejectedReason.CERTIFICATE_REVOKED,
        Obstacle.OTHER_KIND: ClientRejectedReason.GATEWAY_CERTIFICATE,
        Obstacle.OWNER_REMOVED: ClientRejectedReason.UNKNOWN_DEVICE,
        Obstacle.OWNER_DISABLED: ClientRejectedReason.DEVICE_DISABLED,
        Obstacle.COLLECTION_DISABLED: ClientRejectedReason.COLLECTION_DISABLED,
    }
)
_OF_GATEWAYS: Final = MappingProxyType(
    {
        Obstacle.EXPIRED: GatewayRejectedReason.CERTIFICATE_EXPIRED,
        Obstacle.NOT_YET_VALID: GatewayRejectedReason.CERTIFICATE_NOT_YET_VALID,
        Obstacle.UNKNOWN_SERIAL: GatewayRejectedReason.UNKNOWN_SERIAL,
        Obstacle.REVOKED: GatewayRejectedReason.CERTIFICATE_REVOKED,
        Obstacle.OTHER_KIND: GatewayRejectedReason.NOT_A_GATEWAY,
        Obstacle.OWNER_REMOVED: GatewayRejectedReason.UNKNOWN_GATEWAY,
        Obstacle.OWNER_DISABLED: GatewayRejectedReason.GATEWAY_DISABLED,
        Obstacle.COLLECTION_DISABLED: GatewayRejectedReason.COLLECTION_DISABLED,
    }
)
_OF_MESSAGES: Final = MappingProxyType(
    {
        Obstacle.OWNER_DISABLED: MessageRejectedReason.DEVICE_DISABLED,
        Obstacle.COLLECTION_DISABLED: MessageRejectedReason.COLLECTION_DISABLED,
    }
)

R_co = TypeVar("R_co", bound=Reason, covariant=True)


class CertificateDetails(NamedTuple):
    """Data of a client's certificate in events."""

    certificate_serial: str | None = None
    certificate_subject: str | None = None
    certificate_issuer: str | None = None
    not_before: str | None = None
    not_after: str | None = None


class FormerHolder(NamedTuple):
    """Device that had an address of the mobile network until its attachment ended."""

    device: Device
    ended: Moment
    cause: str
    """Words of the mobile core, else ours."""


@dataclass(frozen=True, slots=True)
class Refusal(Generic[R_co]):
    """The first reason against a client."""

    reason: R_co
    origin: Origin = UNATTRIBUTED
    """Device or gateway, else collection, to which the event belongs."""
    device: Device | None = None
    """Device that the client would be, if there is one."""
    certificate: x509.Certificate | None = None
    former: FormerHolder | None = None
    """Attachment that had the client's address until a while ago."""
    detail: str | None = None
    """More about the reason."""

    @property
    def details(self) -> CertificateDetails:
        """Data of the certificate for the event."""
        return details_of(self.certificate)


class Identification:
    """
    Identifies clients by the registry; nothing here waits, raises or publishes.

    Args:
        questions: Asked before an unknown client is refused: another node may have registered it just now.
    """

    def __init__(self, directory: Directory, issuer_of: IssuerOf, questions: Questions | None = None) -> None:
        self._directory = directory
        self._issuer_of = issuer_of
        self.questions = questions or Questions()
        self.former_holder: Callable[[str], FormerHolder | None] = lambda host: None
        """Returns the last holder of an address that rests; the mobile network's part sets it."""
        self.subscriber_at: Callable[[str], str | None] = lambda host: None
        """Returns the IMSI of the subscriber with an address, if it is matched with no device; likewise."""

    def device_at(self, host: str) -> Device | Refusal[MessageRejectedReason]:
        """Return the device that has an address; `reason_against` tells whether messages of the device are accepted."""
        device = self._directory.device_at(host)
        if device is not None:
            return device
        former = self.former_holder(host)
        absent = former.device if former is not None else self._directory.device_meant_for(host)
        if absent is None:
            imsi = self.subscriber_at(host)
            detail = (
                f"the mobile core gave the address to IMSI {imsi}, which is matched with no device" if imsi else None
            )
            return Refusal(MessageRejectedReason.UNKNOWN_ADDRESS, detail=detail)
        return Refusal(MessageRejectedReason.NOT_ATTACHED, absent.origin, absent, former=former)

    def device_meant_for(self, host: str) -> Device | None:
        """Return the device to which an address belongs, attached or not: it owns a fault that names no device."""
        found = self.device_at(host)
        return found.device if isinstance(found, Refusal) else found

    def is_registered(self, device: Device) -> bool:
        """Return whether a device has not been removed meanwhile."""
        return self._directory.devices.get(device.id) is device

    def device_of(
        self, certificate: x509.Certificate, *, now_ms: int | None = None
    ) -> Device | Refusal[ClientRejectedReason]:
        """
        Return the device that a certificate belongs to, if the device is admitted.

        Args:
            now_ms: Unix milliseconds; None if the time of the certificate was verified in the handshake.
        """
        record = self.record_of(certificate)
        device = None if record is None else self._directory.devices.get(record.device_id or 0)
        obstacle = _first_obstacle(certificate, record, device, Device, now_ms)
        if obstacle is not None:
            return Refusal(_OF_DEVICES[obstacle], self.origin_of(certificate), device, certificate)
        assert device is not None, "a certificate without an owner has an obstacle"
        return device

    def device_with_psk(self, identity: bytes) -> Device | Refusal[ClientRejectedReason]:
        """Return the device that a PSK identity belongs to, if the device is admitted; its key is not proven here."""
        device = self._directory.device_with_psk(identity)
        if device is None or device.psk is None:
            return Refusal(ClientRejectedReason.UNKNOWN_PSK_IDENTITY)
        obstacle = _disabled(device)
        return device if obstacle is None else Refusal(_OF_DEVICES[obstacle], device.origin, device)

    def gateway_of(self, certificate: x509.Certificate, *, now_ms: int) -> Gateway | Refusal[GatewayRejectedReason]:
        """
        Return the gateway that a certificate belongs to, if the gateway is admitted.

        Args:
            now_ms: Unix milliseconds.
        """
        record = self.record_of(certificate)
        gateway = None if record is None else self._directory.gateways.get(record.gateway_id or 0)
        obstacle = _first_obstacle(certificate, record, gateway, Gateway, now_ms)
        if obstacle is not None:
            return Refusal(_OF_GATEWAYS[obstacle], self.origin_of(certificate), certificate=certificate)
        assert gateway is not None, "a certificate without an owner has an obstacle"
        return gateway

    def record_of(self, certificate: x509.Certificate) -> Certificate | None:
        """Return the registry's record of a certificate."""
        return self._directory.certificate_with(certificate.serial_number)

    def owner_of(self, certificate: x509.Certificate) -> Device | Gateway | None:
        """Return the device or gateway to which a certificate was issued, if the registry has both."""
        record = self.record_of(certificate)
        return None if record is None else self._directory.owner_of(record)

    def origin_of(self, certificate: x509.Certificate | None) -> Origin:
        """
        Return the device or gateway, else the collection, to which events about a certificate belong.

        A certificate that none of our intermediates has signed proves nothing, whatever it contains.
        """
        collection_id = None if certificate is None else self._issuer_of(certificate)
        if certificate is None or collection_id is None:
            return UNATTRIBUTED
        record = self.record_of(certificate)
        if record is not None:
            return self._directory.origin_of(record)
        return Origin(collection_id) if collection_id in self._directory.collections else UNATTRIBUTED


def reason_against(device: Device) -> MessageRejectedReason | None:
    """Return the reason for which no message of a device is accepted; None if the device is enabled."""
    obstacle = _disabled(device)
    return None if obstacle is None else _OF_MESSAGES[obstacle]


def obstacles(
    record: Certificate | None, owner: Device | Gateway | None, kind: type[Device] | type[Gateway]
) -> Iterator[Obstacle]:
    """
    Yield all that the registry has against a certificate, in the order of `Obstacle`.

    Args:
        record: Of the certificate in the registry.
        owner: Of the certificate; None if the registry has none of this kind.
        kind: Owners that are admitted.
    """
    if record is None:
        yield Obstacle.UNKNOWN_SERIAL
        return
    if record.revoked_ms:
        yield Obstacle.REVOKED
    if (record.gateway_id is None) is (kind is Gateway):
        yield Obstacle.OTHER_KIND
    if owner is None:
        yield Obstacle.OWNER_REMOVED
    elif (obstacle := _disabled(owner)) is not None:
        yield obstacle


def _first_obstacle(
    certificate: x509.Certificate,
    record: Certificate | None,
    owner: Device | Gateway | None,
    kind: type[Device] | type[Gateway],
    now_ms: int | None,
) -> Obstacle | None:
    if now_ms is not None:
        if now_ms >= certificate.not_valid_after_utc.timestamp() * 1000:  # as OpenSSL has it
            return Obstacle.EXPIRED
        if now_ms < certificate.not_valid_before_utc.timestamp() * 1000:
            return Obstacle.NOT_YET_VALID
    return next(obstacles(record, owner, kind), None)


def _disabled(owner: Device | Gateway) -> Obstacle | None:
    if not owner.enabled:
        return Obstacle.OWNER_DISABLED
    return None if owner.collection.enabled else Obstacle.COLLECTION_DISABLED


def details_of(certificate: x509.Certificate | None) -> CertificateDetails:
    """Return the data of a certificate for events, without values that cannot be read or exceed their bounds."""
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
    except (ValueError, TypeError):  # cryptography parses names only now
        return None


def show_identity(identity: bytes) -> str:
    """Return a PSK identity as text: octets that are no character, or cannot be seen, in hexadecimal."""
    text = identity[:_IDENTITY_SHOWN].decode(errors="backslashreplace")
    return "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in text)
