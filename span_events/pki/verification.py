"""Verification of a presented certificate: the reasons against it, in sentences for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from cryptography import x509

from span_events.dialects.span import render_time
from span_events.ids import render
from span_events.pki import issuing
from span_events.pki.authority import Authority
from span_events.pki.issuing import is_issued_by

_BEGIN: Final = b"-----BEGIN CERTIFICATE-----"
_MAX_BLOCKS: Final = 10


class Unreadable(Exception):
    """Octets are not a file of certificates; the message gives the reason."""


def read(pem: bytes) -> list[x509.Certificate]:
    """
    Read a file of certificates, the leaf first.

    Raises:
        Unreadable: The file holds no certificate, or a damaged one.
    """
    blocks = pem.count(_BEGIN)
    if not blocks:
        raise Unreadable(f"is not PEM: there is no line {_BEGIN.decode()}")
    if blocks > _MAX_BLOCKS:
        raise Unreadable(f"holds {blocks} certificates; a chain of ours has 3")
    try:
        found = x509.load_pem_x509_certificates(pem)
        for each in found:  # faults inside appear only when fields are read
            each.public_key()
            issuing.purposes_of(each)
            issuing.period_of(each)
            _name(each), each.issuer.rfc4514_string()
    except Exception as exc:  # the library raises various exceptions for certificates of other makers
        raise Unreadable(f"is not PEM of certificates: {exc}") from exc
    return found


def faults(authority: Authority, certificates: Sequence[x509.Certificate], now: int) -> Iterator[str]:
    """
    List the faults of a certificate and the chain behind it, for any owner.

    Args:
        certificates: The leaf first, perhaps alone.
        now: Unix seconds.
    """
    leaf, *chain = certificates
    yield from _issue(authority, leaf)
    period = issuing.period_of(leaf)
    if now > period.end:
        yield f"expired at {render_time(period.end)} UTC; it is {render_time(now)} now"
    if now < period.begin:
        yield f"is not valid before {render_time(period.begin)} UTC; it is {render_time(now)} now"
    for number, (below, above) in enumerate(pairwise(certificates), start=1):
        if not is_issued_by(below, above):
            yield (
                f"the chain is broken: certificate {number} ({_name(below)}) was not signed by"
                f" certificate {number + 1} ({_name(above)})"
            )
    if chain and not authority.leads_to_root(chain[-1]):
        yield f"the chain is broken: {_name(chain[-1])} at its end is neither the root of this server nor signed by it"


def _issue(authority: Authority, leaf: x509.Certificate) -> Iterator[str]:
    if authority.issuer_of(leaf) is None:
        claimed = authority.collection_of(leaf.issuer.public_bytes())
        if claimed is not None:
            yield f"was changed: its signature is not that of the intermediate of collection {render(claimed)}"
        else:
            yield f"was not issued by this server for a device or gateway: its issuer is {leaf.issuer.rfc4514_string()}"
    elif issuing.CLIENT not in issuing.purposes_of(leaf):
        yield "is not for clients (extended key usage clientAuth)"


def _name(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string() or "without a name"
