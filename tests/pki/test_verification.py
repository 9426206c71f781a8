"""Files of certificates that others have made, or damaged: read or refused, never a surprise."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from span_events.pki import issuing, verification
from span_events.pki.authority import Authority
from tests.bench.authorities import open_authority
from tests.bench.clock import START_NS

NOW = START_NS // 1_000_000_000


@dataclass(frozen=True)
class Bench:
    """An authority and a valid certificate of it."""

    authority: Authority
    genuine: x509.Certificate

    def findings(self, *certificates: bytes | x509.Certificate) -> list[str]:
        """Return all obstacles against certificates (DER if they are octets)."""
        try:
            found = verification.read(b"".join(map(pem, certificates)))
        except verification.Unreadable as exc:
            return [str(exc)]
        return list(verification.faults(self.authority, found, NOW))


def pem(certificate: bytes | x509.Certificate) -> bytes:
    if isinstance(certificate, x509.Certificate):
        return certificate.public_bytes(Encoding.PEM)
    body = b64encode(certificate)
    lines = b"\n".join(body[at : at + 64] for at in range(0, len(body), 64))
    return b"-----BEGIN CERTIFICATE-----\n" + lines + b"\n-----END CERTIFICATE-----\n"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    async def make() -> Bench:
        authority = await open_authority(tmp_path_factory.mktemp("verification") / "pki")
        key = issuing.make_key().public_key()
        return Bench(authority, (await authority.issue(1, key, name="17kl14hm46h4c2", unit="device")).certificate)

    return asyncio.run(make())


def foreign(key: Any, issuer: x509.Name) -> x509.Certificate:
    """Make a certificate that names an issuer and is signed by its own key."""
    builder = (
        x509.CertificateBuilder()
        .serial_number(1)
        .issuer_name(issuer)
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")]))
        .public_key(key.public_key())
        .not_valid_before(datetime.fromtimestamp(NOW - 5, UTC))
        .not_valid_after(datetime.fromtimestamp(NOW + 5, UTC))
    )
    return builder.sign(key, None if isinstance(key, ed448.Ed448PrivateKey | ed25519.Ed25519PrivateKey) else SHA)


SHA = hashes.SHA256()
KEYS = {
    "P-256": ec.generate_private_key(ec.SECP256R1()),
    "secp256k1": ec.generate_private_key(ec.SECP256K1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate(),
    "Ed448": ed448.Ed448PrivateKey.generate(),
    "DSA": dsa.generate_private_key(1024),
}


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_a_forged_issuer_is_detected_for_every_kind_of_key(bench: Bench, key: Any) -> None:
    """The name is ours, the signature cannot be."""
    forged = foreign(key, bench.genuine.issuer)
    found = bench.findings(forged, bench.genuine)

    assert found[0].startswith("was changed: its signature is not that of the intermediate of collection 1")
    assert any(each.startswith("the chain is broken: certificate 1 (CN=x)") for each in found)
    assert bench.authority.issuer_of(forged) is None


def test_a_signature_of_an_unknown_kind_is_detected(bench: Bench) -> None:
    """The octets of the algorithm's name are changed, so no verifier can check the signature."""
    der = bench.genuine.public_bytes(Encoding.DER)
    ecdsa_with_sha256 = bytes.fromhex("06082a8648ce3d040302")
    odd = der.replace(ecdsa_with_sha256, ecdsa_with_sha256[:-1] + b"\x63")

    assert der.count(ecdsa_with_sha256) == 2
    assert bench.findings(odd)[0].startswith("was changed: ")


@given(st.data())
def test_every_modified_octet_is_detected(bench: Bench, data: st.DataObject) -> None:
    """
    Every change has a reason, and raises nothing.

    One octet is left out: the number of unused bits before the signature. It is outside the signed part, and a change
    of it alone leaves the same signature if the last bits are zero (X.690 8.6.2).
    """
    der = bytearray(bench.genuine.public_bytes(Encoding.DER))
    unused_bits = len(der) - len(bench.genuine.signature) - 1
    at = data.draw(st.integers(0, len(der) - 1).filter(lambda place: place != unused_bits))
    der[at] ^= data.draw(st.integers(1, 255))

    assert bench.findings(bytes(der))


@given(st.binary(max_size=400))
def test_garbage_is_refused(bench: Bench, octets: bytes) -> None:
    assert bench.findings(octets)[0].startswith("is not PEM of certificates: ")


def test_the_genuine_certificate_is_accepted(bench: Bench) -> None:
    """This shows that the tests above fail for the intended cause."""
    assert bench.findings(bench.genuine) == []
