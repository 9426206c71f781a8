"""What survives a restart of the server, and what of a session is only learned later."""

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
    """Also if nothing but the commit came before it; what the core repeats is told no second time."""
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


async def test_a_restart_is_no_news(bench: FleetBench) -> None:
    """The metadata keep their times, and nothing is written."""
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


async def test_a_session_that_a_device_lost_just_before_a_crash_is_not_its_again(bench: FleetBench) -> None:
    """The device's row was written with its new SIM, the session's row was not yet."""
    device = await known(bench, imei="")
    bench.cellular.accounting.start(seen())
    await bench.cellular.commit()
    await bench.devices.update(device, DeviceChange(imsi=OTHER_IMSI), cause=CAUSE)
    again = await restarted(bench)

    assert send(again) is None


async def test_a_session_that_ended_just_before_a_crash_is_not_back(bench: FleetBench) -> None:
    """The device's row still said that it has the address."""
    device = await known(bench)
    bench.cellular.accounting.start(seen())
    await bench.cellular.commit()
    await bench.reception.flush()
    bench.cellular.accounting.stop(seen())
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
    bench.cellular.accounting.interim(seen())

    assert bench.names == ["ciotConnect"]
    assert send(bench) is device


@pytest.mark.parametrize("missing", [{"imsi": "", "imei": ""}, {"imsi": ""}, {"imei": ""}])
async def test_a_session_may_get_its_numbers_later(bench: FleetBench, missing: dict[str, str]) -> None:
    """An Interim-Update tells what the Start did not; it is the device's then, also for the registry."""
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


async def test_a_session_that_shows_another_number_later_is_not_the_devices(bench: FleetBench) -> None:
    """It was the device's by its SIM; the hardware says otherwise."""
    await known(bench)
    bench.cellular.accounting.start(seen(imei=""))
    bench.cellular.accounting.interim(seen(imei=OTHER_IMEI))
    bench.cellular.accounting.interim(seen(imei=OTHER_IMEI))

    assert reasons(bench) == [("ciotConnect", ""), ("ciotDisconnect", "identityChanged"), ("imeiMismatch", "")]
    assert send(bench) is None


async def test_a_mismatch_that_an_interim_shows_is_told(bench: FleetBench) -> None:
    """The Start told neither SIM nor hardware."""
    await known(bench)
    bench.cellular.accounting.start(seen(imsi="", imei=""))
    bench.activities.clear()
    bench.cellular.accounting.interim(seen(imei=OTHER_IMEI))

    assert bench.names == ["imeiMismatch"]


async def test_silence_is_told_after_a_restart_too(bench: FleetBench) -> None:
    """The wait begins anew, as the device may have sent meanwhile; what was told before is not told again."""
    await known(bench)
    bench.cellular.accounting.start(seen())
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
    bench.cellular.accounting.start(seen())
    send(bench)
    await bench.cellular.commit()
    await bench.reception.flush()
    again = await restarted(bench)
    wait(again, 1_000)

    assert again.names == []


async def test_a_registry_that_fails_loses_nothing(bench: FleetBench) -> None:
    """The request comes again, tells nothing new, and is answered when it is written."""
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
async def test_whatever_a_nas_writes_can_be_stored(bench: FleetBench, text: str) -> None:
    """And is the same session when it comes again, also after a restart."""
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
