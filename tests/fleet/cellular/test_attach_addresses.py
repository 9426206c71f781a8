"""The owner of an address while devices attach and detach."""

from __future__ import annotations

from typing import Any

import pytest

from span_events.fleet.cellular.report import Accepted, Refused
from tests.bench.fleets import FleetBench
from tests.fleet.cellular.reports import (
    ADDRESS,
    IMSI,
    NAS,
    OTHER_IMSI,
    PREFIX,
    known,
    reasons,
    restarted,
    seen,
    seen_other,
    send,
)


async def test_an_address_assigned_to_another_device_is_taken_from_the_first(bench: FleetBench) -> None:
    """F08: the first disconnects before the second connects; later datagrams are the second's."""
    old = await known(bench)
    new = await known(bench, imsi=OTHER_IMSI, imei="")
    bench.cellular.accounting.start(seen())
    send(bench)
    bench.activities.clear()
    bench.cellular.accounting.start(seen_other(imsi=OTHER_IMSI))

    assert [(each.name, each.origin) for each in bench.events] == [
        ("ciotDisconnect", old.origin),
        ("clientDisconnected", old.origin),
        ("ciotConnect", new.origin),
    ]
    assert reasons(bench) == [
        ("ciotDisconnect", "addressReassigned"),
        ("clientDisconnected", "addressReassigned"),
        ("ciotConnect", ""),
    ]
    assert send(bench) is new
    assert old.ciot.allocated_ip == ""


async def test_a_late_stop_of_the_first_changes_nothing(bench: FleetBench) -> None:
    """Its attachment has already ended."""
    await known(bench)
    new = await known(bench, imsi=OTHER_IMSI, imei="")
    bench.cellular.accounting.start(seen())
    bench.cellular.accounting.start(seen_other(imsi=OTHER_IMSI))
    bench.activities.clear()
    bench.cellular.accounting.stop(seen())

    assert bench.drain() == []
    assert send(bench) is new


async def test_an_address_assigned_to_an_unknown_subscriber_is_taken_from_the_device(bench: FleetBench) -> None:
    """Later datagrams from it are not the device's."""
    await known(bench)
    bench.cellular.accounting.start(seen())
    bench.activities.clear()
    bench.cellular.accounting.start(seen_other())

    assert reasons(bench) == [("ciotRejected", "unknownDevice"), ("ciotDisconnect", "addressReassigned")]
    assert send(bench) is None


async def test_a_message_from_the_address_of_an_unknown_subscriber_names_its_imsi(bench: FleetBench) -> None:
    """Also at an address that was set by hand: to set it again would not help."""
    by_hand = await bench.device(ADDRESS)
    bench.cellular.accounting.start(seen())
    bench.activities.clear()
    during = send(bench)
    ((_, data),) = bench.drain()
    bench.cellular.accounting.stop(seen())

    assert during is None
    assert data["reason"] == "unknownAddress"
    assert data["detail"] == f"the mobile core gave the address to IMSI {IMSI}, which is matched with no device"
    assert send(bench) is by_hand


async def test_the_mobile_core_overrules_a_static_address(bench: FleetBench) -> None:
    """Its device loses the address to the subscriber that attaches with it, but keeps it as its static one."""
    by_hand = await bench.device(ADDRESS)
    send(bench)
    device = await known(bench)
    bench.cellular.accounting.start(seen())

    assert reasons(bench) == [("clientDisconnected", "addressReassigned"), ("ciotConnect", "")]
    assert send(bench) is device
    assert (by_hand.ciot.allocated_ip, by_hand.ciot.static_ip) == ("", ADDRESS)


