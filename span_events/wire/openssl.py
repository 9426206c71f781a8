"""
What the engines on OpenSSL share: identities, trust, and looks below pyOpenSSL.

pyOpenSSL promises none of the low-level names (`OpenSSL._util.lib`): pyproject.toml bounds the
versions, and the tests of the engines are the canary.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from OpenSSL import SSL, crypto
from OpenSSL._util import ffi, lib

LARGEST_RECORD: Final = 16_384
"""Octets of application data in a record at most (RFC 5246 §6.2.1)."""
SSL_ERROR: Final = 1
WANT_READ: Final = 2
ZERO_RETURN: Final = 6
"""Results of SSL_get_error."""
ALERT_RECEIVED: Final = re.compile(r"(?:sslv3|tlsv1|tlsv13|ssl/tls) alert (.+)")
"""OpenSSL's words for an alert of the other side."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What the server shows: a private key, and its certificate followed by the chain, PEM."""

    key_pem: bytes = field(repr=False)
    certificates_pem: bytes


def show(context: SSL.Context, identities: Iterable[Identity]) -> None:
    """Let a new context show identities, one per kind of key; the chain of the first serves them all."""
    for number, identity in enumerate(identities):
        leaf, *chain = x509.load_pem_x509_certificates(identity.certificates_pem)
        context.use_certificate(leaf)
        key: Any = serialization.load_pem_private_key(identity.key_pem, None)
        context.use_privatekey(key)
        for each in chain if not number else ():
            context.add_extra_chain_cert(each)


def trust(context: SSL.Context, certificates_pem: bytes) -> None:
    """Let a context trust roots, or know intermediates that clients may leave out."""
    store = context.get_cert_store()
    assert store is not None, "a context has a store"
    for each in x509.load_pem_x509_certificates(certificates_pem):
        store.add_cert(crypto.X509.from_cryptography(each))


def judge_by(ssl: Any, unix_time: int) -> None:
    """
    Let certificates be judged by a time.

    Not through the store that connections share: X509_STORE_set1_param keeps the time that it was given first.
    """
    lib.X509_VERIFY_PARAM_set_time(lib.SSL_get0_param(ssl), unix_time)


def address_of(pointer: Any) -> int:
    """Return where something is."""
    return int(ffi.cast("intptr_t", pointer))


def queued_words() -> str:
    """Empty OpenSSL's queue of errors; return the words of the first, which is the cause."""
    words = ""
    while code := lib.ERR_get_error():
        reason = lib.ERR_reason_error_string(code)
        words = words or ("" if reason == ffi.NULL else ffi.string(reason).decode())
    return words


def verify_words(error: int) -> str:
    """Return OpenSSL's words for an X509_V_ERR_*."""
    return str(ffi.string(lib.X509_verify_cert_error_string(error)).decode())
