"""Signing requests: accepted keys, and the messages for refused ones."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from span_events.errors import InvalidRequest
from span_events.pki import requests


def request(key: Any, algorithm: hashes.SHA256 | None = None) -> bytes:
    """Ask for a certificate with a subject, as Span's own command line does."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "somebody@example.org")])
    return x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, algorithm).public_bytes(Encoding.PEM)


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda each: each.name)
def test_keys_on_usual_curves_are_accepted(curve: ec.EllipticCurve) -> None:
    key = ec.generate_private_key(curve)

    assert requests.public_key_of(request(key, hashes.SHA256())) == key.public_key()


def test_rsa_keys_of_2048_bits_are_accepted() -> None:
    key = rsa.generate_private_key(65537, 2048)

    assert requests.public_key_of(request(key, hashes.SHA256())) == key.public_key()


@pytest.mark.parametrize(
    ("key", "algorithm", "text"),
    [
        (ec.generate_private_key(ec.SECP256K1()), hashes.SHA256(), "its key is EC on secp256k1; wanted is EC on P-256"),
        (rsa.generate_private_key(65537, 1024), hashes.SHA256(), "its key is RSA of 1024 bits; wanted is"),
        (ed25519.Ed25519PrivateKey.generate(), None, "its key is Ed25519, which DTLS stacks of devices do not know"),
        (dsa.generate_private_key(1024), hashes.SHA256(), "its key is DSA"),
    ],
    ids=["secp256k1", "rsa-1024", "ed25519", "dsa"],
)
def test_other_keys_are_refused_by_name(key: Any, algorithm: hashes.SHA256 | None, text: str) -> None:
    with pytest.raises(InvalidRequest, match=f"^csr: {text}") as caught:
        requests.public_key_of(request(key, algorithm))

    assert caught.value.field == "csr"


def test_a_modified_request_is_refused() -> None:
    """The signature proves that the sender has the private key."""
    pem = request(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    octets = bytearray(x509.load_pem_x509_csr(pem).public_bytes(Encoding.DER))
    at = octets.index(b"somebody")
    octets[at] = ord("S")
    changed = x509.load_der_x509_csr(bytes(octets)).public_bytes(Encoding.PEM)

    with pytest.raises(InvalidRequest, match="its signature does not fit its key"):
        requests.public_key_of(changed)


@pytest.mark.parametrize(
    ("pem", "text"),
    [
        (b"", "is not PEM: there is no line -----BEGIN CERTIFICATE REQUEST-----"),
        (b"\x30\x82", "is not PEM"),
        (b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n", "is not PEM"),
        (b"-----BEGIN CERTIFICATE REQUEST-----\nAA==\n-----END CERTIFICATE REQUEST-----\n", "is damaged"),
        (b"-----BEGIN CERTIFICATE REQUEST-----\n", "is damaged"),
    ],
)
def test_malformed_requests_are_refused(pem: bytes, text: str) -> None:
    with pytest.raises(InvalidRequest, match=f"^csr: {text}"):
        requests.public_key_of(pem)


@given(st.binary(max_size=300))
def test_garbage_is_refused_with_one_exception(octets: bytes) -> None:
    body = base64.encodebytes(octets)
    pem = b"-----BEGIN CERTIFICATE REQUEST-----\n" + body + b"-----END CERTIFICATE REQUEST-----\n"
    with pytest.raises(InvalidRequest):
        requests.public_key_of(pem)
