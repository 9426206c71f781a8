"""Attach requests: accepted and rejected ones, and published mismatches."""

from __future__ import annotations

from typing import Any

import pytest

from span_events.events.activity import UNATTRIBUTED
from span_events.events.message import Transport
from span_events.events.reasons import CiotRejectedReason
from span_events.fleet.cellular.report import Accepted, Refused
from span_events.fleet.devices.devices import DeviceChange
from tests.bench.fleets import CAUSE, FleetBench
from tests.fleet.cellular.reports import (
    ADDRESS,
    IMEI,
    IMSI,
    NAS,
    OTHER_IMEI,
    OTHER_IMSI,
    PREFIX,
    known,
    reasons,
    seen,
    send,
)

WHERE = {
    "cell_id": "10597059",
    "rat": "E-UTRAN",
    "mcc": 242,
    "mnc": "01",
    "network": "Telenor",
    "country": "Norway",
    "country_code": "NO",
}


async def test_an_attachment_is_published_once_with_all_reported_fields(bench: FleetBench) -> None:
    """At its Start; then the device may send."""
    device = await known(bench, allocated_ip=ADDRESS)
    accepted = bench.cellular.access(seen(address="", **WHERE), accounting=True)
    before = bench.drain()
    bench.cellular.accounting.start(seen(**WHERE))
    bench.cellular.accounting.start(seen(**WHERE))
    bench.cellular.accounting.interim(seen(**WHERE))

    assert isinstance(accepted, Accepted)
    assert (accepted.address, accepted.prefix, len(accepted.class_)) == (ADDRESS, "", 16)
    assert before == []
    assert bench.drain() == [
        (
            "ciotConnect",
            {
                "allocatedIp": ADDRESS,
                "apn": "mda.test",
                "cellId": "10597059",
                "imei": IMEI,
                "imsi": IMSI,
                "mcc": "242",
                "mnc": "01",
                "network": "Telenor",
                "rat": "E-UTRAN",
            },
        )
    ]
    assert send(bench) is device
    assert bench.names == ["clientConnected", "upstreamMessage"]


async def test_metadata_show_the_reported_numbers_and_location(bench: FleetBench) -> None:
    """With Span's names; an Interim-Update updates them without an event."""
    device = await known(bench)
    bench.cellular.accounting.start(seen(**WHERE))
    bench.clock.shift(60)
    bench.cellular.accounting.interim(seen(**WHERE | {"cell_id": "7"}))
    ciot, now_ms = device.ciot, bench.clock.time_ns() // 1_000_000

    assert (ciot.allocated_ip, ciot.allocated_at, ciot.last_update) == (ADDRESS, now_ms - 60_000, now_ms)
    assert (ciot.cell_id, ciot.mcc, ciot.mnc, ciot.network) == ("7", 242, 1, "Telenor")
    assert (ciot.country, ciot.country_code) == ("Norway", "NO")
    assert (ciot.last_imsi, ciot.last_imei) == (IMSI, IMEI)
    assert bench.names == ["ciotConnect"]


async def test_only_changes_of_a_device_are_written(bench: FleetBench) -> None:
    """Interim-Updates come by the thousand; their time alone is not worth a write."""
    device = await known(bench)
    bench.cellular.accounting.start(seen(**WHERE))
    await bench.reception.flush()
    written = device.ciot.last_update
    bench.clock.shift(600)
    bench.cellular.accounting.interim(seen(**WHERE))
    await bench.reception.flush()
    (again,) = (await bench.store.load()).devices
    bench.clock.shift(600)
    bench.cellular.accounting.interim(seen(**WHERE | {"cell_id": "7"}))
    await bench.reception.flush()
    (moved,) = (await bench.store.load()).devices

    assert (again.ciot.last_update, again.ciot.cell_id) == (written, "10597059")
    assert (moved.ciot.last_update, moved.ciot.cell_id) == (written + 1_200_000, "7")


async def test_the_imsi_of_a_device_with_an_imei_only_is_shown(bench: FleetBench) -> None:
    """From its access request on."""
    device = await known(bench, imsi="", imei="3569380356438001")
    bench.cellular.access(seen(), accounting=True)

    assert (device.ciot.last_imsi, device.ciot.last_imei) == (IMSI, IMEI)


async def test_an_accept_reserves_an_address_without_attaching(bench: FleetBench) -> None:
    """A datagram from the address has no device yet."""
    await known(bench)
    bench.cellular.access(seen(), accounting=True)

    assert send(bench) is None


async def test_without_accounting_an_accept_starts_the_attachment(bench: FleetBench) -> None:
    """Each time, since no Stop follows; a session with an id is published once."""
    device = await known(bench, allocated_ip=ADDRESS)
    for _ in range(2):
        bench.cellular.access(seen(session="", address=""), accounting=False)
    anonymous = reasons(bench)
    for _ in range(2):
        bench.cellular.access(seen(address=""), accounting=False)

    assert anonymous == [("ciotConnect", ""), ("ciotDisconnect", "replaced"), ("ciotConnect", "")]
    assert reasons(bench) == [("ciotDisconnect", "replaced"), ("ciotConnect", "")]
    assert send(bench) is device


