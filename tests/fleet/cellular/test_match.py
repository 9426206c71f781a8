"""The device of an attachment: every row of the decision table (numbers as in the specification)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from span_events.dialects.span import data_of
from span_events.events.activity import UNATTRIBUTED
from span_events.fleet.cellular.match import Match, decide
from span_events.registry.model import Collection, Device, DeviceConfig

SIM, OTHER_SIM, THIRD_SIM = "242016000000001", "242016000000077", "242016000000002"
HARDWARE, OTHER_HARDWARE, THIRD_HARDWARE = "356938035643809", "861234567890127", "490154203237518"


@dataclass(frozen=True)
class Row:
    """One line of the table: how devices A and B are configured, what is seen, what comes of it."""

    number: str
    a: tuple[str, str] = ("", "")
    b: tuple[str, str] = ("", "")
    seen: tuple[str, str] = (SIM, HARDWARE)
    connects: str = ""
    published: Mapping[str, tuple[str, dict[str, str]]] = field(default_factory=dict)
    rejected: str = ""


IMEI_MISMATCH = ("imeiMismatch", {"imsi": SIM, "imei": HARDWARE, "expectedImei": OTHER_HARDWARE})
IMSI_MISMATCH = ("imsiMismatch", {"imsi": SIM, "imei": HARDWARE, "expectedImsi": OTHER_SIM})

TABLE = [
    Row("1", a=(SIM, ""), connects="a"),
    Row("1, no IMEI seen", a=(SIM, ""), seen=(SIM, ""), connects="a"),
    Row("2", a=("", HARDWARE), connects="a"),
    Row("3", a=(SIM, HARDWARE), connects="a"),
    Row("3, as IMEISV", a=(SIM, "3569380356438001"), connects="a"),
    Row("3, without check digit", a=(SIM, "35693803564380"), connects="a"),
    Row("4", a=(SIM, HARDWARE), seen=(SIM, ""), connects="a"),
    Row("5", a=(SIM, OTHER_HARDWARE), published={"a": IMEI_MISMATCH}),
    Row("5, as IMEISV", a=(SIM, "8612345678901299"), published={"a": IMEI_MISMATCH}),
    Row("6", a=(OTHER_SIM, HARDWARE), published={"a": IMSI_MISMATCH}),
    Row("7", a=(SIM, ""), b=("", HARDWARE), connects="a"),
    Row("8", a=(SIM, OTHER_HARDWARE), b=("", HARDWARE), published={"a": IMEI_MISMATCH}),
    Row("8, B with a SIM", a=(SIM, OTHER_HARDWARE), b=(OTHER_SIM, HARDWARE), published={"a": IMEI_MISMATCH}),
    Row("9", a=(SIM, ""), b=(OTHER_SIM, HARDWARE), connects="a", published={"b": IMSI_MISMATCH}),
    Row("10", a=(OTHER_SIM, OTHER_HARDWARE), rejected="unknownDevice"),
    Row("10, no IMEI seen", seen=(SIM, ""), rejected="unknownDevice"),
    Row("10, no IMSI seen", seen=("", HARDWARE), rejected="unknownDevice"),
    Row("10, nothing seen", seen=("", ""), rejected="noImsi"),
    Row("11", a=("", HARDWARE), seen=("", HARDWARE), connects="a"),
    Row("12", a=(SIM, HARDWARE), seen=("", HARDWARE), rejected="noImsi"),
]


def outcome(row: Row) -> tuple[Match, dict[str, Device]]:
    """Decide a row."""
    collection = Collection(1)
    devices = {
        "a": Device(2, collection, config=DeviceConfig(*row.a)),
        "b": Device(3, collection, config=DeviceConfig(*row.b)),
    }
    imsi, imei = row.seen
    by_imsi = {each.config.imsi: each for each in devices.values() if each.config.imsi}
    by_imei = {each.config.imei[:14]: each for each in devices.values() if each.config.imei}
    return decide(imsi, imei, of_imsi=by_imsi.get(imsi), of_imei=by_imei.get(imei[:14])), devices


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.number)
def test_the_table_is_followed_row_by_row(row: Row) -> None:
    """The device that attaches, the published events, and the reason of a rejection."""
    match, devices = outcome(row)

    assert match.device is devices.get(row.connects)
    assert [(each.name, each.origin, dict(data_of(each))) for each in match.mismatches] == [
        (name, devices[who].origin, data) for who, (name, data) in row.published.items()
    ]
    assert (match.rejected or "") == row.rejected


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.number)
def test_each_request_has_a_device_or_a_reason(row: Row) -> None:
    """No rejection without a reason, no match with one."""
    match, _ = outcome(row)

    assert match.device or match.mismatches or match.rejected
    assert not (match.device and match.rejected)


def test_a_device_without_an_imsi_report_gets_the_rejection() -> None:
    """Row 12 is attributed to the device, row 10 to none."""
    rows = {row.number: outcome(row) for row in TABLE}
    match, devices = rows["12"]

    assert match.origin == devices["a"].origin
    assert rows["10"][0].origin == UNATTRIBUTED


def test_hardware_configured_for_two_devices_is_noticed() -> None:
    """Row 7: the SIM decides, and the log names the other device."""
    rows = {row.number: outcome(row) for row in TABLE}

    assert rows["7"][0].ambiguous_with is rows["7"][1]["b"]
    assert [each for each, (match, _) in rows.items() if match.ambiguous_with] == ["7"]
