"""Reservations between Access-Accept and Start, which survive a restart."""

from __future__ import annotations

import pytest

from span_events.errors import StorageUnavailable
from span_events.fleet.cellular.report import Accepted, Refused
from tests.bench.fleets import FleetBench
from tests.fleet.cellular.reports import ADDRESS, IMSI, OTHER_IMSI, known, seen, seen_other

ONE = {"cellular": {"pool": ("10.64.0.11/32",), "reservation": 120.0}}
"""A pool with one address."""


async def restarted(bench: FleetBench) -> FleetBench:
    """Return a new fleet with the content of the registry."""
    contents = await bench.store.load()
    again = FleetBench(bench.store, bench.authority, bench.clock, bench.folder, **ONE)
    again.directory.fill(contents.collections, contents.devices)
    again.cellular.fill(contents.attachments, contents.reservations)
    return again


def ask(bench: FleetBench, imsi: str = IMSI, **other: str) -> Accepted | Refused:
    """Send an attach request."""
    return bench.cellular.access(seen(imsi=imsi, imei="", address="", **other), accounting=True)


def promised(bench: FleetBench, imsi: str = IMSI) -> str:
    """Return the reserved address, or the reason of the rejection."""
    answer = ask(bench, imsi)
    return answer.address if isinstance(answer, Accepted) else answer.reason


@pytest.mark.parametrize("bench", [ONE], indirect=True)
async def test_an_address_reserved_before_a_restart_is_reserved_after_it(bench: FleetBench) -> None:
    """Its subscriber gets it, and the mobile core may report it."""
    device = await known(bench)
    await known(bench, imsi=OTHER_IMSI, imei="")
    before = promised(bench)
    await bench.cellular.commit()
    again = await restarted(bench)
    other, same = promised(again, OTHER_IMSI), promised(again)
    again.activities.clear()
    again.cellular.accounting.start(seen())

    assert (before, other, same) == (ADDRESS, "noAddress", ADDRESS)
    assert again.names == ["ciotConnect"]
    assert again.directory.device_at(ADDRESS) is again.directory.devices[device.id]
    assert again.gauge("cellular_reservations") == 0


@pytest.mark.parametrize("bench", [ONE], indirect=True)
@pytest.mark.parametrize(("before", "after", "is_free"), [(100, 19, False), (100, 20, True), (4_000, 0, True)])
async def test_a_restart_does_not_extend_a_reservation(
    bench: FleetBench, before: float, after: float, is_free: bool
) -> None:
    """The remaining time counts, with the server running or not."""
    await known(bench)
    await known(bench, imsi=OTHER_IMSI, imei="")
    ask(bench)
    await bench.cellular.commit()
    bench.clock.shift(before)
    again = await restarted(bench)
    bench.clock.shift(after)
    again.cellular.sweep()

    assert (promised(again, OTHER_IMSI) == ADDRESS) is is_free


@pytest.mark.parametrize("bench", [ONE], indirect=True)
@pytest.mark.parametrize("end", ["start", "lapse"])
async def test_ended_reservations_are_removed_from_the_registry(bench: FleetBench, end: str) -> None:
    """After the Start, or after they lapsed."""
    await known(bench)
    ask(bench)
    await bench.cellular.commit()
    kept = [each.address for each in (await bench.store.load()).reservations]
    if end == "start":
        bench.cellular.accounting.start(seen())
    else:
        bench.clock.shift(120)
        bench.cellular.sweep()
    await bench.cellular.commit()

    assert kept == [ADDRESS]
    assert (await bench.store.load()).reservations == []


@pytest.mark.parametrize("bench", [ONE], indirect=True)
async def test_a_lapsed_address_reserved_again_belongs_to_the_new_subscriber(bench: FleetBench) -> None:
    """Both changes may be in one transaction."""
    await known(bench)
    other = await known(bench, imsi=OTHER_IMSI, imei="")
    ask(bench)
    bench.clock.shift(120)
    bench.cellular.sweep()
    ask(bench, OTHER_IMSI)
    await bench.cellular.commit()
    (kept,) = (await bench.store.load()).reservations

    assert (kept.address, kept.device_id) == (ADDRESS, other.id)


