"""Restarts of the server, and fields of an attachment that are reported later."""

from __future__ import annotations

import pytest

from span_events.errors import StorageUnavailable
from span_events.fleet.devices.devices import DeviceChange
from tests.bench.fleets import CAUSE, FleetBench
from tests.fleet.cellular.reports import (
    ADDRESS,
    IMEI,
    IMSI,
    OTHER_IMEI,
    OTHER_IMSI,
    PREFIX,
    known,
    reasons,
    restarted,
    seen,
    send,
    wait,
)


async def test_a_restart_between_attach_and_datagram_changes_nothing(bench: FleetBench) -> None:
    """Also right after the commit; retransmissions of the core publish nothing."""
    device = await known(bench)
    bench.cellular.accounting.start(seen(prefix=PREFIX))
    await bench.cellular.commit()
    again = await restarted(bench)
    found = [send(again), send(again, "2001:db8:1:2::9")]
    again.activities.clear()
    again.cellular.accounting.start(seen(prefix=PREFIX))
    again.cellular.accounting.interim(seen(prefix=PREFIX))
    repeated, shown = again.names, again.directory.devices[device.id].ciot.allocated_ip
    again.cellular.accounting.stop(seen())

    assert [each and each.id for each in found] == [device.id] * 2
    assert shown == ADDRESS
    assert repeated == []
    assert reasons(again) == [("ciotDisconnect", "stop"), ("clientDisconnected", "detached")]


async def test_a_restart_changes_no_metadata(bench: FleetBench) -> None:
    """Times stay, and nothing is written."""
    device = await known(bench, allocated_ip=ADDRESS)
    bench.clock.shift(5)
    bench.cellular.accounting.start(seen())
    attached_ms = bench.clock.time_ns() // 1_000_000
    await bench.cellular.commit()
    await bench.reception.flush()
    bench.clock.shift(60)
    again = await restarted(bench)
    ciot = again.directory.devices[device.id].ciot

    assert ciot == device.ciot
    assert (ciot.allocated_at, ciot.last_update) == (attached_ms, attached_ms)


async def test_an_attachment_lost_by_an_edit_before_a_crash_stays_lost(bench: FleetBench) -> None:
    """The device was written with its new SIM, its attachment was not."""
    device = await known(bench, imei="")
    bench.cellular.accounting.start(seen())
    await bench.cellular.commit()
    await bench.devices.update(device, DeviceChange(imsi=OTHER_IMSI), cause=CAUSE)
    again = await restarted(bench)

    assert send(again) is None


async def test_an_attachment_ended_before_a_crash_stays_ended(bench: FleetBench) -> None:
    """The row of the device still had the address."""
    device = await known(bench)
    bench.cellular.accounting.start(seen())
    await bench.cellular.commit()
    await bench.reception.flush()
    bench.cellular.accounting.stop(seen())
    await bench.cellular.commit()
    again = await restarted(bench)

    assert send(again) is None
    assert again.directory.devices[device.id].ciot.last_ip == ADDRESS


async def test_a_static_address_survives_a_restart(bench: FleetBench) -> None:
    """Of a device in a lab without a mobile core."""
    device = await bench.device(ADDRESS)
    found = send(await restarted(bench))

    assert found is not None
    assert found.id == device.id


async def test_an_interim_update_of_a_lost_attachment_starts_it(bench: FleetBench) -> None:
    """The mobile core does not repeat its Starts."""
    device = await known(bench)
    bench.cellular.accounting.interim(seen())

    assert bench.names == ["ciotConnect"]
    assert send(bench) is device


@pytest.mark.parametrize("missing", [{"imsi": "", "imei": ""}, {"imsi": ""}, {"imei": ""}])
async def test_an_attachment_may_get_its_numbers_later(bench: FleetBench, missing: dict[str, str]) -> None:
    """An Interim-Update adds them; then the attachment has a device, also in the registry."""
    device = await known(bench)
    bench.cellular.accounting.start(seen(**missing))
    bench.activities.clear()
    bench.cellular.accounting.interim(seen())
    told = bench.names
    await bench.cellular.commit()
    (kept,) = (await bench.store.load()).attachments

    assert told == (["ciotConnect"] if "imsi" in missing else [])
    assert send(bench) is device
    assert (kept.imsi, kept.imei) == (IMSI, IMEI)