@pytest.mark.parametrize(
    ("other", "ends"),
    [({}, True), ({"imsi": OTHER_IMSI}, False), ({"address": "10.64.0.12"}, False), ({"nas": "pgw2"}, False)],
    ids=["its own", "another SIM", "another address", "another NAS"],
)
async def test_a_stop_ends_an_attachment_started_by_an_accept(
    bench: FleetBench, other: dict[str, str], ends: bool
) -> None:
    """A NAS that sends accounting against its configuration has another name for the session."""
    await known(bench, allocated_ip=ADDRESS)
    bench.cellular.access(seen(session="", address=""), accounting=False)
    bench.cellular.accounting.stop(seen(**other))

    assert ("ciotDisconnect" in bench.names) is ends


async def test_a_late_stop_does_not_end_an_attachment_with_another_session_id(bench: FleetBench) -> None:
    """The same device has the same address again."""
    device = await known(bench)
    bench.cellular.accounting.start(seen(session="2"))
    bench.cellular.accounting.stop(seen(session="1"))

    assert send(bench) is device


@pytest.mark.parametrize(
    ("settings", "seen_address", "expected"),
    [
        ({"allocated_ip": "10.64.0.99"}, ADDRESS, "10.64.0.99"),
        ({"allocated_ip": ADDRESS}, ADDRESS, None),
        ({"allocated_ip": "2001:db8:9::1"}, PREFIX, "2001:db8:9::/64"),
        ({"allocated_ip": "10.64.0.99"}, "", None),
        ({}, ADDRESS, None),
    ],
    ids=["its own", "as it should be", "its own prefix", "not told yet", "chosen by the core"],
)
@pytest.mark.parametrize("asks", [True, False])
async def test_an_address_other_than_the_expected_one_is_published(
    bench: FleetBench, settings: dict[str, Any], seen_address: str, expected: str | None, asks: bool
) -> None:
    """With or without an access request before."""
    await known(bench, **settings)
    if asks:
        bench.cellular.access(seen(address=""), accounting=True)
    lease = {"address": "", "prefix": seen_address} if ":" in seen_address else {"address": seen_address}
    bench.cellular.accounting.start(seen(**lease))
    ((name, data),) = bench.published

    assert (name, data.get("expectedIp")) == ("ciotConnect", expected)


@pytest.mark.parametrize("bench", [{"cellular": {"pool": ("10.64.1.0/24",)}}], indirect=True)
async def test_a_core_that_ignores_the_assigned_pool_address_is_published(bench: FleetBench) -> None:
    """The event has the reserved address as expectedIp."""
    await known(bench)
    bench.cellular.access(seen(address=""), accounting=True)
    bench.cellular.accounting.start(seen())

    assert [data["expectedIp"] for _, data in bench.published] == ["10.64.1.1"]


async def test_without_accounting_an_address_chosen_by_the_core_counts(bench: FleetBench) -> None:
    """It is in the access request."""
    device = await known(bench)
    accepted = bench.cellular.access(seen(), accounting=False)

    assert isinstance(accepted, Accepted)
    assert accepted.address == ""
    assert send(bench) is device


@pytest.mark.parametrize(
    ("report", "reason", "told"),
    [
        (
            seen(imsi=OTHER_IMSI),
            "imsiMismatch",
            ("imsiMismatch", {"imsi": OTHER_IMSI, "imei": IMEI, "expectedImsi": IMSI}),
        ),
        (
            seen(imei=OTHER_IMEI),
            "imeiMismatch",
            ("imeiMismatch", {"imsi": IMSI, "imei": OTHER_IMEI, "expectedImei": IMEI}),
        ),
        (seen(imsi=""), "noImsi", ("ciotRejected", {"imei": IMEI, "nas": NAS, "reason": "noImsi"})),
    ],
    ids=["F01", "F02", "no IMSI"],
)
async def test_a_rejected_attach_request_is_published(
    bench: FleetBench, report: Any, reason: str, told: tuple[str, dict[str, str]]
) -> None:
    """To the collection of the device; a second request publishes nothing."""
    device = await known(bench)
    refused = [bench.cellular.access(report, accounting=True) for _ in range(2)]

    assert refused == [Refused(reason)] * 2
    assert bench.published == [told]
    assert bench.events[0].origin == device.origin


async def test_an_unknown_subscriber_is_published_without_attribution(bench: FleetBench) -> None:
    """F04."""
    refused = bench.cellular.access(seen(), accounting=True)

    assert refused == Refused("unknownDevice")
    assert bench.published == [("ciotRejected", {"reason": "unknownDevice", "nas": NAS, "imsi": IMSI, "imei": IMEI})]
    assert bench.events[0].origin == UNATTRIBUTED


