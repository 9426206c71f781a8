"""Firmware reports and responses: single fields, and values from hypothesis."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from span_events.errors import MalformedMessage
from span_events.wire.fota import (
    MAX_HOST,
    MAX_PATH,
    Report,
    Response,
    decode_report,
    decode_response,
    encode_report,
    encode_response,
)

PUBLISHED = bytes.fromhex(
    "0105312e302e30040f4c61623565" + "2044656d6f20436f7270" + "030430303031" + "02086d6f64656c203031"
)
"""Report of Span's own sample, as captured."""
RESPONSE = bytes.fromhex("01093132372e302e302e31" + "020400001633" + "03032f6677" + "040101")

TEXT = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=60)


def test_the_published_report_is_decoded() -> None:
    """Its order is version, manufacturer, serial number, model."""
    assert decode_report(PUBLISHED) == Report("1.0.0", "model 01", "0001", "Lab5e Demo Corp")
    assert encode_report(decode_report(PUBLISHED)) == PUBLISHED


def test_a_response_has_all_four_fields() -> None:
    """The port has four octets."""
    assert encode_response(Response("127.0.0.1", 5683, "/fw", available=True)) == RESPONSE
    assert encode_response(Response("127.0.0.1", 5683, "/fw", available=False)) == RESPONSE[:-1] + b"\0"


@given(TEXT.filter(bool), TEXT, TEXT, TEXT)
def test_decode_inverts_encode(version: str, model: str, serial: str, manufacturer: str) -> None:
    """The texts are any."""
    report = Report(version, model, serial, manufacturer)

    assert decode_report(encode_report(report)) == report


@given(st.integers(0, 2**32), st.lists(TEXT, min_size=4, max_size=4), st.binary(max_size=20))
def test_fields_have_any_order_and_unknown_fields_are_ignored(seed: int, texts: list[str], other: bytes) -> None:
    """Unknown fields of later devices are ignored."""
    fields = [
        bytes((number, len(text.encode()))) + text.encode()
        for number, text in enumerate(["v" + texts[0], *texts[1:]], 1)
    ]
    fields += [bytes((number, len(other))) + other for number in (0, 5, 255)]
    random.Random(seed).shuffle(fields)

    assert decode_report(b"".join(fields)) == Report("v" + texts[0], *texts[1:])


@given(
    st.text("abc-.019", max_size=MAX_HOST), st.integers(0, 65_535), st.text("/abc", max_size=MAX_PATH), st.booleans()
)
def test_decode_inverts_encode_of_a_response(host: str, port: int, path: str, available: bool) -> None:
    """The simulator's devices decode responses."""
    response = Response(host, port, path, available)

    assert decode_response(encode_response(response)) == response


@pytest.mark.parametrize(
    ("payload", "report"),
    [
        (b"\x01\x011", Report("1")),
        (b"\x01\x011\x03\x00", Report("1")),
        (b"\x01\x06 1.0\0x", Report(" 1.0")),  # a whole C buffer
        (b"\x01\x011\x01\x012", Report("2")),
        (b"\x01\x011\x04\x02\0\xff", Report("1")),
    ],
)
def test_unusual_but_clear_reports_are_decoded(payload: bytes, report: Report) -> None:
    """The decoder is tolerant where the meaning is clear."""
    assert decode_report(payload) == report


@pytest.mark.parametrize(
    ("payload", "detail", "at"),
    [
        (b"", "the report has no version, wanted field 1 with text", 0),
        (b"\x02\x01m", "the report has no version, wanted field 1 with text", 3),
        (b"\x01\x00", "the report has an empty version, wanted field 1 with text", 2),
        (b"\x01\x02\0\0", "the report has an empty version, wanted field 1 with text", 4),
        (b"\x01", "field 1 has no length", 0),
        (b"\x01\x011\x04", "field 4 has no length", 3),
        (b"\x01\x051.0", "field 1 says 5 octets, 3 are left", 0),
        (b"\x01\x011\x02\x0aabc", "field 2 says 10 octets, 3 are left", 3),
        (b"\x01\x03a\xc3b", "field 1 is not UTF-8: 0xc3 stands there", 3),
        (b"\x01\x011\x03\x01\xff", "field 3 is not UTF-8: 0xff stands there", 5),
    ],
)
def test_a_malformed_report_is_refused_with_its_place(payload: bytes, detail: str, at: int) -> None:
    """F29: the error has the actual and the expected value, and the place."""
    with pytest.raises(MalformedMessage) as caught:
        decode_report(payload)

    assert (caught.value.detail, caught.value.at) == (detail, at)


@pytest.mark.parametrize(
    ("payload", "detail"),
    [
        (b"", "field 1 is missing"),
        (RESPONSE[:-3], "field 4 is missing"),
        (RESPONSE + b"\x05\x00", "field 5, wanted 1 to 4"),
        (RESPONSE[:-3] + b"\x04\x02\x01\x01", "field 4 has 2 octets, wanted 1"),
        (b"\x02\x02\x16\x33" + RESPONSE, "field 2 has 2 octets, wanted 4"),
        (b"\x01\x02\xc3\xa6", "field 1 is not ASCII"),
    ],
)
def test_a_malformed_response_is_refused(payload: bytes, detail: str) -> None:
    """The simulator's devices detect responses that would break other devices."""
    with pytest.raises(MalformedMessage) as caught:
        decode_response(payload)

    assert caught.value.detail == detail