@pytest.mark.parametrize("bench", [{"cellular": ONE["cellular"] | {"on_mismatch": "accept"}}], indirect=True)
async def test_a_reservation_of_an_unknown_subscriber_survives_a_restart(bench: FleetBench) -> None:
    """It is identified by its numbers."""
    await known(bench)
    report = seen_other(imei="356938035643809", address="")
    before = bench.cellular.access(report, accounting=True)
    await bench.cellular.commit()
    again = await restarted(bench)

    assert isinstance(before, Accepted)
    assert before.address == ADDRESS
    assert promised(again) == "noAddress"


async def test_addresses_that_cannot_be_assigned_twice_are_not_written(bench: FleetBench) -> None:
    """A static address, and one chosen by the mobile core: the answer does not wait for the registry."""
    await known(bench, allocated_ip=ADDRESS)
    await known(bench, imsi=OTHER_IMSI, imei="")
    answers = [ask(bench), ask(bench, OTHER_IMSI)]
    await bench.cellular.commit()

    assert [isinstance(each, Accepted) and each.waits for each in answers] == [False, False]
    assert bench.gauge("cellular_commits") == 0


@pytest.mark.parametrize("bench", [ONE], indirect=True)
async def test_an_accept_with_a_pool_address_waits_for_the_registry(bench: FleetBench) -> None:
    """Also a repeated one: the first may not be written yet. It is not lost when the write fails."""
    await known(bench)
    await bench.store.close()
    answers = [ask(bench), ask(bench)]
    with pytest.raises(StorageUnavailable):
        await bench.cellular.commit()
    await bench.store.open()
    await bench.cellular.commit()

    assert [isinstance(each, Accepted) and each.waits for each in answers] == [True, True]
    assert len((await bench.store.load()).reservations) == 1


@pytest.mark.parametrize("bench", [ONE], indirect=True)
async def test_the_last_address_of_a_device_is_reserved_without_a_write(bench: FleetBench) -> None:
    """A restart keeps it for the device during the quarantine."""
    await known(bench)
    await known(bench, imsi=OTHER_IMSI, imei="")
    bench.cellular.accounting.start(seen())
    bench.cellular.accounting.stop(seen())
    await bench.flush()
    answer = ask(bench)
    commits = bench.gauge("cellular_commits")
    await bench.cellular.commit()
    again = await restarted(bench)
    kept = promised(again, OTHER_IMSI), promised(again)

    assert isinstance(answer, Accepted)
    assert (answer.address, answer.waits) == (ADDRESS, False)
    assert bench.gauge("cellular_commits") == commits
    assert kept == ("noAddress", ADDRESS)


@pytest.mark.parametrize(
    ("bench", "written"),
    [(ONE, False), ({"cellular": ONE["cellular"] | {"quarantine": 119.0}}, True)],
    indirect=["bench"],
)
async def test_the_last_address_is_written_if_a_restart_might_not_keep_it(bench: FleetBench, written: bool) -> None:
    """If the registry lacks the last address, or the quarantine is shorter than the reservation."""
    await known(bench)
    bench.cellular.accounting.start(seen())
    bench.cellular.accounting.stop(seen())
    if written:
        await bench.flush()
    answer = ask(bench)

    assert isinstance(answer, Accepted)
    assert answer.waits


async def test_without_accounting_an_accept_waits_for_the_registry(bench: FleetBench) -> None:
    """It starts an attachment."""
    await known(bench)
    accepted = bench.cellular.access(seen(), accounting=False)

    assert isinstance(accepted, Accepted)
    assert accepted.waits


@pytest.mark.parametrize("bench", [ONE], indirect=True)
async def test_reservations_of_a_former_pool_are_removed(bench: FleetBench) -> None:
    """The new pool does not have their addresses."""
    await known(bench)
    ask(bench)
    await bench.cellular.commit()
    contents = await bench.store.load()
    again = FleetBench(bench.store, bench.authority, bench.clock, bench.folder)
    again.directory.fill(contents.collections, contents.devices)
    again.cellular.fill(contents.attachments, contents.reservations)
    await again.cellular.commit()

    assert (await bench.store.load()).reservations == []
