"""Heads of HTTP requests: decoding, and the places of errors."""

from __future__ import annotations

from http import HTTPStatus

import pytest

from span_events.errors import MalformedMessage
from span_events.wire.http_head import MAX_HEAD, Head, decode, encode_reply, end_of_head

UPLOAD = b"POST /camera?shot=1 HTTP/1.1\r\nHost: span\r\nContent-Type: image/jpeg\r\nContent-Length: 5\r\n\r\n"


def read(octets: bytes) -> tuple[Head, bytes]:
    """Decode a request; return the octets after its head, too."""
    end = end_of_head(octets)
    assert end is not None
    return decode(octets[:end]), octets[end:]


def test_a_request_is_decoded() -> None:
    """The path has no query; field names are in lower case."""
    head, rest = read(UPLOAD + b"photo")

    assert (head.method, head.path, head.length) == ("POST", "/camera", 5)
    assert head.fields == {"host": "span", "content-type": "image/jpeg", "content-length": "5"}
    assert rest == b"photo"


def test_a_head_is_complete_with_its_empty_line() -> None:
    """Every prefix is incomplete."""
    complete = [end_of_head(UPLOAD[:end]) for end in range(len(UPLOAD) + 1)]

    assert complete == [None] * len(UPLOAD) + [len(UPLOAD)]


def test_bare_line_feeds_and_leading_empty_lines_are_accepted() -> None:
    """RFC 9112 §2.2."""
    head, rest = read(b"\r\n" + UPLOAD.replace(b"\r\n", b"\n") + b"photo")

    assert (head.path, head.length, rest) == ("/camera", 5, b"photo")


@pytest.mark.parametrize(
    ("target", "path"),
    [("/", "/"), ("http://host:80/a/b?c=/d", "/a/b"), ("HTTPS://host", "/"), ("*", "*"), ("/a#b", "/a"), ("?x", "/")],
)
def test_the_path_is_that_of_the_target(target: str, path: str) -> None:
    """A target may be a whole URI (RFC 9112 §3.2.2)."""
    assert read(f"POST {target} HTTP/1.0\r\n\r\n".encode())[0].path == path


@pytest.mark.parametrize(("octets", "path"), [("/æ/相".encode(), "/æ/相"), (b"/\xe6", "/æ"), (b"/%C3%A6", "/%C3%A6")])
def test_a_path_is_decoded_as_utf_8_if_possible(octets: bytes, path: str) -> None:
    """Some clients send UTF-8; RFC 3986 requires percent-encoding."""
    assert read(b"POST " + octets + b" HTTP/1.1\r\n\r\n")[0].path == path


@pytest.mark.parametrize(
    ("line", "waits"), [("Expect: 100-Continue", True), ("Expect: 200-ok", False), ("X: y", False)]
)
def test_a_client_that_expects_100_continue_is_recognized(line: str, waits: bool) -> None:
    """RFC 9110 §10.1.1."""
    assert read(f"POST / HTTP/1.1\r\n{line}\r\n\r\n".encode())[0].expects_continue is waits


@pytest.mark.parametrize(
    ("octets", "detail", "at"),
    [
        (b"\x16\x03\x01\x02\x00", "this is TLS", 0),
        (b"\r\n\x00", "octet 0x00 is no begin", 2),
        (b"POST /\r\n\r\n", "'POST /'", 0),
        (b"POST  / HTTP/1.1\r\n\r\n", "the version is", 6),
        (b"PRI * HTTP/2.0\r\n\r\n", "the version is 'HTTP/2.0'", 6),
        (b"POST /\x7f HTTP/1.1\r\n\r\n", "the target is", 5),
        (b"POST / HTTP/1.1\r\nHost\r\n\r\n", "'Host', wanted NAME: VALUE", 17),
        (b"POST / HTTP/1.1\r\nHost : x\r\n\r\n", "'Host : x'", 17),
        (b"POST / HTTP/1.1\r\nA: b\r\n c: folded\r\n\r\n", "' c: folded'", 23),
        (b"POST / HTTP/1.1\r\nA: b\x00c\r\n\r\n", "the value of A holds octet 0x00", 21),
        (b"POST / HTTP/1.1\r\nA: b\rc\r\n\r\n", "the value of A holds octet 0x0d", 21),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "Content-Length is '-1'", 17),
        (b"POST / HTTP/1.1\r\nContent-Length: \xb2\r\n\r\n", "Content-Length is", 17),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "'1, 2'", 36),
        (b"POST / HTTP/1.1\r\nContent-Length: " + b"9" * 19 + b"\r\n\r\n", "one decimal number", 17),
        (b"POST / HTTP/1.1\r\nA: " + b"b" * MAX_HEAD, "is over 8192 octets", MAX_HEAD),
    ],
)
def test_a_violation_of_the_protocol_is_named_with_its_place(octets: bytes, detail: str, at: int) -> None:
    """Two lengths are an error even if one of them is right, because a proxy must be faulty."""
    with pytest.raises(MalformedMessage) as caught:
        read(octets)

    assert detail in caught.value.detail
    assert caught.value.at == at


def test_other_protocols_are_refused_at_their_first_octet() -> None:
    """Otherwise client and server would wait for each other until a timeout."""
    with pytest.raises(MalformedMessage, match="this is TLS"):
        end_of_head(b"\x16")


def test_a_reply_has_its_length_and_closes_the_connection() -> None:
    """RFC 9110 §6.6.1 requires the date."""
    reply = encode_reply(HTTPStatus.METHOD_NOT_ALLOWED, "no", date="now", fields=[("Allow", "POST")])

    assert reply == (
        b"HTTP/1.1 405 Method Not Allowed\r\nDate: now\r\nContent-Type: text/plain; charset=utf-8\r\n"
        b"Content-Length: 3\r\nAllow: POST\r\nConnection: close\r\n\r\nno\n"
    )


def test_the_reply_to_a_head_has_no_content() -> None:
    """Content-Length is that of the reply to a GET (RFC 9110 §9.3.2)."""
    reply = encode_reply(HTTPStatus.OK, "no", date="now", with_content=False)

    assert b"Content-Length: 3\r\n" in reply
    assert reply.endswith(b"\r\n\r\n")
