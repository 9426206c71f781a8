"""DTLS records: recognition, decoding, packing into datagrams."""

from __future__ import annotations

import pytest

from span_events.wire.dtls.records import Alert, Cut, alert, cut_of, is_dtls, pack, records

DATA = bytes.fromhex("17fefd0001000000000001") + b"\x00\x03abc"
HELLO_OF_1_0 = bytes.fromhex("16feff0000000000000000") + b"\x00\x02\x01\x00"


@pytest.mark.parametrize(
    "datagram",
    [
        DATA,
        HELLO_OF_1_0,
        DATA + DATA,
        bytes.fromhex("16010000000000000000000000"),  # a hello of OpenSSL 0.9.8, empty
        bytes.fromhex("14fefd00000000000000010001") + b"\x01",
        bytes.fromhex("19fefd000100000000000111223344"),  # Connection ID: its length is not known here
    ],
)
def test_whole_records_are_dtls(datagram: bytes) -> None:
    """Content type 20 to 25, a known version, and lengths that end with the datagram."""
    assert is_dtls(datagram)


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"hello",
        b"\x16" * 40,
        DATA[:-1],  # cut short
        DATA + b"x",  # an octet follows
        DATA + DATA[:12],
        b"\x13" + DATA[1:],  # no content type
        b"\x1a" + DATA[1:],
        DATA[:1] + b"\x03\x03" + DATA[3:],  # TLS
        DATA[:1] + b"\x01\x00" + DATA[3:],  # that version is for hellos only
        DATA[:12],
    ],
)
def test_other_datagrams_are_not_dtls(datagram: bytes) -> None:
    """Port 1234 accepts such a datagram as a plain message."""
    assert not is_dtls(datagram)


@pytest.mark.parametrize(
    ("datagram", "detail", "at"),
    [
        (DATA[:-1], "a DTLS record says 3 octets, 2 came: the datagram was cut", 0),
        (DATA + DATA[:-3], "a DTLS record says 3 octets, 0 came: the datagram was cut", len(DATA)),
        (DATA + DATA[:12], "the header of a DTLS record has 13 octets, 12 came: the datagram was cut", len(DATA)),
        (DATA + b"x" * 13, "octets that are no DTLS record follow a DTLS record", len(DATA)),
    ],
)
def test_the_place_of_a_cut_is_found(datagram: bytes, detail: str, at: int) -> None:
    """The detail has the length that the record says, and what came of it."""
    assert cut_of(datagram) == Cut(detail, at)


@pytest.mark.parametrize("datagram", [b"", b"hello", b"\x17" * 40, DATA[:12], HELLO_OF_1_0[:-1]])
def test_octets_that_may_be_a_message_have_no_cut(datagram: bytes) -> None:
    """A record needs a content type, a version, and an epoch of encrypted records."""
    assert cut_of(datagram) is None


def test_records_are_decoded() -> None:
    """Content type, version, epoch and sequence number of each record."""
    (first, second) = records(DATA + HELLO_OF_1_0)

    assert (first.kind, first.version, first.epoch, first.sequence) == (23, 0xFEFD, 1, 1)
    assert DATA[first.at : first.at + first.length] == b"abc"
    assert (second.kind, second.epoch, second.length) == (22, 0, 2)


@pytest.mark.parametrize(
    ("count", "mtu", "sizes"),
    [(1, 16, [16]), (3, 16, [16, 16, 16]), (3, 32, [32, 16]), (3, 47, [32, 16]), (3, 48, [48]), (2, 10, [16, 16])],
)
def test_records_are_packed_into_datagrams(count: int, mtu: int, sizes: list[int]) -> None:
    """Each datagram has as many records as fit; a record above the MTU has its own datagram."""
    packed = pack(DATA * count, mtu)

    assert [len(each) for each in packed] == sizes
    assert b"".join(packed) == DATA * count


def test_nothing_to_send_makes_no_datagram() -> None:
    """An empty sequence of records gives no datagram."""
    assert pack(b"") == []


def test_an_alert_is_a_record() -> None:
    """The alert is fatal, in the clear, and has the given sequence number (RFC 5246 §7.2)."""
    written = alert(Alert.PROTOCOL_VERSION, sequence=5)
    (record,) = records(written)

    assert is_dtls(written)
    assert (record.kind, record.epoch, record.sequence) == (21, 0, 5)
    assert written[record.at :] == bytes((2, 70))
