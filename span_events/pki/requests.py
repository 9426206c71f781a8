"""Certificate signing requests (PKCS#10, RFC 2986): only the public key is taken from one."""

from __future__ import annotations

from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from span_events.errors import InvalidRequest
from span_events.pki.issuing import PublicKey

CURVES: Final = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
"""Curves of keys that are signed, by OpenSSL's names."""
RSA_BITS: Final = range(2048, 4097)
"""Shorter keys are weak; longer ones make a handshake of many datagrams."""

_WANTED: Final = "EC on P-256, P-384 or P-521, or RSA of 2048 to 4096 bits"
_BEGIN: Final = (b"-----BEGIN CERTIFICATE REQUEST-----", b"-----BEGIN NEW CERTIFICATE REQUEST-----")


def public_key_of(pem: bytes) -> PublicKey:
    """
    Return the public key of a request, after a check of its proof of possession.

    Raises:
        InvalidRequest: The request is malformed, its signature is wrong, or the kind of key is not signed here.
    """
    if not any(each in pem for each in _BEGIN):
        raise _wrong(
            f"is not PEM: there is no line {_BEGIN[0].decode()}",
            "Make one: openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -subj /CN=x",
        )
    try:
        request = x509.load_pem_x509_csr(pem)
        key = request.public_key()
        proven = request.is_signature_valid
    except (ValueError, TypeError) as exc:
        raise _wrong(f"is damaged: {exc}") from exc
    except UnsupportedAlgorithm as exc:
        raise _wrong(f"has a key or a signature that is not known here ({exc}); wanted is {_WANTED}") from exc
    if not proven:
        raise _wrong("its signature does not fit its key: it was changed, or signed with another key")
    if isinstance(key, ec.EllipticCurvePublicKey):
        if key.curve.name in CURVES:
            return key
        raise _wrong(f"its key is EC on {key.curve.name}; wanted is {_WANTED}")
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size in RSA_BITS:
            return key
        raise _wrong(f"its key is RSA of {key.key_size} bits; wanted is {_WANTED}")
    kind = type(key).__name__.removesuffix("PublicKey")
    raise _wrong(f"its key is {kind}, which DTLS stacks of devices do not know; wanted is {_WANTED}")


def _wrong(text: str, hint: str = "") -> InvalidRequest:
    return InvalidRequest(f"csr: {text}", hint=hint, field="csr")
