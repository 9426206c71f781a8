"""What 3GPP attributes tell, and what becomes of those that cannot be read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from span_events.wire.radius.attributes_3gpp import (
    RATS,
    Equipment,
    Location,
    Mobile,
    Note,
    Plmn,
    read,
    read_equipment,
    read_location,
    read_plmn,
)
from tests.wire.radius.building import attribute, of_3gpp

NORWAY = Plmn("242", "01")
EQUIPMENT = Equipment("356938035643809", "01")


def of(*inner: tuple[int, bytes]) -> Mobile:
    """Decode 3GPP attributes in one Vendor-Specific attribute."""
    return read([of_3gpp(*inner)[2:]])


def test_all_attributes_of_a_request_are_decoded() -> None:
    """As a PGW sends them, each in its own Vendor-Specific attribute."""
    inner = [
        (1, b"242016000000001"),
        (2, bytes(4)),
        (18, b"24201"),
        (20, b"3569380356438001"),
        (21, b"\x06"),
        (22, bytes.fromhex("8242f210123442f21000a1b2c3")),
        (23, bytes.fromhex("4001")),
    ]
    expected = Mobile(
        imsi="242016000000001",
        equipment=EQUIPMENT,
        network=NORWAY,
        rat="E-UTRAN",
        location=Location(NORWAY, 4660, 10597059),
    )

    assert read([of_3gpp(each)[2:] for each in inner]) == expected
    assert of(*inner) == expected
    assert read([]) == Mobile()


def test_other_vendors_and_unknown_types_are_ignored() -> None:
    """They are not noted."""
    assert read([bytes.fromhex("00000137") + attribute(1, b"242016000000001"), b"", b"\0"]) == Mobile()
    assert of((110, b"\0\1\2"), (255, b"")) == Mobile()


def test_the_first_of_several_equal_attributes_counts() -> None:
    assert of((1, b"242016000000001"), (1, b"242016000000002")).imsi == "242016000000001"


@pytest.mark.parametrize("tail", ["01", "0100", "0101", "0105aabb", "6e036100"])
def test_wrong_lengths_are_noted(tail: str) -> None:
    """The attributes before them count."""
    found = read([of_3gpp((21, b"\x08"))[2:] + bytes.fromhex(tail)])

    assert found.rat == "NB-IoT"
    assert found.notes == (Note.VENDOR_LENGTH,)
    assert read([bytes.fromhex("000028af")]).notes == (Note.VENDOR_LENGTH,)


@pytest.mark.parametrize(
    ("value", "imsi"),
    [
        (b"242016000000001", "242016000000001"),
        (b"242016000000001\0", "242016000000001"),
        (b"242016", "242016"),
        (b"24201", None),
        (b"2420160000000012", None),
        (b"24201600000002\x7f", None),
        (b"", None),
        (b"\0" * 15, None),
        ("٢٤٢٠١٦".encode(), None),
        (b"+24201600000001", None),
    ],
)
def test_an_imsi_is_6_to_15_digits(value: bytes, imsi: str | None) -> None:
    """After a trailing NUL; other values are ignored and noted."""
    found = of((1, value))

    assert found.imsi == imsi
    assert found.notes == (() if imsi else (Note.IMSI,))


@pytest.mark.parametrize(
    ("value", "equipment"),
    [
        (b"3569380356438001", EQUIPMENT),
        (b"3569380356438078", Equipment("356938035643809", "78")),
        (b"35693803564380", Equipment("356938035643809", "")),
        (b"356938035643809", Equipment("356938035643809", "")),
        (b"356938035643800", Equipment("356938035643809", "")),
        (b"356938035643804", Equipment("356938035643809", "")),
        (b"3569380356438001\0", EQUIPMENT),
        (bytes.fromhex("5396833065340810"), EQUIPMENT),
        (bytes.fromhex("53968330653408f9"), Equipment("356938035643809", "")),
        (bytes.fromhex("539683306534089a"), None),
        (b"35693803", None),
        (b"3569380356438", None),
        (b"35693803564380012", None),
        (b"356938035643800x", None),
        (b"", None),
        (b"0000000000000000", None),
        (b"000000000000000", None),
        (bytes(8), None),
    ],
)
def test_an_imei_in_all_its_forms_is_the_same_15_digits(value: bytes, equipment: Equipment | None) -> None:
    """IMEISV, IMEI with any check digit or none, and swapped BCD."""
    assert read_equipment(value) == equipment


@pytest.mark.parametrize(
    ("value", "notes"),
    [
        (b"3569380356438001", ()),
        (b"356938035643809", ()),
        (b"356938035643800", ()),
        (b"356938035643804", (Note.CHECK_DIGIT,)),
        (b"35693803564380", ()),
        (b"none", (Note.IMEI,)),
        (b"0000000000000000", (Note.IMEI,)),
    ],
)
def test_a_wrong_check_digit_is_only_noted(value: bytes, notes: tuple[Note, ...]) -> None:
    """Signalling sends 0 or nothing there; the digits before it count."""
    assert of((20, value)).notes == notes


@pytest.mark.parametrize(
    ("octets", "network"),
    [
        ("42f210", NORWAY),
        ("130014", Plmn("310", "410")),
        ("00f110", Plmn("001", "01")),
        ("42f2", None),
        ("42f21000", None),
        ("ffffff", None),
        ("4af210", None),
        ("42a210", None),
        ("42f2f0", None),
    ],
)
def test_a_network_has_two_or_three_digits_after_the_country(octets: str, network: Plmn | None) -> None:
    """A leading zero stays, as 01 and 001 are different networks."""
    assert read_plmn(bytes.fromhex(octets)) == network


@pytest.mark.parametrize(
    ("octets", "location"),
    [
        ("0042f210123400a1", Location(NORWAY, 4660, 161)),
        ("0142f2101234abcd", Location(NORWAY, 4660, 43981)),
        ("0242f210123405ff", Location(NORWAY, 4660)),
        ("8042f2101234", Location(NORWAY, 4660)),
        ("8142f21000a1b2c3", Location(NORWAY, None, 10597059)),
        ("8142f210f0a1b2c3", Location(NORWAY, None, 10597059)),
        ("8242f210123442f21000a1b2c3", Location(NORWAY, 4660, 10597059)),
        ("8742f2100123456780", Location(NORWAY, None, 0x12345678)),
        ("8742f2100123456789", Location(NORWAY, None, 0x12345678)),
        ("8842f210abcdef", Location(NORWAY, 11259375)),
        ("8942f210abcdef42f2100123456780", Location(NORWAY, 11259375, 0x12345678)),
        ("8342f210001234", Location(NORWAY)),
        ("8a42f21000123456", Location(NORWAY)),
        ("0042f2100000" + "0000", Location(NORWAY, 0, 0)),
    ],
)
def test_every_type_of_location_is_decoded(octets: str, location: Location) -> None:
    """Wireshark decodes the vectors alike; of base stations only the network is read."""
    assert read_location(bytes.fromhex(octets)) == location


@pytest.mark.parametrize(
    "octets",
    [
        "",
        "82",
        "8242f2",
        "8242f210123442f21000a1b2",
        "8242f210123442f21000a1b2c300",
        "1842f210123442f21000a1b2c3",  # as GTPv2 has it: 0x18 says TAI and ECGI
        "0342f210123400a1",
        "00fff210123400a1",
        "83",
    ],
)
def test_a_malformed_location_is_noted(octets: str) -> None:
    """All other attributes are decoded."""
    found = of((22, bytes.fromhex(octets)), (1, b"242016000000001"))

    assert (found.location, found.imsi) == (None, "242016000000001")
    assert found.notes == (Note.LOCATION,)


@pytest.mark.parametrize(
    ("octets", "rat"),
    [("06", "E-UTRAN"), ("08", "NB-IoT"), ("09", "LTE-M"), ("33", "NR"), ("00000006", "E-UTRAN"), ("35", "53")],
)
def test_a_radio_access_technology_has_a_name_or_its_number(octets: str, rat: str) -> None:
    """One octet, or four as in some dictionaries."""
    assert of((21, bytes.fromhex(octets))).rat == rat
    assert of((21, bytes.fromhex(octets + "00"))).notes == (Note.RAT,)
    assert len(set(RATS.values())) == len(RATS)


@pytest.mark.parametrize(
    ("value", "network", "notes"),
    [
        (b"310410", Plmn("310", "410"), ()),
        (b"23420\0", Plmn("234", "20"), ()),
        (b"2420", NORWAY, (Note.NETWORK,)),
        (b"242x1", NORWAY, (Note.NETWORK,)),
    ],
)
def test_the_serving_network_takes_precedence_over_the_network_of_the_cell(
    value: bytes, network: Plmn, notes: tuple[Note, ...]
) -> None:
    """The latter is used where the former is missing or malformed."""
    cell = (22, bytes.fromhex("8142f21000a1b2c3"))

    assert (of(cell, (18, value)).network, of(cell, (18, value)).notes) == (network, notes)
    assert of(cell).network == NORWAY


@given(st.lists(st.binary(max_size=60).map(lambda rest: bytes.fromhex("000028af") + rest) | st.binary(max_size=8)))
def test_garbage_is_noted_and_never_rejected(values: list[bytes]) -> None:
    """For any octets: a value, and notes from a closed list."""
    found = read(values)

    assert found.imsi is None or found.imsi.isdecimal()
    assert set(found.notes) <= set(Note)
