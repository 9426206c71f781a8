"""
Issuing: names, extensions and keys of certificates (RFC 5280). No files, no registry, no clock.

The chain is root, intermediate, leaf. Names carry the installation's own number, so that those of two
installations are never mistaken for each other.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

CLIENT: Final = ExtendedKeyUsageOID.CLIENT_AUTH
"""Extended key usage of devices' and gateways' certificates."""
SERVER: Final = ExtendedKeyUsageOID.SERVER_AUTH
"""Extended key usage of the server's certificates."""
SERIAL_BITS: Final = 63
"""Serial numbers fit the registry's integers and Span's int64."""

_RSA_BITS: Final = 2048
_PROOF: Final = b"a key and its certificate"
"""Octets that a key signs and its certificate verifies."""


class KeyType(StrEnum):
    """Kinds of keys that we make."""

    EC = "ec"
    """On the curve P-256, which every DTLS stack knows."""
    RSA = "rsa"
    """2048 bits."""


@dataclass(frozen=True, slots=True)
class Period:
    """From when to when a certificate is valid, in Unix seconds."""

    begin: int
    end: int

    def within(self, other: Period) -> Period:
        """Limit the period to that of the issuer's certificate."""
        return Period(max(self.begin, other.begin), min(self.end, other.end))


@dataclass(frozen=True, slots=True)
class Issuer:
    """A certificate that signs others, and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def read(cls, pem: bytes) -> Self:
        """
        Read what `pem` wrote.

        Raises:
            ValueError: The octets are malformed, or the certificate has another key.
        """
        key = load_pem_private_key(pem, password=None)
        certificate = x509.load_pem_x509_certificate(pem)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise ValueError("the key is not that of the certificate")
        return cls(certificate, key)

    @property
    def pem(self) -> bytes:
        """Return key and certificate, as stored in a file."""
        return key_pem(self.key) + self.certificate_pem

    @property
    def certificate_pem(self) -> bytes:
        """The certificate without its issuers, PEM."""
        return certificate_pem(self.certificate)

    @property
    def period(self) -> Period:
        """Period of validity."""
        return period_of(self.certificate)


def make_key(kind: KeyType = KeyType.EC) -> PrivateKey:
    """Make a private key. RSA takes a tenth of a second or more: not for the event loop."""
    if kind is KeyType.RSA:
        return rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS)
    return ec.generate_private_key(ec.SECP256R1())


def read_pair(pem: bytes) -> x509.Certificate:
    """
    Read a certificate that is stored with its key; a signature proves that they belong together.

    Raises:
        ValueError: The octets are malformed, or the certificate has another key.
    """
    certificate = x509.load_pem_x509_certificate(pem)
    # OpenSSL's validation of an RSA key takes 25 ms of every start, and would accept another certificate's key.
    key = load_pem_private_key(pem, password=None, unsafe_skip_rsa_key_validation=True)
    public = certificate.public_key()
    try:
        if isinstance(key, rsa.RSAPrivateKey) and isinstance(public, rsa.RSAPublicKey):
            signature = key.sign(_PROOF, padding.PKCS1v15(), hashes.SHA256())
            public.verify(signature, _PROOF, padding.PKCS1v15(), hashes.SHA256())
        elif isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(public, ec.EllipticCurvePublicKey):
            public.verify(key.sign(_PROOF, ec.ECDSA(hashes.SHA256())), _PROOF, ec.ECDSA(hashes.SHA256()))
        else:
            raise ValueError("the key is of another kind than that of the certificate")
    except InvalidSignature as exc:
        raise ValueError("the key is not that of the certificate") from exc
    return certificate


def make_root(installation: str, period: Period) -> Issuer:
    """Create the root certificate; two may follow it in a chain."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(installation, "span-events root")
    return Issuer(_authority(key, name, period, path_length=1).sign(key, hashes.SHA256()), key)


