"""What a request tells of a subscriber."""

from __future__ import annotations

import pytest

from span_events.fleet.cellular.report import MobileReport
from span_events.listeners.radius.report import report_of
from span_events.wire.radius.attributes_3gpp import read
from span_events.wire.radius.packets import decode
from tests.wire.radius.building import SECRET, accounting_request, attribute, of_3gpp

NOW_MS = 1_714_076_616_000


def of(*attributes: bytes) -> MobileReport:
    """Return the report of a request with these attributes."""
    request = decode(accounting_request(b"".join(attributes)), SECRET)
    return report_of(request, read(request.values(26)), nas="pgw1", now_ms=NOW_MS)


def number(kind: int, value: int) -> bytes:
    """An attribute of four octets."""
    return attribute(kind, value.to_bytes(4, "big"))


def test_all_attributes_reach_the_report() -> None:
    """Each in its field."""
    report = of(
        attribute(4, bytes((192, 0, 2, 10))),
        attribute(8, bytes((10, 64, 0, 11))),
        attribute(25, b"\0class"),
        attribute(30, b"mda.test"),
        attribute(31, b"4790000001"),
        attribute(44, b"C0000201A0000001"),
        attribute(97, bytes.fromhex("004020010db800010002")),
        number(46, 120),
        number(49, 1),
        number(55, 1_795_168_800),
        of_3gpp((1, b"242016000000001"), (18, b"310410"), (20, b"3569380356438001"), (21, b"\x08")),
        of_3gpp((22, bytes.fromhex("8242f210123442f21000a1b2c3"))),
    )

    assert report == MobileReport(
        nas="pgw1",
        nas_address="192.0.2.10",
        session="C0000201A0000001",
        imsi="242016000000001",
        imei="356938035643809",
        apn="mda.test",
        address="10.64.0.11",
        prefix="2001:db8:1:2::/64",
        cell_id="10597059",
        rat="NB-IoT",
        mcc=310,
        mnc="410",
        network="AT&T",
        country="United States",
        country_code="US",
        time_ms=1_795_168_800_000,
        terminate_cause="User-Request",
        session_seconds=120,
    )
    assert of() == MobileReport(nas="pgw1", time_ms=NOW_MS)


@pytest.mark.parametrize("apn", ["iot.example", "IOT.Example", "iot.example.mnc001.mcc242.gprs"])
def test_spellings_of_one_apn_are_equal(apn: str) -> None:
    """Otherwise a device would have several attachments; case and operator are ignored (TS 23.003 §9.1)."""
    assert of(attribute(30, apn.encode())).apn == "iot.example"


@pytest.mark.parametrize(
    ("kind", "wants"), [(0, (True, False)), (2, (False, True)), (3, (True, True)), (4, (True, True))]
)
def test_a_report_requests_addresses_of_its_pdp_type(kind: int, wants: tuple[bool, bool]) -> None:
    """3GPP-PDP-Type; without it, both families."""
    report = of(of_3gpp((3, kind.to_bytes(4, "big"))))

    assert (report.wants_ipv4, report.wants_ipv6) == wants
    assert (of().wants_ipv4, of().wants_ipv6) == (True, True)


@pytest.mark.parametrize(
    ("attributes", "time_ms"),
    [
        ([number(55, 1_795_168_800), number(41, 60)], 1_795_168_800_000),
        ([number(41, 60)], NOW_MS - 60_000),
        ([number(55, 0), number(41, 0)], NOW_MS),
        ([attribute(55, b"soon"), attribute(41, b"60")], 0x736F6F6E * 1000),
        ([attribute(41, b"60")], NOW_MS),
    ],
)
def test_the_time_of_a_report_is_that_of_the_nas(attributes: list[bytes], time_ms: int) -> None:
    """Whatever the delay of the request; without a timestamp, its delay counts back from now."""
    assert of(*attributes).time_ms == time_ms


@pytest.mark.parametrize(("cause", "words"), [(2, "Lost-Carrier"), (18, "Host-Request"), (19, "19"), (0, "0")])
def test_an_unnamed_terminate_cause_is_shown_as_its_number(cause: int, words: str) -> None:
    assert of(number(49, cause)).terminate_cause == words


@pytest.mark.parametrize(
    ("attributes", "address"),
    [
        ([attribute(32, b"pgw1.example"), attribute(4, bytes((192, 0, 2, 10)))], "192.0.2.10"),
        ([attribute(32, b"pgw1.example"), attribute(95, bytes(15) + b"\1")], "::1"),
        ([attribute(32, b"pgw1.example"), attribute(4, b"?")], "pgw1.example"),
    ],
)
def test_a_node_is_named_by_its_address_or_else_its_identifier(attributes: list[bytes], address: str) -> None:
    assert of(*attributes).nas_address == address


@pytest.mark.parametrize("prefix", ["003020010db80001", "008020010db800010002" + "00" * 8, "0040"])
def test_a_prefix_of_another_length_is_ignored(prefix: str) -> None:
    """A device has a /64."""
    assert of(attribute(97, bytes.fromhex(prefix))).prefix == ""


def test_a_network_without_a_country_keeps_its_digits() -> None:
    """Test networks and satellites."""
    report = of(of_3gpp((18, b"00101")))

    assert (report.mcc, report.mnc, report.network, report.country_code) == (1, "01", "", "")
