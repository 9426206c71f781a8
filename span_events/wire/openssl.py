"""
Shared parts of the engines on OpenSSL: server identities, trusted certificates, errors, low-level calls.

pyOpenSSL does not document its low-level names (`OpenSSL._util.lib`): pyproject.toml limits its versions, and the
tests of the engines fail when a name changes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

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
_OF_SSL: Final = 20
"""ERR_LIB_SSL: number of the SSL library in an error code."""
_ALERT_REASONS: Final = 1000
"""SSL_AD_REASON_OFFSET: the reason of a received alert is this number plus that of the alert."""


class Cause(NamedTuple):
    """The cause for which OpenSSL ended a handshake."""

    words: str
    """OpenSSL's reason string, in lower case; empty without one."""
    alert: int | None = None
    """Number of the alert that the other side sent; None without an alert."""


@dataclass(frozen=True, slots=True)
class Identity:
    """An identity of the server: private key, and certificate followed by its chain, in PEM."""

    key_pem: bytes = field(repr=False)
    certificates_pem: bytes


def show(context: SSL.Context, identities: Iterable[Identity]) -> None:
    """Set the identities of a new context, one per type of key; all use the chain of the first."""
    for number, identity in enumerate(identities):
        leaf, *chain = x509.load_pem_x509_certificates(identity.certificates_pem)
        context.use_certificate(leaf)
        key: Any = serialization.load_pem_private_key(
            identity.key_pem,
            None,
            unsafe_skip_rsa_key_validation=True,  # 25 ms for each context; our own key, read and checked before
        )
        context.use_privatekey(key)
        for each in chain if not number else ():
            context.add_extra_chain_cert(each)


def trust(context: SSL.Context, certificates_pem: bytes) -> None:
    """Add trusted roots to a context, or intermediates that clients may omit."""
    store = context.get_cert_store()
    assert store is not None, "a context has a store"
    for each in x509.load_pem_x509_certificates(certificates_pem):
        store.add_cert(crypto.X509.from_cryptography(each))


def judge_by(ssl: Any, unix_time: int) -> None:
    """
    Set the time at which certificates must be valid, for one connection.

    The store is shared by connections and no alternative: X509_STORE_set1_param keeps the first time that was set.
    """
    lib.X509_VERIFY_PARAM_set_time(lib.SSL_get0_param(ssl), unix_time)


def address_of(pointer: Any) -> int:
    """Return the address of a pointer."""
    return int(ffi.cast("intptr_t", pointer))


def queued_cause() -> Cause:
    """Empty OpenSSL's error queue; return its first error that is not empty, which is the cause."""
    cause = Cause("")
    while code := lib.ERR_get_error():
        if cause == Cause(""):
            cause = _cause(code)
    return cause


def verify_words(error: int) -> str:
    """Return OpenSSL's text for an X509_V_ERR_*."""
    return str(ffi.string(lib.X509_verify_cert_error_string(error)).decode())


def _cause(code: int) -> Cause:
    text = lib.ERR_reason_error_string(code)
    reason, library = lib.ERR_GET_REASON(code), code >> 23 & 0xFF
    is_alert = library == _OF_SSL and 0 <= reason - _ALERT_REASONS <= 0xFF
    return Cause("" if text == ffi.NULL else ffi.string(text).decode(), reason - _ALERT_REASONS if is_alert else None)