def make_intermediate(root: Issuer, name: str, period: Period) -> Issuer:
    """Create a certificate that signs leaf certificates of devices, gateways or servers only."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _authority(key, _name(installation_of(root), name), period.within(root.period), 0, root)
    return Issuer(builder.sign(root.key, hashes.SHA256()), key)


def make_leaf(
    issuer: Issuer,
    public_key: PublicKey,
    *,
    name: str,
    unit: str,
    purpose: ObjectIdentifier,
    period: Period,
    server_names: Iterable[str] = (),
) -> x509.Certificate:
    """
    Sign a public key.

    Args:
        name: Common name.
        unit: Kind of the owner: ``device``, ``gateway`` or ``server``.
        purpose: `CLIENT` or `SERVER`.
        server_names: Host names and IP addresses for the SubjectAltName.
    """
    subject = _name(installation_of(issuer), name, unit)
    # RSA key exchange without ephemeral keys encrypts to the server's certificate.
    encipher = purpose == SERVER and isinstance(public_key, rsa.RSAPublicKey)
    builder = (
        _certificate(public_key, subject, period.within(issuer.period), issuer)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True, key_encipherment=encipher), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    )
    alternatives = [_general_name(each) for each in server_names]
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    return builder.sign(issuer.key, hashes.SHA256())


def installation_of(issuer: Issuer) -> str:
    """Return the number that all names of an installation carry."""
    (found,) = issuer.certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    return str(found.value).removeprefix(f"{_ORGANISATION} ")


def period_of(certificate: x509.Certificate) -> Period:
    """Return when a certificate is valid."""
    return Period(
        int(certificate.not_valid_before_utc.timestamp()),
        int(certificate.not_valid_after_utc.timestamp()),
    )


def certificate_pem(*certificates: x509.Certificate) -> bytes:
    """Write certificates one after the other."""
    return b"".join(each.public_bytes(Encoding.PEM) for each in certificates)


def key_pem(key: PrivateKey) -> bytes:
    """Write a private key as PKCS#8 without a password (RFC 5208), as Span's tools expect it."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def server_names_of(certificate: x509.Certificate) -> Sequence[str]:
    """List the host names and addresses of a server's certificate."""
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(each.value) for each in names]


def purposes_of(certificate: x509.Certificate) -> Sequence[ObjectIdentifier]:
    """List the extended key usages of a certificate; empty without the extension."""
    try:
        return list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        return []


_ORGANISATION: Final = "span-events"


def _name(installation: str, common: str, unit: str = "") -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, f"{_ORGANISATION} {installation}")]
    if unit:
        attributes.append(x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit))
    return x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _authority(
    key: ec.EllipticCurvePrivateKey, subject: x509.Name, period: Period, path_length: int, issuer: Issuer | None = None
) -> x509.CertificateBuilder:
    return (
        _certificate(key.public_key(), subject, period, issuer)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
    )


def _certificate(
    public_key: PublicKey, subject: x509.Name, period: Period, issuer: Issuer | None
) -> x509.CertificateBuilder:
    """Fill in the common fields; without an issuer, the certificate signs itself."""
    identifier = x509.SubjectKeyIdentifier.from_public_key(public_key)
    signer = identifier
    if issuer is not None:
        signer = issuer.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return (
        x509.CertificateBuilder()
        .serial_number(secrets.randbits(SERIAL_BITS) or 1)
        .issuer_name(subject if issuer is None else issuer.certificate.subject)
        .subject_name(subject)
        .public_key(public_key)
        .not_valid_before(datetime.fromtimestamp(period.begin, UTC))
        .not_valid_after(datetime.fromtimestamp(period.end, UTC))
        .add_extension(identifier, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(signer),
            critical=False,
        )
    )


def _usage(
    *,
    digital_signature: bool = False,
    key_encipherment: bool = False,
    key_cert_sign: bool = False,
    crl_sign: bool = False,
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_encipherment=key_encipherment,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Return whether a certificate bears the name and the signature of an issuer."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False  # another name, kind of key, or key, or no certificate that could be ours
    return True
