"""The RADIUS codec, compared with octets written by hand and with pyrad as a client."""

from __future__ import annotations

import hashlib
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyrad.packet import AcctPacket, AuthPacket, Packet

from span_events.errors import MalformedMessage
from span_events.wire.radius.attributes_3gpp import Mobile, read
from span_events.wire.radius.packets import (
    MAX_ATTRIBUTES,
    MAX_PROXY_STATE,
    Attribute,
    Code,
    Verdict,
    accept,
    accounting_response,
    decode,
    reject,
    settings_of,
    status_answer,
    verify,
)
from tests.wire.radius.building import SECRET, access_request, accounting_request, attribute, attributes_of, of_3gpp

HEAD = "01010014" + "00" * 16
REFUSED = [
    ("", 0, "0 octets, a RADIUS header has 20"),
    (HEAD[:-2], 19, "19 octets, a RADIUS header has 20"),
    ("01010013" + "00" * 16, 2, "Length is 19, wanted 20 to 4096"),
    ("01011001" + "00" * 5000, 2, "Length is 4097, wanted 20 to 4096"),
    ("01010028" + "00" * 27, 2, "Length is 40, the datagram has 31 octets"),
    ("01010015" + "00" * 16 + "01", 20, "an attribute of 1 octet, wanted at least 2"),
    ("01010016" + "00" * 16 + "0100", 20, "attribute 1 has length 0, wanted at least 2"),
    ("01010016" + "00" * 16 + "0101", 20, "attribute 1 has length 1, wanted at least 2"),
    ("01010018" + "00" * 16 + "02020105", 22, "attribute 1 has length 5, 2 octets are left"),
    ("01010018" + "00" * 16 + "0105616263", 20, "attribute 1 has length 5, 4 octets are left"),  # into the padding
    ("01010016" + "00" * 16 + "5002", 20, "Message-Authenticator number 1 has 0 octets, wanted one of 16"),
    ("01010025" + "00" * 16 + "5011" + "00" * 15, 20, "Message-Authenticator number 1 has 15 octets, wanted one"),
    ("01010027" + "00" * 16 + "5013" + "00" * 17, 20, "Message-Authenticator number 1 has 17 octets, wanted one"),
    ("010101a6" + "00" * 16 + "0102" * 201, 422, "201 attributes, wanted at most 200"),
]


@pytest.mark.parametrize(("octets", "at", "detail"), REFUSED)
def test_a_malformed_packet_is_rejected_with_the_position(octets: str, at: int, detail: str) -> None:
    """Values beyond the end, 8,192 octets, signatures of any length and number: pyrad accepts them all."""
    with pytest.raises(MalformedMessage) as refusal:
        decode(bytes.fromhex(octets), SECRET)

    assert refusal.value.detail.startswith(detail)
    assert refusal.value.at == at


def test_a_second_signature_is_rejected() -> None:
    """Also when the first one is right."""
    with pytest.raises(MalformedMessage, match="Message-Authenticator number 2 has 16 octets, wanted one of 16"):
        decode(access_request(attribute(80, bytes(16))), SECRET)


