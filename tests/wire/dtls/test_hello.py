"""ClientHello and HelloVerifyRequest, octet by octet; and the cookies between them."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from span_events.errors import MalformedMessage
from span_events.wire.dtls.cookies import LENGTH, Cookies
from span_events.wire.dtls.hello import hello_verify_request, is_fragment, is_hello, read_beginning, read_hello
from span_events.wire.dtls.records import HEADER, is_dtls
from tests.wire.dtls.client import DtlsClient

REMOTE = ("192.0.2.1", 4000)


def hello(
    *,
    version: int = 0xFEFD,
    cookie: bytes = b"",
    suites: tuple[int, ...] = (0xC02B,),
    extensions: tuple[tuple[int, bytes], ...] = (),
    sequence: int = 0,
) -> bytes:
    """Write a datagram with a ClientHello."""
    listed = b"".join(each.to_bytes(2, "big") for each in suites)
    written = b"".join(struct.pack("!HH", kind, len(content)) + content for kind, content in extensions)
    body = version.to_bytes(2, "big") + bytes(range(32)) + b"\0" + bytes((len(cookie),)) + cookie
    body += len(listed).to_bytes(2, "big") + listed + b"\x01\0"
    if extensions:
        body += len(written).to_bytes(2, "big") + written
    size = len(body).to_bytes(3, "big")
    message = b"\x01" + size + b"\0\0" + b"\0\0\0" + size + body
    return struct.pack("!BHHHIH", 22, 0xFEFF, 0, 0, sequence, len(message)) + message


def test_a_hello_is_decoded() -> None:
    """Cookie, random, suites, groups and version."""
    groups = b"\0\x04\0\x17\x8a\x8a"
    read = read_hello(hello(cookie=b"abc", suites=(0xC02B, 0x00FF, 0xC0A8, 0x1234), extensions=((10, groups),)))

    assert read.cookie == b"abc"
    assert read.random == bytes(range(32))
    assert read.suites == (0xC02B, 0xC0A8, 0x1234)
    assert read.offered_suites == "ECDHE-ECDSA-AES128-GCM-SHA256, PSK-AES128-CCM8, 0x1234"
    assert read.offered_groups == "secp256r1"
    assert read.speaks_dtls_1_2


@pytest.mark.parametrize(
    ("version", "listed", "speaks", "offered"),
    [
        (0xFEFD, None, True, "DTLS 1.2"),
        (0xFEFF, None, False, "DTLS 1.0"),
        (0xFEFC, None, True, "DTLS 1.3"),  # such a client also accepts an older version
        (0x0303, None, False, "TLS 1.2"),
        (0xFEFD, b"\x02\xfe\xfc", False, "DTLS 1.3"),
        (0xFEFD, b"\x06\x0a\x0a\xfe\xfc\xfe\xfd", True, "DTLS 1.3, DTLS 1.2"),
    ],
)
def test_versions_are_named(version: int, listed: bytes | None, speaks: bool, offered: str) -> None:
    """The extension takes precedence over the field (RFC 8446 §4.2.1)."""
    read = read_hello(hello(version=version, extensions=((43, listed),) if listed else ()))

    assert (read.speaks_dtls_1_2, read.offered_versions) == (speaks, offered)


def test_a_long_list_of_suites_is_truncated() -> None:
    """The text has 24 names and the number of omitted names."""
    assert read_hello(hello(suites=tuple(range(0x4000, 0x4064)))).offered_suites.endswith("0x4017 and 76 more")


def test_a_fragment_is_recognised() -> None:
    """Its length is not that of the message."""
    whole = hello(cookie=b"abc")
    cut = whole[: HEADER.size + 12 + 60]
    first = cut[:11] + (60 + 12).to_bytes(2, "big") + cut[13:22] + (60).to_bytes(3, "big") + cut[25:]

    assert not is_fragment(whole)
    assert is_fragment(first)
    assert read_beginning(first).cookie == b"abc"


def test_every_truncation_is_refused() -> None:
    """No truncation raises another exception or is accepted."""
    whole = hello(cookie=b"c" * 32, extensions=((10, b"\0\x02\0\x17"), (43, b"\x02\xfe\xfd")))
    for size in range(14, len(whole)):
        record = whole[:11] + (size - 13).to_bytes(2, "big") + whole[13:size]
        with pytest.raises(MalformedMessage):
            read_hello(record)


@given(st.binary(max_size=200))
def test_garbage_in_a_hello_is_refused_with_one_exception(garbage: bytes) -> None:
    """Any octets may follow the type of the message."""
    datagram = struct.pack("!BHHHIH", 22, 0xFEFF, 0, 0, 0, len(garbage) + 1) + b"\x01" + garbage
    assert is_hello(datagram)
    with suppress(MalformedMessage):
        read_hello(datagram)


def test_a_hello_verify_request_has_the_sequence_number_of_the_hello() -> None:
    """RFC 6347 §4.2.1; the request is smaller than the hello, so it amplifies no attack."""
    first = hello(sequence=7)
    request = hello_verify_request(read_hello(first), b"c" * LENGTH)

    assert is_dtls(request)
    assert request[5:11] == first[5:11]
    assert len(request) < len(first)


def test_a_client_repeats_its_hello_with_the_cookie() -> None:
    """OpenSSL's client understands the request."""
    client = DtlsClient()
    (first,) = client.start()
    (second,) = client.step(hello_verify_request(read_hello(first), b"c" * LENGTH))

    assert read_hello(second).cookie == b"c" * LENGTH
    assert read_hello(second).random == read_hello(first).random


def test_a_cookie_is_valid_for_its_address_only() -> None:
    """The cookie depends on host and port."""
    cookies = Cookies()
    cookie = cookies.make(REMOTE, 0.0)

    assert cookies.verify(cookie, REMOTE, 1.0)
    assert not cookies.verify(cookie, ("192.0.2.1", 4001), 1.0)
    assert not cookies.verify(cookie, ("192.0.2.2", 4000), 1.0)
    assert not cookies.verify(b"", REMOTE, 1.0)
    assert not Cookies().verify(cookie, REMOTE, 1.0)


@pytest.mark.parametrize(("made", "shown", "good"), [(0.0, 59.9, True), (1.0, 119.0, True), (1.0, 121.0, False)])
def test_a_cookie_expires(made: float, shown: float, good: bool) -> None:
    """The secret changes each minute; the previous secret stays valid for another."""
    cookies = Cookies()
    cookies.make(REMOTE, 0.0)
    cookie = cookies.make(REMOTE, made)
    cookies.verify(b"x" * LENGTH, REMOTE, 60.0 if shown > 60 else made)

    assert cookies.verify(cookie, REMOTE, shown) is good


def test_a_cookie_expires_without_other_hellos() -> None:
    """A cookie expires even if no other hello arrives in between."""
    cookies = Cookies()
    cookie = cookies.make(REMOTE, 0.0)

    assert not cookies.verify(cookie, REMOTE, 120.0)
