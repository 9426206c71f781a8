"""JWTs: signed as RFC 7515 says, and read only as they are written."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import pytest

from span_events.auth import jwt

KEY = b"k" * 32


def part(octets: bytes) -> str:
    """Encode a part of a JWT."""
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def test_the_signature_is_that_of_rfc_7515() -> None:
    """Appendix A.1, whose header has line breaks."""
    key = base64.urlsafe_b64decode(
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow=="
    )
    content = (
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt"
        "cGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
    )

    assert jwt.signature(content, key) == "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"


def test_what_was_signed_is_read_again() -> None:
    text = jwt.sign({"jti": "a", "exp": 1}, KEY)
    header, _, _ = text.split(".")

    assert jwt.verify(text, KEY) == {"jti": "a", "exp": 1}
    assert json.loads(base64.urlsafe_b64decode(header + "==")) == {"alg": "HS256", "typ": "JWT"}
    assert jwt.verify(text, b"x" * 32) is None


@pytest.mark.parametrize("header", [b'{"alg":"none","typ":"JWT"}', b'{"alg":"HS512","typ":"JWT"}', b'{"alg":"HS256"}'])
def test_a_token_cannot_choose_its_algorithm(header: bytes) -> None:
    """Even signed with the right key (RFC 8725 3.1)."""
    content = f"{part(header)}.{part(b'{}')}"
    right = part(hmac.digest(KEY, content.encode(), hashlib.sha256))

    assert [jwt.verify(f"{content}.{each}", KEY) for each in (right, "")] == [None, None]


@pytest.mark.parametrize("text", ["", ".", "..", "a.b.c", "é.é.é", "a" * 64, "." * 5000])
def test_other_texts_are_no_tokens(text: str) -> None:
    assert jwt.verify(text, KEY) is None


@pytest.mark.parametrize("claims", [b"[]", b"{", b"\xff", b""])
def test_claims_are_an_object(claims: bytes) -> None:
    content = f"{jwt.sign({}, KEY).split('.')[0]}.{part(claims)}"

    assert jwt.verify(f"{content}.{jwt.signature(content, KEY)}", KEY) is None


def test_a_changed_token_is_refused() -> None:
    text = jwt.sign({"jti": "a"}, KEY)

    assert [jwt.verify(text[:at] + "_" + text[at + 1 :], KEY) for at in range(len(text)) if text[at] != "_"] == [
        None for each in text if each != "_"
    ]
