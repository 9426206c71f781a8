"""Accounting records: the end of attachments, the order of records, and silent devices."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from span_events.events.catalogue import MessageRejected
from span_events.events.message import Transport
from span_events.fleet.cellular.report import Accepted
from span_events.ids import render
from tests.bench.fleets import FleetBench
from tests.fleet.cellular.reports import (
    ADDRESS,
    IMSI,
    NAS,
    NODE,
    OTHER_IMSI,
    PREFIX,
    known,
    reasons,
    seen,
    seen_other,
    send,
    wait,
)

# ---- end -----------------------------------------------------------------------------------------


async def test_a_stop_ends_the_attachment(bench: FleetBench) -> None:
    """The event has cause and duration of the mobile core; the address then belongs to no device."""
    device = await known(bench, allocated_ip=ADDRESS)
    bench.cellular.accounting.start(seen())
    send(bench)
    connect = bench.events[0]
    bench.activities.clear()
    bench.cellular.accounting.stop(seen(terminate_cause="User-Request", session_seconds=120))
    disconnect = bench.events[0]

    assert bench.drain() == [
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
        ("clientDisconnected", {"reason": "detached", "transport": "udp", "remoteAddress": "10.64.0.11:4000"}),
    ]
    assert connect.session_id == disconnect.session_id is not None
    assert send(bench) is None
    assert (device.ciot.allocated_ip, device.ciot.static_ip, device.ciot.last_ip) == ("", ADDRESS, ADDRESS)


@pytest.mark.parametrize(("own", "host"), [(ADDRESS, ADDRESS), ("2001:db8:1:2::9", "2001:db8:1:2::77")])
async def test_a_message_of_a_detached_device_is_published_as_rejected(bench: FleetBench, own: str, host: str) -> None:
    """Its stream shows that it is not attached; without a static address, the sender is unknown."""
    device = await known(bench, allocated_ip=own)
    lease = {"address": own} if own == host else {"address": "", "prefix": PREFIX}
    bench.cellular.accounting.start(seen(**lease))
    bench.cellular.accounting.stop(seen(**lease))
    bench.activities.clear()
    away = send(bench, host)
    ((event),) = bench.events
    bench.cellular.accounting.start(seen(session="2", **lease))
    back = send(bench, host)

    assert (away, back) == (None, device)
    assert isinstance(event, MessageRejected)
    assert (event.reason, event.origin) == ("notAttached", device.origin)


async def test_a_host_in_the_same_prefix_as_a_device_without_a_sim_is_unknown(bench: FleetBench) -> None:
    """In a lab many hosts have addresses of one prefix, and none of them attaches."""
    await bench.device("2001:db8:1:2::9")
    send(bench, "2001:db8:1:2::77")

    assert reasons(bench) == [("messageRejected", "unknownAddress")]


async def test_a_device_keeps_its_static_address_while_detached(bench: FleetBench) -> None:
    """The next Access-Accept assigns it."""
    await known(bench, allocated_ip=ADDRESS)
    bench.cellular.accounting.start(seen())
    bench.cellular.accounting.stop(seen())
    accepted = bench.cellular.access(seen(address=""), accounting=True)

    assert isinstance(accepted, Accepted)
    assert accepted.address == ADDRESS


async def test_a_restarted_node_ends_only_its_own_attachments(bench: FleetBench) -> None:
    """Those of another node, or of another NAS with the same address, stay; a later Start begins a new one."""
    await known(bench)
    for number, other in enumerate(({"nas_address": "192.0.2.11"}, {"nas": "pgw2"})):
        await known(bench, imsi=f"24201600000010{number}", imei="")
        bench.cellular.accounting.start(
            seen(imsi=f"24201600000010{number}", imei="", address=f"10.64.1.{number}", session=f"{number}", **other)
        )
    bench.cellular.accounting.start(seen())
    bench.activities.clear()
    bench.cellular.accounting.nas_restarted(NAS, NODE, off=False)
    bench.cellular.accounting.nas_restarted(NAS, NODE, off=True)
    ended = reasons(bench)
    bench.cellular.accounting.start(seen())

    assert ended == [("ciotDisconnect", "nasRestarted")]
    assert bench.names == ["ciotConnect"]
    assert send(bench, "10.64.1.0") is not None
    assert send(bench, "10.64.1.1") is not None


async def test_the_log_names_a_restarted_node(bench: FleetBench) -> None:
    """At INFO only if attachments end: some nodes send Accounting-On every few minutes."""
    bench.cellular.accounting.start(seen())
    with capture_logs() as logs:
        bench.cellular.accounting.nas_restarted(NAS, NODE, off=True)
        bench.cellular.accounting.nas_restarted(NAS, NODE, off=False)

    line = {"event": "nas_restarted", "part": "cellular", "nas": NAS, "nas_address": NODE}
    assert [each for each in logs if each["event"] == "nas_restarted"] == [
        line | {"log_level": "info", "status": "Accounting-Off", "attachments": 1},
        line | {"log_level": "debug", "status": "Accounting-On", "attachments": 0},
    ]


async def test_the_log_has_a_line_at_the_start_of_an_attachment_and_one_with_totals_at_its_end(
    bench: FleetBench,
) -> None:
    """At DEBUG, since a mobile core reports thousands; five digits of the IMSI name only the network."""
    device = await known(bench)
    with capture_logs() as logs:
        bench.cellular.accounting.start(seen())
        send(bench)
        bench.clock.shift(90)
        bench.cellular.accounting.stop(seen())

    session = bench.activities[0].event.session_id
    assert session is not None
    line = {
        "part": "cellular",
        "log_level": "debug",
        "attachment": render(session),
        "device": render(device.id),
        "nas": NAS,
        "imsi": IMSI[:5],
        "address": ADDRESS,
    }
    assert [each for each in logs if each["part"] == "cellular"] == [
        line | {"event": "attachment_started"},
        line | {"event": "attachment_ended", "reason": "stop", "seconds": 90, "received": 2},
    ]


async def test_a_restarted_node_with_many_attachments_does_not_block_the_server(bench: FleetBench) -> None:
    """They end a thousand at a time; the answer waits for all of them."""
    for number in range(2_500):
        bench.cellular.accounting.start(seen_other(number, address=f"10.65.{number // 250}.{number % 250}"))
    bench.cellular.accounting.nas_restarted(NAS, NODE, off=True)
    left = bench.gauge("cellular_sessions")
    bench.cellular.accounting.nas_restarted(NAS, NODE, off=False)
    await bench.cellular.commit()

    assert left == {"device": 0, "nobody": 1_500}
    assert bench.gauge("cellular_sessions") == {"device": 0, "nobody": 0}
    assert (await bench.store.load()).attachments == []


async def test_an_attachment_started_after_the_restart_of_its_node_stays(bench: FleetBench) -> None:
    """Even if it starts before all old ones have ended."""
    device = await known(bench)
    for number in range(1_500):
        bench.cellular.accounting.start(seen_other(number, address=f"10.65.{number // 250}.{number % 250}"))
    bench.cellular.accounting.start(seen())
    bench.cellular.accounting.nas_restarted(NAS, NODE, off=False)
    bench.cellular.accounting.start(seen(session="new"))
    await bench.cellular.commit()

    assert send(bench) is device
    assert bench.gauge("cellular_sessions") == {"device": 1, "nobody": 0}


async def test_an_attachment_started_after_a_restart_survives_a_late_accounting_on(bench: FleetBench) -> None:
    """A NAS retransmits Accounting-On until it is answered, and lets devices attach meanwhile."""
    await known(bench, imsi=OTHER_IMSI, imei="")
    device = await known(bench)
    bench.cellular.accounting.start(seen(imsi=OTHER_IMSI, imei="", session="old", address="10.64.0.12"))
    bench.clock.shift(20)
    bench.cellular.accounting.start(seen())
    bench.activities.clear()
    bench.cellular.accounting.nas_restarted(NAS, NODE, off=False, seconds_ago=15)

    assert reasons(bench) == [("ciotDisconnect", "nasRestarted")]
    assert send(bench, "10.64.0.12") is None
    assert send(bench) is device


async def test_a_session_id_used_again_after_a_restart_starts_a_new_attachment(bench: FleetBench) -> None:
    """The NAS counts from one again while the old attachment with that id has yet to end."""
    device = await known(bench)
    for number in range(1_500):
        bench.cellular.accounting.start(seen_other(number, address=f"10.65.{number // 250}.{number % 250}"))
    bench.cellular.accounting.start(seen())
    bench.activities.clear()
    bench.cellular.accounting.nas_restarted(NAS, NODE, off=False)
    bench.cellular.accounting.start(seen())
    await bench.cellular.commit()

    assert reasons(bench) == [("ciotDisconnect", "nasRestarted"), ("ciotConnect", "")]
    assert send(bench) is device


async def test_a_session_id_used_for_another_sim_ends_the_first_attachment(bench: FleetBench) -> None:
    """A NAS that has lost its memory counts from one again."""
    await known(bench)
    other = await known(bench, imsi=OTHER_IMSI, imei="")
    bench.cellular.accounting.start(seen())
    bench.activities.clear()
    bench.cellular.accounting.start(seen(imsi=OTHER_IMSI, imei="", address="10.64.0.12"))

    assert reasons(bench) == [("ciotDisconnect", "replaced"), ("ciotConnect", "")]
    assert send(bench, "10.64.0.12") is other
    assert send(bench) is None


async def test_sessions_without_an_id_are_distinguished_by_imsi(bench: FleetBench) -> None:
    """Otherwise all would be one session, and each would end the previous one."""
    device = await known(bench)
    other = await known(bench, imsi=OTHER_IMSI, imei="")
    bench.cellular.accounting.start(seen(session=""))
    bench.cellular.accounting.start(seen(session="", imsi=OTHER_IMSI, imei="", address="10.64.0.12"))
    both = send(bench), send(bench, "10.64.0.12")
    bench.cellular.accounting.stop(seen(session=""))

    assert both == (device, other)
    assert send(bench) is None
    assert send(bench, "10.64.0.12") is other


async def test_a_late_stop_does_not_end_another_sims_attachment_with_the_same_session_id(bench: FleetBench) -> None:
    """The IMSI of the Stop shows which attachment it ends."""
    await known(bench)
    other = await known(bench, imsi=OTHER_IMSI, imei="")
    bench.cellular.accounting.start(seen())
    bench.cellular.accounting.start(seen(imsi=OTHER_IMSI, imei=""))
    bench.activities.clear()
    bench.cellular.accounting.stop(seen())

    assert bench.names == []
    assert send(bench) is other


async def test_an_attachment_without_reports_times_out_after_a_day(bench: FleetBench) -> None:
    """As long as its NAS has sent no Interim-Update."""
    await known(bench)
    bench.cellular.accounting.start(seen())
    send(bench)
    bench.activities.clear()
    bench.clock.shift(86_399)
    bench.cellular.sweep()
    early = bench.names
    bench.clock.shift(1)
    bench.cellular.sweep()

    assert early == []
    assert bench.drain()[0] == (
        "ciotDisconnect",
        {"allocatedIp": ADDRESS, "imsi": IMSI, "reason": "timeout", "seconds": "86400"},
    )


@pytest.mark.parametrize(("nas", "lifetime"), [(NAS, 3 * 600 + 60), ("pgw2", 86_400)])
async def test_an_attachment_times_out_after_three_missed_interim_updates(
    bench: FleetBench, nas: str, lifetime: int
) -> None:
    """From the first Interim-Update on, and only if the NAS is asked for them."""
    await known(bench)
    bench.cellular.accounting.start(seen(nas=nas))
    bench.cellular.accounting.interim(seen(nas=nas))
    bench.activities.clear()
    for _ in range(3):
        bench.clock.shift(lifetime - 1)
        bench.cellular.sweep()
        bench.cellular.accounting.start(seen(nas=nas))
    bench.clock.shift(lifetime)
    bench.cellular.sweep()

    assert [reason for _, reason in reasons(bench) if reason] == ["timeout"]


@pytest.mark.parametrize("bench", [{"cellular": {"sessions": 2}}], indirect=True)
async def test_attachments_are_bounded(bench: FleetBench) -> None:
    """The one without reports for longest ends with reason tableFull."""
    await known(bench)
    bench.cellular.accounting.start(seen())
    for number in (2, 3):
        bench.clock.shift(1)
        bench.cellular.accounting.start(seen_other(number, address=f"10.64.1.{number}"))

    assert ("ciotDisconnect", "tableFull") in reasons(bench)
    assert bench.gauge("cellular_sessions") == {"device": 0, "nobody": 2}


# ---- order ---------------------------------------------------------------------------------------


async def test_a_late_start_changes_nothing(bench: FleetBench) -> None:
    """It is older than the known attachment, by the clock of the same NAS."""
    await known(bench)
    other = await known(bench, imsi=OTHER_IMSI, imei="")
    bench.cellular.accounting.start(seen_other(imsi=OTHER_IMSI, time_ms=1_000_000))
    bench.activities.clear()
    bench.cellular.accounting.start(seen(time_ms=999_000))

    assert bench.drain() == []
    assert send(bench) is other
    assert bench.gauge("cellular_ignored") == {"late": 1, "unknownStop": 0}


async def test_a_late_start_of_the_same_device_does_not_restore_its_old_attachment(bench: FleetBench) -> None:
    """A NAS retransmits for minutes if its requests are lost."""
    device = await known(bench)
    bench.cellular.accounting.start(seen(session="2", address="10.64.0.12", time_ms=2_000_000))
    bench.activities.clear()
    bench.cellular.accounting.start(seen(session="1", time_ms=1_500_000))

    assert bench.drain() == []
    assert send(bench, "10.64.0.12") is device


async def test_clocks_of_different_nodes_are_not_compared(bench: FleetBench) -> None:
    """Nodes may share a secret, and so a table of the configuration, but no clock: the last record counts."""
    device, other = await known(bench), await known(bench, imsi=OTHER_IMSI, imei="")
    bench.cellular.accounting.start(seen(nas_address="192.0.2.11", time_ms=1_300_000))  # 5 minutes fast
    bench.cellular.accounting.start(seen(session="C1", address="10.64.0.12", time_ms=1_060_000))
    moved = send(bench, "10.64.0.12")
    bench.cellular.accounting.start(seen_other(imsi=OTHER_IMSI, time_ms=1_070_000))

    assert moved is device
    assert send(bench) is other


@pytest.mark.parametrize(("nas", "time_ms"), [("pgw2", 999_000), (NAS, 0)], ids=["another clock", "no time"])
async def test_without_comparable_times_the_last_record_counts(bench: FleetBench, nas: str, time_ms: int) -> None:
    """A record without time, or from another NAS."""
    device = await known(bench)
    bench.cellular.accounting.start(seen_other(time_ms=1_000_000))
    bench.cellular.accounting.start(seen(nas=nas, time_ms=time_ms))

    assert send(bench) is device


async def test_a_retransmitted_start_does_not_undo_an_address_change(bench: FleetBench) -> None:
    """Its time is older than that of the Interim-Update."""
    device = await known(bench)
    bench.cellular.accounting.start(seen(time_ms=1_000_000))
    bench.cellular.accounting.interim(seen(address="10.64.0.12", time_ms=1_060_000))
    bench.cellular.accounting.start(seen(time_ms=1_000_000))

    assert send(bench, "10.64.0.12") is device
    assert send(bench) is None


@pytest.mark.parametrize("known_before", [True, False])
async def test_records_overtaken_by_the_stop_do_not_restart_the_attachment(
    bench: FleetBench, known_before: bool
) -> None:
    """A lost Interim-Update or Start is retransmitted and arrives after the Stop."""
    await known(bench)
    if known_before:
        bench.cellular.accounting.start(seen(time_ms=1_000_000))
    bench.cellular.accounting.stop(seen(time_ms=1_060_000))
    bench.activities.clear()
    bench.cellular.accounting.interim(seen(time_ms=1_055_000))
    bench.cellular.accounting.start(seen(time_ms=1_000_000))
    late = bench.names
    bench.cellular.accounting.start(seen(time_ms=1_060_001))

    assert late == []
    assert bench.gauge("cellular_ignored")["late"] == 2  # type: ignore[index]
    assert bench.names == ["ciotConnect"]


@pytest.mark.parametrize("bench", [{"cellular": {"stops": 2}}], indirect=True)
async def test_the_number_of_stored_stops_is_bounded(bench: FleetBench) -> None:
    """Otherwise a NAS could fill the memory. A repeated Stop counts as the latest."""
    for session in ("1", "2", "1", "3"):
        bench.cellular.accounting.stop(seen(session=session, time_ms=2_000))
    for session in ("1", "2", "3"):
        bench.cellular.accounting.start(seen(session=session, address="", time_ms=1_000))

    assert bench.gauge("cellular_stops") == 2
    assert bench.gauge("cellular_ignored") == {"late": 2, "unknownStop": 4}


@pytest.mark.parametrize(("minutes", "is_believed"), [(15, False), (16, True)])
@pytest.mark.parametrize("before", ["stop", "another session", "the same session"])
async def test_records_of_a_clock_that_was_set_back_are_accepted(
    bench: FleetBench, minutes: int, is_believed: bool, before: str
) -> None:
    """No NAS retransmits for so long; otherwise all its records would be ignored until that time."""
    device = await known(bench)
    then_ms = 100_000_000
    match before:
        case "stop":
            bench.cellular.accounting.stop(seen(time_ms=then_ms))
        case "another session":
            bench.cellular.accounting.start(seen_other(time_ms=then_ms))
        case _:
            bench.cellular.accounting.start(seen(address="10.64.0.12", time_ms=then_ms))
    bench.cellular.accounting.start(seen(time_ms=then_ms - minutes * 60_000))

    assert (send(bench) is device) is is_believed


# ---- silence -------------------------------------------------------------------------------------


async def test_a_silent_device_is_published_once(bench: FleetBench) -> None:
    """F03."""
    await known(bench)
    bench.cellular.accounting.start(seen())
    bench.activities.clear()
    wait(bench, 299)
    early = bench.drain()
    wait(bench, 1)
    told = bench.drain()
    wait(bench, 3_000)

    assert early == []
    assert told == [("clientSilent", {"allocatedIp": ADDRESS, "attachedAt": "2024-04-25 20:23:36", "seconds": "300"})]
    assert bench.drain() == []


async def test_a_device_that_sends_is_not_silent(bench: FleetBench) -> None:
    """A message, a poll, also in a session from before, or a rejected message."""
    collection = await bench.collection()
    devices = []
    for number in range(3):
        devices.append(await known(bench, f"24201600000020{number}", "", collection))
        bench.reception.sessions.contacted(devices[-1], (f"10.0.0.{number}", 5683), transport=Transport.COAP)
        bench.cellular.accounting.start(
            seen(session=f"{number}", imsi=f"24201600000020{number}", imei="", address=f"10.0.0.{number}")
        )
    send(bench, "10.0.0.0")
    bench.reception.polled(devices[1], ("10.0.0.1", 5683), transport=Transport.COAP, session=None)
    devices[2].enabled = False
    bench.reception.admit(devices[2], ("10.0.0.2", 4000), transport=Transport.UDP, size=5)
    wait(bench, 1_000)

    assert "clientSilent" not in bench.names


async def test_a_device_that_uploads_a_blob_is_not_silent(bench: FleetBench) -> None:
    """From its start on: it may take longer than silent_after, and over HTTP it is neither message nor session."""
    device = await known(bench)
    bench.cellular.accounting.start(seen())
    upload = bench.blobs.begin(device, size=6, remote=(ADDRESS, 4000), transport=Transport.HTTP)
    bench.activities.clear()
    wait(bench, 1_000)
    meanwhile = bench.drain()
    await upload.write(b"octets")
    await bench.blobs.finish(upload, properties={}, declared="")
    wait(bench, 1_000)

    assert meanwhile == []
    assert bench.names == ["blobUpload"]


async def test_a_detached_device_is_not_silent(bench: FleetBench) -> None:
    """Nor is an unknown subscriber."""
    await known(bench)
    bench.cellular.accounting.start(seen())
    bench.cellular.accounting.stop(seen())
    bench.cellular.accounting.start(seen_other())
    bench.activities.clear()
    wait(bench, 1_000)

    assert bench.drain() == []