@pytest.mark.parametrize(("what", "reason"), [("device", "deviceDisabled"), ("collection", "collectionDisabled")])
async def test_a_disabled_device_is_rejected(bench: FleetBench, what: str, reason: str) -> None:
    """Its stream has the reason."""
    device = await known(bench)
    (device if what == "device" else device.collection).enabled = False
    refused = bench.cellular.access(seen(), accounting=True)

    assert refused == Refused(reason)
    assert reasons(bench) == [("ciotRejected", reason)]


async def test_a_device_disabled_while_attached_stays_attached(bench: FleetBench) -> None:
    """Its messages are rejected as those of a disabled device, not of an unknown one."""
    device = await known(bench)
    bench.cellular.accounting.start(seen())
    await bench.devices.update(device, DeviceChange(enabled=False), cause=CAUSE)
    found = bench.reception.identify((ADDRESS, 4000), transport=Transport.UDP, size=5)

    assert found is device
    assert "ciotDisconnect" not in bench.names


@pytest.mark.parametrize("bench", [{"cellular": {"pool": ("10.64.0.11/32",)}}], indirect=True)
async def test_an_attach_request_is_rejected_when_the_pool_is_empty(bench: FleetBench) -> None:
    """The event of the device has the reason."""
    await known(bench)
    second = await known(bench, imsi=OTHER_IMSI, imei="")
    accepted = bench.cellular.access(seen(address=""), accounting=True)
    refused = bench.cellular.access(seen(imsi=OTHER_IMSI, imei="", address=""), accounting=True)

    assert isinstance(accepted, Accepted)
    assert accepted.address == ADDRESS
    assert refused == Refused("noAddress")
    assert [(each.name, each.origin) for each in bench.events] == [("ciotRejected", second.origin)]


async def test_requests_rejected_by_the_listener_are_published(bench: FleetBench) -> None:
    """F05: unattributed, with the sender, and not for each of a thousand."""
    for _ in range(1_000):
        bench.cellular.refused(CiotRejectedReason.BAD_SECRET, nas=NAS, remote=("192.0.2.10", 40000))
    bench.clock.shift(61)
    bench.cellular.sweep()

    told = {"nas": NAS, "reason": "badSecret", "remoteAddress": "192.0.2.10:40000"}
    assert bench.published == [("ciotRejected", told), ("ciotRejected", told | {"count": "999"})]


@pytest.mark.parametrize("bench", [{"cellular": {"on_mismatch": "accept", "pool": ("10.64.0.0/24",)}}], indirect=True)
async def test_an_accepted_mismatch_attaches_without_a_device(bench: FleetBench) -> None:
    """Datagrams from its address are rejected; the Start does not publish the mismatch again."""
    await known(bench)
    accepted = bench.cellular.access(seen(imsi=OTHER_IMSI, address=""), accounting=True)
    assert isinstance(accepted, Accepted)
    bench.cellular.accounting.start(seen(imsi=OTHER_IMSI, address=accepted.address))
    told = reasons(bench)
    bench.clock.shift(3601)
    bench.cellular.sweep()

    assert told == [("imsiMismatch", "")]
    assert bench.drain() == []
    assert send(bench, accepted.address) is None


async def test_a_mismatch_first_seen_in_accounting_is_published(bench: FleetBench) -> None:
    """Some mobile cores send no access requests; the attachment has no device."""
    await known(bench)
    for _ in range(2):
        bench.cellular.accounting.start(seen(imei=OTHER_IMEI))

    assert bench.names == ["imeiMismatch"]
    assert send(bench) is None


async def test_a_sim_moved_to_other_hardware_ends_its_previous_attachment(bench: FleetBench) -> None:
    """With reason replaced, since its address was not reassigned."""
    await known(bench)
    bench.cellular.accounting.start(seen())
    bench.activities.clear()
    bench.cellular.accounting.start(seen(imei=OTHER_IMEI, session="2", address="10.64.0.12"))

    assert reasons(bench) == [("imeiMismatch", ""), ("ciotDisconnect", "replaced")]
    assert send(bench) is send(bench, "10.64.0.12") is None


async def test_one_request_may_publish_events_of_two_devices(bench: FleetBench) -> None:
    """The SIM decides which device attaches; the owner of the hardware gets a mismatch. Both have the same cause."""
    await known(bench, imei="")
    robbed = await known(bench, imsi=OTHER_IMSI)
    bench.cellular.accounting.start(seen())

    assert bench.names == ["imsiMismatch", "ciotConnect"]
    assert bench.events[0].origin == robbed.origin
    assert len({each.correlation_id for each in bench.events}) == 1


async def test_a_correct_attach_ends_a_mismatch(bench: FleetBench) -> None:
    """The next mismatch is published again."""
    await known(bench)
    for report in (seen(imsi=OTHER_IMSI), seen(), seen(imsi=OTHER_IMSI)):
        if not isinstance(bench.cellular.access(report, accounting=True), Refused):
            bench.cellular.accounting.start(report)

    assert bench.names == ["imsiMismatch", "ciotConnect", "imsiMismatch"]