async def test_every_host_of_a_prefix_is_the_device(bench: FleetBench) -> None:
    """A device may choose and change the second half of its address (RFC 8981)."""
    device = await known(bench)
    bench.cellular.accounting.start(seen(address="", prefix=PREFIX))
    hosts = ["2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff"]

    assert [send(bench, host) for host in hosts] == [device, device]
    assert send(bench, "2001:db8:1:3::1") is None
    assert (device.ciot.allocated_ip, device.ciot.allocated_prefix) == ("", PREFIX)
    assert bench.drain()[0][1]["allocatedIp"] == PREFIX


@pytest.mark.parametrize("attached_first", [True, False])
async def test_a_static_address_takes_no_host_out_of_a_prefix(bench: FleetBench, attached_first: bool) -> None:
    """The whole prefix belongs to the device that attached with it."""
    device = await known(bench)
    host = "2001:db8:1:2::5"
    if attached_first:
        bench.cellular.accounting.start(seen(address="", prefix=PREFIX))
    by_hand = await bench.device(host)
    if not attached_first:
        send(bench, host)
        bench.activities.clear()
        bench.cellular.accounting.start(seen(address="", prefix=PREFIX))
        told = reasons(bench)
        assert told == [("clientDisconnected", "addressReassigned"), ("ciotConnect", "")]

    assert send(bench, host) is device
    assert (by_hand.ciot.allocated_ip, by_hand.ciot.static_ip) == ("", host)


async def test_a_device_that_attaches_again_disconnects_first(bench: FleetBench) -> None:
    """It rebooted, and the network did not report the end of the old session."""
    device = await known(bench)
    bench.cellular.accounting.start(seen())
    send(bench)
    bench.activities.clear()
    bench.cellular.accounting.start(seen(session="C0000201A0000002", address="10.64.0.12"))

    assert reasons(bench) == [
        ("ciotDisconnect", "replaced"),
        ("clientDisconnected", "replaced"),
        ("ciotConnect", ""),
    ]
    assert send(bench) is None
    assert send(bench, "10.64.0.12") is device


async def test_an_attachment_without_an_address_is_replaced_by_any_other(bench: FleetBench) -> None:
    """Over the same APN; its address family is not known yet."""
    device = await known(bench)
    bench.cellular.accounting.start(seen(address=""))
    bench.cellular.accounting.start(seen(session="C0000201A0000002"))

    assert reasons(bench) == [("ciotConnect", ""), ("ciotDisconnect", "replaced"), ("ciotConnect", "")]
    assert send(bench) is device


@pytest.mark.parametrize(
    "second",
    [{"apn": "other.test", "address": "10.64.0.12"}, {"address": "", "prefix": PREFIX}],
    ids=["two APNs", "IPv4 and IPv6 apart"],
)
async def test_a_device_may_have_two_attachments(bench: FleetBench, second: dict[str, str]) -> None:
    """Both addresses belong to it; when one ends, the other is shown."""
    device = await known(bench)
    bench.cellular.accounting.start(seen())
    bench.cellular.accounting.start(seen(session="C0000201A0000002", **second))
    both = [send(bench), send(bench, second["address"] or "2001:db8:1:2::1")]
    bench.cellular.accounting.stop(seen(session="C0000201A0000002"))

    assert both == [device, device]
    assert send(bench) is device
    assert (device.ciot.allocated_ip, device.ciot.allocated_prefix) == (ADDRESS, "")


async def test_an_interim_update_with_another_address_moves_the_device(bench: FleetBench) -> None:
    """The previous owner loses that address; an added prefix changes nothing else."""
    device = await known(bench)
    other = await known(bench, imsi=OTHER_IMSI, imei="")
    bench.cellular.accounting.start(seen())
    bench.cellular.accounting.start(seen_other(imsi=OTHER_IMSI, address="10.64.0.12"))
    send(bench)
    bench.activities.clear()
    bench.cellular.accounting.interim(seen(address="10.64.0.12", prefix=PREFIX))

    assert [(each.name, each.origin) for each in bench.events] == [
        ("ciotDisconnect", other.origin),
        ("ciotAddressChanged", device.origin),
        ("clientDisconnected", device.origin),
    ]
    assert bench.published[1][1] == {"imsi": IMSI, "from": ADDRESS, "to": "10.64.0.12"}
    assert (bench.published[2][1]["reason"], bench.published[2][1]["detail"]) == ("addressChanged", "10.64.0.12")
    assert [send(bench), send(bench, "10.64.0.12"), send(bench, "2001:db8:1:2::1")] == [None, device, device]


