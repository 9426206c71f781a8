"""JSON Web Tokens (RFC 7519): one kind, signed with HMAC and SHA-256, and only with the header that it writes."""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import Any, Final

import orjson

MAX_LENGTH: Final = 1_024
"""Characters of a token; ours have about 250."""


def sign(claims: dict[str, Any], key: bytes) -> str:
    """Write a token."""
    content = f"{_HEADER}.{_encode(orjson.dumps(claims))}"
    return f"{content}.{signature(content, key)}"


def verify(text: str, key: bytes) -> dict[str, Any] | None:
    """
    Read a token; None if it is none of ours.

    The header is compared as text, so a token cannot choose its algorithm (RFC 8725 3.1).
    """
    content, _, given = text.rpartition(".")
    header, _, payload = content.partition(".")
    if header != _HEADER or len(text) > MAX_LENGTH or not text.isascii():
        return None
    if not hmac.compare_digest(signature(content, key), given):
        return None
    try:
        claims = orjson.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (binascii.Error, orjson.JSONDecodeError):
        return None
    return claims if isinstance(claims, dict) else None


def signature(content: str, key: bytes) -> str:
    """Return the signature of a header and claims (RFC 7515 5.1)."""
    return _encode(hmac.digest(key, content.encode(), "sha256"))


def _encode(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


_HEADER: Final = _encode(b'{"alg":"HS256","typ":"JWT"}')
