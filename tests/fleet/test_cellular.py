"""What the mobile core tells, and what comes of it."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from span_events.errors import StorageUnavailable
from span_events.events.activity import UNATTRIBUTED
from span_events.events.catalogue import MessageRejected
from span_events.events.message import Transport
from span_events.events.reasons import CiotRejectedReason
from span_events.fleet.cellular import Accepted, Refused
from span_events.fleet.devices import DeviceChange
from span_events.registry.model import Device
from tests.fleet.sightings import (
    ADDRESS,
    IMEI,
    IMSI,
    NAS,
    NODE,
    OTHER_IMEI,
    OTHER_IMSI,
    PREFIX,
    known,
    seen,
    seen_other,
)
from tests.fleets import CAUSE, FleetBench

WHERE = {
    "cell_id": "10597059",
    "rat": "E-UTRAN",
    "mcc": 242,
    "mnc": "01",
    "network": "Telenor",
    "country": "Norway",
    "country_code": "NO",
}


def send(bench: FleetBench, address: str = ADDRESS) -> Device | None:
    """Let a datagram come from an address."""
    device = bench.reception.identify((address, 4000), transport=Transport.UDP, size=5)
    if device is not None:
        bench.reception.received(device, b"hello", remote=(address, 4000), transport=Transport.UDP, local_port=1234)
    return device


def reasons(bench: FleetBench) -> list[tuple[str, str]]:
    """Return names and reasons of what was told since the last time."""
    return [(name, data.get("reason", "")) for name, data in bench.take()]


# ---- attaching -----------------------------------------------------------------------------------


async def test_a_device_that_attaches_is_told_with_all_that_is_known(bench: FleetBench) -> None:
    """It comes with accounting, once; then the device may send."""
    device = await known(bench, allocated_ip=ADDRESS)
    accepted = bench.cellular.access(seen(address="", **WHERE), accounting=True)
    before = bench.take()
    bench.cellular.start(seen(**WHERE))
    bench.cellular.start(seen(**WHERE))
    bench.cellular.interim(seen(**WHERE))

    assert isinstance(accepted, Accepted)
    assert (accepted.address, accepted.prefix, len(accepted.class_)) == (ADDRESS, "", 16)
    assert before == []
    assert bench.take() == [
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


async def test_the_metadata_show_what_was_seen(bench: FleetBench) -> None:
    """As Span names it; an Interim-Update brings them up to date without an event."""
    device = await known(bench)
    bench.cellular.start(seen(**WHERE))
    bench.clock.shift(60)
    bench.cellular.interim(seen(**WHERE | {"cell_id": "7"}))
    ciot, now_ms = device.ciot, bench.clock.time_ns() // 1_000_000

    assert (ciot.allocated_ip, ciot.allocated_at, ciot.last_update) == (ADDRESS, now_ms - 60_000, now_ms)
    assert (ciot.cell_id, ciot.mcc, ciot.mnc, ciot.network) == ("7", 242, 1, "Telenor")
    assert (ciot.country, ciot.country_code, ciot.gateway_id) == ("Norway", "NO", 0)
    assert (ciot.last_imsi, ciot.last_imei) == (IMSI, IMEI)
    assert bench.names == ["ciotConnect"]


async def test_only_news_of_a_device_is_written(bench: FleetBench) -> None:
    """Interim-Updates come by the thousand; that a device was seen again is not worth a write."""
    device = await known(bench)
    bench.cellular.start(seen(**WHERE))
    await bench.reception.flush()
    written = device.ciot.last_update
    bench.clock.shift(600)
    bench.cellular.interim(seen(**WHERE))
    await bench.reception.flush()
    (again,) = (await bench.store.load()).devices
    bench.clock.shift(600)
    bench.cellular.interim(seen(**WHERE | {"cell_id": "7"}))
    await bench.reception.flush()
    (moved,) = (await bench.store.load()).devices

    assert (again.ciot.last_update, again.ciot.cell_id) == (written, "10597059")
    assert (moved.ciot.last_update, moved.ciot.cell_id) == (written + 1_200_000, "7")


async def test_what_is_not_configured_is_learned(bench: FleetBench) -> None:
    """A device with an IMEI only shows which SIM it has; with the request to let it in."""
    device = await known(bench, imsi="", imei="3569380356438001")
    bench.cellular.access(seen(), accounting=True)

    assert (device.ciot.last_imsi, device.ciot.last_imei) == (IMSI, IMEI)


async def test_an_accept_reserves_but_does_not_attach(bench: FleetBench) -> None:
    """A datagram from the address is still nobody's."""
    await known(bench)
    bench.cellular.access(seen(), accounting=True)

    assert send(bench) is None


async def test_without_accounting_to_be_let_in_is_to_be_attached(bench: FleetBench) -> None:
    """Each time: nothing tells when the device is gone; a session with a name is told once."""
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
async def test_a_stop_ends_what_an_accept_began(bench: FleetBench, other: dict[str, str], ends: bool) -> None:
    """A NAS that sends accounting though it is said to send none has another name for the session."""
    await known(bench, allocated_ip=ADDRESS)
    bench.cellular.access(seen(session="", address=""), accounting=False)
    bench.cellular.stop(seen(**other))

    assert ("ciotDisconnect" in bench.names) is ends


async def test_a_late_stop_does_not_end_a_session_with_another_name(bench: FleetBench) -> None:
    """The same device has the same address again."""
    device = await known(bench)
    bench.cellular.start(seen(session="2"))
    bench.cellular.stop(seen(session="1"))

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
async def test_a_core_that_gives_another_address_is_found_out(
    bench: FleetBench, settings: dict[str, Any], seen_address: str, expected: str | None, asks: bool
) -> None:
    """Whether it has asked before or not."""
    await known(bench, **settings)
    if asks:
        bench.cellular.access(seen(address=""), accounting=True)
    lease = {"address": "", "prefix": seen_address} if ":" in seen_address else {"address": seen_address}
    bench.cellular.start(seen(**lease))
    ((name, data),) = bench.told

    assert (name, data.get("expectedIp")) == ("ciotConnect", expected)


@pytest.mark.parametrize("bench", [{"cellular": {"pool": ("10.64.1.0/24",)}}], indirect=True)
async def test_a_core_that_passes_over_the_pool_is_found_out(bench: FleetBench) -> None:
    """What it was promised is told."""
    await known(bench)
    bench.cellular.access(seen(address=""), accounting=True)
    bench.cellular.start(seen())

    assert [data["expectedIp"] for _, data in bench.told] == ["10.64.1.1"]