def test_more_proxy_state_than_fits_into_an_answer_is_rejected() -> None:
    """The answer returns it and needs space for its own attributes."""
    most = attribute(33, bytes(253)) * (MAX_PROXY_STATE // 255) + attribute(33, bytes(MAX_PROXY_STATE % 255 - 2))
    longest = accept(
        decode(access_request(most), SECRET),
        address="10.0.0.1",
        prefix="2001:db8::/64",
        class_=bytes(253),
        settings=settings_of(dns=[ip_address(f"2001:db8::{n}") for n in range(15)], interim_interval=600),
    )
    with pytest.raises(MalformedMessage, match=f"wanted at most {MAX_PROXY_STATE}"):
        decode(access_request(most + attribute(33, b"")), SECRET)

    assert len(longest) <= 4096


def test_padding_is_ignored() -> None:
    """Octets beyond Length count neither for decoding nor for the signature (RFC 2865 §3)."""
    request = decode(access_request(attribute(1, b"me")) + b"\x50\x12 padding", SECRET)

    assert request.text(1) == "me"
    assert verify(request) is Verdict.PROVEN


@pytest.mark.parametrize(
    ("octets", "secret", "verdict"),
    [
        (access_request(), SECRET, Verdict.PROVEN),
        (access_request(), b"other", Verdict.BAD_MESSAGE_AUTHENTICATOR),
        (access_request(signed=False), SECRET, Verdict.UNPROVEN),
        (access_request(signed=False), b"other", Verdict.UNPROVEN),
        (access_request(code=12), SECRET, Verdict.PROVEN),
        (access_request(code=12), b"other", Verdict.BAD_MESSAGE_AUTHENTICATOR),
        (access_request(code=12, signed=False), SECRET, Verdict.UNPROVEN),
        (accounting_request(), SECRET, Verdict.PROVEN),
        (accounting_request(), b"other", Verdict.BAD_AUTHENTICATOR),
        (accounting_request(signed=True), SECRET, Verdict.PROVEN),
        (accounting_request(signed=True), b"other", Verdict.BAD_AUTHENTICATOR),
        (accounting_request(attribute(80, bytes(16))), SECRET, Verdict.BAD_MESSAGE_AUTHENTICATOR),
    ],
)
def test_only_the_secret_proves_a_request(octets: bytes, secret: bytes, verdict: Verdict) -> None:
    """Accounting by its authenticator, others by Message-Authenticator; if present, it must be right."""
    assert verify(decode(octets, secret)) is verdict


@given(st.sampled_from([access_request, accounting_request]), st.binary(max_size=40), st.data())
def test_a_changed_octet_is_always_detected(build: Any, name: bytes, data: st.DataObject) -> None:
    """In code, identifier, length, authenticator or attributes."""
    octets = bytearray(build(attribute(1, name) + of_3gpp((1, b"242016000000001"))))
    at = data.draw(st.integers(0, len(octets) - 1))
    octets[at] = data.draw(st.integers(0, 255).filter(lambda octet: octet != octets[at]))
    try:
        verdict = verify(decode(bytes(octets), SECRET))
    except MalformedMessage:
        return

    assert verdict is not Verdict.PROVEN


@given(st.lists(st.tuples(st.integers(1, 255).filter(lambda number: number not in {33, 80}), st.binary(max_size=20))))
def test_attributes_are_decoded_as_encoded(attributes: list[tuple[int, bytes]]) -> None:
    """By number; several with one number in order, the first is the value."""
    octets = access_request(b"".join(attribute(*each) for each in attributes[:MAX_ATTRIBUTES]))
    request = decode(octets, SECRET)

    for number in range(1, 256):
        values = [value for each, value in attributes if each == number]
        if number != Attribute.MESSAGE_AUTHENTICATOR:
            assert list(request.values(number)) == values
            assert request.value(number) == (values[0] if values else None)


@pytest.mark.parametrize(
    ("value", "text"),
    [(b"mda.test", "mda.test"), ("å".encode(), "å"), (b"x\0", "x"), (b"", ""), (b"\xff", "ff"), (b"a\nb", "610a62")],
)
def test_invalid_text_is_shown_in_hexadecimal(value: bytes, text: str) -> None:
    """Nothing unprintable is passed on, and different octets stay different."""
    assert decode(access_request(attribute(30, value)), SECRET).text(30) == text
    assert decode(access_request(), SECRET).text(30) == ""


@pytest.mark.parametrize(("value", "number"), [("0000003c", 60), ("ffffffff", 4294967295), ("3c", None), ("", None)])
def test_a_number_has_four_octets(value: str, number: int | None) -> None:
    assert decode(access_request(attribute(41, bytes.fromhex(value))), SECRET).number(41) == number
    assert decode(access_request(), SECRET).number(41) is None


@pytest.mark.parametrize(
    ("value", "address"),
    [("c000020a", "192.0.2.10"), ("20010db8" + "00" * 11 + "01", "2001:db8::1"), ("c00002", ""), ("", "")],
)
def test_an_address_is_written_in_its_shortest_form(value: str, address: str) -> None:
    assert decode(access_request(attribute(4, bytes.fromhex(value))), SECRET).address(4) == address
    assert decode(access_request(), SECRET).address(4) == ""


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("0a40000b", "10.64.0.11"),
        ("fffffffe", ""),
        ("ffffffff", ""),
        ("00000000", ""),
        ("0a4000", ""),
        ("0a40000b00", ""),
    ],
)
def test_an_address_left_to_user_or_nas_is_ignored(value: str, address: str) -> None:
    """RFC 2865 §5.8: 255.255.255.255 leaves it to the user, 255.255.255.254 to the NAS. 0.0.0.0 is invalid."""
    assert decode(access_request(attribute(8, bytes.fromhex(value))), SECRET).framed_address() == address
    assert decode(access_request(), SECRET).framed_address() == ""


@pytest.mark.parametrize(
    ("value", "prefix"),
    [
        ("004020010db800010002", "2001:db8:1:2::/64"),
        ("004020010db800010002" + "00" * 8, "2001:db8:1:2::/64"),
        ("004020010db800010002" + "ff" * 8, "2001:db8:1:2::/64"),
        ("002020010db8", "2001:db8::/32"),
        ("0000", "::/0"),
        ("004020010db8", ""),
        ("0081" + "00" * 16, ""),
        ("0040" + "00" * 17, ""),
        ("00", ""),
    ],
)
def test_a_prefix_may_omit_trailing_octets(value: str, prefix: str) -> None:
    """RFC 3162 §2.3; bits beyond the length do not count."""
    assert decode(access_request(attribute(97, bytes.fromhex(value))), SECRET).framed_prefix() == prefix
    assert decode(access_request(), SECRET).framed_prefix() == ""


