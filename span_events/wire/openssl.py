"""
What the engines on OpenSSL share: identities, trust, and looks below pyOpenSSL.

pyOpenSSL promises none of the low-level names (`OpenSSL._util.lib`): pyproject.toml bounds the
versions, and the tests of the engines are the canary.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from OpenSSL import SSL, crypto
from OpenSSL._util import ffi, lib

from span_events.wire.tls.alerts import ALERTS

LARGEST_RECORD: Final = 16_384
"""Octets of application data in a record at most (RFC 5246 §6.2.1)."""
SSL_ERROR: Final = 1
WANT_READ: Final = 2
ZERO_RETURN: Final = 6
"""Results of SSL_get_error."""
_OF_SSL: Final = 20
"""ERR_LIB_SSL: which part of OpenSSL an error is of."""
_ALERT_REASONS: Final = 1000
"""SSL_AD_REASON_OFFSET: the reason for an alert of the other side is this plus the alert's number."""
_ALERT_WORDS: Final = re.compile(r"(?:sslv3|tlsv1|tlsv13|ssl/tls|tls) (?:alert )?(.+)")
"""The same in words, of all releases; they are worth something only if an alert's name follows."""
_NUMBERS: Final = {name: number for number, name in ALERTS.items()} | {"user cancelled": 90}


class Cause(NamedTuple):
    """Why OpenSSL gave up."""

    words: str
    """OpenSSL's, in lower case; empty if it has none."""
    alert: int | None = None
    """Number of the alert with which the other side gave up."""


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


def queued_cause() -> Cause:
    """Empty OpenSSL's queue of errors; return the first that says anything, which is the cause."""
    cause = Cause("")
    while code := lib.ERR_get_error():
        if cause == Cause(""):
            cause = _cause(code)
    return cause


def cause_of(words: str) -> Cause:
    """Return the cause that OpenSSL's words mean, in lower case, where its numbers cannot be had."""
    found = _ALERT_WORDS.fullmatch(words)
    return Cause(words, None if found is None else _NUMBERS.get(found[1]))


def verify_words(error: int) -> str:
    """Return OpenSSL's words for an X509_V_ERR_*."""
    return str(ffi.string(lib.X509_verify_cert_error_string(error)).decode())


def _cause(code: int) -> Cause:
    text = lib.ERR_reason_error_string(code)
    reason, library = lib.ERR_GET_REASON(code), code >> 23 & 0xFF
    is_alert = library == _OF_SSL and 0 <= reason - _ALERT_REASONS <= 0xFF
    return Cause("" if text == ffi.NULL else ffi.string(text).decode(), reason - _ALERT_REASONS if is_alert else None)
