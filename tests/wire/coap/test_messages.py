"""The CoAP codec: decoded messages, and rejections."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from span_events.errors import MalformedMessage
from span_events.wire.coap.blocks import Block, read_block, write_block
from span_events.wire.coap.messages import (
    MAX_OPTIONS,
    CoapMessage,
    Code,
    Option,
    Type,
    decode,
    encode,
    name_of_code,
    option_of,
    uint,
)
from span_events.wire.coap.requests import path_of, unsupported_option
from tests.wire.coap.strategies import messages

POST = "40021234"  # CON POST, message id 0x1234, no token

EXAMPLES = [
    # RFC 7252 appendix A, figure 16: GET /temperature, piggybacked.
    (
        bytes.fromhex("40017d34") + b"\xbbtemperature",
        CoapMessage(Type.CON, Code.GET, 0x7D34, options=((11, b"temperature"),)),
    ),
    (
        bytes.fromhex("60457d34ff") + b"22.3 C",
        CoapMessage(Type.ACK, Code.CONTENT, 0x7D34, payload=b"22.3 C"),
    ),
    # Figure 17: the same with a token.
    (
        bytes.fromhex("41017d3520") + b"\xbbtemperature",
        CoapMessage(Type.CON, Code.GET, 0x7D35, b"\x20", ((11, b"temperature"),)),
    ),
    # Figure 19: an empty acknowledgement, and the separate response.
    (bytes.fromhex("60007d37"), CoapMessage(Type.ACK, Code.EMPTY, 0x7D37)),
    (
        bytes.fromhex("4145ad7b53ff") + b"22.3 C",
        CoapMessage(Type.CON, Code.CONTENT, 0xAD7B, b"\x53", payload=b"22.3 C"),
    ),
    # Figure 21: a reset.
    (bytes.fromhex("70007d40"), CoapMessage(Type.RST, Code.EMPTY, 0x7D40)),
    # A ping (RFC 7252 §4.3).
    (bytes.fromhex("40000001"), CoapMessage(Type.CON, Code.EMPTY, 1)),
    # All three forms of a delta and of a length (RFC 7252 §3.1).
    (
        bytes.fromhex("40020001 c0 d100ff e200ff0102 ddf3f3") + bytes(256) + bytes.fromhex("ff00"),
        CoapMessage(
            Type.CON,
            Code.POST,
            1,
            options=((12, b""), (25, b"\xff"), (549, b"\x01\x02"), (805, bytes(256))),
            payload=b"\0",
        ),
    ),
]

UNFIT = [
    (1, 9, 1),
    (4, 0, None),
    (4, 9, None),
    (5, 1, 5),
    (6, 4, None),
    (8, 256, None),
    (11, 256, 11),
    (12, 3, None),
    (12, 4, None),
    (14, 5, None),
    (15, 256, 15),
    (17, 3, 17),
    (20, 256, None),
    (23, 4, 23),
    (27, 4, 27),
    (28, 5, None),
    (35, 0, 35),
    (39, 0, 39),
    (60, 5, None),
    (258, 2, None),
]
"""Number and length of options that break table 4 of RFC 7252, and the number that a 4.02 names."""

REFUSED = [
    ("", 0, "0 octets, a CoAP header has 4"),
    ("400212", 3, "3 octets, a CoAP header has 4"),
    ("00021234", 0, "version is 0, wanted 1"),
    ("80021234", 0, "version is 2, wanted 1"),
    ("c0021234", 0, "version is 3, wanted 1"),
    ("49021234" + "00" * 9, 0, "token length is 9, wanted at most 8"),
    ("4f021234" + "00" * 15, 0, "token length is 15, wanted at most 8"),
    ("44021234aabb", 4, "token of 4 octets, 2 are left"),
    (POST + "f1aa", 4, "option delta nibble is 15"),
    (POST + "1faa", 4, "option length nibble is 15"),
    (POST + "d0", 5, "option delta wants 1 more octets, 0 are left"),
    (POST + "e000", 5, "option delta wants 2 more octets, 1 are left"),
    (POST + "bd", 5, "option length wants 1 more octets, 0 are left"),
    (POST + "be00", 5, "option length wants 2 more octets, 1 are left"),
    (POST + "b361", 4, "option 11 has 3 octets, 1 are left"),
    (POST + "b16142", 6, "option 15 has 2 octets, 0 are left"),
    (POST + "ff", 4, "payload marker without payload"),
    (POST + "b161ff", 6, "payload marker without payload"),
    (POST + "b261ff", 6, "option 11 is not UTF-8: 0xff cannot stand there"),
    (POST + "d102c3", 6, "option 15 is not UTF-8: 0xc3 cannot stand there"),
    (POST + "e0ffff", 4, "option number 65804, wanted at most 65535"),
    (POST + "b0" + "00" * MAX_OPTIONS, 4 + MAX_OPTIONS, "over 100 options"),
    (POST + "c3aaaaaa" + "03aaaaaa" * MAX_OPTIONS, 4 + 4 * MAX_OPTIONS, "over 100 options"),
    ("4100123400", 4, "empty message (0.00) of 5 octets, wanted 4"),
    ("40001234b161", 4, "empty message (0.00) of 6 octets, wanted 4"),
    ("40001234ff61", 4, "empty message (0.00) of 6 octets, wanted 4"),
    ("50001234", 1, "non-confirmable message with code 0.00"),
    ("60021234", 1, "an acknowledgement with request code 0.02, wanted 0.00"),
    ("70011234", 1, "a reset with request code 0.01, wanted 0.00"),
    ("70451234", 1, "a reset with code 2.05, wanted 0.00"),
    ("40201234", 1, "code 1.00 is in a reserved class"),
    ("40c11234", 1, "code 6.01 is in a reserved class"),
    ("40e11234", 1, "code 7.01 is in a reserved class"),
]


@pytest.mark.parametrize(("octets", "message"), EXAMPLES)
def test_the_examples_of_the_rfc_are_read_and_written(octets: bytes, message: CoapMessage) -> None:
    """RFC 7252, appendix A and §3.1."""
    assert decode(octets) == message
    assert encode(message) == octets


@pytest.mark.parametrize(("octets", "at", "detail"), REFUSED)
def test_malformed_datagrams_are_rejected_with_the_octet(octets: str, at: int, detail: str) -> None:
    """The detail has the seen and the wanted value, ``at`` the octet."""
    with pytest.raises(MalformedMessage) as refusal:
        decode(bytes.fromhex(octets))

    assert refusal.value.detail.startswith(detail)
    assert refusal.value.at == at


@pytest.mark.parametrize("value", [b"", b"\xff\xfe", b"\x16\x33\x00\x00\x00", bytes(300)])
@pytest.mark.parametrize("number", [Option.URI_HOST, Option.URI_PORT])
def test_host_and_port_of_the_uri_may_have_any_octets(number: Option, value: bytes) -> None:
    """A sample in the field sends stray octets as host, and a port of 5 octets."""
    message = decode(encode(CoapMessage(Type.CON, Code.POST, 1, options=((number, value),))))

    assert (*message.options, *message.unfit) == ((number, value),)
    assert unsupported_option(message) is None


@pytest.mark.parametrize(("number", "length", "refused"), UNFIT)
def test_an_option_of_a_wrong_length_counts_as_unrecognised(number: int, length: int, refused: int | None) -> None:
    """RFC 7252 §5.4.3: elective options are ignored, critical ones lead to a 4.02."""
    value = b"\xff" * length
    message = decode(encode(CoapMessage(Type.CON, Code.POST, 1, options=((number, value),), payload=b"hi")))

    assert (message.options, message.unfit, message.payload) == ((), ((number, value),), b"hi")
    assert unsupported_option(message) == refused


@pytest.mark.parametrize(
    ("segments", "path"),
    [
        ([], "/"),
        ([b"mydata"], "/mydata"),
        ([b"data", b"on", b"server"], "/data/on/server"),
        (["måling".encode()], "/måling"),
        ([b""], "/"),
        ([b"data\0\xff\xfe\x80"], "/data"),
        ([b"a", b"\xffdata\0\x80", b"never shown"], "/a/\ufffddata"),
        ([bytes(134)], "/"),
    ],
)
def test_the_text_of_a_path_ends_at_the_first_nul(segments: list[bytes], path: str) -> None:
    """A path with a NUL may have any octets; another sample in the field sends 134 raw octets."""
    request = CoapMessage(Type.CON, Code.POST, 1, options=tuple((11, segment) for segment in segments))

    assert path_of(decode(encode(request))) == path


@pytest.mark.parametrize(
    ("options", "refused"),
    [
        ((), None),
        (((11, b"x"), (15, b"a=1"), (15, b"b=2"), (17, b"")), None),
        (((6, b""), (12, b""), (60, b"\x10"), (258, b"\x02"), (65000, b"x")), None),  # elective
        (((23, b""), (27, b"")), None),
        (((1, b""),), 1),
        (((5, b""),), 5),
        (((9, b""),), 9),
        (((11, b"x"), (19, b"")), 19),
        (((35, b"coap://a"),), 35),
        (((39, b"coap"),), 39),
        (((65001, b""),), 65001),
        (((17, b""), (17, b"\x28")), 17),
        (((27, b""), (27, b"")), 27),
    ],
)
def test_the_first_unsupported_critical_option_is_returned(
    options: tuple[tuple[int, bytes], ...], refused: int | None
) -> None:
    """Odd numbers are critical; the second occurrence of an option that may occur once counts as unknown."""
    assert unsupported_option(CoapMessage(Type.CON, Code.POST, 1, options=options)) == refused


@pytest.mark.parametrize(
    ("octets", "block"),
    [
        ("", Block(0, False, 0)),
        ("06", Block(0, False, 6)),
        ("1e", Block(1, True, 6)),
        ("fffff2", Block(1048575, False, 2)),
    ],
)
def test_block_options_are_read_and_written(octets: str, block: Block) -> None:
    """Number, more and exponent (RFC 7959 §2.2)."""
    assert read_block(bytes.fromhex(octets)) == block
    assert write_block(block) == bytes.fromhex(octets)


def test_numbers_in_options_have_no_leading_zeros() -> None:
    """RFC 7252 §3.2."""
    assert [uint(0), uint(255), uint(256)] == [b"", b"\xff", b"\x01\x00"]


def test_the_first_option_with_a_number_is_returned() -> None:
    """None means that the option is absent."""
    request = CoapMessage(Type.CON, Code.POST, 1, options=((11, b"a"), (11, b"b")))

    assert option_of(request, 11) == b"a"
    assert option_of(request, 12) is None


def test_codes_are_written_as_class_and_detail() -> None:
    """Class, point, two digits of detail."""
    assert [name_of_code(code) for code in (0, 2, 0x45, 0x82, 0x9D)] == ["0.00", "0.02", "2.05", "4.02", "4.29"]


@given(messages())
def test_decode_inverts_encode(message: CoapMessage) -> None:
    """For every well-formed message."""
    assert decode(encode(message)) == message


@given(messages(), st.data())
def test_a_truncated_message_is_decoded_or_rejected_with_an_octet_inside(
    message: CoapMessage, data: st.DataObject
) -> None:
    """The octet of a rejection is never beyond the end."""
    octets = encode(message)
    cut = octets[: data.draw(st.integers(0, len(octets)))]
    place = 0
    try:
        decode(cut)
    except MalformedMessage as refusal:
        place = refusal.at

    assert 0 <= place <= len(cut)