async def test_an_attachment_that_shows_other_hardware_later_loses_its_device(bench: FleetBench) -> None:
    """It matched by SIM; the hardware contradicts."""
    await known(bench)
    bench.cellular.accounting.start(seen(imei=""))
    bench.cellular.accounting.interim(seen(imei=OTHER_IMEI))
    bench.cellular.accounting.interim(seen(imei=OTHER_IMEI))

    assert reasons(bench) == [("ciotConnect", ""), ("ciotDisconnect", "identityChanged"), ("imeiMismatch", "")]
    assert send(bench) is None


async def test_a_mismatch_shown_by_an_interim_update_is_published(bench: FleetBench) -> None:
    """The Start had neither SIM nor hardware."""
    await known(bench)
    bench.cellular.accounting.start(seen(imsi="", imei=""))
    bench.activities.clear()
    bench.cellular.accounting.interim(seen(imei=OTHER_IMEI))

    assert bench.names == ["imeiMismatch"]


async def test_a_silent_device_is_published_after_a_restart(bench: FleetBench) -> None:
    """The time starts again, as the device may have sent meanwhile; it is not published twice."""
    await known(bench)
    bench.cellular.accounting.start(seen())
    await bench.cellular.commit()
    bench.clock.shift(200)
    again = await restarted(bench)
    wait(again, 200)
    early = again.drain()
    wait(again, 100)
    told = again.drain()
    once_more = await restarted(bench)
    wait(once_more, 1_000)

    assert early == []
    assert [(name, data["seconds"]) for name, data in told] == [("clientSilent", "500")]
    assert once_more.drain() == []


async def test_a_device_that_sent_before_the_restart_is_not_silent(bench: FleetBench) -> None:
    """Its last message is younger than the attachment."""
    await known(bench)
    bench.cellular.accounting.start(seen())
    send(bench)
    await bench.cellular.commit()
    await bench.reception.flush()
    again = await restarted(bench)
    wait(again, 1_000)

    assert again.names == []


async def test_a_failed_write_loses_nothing(bench: FleetBench) -> None:
    """The retransmission publishes nothing and is answered after the write."""
    await known(bench)
    bench.cellular.accounting.start(seen())
    await bench.store.close()
    with pytest.raises(StorageUnavailable):
        await bench.cellular.commit()
    await bench.store.open()
    bench.cellular.accounting.start(seen())
    await bench.cellular.commit()

    assert bench.names == ["ciotConnect"]
    assert [each.session for each in (await bench.store.load()).attachments] == [seen().session]


@pytest.mark.parametrize("text", ["\x00", "\ud800", "\x7f", "å", "x" * 5_000, "'; DROP TABLE devices; --"])
async def test_any_text_of_a_nas_can_be_stored(bench: FleetBench, text: str) -> None:
    """And matches the same session again, also after a restart."""
    await known(bench)
    report = seen(session=text, nas_address=text, apn=text)
    bench.cellular.accounting.start(report)
    await bench.cellular.commit()
    again = await restarted(bench)
    again.cellular.accounting.start(report)
    repeated = again.names
    again.cellular.accounting.stop(report)

    assert repeated == []
    assert again.names == ["ciotDisconnect"]


async def test_a_restart_keeps_the_lifetime_of_attachments_with_interim_updates(bench: FleetBench) -> None:
    """It counts from the restart, as the time of the last report is not stored."""
    await known(bench)
    bench.cellular.accounting.start(seen())
    bench.cellular.accounting.interim(seen())
    await bench.cellular.commit()
    again = await restarted(bench)
    wait(again, 3 * 600 + 59)
    early = reasons(again)
    wait(again, 2)

    assert ("ciotDisconnect", "timeout") not in early
    assert ("ciotDisconnect", "timeout") in reasons(again)