@pytest.mark.parametrize("later", ["now", "after a restart"])
@pytest.mark.parametrize(("own", "used"), [(ADDRESS, {}), ("2001:db8:1:2::9", {"address": "", "prefix": PREFIX})])
async def test_a_device_without_a_sim_gets_its_static_address_back(
    bench: FleetBench, own: str, used: dict[str, Any], later: str
) -> None:
    """Once no attachment has the address any more."""
    device = await bench.device(own)
    bench.cellular.accounting.start(seen_other(**used))
    meanwhile = send(bench, own)
    bench.cellular.accounting.stop(seen_other(**used))
    if later == "after a restart":
        await bench.flush()
        device.ciot.allocated_ip = ""  # as if the server had been killed before this was written
        await bench.store.put_devices([device])
        bench = await restarted(bench)

    assert meanwhile is None
    assert send(bench, own) is bench.directory.devices[device.id]


async def test_an_attachment_may_get_its_address_later(bench: FleetBench) -> None:
    """The device is attached without it."""
    device = await known(bench)
    bench.cellular.accounting.start(seen(address=""))
    bench.cellular.accounting.interim(seen())

    (connected, changed) = bench.drain()
    assert (connected[0], "allocatedIp" in connected[1]) == ("ciotConnect", False)
    assert changed == ("ciotAddressChanged", {"imsi": IMSI, "to": ADDRESS})
    assert send(bench) is device


@pytest.mark.parametrize("bench", [{"cellular": {"pool": ("10.64.0.0/24", "2001:db8:1::/48")}}], indirect=True)
async def test_a_device_gets_the_same_address_of_the_pool_again(bench: FleetBench) -> None:
    """Also after other devices attached, and through another NAS."""
    await known(bench)
    leases = []
    for nas in (NAS, "pgw2"):
        accepted = bench.cellular.access(seen(nas=nas, address=""), accounting=True)
        assert isinstance(accepted, Accepted)
        leases.append((accepted.address, accepted.prefix))
        bench.cellular.accounting.start(seen(nas=nas, address=accepted.address, prefix=accepted.prefix))
        bench.cellular.accounting.stop(seen(nas=nas))
        await known(bench, imsi=f"{nas[-1]:0>15}", imei="")
        bench.cellular.access(seen(imsi=f"{nas[-1]:0>15}", imei="", address=""), accounting=True)

    assert leases == [("10.64.0.1", "2001:db8:1::/64")] * 2


@pytest.mark.parametrize("bench", [{"cellular": {"pool": ("10.64.0.11/32",), "quarantine": 600.0}}], indirect=True)
@pytest.mark.parametrize("leaves", ["stops", "moves"])
async def test_a_freed_address_is_assigned_to_others_after_its_quarantine(bench: FleetBench, leaves: str) -> None:
    """Late datagrams of the first device must not be taken for those of the second."""
    await known(bench)
    await known(bench, imsi=OTHER_IMSI, imei="")
    bench.cellular.accounting.start(seen())
    if leaves == "stops":
        bench.cellular.accounting.stop(seen())
    else:
        bench.cellular.accounting.interim(seen(address="192.0.2.99"))
    answers = []
    for _ in range(2):
        answers.append(bench.cellular.access(seen(imsi=OTHER_IMSI, imei="", address=""), accounting=True))
        bench.clock.shift(600)
    early, later = answers

    assert early == Refused("noAddress")
    assert isinstance(later, Accepted)
    assert later.address == ADDRESS