async def test_the_address_that_the_core_chose_counts_where_there_is_no_accounting(bench: FleetBench) -> None:
    """It is in the request then."""
    device = await known(bench)
    accepted = bench.cellular.access(seen(), accounting=False)

    assert isinstance(accepted, Accepted)
    assert accepted.address == ""
    assert send(bench) is device


@pytest.mark.parametrize(
    ("sighting", "reason", "told"),
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
async def test_who_may_not_attach_is_refused_and_told(
    bench: FleetBench, sighting: Any, reason: str, told: tuple[str, dict[str, str]]
) -> None:
    """The device's collection hears of it; a second request tells nothing new."""
    device = await known(bench)
    refused = [bench.cellular.access(sighting, accounting=True) for _ in range(2)]

    assert refused == [Refused(reason)] * 2
    assert bench.told == [told]
    assert bench.events[0].origin == device.origin


async def test_an_unknown_subscriber_is_told_without_attribution(bench: FleetBench) -> None:
    """F04."""
    refused = bench.cellular.access(seen(), accounting=True)

    assert refused == Refused("unknownDevice")
    assert bench.told == [("ciotRejected", {"reason": "unknownDevice", "nas": NAS, "imsi": IMSI, "imei": IMEI})]
    assert bench.events[0].origin == UNATTRIBUTED


@pytest.mark.parametrize(("what", "reason"), [("device", "deviceDisabled"), ("collection", "collectionDisabled")])
async def test_who_is_disabled_is_not_let_in(bench: FleetBench, what: str, reason: str) -> None:
    """The stream of the device says so."""
    device = await known(bench)
    (device if what == "device" else device.collection).enabled = False
    refused = bench.cellular.access(seen(), accounting=True)

    assert refused == Refused(reason)
    assert reasons(bench) == [("ciotRejected", reason)]


async def test_a_device_that_is_disabled_while_it_is_attached_stays_so(bench: FleetBench) -> None:
    """The network has it still, so its messages are those of a disabled device and not of nobody."""
    device = await known(bench)
    bench.cellular.start(seen())
    await bench.devices.update(device, DeviceChange(enabled=False), cause=CAUSE)
    found = bench.reception.identify((ADDRESS, 4000), transport=Transport.UDP, size=5)

    assert found is device
    assert "ciotDisconnect" not in bench.names


@pytest.mark.parametrize("bench", [{"cellular": {"pool": ("10.64.0.11/32",)}}], indirect=True)
async def test_nobody_attaches_when_the_pool_is_empty(bench: FleetBench) -> None:
    """The device is told why."""
    await known(bench)
    second = await known(bench, imsi=OTHER_IMSI, imei="")
    accepted = bench.cellular.access(seen(address=""), accounting=True)
    refused = bench.cellular.access(seen(imsi=OTHER_IMSI, imei="", address=""), accounting=True)

    assert isinstance(accepted, Accepted)
    assert accepted.address == ADDRESS
    assert refused == Refused("noAddress")
    assert [(each.name, each.origin) for each in bench.events] == [("ciotRejected", second.origin)]


async def test_what_the_listener_refuses_is_told_too(bench: FleetBench) -> None:
    """F05: unattributed, with who sent it, and not for each of a thousand."""
    for _ in range(1_000):
        bench.cellular.refused(CiotRejectedReason.BAD_SECRET, nas=NAS, remote=("192.0.2.10", 40000))
    bench.clock.shift(61)
    bench.cellular.sweep()

    told = {"nas": NAS, "reason": "badSecret", "remoteAddress": "192.0.2.10:40000"}
    assert bench.told == [("ciotRejected", told), ("ciotRejected", told | {"count": "999"})]


@pytest.mark.parametrize("bench", [{"cellular": {"on_mismatch": "accept", "pool": ("10.64.0.0/24",)}}], indirect=True)
async def test_a_mismatch_that_is_let_in_is_nobodys_device(bench: FleetBench) -> None:
    """It has an address, and what comes from there is rejected; it is told once, not again with accounting."""
    await known(bench)
    accepted = bench.cellular.access(seen(imsi=OTHER_IMSI, address=""), accounting=True)
    assert isinstance(accepted, Accepted)
    bench.cellular.start(seen(imsi=OTHER_IMSI, address=accepted.address))
    told = reasons(bench)
    bench.clock.shift(3601)
    bench.cellular.sweep()

    assert told == [("imsiMismatch", "")]
    assert bench.take() == []
    assert send(bench, accepted.address) is None


async def test_a_mismatch_that_only_accounting_shows_is_told(bench: FleetBench) -> None:
    """Some mobile cores ask nobody whom they let in; the session is known, but nobody's."""
    await known(bench)
    for _ in range(2):
        bench.cellular.start(seen(imei=OTHER_IMEI))

    assert bench.names == ["imeiMismatch"]
    assert send(bench) is None


async def test_a_sim_that_goes_into_other_hardware_ends_the_session_that_it_had(bench: FleetBench) -> None:
    """It took the place of its own session; nobody gave the address away."""
    await known(bench)
    bench.cellular.start(seen())
    bench.activities.clear()
    bench.cellular.start(seen(imei=OTHER_IMEI, session="2", address="10.64.0.12"))

    assert reasons(bench) == [("imeiMismatch", ""), ("ciotDisconnect", "replaced")]
    assert send(bench) is send(bench, "10.64.0.12") is None


async def test_two_devices_may_be_told_of_one_request(bench: FleetBench) -> None:
    """The SIM decides who attaches; whose hardware it is misses its SIM. Both have the same cause."""
    await known(bench, imei="")
    robbed = await known(bench, imsi=OTHER_IMSI)
    bench.cellular.start(seen())

    assert bench.names == ["imsiMismatch", "ciotConnect"]
    assert bench.events[0].origin == robbed.origin
    assert len({each.correlation_id for each in bench.events}) == 1


async def test_to_attach_rightly_ends_a_mismatch(bench: FleetBench) -> None:
    """The next one is news again."""
    await known(bench)
    for sighting in (seen(imsi=OTHER_IMSI), seen(), seen(imsi=OTHER_IMSI)):
        if not isinstance(bench.cellular.access(sighting, accounting=True), Refused):
            bench.cellular.start(sighting)

    assert bench.names == ["imsiMismatch", "ciotConnect", "imsiMismatch"]


# ---- addresses -----------------------------------------------------------------------------------


async def test_an_address_that_another_device_gets_is_taken_from_the_first(bench: FleetBench) -> None:
    """F08: the old one leaves before the new one comes, and what comes from there is the new one's."""
    old = await known(bench)
    new = await known(bench, imsi=OTHER_IMSI, imei="")
    bench.cellular.start(seen())
    send(bench)
    bench.activities.clear()
    bench.cellular.start(seen_other(imsi=OTHER_IMSI))

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
    """Its session is not there any more."""
    await known(bench)
    new = await known(bench, imsi=OTHER_IMSI, imei="")
    bench.cellular.start(seen())
    bench.cellular.start(seen_other(imsi=OTHER_IMSI))
    bench.activities.clear()
    bench.cellular.stop(seen())

    assert bench.take() == []
    assert send(bench) is new


async def test_an_unknown_subscriber_gets_the_address_too(bench: FleetBench) -> None:
    """Whatever comes from there is not the device's any more, whoever it is."""
    await known(bench)
    bench.cellular.start(seen())
    bench.activities.clear()
    bench.cellular.start(seen_other())

    assert reasons(bench) == [("ciotRejected", "unknownDevice"), ("ciotDisconnect", "addressReassigned")]
    assert send(bench) is None


async def test_the_mobile_core_knows_better_than_people(bench: FleetBench) -> None:
    """Who has an address by hand loses it to whoever attaches with it, but keeps it as its own."""
    by_hand = await bench.device(ADDRESS)
    send(bench)
    device = await known(bench)
    bench.cellular.start(seen())

    assert reasons(bench) == [("clientDisconnected", "addressReassigned"), ("ciotConnect", "")]
    assert send(bench) is device
    assert (by_hand.ciot.allocated_ip, by_hand.ciot.static_ip) == ("", ADDRESS)


async def test_every_host_of_a_prefix_is_the_device(bench: FleetBench) -> None:
    """It may choose and change the second half of its address (RFC 8981)."""
    device = await known(bench)
    bench.cellular.start(seen(address="", prefix=PREFIX))
    hosts = ["2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff"]

    assert [send(bench, host) for host in hosts] == [device, device]
    assert send(bench, "2001:db8:1:3::1") is None
    assert (device.ciot.allocated_ip, device.ciot.allocated_prefix) == ("", PREFIX)
    assert bench.take()[0][1]["allocatedIp"] == PREFIX


@pytest.mark.parametrize("attached_first", [True, False])
async def test_an_address_by_hand_takes_no_host_out_of_a_prefix(bench: FleetBench, attached_first: bool) -> None:
    """The whole prefix is the device's that attached with it."""
    device = await known(bench)
    host = "2001:db8:1:2::5"
    if attached_first:
        bench.cellular.start(seen(address="", prefix=PREFIX))
    by_hand = await bench.device(host)
    if not attached_first:
        send(bench, host)
        bench.activities.clear()
        bench.cellular.start(seen(address="", prefix=PREFIX))
        told = reasons(bench)
        assert told == [("clientDisconnected", "addressReassigned"), ("ciotConnect", "")]

    assert send(bench, host) is device
    assert (by_hand.ciot.allocated_ip, by_hand.ciot.static_ip) == ("", host)


async def test_a_device_that_attaches_anew_leaves_first(bench: FleetBench) -> None:
    """It rebooted, and the network did not tell that the old session is over."""
    device = await known(bench)
    bench.cellular.start(seen())
    send(bench)
    bench.activities.clear()
    bench.cellular.start(seen(session="C0000201A0000002", address="10.64.0.12"))

    assert reasons(bench) == [
        ("ciotDisconnect", "replaced"),
        ("clientDisconnected", "replaced"),
        ("ciotConnect", ""),
    ]
    assert send(bench) is None
    assert send(bench, "10.64.0.12") is device


async def test_a_session_without_an_address_is_replaced_by_any_other(bench: FleetBench) -> None:
    """Over the same APN; it is not known yet what it would have been."""
    device = await known(bench)
    bench.cellular.start(seen(address=""))
    bench.cellular.start(seen(session="C0000201A0000002"))

    assert reasons(bench) == [("ciotConnect", ""), ("ciotDisconnect", "replaced"), ("ciotConnect", "")]
    assert send(bench) is device


@pytest.mark.parametrize(
    "second",
    [{"apn": "other.test", "address": "10.64.0.12"}, {"address": "", "prefix": PREFIX}],
    ids=["two APNs", "IPv4 and IPv6 apart"],
)
async def test_a_device_may_have_two_sessions(bench: FleetBench, second: dict[str, str]) -> None:
    """Both addresses are its own; when one ends, the other one is shown."""
    device = await known(bench)
    bench.cellular.start(seen())
    bench.cellular.start(seen(session="C0000201A0000002", **second))
    both = [send(bench), send(bench, second["address"] or "2001:db8:1:2::1")]
    bench.cellular.stop(seen(session="C0000201A0000002"))

    assert both == [device, device]
    assert send(bench) is device
    assert (device.ciot.allocated_ip, device.ciot.allocated_prefix) == (ADDRESS, "")


async def test_an_interim_with_another_address_moves_the_device(bench: FleetBench) -> None:
    """Who had that one has it no longer; a prefix that is added leaves the rest as it is."""
    device = await known(bench)
    other = await known(bench, imsi=OTHER_IMSI, imei="")
    bench.cellular.start(seen())
    bench.cellular.start(seen_other(imsi=OTHER_IMSI, address="10.64.0.12"))
    send(bench)
    bench.activities.clear()
    bench.cellular.interim(seen(address="10.64.0.12", prefix=PREFIX))

    assert [(each.name, each.origin) for each in bench.events] == [
        ("ciotDisconnect", other.origin),
        ("clientDisconnected", device.origin),
    ]
    assert [send(bench), send(bench, "10.64.0.12"), send(bench, "2001:db8:1:2::1")] == [None, device, device]


async def test_a_session_may_get_its_address_later(bench: FleetBench) -> None:
    """The device is attached all the same."""
    device = await known(bench)
    bench.cellular.start(seen(address=""))
    bench.cellular.interim(seen())

    assert [(name, "allocatedIp" in data) for name, data in bench.take()] == [("ciotConnect", False)]
    assert send(bench) is device


@pytest.mark.parametrize("bench", [{"cellular": {"pool": ("10.64.0.0/24", "2001:db8:1::/48")}}], indirect=True)
async def test_a_device_gets_the_same_address_of_the_pool_again(bench: FleetBench) -> None:
    """Also when others came in between, and when it is let in by another NAS."""
    await known(bench)
    leases = []
    for nas in (NAS, "pgw2"):
        accepted = bench.cellular.access(seen(nas=nas, address=""), accounting=True)
        assert isinstance(accepted, Accepted)
        leases.append((accepted.address, accepted.prefix))
        bench.cellular.start(seen(nas=nas, address=accepted.address, prefix=accepted.prefix))
        bench.cellular.stop(seen(nas=nas))
        await known(bench, imsi=f"{nas[-1]:0>15}", imei="")
        bench.cellular.access(seen(imsi=f"{nas[-1]:0>15}", imei="", address=""), accounting=True)

    assert leases == [("10.64.0.1", "2001:db8:1::/64")] * 2


@pytest.mark.parametrize("bench", [{"cellular": {"pool": ("10.64.0.11/32",), "quarantine": 600.0}}], indirect=True)
@pytest.mark.parametrize("leaves", ["stops", "moves"])
async def test_a_freed_address_is_given_to_others_after_a_while(bench: FleetBench, leaves: str) -> None:
    """Late datagrams of the first must not be taken for those of the second."""
    await known(bench)
    await known(bench, imsi=OTHER_IMSI, imei="")
    bench.cellular.start(seen())
    if leaves == "stops":
        bench.cellular.stop(seen())
    else:
        bench.cellular.interim(seen(address="192.0.2.99"))
    answers = []
    for _ in range(2):
        answers.append(bench.cellular.access(seen(imsi=OTHER_IMSI, imei="", address=""), accounting=True))
        bench.clock.shift(600)
    early, later = answers

    assert early == Refused("noAddress")
    assert isinstance(later, Accepted)
    assert later.address == ADDRESS


# ---- leaving -------------------------------------------------------------------------------------


async def test_a_stop_ends_everything(bench: FleetBench) -> None:
    """With the words and the seconds of the mobile core; then the address is nobody's."""
    device = await known(bench, allocated_ip=ADDRESS)
    bench.cellular.start(seen())
    send(bench)
    connect = bench.events[0]
    bench.activities.clear()
    bench.cellular.stop(seen(terminate_cause="User-Request", session_seconds=120))
    disconnect = bench.events[0]

    assert bench.take() == [
        (
            "ciotDisconnect",
            {
                "allocatedIp": ADDRESS,
                "cause": "User-Request",
                "imsi": IMSI,
                "reason": "stop",
                "seconds": "120",
            },
        ),
        ("clientDisconnected", {"reason": "detached", "transport": "udp"}),
    ]
    assert connect.session_id == disconnect.session_id is not None
    assert send(bench) is None
    assert (device.ciot.allocated_ip, device.ciot.static_ip, device.ciot.last_ip) == ("", ADDRESS, ADDRESS)


@pytest.mark.parametrize(("own", "host"), [(ADDRESS, ADDRESS), ("2001:db8:1:2::9", "2001:db8:1:2::77")])
async def test_a_device_that_sends_while_it_is_away_is_told(bench: FleetBench, own: str, host: str) -> None:
    """Its stream says that it is not attached; a device that has no address of its own is nobody then."""
    device = await known(bench, allocated_ip=own)
    lease = {"address": own} if own == host else {"address": "", "prefix": PREFIX}
    bench.cellular.start(seen(**lease))
    bench.cellular.stop(seen(**lease))
    bench.activities.clear()
    away = send(bench, host)
    ((event),) = bench.events
    bench.cellular.start(seen(session="2", **lease))
    back = send(bench, host)

    assert (away, back) == (None, device)
    assert isinstance(event, MessageRejected)
    assert (event.reason, event.origin) == ("notAttached", device.origin)


async def test_a_neighbour_of_a_device_without_a_sim_is_nobody(bench: FleetBench) -> None:
    """In a lab many have addresses of one prefix, and none of them attaches."""
    await bench.device("2001:db8:1:2::9")
    send(bench, "2001:db8:1:2::77")

    assert reasons(bench) == [("messageRejected", "unknownAddress")]


async def test_a_device_keeps_its_own_address_while_it_is_away(bench: FleetBench) -> None:
    """The next Accept gives it."""
    await known(bench, allocated_ip=ADDRESS)
    bench.cellular.start(seen())
    bench.cellular.stop(seen())
    accepted = bench.cellular.access(seen(address=""), accounting=True)

    assert isinstance(accepted, Accepted)
    assert accepted.address == ADDRESS


async def test_a_restarted_node_takes_its_own_sessions_along(bench: FleetBench) -> None:
    """Neither those of another node nor, with the same address, those of another NAS; a Start after it is news."""
    await known(bench)
    for number, other in enumerate(({"nas_address": "192.0.2.11"}, {"nas": "pgw2"})):
        await known(bench, imsi=f"24201600000010{number}", imei="")
        bench.cellular.start(
            seen(imsi=f"24201600000010{number}", imei="", address=f"10.64.1.{number}", session=f"{number}", **other)
        )
    bench.cellular.start(seen())
    bench.activities.clear()
    bench.cellular.nas_restarted(NAS, NODE, off=False)
    bench.cellular.nas_restarted(NAS, NODE, off=True)
    ended = reasons(bench)
    bench.cellular.start(seen())

    assert ended == [("ciotDisconnect", "nasRestarted")]
    assert bench.names == ["ciotConnect"]
    assert send(bench, "10.64.1.0") is not None
    assert send(bench, "10.64.1.1") is not None


async def test_the_log_names_the_node_that_was_restarted(bench: FleetBench) -> None:
    """At INFO only if sessions are gone with it: some nodes say so every few minutes."""
    bench.cellular.start(seen())
    with capture_logs() as logs:
        bench.cellular.nas_restarted(NAS, NODE, off=True)
        bench.cellular.nas_restarted(NAS, NODE, off=False)

    line = {"event": "nas_restarted", "part": "cellular", "nas": NAS, "nas_address": NODE}
    assert logs == [
        line | {"log_level": "info", "said": "Accounting-Off", "sessions": 1},
        line | {"log_level": "debug", "said": "Accounting-On", "sessions": 0},
    ]


async def test_a_node_with_many_sessions_does_not_stop_the_others(bench: FleetBench) -> None:
    """They end a thousand at a time; the answer waits for all of them."""
    for number in range(2_500):
        bench.cellular.start(seen_other(number, address=f"10.65.{number // 250}.{number % 250}"))
    bench.cellular.nas_restarted(NAS, NODE, off=True)
    left = bench.gauge("cellular_sessions")
    bench.cellular.nas_restarted(NAS, NODE, off=False)
    await bench.cellular.commit()

    assert left == {"device": 0, "nobody": 1_500}
    assert bench.gauge("cellular_sessions") == {"device": 0, "nobody": 0}
    assert (await bench.store.load()).attachments == []


async def test_a_session_that_began_anew_after_its_node_restarted_stays(bench: FleetBench) -> None:
    """Even if that comes before the old ones are all gone."""
    device = await known(bench)
    for number in range(1_500):
        bench.cellular.start(seen_other(number, address=f"10.65.{number // 250}.{number % 250}"))
    bench.cellular.start(seen())
    bench.cellular.nas_restarted(NAS, NODE, off=False)
    bench.cellular.start(seen(session="new"))
    await bench.cellular.commit()

    assert send(bench) is device
    assert bench.gauge("cellular_sessions") == {"device": 1, "nobody": 0}


async def test_what_attached_after_the_restart_survives_a_word_of_it_that_comes_late(bench: FleetBench) -> None:
    """A NAS repeats Accounting-On until it has an answer, and lets devices attach meanwhile."""
    await known(bench, imsi=OTHER_IMSI, imei="")
    device = await known(bench)
    bench.cellular.start(seen(imsi=OTHER_IMSI, imei="", session="old", address="10.64.0.12"))
    bench.clock.shift(20)
    bench.cellular.start(seen())
    bench.activities.clear()
    bench.cellular.nas_restarted(NAS, NODE, off=False, seconds_ago=15)

    assert reasons(bench) == [("ciotDisconnect", "nasRestarted")]
    assert send(bench, "10.64.0.12") is None
    assert send(bench) is device


async def test_a_session_with_a_number_from_before_its_node_restarted_stays(bench: FleetBench) -> None:
    """The NAS counts from one again, and the old session of that number is still to be ended."""
    device = await known(bench)
    for number in range(1_500):
        bench.cellular.start(seen_other(number, address=f"10.65.{number // 250}.{number % 250}"))
    bench.cellular.start(seen())
    bench.activities.clear()
    bench.cellular.nas_restarted(NAS, NODE, off=False)
    bench.cellular.start(seen())
    await bench.cellular.commit()

    assert reasons(bench) == [("ciotDisconnect", "nasRestarted"), ("ciotConnect", "")]
    assert send(bench) is device


async def test_a_number_that_names_another_session_ends_the_first(bench: FleetBench) -> None:
    """A NAS that has lost its memory counts from one again."""
    await known(bench)
    other = await known(bench, imsi=OTHER_IMSI, imei="")
    bench.cellular.start(seen())
    bench.activities.clear()
    bench.cellular.start(seen(imsi=OTHER_IMSI, imei="", address="10.64.0.12"))

    assert reasons(bench) == [("ciotDisconnect", "replaced"), ("ciotConnect", "")]
    assert send(bench, "10.64.0.12") is other
    assert send(bench) is None


async def test_sessions_without_a_number_are_told_apart_by_their_sim(bench: FleetBench) -> None:
    """They would all be one and the same, and each would end the one before."""
    device = await known(bench)
    other = await known(bench, imsi=OTHER_IMSI, imei="")
    bench.cellular.start(seen(session=""))
    bench.cellular.start(seen(session="", imsi=OTHER_IMSI, imei="", address="10.64.0.12"))
    both = send(bench), send(bench, "10.64.0.12")
    bench.cellular.stop(seen(session=""))

    assert both == (device, other)
    assert send(bench) is None
    assert send(bench, "10.64.0.12") is other


async def test_a_late_stop_of_the_same_number_ends_nobody_elses_session(bench: FleetBench) -> None:
    """The number was given to another SIM meanwhile; whose session the Stop ends is in it."""
    await known(bench)
    other = await known(bench, imsi=OTHER_IMSI, imei="")
    bench.cellular.start(seen())
    bench.cellular.start(seen(imsi=OTHER_IMSI, imei=""))
    bench.activities.clear()
    bench.cellular.stop(seen())

    assert bench.names == []
    assert send(bench) is other


async def test_without_news_a_session_ends_after_a_day(bench: FleetBench) -> None:
    """As long as its NAS has sent no Interim-Update."""
    await known(bench)
    bench.cellular.start(seen())
    send(bench)
    bench.activities.clear()
    bench.clock.shift(86_399)
    bench.cellular.sweep()
    early = bench.names
    bench.clock.shift(1)
    bench.cellular.sweep()

    assert early == []
    assert bench.take()[0] == (
        "ciotDisconnect",
        {"allocatedIp": ADDRESS, "imsi": IMSI, "reason": "timeout", "seconds": "86400"},
    )


@pytest.mark.parametrize(("nas", "lifetime"), [(NAS, 3 * 600 + 60), ("pgw2", 86_400)])
async def test_whoever_sends_interims_is_missed_after_three(bench: FleetBench, nas: str, lifetime: int) -> None:
    """The first one begins it; from a NAS that is not asked for them, one says little."""
    await known(bench)
    bench.cellular.start(seen(nas=nas))
    bench.cellular.interim(seen(nas=nas))
    bench.activities.clear()
    for _ in range(3):
        bench.clock.shift(lifetime - 1)
        bench.cellular.sweep()
        bench.cellular.start(seen(nas=nas))
    bench.clock.shift(lifetime)
    bench.cellular.sweep()

    assert [reason for _, reason in reasons(bench) if reason] == ["timeout"]


@pytest.mark.parametrize("bench", [{"cellular": {"sessions": 2}}], indirect=True)
async def test_sessions_are_bounded(bench: FleetBench) -> None:
    """The one without news for longest makes room, and its device is told."""
    await known(bench)
    bench.cellular.start(seen())
    for number in (2, 3):
        bench.clock.shift(1)
        bench.cellular.start(seen_other(number, address=f"10.64.1.{number}"))

    assert ("ciotDisconnect", "tableFull") in reasons(bench)
    assert bench.gauge("cellular_sessions") == {"device": 0, "nobody": 2}


# ---- order ---------------------------------------------------------------------------------------


async def test_a_start_that_comes_late_changes_nothing(bench: FleetBench) -> None:
    """It was made before the one that is known, by the clock of the same NAS."""
    await known(bench)
    other = await known(bench, imsi=OTHER_IMSI, imei="")
    bench.cellular.start(seen_other(imsi=OTHER_IMSI, time_ms=1_000_000))
    bench.activities.clear()
    bench.cellular.start(seen(time_ms=999_000))

    assert bench.take() == []
    assert send(bench) is other
    assert bench.gauge("cellular_ignored") == {"late": 1, "unknownStop": 0}


async def test_a_late_start_of_the_same_device_does_not_bring_its_old_session_back(bench: FleetBench) -> None:
    """The NAS tries for minutes if its requests are lost."""
    device = await known(bench)
    bench.cellular.start(seen(session="2", address="10.64.0.12", time_ms=2_000_000))
    bench.activities.clear()
    bench.cellular.start(seen(session="1", time_ms=1_500_000))

    assert bench.take() == []
    assert send(bench, "10.64.0.12") is device


@pytest.mark.parametrize(("nas", "time_ms"), [("pgw2", 999_000), (NAS, 0)], ids=["another clock", "no time"])
async def test_times_that_cannot_be_compared_do_not_count(bench: FleetBench, nas: str, time_ms: int) -> None:
    """What comes last is believed."""
    device = await known(bench)
    bench.cellular.start(seen_other(time_ms=1_000_000))
    bench.cellular.start(seen(nas=nas, time_ms=time_ms))

    assert send(bench) is device


async def test_an_old_copy_does_not_undo_what_came_after_it(bench: FleetBench) -> None:
    """A Start that comes again after the address has changed."""
    device = await known(bench)
    bench.cellular.start(seen(time_ms=1_000_000))
    bench.cellular.interim(seen(address="10.64.0.12", time_ms=1_060_000))
    bench.cellular.start(seen(time_ms=1_000_000))

    assert send(bench, "10.64.0.12") is device
    assert send(bench) is None


@pytest.mark.parametrize("known_before", [True, False])
async def test_what_comes_after_the_stop_does_not_bring_the_session_back(bench: FleetBench, known_before: bool) -> None:
    """An Interim-Update or a Start that got lost at first is sent again, and overtaken by the Stop."""
    await known(bench)
    if known_before:
        bench.cellular.start(seen(time_ms=1_000_000))
    bench.cellular.stop(seen(time_ms=1_060_000))
    bench.activities.clear()
    bench.cellular.interim(seen(time_ms=1_055_000))
    bench.cellular.start(seen(time_ms=1_000_000))
    late = bench.names
    bench.cellular.start(seen(time_ms=1_060_001))

    assert late == []
    assert bench.gauge("cellular_ignored")["late"] == 2  # type: ignore[index]
    assert bench.names == ["ciotConnect"]


@pytest.mark.parametrize("bench", [{"cellular": {"stops": 2}}], indirect=True)
async def test_only_the_latest_stops_are_remembered(bench: FleetBench) -> None:
    """Else a NAS could fill the memory. One that comes again is the latest."""
    for session in ("1", "2", "1", "3"):
        bench.cellular.stop(seen(session=session, time_ms=2_000))
    for session in ("1", "2", "3"):
        bench.cellular.start(seen(session=session, address="", time_ms=1_000))

    assert bench.gauge("cellular_stops") == 2
    assert bench.gauge("cellular_ignored") == {"late": 2, "unknownStop": 4}


@pytest.mark.parametrize(("minutes", "is_believed"), [(15, False), (16, True)])
@pytest.mark.parametrize("before", ["stop", "another session", "the same session"])
async def test_a_clock_that_was_set_back_is_not_held_against_its_nas(
    bench: FleetBench, minutes: int, is_believed: bool, before: str
) -> None:
    """No NAS tries for so long to tell something: it would be deaf to all that comes from there until that time."""
    device = await known(bench)
    then_ms = 100_000_000
    match before:
        case "stop":
            bench.cellular.stop(seen(time_ms=then_ms))
        case "another session":
            bench.cellular.start(seen_other(time_ms=then_ms))
        case _:
            bench.cellular.start(seen(address="10.64.0.12", time_ms=then_ms))
    bench.cellular.start(seen(time_ms=then_ms - minutes * 60_000))

    assert (send(bench) is device) is is_believed


# ---- silence -------------------------------------------------------------------------------------


def wait(bench: FleetBench, seconds: float) -> None:
    bench.clock.shift(seconds)
    bench.cellular.sweep()


async def test_a_device_that_attaches_and_sends_nothing_is_told_once(bench: FleetBench) -> None:
    """F03."""
    await known(bench)
    bench.cellular.start(seen())
    bench.activities.clear()
    wait(bench, 299)
    early = bench.take()
    wait(bench, 1)
    told = bench.take()
    wait(bench, 3_000)

    assert early == []
    assert told == [("clientSilent", {"allocatedIp": ADDRESS, "attachedAt": "2024-04-25 20:23:36", "seconds": "300"})]
    assert bench.take() == []


async def test_whatever_comes_of_a_device_is_no_silence(bench: FleetBench) -> None:
    """A message, a poll, or something that is not accepted."""
    collection = await bench.collection()
    devices = []
    for number in range(3):
        devices.append(await known(bench, f"24201600000020{number}", "", collection))
        bench.cellular.start(
            seen(session=f"{number}", imsi=f"24201600000020{number}", imei="", address=f"10.0.0.{number}")
        )
    send(bench, "10.0.0.0")
    bench.reception.contacted(devices[1], ("10.0.0.1", 5683), transport=Transport.COAP)
    devices[2].enabled = False
    bench.reception.admit(devices[2], ("10.0.0.2", 4000), transport=Transport.UDP, size=5)
    wait(bench, 1_000)

    assert "clientSilent" not in bench.names


async def test_an_upload_of_a_blob_is_no_silence(bench: FleetBench) -> None:
    """From its beginning on: it may take longer than a silence; over HTTP, it is neither message nor session."""
    device = await known(bench)
    bench.cellular.start(seen())
    upload = bench.blobs.begin(device, size=6, remote=(ADDRESS, 4000), transport=Transport.HTTP)
    bench.activities.clear()
    wait(bench, 1_000)
    meanwhile = bench.take()
    await upload.write(b"octets")
    await bench.blobs.finish(upload, properties={}, declared="")
    wait(bench, 1_000)

    assert meanwhile == []
    assert bench.names == ["blobUpload"]


async def test_whoever_has_left_is_not_silent(bench: FleetBench) -> None:
    """Nor is what nobody knows."""
    await known(bench)
    bench.cellular.start(seen())
    bench.cellular.stop(seen())
    bench.cellular.start(seen_other())
    bench.activities.clear()
    wait(bench, 1_000)

    assert bench.take() == []


# ---- restart of the server -----------------------------------------------------------------------


async def restarted(bench: FleetBench) -> FleetBench:
    """Make the fleet anew of what the registry holds."""
    contents = await bench.store.load()
    again = FleetBench(bench.store, bench.authority, bench.clock, bench.folder)
    again.directory.fill(contents.collections, contents.devices)
    again.cellular.fill(contents.attachments)
    return again


async def test_a_restart_between_attach_and_datagram_changes_nothing(bench: FleetBench) -> None:
    """Also if nothing but the commit came before it; what the core repeats is told no second time."""
    device = await known(bench)
    bench.cellular.start(seen(prefix=PREFIX))
    await bench.cellular.commit()
    again = await restarted(bench)
    found = [send(again), send(again, "2001:db8:1:2::9")]
    again.activities.clear()
    again.cellular.start(seen(prefix=PREFIX))
    again.cellular.interim(seen(prefix=PREFIX))
    repeated, shown = again.names, again.directory.devices[device.id].ciot.allocated_ip
    again.cellular.stop(seen())

    assert [each and each.id for each in found] == [device.id] * 2
    assert shown == ADDRESS
    assert repeated == []
    assert reasons(again) == [("ciotDisconnect", "stop"), ("clientDisconnected", "detached")]


async def test_a_restart_is_no_news(bench: FleetBench) -> None:
    """The metadata keep their times, and nothing is written."""
    device = await known(bench, allocated_ip=ADDRESS)
    bench.clock.shift(5)
    bench.cellular.start(seen())
    attached_ms = bench.clock.time_ns() // 1_000_000
    await bench.cellular.commit()
    await bench.reception.flush()
    bench.clock.shift(60)
    again = await restarted(bench)
    ciot = again.directory.devices[device.id].ciot

    assert ciot == device.ciot
    assert (ciot.allocated_at, ciot.last_update) == (attached_ms, attached_ms)


async def test_a_session_that_a_device_lost_just_before_a_crash_is_not_its_again(bench: FleetBench) -> None:
    """The device's row was written with its new SIM, the session's row was not yet."""
    device = await known(bench, imei="")
    bench.cellular.start(seen())
    await bench.cellular.commit()
    await bench.devices.update(device, DeviceChange(imsi=OTHER_IMSI), cause=CAUSE)
    again = await restarted(bench)

    assert send(again) is None


async def test_a_session_that_ended_just_before_a_crash_is_not_back(bench: FleetBench) -> None:
    """The device's row still said that it has the address."""
    device = await known(bench)
    bench.cellular.start(seen())
    await bench.cellular.commit()
    await bench.reception.flush()
    bench.cellular.stop(seen())
    await bench.cellular.commit()
    again = await restarted(bench)

    assert send(again) is None
    assert again.directory.devices[device.id].ciot.last_ip == ADDRESS


async def test_an_address_by_hand_survives_a_restart(bench: FleetBench) -> None:
    """A device that never attached has it in a lab without a mobile core."""
    device = await bench.device(ADDRESS)
    found = send(await restarted(bench))

    assert found is not None
    assert found.id == device.id


async def test_the_first_interim_of_a_session_that_was_lost_is_its_start(bench: FleetBench) -> None:
    """The mobile core does not repeat its Starts."""
    device = await known(bench)
    bench.cellular.interim(seen())

    assert bench.names == ["ciotConnect"]
    assert send(bench) is device


@pytest.mark.parametrize("missing", [{"imsi": "", "imei": ""}, {"imsi": ""}, {"imei": ""}])
async def test_a_session_may_get_its_numbers_later(bench: FleetBench, missing: dict[str, str]) -> None:
    """An Interim-Update tells what the Start did not; it is the device's then, also for the registry."""
    device = await known(bench)
    bench.cellular.start(seen(**missing))
    bench.activities.clear()
    bench.cellular.interim(seen())
    told = bench.names
    await bench.cellular.commit()
    (kept,) = (await bench.store.load()).attachments

    assert told == (["ciotConnect"] if "imsi" in missing else [])
    assert send(bench) is device
    assert (kept.imsi, kept.imei) == (IMSI, IMEI)


async def test_a_session_that_shows_another_number_later_is_not_the_devices(bench: FleetBench) -> None:
    """It was the device's by its SIM; the hardware says otherwise."""
    await known(bench)
    bench.cellular.start(seen(imei=""))
    bench.cellular.interim(seen(imei=OTHER_IMEI))
    bench.cellular.interim(seen(imei=OTHER_IMEI))

    assert reasons(bench) == [("ciotConnect", ""), ("ciotDisconnect", "identityChanged"), ("imeiMismatch", "")]
    assert send(bench) is None


async def test_a_mismatch_that_an_interim_shows_is_told(bench: FleetBench) -> None:
    """The Start told neither SIM nor hardware."""
    await known(bench)
    bench.cellular.start(seen(imsi="", imei=""))
    bench.activities.clear()
    bench.cellular.interim(seen(imei=OTHER_IMEI))

    assert bench.names == ["imeiMismatch"]


async def test_silence_is_told_after_a_restart_too(bench: FleetBench) -> None:
    """The wait begins anew, as the device may have sent meanwhile; what was told before is not told again."""
    await known(bench)
    bench.cellular.start(seen())
    await bench.cellular.commit()
    bench.clock.shift(200)
    again = await restarted(bench)
    wait(again, 200)
    early = again.take()
    wait(again, 100)
    told = again.take()
    once_more = await restarted(bench)
    wait(once_more, 1_000)

    assert early == []
    assert [(name, data["seconds"]) for name, data in told] == [("clientSilent", "500")]
    assert once_more.take() == []


async def test_a_device_that_sent_before_the_restart_is_not_silent(bench: FleetBench) -> None:
    """Its last message is younger than the attachment."""
    await known(bench)
    bench.cellular.start(seen())
    send(bench)
    await bench.cellular.commit()
    await bench.reception.flush()
    again = await restarted(bench)
    wait(again, 1_000)

    assert again.names == []


async def test_a_registry_that_fails_loses_nothing(bench: FleetBench) -> None:
    """The request comes again, tells nothing new, and is answered when it is written."""
    await known(bench)
    bench.cellular.start(seen())
    await bench.store.close()
    with pytest.raises(StorageUnavailable):
        await bench.cellular.commit()
    await bench.store.open()
    bench.cellular.start(seen())
    await bench.cellular.commit()

    assert bench.names == ["ciotConnect"]
    assert [each.session for each in (await bench.store.load()).attachments] == [seen().session]


# ---- the API -------------------------------------------------------------------------------------


async def test_a_device_that_is_made_while_its_sim_is_attached_connects(bench: FleetBench) -> None:
    """After the device is told."""
    bench.cellular.start(seen())
    bench.activities.clear()
    device = await bench.devices.create(await bench.collection(), DeviceChange(imsi=IMSI), cause=CAUSE)

    assert bench.names == ["deviceCreated", "ciotConnect"]
    assert {each.correlation_id for each in bench.events} == {CAUSE}
    assert send(bench) is device


@pytest.mark.parametrize("change", [{"imsi": IMSI}, {"imei": IMEI}], ids=str)
async def test_a_device_that_gets_the_right_number_connects(bench: FleetBench, change: dict[str, str]) -> None:
    """It need not attach again."""
    device = await known(bench, imsi="", imei="")
    bench.cellular.start(seen())
    bench.activities.clear()
    await bench.devices.update(device, DeviceChange(**change), cause=CAUSE)  # type: ignore[arg-type]  # a table of cases

    assert bench.names == ["deviceUpdated", "ciotConnect"]
    assert send(bench) is device


async def test_a_mismatch_ends_with_the_device_that_it_contradicted(bench: FleetBench) -> None:
    """The next Interim-Update finds whose hardware it is."""
    contradicted = await known(bench, imei=OTHER_IMEI)
    device = await known(bench, imsi="")
    bench.cellular.start(seen())
    await bench.devices.remove(contradicted, cause=CAUSE)
    bench.cellular.interim(seen())

    assert bench.names == ["imeiMismatch", "deviceRemoved", "ciotConnect"]
    assert send(bench) is device


async def test_a_device_that_gets_another_number_is_attached_no_longer(bench: FleetBench) -> None:
    """The network has the session still: it is known, but nobody's; set right, it is the device's again."""
    device = await known(bench)
    bench.cellular.start(seen())
    send(bench)
    bench.activities.clear()
    await bench.devices.update(device, DeviceChange(imsi=OTHER_IMSI), cause=CAUSE)
    wrong = reasons(bench)
    nobody = send(bench)
    bench.activities.clear()
    await bench.devices.update(device, DeviceChange(imsi=IMSI), cause=CAUSE)

    assert wrong == [
        ("deviceUpdated", ""),
        ("ciotDisconnect", "identityChanged"),
        ("clientDisconnected", "detached"),
        ("imsiMismatch", ""),
    ]
    assert nobody is None
    assert reasons(bench) == [("deviceUpdated", ""), ("ciotConnect", "")]


async def test_the_sim_decides_between_two_devices_also_later(bench: FleetBench) -> None:
    """One was taken for its hardware; then the SIM is given to the other one."""
    by_hardware = await known(bench, imsi="")
    bench.cellular.start(seen())
    bench.activities.clear()
    by_sim = await bench.devices.create(await bench.collection(), DeviceChange(imsi=IMSI), cause=CAUSE)

    assert [(each.name, each.origin) for each in bench.events][1:] == [
        ("ciotDisconnect", by_hardware.origin),
        ("ciotConnect", by_sim.origin),
    ]


async def test_to_change_something_else_tells_nothing(bench: FleetBench) -> None:
    """Nor to set the number that is there, in another form."""
    device = await known(bench)
    bench.cellular.start(seen())
    bench.activities.clear()
    for change in (DeviceChange(tags={"a": "b"}), DeviceChange(imsi=IMSI), DeviceChange(imei="3569380356438001")):
        await bench.devices.update(device, change, cause=CAUSE)

    assert bench.names == ["deviceUpdated"] * 3


async def test_a_removed_device_leaves_first(bench: FleetBench) -> None:
    """Its address is in use still, so the pool does not give it to anybody."""
    device = await known(bench)
    bench.cellular.start(seen())
    send(bench)
    bench.activities.clear()
    await bench.devices.remove(device, cause=CAUSE)
    told = reasons(bench)
    bench.cellular.interim(seen())
    await bench.cellular.commit()
    (kept,) = (await bench.store.load()).attachments

    assert told == [("clientDisconnected", "deviceRemoved"), ("ciotDisconnect", "deviceRemoved"), ("deviceRemoved", "")]
    assert bench.take() == []
    assert send(bench) is None
    assert (kept.device, kept.address) == (None, ADDRESS)


async def test_an_address_set_by_hand_while_attached_is_for_the_next_time(bench: FleetBench) -> None:
    """The network does not know of it; until then the device is where it is."""
    device = await known(bench)
    bench.cellular.start(seen())
    await bench.devices.update(device, DeviceChange(allocated_ip="10.64.0.50"), cause=CAUSE)
    bench.activities.clear()
    accepted = bench.cellular.access(seen(address=""), accounting=True)

    assert (device.ciot.allocated_ip, device.ciot.static_ip) == (ADDRESS, "10.64.0.50")
    assert send(bench) is device
    assert send(bench, "10.64.0.50") is None
    assert isinstance(accepted, Accepted)
    assert accepted.address == "10.64.0.50"


async def test_what_the_core_told_while_a_call_was_written_wins(bench: FleetBench) -> None:
    """Two get the same address at the same moment, one by hand."""
    by_hand = await bench.device()
    device = await known(bench)
    put = bench.store.put_devices

    async def meanwhile(devices: Any) -> None:
        await put(devices)
        bench.cellular.start(seen())

    bench.store.put_devices = meanwhile  # type: ignore[method-assign]  # the moment cannot be met otherwise
    await bench.devices.update(by_hand, DeviceChange(allocated_ip=ADDRESS), cause=CAUSE)

    assert send(bench) is device
    assert by_hand.ciot.allocated_ip == ""


async def test_an_address_by_hand_is_not_taken_from_whoever_has_it(bench: FleetBench) -> None:
    """The mobile core has given it to somebody whom we do not know; a new device keeps it for later."""
    bench.cellular.start(seen())
    device = await bench.device(ADDRESS)

    assert send(bench) is None
    assert (device.ciot.allocated_ip, device.ciot.static_ip) == ("", ADDRESS)


async def test_a_moved_device_is_attached_still(bench: FleetBench) -> None:
    """Its new collection hears when it leaves."""
    device = await known(bench)
    target = await bench.collection()
    bench.cellular.start(seen())
    await bench.devices.update(device, DeviceChange(collection_id=target.id), cause=CAUSE)
    bench.activities.clear()
    bench.cellular.stop(seen())

    assert [each.origin.collection_id for each in bench.events] == [target.id]


# ---- hostile -------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["\x00", "\ud800", "\x7f", "å", "x" * 5_000, "'; DROP TABLE devices; --"])
async def test_whatever_a_nas_writes_can_be_stored(bench: FleetBench, text: str) -> None:
    """And is the same session when it comes again, also after a restart."""
    await known(bench)
    sighting = seen(session=text, nas_address=text, apn=text)
    bench.cellular.start(sighting)
    await bench.cellular.commit()
    again = await restarted(bench)
    again.cellular.start(sighting)
    repeated = again.names
    again.cellular.stop(sighting)

    assert repeated == []
    assert again.names == ["ciotDisconnect"]
