"""Certificates for tests: a root, intermediates and leaves, made in memory."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import cache
from typing import Final, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
DAY: Final = dt.timedelta(days=1)


def ec_key() -> ec.EllipticCurvePrivateKey:
    """Make a P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


@cache
def rsa_key() -> rsa.RSAPrivateKey:
    """Make an RSA key, one for all of this process: a tenth of a second."""
    return rsa.generate_private_key(65537, 2048)


@dataclass(frozen=True)
class Holder:
    """A key, its certificate, and the certificates above it."""

    key: Key
    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...] = ()

    @classmethod
    def root(cls, name: str = "root") -> Self:
        """Make a root."""
        key = ec_key()
        return cls(key, _certificate(name, key, issuer=None, signer=key, serial=None, authority=True))

    def intermediate(self, name: str = "intermediate") -> Holder:
        """Make an authority below this one."""
        key = ec_key()
        certificate = _certificate(name, key, issuer=self.certificate, signer=self.key, serial=None, authority=True)
        return Holder(key, certificate, self._above)

    def leaf(
        self,
        name: str = "device",
        *,
        serial: int | None = None,
        key: Key | None = None,
        begin: dt.timedelta = -DAY,
        end: dt.timedelta = 14 * DAY,
        server: bool = False,
    ) -> Holder:
        """Issue a certificate; begin and end are relative to now."""
        key = key or ec_key()
        certificate = _certificate(
            name,
            key,
            issuer=self.certificate,
            signer=self.key,
            serial=serial,
            begin=begin,
            end=end,
            usage=ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH,
        )
        return Holder(key, certificate, self._above)

    @property
    def _above(self) -> tuple[x509.Certificate, ...]:
        is_root = self.certificate.issuer == self.certificate.subject
        return () if is_root else (self.certificate, *self.chain)

    @property
    def key_pem(self) -> bytes:
        """The private key, PKCS#8."""
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    @property
    def pem(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def chain_pem(self) -> bytes:
        """The certificate and those above it, without the root."""
        return b"".join(each.public_bytes(serialization.Encoding.PEM) for each in (self.certificate, *self.chain))


def _certificate(
    name: str,
    key: Key,
    *,
    issuer: x509.Certificate | None,
    signer: Key,
    serial: int | None,
    begin: dt.timedelta = -DAY,
    end: dt.timedelta = 3650 * DAY,
    authority: bool = False,
    usage: x509.ObjectIdentifier | None = None,
) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(now + begin)
        .not_valid_after(now + end)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if usage is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    return builder.sign(signer, hashes.SHA256())