ALL_KINDS = pytest.mark.parametrize(
    ("octets", "answer", "code"),
    [
        (access_request(), lambda r: accept(r, address="10.0.0.1", prefix="", class_=b"0x31"), Code.ACCESS_ACCEPT),
        (access_request(), lambda r: reject(r, "No."), Code.ACCESS_REJECT),
        (access_request(code=12), lambda r: status_answer(r, accounting=False), Code.ACCESS_ACCEPT),
        (access_request(code=12), lambda r: status_answer(r, accounting=True), Code.ACCOUNTING_RESPONSE),
        (accounting_request(), accounting_response, Code.ACCOUNTING_RESPONSE),
    ],
)


@ALL_KINDS
def test_an_answer_is_signed_for_its_request(octets: bytes, answer: Any, code: Code) -> None:
    """The client of pyrad accepts it, and only with the right secret."""
    written = answer(decode(octets, SECRET))
    kind = AcctPacket if octets[0] == Code.ACCOUNTING_REQUEST else AuthPacket
    with_secret = kind(packet=octets, secret=SECRET)
    with_other = kind(packet=octets, secret=b"other")

    assert written[:2] == bytes((code, octets[1]))
    assert with_secret.VerifyReply(Packet(packet=written, secret=SECRET), enforce_ma=True)
    assert not with_other.VerifyReply(Packet(packet=written, secret=b"other"))


@ALL_KINDS
def test_an_answer_returns_proxy_state(octets: bytes, answer: Any, code: Code) -> None:
    """Unchanged, in order, after the signature (RFC 2865 §5.33, CVE-2024-3596)."""
    states = [b"\x00first", b"", b"\xffsecond"]
    body = b"".join(attribute(33, each) for each in states)
    request = access_request(body, code=octets[0]) if octets[0] != 4 else accounting_request(body)
    found = attributes_of(answer(decode(request, SECRET)))

    assert [value for number, value in found if number == 33] == states
    assert [number for number, _ in found].count(80) == (octets[0] != 4)
    assert octets[0] == 4 or found[0][0] == 80
    assert code != Code.ACCOUNTING_RESPONSE or len(found) == len(states) + (octets[0] == 12)


def accepted(address: str = "", prefix: str = "", class_: bytes = b"", **settings: Any) -> list[tuple[int, bytes]]:
    """Return the attributes of an Access-Accept after its signature."""
    request = decode(access_request(), SECRET)
    extra = settings_of(**settings) if settings else ()
    return attributes_of(accept(request, address=address, prefix=prefix, class_=class_, settings=extra))[1:]


def test_an_accept_has_the_addresses_of_the_device() -> None:
    """An address with netmask, a prefix without trailing octets; with neither, the NAS chooses."""
    v4 = [(8, bytes((10, 64, 0, 11))), (9, bytes((255,) * 4))]
    v6 = [(97, bytes.fromhex("004020010db800010002"))]

    assert accepted("10.64.0.11") == v4
    assert accepted(prefix="2001:db8:1:2::/64") == v6
    assert accepted("10.64.0.11", "2001:db8:1:2::/64", b"123") == [*v4, *v6, (25, b"123")]
    assert accepted() == [(8, bytes.fromhex("fffffffe"))]


def test_settings_are_encoded_once_for_all_answers() -> None:
    """Two IPv4 DNS servers in Microsoft's attributes, those of IPv6 in one of 3GPP, and the interval."""
    dns = [ip_address(each) for each in ("10.0.0.1", "2001:db8::1", "10.0.0.2", "10.0.0.3", "2001:db8::2")]

    assert accepted("10.64.0.11", dns=dns, interim_interval=600)[2:] == [
        (26, bytes.fromhex("00000137" + "1c06" + "0a000001")),
        (26, bytes.fromhex("00000137" + "1d06" + "0a000002")),
        (26, bytes.fromhex("000028af" + "1122" + "20010db8" + "00" * 11 + "01" + "20010db8" + "00" * 11 + "02")),
        (85, bytes.fromhex("00000258")),
    ]
    assert accepted("10.64.0.11", dns=[], interim_interval=0)[2:] == []


def test_a_request_shows_neither_password_nor_secret() -> None:
    """Its representation, which a log line may hold."""
    hidden = hashlib.md5(b"hidden").digest()
    shown = repr(decode(access_request(attribute(2, hidden)), SECRET))

    assert repr(hidden)[2:-1] not in shown
    assert SECRET.decode() not in shown


def test_requests_of_pyrad_are_decoded() -> None:
    """With several 3GPP attributes in one Vendor-Specific one, which radclient never sends."""
    packet = AuthPacket(secret=SECRET, message_authenticator=True)
    packet[26] = [bytes.fromhex("000028af") + attribute(1, b"242016000000001") + attribute(21, b"\x08")]
    request = decode(packet.RequestPacket(), SECRET)

    assert verify(request) is Verdict.PROVEN
    assert read(request.values(26)) == Mobile(imsi="242016000000001", rat="NB-IoT")
