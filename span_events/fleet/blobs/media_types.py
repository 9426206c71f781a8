"""Media types of blobs: guessed from the first octets, or declared by the sender."""

from __future__ import annotations

import codecs
import re
from typing import Final

LOOKED_AT: Final = 512
"""Octets from the beginning that a guess needs at most."""
OCTETS: Final = "application/octet-stream"
_SIGNATURES: Final = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
    (b"\x1f\x8b\x08", "application/gzip"),
)
_MEANINGLESS: Final = frozenset({"", OCTETS, "application/binary", "application/x-www-form-urlencoded"})
"""Meaningless declared types; the last one is curl's default."""
_MEDIA_TYPE: Final = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]*/[a-z0-9][a-z0-9!#$&^_.+-]*", re.IGNORECASE)
"""RFC 6838 §4.2."""
_LONGEST: Final = 127
_BINARY: Final = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
"""Control characters that no text has, as the WHATWG's rules for sniffing name them."""


def media_type(first: bytes, declared: str = "") -> str:
    """
    Return the media type of a blob.

    A signature wins over the declared type, which wins over a guess at text.

    Args:
        first: The first octets, at most `LOOKED_AT`.
        declared: Declared type with parameters; a malformed one is ignored.
    """
    for signature, known in _SIGNATURES:
        if first.startswith(signature):
            return known
    essence = declared.partition(";")[0].strip().lower()
    sensible = _MEDIA_TYPE.fullmatch(essence) and len(declared) <= _LONGEST and declared.isprintable()
    if sensible and essence not in _MEANINGLESS:
        return declared.strip()
    return _text(first)


def _text(first: bytes) -> str:
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(first)  # the last character may be cut in two
    except UnicodeDecodeError:
        return OCTETS
    if not text.strip() or _BINARY.search(text):
        return OCTETS
    return "application/json" if text.lstrip()[0] in "{[" else "text/plain; charset=utf-8"
