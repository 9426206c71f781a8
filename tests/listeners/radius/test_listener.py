"""Requests of a mobile core to the listener, by radclient with FreeRADIUS's 3GPP dictionary and by raw sockets."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from span_events.events.activity import UNATTRIBUTED
from span_events.fleet.devices.devices import DeviceChange
from tests.bench.fleets import CAUSE
from tests.bench.peers.radclient import ACCOUNTING_ON, ATTACH, SECRET, START, STOP
from tests.listeners.radius.bench import (
    ADDRESS,
    BOTH,
    IMEI,
    IMSI,
    LENIENT,
    NAS,
    STRANGER,
    RadiusBench,
    asking,
    radius_bench,
)
from tests.wire.radius.building import accounting_request, attribute

# ---- what a mobile core does ----------------------------------------------------------------------


async def test_a_device_attaches(radius: RadiusBench) -> None:
    """Access-Accept with its address, then accounting: ciotConnect with all fields of the attributes."""
    accept = await radius.ask(ATTACH)
    silent_so_far = radius.fleet.names
    response = await radius.tell(START)
    ((name, data),) = radius.fleet.published

    assert (accept.kind, response.kind) == ("Access-Accept", "Accounting-Response")
    assert accept.value("Framed-IP-Address") == ADDRESS
    assert accept.value("Framed-IP-Netmask") == "255.255.255.255"
    assert accept.value("Acct-Interim-Interval") == "600"
    assert silent_so_far == []
    assert name == "ciotConnect"
    assert data | {"imsi": IMSI, "imei": IMEI, "allocatedIp": ADDRESS, "apn": "mda.test", "rat": "E-UTRAN"} == data
    assert data | {"cellId": "10597059", "mcc": "242", "mnc": "01", "network": "Telenor"} == data
    assert radius.fleet.directory.device_at(ADDRESS) is radius.device
    assert radius.device.ciot.country_code == "NO"


async def test_an_attachment_is_published_once(radius: RadiusBench) -> None:
    """A retransmitted Start with another delay, and Interim-Updates, are answered and publish nothing."""
    await radius.tell(START)
    again = await radius.tell(START | {"Acct-Delay-Time": "5"})
    update = await radius.tell(START | {"Acct-Status-Type": "Interim-Update"})

    assert (again.kind, update.kind) == ("Accounting-Response", "Accounting-Response")
    assert radius.fleet.names == ["ciotConnect"]


async def test_a_swapped_sim_is_rejected(radius: RadiusBench) -> None:
    """And published once."""
    for _ in range(2):
        assert (await radius.ask(ATTACH | {"3GPP-IMSI": '"242016000000077"'})).kind == "Access-Reject"
    ((name, data),) = radius.fleet.published

    assert name == "imsiMismatch"
    assert data == {"imsi": "242016000000077", "imei": IMEI, "expectedImsi": IMSI}


async def test_a_sim_in_new_hardware_is_rejected(radius: RadiusBench) -> None:
    """Another software version is the same hardware."""
    update = await radius.ask(ATTACH | {"3GPP-IMEISV": '"3569380356438099"'})
    moved = await radius.ask(ATTACH | {"3GPP-IMEISV": '"8612345678901202"'})
    ((name, data),) = radius.fleet.published

    assert (update.kind, moved.kind, moved.value("Reply-Message")) == (
        "Access-Accept",
        "Access-Reject",
        "Not admitted.",
    )
    assert name == "imeiMismatch"
    assert data == {"imsi": IMSI, "imei": "861234567890123"[:14] + data["imei"][14], "expectedImei": IMEI}


async def test_a_device_detaches(radius: RadiusBench) -> None:
    """The event has the cause of the Stop; a second Stop is answered too."""
    await radius.tell(START)
    first = await radius.tell(STOP)
    second = await radius.tell(STOP | {"Acct-Delay-Time": "5"})
    _, data = radius.fleet.published[-1]

    assert (first.kind, second.kind) == ("Accounting-Response", "Accounting-Response")
    assert radius.fleet.names == ["ciotConnect", "ciotDisconnect"]
    assert data | {"reason": "stop", "cause": "User-Request", "seconds": "120", "allocatedIp": ADDRESS} == data


@pytest.mark.parametrize("status", ["Accounting-On", "Accounting-Off"])
async def test_a_nas_that_restarts_ends_only_its_own_sessions(tmp_path: Path, status: str) -> None:
    """The sender identifies the NAS, not the attribute: two NAS may use the same name."""
    other = {**LENIENT, "secret": SECRET}
    async with radius_bench(tmp_path, radius={"nas": [NAS, other]}) as radius:
        await radius.tell(START)
        foreign = await radius.tell(ACCOUNTING_ON | {"Acct-Status-Type": status}, source="127.0.0.2")
        still = radius.fleet.names
        own = await radius.tell(ACCOUNTING_ON | {"Acct-Status-Type": status})
        _, data = radius.fleet.published[-1]

    assert (foreign.kind, own.kind) == ("Accounting-Response", "Accounting-Response")
    assert still == ["ciotConnect"]
    assert radius.fleet.names == ["ciotConnect", "ciotDisconnect"]
    assert data["reason"] == "nasRestarted"


async def test_a_late_accounting_on_ends_no_session_started_since(radius: RadiusBench) -> None:
    """Acct-Delay-Time has the seconds for which the NAS has tried (RFC 2866 §5.2)."""
    await radius.tell(START)
    reply = await radius.tell(ACCOUNTING_ON | {"Acct-Delay-Time": "5"})

    assert reply.kind == "Accounting-Response"
    assert radius.fleet.names == ["ciotConnect"]


async def test_an_address_is_reassigned_to_another_device(radius: RadiusBench) -> None:
    """The first disconnects, then the second connects; a late Stop of the first changes nothing."""
    fleet = radius.fleet
    other = await fleet.devices.create(await fleet.collection(), DeviceChange(imsi="242016000000002"), cause=CAUSE)
    fleet.activities.clear()
    await radius.tell(START)
    later = {"3GPP-IMSI": '"242016000000002"', "3GPP-IMEISV": None, "Acct-Session-Id": '"2"'}
    await radius.tell(START | later | {"Event-Timestamp": '"Nov 20 2026 10:01:00 UTC"'})
    late = await radius.tell(STOP)

    assert fleet.names == ["ciotConnect", "ciotDisconnect", "ciotConnect"]
    assert fleet.published[1][1]["reason"] == "addressReassigned"
    assert late.kind == "Accounting-Response"
    assert fleet.directory.device_at(ADDRESS) is other


async def test_an_unknown_subscriber_is_rejected(radius: RadiusBench) -> None:
    """One event for two tries, without a collection."""
    for _ in range(2):
        assert (await radius.ask(ATTACH | STRANGER)).kind == "Access-Reject"
    ((name, data),) = radius.fleet.published

    assert (name, data["reason"], data["nas"]) == ("ciotRejected", "unknownDevice", "pgw1")
    assert radius.fleet.events[0].origin == UNATTRIBUTED


async def test_a_device_may_attach_with_a_prefix(radius: RadiusBench) -> None:
    """IPv6 only: every host in the prefix is the device."""
    fields: dict[str, str | None] = {"Framed-IP-Address": None, "Framed-IPv6-Prefix": "2001:db8:1:2::/64"}
    response = await radius.tell({**START, **fields})

    assert response.kind == "Accounting-Response"
    assert radius.fleet.directory.device_at("2001:db8:1:2::77") is radius.device
    assert radius.device.ciot.allocated_prefix == "2001:db8:1:2::/64"


async def test_without_accounting_the_accept_starts_the_attachment(tmp_path: Path) -> None:
    """No Start follows."""
    async with radius_bench(tmp_path, radius={"nas": [NAS | {"accounting": False}]}) as radius:
        accept = await radius.ask(ATTACH)

    assert accept.kind == "Access-Accept"
    assert accept.value("Acct-Interim-Interval") is None
    assert radius.fleet.names == ["ciotConnect"]


async def test_a_nas_that_sends_unexpected_accounting_is_logged(tmp_path: Path) -> None:
    """At most once a minute; its Stop ends the attachment of the Access-Accept."""
    with capture_logs() as logs:
        async with radius_bench(tmp_path, radius={"nas": [NAS | {"accounting": False}]}) as radius:
            await radius.ask(ATTACH)
            for pause in (0, 59, 1):
                radius.fleet.clock.shift(pause)
                await radius.tell(STOP | {"Acct-Delay-Time": f"{pause}"})
    (hint, again) = [each["hint"] for each in logs if each["event"] == "radius_unexpected_accounting"]

    assert hint == again == "It has accounting = false in [[radius.nas]]: set it to true."
    assert radius.fleet.names == ["ciotConnect", "ciotDisconnect"]


@pytest.mark.parametrize("source", ["127.0.0.1", "127.0.0.2"])
async def test_each_nas_has_its_own_secret(tmp_path: Path, source: str) -> None:
    """The secret of one NAS is rejected from the address of another."""
    async with radius_bench(tmp_path, radius=BOTH) as radius:
        own, other = (SECRET, LENIENT["secret"]) if source == "127.0.0.1" else (LENIENT["secret"], SECRET)
        right = await radius.ask(ATTACH, source=source, secret=own)
        wrong = await radius.silent(radius.client(source), asking(secret=other.encode()))

    assert (right.kind, wrong) == ("Access-Accept", True)


# ---- attributes that are wrong --------------------------------------------------------------------


async def test_a_short_location_costs_only_the_location(radius: RadiusBench) -> None:
    response = await radius.tell(START | {"3GPP-User-Location-Info": "0x8242f2"})

    assert response.kind == "Accounting-Response"
    assert "cellId" not in radius.fleet.published[0][1]
    assert radius.metric("radius_unreadable", "bad_location") == 1


async def test_an_invalid_imsi_is_ignored(radius: RadiusBench) -> None:
    """14 digits and a DEL; without an IMSI, the configured SIM is not proven."""
    fields: dict[str, str | None] = {"3GPP-IMSI": None, "Attr-26.10415.1": "0x3234323031363030303030303030327f"}
    refused = await radius.ask({**ATTACH, **fields})

    assert refused.kind == "Access-Reject"
    assert radius.fleet.published[0][1]["reason"] == "noImsi"
    assert radius.metric("radius_unreadable", "bad_imsi") == 1


async def test_accounting_without_a_status_is_dropped(radius: RadiusBench) -> None:
    """An unknown status is answered, or the NAS would retransmit it."""
    client = radius.client(accounting=True)
    silent = await radius.silent(client, accounting_request(attribute(44, b"1")), accounting=True)

    assert silent
    assert radius.outcome("no_status_type") == 1
    assert radius.outcome("accounted") == 1
    assert radius.fleet.names == []
